#include "access.h"

#include "caps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * What the daemon itself does with capabilities:
 *
 *	SYS_PTRACE         freeze a process of another user, read its memory
 *	DAC_READ_SEARCH    find /proc/PID of another user
 *	DAC_OVERRIDE       open /proc/PID/mem and map_files of another user
 *	SYS_ADMIN          map_files, seccomp filters, the unmount
 *	CHECKPOINT_RESTORE map_files, PAGEMAP
 *	KILL               end an agent that has become another user
 *	SETUID SETGID      ask for access as the caller
 *	SETPCAP            the same for his capabilities
 *	SYS_RESOURCE       descriptors and limits of targets, where there is it
 *	IPC_OWNER          shared memory segments of another user
 *	NET_ADMIN          the queues of sockets
 *	SYS_NICE           what must not be kept waiting: the guard of these
 *
 * The agent of a restore starts with all that is permitted, since it becomes
 * the writer, who may have any.
 */
#define NEEDED \
	(CAP(CAP_SYS_PTRACE) | CAP(CAP_DAC_READ_SEARCH) | \
	    CAP(CAP_DAC_OVERRIDE) | CAP(CAP_SYS_ADMIN) | \
	    CAP(CAP_CHECKPOINT_RESTORE) | CAP(CAP_KILL) | CAP(CAP_SETUID) | \
	    CAP(CAP_SETGID) | CAP(CAP_SETPCAP) | CAP(CAP_SYS_RESOURCE) | \
	    CAP(CAP_IPC_OWNER) | CAP(CAP_NET_ADMIN) | CAP(CAP_SYS_NICE))

/* The inode of a namespace, which is its name; 0 if it cannot be seen. */
static uint64_t
namespace_of(const struct access *ac, pid_t tid, const char *kind)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%d/ns/%s", tid, kind);
	return fstatat(ac->proc, path, &st, 0) < 0 ? 0 : st.st_ino;
}

int
access_init(struct access *ac, int proc)
{
	int err;

	ac->proc = proc;
	ac->uid = geteuid();
	ac->gid = getegid();
	err = caps_get(&ac->eff, &ac->prm, &ac->inh);
	if (err < 0)
		return err;
	ac->userns = namespace_of(ac, getpid(), "user");
	ac->pidns = namespace_of(ac, getpid(), "pid");
	return ac->userns == 0 || ac->pidns == 0 ? -EPROTO : 0;
}

int
access_lower(struct access *ac)
{
	uint64_t eff = ac->eff & NEEDED;
	int err = caps_set(eff, ac->prm, ac->inh);

	if (err == 0)
		ac->eff = eff;
	return err;
}

/* ---- who asks ---- */

/* A list of numbers after "\nkey:\t", in base `base`. */
static bool
fields(const char *text, const char *key, int base, uint64_t *out, int n)
{
	const char *p = strstr(text, key);
	char *end;

	if (p == NULL)
		return false;
	p += strlen(key);
	for (int i = 0; i < n; i++, p = end) {
		out[i] = strtoull(p, &end, base);
		if (end == p)
			return false;
	}
	return true;
}

/*
 * Capabilities in another user namespace are no rights here: whoever made that
 * namespace would have them for nothing.
 */
static int
caller_creds(const struct access *ac, pid_t tid, const char *text,
    struct view_creds *out)
{
	uint64_t uid[4], gid[4], eff = 0, prm = 0, userns, pidns;

	if (!fields(text, "\nUid:", 10, uid, 4) ||
	    !fields(text, "\nGid:", 10, gid, 4))
		return -EPROTO;
	/*
	 * A long list of groups may push these out of the buffer: then it is
	 * as if there were none, which is safe.
	 */
	if (!fields(text, "\nCapEff:", 16, &eff, 1) ||
	    !fields(text, "\nCapPrm:", 16, &prm, 1))
		eff = prm = 0;
	userns = namespace_of(ac, tid, "user");
	pidns = namespace_of(ac, tid, "pid");
	if (userns == 0 || pidns == 0)
		return -EPERM;
	out->ruid = (uid_t)uid[0];
	out->rgid = (gid_t)gid[0];
	out->tid = tid;
	if (pidns != ac->pidns)
		out->pidns = pidns;
	if (userns != ac->userns) {
		out->userns = userns;
		out->ns_eff = eff;
		out->ns_prm = prm;
	} else {
		out->caps = eff;
	}
	return 0;
}

int
access_caller(const struct access *ac, pid_t tid, uid_t uid, gid_t gid,
    struct caller *out)
{
	struct procinfo_stat st;
	uint64_t tgid;
	char text[4096];
	int err;

