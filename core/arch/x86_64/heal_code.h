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
#define HEAL_SLOT_NAME 16
#define HEAL_SLOT_OLD_NAME 32

/* What a thread says of itself; 0: it is at its calls. */
#define HEAL_DONE 1 /* they are made, it waits for us */
#define HEAL_LEFT 2 /* it has waited long enough and goes home */

/*
 * Ends every block of code and begins every scratch area: so that what a tracer
 * left that was killed is known by the next one.
 */
#define HEAL_MAGIC 0x6c61656870616e73 /* "snapheal" */

/* struct heal_record */
#define HEAL_RECORD_SIZE 56

/*
 * A scratch area begins with a struct heal_head.  It is busy while the thread
 * that has the slot with this address is at a fork, of which none of the others
 * may learn.
 */
#define HEAL_HEAD_SIZE 48
#define HEAL_BUSY 16
#define HEAL_NAP 24

/*
 * How long a thread waits for us when it has done its calls: if we have died,
 * it goes home by itself after that, unless the area is busy: then it naps
 * again.  Once it was stopped where it naps, it is only our death that will
 * let it go on there, so then it need not wait for long.  In ns.
 */
#define HEAL_NAP_NS 200000000
#define HEAL_NAP_STOPPED_NS 2000000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

struct heal_head {
	uint64_t magic, size;
	uint64_t busy;	/* an address of a slot, or 0 */
	int64_t nap[2]; /* struct timespec */
	uint64_t unused;
};

/* What one thread and we say to one another. */
struct heal_slot {
	int64_t ret, ret2; /* of clone(2), in the thread and in its child */
	char name[16];	   /* of a twin that is a direct child */
	char old_name[16]; /* of the thread */
};

/* One system call to be made: nr becomes the result. */
struct heal_record {
	int64_t nr;
	uint64_t args[6];
};

/* Behind the head is the code, to be copied as a whole.  Its entries: */
extern const uint8_t heal_code[], heal_code_end[];
extern const uint8_t heal_code_calls[];	 /* a thread's list of calls */
extern const uint8_t heal_code_not_busy[]; /* the area is not; go home */
extern const uint8_t heal_code_twin[];	 /* fork, by an intermediate */
extern const uint8_t heal_code_uffd[];	 /* a userfaultfd, in a child */
extern const uint8_t heal_code_direct[]; /* fork, a child of its own */
extern const uint8_t heal_code_syscall[];

/*
 * A block of code, unlike the rest made for one thread: its way home.  It sets
 * the signal mask, loads every register of `home` and jumps to its rip.
 *
 * Where `area` is not 0 it has two entries before that, each of which makes
 * one call: HEAL_ENTRY_MAP, an mmap(2) of a scratch area of that many bytes,
 * which it marks; and HEAL_ENTRY_CALL, any call.
 *
 * `at` is the address at which it will lie, a multiple of 16.
 */
#define HEAL_BLOCK_SIZE 320
#define HEAL_ENTRY_MAP 0
#define HEAL_ENTRY_CALL 64
#define HEAL_SYSCALL_SIZE 2 /* bytes of the instruction */
void heal_code_block(uint8_t out[HEAL_BLOCK_SIZE], uint64_t at, uint64_t area,
    const struct user_regs_struct *home, uint64_t sigmask);

/*
 * Is this such a block?  Then what it would do: `home` is changed to what the
 * registers would become.
 */
bool heal_code_read_block(const uint8_t block[HEAL_BLOCK_SIZE], uint64_t at,
    struct user_regs_struct *home, uint64_t *sigmask);

/*
 * The address of the way home of a thread that is at `r` in a scratch area
 * that begins at `base`, 0 if it has more to do before it may go there.
 */
uint64_t heal_code_way_home(const struct user_regs_struct *r, uint64_t base);

/* Registers to enter with, made from `home`. */
void heal_code_enter(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, uint64_t records,
    uint64_t nrecords, uint64_t slot, uint64_t done, uint64_t way_home);
void heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6]);
#endif

#endif
