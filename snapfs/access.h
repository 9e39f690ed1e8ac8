/*
 * access.h - whose rights a request has.
 *
 * The kernel decides, asked with the caller's own credentials: a thread of the
 * daemon takes on his uid, gid and capabilities (they belong to the thread in
 * Linux) and opens the target's /proc/PID/mem, which wants exactly what
 * PTRACE_ATTACH wants.
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
	dev_t userns_dev;
	ino_t userns_ino;
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
 * The calling thread takes on the rights of `who` for access_ask(), and takes
 * its own back.  access_begin() fails with -EPERM, with nothing changed, where
 * the daemon may not do that.
 */
int access_begin(const struct access *ac, const struct view_creds *who);
void access_end(const struct access *ac, const struct view_creds *who);
int access_ask(const struct access *ac, pid_t pid);

/* The three in one. */
int access_check(
    const struct access *ac, const struct view_creds *who, pid_t pid);

#endif
