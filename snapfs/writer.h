/*
 * writer.h - becoming the one who wrote into .restore.
 *
 * What the writer is, is opened first, with the daemon's rights, while the
 * writer is blocked in write(2) and can change nothing; then, step by step,
 * the calling process takes on his cgroups, namespaces, root, directory,
 * limits and credentials.  For a process of its own, with one thread.
 */
#ifndef WRITER_H
#define WRITER_H

#include "agent.h"
#include "procinfo.h"

#define WRITER_NS 7 /* namespaces, but for the user's */

struct writer {
	bool privileged; /* may become others */
	int proc;	 /* its /proc/TID */
	int pidfd, root, cwd;
	int ns[WRITER_NS]; /* only those that differ from ours, else -1 */
	int userns;
	bool other_root;
	struct procinfo_stat stat;
	struct procinfo_status status;
	struct rlimit limits[RLIM_NLIMITS];
	char *cgroup;	 /* /proc/TID/cgroup */
	char *oom;	 /* its oom_score_adj */
	int tty;	 /* a terminal that it has open, -1 */
	int std[3];	 /* its standard descriptors if asked for, -1: closed */
	uint64_t lent;	 /* capabilities that it has not: set by become */
	char why[512];	 /* the sentence, when something failed */
	char notes[512]; /* what could not be taken on */
};

/* 0, or -errno with w->why.  writer_close() in either case. */
int writer_open(struct writer *w, const struct agent_request *ask);
void writer_close(struct writer *w);

/*
 * 0, or -errno with w->why: then the process is neither and must exit.  If the
 * writer is in another pid namespace, *fork_needed: only a child will be in it.
 */
int writer_become(struct writer *w, bool *fork_needed);

/* Die with the parent; to be said again in a new child. */
void writer_die_with_parent(void);
void writer_outlive_parent(void);

/*
 * It has done its work and becomes a pager, which needs hardly any rights, and
 * lives on when its parent ends.
 */
void writer_be_pager(void);

#endif
