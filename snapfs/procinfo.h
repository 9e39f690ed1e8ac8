/*
 * procinfo.h - what /proc says of a process or a thread.
 *
 * The parsers are pure and take the text of a file; the readers take an open
 * /proc, so that another mount namespace's is no matter.
 */
#ifndef PROCINFO_H
#define PROCINFO_H

#include "node.h"

#include <stddef.h>
#include <sys/resource.h>

/* /proc/PID/stat, proc(5) */
struct procinfo_stat {
	pid_t pid, ppid, pgid, sid;
	char state;
	int tty;	/* device number of the controlling terminal, 0: none */
	pid_t tty_pgid; /* the process group in the foreground there, or -1 */
	bool kernel;
	uint64_t start;
};

/* /proc/TID/status */
struct procinfo_status {
	pid_t tgid, tracer;
	uid_t uid[4]; /* real, effective, saved, of the file system */
	gid_t gid[4];
	gid_t *groups; /* owned */
	size_t ngroups;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	mode_t umask;
	bool no_new_privs;
	unsigned seccomp, seccomp_filters;
};

/* 0 or -EPROTO. */
int procinfo_parse_stat(const char *text, struct procinfo_stat *out);
int procinfo_parse_status(const char *text, struct procinfo_status *out);
void procinfo_status_fini(struct procinfo_status *st);

/* Limits from the text of /proc/PID/limits; those not named stay. */
int procinfo_parse_limits(const char *text, struct rlimit out[RLIM_NLIMITS]);

/* Bytes that only this process has, from the text of /proc/PID/smaps_rollup. */
int procinfo_parse_private(const char *text, uint64_t *bytes);

/* The same of all that it has. */
int procinfo_parse_resident(const char *text, uint64_t *bytes);

/*
 * Read `file` of the directory `dir` (a /proc/PID) whole, NUL-terminated, into
 * *text, to be freed.  0 or -errno; ESRCH if the process is gone.
 */
int procinfo_read(int dir, const char *file, char **text);

/* /proc/PID/FILE into `buf`; for the small files that every request wants. */
int procinfo_read_small(
    int proc, pid_t pid, const char *file, char *buf, size_t size);

/*
 * Has the thread a signal to handle, but those of the mask `but`?  Also if it
 * is gone.
 */
bool procinfo_signalled(int proc, pid_t tid, uint64_t but);

/* By a signal or by whoever traces it; not so if it is gone. */
bool procinfo_is_stopped(int proc, pid_t pid);

int procinfo_stat(int proc, pid_t pid, struct procinfo_stat *out);

#endif
