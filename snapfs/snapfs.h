/*
 * snapfs.h - one mount: what its callbacks, jobs and housekeeper share.
 */
#ifndef SNAPFS_H
#define SNAPFS_H

#define FUSE_USE_VERSION 312

#include "access.h"
#include "buffer.h"
#include "control.h"
#include "log.h"
#include "opts.h"
#include "standby.h"
#include "templates.h"
#include "view.h"

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>

#define MAX_AGENTS 32u	 /* restores at once */
#define AGENTS_SHARE 16u /* of each user but the daemon's own */

struct counters {
	uint64_t checkpoints, failed, restores, failed_restores;
	uint64_t frozen_us_max;
};

/* An agent that goes on as a pager; owned by the thread that listens to it. */
struct paging {
	LIST_ENTRY(paging) entry;
	struct snapfs *fs;
	pid_t pager, pid; /* it, and of whom */
	bool tree;	  /* and of those below it */
	int sock;
	struct log_job log;
};

struct snapfs {
	struct fuse_session *se;
	struct opts opts;
	struct log *log;
	struct access access;
	int proc; /* /proc, open */
	struct timespec since;
	unsigned seccomp_filters; /* that all here are under */
	struct housekeeper *housekeeper;
	struct buffers buffers;

	pthread_mutex_t lock;  /* of all below, and of what views have */
	pthread_cond_t quiet;  /* a job or an agent has ended */
	pthread_cond_t closed; /* the last open file of a view was closed */
	pthread_cond_t made;   /* a template was made, or will not be */
	struct view_table views;
	struct templates templates;
	struct standby standby;
	struct control_answers answers;
	struct counters counters;
	unsigned njobs;		       /* threads of checkpoints */
	LIST_HEAD(, job) jobs;	       /* the same */
	pid_t agents[MAX_AGENTS];      /* at work; 0: free, -1: being started */
	uid_t agents_uids[MAX_AGENTS]; /* whose they are, if they are */
	LIST_HEAD(, paging) paging;    /* agents that became pagers */
	LIST_HEAD(, lender) lenders;   /* see lender.h */
	LIST_HEAD(, tracked) tracked;  /* see track.h */
	unsigned ntracked;
	LIST_HEAD(, holder) holders; /* see holder.h */
	bool closing; /* unmounted: nothing new, no notifications */
};

/* ms of CLOCK_MONOTONIC, for views. */
uint64_t snapfs_now(void);

/*
 * Is this process one of the daemon's own (the daemon, its twins, its agents)
 * and so not there?  Takes the lock.
 */
bool snapfs_own(struct snapfs *fs, const struct procinfo_stat *st);

/*
 * The reply to a request that failed; 0: it did not.  To the kernel ENOSYS of
 * one request says that it need not make another of its kind: it would go on
 * without open() and its handles.  And what is no errno it does not take at all.
 */
static inline void
snapfs_reply_err(fuse_req_t req, int err)
{
	if (err == -ENOSYS)
		err = -EOPNOTSUPP;
	fuse_reply_err(req, err > 0 || err < -511 ? EIO : -err);
}

#endif