	memset(out, 0, sizeof(*out));
	if (tid == 0)
		return -EPERM;
	err = procinfo_read_small(ac->proc, tid, "status", text, sizeof(text));
	if (err < 0)
		return err == -ESRCH ? -EPERM : err;
	if (!fields(text, "\nTgid:", 10, &tgid, 1))
		return -EPROTO;
	out->creds.uid = uid;
	out->creds.gid = gid;
	err = caller_creds(ac, tid, text, &out->creds);
	if (err == 0)
		err = procinfo_stat(ac->proc, (pid_t)tgid, &st);
	if (err < 0)
		return err;
	out->tid = tid;
	out->id.pid = (pid_t)tgid;
	out->id.start = st.start;
	return 0;
}

/* ---- asking the kernel, as a thread of the daemon ---- */

/* Some processes, and the answer for each so far. */
struct question {
	const pid_t *pids;
	size_t n;
	int *err;
};

static int
ask_one(const struct access *ac, pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "%d/mem", pid);
	fd = openat(ac->proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ESRCH || errno == ENOENT ? -ESRCH : -errno;
	close(fd);
	return 0;
}

static void
ask(const struct access *ac, const struct question *q)
{
	for (size_t i = 0; i < q->n; i++)
		if (q->err[i] == 0)
			q->err[i] = ask_one(ac, q->pids[i]);
}

/* setfsuid(2) does not say whether it failed; asked with -1 it tells. */
static bool
set_fs_ids(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
	return (gid_t)setfsgid((gid_t)-1) == gid &&
	       (uid_t)setfsuid((uid_t)-1) == uid;
}

static void
be_ourselves(const struct access *ac)
{
	/* The ids first: that changes capabilities, which are set then. */
	if (caps_set(ac->eff, ac->prm, ac->inh) < 0 ||
	    !set_fs_ids(ac->uid, ac->gid) ||
	    caps_set(ac->eff, ac->prm, ac->inh) < 0) {
		/* A thread that is half somebody else must not go on. */
		abort();
	}
}

/*
 * Where the right to trace is had by a capability, the mode of /proc/PID/mem
 * does not count.  Nobody else gets one more than he has: the kernel asks
 * whether he has all that the target has.
 */
static uint64_t
passing_modes(uint64_t caps)
{
	return caps & CAP(CAP_SYS_PTRACE) ? caps | CAP(CAP_DAC_READ_SEARCH)
					  : caps;
}

static int
ask_as(const struct access *ac, uid_t uid, gid_t gid, uint64_t caps,
    const struct question *q)
{
	int err = 0;

	if (!set_fs_ids(uid, gid) ||
	    caps_set(ac->prm & passing_modes(caps), ac->prm, ac->inh) < 0)
		err = -EPERM;
	else
		ask(ac, q);
	be_ourselves(ac);
	return err;
}

/* ---- asking it as a process of his ---- */

static bool
is_in_other_userns(const struct access *ac, pid_t pid)
{
	uint64_t ns = namespace_of(ac, pid, "user");

	return ns != 0 && ns != ac->userns;
}

/*
 * In a child, which has one thread, as setns(2) wants it, and nothing of the
 * daemon to lose.  Only system calls here: other threads had locks.  `userns`
 * is his, -1 if it is ours.
 */
static int
ask_as_process(const struct access *ac, const struct view_creds *who,
    int userns, const struct question *q)
{
	uint64_t prm = userns < 0 ? who->caps : who->ns_prm;
	uint64_t eff = passing_modes(userns < 0 ? who->caps : who->ns_eff);

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_setresgid, who->gid, who->gid, who->gid) < 0 ||
	    syscall(SYS_setresuid, who->uid, who->uid, who->uid) < 0 ||
	    caps_set(ac->prm, ac->prm, 0) < 0 ||
	    (userns >= 0 && setns(userns, CLONE_NEWUSER) < 0) ||
	    caps_set(eff, prm | eff, 0) < 0)
		return -EPERM;
	ask(ac, q);
	if (who->ruid == who->uid && who->rgid == who->gid)
		return 0;
	if (!set_fs_ids(who->ruid, who->rgid) ||
	    caps_set(eff, prm | eff, 0) < 0)
		return -EPERM;
	ask(ac, q);
	return 0;
}

static void __attribute__((noreturn)) ask_in_child(const struct access *ac,
    const struct view_creds *who, int userns, int out, const struct question *q)
{
	const char *p = (const char *)q->err;
	size_t len = q->n * sizeof(*q->err);
	ssize_t n = 0;

	if (ask_as_process(ac, who, userns, q) < 0)
		_exit(1);
	for (; len > 0 && n >= 0; p += n, len -= (size_t)n)
		n = write(out, p, len);
	_exit(n < 0);
}

