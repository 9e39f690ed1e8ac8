/*
 * thr_habits - how the kernel treats a process and its threads where that is
 * another way than usual: NUMA policies of threads and mappings, membarrier(2),
 * memory errors, speculation, CPUID, memory that is merged, or locked when it
 * is mapped, huge pages only where they were asked for.
 */
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "subject.h"

#define BIND 2
#define INTERLEAVE 3
#define PREFER 1
#define STATIC_NODES (1 << 15)
#define F_ADDR 2

#define MERGE_SET 67
#define MERGE_GET 68
#define GET_REGISTRATIONS (1 << 9)
#define ARCH_CPUID_GET 0x1011
#define ARCH_CPUID_SET 0x1012

#define SIZE (64u << 10)

static const unsigned long node0 = 1;
static char *area, *shared;
static bool has_cpuid, has_store, has_branch, has_merge, has_advised;
static bool has_numa, has_locked;

/* What is set of each thread, by its number. */
static void
set_thread(int n)
{
	if (has_numa)
		must(syscall(SYS_set_mempolicy,
			 n == 0 ? INTERLEAVE : PREFER | STATIC_NODES, &node0,
			 65) == 0);
	must(prctl(PR_MCE_KILL, PR_MCE_KILL_SET,
		 n == 0 ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0, 0) == 0);
	if (n == 0)
		return;
	has_cpuid = syscall(SYS_arch_prctl, ARCH_CPUID_SET, 0) == 0;
	has_store = prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS,
			PR_SPEC_DISABLE, 0, 0) == 0;
	has_branch = prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH,
			 PR_SPEC_FORCE_DISABLE, 0, 0) == 0;
}

static void
check_policy(const char *what, const void *at, int want)
{
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	if (!has_numa)
		return;
	must(syscall(SYS_get_mempolicy, &mode, nodes, 1024, at,
		 at == NULL ? 0 : F_ADDR) == 0);
	expect(mode == want, "the policy of %s is %x", what, (unsigned)mode);
	expect(mode == 0 || nodes[0] == node0, "the nodes of %s are %lx", what,
	    nodes[0]);
}

static void
check_thread(int n)
{
	check_policy(n == 0 ? "the leader" : "a thread", NULL,
	    n == 0 ? INTERLEAVE : PREFER | STATIC_NODES);
	expect(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) ==
		   (n == 0 ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE),
	    "thread %d: memory errors", n);
	if (has_cpuid)
		expect(syscall(SYS_arch_prctl, ARCH_CPUID_GET, 0) == (n == 0),
		    "thread %d: CPUID", n);
	if (has_store)
		expect(((prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0,
			     0, 0) &
			    PR_SPEC_DISABLE) != 0) == (n == 1),
		    "thread %d: speculation of stores", n);
	if (has_branch)
		expect(((prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH,
			     0, 0, 0) &
			    PR_SPEC_FORCE_DISABLE) != 0) == (n == 1),
		    "thread %d: speculation of branches", n);
}

static void *
second(void *cookie)
{
	set_thread(1);
	subject_thread_begin(cookie);
	while (!subject_told())
		subject_rest();
	check_thread(1);
	return NULL;
}

static void *
map(size_t size, int flags)
{
	void *p = mmap(
	    NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	subject_fill(p, size, 3);
	return p;
}

static void
set_memory(void)
{
	area = map(4 * SIZE, MAP_PRIVATE);
	shared = map(SIZE, MAP_SHARED);
	has_numa = syscall(SYS_set_mempolicy, 0, NULL, 0) == 0;
	if (has_numa) {
		must(syscall(SYS_mbind, area + SIZE, SIZE, BIND, &node0, 65,
			 0) == 0);
		must(syscall(SYS_mbind, shared, SIZE, BIND | STATIC_NODES,
			 &node0, 65, 0) == 0);
	}
	has_merge = prctl(MERGE_SET, 1, 0, 0, 0) == 0;
	has_advised = prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0) == 0;
	must(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		 0, 0) == 0);
	must(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED,
		 0, 0) == 0);
}

static void
check_memory(void)
{
	long r = syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0);

	check_policy("the area's first part", area, 0);
	check_policy("the area's second part", area + SIZE, BIND);
	check_policy("the area's third part", area + 2 * SIZE, 0);
	check_policy("shared memory", shared, BIND | STATIC_NODES);
	subject_filled("area", area, 4 * SIZE, 3);
	subject_filled("shared", shared, SIZE, 3);
	expect(r < 0 || r == (MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED |
				 MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED),
	    "membarrier: %lx", (unsigned long)r);
	expect(syscall(
		   SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0,
	    "membarrier(2): %s", strerror(errno));
	if (has_merge)
		expect(prctl(MERGE_GET, 0, 0, 0, 0) == 1, "memory merge");
	if (has_advised)
		expect(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 3,
		    "huge pages: %d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
}

/* Last of all: what can be mapped from now on. */
static void
set_future(void)
{
	has_locked = mlockall(MCL_FUTURE | MCL_ONFAULT) == 0;
}

static bool
is_locked(const void *at)
{
	char line[256], want[32];
	bool here = false, is = false;
	FILE *f = fopen("/proc/self/smaps", "r");

	must(f != NULL);
	snprintf(want, sizeof(want), "%lx-", (unsigned long)at);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, want, strlen(want)) == 0)
			here = true;
		else if (here && strncmp(line, "VmFlags:", 8) == 0) {
			is = strstr(line, " lo") != NULL &&
			     strstr(line, " lf") != NULL;
			break;
		}
	}
	fclose(f);
	return is;
}

static void
check_future(void)
{
	void *p;

	if (!has_locked)
		return;
	expect(!is_locked(area), "what was not locked is");
	p = mmap(NULL, 12345, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	expect(is_locked(p), "what is mapped is not locked");
}

int
main(int argc, char **argv)
{
	pthread_t thread;
	pid_t tid;

	subject_init(argc, argv);
	set_memory();
	set_thread(0);
	thread = subject_thread(second, NULL, &tid);
	set_future();
	subject_wait();
	check_thread(0);
	must(pthread_join(thread, NULL) == 0);
	check_memory();
	check_future();
	subject_forget();
	return subject_done();
}
