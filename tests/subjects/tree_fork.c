/*
 * tree_fork - memory that a fork shares: the same pages until one of the two
 * writes, and after that the one's and the other's.
 *
 * phases: survive twice
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

/* As waitpid(2), but for what SIGCHLD interrupts. */
static pid_t
await(pid_t pid, int *st, int flags)
{
	pid_t got;

	do
		got = waitpid(pid, st, flags);
	while (got < 0 && errno == EINTR);
	return got;
}

#define PAGE 4096ul
#define PAGES 4096ul /* 16 MiB */
#define CHILDREN 4

static char *memory;
static int to[CHILDREN][2], from[CHILDREN][2];

/* Of its own it has written every 100th page, from i on. */
static void
child(int i)
{
	char c;
	unsigned long wrong = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned long p = (unsigned long)i; p < PAGES; p += 100)
		memory[p * PAGE] = (char)('a' + i);
	madvise(memory + 50 * PAGE, PAGE, MADV_DONTNEED);
	must(mprotect(memory + 60 * PAGE, PAGE, PROT_READ) == 0);
	must(munmap(memory + 70 * PAGE, PAGE) == 0);
	must(write(from[i][1], "r", 1) == 1);
	if (read(to[i][0], &c, 1) != 1)
		_exit(1);
	for (unsigned long p = 0; p < PAGES; p++) {
		char want = p % 100 == (unsigned long)i ? (char)('a' + i)
			    : p == 50			? 0
							: (char)(p * 7 + 1);

		if (p != 70 && memory[p * PAGE] != want)
			wrong++;
	}
	_exit(wrong == 0 ? 0 : 2);
}

int
main(int argc, char **argv)
{
	pid_t pid[CHILDREN];
	int st = 0;
	char c;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(memory != MAP_FAILED);
	madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (unsigned long p = 0; p < PAGES; p++)
		memory[p * PAGE] = (char)(p * 7 + 1);
	for (int i = 0; i < CHILDREN; i++) {
		must(pipe(to[i]) == 0 && pipe(from[i]) == 0);
		pid[i] = fork();
		must(pid[i] >= 0);
		if (pid[i] == 0)
			child(i);
		must(read(from[i][0], &c, 1) == 1);
	}
	memory[99 * PAGE] = 'p'; /* the children keep the old one */

	subject_wait();

	expect(memory[99 * PAGE] == 'p', "the parent's own page");
	memory[99 * PAGE] = (char)(99 * 7 + 1);
	for (unsigned long p = 0; p < PAGES; p++)
		if (memory[p * PAGE] != (char)(p * 7 + 1)) {
			subject_fail("page %lu of the parent", p);
			break;
		}
	for (int i = 0; i < CHILDREN; i++) {
		must(write(to[i][1], "c", 1) == 1);
		expect(await(pid[i], &st, 0) == pid[i] && st == 0,
		    "child %d: %#x", i, st);
	}
	return subject_done();
}
