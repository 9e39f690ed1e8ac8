/*
 * restore_timed.h - a restored thread that waits in a call of timed.h.
 */
#ifndef RESTORE_TIMED_H
#define RESTORE_TIMED_H

#include <sys/types.h>
#include <sys/user.h>

struct restore;

/*
 * `u`, the registers of thread `i` on its return from the call, become those
 * with which the kernel starts the call anew when the thread is let go: in a
 * stub (stub_code.h), for what was left of its time.  Where there can be
 * none, for the whole of it.
 */
void restore_timed(
    struct restore *r, size_t i, pid_t tid, struct user_regs_struct *u);

#endif
