/*
 * heal_code.h - the code that is run in a process, and how it is entered.
 *
 * Shared with heal_code.S, which has the code.
 */
#ifndef HEAL_CODE_H
#define HEAL_CODE_H

/* struct heal_slot */
#define HEAL_SLOT_RET 0
#define HEAL_SLOT_RET2 8
#define HEAL_SLOT_NAP 16

/* What a thread says of itself; 0: it is at its calls. */
#define HEAL_DONE 1 /* they are made, it waits for us */
#define HEAL_LEFT 2 /* it has waited long enough and goes home */

/*
 * Ends every way home and begins every scratch area: so that what a tracer
 * left that was killed is known by the next one.
 */
#define HEAL_MAGIC 0x6c61656870616e73 /* "snapheal" */

/* struct heal_record */
#define HEAL_RECORD_SIZE 56

/*
 * How long a thread waits for us when it has done its calls: if we have died,
 * it goes home by itself after that.  In ns.
 */
#define HEAL_NAP_NS 200000000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

/* What one thread and we say to one another. */
struct heal_slot {
	int64_t ret, ret2; /* of clone(2), in the thread and in its child */
	int64_t nap[2];	   /* struct timespec */
};

/* One system call to be made: nr becomes the result. */
struct heal_record {
	int64_t nr;
	uint64_t args[6];
};

/* The code, to be copied as a whole, and its entries. */
extern const uint8_t heal_code[], heal_code_end[];
extern const uint8_t heal_code_calls[];	 /* a thread's list of calls */
extern const uint8_t heal_code_twin[];	 /* fork, by an intermediate */
extern const uint8_t heal_code_direct[]; /* fork, a child of its own */
extern const uint8_t heal_code_syscall[];

/*
 * Write the way home: set the signal mask, load every
 * register of `home`, jump to its rip.  The first instruction is a `syscall`
 * where `call` is set, so that entering there makes one call and goes home.
 * `at` is the address at which it will lie, a multiple of 8.
 */
#define HEAL_HOME_SIZE 256
void heal_code_home(uint8_t out[HEAL_HOME_SIZE], uint64_t at, bool call,
    const struct user_regs_struct *home, uint64_t sigmask);

/* Registers to enter with, made from `home`. */
void heal_code_enter(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, uint64_t records,
    uint64_t nrecords, uint64_t slot, uint64_t done, uint64_t way_home);
void heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6]);
#endif

#endif
