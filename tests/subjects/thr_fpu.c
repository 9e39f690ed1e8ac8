/*
 * thr_fpu - extended state: x87, SSE, AVX, AVX-512 and their control words,
 * in a thread that computes and in one that sleeps in a call.
 */
#include <cpuid.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "subject.h"

struct vectors {
	unsigned char zmm[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	uint16_t fcw;
	double st[3];
} __attribute__((aligned(64)));

static int stop;
static bool avx, avx512;
static struct vectors in[2], out[2];

#define EACH16(X) \
	X(0) \
	X(1) \
	X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) \
	    X(15)
#define EACH8(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

#define LOAD_X(n) "movdqu 64*" #n "(%0), %%xmm" #n "\n\t"
#define SAVE_X(n) "movdqu %%xmm" #n ", 64*" #n "(%1)\n\t"
#define LOAD_Y(n) "vmovdqu 64*" #n "(%0), %%ymm" #n "\n\t"
#define SAVE_Y(n) "vmovdqu %%ymm" #n ", 64*" #n "(%1)\n\t"
#define LOAD_Z(n) "vmovdqu64 64*" #n "(%0), %%zmm" #n "\n\t"
#define SAVE_Z(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%1)\n\t"
#define LOAD_K(n) "kmovq 2048+8*" #n "(%0), %%k" #n "\n\t"
#define SAVE_K(n) "kmovq %%k" #n ", 2048+8*" #n "(%1)\n\t"

/* Stay, with nothing but general registers: spin, or sleep in futex(2). */
#define STAY \
	"test %2, %2\n\t" \
	"jnz 2f\n" \
	"1:\n\t" \
	"mov (%3), %%eax\n\t" \
	"test %%eax, %%eax\n\t" \
	"jz 1b\n\t" \
	"jmp 3f\n" \
	"2:\n\t" \
	"mov $202, %%eax\n\t" \
	"mov %3, %%rdi\n\t" \
	"xor %%esi, %%esi\n\t" \
	"xor %%edx, %%edx\n\t" \
	"xor %%r10d, %%r10d\n\t" \
	"syscall\n" \
	"3:\n\t"

#define CLOBBERS \
	"rax", "rcx", "rdx", "rdi", "rsi", "r10", "r11", "memory", "cc", \
	    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	    "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", \
	    "xmm15"

static void
hold_sse(int which)
{
	register struct vectors *i __asm__("rbx") = &in[which];
	register struct vectors *o __asm__("r12") = &out[which];
	register long sleeps __asm__("r13") = which;
	register int *word __asm__("r14") = &stop;

	__asm__ volatile(EACH16(LOAD_X) STAY EACH16(SAVE_X)
			 :
			 : "r"(i), "r"(o), "r"(sleeps), "r"(word)
			 : CLOBBERS);
}

__attribute__((target("avx"))) static void
hold_avx(int which)
{
	register struct vectors *i __asm__("rbx") = &in[which];
	register struct vectors *o __asm__("r12") = &out[which];
	register long sleeps __asm__("r13") = which;
	register int *word __asm__("r14") = &stop;

	__asm__ volatile(EACH16(LOAD_Y) STAY EACH16(SAVE_Y) "vzeroupper\n\t"
			 :
			 : "r"(i), "r"(o), "r"(sleeps), "r"(word)
			 : CLOBBERS);
}

#define HIGH(X) \
	X(16) \
	X(17) \
	X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) \
	    X(29) X(30) X(31)

__attribute__((target("avx512f,avx512bw"))) static void
hold_avx512(int which)
{
	register struct vectors *i __asm__("rbx") = &in[which];
	register struct vectors *o __asm__("r12") = &out[which];
	register long sleeps __asm__("r13") = which;
	register int *word __asm__("r14") = &stop;

	__asm__ volatile(EACH16(LOAD_Z) HIGH(LOAD_Z) EACH8(LOAD_K) STAY EACH16(
	    SAVE_Z) HIGH(SAVE_Z) EACH8(SAVE_K) "vzeroupper\n\t"
			 :
			 : "r"(i), "r"(o), "r"(sleeps), "r"(word)
			 : CLOBBERS, "k1", "k2", "k3", "k4", "k5", "k6", "k7",
			 "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21",
			 "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",
			 "xmm28", "xmm29", "xmm30", "xmm31");
}

static void *
hold(void *cookie)
{
	int which = (int)(intptr_t)subject_thread_begin(cookie);
	uint32_t mxcsr = 0x7f80; /* round to zero, no exceptions */
	uint16_t fcw = 0x0f7f;	 /* the same, 64 bits */

	__asm__ volatile("ldmxcsr %0\n\tfldcw %1\n\t"
			 "fldl %2\n\tfldl %3\n\tfldl %4"
			 :
			 : "m"(mxcsr), "m"(fcw), "m"(in[which].st[0]),
			 "m"(in[which].st[1]), "m"(in[which].st[2]));
	if (avx512)
		hold_avx512(which);
	else if (avx)
		hold_avx(which);
	else
		hold_sse(which);
	__asm__ volatile("fstpl %0\n\tfstpl %1\n\tfstpl %2\n\t"
			 "stmxcsr %3\n\tfnstcw %4"
			 : "=m"(out[which].st[2]), "=m"(out[which].st[1]),
			 "=m"(out[which].st[0]), "=m"(out[which].mxcsr),
			 "=m"(out[which].fcw)
			 :
			 : "memory");
	return NULL;
}

static void
check(const char *who, int which)
{
	const struct vectors *i = &in[which], *o = &out[which];
	size_t len = avx512 ? 64 : avx ? 32 : 16;
	int r;

	for (r = 0; r < (avx512 ? 32 : 16); r++)
		expect(memcmp(i->zmm[r], o->zmm[r], len) == 0,
		    "%s: vector register %d of %zu bytes", who, r, len);
	for (r = 1; avx512 && r < 8; r++)
		expect(i->k[r] == o->k[r], "%s: k%d", who, r);
	for (r = 0; r < 3; r++)
		expect(
		    i->st[r] == o->st[r], "%s: st(%d) is %g", who, r, o->st[r]);
	expect((o->mxcsr & 0xffc0) == 0x7f80, "%s: mxcsr is %x", who, o->mxcsr);
	expect(o->fcw == 0x0f7f, "%s: x87 control word is %x", who, o->fcw);
}

int
main(int argc, char **argv)
{
	pthread_t t[2];
	pid_t tid;

	subject_init(argc, argv);
	avx = __builtin_cpu_supports("avx");
	avx512 = __builtin_cpu_supports("avx512bw");
	for (int w = 0; w < 2; w++) {
		subject_fill(in[w].zmm, sizeof(in[w].zmm), 10 + (unsigned)w);
		subject_fill(in[w].k, sizeof(in[w].k), 20 + (unsigned)w);
		for (int i = 0; i < 3; i++)
			in[w].st[i] = 1.5 + i + 10 * w;
	}
	t[1] = subject_thread(hold, (void *)1, &tid);
	subject_blocked(tid, SYS_futex);
	t[0] = subject_thread(hold, (void *)0, NULL);

	subject_wait();

	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &stop, FUTEX_WAKE, 1, NULL, NULL, 0);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	check("computing", 0);
	check("in a call", 1);
	subject_forget();
	return subject_done();
}
