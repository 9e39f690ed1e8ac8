/*
 * spare.h - the spare of a template, on the daemon's side: its next clone, made
 * ahead.
 *
 * Nothing of a restore is in it but the memory of the image, and the rights and
 * the place of its template; whoever may have that may have it.  It is ordered
 * when nobody waits for it, and given away as a socket, whose other end it has.
 */
#ifndef SPARE_H
#define SPARE_H

#include "snap.h"

struct spare {
	int sock;	/* owned; 0: there is none */
	int pidfd;	/* owned; 0: it has not said yet that it is there */
	pid_t pid;	/* likewise */
	uint64_t bytes; /* that it is taken to cost */
};

/* What one costs, of an image of so many bytes: page tables, and a process. */
uint64_t spare_cost(uint64_t image_bytes);

/* Have one made, if there is none. */
void spare_order(
    struct spare *s, const struct snap_template *t, uint64_t bytes);

/*
 * See whether it is there, and is still: false if there is none any more.  It
 * must be a process of `uid`, as a template must.
 */
bool spare_look(struct spare *s, int proc, uid_t uid);

/* It is stopped, so whoever asked it would wait for ever. */
bool spare_is_deaf(const struct spare *s, int proc);

/*
 * It is the caller's from now on, and there is none.  Whoever has its socket may
 * make it an instance, which spare_end() ends as well.
 */
struct spare spare_take(struct spare *s);

/* It ends, if there is one. */
void spare_end(struct spare *s);
/* Or let go of it, whatever it has become. */
void spare_forget(struct spare *s);

#endif
