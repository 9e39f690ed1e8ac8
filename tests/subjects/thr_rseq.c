/*
 * thr_rseq - restartable sequences stay registered, and one that was
 * interrupted by a checkpoint is restarted and not run twice.
 */
#include <sys/rseq.h>
#include <sys/syscall.h>

#include "subject.h"

static int stop;
static uint64_t aborts, commits;
/* Changed by the sequence only. */
static volatile uint64_t counter __attribute__((used));

static struct rseq *
area(void)
{
	return (
	    struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/*
 * One increment as a restartable sequence with a long middle, so that most
 * interruptions hit it.  A sequence that was resumed in the middle elsewhere
 * than at its abort handler would see `cpu_id` checked too late; one that was
 * committed twice would make counter differ from commits.
 */
static bool
increment(struct rseq *rs)
{
	uint64_t loops = 200;

	__asm__ volatile goto(
	    ".pushsection __rseq_cs, \"aw\"\n\t"
	    ".balign 32\n"
	    "3:\n\t"
	    ".long 0, 0\n\t"
	    ".quad 1f, (2f - 1f), 4f\n\t"
	    ".popsection\n\t"
	    "lea 3b(%%rip), %%rax\n\t"
	    "mov %%rax, %c[cs](%[rs])\n"
	    "1:\n\t"
	    "mov %[loops], %%rcx\n"
	    "5:\n\t"
	    "dec %%rcx\n\t"
	    "jnz 5b\n\t"
	    "mov counter(%%rip), %%rax\n\t"
	    "inc %%rax\n\t"
	    "mov %%rax, counter(%%rip)\n"
	    "2:\n\t"
	    "jmp 6f\n\t"
	    ".long 0x53053053\n"
	    "4:\n\t"
	    "jmp %l[aborted]\n"
	    "6:\n\t"
	    :
	    : [rs] "r"(rs), [cs] "i"(offsetof(struct rseq, rseq_cs)),
	    [loops] "r"(loops)
	    : "rax", "rcx", "memory", "cc"
	    : aborted);
	return true;
aborted:
	return false;
}

static void *
count(void *cookie)
{
	struct rseq *rs = area();

	subject_thread_begin(cookie);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (increment(rs))
			commits++;
		else
			aborts++;
	}
	return NULL;
}

static void
check_registered(const char *who)
{
	struct rseq *rs = area();

	expect((int)rs->cpu_id >= 0, "%s: cpu_id is %d", who, (int)rs->cpu_id);
	errno = 0;
	expect(syscall(SYS_rseq, rs, 32, 0, RSEQ_SIG) == -1 && errno == EBUSY,
	    "%s: not registered any more: %s", who, strerror(errno));
}

int
main(int argc, char **argv)
{
	pthread_t t;

	subject_init(argc, argv);
	if (__rseq_size == 0)
		subject_skip("glibc has not registered rseq");
	t = subject_thread(count, NULL, NULL);

	subject_wait();

	check_registered("main thread");
	stop = 1;
	pthread_join(t, NULL);
	expect(counter == commits, "counter is %llu, committed %llu",
	    (unsigned long long)counter, (unsigned long long)commits);
	subject_forget();
	return subject_done();
}
