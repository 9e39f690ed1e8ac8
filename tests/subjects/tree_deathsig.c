/*
 * tree_deathsig - what is to happen when a member ends: who adopts its child,
 * which signal the child gets (PR_SET_PDEATHSIG), and that nobody has got one.
 *
 * phases: survive twice
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

static struct shared {
	pid_t adopter, middle, child, sibling;
	uint32_t told, others;
} * s;

static void
on_death(int signo)
{
	__atomic_add_fetch(
	    signo == SIGUSR1 ? &s->told : &s->others, 1, __ATOMIC_ACQ_REL);
}

static void
publish(pid_t *where)
{
	__atomic_store_n(where, getpid(), __ATOMIC_RELEASE);
}

static void
await(const pid_t *what)
{
	while (__atomic_load_n(what, __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
}

/* One with a signal that it handles, one that is to be killed. */
static void
child(void)
{
	signal(SIGUSR1, on_death);
	signal(SIGUSR2, on_death);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	publish(&s->child);
	for (;;)
		pause();
}

static void
sibling(void)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	publish(&s->sibling);
	for (;;)
		pause();
}

static void
middle(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fork() == 0)
		child();
	if (fork() == 0)
		sibling();
	await(&s->child);
	await(&s->sibling);
	publish(&s->middle);
	for (;;)
		pause();
}

/* It has adopted one of them when it ends with 11. */
static void
adopter(void)
{
	int st, n = 0;
	pid_t got;

	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fork() == 0)
		middle();
	await(&s->middle);
	publish(&s->adopter);
	while ((got = waitpid(-1, &st, 0)) > 0 || errno == EINTR) {
		n += got == s->middle && WIFSIGNALED(st) ? 1 : 0;
		n += got == s->child && WTERMSIG(st) == SIGKILL ? 10 : 0;
		n += got == s->sibling && WTERMSIG(st) == SIGTERM ? 100 : 0;
	}
	_exit(n);
}

static void
check(void)
{
	int st = 0;
	pid_t got;

	expect(s->told == 0 && s->others == 0,
	    "it was told of a death before: %u, %u", s->told, s->others);
	expect(kill(s->middle, SIGKILL) == 0, "the middle one is gone");
	for (int i = 0;
	     i < 2000 && __atomic_load_n(&s->told, __ATOMIC_ACQUIRE) == 0; i++)
		usleep(5000);
	expect(s->told == 1 && s->others == 0, "the signal came %u times",
	    s->told);
	for (int i = 0; i < 2000 && subject_stat(s->child, 2) != s->adopter;
	     i++)
		usleep(5000);
	expect(subject_stat(s->child, 2) == s->adopter, "it was adopted by %d",
	    (int)subject_stat(s->child, 2));
	expect(kill(s->child, SIGKILL) == 0, "the child is gone");
	do
		got = waitpid(s->adopter, &st, 0);
	while (got < 0 && errno == EINTR);
	expect(WIFEXITED(st) && WEXITSTATUS(st) == 111,
	    "what the adopter saw: %d", WEXITSTATUS(st));
}

int
main(int argc, char **argv)
{
	pid_t pid;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	signal(SIGCHLD, SIG_DFL);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(s != MAP_FAILED);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		adopter();
	await(&s->adopter);

	subject_wait();

	subject_forget();
	check();
	return subject_done();
}
