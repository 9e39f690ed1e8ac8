/*
 * mutator - changes its memory at random, for ever, from a seed.
 *
 *	mutator SEED READY [KIDS]	writes READY when it has begun
 *
 * With KIDS it has so many children at most that live on, and do the same; they
 * are forked and killed at random, and have short-lived ones of their own.
 *
 * It maps, unmaps, moves, grows, protects, guards and gives back memory, private
 * and shared, anonymous and of a file, small and huge, forks children that write to what they have
 * inherited, and writes to pages and across them, at places that come from the
 * seed and the time.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define AREAS 48
#define PAGES_MAX 300
#define MANY 1500 /* some whole tables of the kernel's */

/* Linux 6.13; not in all headers. */
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

struct area {
	char *at;
	size_t pages;
	int prot;
	int shared;  /* of a size that never grows */
	int guarded; /* some of it */
	int of_file;
};

static struct area areas[AREAS];
static uint64_t state;
static int file;

#define KIDS_MAX 8
static pid_t kids[KIDS_MAX];
static unsigned nkids;

static unsigned
rnd(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 33) % n;
}

static void
map(struct area *a)
{
	int kind = (int)rnd(10), flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;

	a->pages = 1 + rnd(kind == 3 && rnd(3) == 0 ? MANY : PAGES_MAX);
	a->guarded = 0;
	a->prot = PROT_READ | PROT_WRITE;
	a->shared = kind == 0;
	if (kind == 0)
		flags = MAP_SHARED | MAP_ANONYMOUS;
	if (kind == 1 || kind == 2) {
		flags = MAP_PRIVATE;
		fd = file;
	}
	a->of_file = fd >= 0;
	a->at = mmap(NULL, a->pages * PAGE, a->prot, flags, fd, 0);
	if (a->at == MAP_FAILED)
		err(1, "mmap");
	if (rnd(8) == 0)
		madvise(a->at, a->pages * PAGE, MADV_HUGEPAGE);
}

static void
unmap(struct area *a)
{
	munmap(a->at, a->pages * PAGE);
	a->at = NULL;
}

static void
scribble(const struct area *a)
{
	unsigned n = 1 + rnd(4);

	if (!(a->prot & PROT_WRITE) || a->guarded)
		return;
	while (n-- > 0) {
		size_t at = rnd((unsigned)(a->pages * PAGE / 8 - 1)) * 8ul;

		memcpy(a->at + at + rnd(8), &state, sizeof(state));
	}
}

/* The end of it, or a hole in the middle, which makes two of one. */
static void
cut(struct area *a)
{
	size_t keep = 1 + rnd((unsigned)a->pages);

	if (keep < a->pages)
		munmap(a->at + keep * PAGE, (a->pages - keep) * PAGE);
	a->pages = keep;
}

