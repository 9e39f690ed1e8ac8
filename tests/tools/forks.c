/*
 * forks - a tree of processes of a size, which looks at itself when asked.
 *
 *	forks DIR [-m MIB] [-p PROCESSES] [-w KIB] [-t THREADS] [-f FILES]
 *	    [-v MAPPINGS] [-d] [-r]
 *
 * The first process fills MIB of memory and is then forked PROCESSES times
 * (with -d each child forks the next); each child writes KIB of its own.  With
 * -r the first writes to half of its memory when half of them are there, and to
 * the other half when all are.  Each
 * has THREADS threads that sleep in a call, FILES open files and MAPPINGS
 * mappings that cannot become one.  DIR/ready: the pid of the first.  When
 * DIR/check is there, all look at their memory; DIR/result: how many processes
 * found it right, and how many did not; DIR/looked: the number of the last of
 * them, and whether it did.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE 4096ul
#define RENEWED 1000 /* in place of a process */
#define MAPPINGS_AT 0x200000000000ul

static const char *dir;
static unsigned long mib, processes, kib = 16, threads, files, mappings;
static int deep, renew;
static unsigned long renewed; /* words, in who was forked later, too */

static uint64_t *memory;
static unsigned long words;

/* Shared by all. */
static struct counts {
	unsigned long ready, right, wrong;
} * counts;

static uint64_t
value(unsigned long word, unsigned long process)
{
	return (word + 1) * 0x9e3779b97f4a7c15ul + process;
}

/* Of process `n`, n > 0: one page in so many, from another place each. */
static unsigned long
own_page(unsigned long n, unsigned long k)
{
	unsigned long pages = words * 8 / PAGE;

	return (n * 131 + k * (pages / (kib / 4 + 1) + 1)) % pages;
}

static void
renew_until(unsigned long end)
{
	for (; renewed < end; renewed += 64)
		memory[renewed] = value(renewed, RENEWED);
}

static void
write_own(unsigned long n)
{
	for (unsigned long k = 0; mib > 0 && k < kib / 4; k++) {
		unsigned long w = own_page(n, k) * PAGE / 8;

		memory[w] = value(w, n);
	}
}

/* -d: what those above it have written, too. */
static int
look(unsigned long n)
{
	unsigned char *mine = calloc(words * 8 / PAGE + 1, 1);
	unsigned long from = deep ? 1 : n;
	int right = mine != NULL;

	for (unsigned long i = from; n > 0 && right && i <= n; i++)
		for (unsigned long k = 0; mib > 0 && k < kib / 4; k++)
			mine[own_page(i, k)] = (unsigned char)i;
	for (unsigned long w = 0; right && w < words; w += 64) {
		unsigned long page = w * 8 / PAGE, who = 0;

		if (w * 8 % PAGE == 0)
			who = mine[page];
		if (who == 0 && w < renewed)
			who = RENEWED;
		right = memory[w] == value(w, who);
	}
	free(mine);
	return right;
}

static void *
sleep_in_call(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void
have_threads(void)
{
	pthread_attr_t a;
	pthread_t t;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 16 * PAGE);
	for (unsigned long i = 0; i < threads; i++)
		if ((errno = pthread_create(&t, &a, sleep_in_call, NULL)) != 0)
			err(1, "thread %lu", i);
}

static void
have_files(void)
{
	struct rlimit lim;
	char name[4096];
	int fd;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	for (unsigned long i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%s/file%lu", dir, i % 10);
		fd = open(name, O_RDWR | O_CREAT, 0600);
		if (fd < 0 || lseek(fd, (off_t)i, SEEK_SET) < 0)
			err(1, "%s", name);
	}
}

static void
have_mappings(void)
{
	for (unsigned long i = 0; i < mappings; i++) {
		char *at = mmap((void *)(MAPPINGS_AT + i * PAGE), PAGE,
		    PROT_READ | (i % 2 == 0 ? PROT_WRITE : 0),
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (at == MAP_FAILED)
			err(1, "mapping %lu", i);
		if (i % 4 == 0)
			*at = 1;
	}
}

static int
is_there(const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static void
say(const char *name, const char *fmt, unsigned long a, unsigned long b)
{
	char path[4096], part[4200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(part, sizeof(part), "%s.%d", path, (int)getpid());
	f = fopen(part, "w");
	if (f == NULL)
		err(1, "%s", part);
	fprintf(f, fmt, a, b);
	fclose(f);
	if (rename(part, path) < 0)
		err(1, "%s", path);
}

static unsigned long
count(unsigned long *n, unsigned long add)
{
	return __atomic_add_fetch(n, add, __ATOMIC_SEQ_CST);
}

static void
be_process(unsigned long n)
{
	int right;

	have_threads();
	have_mappings();
	count(&counts->ready, 1);
	while (n == 0 && count(&counts->ready, 0) <= processes)
		usleep(1000);
	if (n == 0)
		say("ready", "%lu\n", (unsigned long)getpid(), 0);
	while (!is_there("check"))
		usleep(20000);
	right = look(n);
	say("looked", "%lu %lu\n", n, (unsigned long)right);
	count(right ? &counts->right : &counts->wrong, 1);
	if (n > 0)
		for (;;)
			pause();
	while (count(&counts->right, 0) + count(&counts->wrong, 0) <= processes)
		usleep(1000);
	say("result", "%lu %lu\n", counts->right, counts->wrong);
	for (;;)
		pause();
}

static void
fork_all(void)
{
	unsigned long n = 0;
	pid_t pid;

	for (unsigned long i = 1; i <= processes; i++) {
		pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid > 0 && deep)
			break;
		if (pid > 0 && renew && i == processes / 2)
			renew_until(words / 2);
		if (pid > 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		n = i;
		write_own(n);
		if (!deep)
			break;
	}
	if (n == 0 && renew)
		renew_until(words);
	be_process(n);
}

int
main(int argc, char **argv)
{
	int c;

	if (argc < 2)
		errx(2, "usage: forks DIR [-m MIB] ...");
	dir = argv[1];
	optind = 2;
	while ((c = getopt(argc, argv, "m:p:w:t:f:v:dr")) != -1) {
		unsigned long n =
		    optarg == NULL ? 0 : strtoul(optarg, NULL, 10);

		switch (c) {
		case 'm':
			mib = n;
			break;
		case 'p':
			processes = n;
			break;
		case 'w':
			kib = n;
			break;
		case 't':
			threads = n;
			break;
		case 'f':
			files = n;
			break;
		case 'v':
			mappings = n;
			break;
		case 'd':
			deep = 1;
			break;
		case 'r':
			renew = 1;
			break;
		default:
			errx(2, "usage: forks DIR [-m MIB] ...");
		}
	}
	words = mib << 17;
	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memory = mmap(NULL, mib > 0 ? mib << 20 : PAGE, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED || memory == MAP_FAILED)
		err(1, "mmap");
	madvise(memory, mib > 0 ? mib << 20 : PAGE, MADV_NOHUGEPAGE);
	for (unsigned long w = 0; w < words; w += 64)
		memory[w] = value(w, 0);
	have_files();
	fork_all();
	return 0;
}