/* All that the child has to say, or -EPERM: it could not become the caller. */
static int
hear(int in, pid_t child, const struct question *q)
{
	char *p = (char *)q->err;
	size_t left = q->n * sizeof(*q->err);
	ssize_t n = 1;
	int status = 1;

	while (left > 0 && n != 0) {
		n = read(in, p, left);
		if (n < 0 && errno != EINTR)
			break;
		p += n > 0 ? n : 0;
		left -= n > 0 ? (size_t)n : 0;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return left == 0 && status == 0 ? 0 : -EPERM;
}

/* His user namespace, -EPERM if he has gone, or gone elsewhere. */
static int
open_userns(const struct access *ac, const struct view_creds *who)
{
	char path[64];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%d/ns/user", who->tid);
	fd = openat(ac->proc, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == who->userns)
		return fd;
	if (fd >= 0)
		close(fd);
	return -EPERM;
}

static int
ask_by_child(const struct access *ac, const struct view_creds *who,
    const struct question *q)
{
	int userns = -1, pipes[2] = { -1, -1 }, err = 0;
	pid_t child = -1;

	if (who->userns != 0 && (userns = open_userns(ac, who)) < 0)
		return userns;
	if (pipe2(pipes, O_CLOEXEC) < 0 || (child = fork()) < 0)
		err = -errno;
	if (child == 0)
		ask_in_child(ac, who, userns, pipes[1], q);
	if (userns >= 0)
		close(userns);
	if (pipes[1] >= 0)
		close(pipes[1]);
	if (err == 0)
		err = hear(pipes[0], child, q);
	if (pipes[0] >= 0)
		close(pipes[0]);
	return err;
}

/*
 * Whoever made a user namespace may trace all that is in it; but the kernel
 * knows him by his effective uid, which no thread of the daemon can have.  So
 * where a no is about such a process, ask again.
 */
static int
ask_as_owner(const struct access *ac, const struct view_creds *who,
    const struct question *q)
{
	struct question again = { 0 };
	pid_t *pids = calloc(q->n, sizeof(*pids));
	int *answers = calloc(q->n, sizeof(*answers)), err = 0;

	again.pids = pids;
	again.err = answers;
	if (pids == NULL || answers == NULL)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < q->n; i++)
		if ((q->err[i] == -EACCES || q->err[i] == -EPERM) &&
		    is_in_other_userns(ac, q->pids[i]))
			pids[again.n++] = q->pids[i];
	if (again.n > 0)
		err = ask_by_child(ac, who, &again);
	for (size_t i = 0, k = 0; err == 0 && k < again.n; i++)
		if (q->pids[i] == pids[k])
			q->err[i] = answers[k++];
	free(pids);
	free(answers);
	return err;
}

/* ---- pid namespaces ---- */

/*
 * Is the process in the pid namespace `ns`, or in one below?  Whoever is in
 * another one has no number for it, and could not name it to ptrace(2).
 */
static bool
is_in_pidns(const struct access *ac, pid_t pid, uint64_t ns)
{
	char path[64];
	struct stat st;
	int fd, parent;
	bool found = false;

	snprintf(path, sizeof(path), "%d/ns/pid", pid);
	fd = openat(ac->proc, path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0) {
		found = fstat(fd, &st) == 0 && st.st_ino == ns;
		/* EPERM above our own. */
		parent = found ? -1 : ioctl(fd, NS_GET_PARENT);
		close(fd);
		fd = parent;
	}
	return found;
}

/* ---- all of it ---- */

int
access_check_all(const struct access *ac, const struct view_creds *who,
    const pid_t *pids, size_t n, int *err)
{
	struct question q = { pids, n, err };
	int e;

	memset(err, 0, n * sizeof(*err));
	for (size_t i = 0; who->pidns != 0 && i < n; i++)
		if (!is_in_pidns(ac, pids[i], who->pidns))
			err[i] = -ESRCH;
	if (who->userns != 0)
		return ask_by_child(ac, who, &q);
	e = ask_as(ac, who->uid, who->gid, who->caps, &q);
	if (e == 0 && (who->ruid != who->uid || who->rgid != who->gid))
		e = ask_as(ac, who->ruid, who->rgid, who->caps, &q);
	return e == 0 ? ask_as_owner(ac, who, &q) : e;
}

int
access_check(const struct access *ac, const struct view_creds *who, pid_t pid)
{
	int err, one;

	err = access_check_all(ac, who, &pid, 1, &one);
	return err < 0 ? err : one;
}
