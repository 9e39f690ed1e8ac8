/*
 * thr_segbase - the bases of fs (thread-local data) and gs, in each thread.
 *
 * variants: musl
 */
#include <asm/prctl.h>
#include <sys/syscall.h>

#include "subject.h"

static uint64_t areas[3][4];
static int go, done;

static void
set_gs(int i)
{
	areas[i][1] = 1000u + (unsigned)i;
	syscall(SYS_arch_prctl, ARCH_SET_GS, areas[i]);
}

static void
check_gs(int i)
{
	unsigned long base = 0;
	uint64_t value;

	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	expect(
	    base == (uintptr_t)areas[i], "thread %d: gs base is %lx", i, base);
	if (base != (uintptr_t)areas[i])
		return;
	__asm__("mov %%gs:8, %0" : "=r"(value));
	expect(value == 1000u + (unsigned)i, "thread %d: gs:8 is %llu", i,
	    (unsigned long long)value);
}

static void *
other(void *cookie)
{
	int i = (int)(intptr_t)subject_thread_begin(cookie);

	set_gs(i);
	while (!__atomic_load_n(&go, __ATOMIC_SEQ_CST))
		usleep(2000);
	check_gs(i);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

int
main(int argc, char **argv)
{
	unsigned long fs = 0, now = 0;

	subject_init(argc, argv);
	set_gs(0);
	syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
	subject_thread(other, (void *)1, NULL);
	subject_thread(other, (void *)2, NULL);

	subject_wait();

	syscall(SYS_arch_prctl, ARCH_GET_FS, &now);
	expect(fs == now, "fs base was %lx, is %lx", fs, now);
	check_gs(0);
	__atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 2)
		subject_rest();
	return subject_done();
}
