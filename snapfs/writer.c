#include "writer.h"

#include "caps.h"
#include "node.h"
#include "snap.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* So that clone3(2) may be told the pids. */
#define LENT CAP(CAP_CHECKPOINT_RESTORE)

/*
 * In the order in which they are entered.  The mount namespace last, since
 * with it goes the daemon's view of files; the user namespace after all of
 * them and after the credentials, since with it go the daemon's rights.
 */
static const struct {
	const char *file;
	int type;
} namespaces[WRITER_NS] = {
	{ "ns/cgroup", CLONE_NEWCGROUP },
	{ "ns/ipc", CLONE_NEWIPC },
	{ "ns/uts", CLONE_NEWUTS },
	{ "ns/net", CLONE_NEWNET },
	{ "ns/pid", CLONE_NEWPID },
	{ "ns/time", CLONE_NEWTIME },
	{ "ns/mnt", CLONE_NEWNS },
};

static int fail(struct writer *w, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int
fail(struct writer *w, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, ap);
	va_end(ap);
	return err;
}

/* fail() with errno and what was tried. */
static int
fail_errno(struct writer *w, const char *what)
{
	int err = errno;

	return fail(
	    w, -err, "becoming the writer: %s: %s", what, strerror(err));
}

static void note(struct writer *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void
note(struct writer *w, const char *fmt, ...)
{
	size_t used = strlen(w->notes);
	va_list ap;

	if (used != 0 && used + 2 < sizeof(w->notes)) {
		memcpy(w->notes + used, "; ", 3);
		used += 2;
	}
	va_start(ap, fmt);
	vsnprintf(w->notes + used, sizeof(w->notes) - used, fmt, ap);
	va_end(ap);
}

/* ---- looking at the writer ---- */

static int
open_in(struct writer *w, const char *file, int flags, int *fd)
{
	*fd = openat(w->proc, file, flags | O_CLOEXEC);
	if (*fd < 0)
		return fail(
		    w, -errno, "the writer's %s: %s", file, strerror(errno));
	return 0;
}

static int
read_in(struct writer *w, const char *file, char **text)
{
	int err = procinfo_read(w->proc, file, text);

	if (err < 0)
		fail(w, err, "the writer's %s: %s", file, strerror(-err));
	return err;
}

/* Is FILE of the writer's /proc the same object as ours? */
static bool
same_as_ours(const struct writer *w, const char *file)
{
	char ours[64];
	struct stat a, b;

	snprintf(ours, sizeof(ours), "/proc/self/%s", file);
	if (fstatat(w->proc, file, &a, 0) < 0)
		return false;
	return stat(ours, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static int
open_namespaces(struct writer *w)
{
	const char *file;
	int i, err = 0;

	for (i = 0; i < WRITER_NS && err == 0; i++) {
		file = namespaces[i].file;
		/* A kernel without this kind of namespace. */
		if (faccessat(w->proc, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT)
			continue;
		if (same_as_ours(w, file))
			continue;
		if (!w->privileged)
			return fail(w, -EPERM,
			    "the writer is in another namespace (%s), which a "
			    "daemon without privileges cannot enter",
			    file);
		err = open_in(w, file, O_RDONLY, &w->ns[i]);
	}
	if (err < 0 || same_as_ours(w, "ns/user"))
		return err;
	if (!w->privileged)
		return fail(w, -EPERM,
		    "the writer is in another user namespace, which a daemon "
		    "without privileges cannot enter");
	return open_in(w, "ns/user", O_RDONLY, &w->userns);
}

static int
read_limits(struct writer *w)
{
	char *text;
	int i, err;

	for (i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &w->limits[i]) < 0)
			return fail_errno(w, "getrlimit");
	err = read_in(w, "limits", &text);
	if (err < 0)
		return err;
	err = procinfo_parse_limits(text, w->limits);
	free(text);
	if (err < 0)
		fail(w, err, "the writer's limits are not understood");
	return err;
}

static int
read_ids(struct writer *w, const struct agent_request *ask)
{
	char *text;
	int err = read_in(w, "status", &text);

	if (err < 0)
		return err;
	err = procinfo_parse_status(text, &w->status);
	free(text);
	if (err < 0)
		return fail(w, err, "the writer's status is not understood");
	err = read_in(w, "stat", &text);
	if (err < 0)
		return err;
	err = procinfo_parse_stat(text, &w->stat);
	free(text);
	if (err < 0)
		return fail(w, err, "the writer's stat is not understood");
	if (w->status.tgid != ask->writer.pid || w->status.uid[3] != ask->uid ||
	    w->status.gid[3] != ask->gid)
		return fail(w, -ESRCH, "the writer is not there any more");
	return 0;
}

/*
 * A filter cannot be taken on from another process.  Those that init has, and
 * so the daemon and everybody, as in a container, are inherited by what it
 * restores: a writer under as many, of the same pid namespace, has no others.
 */
static int
check_seccomp(struct writer *w, const struct agent_request *ask)
{
	if (w->status.seccomp == 0 ||
	    (w->status.seccomp == 2 && w->status.seccomp_filters != 0 &&
		w->status.seccomp_filters == ask->seccomp_filters &&
		same_as_ours(w, "ns/pid")))
		return 0;
	return fail(w, -EPERM,
	    "the writer is under a seccomp filter, which a restored process "
	    "would not be under");
}

/* Without privileges there is nobody to become but oneself. */
static int
check_same_user(struct writer *w)
{
	const struct procinfo_status *st = &w->status;
	uid_t u[3];
	gid_t g[3];

	if (getresuid(&u[0], &u[1], &u[2]) < 0 ||
	    getresgid(&g[0], &g[1], &g[2]) < 0)
		return fail_errno(w, "getresuid");
	if (memcmp(u, st->uid, sizeof(u)) != 0 ||
	    memcmp(g, st->gid, sizeof(g)) != 0)
		return fail(w, -EPERM,
		    "the writer is not the user who runs the daemon, and the "
		    "daemon has no privileges to become him");
	if (w->other_root)
		return fail(w, -EPERM,
		    "the writer has another root directory, which a daemon "
		    "without privileges cannot change to");
	return 0;
}

static bool
is_character_device(const struct writer *w, int n)
{
	struct statx st;
	char file[32];

	snprintf(file, sizeof(file), "fd/%d", n);
	return statx(w->proc, file, AT_STATX_DONT_SYNC, STATX_TYPE, &st) == 0 &&
	       S_ISCHR(st.stx_mode);
}

/*
 * The first of the standard descriptors that is a terminal.  A duplicate of the
 * request must not be made: closing it waits, on kernels before 6.2 at least,
 * for the end of the write(2) that we serve (inode_lock() in fuse_flush()).
 */
static int
find_terminal(const struct writer *w)
{
	int n, fd;

	for (n = 0; n < 3; n++) {
		if (!is_character_device(w, n))
			continue;
		fd = pidfd_getfd(w->pidfd, n, 0);
		if (fd >= 0 && isatty(fd))
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

/*
 * Is descriptor `n` of the writer the .restore that it writes to?  A shell's
 * `echo dir > /snap/.restore` makes it the standard output of the shell.
 */
static bool
is_request(const struct writer *w, int n)
{
	char link[PATH_MAX], *base, file[32], *text;
	bool is = false;
	ssize_t len;

	snprintf(file, sizeof(file), "fd/%d", n);
	len = readlinkat(w->proc, file, link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = '\0';
	base = strrchr(link, '/');
	if (base == NULL || strcmp(base, "/.restore") != 0)
		return false;
	snprintf(file, sizeof(file), "fdinfo/%d", n);
	if (procinfo_read(w->proc, file, &text) < 0)
		return false;
	base = strstr(text, "\nino:\t");
	if (base != NULL)
		is = strtoul(base + 6, NULL, 10) == NODE_RESTORE;
	free(text);
	return is;
}

/*
 * Of output and error the one that is no request stands for both.  Input is the
 * request where it was closed and .restore got its number.
 */
static int
get_std(struct writer *w, int n)
{
	int from = n;

	if (n == 0 && is_request(w, n))
		return 0;
	if (is_request(w, n))
		from = 3 - n;
	if (is_request(w, from))
		return fail(w, -EINVAL,
		    "stdio=inherit: the writer's descriptor %d is .restore "
		    "itself",
		    n);
	w->std[n] = pidfd_getfd(w->pidfd, from, 0);
	if (w->std[n] < 0 && errno != EBADF)
		return fail(w, -errno, "stdio=inherit: descriptor %d: %s", n,
		    strerror(errno));
	return 0;
}

/*
 * With the daemon's rights, before it becomes the writer: he could hand over
 * his own descriptors to any child of his, but where tracing is restricted
 * (Yama) he may not take them from himself by way of another process.
 */
static int
open_std(struct writer *w, const struct agent_request *ask)
{
	int err = 0;

	for (int n = 0; n < 3 && err == 0 && ask->restore.inherit; n++)
		err = get_std(w, n);
	return err;
}

/* Still the one, after all of it was opened by number? */
static bool
still_there(const struct writer *w, const struct agent_request *ask)
{
	struct pollfd p = { .fd = w->pidfd, .events = POLLIN };
	struct procinfo_stat st;
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (proc < 0)
		return false;
	err = procinfo_stat(proc, ask->writer.pid, &st);
	close(proc);
	return err == 0 && poll(&p, 1, 0) == 0 &&
	       proc_id_equal(ask->writer, (struct proc_id){ st.pid, st.start });
}

int
writer_open(struct writer *w, const struct agent_request *ask)
{
	char path[64];
	int i, err;

	memset(w, 0, sizeof(*w));
	w->privileged = ask->privileged;
	w->proc = w->pidfd = w->root = w->cwd = w->userns = w->tty = -1;
	for (i = 0; i < WRITER_NS; i++)
		w->ns[i] = -1;
	for (i = 0; i < 3; i++)
		w->std[i] = -1;
	w->pidfd = pidfd_open(ask->writer.pid, 0);
	if (w->pidfd < 0)
		return fail_errno(w, "pidfd_open");
	snprintf(
	    path, sizeof(path), "/proc/%d/task/%d", ask->writer.pid, ask->tid);
	w->proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->proc < 0)
		return fail_errno(w, path);
	err = read_ids(w, ask);
	if (err == 0)
		err = check_seccomp(w, ask);
	if (err == 0)
		err = open_in(w, "root", O_PATH | O_DIRECTORY, &w->root);
	if (err == 0)
		err = open_in(w, "cwd", O_PATH | O_DIRECTORY, &w->cwd);
	if (err == 0)
		err = open_namespaces(w);
	if (err == 0)
		err = read_limits(w);
	if (err == 0)
		err = read_in(w, "cgroup", &w->cgroup);
	if (err == 0)
		err = read_in(w, "oom_score_adj", &w->oom);
	if (err < 0)
		return err;
	w->other_root = !same_as_ours(w, "root");
	w->tty = find_terminal(w);
	err = open_std(w, ask);
	if (err < 0)
		return err;
	if (!still_there(w, ask))
		return fail(w, -ESRCH, "the writer is not there any more");
	return w->privileged ? 0 : check_same_user(w);
}

void
writer_close(struct writer *w)
{
	int *fds[] = { &w->proc, &w->pidfd, &w->root, &w->cwd, &w->userns,
		&w->tty };
	size_t i;

	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	for (i = 0; i < WRITER_NS; i++) {
		if (w->ns[i] >= 0)
			close(w->ns[i]);
		w->ns[i] = -1;
	}
	procinfo_status_fini(&w->status);
	free(w->cgroup);
	free(w->oom);
	w->cgroup = w->oom = NULL;
}

/* ---- becoming the writer ---- */

static int
enter_namespaces(struct writer *w, bool *fork_needed)
{
	int i;

	for (i = 0; i < WRITER_NS; i++) {
		if (w->ns[i] < 0)
			continue;
		if (setns(w->ns[i], namespaces[i].type) < 0)
			return fail_errno(w, namespaces[i].file);
		if (namespaces[i].type == CLONE_NEWPID ||
		    namespaces[i].type == CLONE_NEWTIME)
			*fork_needed = true;
	}
	return 0;
}

/* setns(2) into a mount namespace goes to its root: so this comes after. */
static int
enter_directories(struct writer *w)
{
	if (w->other_root && (fchdir(w->root) < 0 || chroot(".") < 0))
		return fail_errno(w, "root directory");
	if (fchdir(w->cwd) < 0)
		return fail_errno(w, "working directory");
	return 0;
}

/*
 * Never more than the writer has.  Where he has more than the daemon, and the
 * daemon may not raise its own, they stay as they are.
 */
static int
take_limits(struct writer *w)
{
	struct rlimit own, r;
	char name[16];
	int i;

	for (i = 0; i < RLIM_NLIMITS; i++) {
		r = w->limits[i];
		if (setrlimit(i, &r) == 0)
			continue;
		if (errno != EPERM || getrlimit(i, &own) < 0) {
			snprintf(name, sizeof(name), "limit %d", i);
			return fail_errno(w, name);
		}
		if (r.rlim_max > own.rlim_max)
			r.rlim_max = own.rlim_max;
		if (r.rlim_cur > r.rlim_max)
			r.rlim_cur = r.rlim_max;
		if (setrlimit(i, &r) < 0)
			return fail_errno(w, "setrlimit");
	}
	return 0;
}

/* To raise it is free; what may not be lowered again stays the daemon's. */
static void
take_oom_score(struct writer *w)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, w->oom, strlen(w->oom)) < 0 && errno != EACCES)
		note(w, "oom_score_adj: %s", strerror(errno));
	close(fd);
}

/*
 * Whether root gets capabilities by executing a program depends on securebits,
 * which nobody sees of another process.  A root that has given up some may be
 * kept from having them again by these: so he is, here.
 */
static uint64_t
bounding_set(const struct writer *w)
{
	const struct procinfo_status *st = &w->status;
	bool root = st->uid[0] == 0 || st->uid[1] == 0 || st->uid[2] == 0;

	if (!root && w->userns < 0)
		return st->cap_bnd;
	return st->cap_bnd & (st->cap_prm | st->cap_inh);
}

static int
drop_bounding(struct writer *w)
{
	uint64_t set = bounding_set(w);
	int c;

	for (c = 0; c < 64 && prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (!(set & CAP(c)) &&
		    prctl(PR_CAPBSET_READ, c, 0, 0, 0) == 1 &&
		    prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return fail_errno(w, "capability bounding set");
	return 0;
}

static uint64_t
permitted(void)
{
	uint64_t eff, prm, inh;

	return caps_get(&eff, &prm, &inh) < 0 ? 0 : prm;
}

/*
 * The ids as they are seen from the daemon's user namespace, since that is
 * where they are set.  The capabilities stay until they are set themselves.
 */
static int
take_ids(struct writer *w)
{
	const struct procinfo_status *st = &w->status;

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return fail_errno(w, "PR_SET_KEEPCAPS");
	if (setgroups(st->ngroups, st->groups) < 0)
		return fail_errno(w, "setgroups");
	if (setresgid(st->gid[0], st->gid[1], st->gid[2]) < 0)
		return fail_errno(w, "setresgid");
	if (setresuid(st->uid[0], st->uid[1], st->uid[2]) < 0)
		return fail_errno(w, "setresuid");
	if (caps_set(permitted(), permitted(), 0) < 0)
		return fail_errno(w, "capset");
	setfsgid(st->gid[3]);
	setfsuid(st->uid[3]);
	if ((uid_t)setfsuid((uid_t)-1) != st->uid[3] ||
	    (gid_t)setfsgid((gid_t)-1) != st->gid[3]) {
		errno = EPERM;
		return fail_errno(w, "setfsuid");
	}
	/* That changes the effective set. */
	if (caps_set(permitted(), permitted(), 0) < 0)
		return fail_errno(w, "capset");
	return 0;
}

static int
take_capabilities(struct writer *w)
{
	const struct procinfo_status *st = &w->status;
	uint64_t have = permitted();
	int c;

	w->lent = LENT & have & ~st->cap_prm;
	/* Permitted, not in effect: the library knows when. */
	if (caps_set(st->cap_eff & have, (st->cap_prm & have) | w->lent,
		st->cap_inh & have) < 0)
		return fail_errno(w, "capset");
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return fail_errno(w, "PR_SET_KEEPCAPS");
	for (c = 0; c < 64; c++)
		if ((st->cap_amb & CAP(c)) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0 &&
		    errno != EPERM)
			return fail_errno(w, "ambient capabilities");
	return 0;
}

static int
take_credentials(struct writer *w)
{
	int err;

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return fail_errno(w, "ambient capabilities");
	if (bounding_set(w) != w->status.cap_bnd)
		note(w, "capability bounding set: what you have");
	err = w->privileged ? drop_bounding(w) : 0;
	if (err == 0 && w->privileged)
		err = take_ids(w);
	if (err < 0)
		return err;
	if (w->userns >= 0) {
		/* All capabilities in it, and the bounding set whole again. */
		if (setns(w->userns, CLONE_NEWUSER) < 0)
			return fail_errno(w, "ns/user");
		err = drop_bounding(w);
		if (err < 0)
			return err;
	}
	if (w->status.no_new_privs &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail_errno(w, "PR_SET_NO_NEW_PRIVS");
	return take_capabilities(w);
}

void
writer_outlive_parent(void)
{
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

void
writer_die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

/*
 * CAP_KILL stays, if the writer had it: what was restored may change its ids,
 * and must yet be killed if its memory cannot be brought.
 */
void
writer_be_pager(void)
{
	uint64_t keep = permitted() & CAP(CAP_KILL);

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	(void)caps_set(keep, keep, 0);
	(void)!chdir("/");
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

int
writer_become(struct writer *w, bool *fork_needed)
{
	int err;

	*fork_needed = false;
	snap_cgroup_join(w->cgroup, w->notes, sizeof(w->notes));
	take_oom_score(w);
	err = enter_namespaces(w, fork_needed);
	if (err == 0)
		err = enter_directories(w);
	if (err == 0)
		err = take_limits(w);
	umask(w->status.umask);
	if (err == 0)
		err = take_credentials(w);
	if (err < 0)
		return err;
	/*
	 * Changed ids made it undumpable, and then nobody without CAP_SYS_PTRACE
	 * may trace it or its children, not even itself.  What it holds is the
	 * writer's own; and while it has a capability lent, the writer still
	 * may not trace it, for he has that not.
	 */
	if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
		return fail_errno(w, "PR_SET_DUMPABLE");
	writer_die_with_parent();
	return 0;
}
