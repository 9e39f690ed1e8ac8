/*
 * hold.h - a program that is run up to a point, as its parts see it.
 *
 * The program runs untraced, under a seccomp filter that hands the calls which
 * may be the point to its parent, the *keeper*, before they are carried out.
 * One that is not the point is let through.  At the point the call is left
 * without an answer and the program is stopped: the kernel then takes the call
 * back, and it is made anew when the program goes on, by SIGCONT or in another
 * life.  From then on the keeper lets everything through; it has to stay, since
 * a filter cannot be taken away, and without it these calls would fail.
 *
 * Only a function is reached in another way: by a breakpoint of the CPU.
 */
#ifndef HOLD_H
#define HOLD_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "snap.h"

/* The name of a keeper, by which a checkpoint knows it. */
#define HOLD_COMM "snapfs-run:hold"

struct hold_birth;
struct hold_wait;

struct hold {
	struct snap_ctx *cx;
	const struct snap_hold_options *opt;
	pid_t pid;
	int pidfd;
	int listener;		 /* -1: there is no filter */
	bool executed;		 /* the program is what was asked for */
	bool held;		 /* the point has been reached */
	int err;		 /* why that will not be found out; or 0 */
	uint64_t in_dev, in_ino; /* the standard input that it was given */
	struct hold_wait *waits; /* calls that may be the point, unanswered */
	size_t nwaits;
	unsigned calm; /* how often in a row all of it was asleep */
	uint64_t settle_cpu, settle_wall; /* ns, when that began */
	uint64_t looked;		  /* when last */
};

/* ---- hold_filter.c ---- */

#define HOLD_FILTER_MAX 160

/* The filter for a point; the number of instructions.  Pure. */
size_t hold_filter(
    const struct snap_point *point, struct sock_filter v[HOLD_FILTER_MAX]);
/* Is this one of those?  Pure. */
bool hold_filter_ours(const struct sock_filter *v, size_t n);

/*
 * Is `ppid` a keeper, by its name?  *unfiltered: it is under no filter itself, so that
 * whoever it has made has none from it.
 */
bool hold_is_kept(pid_t ppid, bool *unfiltered);

/* ---- hold_start.c ---- */

/* Fork the program, not yet executed; its listener, its pidfd. */
int hold_start(struct hold *h, struct hold_birth **birth);
/* Let it execute; hold_executed() tells when it has, or why it has not. */
void hold_go(struct hold_birth *b);
/* A descriptor that is at its end when the program is executed, or has ended. */
int hold_birth_fd(const struct hold_birth *b);
/* 0, or the -errno of execve(2). */
int hold_birth_error(const struct hold_birth *b);
void hold_birth_free(struct hold_birth *b);

/* ---- hold_wait.c ---- */

/* A call of it that is handed over and has no answer yet. */
struct hold_wait {
	struct seccomp_notif n;
	pid_t tgid;
	struct pollfd *fds; /* copies of what it polls, ours */
	size_t nfds;
	uint64_t end; /* when its time is over; 0: never */
};

/* What is to be done with a call. */
enum hold_what {
	HOLD_PASS,   /* carry it out */
	HOLD_POINT,  /* it is the point */
	HOLD_MAYBE,  /* it is the point if it waits */
	HOLD_FAILED, /* nobody can tell: h->err */
};

enum hold_what hold_look(struct hold *h, struct hold_wait *w);
/* Would it return at once? */
bool hold_wait_over(struct hold *h, struct hold_wait *w);
/* Is everything that belongs to the program asleep? */
bool hold_all_asleep(struct hold *h);

/*
 * One thread has got to the point.  Have the others come to rest, or had time
 * enough for it?  That is time in which they ran, however busy the machine is.
 */
void hold_settle_begin(struct hold *h);
bool hold_has_settled(struct hold *h, bool asleep);
void hold_wait_fini(struct hold_wait *w);

/* ---- hold_symbol.c ---- */

/*
 * Run it to the function by a breakpoint.  1: it is there, untraced, with a
 * SIGSTOP on its way; 0: it has ended before; -errno.
 */
int hold_symbol(struct hold *h, struct hold_birth *b);

/* ---- hold_breakpoint.c ---- */

/* 0, or -ENOTSUP: they can be set here, and do nothing. */
int hold_breakpoints(struct snap_ctx *cx);

/* ---- hold_elf.c ---- */

/*
 * The address of a function in the ELF file open at `fd`, as the file has it,
 * and of the file's lowest page.  False if it defines none of that name.
 */
bool hold_elf_symbol(
    int fd, const char *name, uint64_t *address, uint64_t *lowest);

#endif
