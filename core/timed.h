/*
 * timed.h - calls with a relative time-out that the kernel does not keep:
 * interrupted, they answer EINTR, and made anew they wait for all of it again.
 *
 * What is left of it is given to them by a stub (stubs.h).  None of them writes
 * to its time-out.
 */
#ifndef TIMED_H
#define TIMED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/user.h>

#include "calls.h"

struct timed {
	int nr;
	int arg; /* which of its arguments, from 0 */
	bool ms; /* it is in milliseconds; else the address of a timespec */
};

/* NULL: none of these. */
const struct timed *timed_find(long nr);

/* The register that this argument is in. */
unsigned long long *timed_reg(
    const struct timed *timed, struct user_regs_struct *r);

/* Does it wait for a time, to judge by that argument? */
bool timed_ends(const struct timed *timed, uint64_t arg);

/* For how long in all, in ns.  False if it is for ever, or cannot be read. */
bool timed_whole(const struct timed *timed, uint64_t arg,
    const struct calls_memory *m, uint64_t *ns);

/* A time-out in milliseconds that is not shorter. */
uint64_t timed_ms(uint64_t ns);

/* A timespec in the process; what is too long for `ns` is UINT64_MAX. */
bool timed_read(const struct calls_memory *m, uint64_t addr, uint64_t *ns);

#endif
