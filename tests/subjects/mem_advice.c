/*
 * mem_advice - what madvise(2) leaves on a mapping, with contents: also of
 * those that a fork does not inherit.
 *
 * The flags themselves are compared with the rest of smaps.
 */
#include <sys/mman.h>

#include "subject.h"

#define MIB (1024 * 1024)
#define SIZE (4 * MIB)

static const struct {
	const char *name;
	int advice;
} advice[] = {
	{ "MADV_HUGEPAGE", MADV_HUGEPAGE },
	{ "MADV_NOHUGEPAGE", MADV_NOHUGEPAGE },
	{ "MADV_DONTDUMP", MADV_DONTDUMP },
	{ "MADV_DONTFORK", MADV_DONTFORK },
	{ "MADV_WIPEONFORK", MADV_WIPEONFORK },
	{ "MADV_SEQUENTIAL", MADV_SEQUENTIAL },
	{ "MADV_RANDOM", MADV_RANDOM },
	{ "MADV_MERGEABLE", MADV_MERGEABLE },
};

#define N (sizeof(advice) / sizeof(advice[0]))

int
main(int argc, char **argv)
{
	char *p[N];

	subject_init(argc, argv);
	for (size_t i = 0; i < N; i++) {
		p[i] = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(p[i] != MAP_FAILED);
		/* Some are not compiled into every kernel. */
		if (madvise(p[i], SIZE, advice[i].advice) != 0)
			must(errno == EINVAL);
		subject_fill(p[i] + MIB, MIB, (unsigned)i);
	}

	subject_wait();

	for (size_t i = 0; i < N; i++) {
		subject_zero(advice[i].name, p[i], MIB);
		subject_filled(advice[i].name, p[i] + MIB, MIB, (unsigned)i);
		subject_zero(advice[i].name, p[i] + 2 * MIB, 2 * MIB);
	}
	return subject_done();
}
