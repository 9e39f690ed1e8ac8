/*
 * access.h - whose rights a request has.
 *
 * The kernel decides, asked with the caller's own credentials: a thread of the
 * daemon takes on his uid, gid and capabilities (they belong to the thread in
 * Linux) and opens the target's /proc/PID/mem, which wants what PTRACE_ATTACH
 * wants, but of the ids of the file system instead of the real ones.  Where he
 * has different ones of the two, as in a set-user-ID program, both must do.
 * For a caller in another user namespace a process goes there.
 */
#ifndef ACCESS_H
#define ACCESS_H

#include "procinfo.h"
#include "view.h"

struct access {
	int proc;  /* /proc, open; borrowed */
	uid_t uid; /* the daemon's own */
	gid_t gid;
	uint64_t eff, prm, inh;
	uint64_t userns, pidns; /* inodes of the daemon's own */
};

/* Who asks: the thread, its process, and the rights that count. */
struct caller {
	pid_t tid;
	struct proc_id id;
	struct view_creds creds;
};

int access_init(struct access *ac, int proc);

/*
 * Capabilities that the daemon's threads use; the others are put aside (they
 * stay permitted, for a restored process may have had them).
 */
int access_lower(struct access *ac);

/*
 * Who thread `tid` is, while it is blocked in a request with these ids.  0 or
 * -errno: EPERM if it cannot be seen from here (tid 0: another pid namespace).
 */
int access_caller(const struct access *ac, pid_t tid, uid_t uid, gid_t gid,
    struct caller *out);

/*
 * What the kernel answers `who` who would attach to the process `pid`: 0, or
 * -errno; -ESRCH too where `pid` is not in his pid namespace.  -EPERM where the
 * daemon cannot stand for him.
 */
int access_check(
    const struct access *ac, const struct view_creds *who, pid_t pid);

/*
 * The same of `n` processes, err[i] being the answer for pids[i].  -errno if it
 * cannot be asked.
 */
int access_check_all(const struct access *ac, const struct view_creds *who,
    const pid_t *pids, size_t n, int *err);

#endif
