/*
 * stubs.h - calls that go on with what is left of their time-out, in a process
 * that is frozen.
 *
 * A call of timed.h which the freeze has interrupted is started anew by the
 * kernel, with registers as they are.  So a thread for which it is known when
 * its time is over goes on in a stub (stub_code.h) in the tail of the vDSO,
 * with the rest of the time in the register; that leads it home by itself.  The
 * stub is written first, and only then is the thread moved to it, by setting
 * its registers once: before that it would begin anew, after that it needs us
 * no more.  At the next freeze it is found there, and the rest is set again.
 *
 * A handler that interrupts the call returns into the stub.  So a stub that is
 * there is let alone until its thread is seen where it made that call, with the
 * stack as it was then; or, if there is no place for another one, until
 * its thread is elsewhere and no stack has a signal's frame that leads to it.
 */
#ifndef STUBS_H
#define STUBS_H

#include "freeze.h"
#include "process.h"

/*
 * Of glibc's pthread_cancel(3): its handler may unwind the stack from wherever
 * a thread sleeps, and from a stub there is no way for that.
 */
#define STUBS_SIGCANCEL 32

/* Is this a vDSO that can have stubs at its end? */
bool stubs_may_lie_in(const struct vma *v);

/*
 * Move threads to stubs, where it is known when their time is over, and away
 * from those in which the call has ended.  p->vmas are known, what others left
 * is gone, nobody is in code of ours.  sample.until is set, also of those for
 * which there is no place.
 */
int stubs_enter(struct frozen *z, const struct process *p);

/* The thread's registers as the program has them. */
void stubs_home(
    struct frozen *z, const struct tracee *t, struct user_regs_struct *home);

/* About to be let go: what is left by now.  To those in no stub nothing. */
void stubs_settle(struct frozen *z);

#endif
