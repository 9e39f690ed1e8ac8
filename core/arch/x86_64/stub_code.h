/*
 * stub_code.h - a stub: code in which a call goes on with what is left of its
 * time-out, and which then puts the register right that held it and jumps to
 * where the call was made.
 *
 *	 0	syscall
 *	 2	movabs	$ORIGINAL, %rdx, %r10 or %r8
 *	12	movabs	$HOME, %rcx	as `syscall` there would have left it
 *	22	jmp	*%rcx
 *	24	whose it is, which call, a mark
 *	32	rsp of the thread
 *	40	when the time is over
 *	48	struct timespec, for calls that take the address of one
 *
 * It needs no tracer, and changes neither flags nor stack.  A signal handler
 * that runs meanwhile returns into it.
 */
#ifndef STUB_CODE_H
#define STUB_CODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#define STUB_SIZE 64u /* it lies at multiples of that */
#define STUB_LEFT 48u /* offset of the timespec */
#define STUB_PAGE 4096u
#define STUBS_MAX (STUB_PAGE / STUB_SIZE)

struct stub {
	uint64_t at;
	int nr;
	pid_t tid;
	uint64_t original; /* the register's value at home */
	uint64_t home;	   /* behind the `syscall` instruction */
	uint64_t rsp;
	uint64_t until;	 /* CLOCK_MONOTONIC, ns */
	int64_t left[2]; /* struct timespec; zeros where there is none */
};

/* From now on what is left is this. */
void stub_settle(struct stub *s, uint64_t now);

void stub_write(const struct stub *s, uint8_t out[STUB_SIZE]);

/* Are these bytes, which lie at `at`, a stub? */
bool stub_read(struct stub *s, const uint8_t bytes[STUB_SIZE], uint64_t at);

/*
 * Where one may begin in the last page of a vDSO, as an offset: behind all
 * that is the vDSO's, with room left for a block of heal_code.  -1: nowhere.
 */
int stub_place(const uint8_t page[STUB_PAGE]);

/*
 * Registers of a thread in the stub as they would be at home; `r` may be the
 * same.  False if it is at none of the stub's instructions.
 */
bool stub_leave(const struct stub *s, const struct user_regs_struct *r,
    struct user_regs_struct *home);

/* At home: does it wait in the call, which the kernel is to start anew? */
bool stub_waits(const struct user_regs_struct *home, int nr);

/* At home: let it wait in that call. */
void stub_wait(struct user_regs_struct *home, int nr);

/* The reverse of leaving, for one that waits: it goes on in the stub, as settled `now`. */
void stub_enter(const struct stub *s, uint64_t now, struct user_regs_struct *r);

#endif
