/*
 * seccomp.h - chains of seccomp filters, and what they say of a call.  Pure.
 *
 * A thread is under a chain: the newest filter and all before it.  Threads of a
 * process mostly share the beginning of their chains, or all of it.
 */
#ifndef SECCOMP_H
#define SECCOMP_H

#include <linux/seccomp.h>

#include "process.h"

/* What the kernel allows along one chain, counted as it counts. */
#define SECCOMP_CHAIN_MAX 32768u
#define SECCOMP_CHAIN_EXTRA 4u /* for each filter */

/*
 * The number of the filter after `before` that has these instructions: one that
 * is there, or a new one.  0 if there is no memory.
 */
uint32_t filters_add(struct filters *f, uint32_t before, uint32_t flags,
    const struct sock_filter *v, size_t n);
int filters_copy(struct filters *to, const struct filters *from);
void filters_free(struct filters *f);

static inline const struct filter *
filters_get(const struct filters *f, uint32_t number)
{
	return &f->v[number - 1];
}

/* Is `number` in the chain that ends with `last`? */
bool filters_contain(const struct filters *f, uint32_t last, uint32_t number);

/* The newest filter that all threads are under, 0: there is none. */
uint32_t filters_common(const struct process *p);

/* What one filter answers.  What is no valid filter answers with a kill. */
uint32_t seccomp_run(
    const struct sock_filter *v, size_t n, const struct seccomp_data *data);

/*
 * Does the chain let this call pass without a trace?  (What it may say of the
 * place from which the call is made is not looked at: it is taken for 0.)
 */
bool filters_allow(
    const struct filters *f, uint32_t last, long nr, const uint64_t args[6]);

/*
 * The same of the call that a thread with these registers is in, made at another
 * place: one that looks at places might not let it pass there.
 */
bool filters_allow_elsewhere(
    const struct filters *f, uint32_t last, const struct user_regs_struct *r);

/* May one of the chain hand a call to a supervisor (SECCOMP_RET_USER_NOTIF)? */
bool filters_notify(const struct filters *f, uint32_t last);

#endif
