/*
 * tree_tables - processes that have a table of descriptors, or a working
 * directory and umask, in common: a child with its parent, one of the two only,
 * two children without their parent, a grandchild while its parent has its own.
 *
 * phases: survive twice
 */
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "subject.h"

enum who { BOTH, FDS, DIRS, LEFT, RIGHT, APART, BELOW, MEMBERS };

enum what { NOTHING, DUP, CLOSE, READ, CHDIR, UMASK, CWD, LOCKED, QUIT };

static struct shared {
	struct member {
		pid_t pid;
		uint32_t what, done;
		int arg;
		long answer;
	} v[MEMBERS];
} * s;

static int file;
static char *deleted;

/* ---- a member ---- */

static ino_t
inode_here(void)
{
	struct stat st;

	return stat(".", &st) == 0 ? st.st_ino : 0;
}

/* F_GETLK tells of locks that others have, and this one is our own. */
static long
lock_owner(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_len = 10 };

	return fcntl(fd, F_GETLK, &fl) == 0 ? fl.l_type : -1;
}

static long
perform(enum what what, int arg)
{
	char buf[10];

	switch (what) {
	case DUP:
		return dup2(file, arg);
	case CLOSE:
		return close(arg);
	case READ:
		return read(arg, buf, sizeof(buf));
	case CHDIR:
		return chdir(arg == 0 ? "/" : "/tmp");
	case UMASK:
		return (long)umask((mode_t)arg);
	case CWD:
		return (long)inode_here();
	case LOCKED:
		return lock_owner(arg);
	default:
		return -99;
	}
}

static void __attribute__((noreturn)) serve(enum who i)
{
	struct member *m = &s->v[i];
	uint32_t what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	__atomic_store_n(&m->pid, getpid(), __ATOMIC_RELEASE);
	for (;;) {
		what = __atomic_exchange_n(&m->what, NOTHING, __ATOMIC_ACQUIRE);
		if (what == QUIT)
			_exit(20 + (int)i);
		if (what == NOTHING) {
			usleep(2000);
			continue;
		}
		m->answer = perform(what, m->arg);
		__atomic_store_n(&m->done, 1, __ATOMIC_RELEASE);
	}
}

static long
ask(enum who i, enum what what, int arg)
{
	struct member *m = &s->v[i];

	m->arg = arg;
	m->done = 0;
	__atomic_store_n(&m->what, what, __ATOMIC_RELEASE);
	for (int n = 0; n < 5000; n++) {
		if (__atomic_load_n(&m->done, __ATOMIC_ACQUIRE) != 0)
			return m->answer;
		usleep(2000);
	}
	subject_fail("member %d does not answer", (int)i);
	return -98;
}

static bool
has(enum who i, int fd)
{
	return ask(i, READ, fd) == 10;
}

/* ---- births ---- */

static pid_t
raw_clone(unsigned long flags)
{
	return (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
}

static void
await(enum who i)
{
	while (__atomic_load_n(&s->v[i].pid, __ATOMIC_ACQUIRE) == 0)
		usleep(1000);
}

static void
child(enum who i, unsigned long flags)
{
	pid_t pid = raw_clone(flags | SIGCHLD);

	must(pid >= 0);
	if (pid == 0)
		serve(i);
	await(i);
}

/* Two that share with each other only: one makes its brother. */
static void
brothers(void)
{
	pid_t pid = raw_clone(SIGCHLD);

	must(pid >= 0);
	if (pid == 0) {
		pid =
		    raw_clone(CLONE_PARENT | CLONE_FILES | CLONE_FS | SIGCHLD);
		if (pid < 0)
			_exit(1);
		serve(pid == 0 ? RIGHT : LEFT);
	}
	await(LEFT);
	await(RIGHT);
}

/* One shares with us, and the one between has left. */
static void
two_below(void)
{
	pid_t pid = raw_clone(CLONE_FILES | CLONE_FS | SIGCHLD);

	must(pid >= 0);
	if (pid == 0) {
		pid = raw_clone(CLONE_FILES | SIGCHLD);
		if (pid < 0)
			_exit(1);
		if (pid == 0)
			serve(BELOW);
		if (unshare(CLONE_FILES) < 0)
			_exit(1);
		serve(APART);
	}
	await(APART);
	await(BELOW);
}

static void
set_up(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_len = 10 };
	int fd;

	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(s != MAP_FAILED);
	file = open(subject_file("file", 100000, 1), O_RDWR);
	must(file >= 0 && fcntl(file, F_SETLK, &fl) == 0);
	fd = open(subject_file("gone", 4096, 3), O_RDWR);
	must(fd >= 0 && unlink(subject_path("gone")) == 0);
	deleted = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	must(deleted != MAP_FAILED && dup2(fd, 80) == 80 && close(fd) == 0);
	child(BOTH, CLONE_FILES | CLONE_FS);
	child(FDS, CLONE_FILES);
	child(DIRS, CLONE_FS);
	two_below();
	brothers();
	/* One was made by a member, in whatever place was free. */
	must(ask(BOTH, DUP, 70) == 70 && ask(LEFT, DUP, 71) == 71);
	must(ask(DIRS, UMASK, 07) == 022 || ask(DIRS, UMASK, 07) == 07);
	must(ask(LEFT, UMASK, 05) != 05);
}

