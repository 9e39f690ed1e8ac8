/*
 * thr_regs - a thread that computes has every general register and its
 * flags; one that is in a call has all but rax, rcx and r11.
 *
 * variants: musl
 */
#include <sys/syscall.h>

#include "subject.h"

/* The assembler code below names these. */
#define NAMED __attribute__((used))

static volatile int stop NAMED;
static uint64_t out[16] NAMED, flags NAMED, pipe_out[16] NAMED;
static int fds[2];

/*
 * Load known values, loop until `stop`, store what is there.  rsp cannot take
 * part; rax is the loop's own.
 */
static void *
compute(void *cookie)
{
	subject_thread_begin(cookie);
	__asm__ volatile("push %%rbp\n\t"
			 "mov $0x1111111111111101, %%rbx\n\t"
			 "mov $0x1111111111111102, %%rcx\n\t"
			 "mov $0x1111111111111103, %%rdx\n\t"
			 "mov $0x1111111111111104, %%rsi\n\t"
			 "mov $0x1111111111111105, %%rdi\n\t"
			 "mov $0x1111111111111106, %%rbp\n\t"
			 "mov $0x1111111111111108, %%r8\n\t"
			 "mov $0x1111111111111109, %%r9\n\t"
			 "mov $0x111111111111110a, %%r10\n\t"
			 "mov $0x111111111111110b, %%r11\n\t"
			 "mov $0x111111111111110c, %%r12\n\t"
			 "mov $0x111111111111110d, %%r13\n\t"
			 "mov $0x111111111111110e, %%r14\n\t"
			 "mov $0x111111111111110f, %%r15\n\t"
			 "std\n\t"
			 "stc\n"
			 "1:\n\t"
			 "mov stop(%%rip), %%eax\n\t"
			 /* jrcxz and lea leave the flags alone */
			 "xchg %%rax, %%rcx\n\t"
			 "jrcxz 2f\n\t"
			 "xchg %%rax, %%rcx\n\t"
			 "jmp 3f\n"
			 "2:\n\t"
			 "xchg %%rax, %%rcx\n\t"
			 "jmp 1b\n"
			 "3:\n\t"
			 "pushfq\n\t"
			 "popq flags(%%rip)\n\t"
			 "cld\n\t"
			 "mov %%rbx, 8+out(%%rip)\n\t"
			 "mov %%rcx, 16+out(%%rip)\n\t"
			 "mov %%rdx, 24+out(%%rip)\n\t"
			 "mov %%rsi, 32+out(%%rip)\n\t"
			 "mov %%rdi, 40+out(%%rip)\n\t"
			 "mov %%rbp, 48+out(%%rip)\n\t"
			 "mov %%r8, 64+out(%%rip)\n\t"
			 "mov %%r9, 72+out(%%rip)\n\t"
			 "mov %%r10, 80+out(%%rip)\n\t"
			 "mov %%r11, 88+out(%%rip)\n\t"
			 "mov %%r12, 96+out(%%rip)\n\t"
			 "mov %%r13, 104+out(%%rip)\n\t"
			 "mov %%r14, 112+out(%%rip)\n\t"
			 "mov %%r15, 120+out(%%rip)\n\t"
			 "pop %%rbp\n\t"
			 :
			 :
			 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9",
			 "r10", "r11", "r12", "r13", "r14", "r15", "memory",
			 "cc");
	return NULL;
}

/* read(fds[0], &byte, 1) with the registers that it does not use loaded. */
static void *
block(void *cookie)
{
	char byte;
	uint64_t rax = SYS_read, rdi = (uint64_t)fds[0],
		 rsi = (uint64_t)(uintptr_t)&byte, rdx = 1;

	subject_thread_begin(cookie);
	__asm__ volatile("push %%rbp\n\t"
			 "mov $0x2222222222222201, %%rbx\n\t"
			 "mov $0x2222222222222206, %%rbp\n\t"
			 "mov $0x2222222222222208, %%r8\n\t"
			 "mov $0x2222222222222209, %%r9\n\t"
			 "mov $0x222222222222220a, %%r10\n\t"
			 "mov $0x222222222222220c, %%r12\n\t"
			 "mov $0x222222222222220d, %%r13\n\t"
			 "mov $0x222222222222220e, %%r14\n\t"
			 "mov $0x222222222222220f, %%r15\n\t"
			 "syscall\n\t"
			 "mov %%rax, pipe_out(%%rip)\n\t"
			 "mov %%rbx, 8+pipe_out(%%rip)\n\t"
			 "mov %%rdx, 24+pipe_out(%%rip)\n\t"
			 "mov %%rsi, 32+pipe_out(%%rip)\n\t"
			 "mov %%rdi, 40+pipe_out(%%rip)\n\t"
			 "mov %%rbp, 48+pipe_out(%%rip)\n\t"
			 "mov %%r8, 64+pipe_out(%%rip)\n\t"
			 "mov %%r9, 72+pipe_out(%%rip)\n\t"
			 "mov %%r10, 80+pipe_out(%%rip)\n\t"
			 "mov %%r12, 96+pipe_out(%%rip)\n\t"
			 "mov %%r13, 104+pipe_out(%%rip)\n\t"
			 "mov %%r14, 112+pipe_out(%%rip)\n\t"
			 "mov %%r15, 120+pipe_out(%%rip)\n\t"
			 "pop %%rbp\n\t"
			 : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx)
			 :
			 : "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13",
			 "r14", "r15", "memory", "cc");
	expect(pipe_out[0] == 1, "read gave %lld", (long long)pipe_out[0]);
	expect(pipe_out[3] == 1 && pipe_out[4] == (uintptr_t)&byte &&
		   pipe_out[5] == (uint64_t)fds[0],
	    "the arguments of read changed");
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t a, b;
	pid_t tid;

	subject_init(argc, argv);
	must(pipe(fds) == 0);
	b = subject_thread(block, NULL, &tid);
	subject_blocked(tid, SYS_read);
	a = subject_thread(compute, NULL, NULL);

	subject_ready();
	while (!subject_told())
		;
	must(write(fds[1], "x", 1) == 1);
	stop = 1;
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	for (int i = 1; i < 16; i++)
		expect(i == 7 || out[i] == 0x1111111111111100u + (unsigned)i,
		    "computing: register %d is %llx", i,
		    (unsigned long long)out[i]);
	expect((flags & 0x401) == 0x401, "flags are %llx",
	    (unsigned long long)flags);
	for (int i = 1; i < 16; i++)
		expect((i >= 2 && i <= 5) || i == 7 || i == 11 ||
			   pipe_out[i] == 0x2222222222222200u + (unsigned)i,
		    "in a call: register %d is %llx", i,
		    (unsigned long long)pipe_out[i]);
	/* Two threads are gone now, and their stacks. */
	subject_forget();
	return subject_done();
}
