/*
 * mem_numa - NUMA policies of parts of much memory: here the kernel is asked
 * for each mapping, and not (thr_habits) for all of them at once.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "subject.h"

#define BIND 2
#define PREFER_MANY 5
#define F_ADDR 2
#define PART (16u << 20)

static const unsigned long node0 = 1;

static void
check_policy(const char *at, int want)
{
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	must(syscall(SYS_get_mempolicy, &mode, nodes, 1024, at, F_ADDR) == 0);
	expect(mode == want, "the policy of %p is %x", (const void *)at,
	    (unsigned)mode);
	expect(mode == 0 || nodes[0] == node0, "the nodes of %p are %lx",
	    (const void *)at, nodes[0]);
}

int
main(int argc, char **argv)
{
	int many;
	char *p;

	subject_init(argc, argv);
	p = mmap(NULL, 3 * PART, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	if (syscall(SYS_mbind, p + PART, PART / 2, BIND, &node0, 65, 0) != 0)
		subject_skip("mbind: %s", strerror(errno));
	many = syscall(SYS_mbind, p + PART + PART / 2, PART / 2, PREFER_MANY,
		   &node0, 65, 0) == 0
		   ? PREFER_MANY
		   : 0;
	/* What it is by itself is no mapping's own. */
	must(syscall(SYS_set_mempolicy, BIND, &node0, 65) == 0);
	subject_fill(p, 3 * PART, 7);

	subject_wait();

	check_policy(p, 0);
	check_policy(p + PART, BIND);
	check_policy(p + PART + PART / 2, many);
	check_policy(p + 2 * PART, 0);
	subject_filled("all of it", p, 3 * PART, 7);
	must(syscall(SYS_set_mempolicy, 0, NULL, 0) == 0);
	return subject_done();
}
