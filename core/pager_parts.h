/*
 * pager_parts.h - a pager, as its parts see it.
 *
 *	pager.c		begin, end, wait
 *	pager_source.c	`pages`, one file or several: read a piece, verify it
 *	pager_fill.c	workers: put a piece where it is wanted
 *	pager_early.c	what is touched first: known, or to be learned
 *	pager_event.c	one thread: what the kernel says through the
 *			userfaultfd: faults, forks, changes of the layout
 *	pager_guard.c	the process and its pager die together
 *
 * A *space* is one address space.  The first are those of the new processes, the
 * *roots*; a fork of a half-filled one has missing pages of its own, and the
 * kernel hands us a userfaultfd for it.  A piece is read once and put into all
 * spaces that want it.
 *
 * The order of locks is `layout`, then `lock`.
 *
 * An event of the kernel (say madvise(MADV_DONTNEED)) takes effect when it has
 * been read; until then UFFDIO_COPY says EAGAIN.  So there must be no time
 * between the reading of an event and the end of its consequences here in
 * which a worker puts a page because of what was true before: workers put pages
 * with `layout` held for reading, events are read with it held for writing.
 */
#ifndef PAGER_PARTS_H
#define PAGER_PARTS_H

#include <pthread.h>
#include <signal.h>

#include "extents.h"
#include "pagemap.h"
#include "pager.h"
#include "pagesums.h"

#define PAGER_WORKERS 4

struct space {
	int fd;
	struct extents x;
	struct pagemap pm; /* of a root; fd -1: unknown */
	size_t root;	   /* of whom it was forked; itself */
	bool gone;	   /* it has ended; a child's is soon forgotten */
	bool whole;	   /* nothing is to come any more */
	/* Of roots, the new processes: */
	pid_t pid;
	int pidfd;
	bool dead;	   /* heard of its end, which may not be that of its
			   memory */
	int tie[3];	   /* writing, reading, writing: see pager_guard.c */
	struct part *huge; /* what shall be in huge pages when it is there */
	size_t nhuge;
};

/* What is to be done about a piece. */
enum {
	PIECE_WANTED = 1 << 0, /* some space may still want it */
	PIECE_QUEUED = 1 << 1, /* somebody waits for it */
	PIECE_BUSY = 1 << 2,   /* a worker has it */
	PIECE_HOT = 1 << 3,    /* the process shall not run without it */
	PIECE_NOTED = 1 << 4,  /* in one of the lists of struct early */
};

/* Shared with the guard, a process of its own. */
struct guard_word {
	_Atomic int done; /* all is there: nobody need die */
	_Atomic int nspaces;
	/* Descriptors: of roots, then of forked children; -1: it is whole, or
	   has ended. */
	_Atomic int spaces[4096];
	_Atomic int roots[4096];
};

struct guard {
	struct guard_word *word;
	pid_t pid;	/* of the guard; 0: there is none yet */
	int pidfd, own; /* of the guard; of ourselves */
	int release;	/* an eventfd: `done` was set */
	int last;	/* the numbers of all others are below; 0: no tie yet */
};

/*
 * A file `pages`.  Where there are several, they are numbered as one: each from
 * `base`, a multiple of the size of pieces, so that a piece is of one of them.
 */
struct source {
	int fd;
	uint64_t base, size;
	struct pagesums *sums;
	char *name;
};

struct early {
	size_t *list; /* pieces that will be touched first, in this order */
	size_t n, next;
	size_t *seen; /* those that were; NULL: nobody wants to know */
	size_t nseen;
	int file;	      /* where they are written to, -1: none */
	struct timespec rest; /* until then only what is touched comes; 0 */
};

struct snap_pager {
	struct source *sources; /* by `src` of runs, and by base */
	size_t nsources;
	uint64_t piece;
	uint64_t pages_size; /* the end of the last */
	struct guard guard;

	pthread_rwlock_t layout;
	struct space *spaces;
	size_t nspaces, nroots;

	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;  /* something for the workers */
	pthread_cond_t news;  /* something for who waits for the end */
	uint8_t *state;	      /* of each piece: PIECE_* */
	size_t npieces, nwanted, nhot;
	size_t next;   /* where the background goes on */
	size_t *queue; /* pieces that somebody waits for, a ring */
	size_t qhead, qlen;
	struct early early;
	bool tree;
	bool held;	      /* bring only what somebody waits for */
	unsigned nback;	      /* workers that are about what nobody waits for */
	unsigned nworkers;    /* of them all */
	uint64_t total, left; /* bytes */
	bool stop;	      /* workers shall end */
	bool ended;	      /* the event thread has */
	int error;	      /* the first failure */
	char text[256];
	char victims[256]; /* who was killed for it */

	int wake; /* an eventfd: the event thread shall look at the above */
	pthread_t events, workers[PAGER_WORKERS];
	bool has_events;
	unsigned nstarted; /* workers */
};

/* Keep the first failure, and have the process ended. */
void pager_fail(struct snap_pager *g, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Have the event thread look. */
void pager_nudge(struct snap_pager *g);
bool pager_has_failed(struct snap_pager *g);

/* pager_source.c */
/* The size of pieces for these, before the first is added. */
void sources_piece(struct snap_pager *g, const struct pager_setup *s);
int source_add(struct snap_pager *g, const struct pager_source *from);
void sources_free(struct snap_pager *g);
/* Bytes of piece k: the last of a file may be shorter. */
uint64_t source_bytes(const struct snap_pager *g, size_t k);
/* Read and verify it; false: the pager has failed. */
bool source_read(struct snap_pager *g, size_t k, char *buf);

/* pager_fill.c */
void *pager_worker(void *pager);
/* Somebody waits for this piece; `lock` is held. */
void pager_ask(struct snap_pager *g, size_t piece);

/* pager_early.c; `lock` is held but by the first and the last two. */
int early_make(struct snap_pager *g, const struct pager_setup *s);
/* The next that is not there yet. */
bool early_next(struct snap_pager *g, size_t *piece);
/* It runs, and has what it will touch: the CPUs are its own for a moment. */
void early_rest(struct snap_pager *g);
/* Wait for `work`, or for the end of that moment. */
void early_await_work(struct snap_pager *g);
/* It was touched. */
void early_note(struct snap_pager *g, size_t piece);
/* Write down what was touched, once; then the rest may come. */
int early_learned(struct snap_pager *g);
void early_fini(struct early *e);

/* pager_event.c */
void *pager_events(void *pager);

/* pager_guard.c */
/* While there are no threads: so that guard_start() will not take long. */
void guard_reserve(int any_fd);
int guard_start(struct snap_ctx *cx, struct snap_pager *g);
/* EMFILE: it cannot be looked after. */
int guard_add_space(struct snap_pager *g, size_t root, int fd);
void guard_drop_space(struct snap_pager *g, int fd);
/* All of this root is there: it does not die with anybody. */
void guard_whole(struct snap_pager *g, struct space *root);
/* All is there: from now on nobody dies with anybody. */
void guard_release(struct snap_pager *g);
void guard_init(struct guard *d);
void guard_fini(struct snap_pager *g);

#endif
