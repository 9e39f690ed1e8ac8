#include "access.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP(c) (UINT64_C(1) << (c))

/*
 * What the daemon itself does with capabilities:
 *
 *	SYS_PTRACE         freeze a process of another user, read its memory
 *	DAC_READ_SEARCH    find /proc/PID of another user
 *	DAC_OVERRIDE       open /proc/PID/mem and map_files of another user
 *	SYS_ADMIN          map_files, PTRACE_O_SUSPEND_SECCOMP, the unmount
 *	CHECKPOINT_RESTORE map_files, PAGEMAP
 *	KILL               end an agent that has become another user
 *	SETUID SETGID      ask for access as the caller
 *	SETPCAP            the same for his capabilities
 *	SYS_RESOURCE       descriptors and limits of targets, where there is it
 *	IPC_OWNER          shared memory segments of another user
 *	NET_ADMIN          the queues of sockets
 *
 * The agent of a restore starts with all that is permitted, since it becomes
 * the writer, who may have any.
 */
#define NEEDED \
	(CAP(CAP_SYS_PTRACE) | CAP(CAP_DAC_READ_SEARCH) | \
	    CAP(CAP_DAC_OVERRIDE) | CAP(CAP_SYS_ADMIN) | \
	    CAP(CAP_CHECKPOINT_RESTORE) | CAP(CAP_KILL) | CAP(CAP_SETUID) | \
	    CAP(CAP_SETGID) | CAP(CAP_SETPCAP) | CAP(CAP_SYS_RESOURCE) | \
	    CAP(CAP_IPC_OWNER) | CAP(CAP_NET_ADMIN))

/* ---- capabilities of the calling thread ---- */

static int
caps_get(uint64_t *eff, uint64_t *prm, uint64_t *inh)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	*eff = d[0].effective | (uint64_t)d[1].effective << 32;
	*prm = d[0].permitted | (uint64_t)d[1].permitted << 32;
	*inh = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	return 0;
}

static int
caps_set(uint64_t eff, uint64_t prm, uint64_t inh)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = {
		{ (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
		{ (uint32_t)(eff >> 32), (uint32_t)(prm >> 32),
		    (uint32_t)(inh >> 32) },
	};

	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

int
access_init(struct access *ac, int proc)
{
	struct stat st;
	int err;

	ac->proc = proc;
	ac->uid = geteuid();
	ac->gid = getegid();
	err = caps_get(&ac->eff, &ac->prm, &ac->inh);
	if (err < 0)
		return err;
	if (fstatat(proc, "self/ns/user", &st, 0) < 0)
		return -errno;
	ac->userns_dev = st.st_dev;
	ac->userns_ino = st.st_ino;
	return 0;
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

/*
 * Capabilities in another user namespace are no rights here, not even for its
 * own processes: whoever made that namespace would have them for nothing.
 */
static bool
same_userns(const struct access *ac, pid_t tid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "%d/ns/user", tid);
	return fstatat(ac->proc, path, &st, 0) == 0 &&
	       st.st_dev == ac->userns_dev && st.st_ino == ac->userns_ino;
}

/* The value after "\nkey:\t" in base `base`. */
static bool
field(const char *text, const char *key, int base, uint64_t *out)
{
	const char *p = strstr(text, key);

	if (p == NULL)
		return false;
	*out = strtoull(p + strlen(key), NULL, base);
	return true;
}

int
access_caller(const struct access *ac, pid_t tid, uid_t uid, gid_t gid,
    struct caller *out)
{
	struct procinfo_stat st;
	uint64_t tgid, caps;
	char text[4096];
	int err;

	if (tid == 0)
		return -EPERM;
	err = procinfo_read_small(ac->proc, tid, "status", text, sizeof(text));
	if (err < 0)
		return err == -ESRCH ? -EPERM : err;
	/*
	 * A long list of groups may push CapEff out of the buffer: then it is
	 * as if there were no capabilities, which is safe.
	 */
	if (!field(text, "\nTgid:", 10, &tgid))
		return -EPROTO;
	if (!field(text, "\nCapEff:", 16, &caps) || !same_userns(ac, tid))
		caps = 0;
	err = procinfo_stat(ac->proc, (pid_t)tgid, &st);
	if (err < 0)
		return err;
	out->tid = tid;
	out->id.pid = (pid_t)tgid;
	out->id.start = st.start;
	out->creds.uid = uid;
	out->creds.gid = gid;
	out->creds.caps = caps;
	return 0;
}

/* ---- asking the kernel ---- */

/* The file's mode is not what counts, ptrace's rule is: so pass the mode. */
static uint64_t
effective_for(const struct access *ac, const struct view_creds *who)
{
	return ac->eff & (who->caps | CAP(CAP_DAC_READ_SEARCH));
}

static bool
as_ourselves(const struct access *ac, const struct view_creds *who)
{
	return who->uid == ac->uid && who->gid == ac->gid &&
	       effective_for(ac, who) == ac->eff;
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

void
access_end(const struct access *ac, const struct view_creds *who)
{
	if (as_ourselves(ac, who))
		return;
	/* The ids first: that changes capabilities, which are set then. */
	if (caps_set(ac->eff, ac->prm, ac->inh) < 0 ||
	    !set_fs_ids(ac->uid, ac->gid) ||
	    caps_set(ac->eff, ac->prm, ac->inh) < 0) {
		/* A thread that is half somebody else must not go on. */
		abort();
	}
}

int
access_begin(const struct access *ac, const struct view_creds *who)
{
	if (as_ourselves(ac, who))
		return 0;
	if (!set_fs_ids(who->uid, who->gid) ||
	    caps_set(effective_for(ac, who), ac->prm, ac->inh) < 0) {
		access_end(ac, who);
		return -EPERM;
	}
	return 0;
}

int
access_ask(const struct access *ac, pid_t pid)
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

int
access_check(const struct access *ac, const struct view_creds *who, pid_t pid)
{
	int err = access_begin(ac, who);

	if (err < 0)
		return err;
	err = access_ask(ac, pid);
	access_end(ac, who);
	return err;
}
