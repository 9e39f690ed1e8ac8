/*
 * thr_amx - tile registers, which need a permission first.
 */
#include <cpuid.h>
#include <sys/syscall.h>

#include "subject.h"

#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILEDATA 18

static int stop;
static unsigned char in[1024] __attribute__((aligned(64))), out[1024];

/* palette 1, tile 0: 16 rows of 64 bytes */
static const struct {
	unsigned char palette, start_row, zero[14];
	uint16_t colsb[16];
	unsigned char rows[16];
} config __attribute__((
    aligned(64))) = { .palette = 1, .colsb = { 64 }, .rows = { 16 } };

__attribute__((target("amx-tile"))) static void *
hold(void *cookie)
{
	long stride = 64;

	subject_thread_begin(cookie);
	__asm__ volatile("ldtilecfg %[config]\n\t"
			 "tileloadd (%[in], %[stride], 1), %%tmm0\n"
			 "1:\n\t"
			 "mov %[stop], %%eax\n\t"
			 "test %%eax, %%eax\n\t"
			 "jz 1b\n\t"
			 "tilestored %%tmm0, (%[out], %[stride], 1)\n\t"
			 "tilerelease"
			 :
			 : [config] "m"(config), [in] "r"(in), [out] "r"(out),
			 [stride] "r"(stride), [stop] "m"(stop)
			 : "rax", "memory", "cc");
	return NULL;
}

int
main(int argc, char **argv)
{
	unsigned a, b, c, d;
	uint64_t allowed = 0;
	pthread_t t;

	subject_init(argc, argv);
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & 1u << 24))
		subject_skip("this CPU has no AMX");
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILEDATA) !=
	    0)
		subject_skip("no permission for AMX: %s", strerror(errno));
	subject_fill(in, sizeof(in), 1);
	t = subject_thread(hold, NULL, NULL);

	subject_wait();

	stop = 1;
	pthread_join(t, NULL);
	subject_filled("tile", out, sizeof(out), 1);
	syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &allowed);
	expect(allowed >> XFEATURE_TILEDATA & 1, "the permission is lost");
	subject_forget();
	return subject_done();
}
