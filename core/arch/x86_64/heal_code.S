/*
 * heal_code.S - what is run in a process; position-independent.
 *
 * The flags belong to the process and there is no place to keep them: no
 * instruction here may change one.  So constants are loaded by mov, sums made
 * by lea, and the only branches are jmp and jrcxz.  (syscall puts the flags
 * into r11 and has them back when it returns.)  The stack is not touched.
 *
 *	rbx	the next record	(struct heal_record)
 *	r12	records that are left
 *	r13	the thread's struct heal_slot
 *	r14	what it says of itself (HEAL_DONE, ...)
 *	r15	its way home
 */
#include "heal_code.h"

#define NR_WAIT4 61
#define NR_PRCTL 157
#define NR_CLONE 56
#define NR_EXIT_GROUP 231
#define NR_USERFAULTFD 323
#define NR_CLOSE_RANGE 436
#define NR_PPOLL 271

#define FLAGS_INTERMEDIATE 0x700 /* CLONE_VM | CLONE_FS | CLONE_FILES */
#define FLAGS_TWIN 0x400	 /* CLONE_FILES */
#define CLOSE_RANGE_UNSHARE 2
#define UFFD_FLAGS 0x80801 /* O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY */
#define WALL 0x40000000
#define PR_SET_NAME 15

#define HEAD(field) (heal_code - HEAL_HEAD_SIZE + field)(%rip)

	.section .rodata
	.balign 16
	.globl heal_code
heal_code:

	/* ---- a list of calls ---- */

	.globl heal_code_calls
heal_code_calls:
	mov	%r12, %rcx
	jrcxz	park
	lea	-1(%r12), %r12
	mov	0(%rbx), %rax
	mov	8(%rbx), %rdi
	mov	16(%rbx), %rsi
	mov	24(%rbx), %rdx
	mov	32(%rbx), %r10
	mov	40(%rbx), %r8
	mov	48(%rbx), %r9
	syscall
	mov	%rax, 0(%rbx)
	lea	HEAL_RECORD_SIZE(%rbx), %rbx
	jmp	heal_code_calls

	/*
	 * Say that it is done and wait to be stopped.  By ppoll, since poll
	 * and nanosleep, when interrupted, would overwrite the kernel's note
	 * of how to restart the call that the process was in.  ppoll makes 0
	 * of the time when it is over.  If it is this very thread that was to
	 * make the area busy, then it was never sent there.
	 */
park:
	movl	$HEAL_DONE, (%r14)
	movq	$0, HEAD(HEAL_NAP)
	movq	$HEAL_NAP_NS, HEAD(HEAL_NAP + 8)
	jmp	nap
nap_again:
	movq	$HEAL_NAP_STOPPED_NS, HEAD(HEAL_NAP + 8)
nap:
	mov	$0, %edi
	mov	$0, %esi
	lea	HEAD(HEAL_NAP), %rdx
	mov	$0, %r10d
	mov	$8, %r8d
	mov	$NR_PPOLL, %eax
	syscall
	mov	HEAD(HEAL_BUSY), %rcx
	jrcxz	leave
	mov	%r13, %rdx
	not	%rdx
	lea	1(%rcx,%rdx), %rcx
	jrcxz	not_busy
	jmp	nap_again
	.globl heal_code_not_busy
heal_code_not_busy:
not_busy:
	movq	$0, HEAD(HEAL_BUSY)
leave:
	movl	$HEAL_LEFT, (%r14)
	jmp	*%r15

	/* ---- the twin ---- */

	/*
	 * The intermediate shares everything and only forks the twin.  Neither
	 * lives on without a tracer.  If the tracer is gone, the wait is for
	 * the intermediate to end, and nobody else may wait for children
	 * before that: all others nap while the area is busy.
	 */
	.globl heal_code_twin
heal_code_twin:
	lea	intermediate(%rip), %r12
	jmp	child
	.globl heal_code_uffd
heal_code_uffd:
	lea	watcher(%rip), %r12
child:
	mov	$FLAGS_INTERMEDIATE, %edi
	mov	$0, %esi
	mov	$0, %edx
	mov	$0, %r10d
	mov	$0, %r8d
	mov	$NR_CLONE, %eax
	syscall
	mov	%rax, %rcx
	jrcxz	born
	mov	%rax, HEAL_SLOT_RET(%r13)
	bswap	%rcx		/* the highest byte is 0, or the sign */
	movzbl	%cl, %ecx
	jrcxz	reap
	jmp	reaped
reap:
	mov	HEAL_SLOT_RET(%r13), %rdi
	mov	$0, %esi
	mov	$WALL, %edx
	mov	$0, %r10d
	mov	$NR_WAIT4, %eax
	syscall
	lea	4(%rax), %rcx	/* EINTR: again */
	jrcxz	reap
reaped:
	movq	$0, HEAD(HEAL_BUSY)
	jmp	park
born:
	jmp	*%r12

	/*
	 * It shares the memory but has descriptors of its own, none: there it
	 * opens a userfaultfd for this memory, which we take while it ends.
	 * The process never has it.
	 */
watcher:
	mov	$0, %edi
	mov	$-1, %esi
	mov	$CLOSE_RANGE_UNSHARE, %edx
	mov	$NR_CLOSE_RANGE, %eax
	syscall
	mov	%rax, %rcx
	jrcxz	watch
	jmp	watched
watch:
	mov	$UFFD_FLAGS, %edi
	mov	$NR_USERFAULTFD, %eax
	syscall
watched:
	mov	%rax, HEAL_SLOT_RET2(%r13)
	jmp	end

intermediate:
	mov	$FLAGS_TWIN, %edi
	mov	$0, %esi
	mov	$0, %edx
	mov	$0, %r10d
	mov	$0, %r8d
	mov	$NR_CLONE, %eax
	syscall
	mov	%rax, %rcx
	jrcxz	end
	mov	%rax, HEAL_SLOT_RET2(%r13)
end:
	mov	$0, %edi
	mov	$NR_EXIT_GROUP, %eax
	syscall
	jmp	end

	/*
	 * A twin that is born with its name is known for what it is whenever
	 * we die: so the thread takes that name for the moment of the birth.
	 */
	.globl heal_code_direct
heal_code_direct:
	mov	$PR_SET_NAME, %edi
	lea	HEAL_SLOT_NAME(%r13), %rsi
	mov	$NR_PRCTL, %eax
	syscall
	mov	$FLAGS_TWIN, %edi
	mov	$0, %esi
	mov	$0, %edx
	mov	$0, %r10d
	mov	$0, %r8d
	mov	$NR_CLONE, %eax
	syscall
	mov	%rax, %rcx
	jrcxz	end
	mov	%rax, HEAL_SLOT_RET(%r13)
	mov	$PR_SET_NAME, %edi
	lea	HEAL_SLOT_OLD_NAME(%r13), %rsi
	mov	$NR_PRCTL, %eax
	syscall
	jmp	park

	/* ---- one call, for a process that is ours ---- */

	.globl heal_code_syscall
heal_code_syscall:
	syscall
	jmp	end

	.globl heal_code_end
heal_code_end:

	.section .note.GNU-stack,"",@progbits
