/*
 * restore.h - one restore, as its parts see it.
 *
 * Three processes take part.  The *agent* (our caller) has become whoever
 * asked for the restore; it reads, plans, opens files, and traces.  The
 * *parent* is a fork of it which creates the new process and waits: when it
 * ends, the new process is adopted as any orphan is, while the agent still
 * traces it.  (With opt->child it is born as the agent's own child instead.)
 * The *new process* opens its descriptors in ordinary C, then
 * becomes the image by way of the restorer.
 *
 * If the agent dies, the parent and the new process see the end of their
 * pipes; once it is traced, PTRACE_O_EXITKILL takes the new process along.
 */
#ifndef RESTORE_H
#define RESTORE_H

#include "layout.h"
#include "plan.h"
#include "process.h"
#include "snap.h"

struct image_sums;

/* A descriptor that the new process needs; it will be fd_first + its index. */
struct kept {
	int fd;	  /* the agent's, owned; -1: the new process opens it */
	int file; /* fd < 0: index of the open file that is the same object */
	bool writable;
};

struct restore {
	struct snap_ctx *cx;
	const struct snap_restore_options *opt;
	struct snap_restore_result *res;

	struct process *p;
	const struct image_sums *sums; /* NULL: nothing to verify */
	struct layout self;
	struct host host;
	struct plan *plan;

	struct kept *kept;
	size_t nkept;
	int *file_fds,
	    *rw_file_fds; /* numbers in the new process, for host.file_fds */
	int *content_fds; /* likewise, of p->contents */
	int cwd_fd, root_fd, tty_fd; /* likewise; -1: none */
	int std_fd[3];		     /* likewise, for struct fd_restore */
	int fd_base;

	uint8_t *map; /* the area, at the same address everywhere */
	size_t map_len;
	struct area *area;
	uint64_t entry;		  /* of the restorer */
	struct snap_pager *pager; /* NULL: the new process reads all itself */

	uint64_t saved_mask;
	pid_t parent, pid;
	bool traced;
	int go[2];  /* agent -> new process: it is traced, go on */
	int end[2]; /* agent -> parent: the end, and which */
};

/* Does it stay in the session of the caller? */
static inline bool
restore_keeps_session(const struct restore *r)
{
	return r->opt->child && r->p->sid != r->p->pid;
}

/*
 * Everything of snap_restore() but reading the image.  Changes p: the agent
 * ends afterwards.
 */
int restore_process(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct process *p, const struct image_sums *sums,
    struct snap_restore_result *res);

/* Add a sentence to what came back differently. */
void restore_note(struct restore *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* restore_rights.c: what was lent takes effect, or does not. */
int restore_rights(struct restore *r, bool in_effect);

/* restore_check.c: can this image be restored here at all? */
int restore_check(struct restore *r);

/* restore_ignore.c: what is not brought back, and may be missing. */
int restore_ignore(struct restore *r);

/* restore_environ.c: an environment that was edited. */
int restore_environ(struct restore *r);

/* restore_stdio.c: what the caller gives in place of the image's. */
int restore_stdio(struct restore *r);

/* restore_files.c: open what the new process maps or stands in. */
int restore_open(struct restore *r);
void restore_close(struct restore *r);

/* restore_area.c: the plan, put where the new process carries it out. */
int restore_area(struct restore *r);
void restore_area_free(struct restore *r);

/* restore_spawn.c: the new process, traced and running. */
int restore_spawn(struct restore *r);
/* It is complete (or not): let go of it, or leave nothing of it. */
int restore_release_parent(struct restore *r);
void restore_kill(struct restore *r);

/*
 * restore_silence.c: stop a process that is to be killed, and see to it that
 * the connections which the image has of it end in silence.
 */
int restore_silence(struct restore *r, pid_t pid, int pidfd);

/* restore_pids.c: the ids, free or in use. */
int restore_free_pids(struct restore *r);
/* The ids of threads, which are taken late. */
int restore_check_tids(struct restore *r);
/*
 * `pid` was not free, for the `tries`th time: -EEXIST and a sentence, or 0,
 * after a while, if whoever had it is gone.
 */
int restore_pid_taken(struct restore *r, pid_t pid, int tries);

/* restore_child.c: what the new process does before it is the image. */
void restore_child(struct restore *r) __attribute__((noreturn));

/* restore_pager.c: memory that is brought from outside. */
void restore_pager_probe(struct restore *r);
int restore_pager_start(struct restore *r);
/* Before the process is let go. */
int restore_pager_settle(struct restore *r);

/* restore_wait.c: until all lanes are done, or one failed. */
int restore_wait(struct restore *r);
/* Until it offers its userfaultfd; 1 + the number. */
int restore_wait_uffd(struct restore *r);

/* restore_finish.c: registers, interrupted calls, detach. */
int restore_finish(struct restore *r);

#endif
