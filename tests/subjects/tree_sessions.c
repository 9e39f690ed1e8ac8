/*
 * tree_sessions - sessions and groups whose leader is not above its members:
 * it is a brother, or below a brother, or a zombie there, or has ended and left
 * members in two places; a group whose leader is in another.
 *
 * phases: survive twice
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

static struct shared {
	pid_t brother, member;	    /* one leads, the other is its brother */
	pid_t host, below, adopted; /* one leads below the host */
	pid_t zombie, of_zombie;    /* one has led there */
	pid_t gone, upper, lower;   /* one has ended; members at two places */
	pid_t lost, lost_group, ended; /* of these a zombie is left */
	pid_t ex_leader, follower;     /* one leads that of the other no more */
	uint32_t adopts;	       /* the host is to adopt from now on */
	pid_t lower_now, lower_adopted; /* whom */
} * s;

static void
publish(pid_t *where)
{
	__atomic_store_n(where, getpid(), __ATOMIC_RELEASE);
}

static void
await(const void *what)
{
	while (__atomic_load_n((const uint32_t *)what, __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
}

static void __attribute__((noreturn)) stay(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* By a child that ends, so that whoever adopts has it. */
static void
orphan(pid_t *where, bool leads)
{
	pid_t first = fork(), maker;

	must(first >= 0);
	if (first == 0) {
		maker = getpid();
		if (fork() == 0) {
			while (getppid() == maker)
				usleep(1000);
			if (leads)
				must(setpgid(0, 0) == 0);
			publish(where);
			stay();
		}
		_exit(0);
	}
	must(waitpid(first, NULL, 0) == first);
	await(where);
}

static void
reap(pid_t pid)
{
	pid_t got;

	do
		got = waitpid(pid, NULL, 0);
	while (got < 0 && errno == EINTR);
	must(got == pid);
}

/* ---- who they are ---- */

static void
lead_brother(void)
{
	must(setsid() == getpid());
	orphan(&s->member, false);
	publish(&s->brother);
	stay();
}

static void
lead_below(void)
{
	must(setsid() == getpid());
	orphan(&s->adopted, false);
	publish(&s->below);
	stay();
}

static void
lead_and_end(void)
{
	must(setsid() == getpid());
	orphan(&s->of_zombie, false);
	publish(&s->zombie);
	_exit(3);
}

/* One is adopted by the first of all, the other by the host. */
static void
lead_two(void)
{
	must(setsid() == getpid());
	orphan(&s->upper, true);
	publish(&s->gone);
	await(&s->adopts);
	orphan(&s->lower, false);
	_exit(0);
}

/* A group within a session, both without a leader, and only a zombie in it. */
static void
lead_lost(void)
{
	pid_t leader, pid, maker = getpid();

	must(setsid() == getpid());
	leader = fork();
	if (leader == 0) {
		must(setpgid(0, 0) == 0);
		publish(&s->lost_group);
		stay();
	}
	await(&s->lost_group);
	pid = fork();
	if (pid == 0) {
		must(setpgid(0, leader) == 0);
		publish(&s->ended);
		while (getppid() == maker)
			usleep(1000);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (__atomic_load_n(&s->lost, __ATOMIC_ACQUIRE) == 0)
			usleep(1000);
		_exit(4);
	}
	await(&s->ended);
	_exit(0);
}

static void
be_host(void)
{
	pid_t two;

	publish(&s->host);
	if (fork() == 0)
		lead_below();
	if (fork() == 0)
		lead_and_end();
	two = fork();
	if (two == 0)
		lead_two();
	await(&s->gone);
	await(&s->zombie);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	__atomic_store_n(&s->adopts, 1, __ATOMIC_RELEASE);
	reap(two);
	await(&s->lower);
	await(&s->below);
	/* What it sees of its zombie it tells by how it ends itself. */
	__atomic_store_n(&s->lower_now, 1, __ATOMIC_RELEASE);
	stay();
}

static void
exchange_groups(void)
{
	pid_t first = fork(), second;

	if (first == 0)
		stay();
	second = fork();
	if (second == 0)
		stay();
	must(first > 0 && second > 0);
	must(setpgid(first, first) == 0 && setpgid(second, first) == 0);
	must(setpgid(first, getpgrp()) == 0);
	s->ex_leader = first;
	s->follower = second;
}

static void
set_up(void)
{
	pid_t lost;

	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(s != MAP_FAILED);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	if (fork() == 0)
		lead_brother();
	if (fork() == 0)
		be_host();
	lost = fork();
	if (lost == 0)
		lead_lost();
	await(&s->brother);
	await(&s->lower_now);
	/* Its leader and that of its group end before it does. */
	reap(lost);
	must(kill(s->lost_group, SIGKILL) == 0);
	reap(s->lost_group);
	__atomic_store_n(&s->lost, lost, __ATOMIC_RELEASE);
	exchange_groups();
}

/* ---- the check ---- */

static void
is(const char *what, pid_t pid, pid_t parent, pid_t group, pid_t session)
{
	long pp = subject_stat(pid, 2), pg = subject_stat(pid, 3),
	     sid = subject_stat(pid, 4);

	expect(pp == parent && pg == group && sid == session,
	    "%s (%d): parent %ld, group %ld, session %ld, not %d %d %d", what,
	    (int)pid, pp, pg, sid, (int)parent, (int)group, (int)session);
}

static void
check(void)
{
	pid_t self = getpid();
	siginfo_t si = { 0 };

	is("brother", s->brother, self, s->brother, s->brother);
	is("member", s->member, self, s->brother, s->brother);
	is("below", s->below, s->host, s->below, s->below);
	is("adopted", s->adopted, self, s->below, s->below);
	is("zombie", s->zombie, s->host, s->zombie, s->zombie);
	expect(subject_stat(s->zombie, 1) == 'Z', "the zombie is none");
	is("of the zombie", s->of_zombie, self, s->zombie, s->zombie);
	is("upper", s->upper, self, s->upper, s->gone);
	is("lower", s->lower, s->host, s->gone, s->gone);
	is("ended", s->ended, self, s->lost_group, s->lost);
	is("ex-leader", s->ex_leader, self, getpgrp(), getsid(0));
	is("follower", s->follower, self, s->ex_leader, getsid(0));
	expect(waitid(P_PID, (id_t)s->ended, &si, WEXITED | WNOHANG) == 0 &&
		   si.si_pid == s->ended && si.si_status == 4,
	    "the zombie of the lost group: %d, %d", (int)si.si_pid,
	    si.si_status);
	expect(kill(-s->ex_leader, SIGKILL) == 0 &&
		   waitpid(s->follower, NULL, 0) == s->follower,
	    "a signal to the group");
	expect(
	    kill(s->ex_leader, 0) == 0 && subject_stat(s->ex_leader, 1) != 'Z',
	    "it was in the group no more");
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS | SUBJECT_STATUS);
	signal(SIGCHLD, SIG_DFL);
	set_up();

	subject_wait();

	subject_forget();
	check();
	for (pid_t *p = &s->brother; p <= &s->follower; p++)
		if (*p != s->gone && *p != s->lost && *p != s->lost_group)
			kill(*p, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	return subject_done();
}