/* ---- the check ---- */

static const bool with_us[MEMBERS] = {
	[BOTH] = true, [FDS] = true, [BELOW] = true
};
static const bool beside_us[MEMBERS] = {
	[BOTH] = true, [DIRS] = true, [APART] = true
};

static void
check_fds(void)
{
	char buf[10];

	/* As they were when they were ready. */
	for (enum who i = 0; i < MEMBERS; i++) {
		expect(has(i, file), "%d: the file", (int)i);
		expect(has(i, 80), "%d: the deleted file", (int)i);
		expect(has(i, 70) == with_us[i], "%d: descriptor 70", (int)i);
		expect(has(i, 71) == (i == LEFT || i == RIGHT),
		    "%d: descriptor 71", (int)i);
	}
	/* What one does the others see, and nobody else. */
	expect(ask(BELOW, DUP, 75) == 75, "dup2 in the one below");
	expect(read(75, buf, 10) == 10, "it is not ours");
	expect(ask(RIGHT, DUP, 76) == 76, "dup2 in a brother");
	expect(read(76, buf, 10) < 0, "it is ours");
	for (enum who i = 0; i < MEMBERS; i++) {
		expect(has(i, 75) == with_us[i], "%d: descriptor 75", (int)i);
		expect(has(i, 76) == (i == LEFT || i == RIGHT),
		    "%d: descriptor 76", (int)i);
	}
	expect(close(75) == 0 && !has(FDS, 75) && !has(BELOW, 75),
	    "what is closed is closed for all");
}

/* A lock belongs to a table, not to a process. */
static void
check_lock(void)
{
	for (enum who i = 0; i < MEMBERS; i++)
		expect(ask(i, LOCKED, file) == (with_us[i] ? F_UNLCK : F_WRLCK),
		    "%d: the lock", (int)i);
}

static void
check_dirs(void)
{
	ino_t was = inode_here(), root;
	mode_t mask;

	expect(ask(DIRS, CHDIR, 0) == 0, "chdir");
	root = inode_here();
	expect(root != was, "it is not ours");
	for (enum who i = 0; i < MEMBERS; i++)
		expect((ino_t)ask(i, CWD, 0) == (beside_us[i] ? root : was),
		    "%d: its directory", (int)i);
	expect(ask(RIGHT, CHDIR, 0) == 0, "chdir of a brother");
	expect((ino_t)ask(LEFT, CWD, 0) == root, "they had it in common");
	expect(ask(LEFT, UMASK, 012) == 05 && ask(RIGHT, UMASK, 012) == 012,
	    "so with the umask");
	mask = umask(011);
	expect(mask == 07, "our umask is %#o", (unsigned)mask);
	expect(ask(APART, UMASK, 07) == 011 && umask(07) == 07,
	    "it is not in common");
	expect(ask(FDS, UMASK, 01) != 07 && umask(07) == 07,
	    "it is in common with one that has its own");
}

static void
end_one(enum who i)
{
	struct member *m = &s->v[i];
	int st = 0;
	pid_t got;

	__atomic_store_n(&m->what, QUIT, __ATOMIC_RELEASE);
	if (i == BELOW) {
		usleep(50000);
		return;
	}
	do
		got = waitpid(m->pid, &st, 0);
	while (got < 0 && errno == EINTR);
	expect(got == m->pid && WIFEXITED(st) && WEXITSTATUS(st) == 20 + (int)i,
	    "%d: it ended with %#x", (int)i, st);
}

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS | SUBJECT_FDS | SUBJECT_SIGNALS);
	set_up();

	subject_wait();

	subject_forget();
	subject_filled("the mapped file", deleted, 4096, 3);
	check_lock();
	check_fds();
	check_dirs();
	end_one(BELOW);
	for (enum who i = 0; i < MEMBERS; i++)
		if (i != BELOW)
			end_one(i);
	return subject_done();
}
