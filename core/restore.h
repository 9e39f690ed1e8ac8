/*
 * restore.h - one process of a restore, as its parts see it; restore_tree.h has
 * what they have in common.
 *
 * Three processes take part.  The *agent* (our caller) has become whoever
 * asked for the restore; it reads, plans, opens files, and traces.  The
 * *parent* is a fork of it which creates the new process and waits: when it
 * ends, the first new process is adopted as any orphan is, while the agent still
 * traces it.  (With opt->child it is born as the agent's own child instead.)
 * A *new process* makes its children and puts its descriptors into place in
 * ordinary C, then becomes the image by way of the restorer.
 *
 * If the agent dies, the parent and the new process see the end of their
 * pipes; once it is traced, PTRACE_O_EXITKILL takes the new process along.
 */
#ifndef RESTORE_H
#define RESTORE_H

#include "family.h"
#include "layout.h"
#include "plan.h"
#include "process.h"
#include "snap.h"

struct image_sums;
struct restore_tree;

/* A descriptor that the new process needs; it will be fd_first + its index. */
struct kept {
	int fd;	  /* the agent's, owned; -1: the new process opens it */
	int file; /* fd < 0: of the open file that is the same object, among
		     those of the tree */
	bool writable;
};

struct restore {
	struct snap_ctx *cx;
	const struct snap_restore_options *opt;
	struct snap_restore_result *res;
	struct restore_tree *tree;
	size_t index; /* of the process in it */
	char *where;  /* what sentences about it begin with, or NULL */

	struct process *p;
	const struct image_sums *sums; /* NULL: nothing to verify */
	struct layout self;
	struct host host;
	struct plan *plan;
	struct plan *inherited; /* what comes before it, or NULL */

	struct kept *kept;
	size_t nkept;
	int *file_fds,
	    *rw_file_fds; /* numbers in the new process, for host.file_fds */
	int *source_fds;  /* likewise, for host.source_fds */
	size_t nsources;
	int cwd_fd, root_fd; /* likewise; -1: none */
	uint32_t *merged;    /* each of p->files, among those of the tree */
	int fd_base;	     /* where those are */
	int kept_end; /* behind all that is kept of its table, if it is the
			 first that has this */

	uint8_t *map; /* the area, at the same address everywhere */
	size_t map_len;
	struct area *area;
	uint64_t entry; /* of the restorer */

	int area_fd; /* PLAN_INSTANCE: the memory of the area; or -1 */
	pid_t pid;
};

/* Does it stay in the session of the caller? */
static inline bool
restore_keeps_session(const struct restore *r)
{
	return r->index == 0 && r->opt->child && !r->opt->session &&
	       r->p->sid != r->p->pid;
}

/*
 * Everything of snap_restore() but reading the image; with `template`, of
 * snap_template_make().  Changes the processes: the agent ends afterwards.
 */
int restore_family(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct family *family, struct snap_restore_result *res,
    struct snap_template *template);

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
/* When all processes have: the numbers in the new ones. */
void restore_number(struct restore_tree *t);

/* restore_area.c: the plan, put where the new process carries it out. */
int restore_area(struct restore *r);
void restore_area_free(struct restore *r);

/* restore_spawn.c: the first new process, traced and running. */
int restore_spawn(struct restore_tree *t);
/* All are complete (or not): let go of them, or leave nothing of them. */
int restore_release_parent(struct restore_tree *t);
void restore_kill(struct restore_tree *t);

/*
 * restore_pids.c: the ids, free or in use.  Those that are taken late: of
 * threads, of all but the first process.
 */
int restore_check_tids(struct restore *r);
/*
 * `pid` was not free, for the `tries`th time: -EEXIST and a sentence, or 0,
 * after a while, if whoever had it is gone.
 */
int restore_pid_taken(struct restore *r, pid_t pid, int tries);

/* restore_child.c: what a new process does before it is the image. */
void restore_child(struct restore *r) __attribute__((noreturn));
void restore_raise_limit(void); /* of open files */
/* In a new process: it comes to nothing, or it comes back differently. */
void restore_give_up(struct restore *r, int err) __attribute__((noreturn));
void restore_child_note(struct restore *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Put it (0: this process) into the cgroups that it was in. */
void restore_cgroup(struct restore *r, pid_t pid);
/* Open the descriptors of the image for `pid`, in the caller's numbers. */
int restore_descriptors(struct restore *r, pid_t pid);
/* The soft limit of open files, to the hard one. */
void restore_raise_limit(void);

/* restore_verify.c: what is read of the image is what was written. */
int restore_verify(struct restore_tree *t);

/*
 * restore_child.c: would the open files be refused?  As far as that can be told
 * while who is to be replaced has them.
 */
int restore_try_files(struct restore_tree *t);

/* restore_template.c: a template, in place of a process. */
int restore_template(struct restore_tree *t);

/* restore_instance.c: a clone of one, in place of restore_spawn(). */
int restore_instance(struct restore_tree *t);

/*
 * restore_pager.c: memory that is brought from outside.  Can that be?  When it
 * is known what they inherit: which memory?
 */
void restore_pager_probe(struct restore_tree *t);
int restore_pager_divide(struct restore_tree *t);
int restore_pager_start(struct restore_tree *t);
/* Before they are let go. */
int restore_pager_settle(struct restore_tree *t);
/* What was in huge pages is so again. */
void restore_huge(struct restore *r);

/* restore_wait.c: until all lanes of all are done, or one failed. */
int restore_wait(struct restore_tree *t);
/* Until all processes are born. */
int restore_wait_births(struct restore_tree *t);
/* Until it offers its userfaultfd; 1 + the number. */
int restore_wait_uffd(struct restore *r);
/* Others failed with `err`; if it has failed itself, that is the reason. */
int restore_reason(struct restore *r, int err);

/* restore_finish.c: registers, interrupted calls, detach. */
int restore_finish(struct restore_tree *t);

#endif
