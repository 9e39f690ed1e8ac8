/*
 * tree_groups - sessions, process groups, zombies with their status, a stopped
 * child, an orphan that was adopted, leaders that are no more.
 *
 * phases: survive twice
 */
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

/* As waitpid(2), but for what SIGCHLD interrupts. */
static pid_t
await(pid_t pid, int *st, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, st, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

struct family {
	pid_t leader, inner, member, stopped, exited, killed, orphan;
	pid_t lost_group, lost_session;
};

static struct family f;

static void
stay(void)
{
	for (;;)
		pause();
}

static pid_t
child(void (*be)(void))
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		be();
		stay();
	}
	return pid;
}

static void
lead_session(void)
{
	must(setsid() == getpid());
	/* A child in the session, in a group of its own. */
	child(stay);
}

static void
stop(void)
{
	raise(SIGSTOP);
	_exit(9);
}

static void
leave(void)
{
	_exit(7);
}

static void
die(void)
{
	raise(SIGTERM);
}

/* Its parent ends; when the one that adopts it does, so does this. */
static void
be_adopted(pid_t first, int tell)
{
	pid_t pid = getpid();

	while (getppid() == first)
		usleep(1000);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must(write(tell, &pid, sizeof(pid)) == sizeof(pid));
	close(tell);
	stay();
}

/* A leader that has a child, and ends: we are its subreaper. */
static pid_t
lost_leader(bool session, pid_t *id)
{
	int fds[2];
	pid_t pid, first, got = 0;

	must(pipe(fds) == 0);
	*id = fork();
	must(*id >= 0);
	if (*id == 0) {
		must(session ? setsid() > 0 : setpgid(0, 0) == 0);
		first = getpid();
		pid = fork();
		if (pid == 0) {
			be_adopted(first, fds[1]);
		}
		_exit(0);
	}
	while (read(fds[0], &got, sizeof(got)) != sizeof(got))
		must(errno == EINTR);
	must(await(*id, NULL, 0) == *id);
	close(fds[0]);
	close(fds[1]);
	return got;
}

static void
set_up(void)
{
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	f.leader = child(lead_session);
	f.inner = child(stay);
	must(setpgid(f.inner, f.inner) == 0);
	f.member = child(stay);
	must(setpgid(f.member, f.inner) == 0);
	f.stopped = child(stop);
	f.exited = child(leave);
	f.killed = child(die);
	f.orphan = lost_leader(false, &f.lost_group);
	while (subject_stat(f.stopped, 1) != 'T' ||
	       subject_stat(f.exited, 1) != 'Z' ||
	       subject_stat(f.killed, 1) != 'Z' || getsid(f.leader) != f.leader)
		usleep(1000);
}

static void
check_zombies(void)
{
	int st = 0;
	pid_t got;

	got = await(f.exited, &st, WNOHANG);
	expect(got == f.exited && WIFEXITED(st) && WEXITSTATUS(st) == 7,
	    "the one that left: %d, %#x", (int)got, st);
	got = await(f.killed, &st, WNOHANG);
	expect(got == f.killed && WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM,
	    "the one that was killed: %d, %#x", (int)got, st);
}

static void
check(pid_t orphan, pid_t lost)
{
	int st = 0;

	expect(getsid(f.leader) == f.leader, "the leader's session is %d",
	    (int)getsid(f.leader));
	expect(getsid(f.inner) == getsid(0), "the others' session is %d",
	    (int)getsid(f.inner));
	expect(getpgid(f.inner) == f.inner && getpgid(f.member) == f.inner,
	    "groups %d, %d", (int)getpgid(f.inner), (int)getpgid(f.member));
	expect(getpgid(f.orphan) == f.lost_group, "the orphan's group is %d",
	    (int)getpgid(f.orphan));
	expect(getsid(orphan) == lost && getpgid(orphan) == lost,
	    "the other orphan's session is %d, not %d", (int)getsid(orphan),
	    (int)lost);
	/* The end of a checkpoint may hold it for a moment. */
	for (int i = 0; i < 200 && subject_stat(f.stopped, 1) != 'T'; i++)
		usleep(5000);
	expect(subject_stat(f.stopped, 1) == 'T', "it is %c, not stopped",
	    (int)subject_stat(f.stopped, 1));
	kill(f.stopped, SIGCONT);
	expect(await(f.stopped, &st, 0) == f.stopped && WIFEXITED(st) &&
		   WEXITSTATUS(st) == 9,
	    "the stopped one's status: %#x", st);
	/* A signal to a group reaches its members, and no other. */
	expect(kill(-f.inner, SIGKILL) == 0, "no such group");
	expect(await(f.inner, &st, 0) == f.inner &&
		   await(f.member, &st, 0) == f.member,
	    "its members");
	expect(
	    kill(f.orphan, SIGKILL) == 0 && await(f.orphan, &st, 0) == f.orphan,
	    "the orphan is not ours");
	expect(kill(orphan, SIGKILL) == 0 && await(orphan, &st, 0) == orphan,
	    "the other orphan is not ours");
}

int
main(int argc, char **argv)
{
	pid_t orphan;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS | SUBJECT_STATUS);
	/* Its children come and go. */
	signal(SIGCHLD, SIG_DFL);
	set_up();
	orphan = lost_leader(true, &f.lost_session);

	subject_wait();

	check_zombies();
	check(orphan, f.lost_session);
	kill(f.leader, SIGKILL);
	while (await(-1, NULL, 0) > 0)
		;
	return subject_done();
}