static void
move(struct area *a)
{
	size_t pages = 1 + rnd(PAGES_MAX);
	char *at;

	if (a->prot != (PROT_READ | PROT_WRITE))
		return;
	if (a->shared && pages > a->pages)
		pages = a->pages;
	at = mremap(a->at, a->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	if (at == MAP_FAILED)
		return;
	a->at = at;
	a->pages = pages;
}

/* Unmapped and mapped again at the same place: nothing of it is as before. */
static void
remap(struct area *a)
{
	if (mmap(a->at, a->pages * PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		err(1, "mmap");
	a->prot = PROT_READ | PROT_WRITE;
	a->shared = 0;
	a->guarded = 0;
	a->of_file = 0;
}

static void
protect(struct area *a)
{
	static const int prots[] = { PROT_NONE, PROT_READ,
		PROT_READ | PROT_WRITE };

	a->prot = prots[rnd(3)];
	mprotect(a->at, a->pages * PAGE, a->prot);
	/* Half of it once more, which splits it. */
	if (a->prot == (PROT_READ | PROT_WRITE))
		mprotect(a->at, (a->pages + 1) / 2 * PAGE, a->prot);
}

static void
advise(const struct area *a)
{
	static const int advices[] = { MADV_DONTNEED, MADV_DONTNEED, MADV_FREE,
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED };
	size_t first = rnd((unsigned)a->pages);
	size_t n = 1 + rnd((unsigned)(a->pages - first));

	madvise(a->at + first * PAGE, n * PAGE, advices[rnd(6)]);
}

static void
guard(struct area *a)
{
	size_t first = rnd((unsigned)a->pages);
	size_t n = 1 + rnd((unsigned)(a->pages - first));

	if (a->guarded) {
		madvise(a->at, a->pages * PAGE, GUARD_REMOVE);
		a->guarded = 0;
	} else if (!a->shared && !a->of_file) {
		/* Of a file that is registered Linux 6.18 tries it for ever. */
		a->guarded =
		    madvise(a->at + first * PAGE, n * PAGE, GUARD_INSTALL) == 0;
	}
}

/* Where it was, its mapping stays, and is empty. */
static void
leave(const struct area *a)
{
	struct area *to = &areas[rnd(AREAS)];
	char *at;

	if (to->at != NULL || a->shared || a->guarded)
		return;
	at = mremap(a->at, a->pages * PAGE, a->pages * PAGE,
	    MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (at == MAP_FAILED)
		return;
	*to = *a;
	to->at = at;
}

static void
child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (int i = 0; i < AREAS; i++)
			if (areas[i].at != NULL)
				scribble(&areas[i]);
		_exit(0);
	}
	/* What is shared with it is copied by whoever writes first. */
	for (int i = 0; i < AREAS; i += 3)
		if (areas[i].at != NULL)
			scribble(&areas[i]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void go_on(void);

/* The one that was there ends, or another comes. */
static void
kid(void)
{
	unsigned i = rnd(nkids);
	pid_t pid;

	if (kids[i] > 0) {
		kill(kids[i], SIGKILL);
		waitpid(kids[i], NULL, 0);
		kids[i] = 0;
		return;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		nkids = 0;
		state ^= (uint64_t)getpid() << 20;
		go_on();
	}
	kids[i] = pid;
}

static void
mutate(void)
{
	struct area *a = &areas[rnd(AREAS)];

	if (a->at == NULL) {
		map(a);
		return;
	}
	switch (rnd(64)) {
	case 0:
		unmap(a);
		break;
	case 1:
		cut(a);
		break;
	case 2:
		move(a);
		break;
	case 3:
		remap(a);
		break;
	case 4:
	case 5:
		protect(a);
		break;
	case 6:
	case 7:
		advise(a);
		break;
	case 8:
		if (rnd(16) == 0)
			child();
		else if (rnd(4) == 0)
			guard(a);
		else if (rnd(4) == 0)
			leave(a);
		break;
	case 9:
		free(malloc(1 + rnd(400000)));
		break;
	case 11:
		if (nkids > 0)
			kid();
		break;
	case 10:
		if (sbrk((intptr_t)rnd(64) * (intptr_t)PAGE) == (void *)-1)
			return;
		break;
	default:
		scribble(a);
	}
}

static void
go_on(void)
{
	struct timespec nap = { 0, 1000000 };

	for (unsigned i = 0;; i++) {
		mutate();
		if (i % 2 == 0)
			nanosleep(&nap, NULL);
	}
}

int
main(int argc, char **argv)
{
	char name[] = "/tmp/mutator.XXXXXX";
	int ready;

	if (argc != 3 && argc != 4)
		errx(2, "usage: mutator SEED READY [KIDS]");
	nkids = argc == 4 ? (unsigned)atoi(argv[3]) % (KIDS_MAX + 1) : 0;
	state = strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
	file = mkstemp(name);
	if (file < 0 || ftruncate(file, PAGES_MAX * PAGE) < 0)
		err(1, "%s", name);
	unlink(name);
	for (size_t i = 0; i < PAGES_MAX * PAGE / 8; i++)
		if (pwrite(file, &i, 8, (off_t)i * 8) != 8)
			err(1, "%s", name);
	ready = open(argv[2], O_WRONLY | O_CREAT, 0600);
	if (ready < 0)
		err(1, "%s", argv[2]);
	close(ready);
	go_on();
}
