/*
 * freeze_seccomp.h - what a process that is frozen may call: its seccomp
 * filters, of each thread its own.
 *
 * No filter is ever lifted from a process that runs (PTRACE_O_SUSPEND_SECCOMP):
 * if we died, our calls would be made under it all the same, and it might kill
 * for them.  So a thread is made to call only what its filters let pass.
 */
#ifndef FREEZE_SECCOMP_H
#define FREEZE_SECCOMP_H

#include "freeze.h"

/*
 * Before any thread is seized, for whoever is must be stopped to be let go:
 * -ENOTSUP if there are filters that we may not look at.
 */
int freeze_seccomp_may(struct snap_ctx *cx, const struct frozen *z);

/*
 * All are stopped.  A call that is to go on by restart_syscall(2), which its
 * filters forbid, is made anew instead, with all of its time-out.
 */
int freeze_seccomp(struct snap_ctx *cx, struct frozen *z);

/* May this thread make this call? */
bool freeze_seccomp_allows(const struct frozen *z, const struct tracee *t,
    long nr, const uint64_t args[6]);

#endif
