/*
 * restore_seccomp.h - new processes come under their seccomp filters.
 */
#ifndef RESTORE_SECCOMP_H
#define RESTORE_SECCOMP_H

#include "restore.h"

struct restore_tree;

/* May filters be suspended here?  Sets host.suspended of all. */
int restore_seccomp_probe(struct restore_tree *t);
/* PTRACE_O_* that the new processes need. */
unsigned restore_seccomp_options(const struct restore_tree *t);

/* Planned, with its area: can it be done? */
int restore_seccomp_check(struct restore *r);

/* Have thread number `i` make a call. */
typedef int restore_call_fn(
    void *arg, size_t i, int nr, const uint64_t args[6], int64_t *ret);

/* Where they are not suspended: now, and only the unmapping may follow. */
int restore_seccomp_confine(
    struct restore *r, restore_call_fn *call, void *arg);

#endif
