/*
 * heal.h - calls in the original that heal themselves.
 *
 * Running a system call in a process by setting its registers is a danger: if
 * we die there, it runs on with registers that are not its own.  So the code
 * that makes the call carries its own way home: after the call it sets the
 * signal mask, loads every register and jumps to where the thread was.  It is
 * written first, and only then is the thread moved to it; from that moment the
 * thread heals itself, tracer or no tracer.  Its stack is never touched, and
 * neither are its flags.
 *
 * Two places are used:
 *
 *	tail	the unused end of the vDSO's last page (or of another page of
 *		private code).  Room for one thread, the `caller`, one call at
 *		a time: to map the scratch area, and to unmap it.
 *	scratch	shared anonymous memory, mapped for as long as the freeze
 *		lasts.  Room for every thread, for lists of calls, and for what
 *		they answer.
 *
 *	scratch: | code | what each thread says | slot of thread 0 | ...
 *	slot:	 | struct heal_slot | way home | records | data |
 *
 * Signals are held off while a thread is away; SIGSTOP, which cannot be, is
 * passed on.
 */
#ifndef HEAL_H
#define HEAL_H

#include "freeze.h"
#include "heal_code.h"
#include "process.h"

/* What the lists of calls will need. */
struct heal_room {
	size_t records, data; /* calls and bytes of answers, each thread */
	size_t caller_records, caller_data; /* and the caller besides */
};

/*
 * Prepare: find the tail, clear away what a tracer that was killed has left
 * (in the process and in p->vmas, which are known), map the scratch area.
 * Without `room` there is none, and nothing but heal_call() works.
 */
int heal_open(struct snap_ctx *cx, struct frozen *z, struct process *p,
    const struct heal_room *room);

/* PTRACE_O_* that a child which it makes for us needs. */
unsigned heal_options(const struct frozen *z);

/* Where the scratch area is. */
void heal_scratch(const struct frozen *z, uint64_t *addr, uint64_t *size);

/*
 * When its list is done: where the caller had the answers, for what heal_call()
 * reads and writes.
 */
void heal_spare(const struct frozen *z, uint64_t *addr, uint64_t *size);

/* The thread, as an index, that makes the calls for the whole process. */
size_t heal_caller(const struct frozen *z);

/*
 * Put a call on the list of thread `i`; the number of its record.  Addresses
 * come from heal_data(), which gives `size` zeroed bytes in the process and
 * here.
 */
size_t heal_add(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4);
uint64_t heal_data(struct frozen *z, size_t i, size_t size);

/*
 * The same of a call that we can do without: HEAL_NONE if the thread's filters
 * do not let it pass.
 */
#define HEAL_NONE SIZE_MAX
size_t heal_try(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4);

/*
 * After heal_finish(): what a call answered (ENOSYS of HEAL_NONE), what it
 * wrote.  Before heal_start() the latter may be written to.
 */
int64_t heal_result(const struct frozen *z, size_t i, size_t record);
void *heal_answer(const struct frozen *z, uint64_t addr);

/*
 * Let all threads run their lists, and wait until all are done and stopped.
 * Between the two the process is as frozen as before, and we have time for
 * other things.  Afterwards the lists are empty.  EAGAIN: one has waited so
 * long for us that it went on; take the checkpoint again.
 *
 * They stay in our code until heal_close(), for the sake of our death: while the
 * caller has a child that only we know of, no other thread may find it by
 * wait(2).
 */
int heal_start(struct snap_ctx *cx, struct frozen *z);
int heal_finish(struct snap_ctx *cx, struct frozen *z);

/*
 * Send the caller to a piece of heal_code instead of its list, and have it
 * back when it is done.  All others wait, and may be made to wait again.
 */
int heal_enter(struct snap_ctx *cx, struct frozen *z, const uint8_t *code,
    const struct heal_slot *names);

/*
 * Wait for the caller to report `event` (PTRACE_EVENT_*) about a child: 1, and
 * the caller is stopped there; 0: it is done and there was none.
 */
int heal_event(struct snap_ctx *cx, struct frozen *z, int event, pid_t *child);
int heal_leave(struct snap_ctx *cx, struct frozen *z, struct heal_slot *slot);

/*
 * When something failed and the caller was left running in such code: wait
 * until it has reaped the child that it made, or has made none.  Taken home
 * before, it would leave the child to the program's own wait(2).  False: it has
 * not by then, and is to be left alone; it goes home by itself.
 */
bool heal_reaped(struct frozen *z, uint64_t deadline);

/* Where a piece of heal_code, and `slot`'s data, lie in the process. */
uint64_t heal_address(const struct frozen *z, const uint8_t *code);

/* One call by the caller, from the tail. */
int heal_call(struct snap_ctx *cx, struct frozen *z, long nr,
    const uint64_t args[6], int64_t *result);

/* Unmap the scratch area, wipe the tail. */
int heal_close(struct snap_ctx *cx, struct frozen *z);

/* For thaw(): the same when something failed, as far as it can be done. */
void heal_abandon(struct snap_ctx *cx, struct frozen *z);

/* Private code of a file: where the tail may be if there is no vDSO. */
bool heal_is_code(const struct vma *v);

/* Is the stopped thread still in our code? */
bool heal_contains_thread(const struct frozen *z, const struct tracee *t);

#endif
