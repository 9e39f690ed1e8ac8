#include "fault.h"

#ifdef SNAPFS_FAULTS
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct fault_plan *plan;

void
fault_use(struct fault_plan *p)
{
	plan = p;
}

/* A byte for each of the program, or NULL. */
static uint8_t *sites;
extern const char __executable_start[];

static void
begin_sites(void)
{
	const char *dir = getenv("SNAPFS_FAULT_SITES");
	char path[256];
	void *p;
	int fd;

	if (dir == NULL)
		return;
	snprintf(
	    path, sizeof(path), "%s/%s", dir, program_invocation_short_name);
	fd = (int)syscall(
	    SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	p = MAP_FAILED;
	if (ftruncate(fd, FAULT_SITES_SIZE) == 0)
		p = (void *)syscall(SYS_mmap, NULL, FAULT_SITES_SIZE,
		    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (p != MAP_FAILED)
		sites = p;
}

static void
mark(const void *site, int what)
{
	size_t at = (size_t)((const char *)site - __executable_start);

	if (sites != NULL && at < FAULT_SITES_SIZE)
		sites[at] |= (uint8_t)what;
}

/*
 * Before anything else of the program; nothing here is counted.  It is for this
 * process: an agent, which has our environment where a sanitizer wants it, would
 * be hit in its place.
 */
__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("SNAPFS_FAULT_PLAN");
	void *p;
	int fd;

	begin_sites();
	if (path == NULL)
		return;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*plan),
	    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	unsetenv("SNAPFS_FAULT_PLAN");
	if (p != MAP_FAILED)
		plan = p;
}

static void
put(char to[48], const char *text)
{
	size_t n = 0;

	for (; n < 47 && text[n] != '\0'; n++)
		to[n] = text[n];
	to[n] = '\0';
}

/* As on a machine where others had the CPU. */
static void
come_late(uint32_t ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&t, &t) != 0)
		;
}

static bool
is_counted(struct fault_plan *p, enum fault_class c, const char *what)
{
	return (atomic_load(&p->classes) & c) != 0 &&
	       (p->only[0] == '\0' ||
		   strncmp(p->only, what, sizeof(p->only)) == 0);
}

bool
fault_hits_at(enum fault_class c, const char *what, int error, const void *site)
{
	struct fault_plan *p = plan;

	mark(site, FAULT_PASSED);
	if (p == NULL || !is_counted(p, c, what))
		return false;
	if (atomic_fetch_add(&p->passed, 1) + 1 != p->at) {
		if (c == FAULT_PTRACE && !atomic_load(&p->hit))
			put(p->before, what);
		return false;
	}
	put(p->what, what);
	atomic_store(&p->hit, 1);
	if (p->late_ms == 0)
		mark(site, p->kill ? FAULT_KILLED : FAULT_FAILED);
	if (p->kill) {
		/* All of us, at once; or whoever made the plan kills us. */
		syscall(SYS_kill, getpid(), p->kill == 2 ? SIGSTOP : SIGKILL);
		for (;;)
			syscall(SYS_pause);
	}
	if (p->late_ms != 0) {
		come_late(p->late_ms);
		return false;
	}
	errno = p->error != 0 ? p->error : error;
	return true;
}
#endif
