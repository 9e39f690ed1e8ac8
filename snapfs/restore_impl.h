/*
 * restore_impl.h - a restore that is under way, for the files that do it.
 *
 *	restore.c		the request: parsed, its rights checked, begun
 *	restore_agent.c		the agent's process, begun, listened to, reaped
 *	restore_answer.c	what the writer and the reader of .restore get
 *	restore_wait.c		what is complete and waits for the writer's word
 */
#ifndef RESTORE_IMPL_H
#define RESTORE_IMPL_H

#include "agent.h"
#include "broker.h"
#include "restore.h"

#include <sys/types.h>

struct restore {
	struct snapfs *fs;
	fuse_req_t req;	 /* NULL: it was answered, for it waits */
	fuse_req_t keep; /* who asked to keep it, until it is kept */
	size_t keep_size;
	struct handle *handle; /* open as long as the write is not answered;
				  NULL: closed while it waited */
	struct caller writer;
	enum { BY_WRITE, BY_READ, BY_CLOSE } by; /* which call is answered */
	size_t size;				 /* BY_WRITE, BY_READ */
	off_t off;				 /* BY_READ */
	off_t end; /* the file offset behind what was written */
	struct agent_request ask;
	bool waits;    /* for more to be written */
	int interrupt; /* an eventfd */
	struct log_job log;

	pid_t agent;
	int sock;
	struct broker broker;
	struct agent_message result;
	char more[CONTROL_ANSWER_MAX / 2]; /* pids, one a line */
	bool has_result;
	pid_t ends;	       /* it has said all, and is to be reaped; or 0 */
	struct paging *paging; /* it goes on as a pager */
	int terminal;	       /* see struct handle; owned */
};

/*
 * Its agent, from start to end; or to its result, where that is a process: then
 * it goes on as a pager, or `ends`.
 */
void restore_run_agent(struct restore *r);
void restore_reap_agent(struct snapfs *fs, pid_t agent);

/* As recv(2); the descriptors, -1 where there is none, are the caller's. */
ssize_t restore_receive(
    int sock, struct agent_message *m, int flags, int fds[AGENT_FDS]);
void restore_close_fds(const int fds[AGENT_FDS]);

/* It is complete, and waits for a word: answer the write. */
void restore_waits(struct restore *r, pid_t pid);
bool restore_is_waiting(struct restore *r);
/* It was told to keep it, and has. */
void restore_kept(struct restore *r);
void restore_waits_no_more(struct restore *r);

/* Until the pager has ended; frees it. */
void restore_listen_to_pager(struct paging *p);

void restore_set_result(struct restore *r, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Log the result, leave the answer for readers, reply.  Frees it. */
void restore_done(struct restore *r);

/* Reply 0, which says nothing yet, or -errno.  Frees it. */
void restore_reply(struct restore *r, int err);

/* For a later call on the open file to go on with. */
int restore_keep(struct restore *r);

#endif
