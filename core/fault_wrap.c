/*
 * fault_wrap.c - what the linker puts before the functions that it is told to
 * --wrap (CMakeLists.txt has the list): a point, then the function itself.
 */
#include "fault.h"

#ifdef SNAPFS_FAULTS
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "heal.h"

/* A function of this type with these arguments, which answers `bad`. */
#define WRAP(class, type, name, params, args, error, bad) \
	type __real_##name params; \
	type __wrap_##name params; \
	type __wrap_##name params \
	{ \
		if (fault_hits(class, #name, error)) \
			return bad; \
		return __real_##name args; \
	}

WRAP(FAULT_SOCKET, int, setsockopt,
    (int fd, int l, int o, const void *v, socklen_t n), (fd, l, o, v, n),
    ENOPROTOOPT, -1)

/* ---- memory ---- */

WRAP(FAULT_MEMORY, void *, malloc, (size_t n), (n), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, calloc, (size_t n, size_t m), (n, m), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, realloc, (void *p, size_t n), (p, n), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, reallocarray, (void *p, size_t n, size_t m),
    (p, n, m), ENOMEM, NULL)
WRAP(FAULT_MEMORY, char *, strdup, (const char *s), (s), ENOMEM, NULL)
WRAP(FAULT_MEMORY, char *, strndup, (const char *s, size_t n), (s, n), ENOMEM,
    NULL)
WRAP(FAULT_MEMORY, int, vasprintf, (char **s, const char *f, va_list ap),
    (s, f, ap), ENOMEM, -1)
WRAP(FAULT_MEMORY, FILE *, open_memstream, (char **p, size_t *n), (p, n),
    ENOMEM, NULL)
WRAP(FAULT_MEMORY, int, memfd_create, (const char *n, unsigned f), (n, f),
    ENOMEM, -1)
WRAP(FAULT_MEMORY, void *, mmap,
    (void *a, size_t n, int p, int f, int fd, off_t o), (a, n, p, f, fd, o),
    ENOMEM, MAP_FAILED)

int __wrap_asprintf(char **s, const char *f, ...);
int
__wrap_asprintf(char **s, const char *f, ...)
{
	va_list ap;
	int n;

	va_start(ap, f);
	n = __wrap_vasprintf(s, f, ap);
	va_end(ap);
	return n;
}

/* ---- tasks ---- */

WRAP(FAULT_TASK, pid_t, fork, (void), (), EAGAIN, -1)
WRAP(FAULT_TASK, int, pthread_create,
    (pthread_t * t, const pthread_attr_t *a, void *(*f)(void *), void *arg),
    (t, a, f, arg), EAGAIN, EAGAIN)
WRAP(FAULT_TASK, int, posix_spawn,
    (pid_t * pid, const char *path, const posix_spawn_file_actions_t *fa,
	const posix_spawnattr_t *attr, char *const argv[], char *const envp[]),
    (pid, path, fa, attr, argv, envp), EAGAIN, EAGAIN)

/* ---- files ---- */

WRAP(FAULT_IO, DIR *, opendir, (const char *path), (path), EMFILE, NULL)
WRAP(FAULT_IO, ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), EIO, -1)
WRAP(FAULT_IO, ssize_t, pread, (int fd, void *b, size_t n, off_t o),
    (fd, b, n, o), EIO, -1)
WRAP(FAULT_IO, ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o),
    (fd, b, n, o), EIO, -1)
WRAP(FAULT_IO, ssize_t, readlink, (const char *p, char *b, size_t n), (p, b, n),
    EIO, -1)
WRAP(FAULT_IO, ssize_t, process_vm_readv,
    (pid_t pid, const struct iovec *a, unsigned long n, const struct iovec *b,
	unsigned long m, unsigned long f),
    (pid, a, n, b, m, f), EFAULT, -1)
WRAP(FAULT_IO, ssize_t, process_vm_writev,
    (pid_t pid, const struct iovec *a, unsigned long n, const struct iovec *b,
	unsigned long m, unsigned long f),
    (pid, a, n, b, m, f), EFAULT, -1)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int
__wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (fault_hits(FAULT_IO, "open", EMFILE))
		return -1;
	return __real_open(path, flags, mode);
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int
__wrap_openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (fault_hits(FAULT_IO, "openat", EMFILE))
		return -1;
	return __real_openat(dir, path, flags, mode);
}

int __real_ioctl(int fd, unsigned long rq, void *arg);
int __wrap_ioctl(int fd, unsigned long rq, void *arg);
int
__wrap_ioctl(int fd, unsigned long rq, void *arg)
{
	if (fault_hits(FAULT_IO, "ioctl", EIO))
		return -1;
	return __real_ioctl(fd, rq, arg);
}

/* ---- ptrace ---- */

static const char *
request_name(long rq)
{
	static const struct {
		long rq;
		const char *name;
	} v[] = {
		{ PTRACE_CONT, "CONT" },
		{ PTRACE_DETACH, "DETACH" },
		{ PTRACE_GETEVENTMSG, "GETEVENTMSG" },
		{ PTRACE_GETREGS, "GETREGS" },
		{ PTRACE_GETREGSET, "GETREGSET" },
		{ PTRACE_GETSIGMASK, "GETSIGMASK" },
		{ PTRACE_INTERRUPT, "INTERRUPT" },
		{ PTRACE_KILL, "KILL" },
		{ PTRACE_LISTEN, "LISTEN" },
		{ PTRACE_PEEKSIGINFO, "PEEKSIGINFO" },
		{ PTRACE_SEIZE, "SEIZE" },
		{ PTRACE_SETOPTIONS, "SETOPTIONS" },
		{ PTRACE_SETREGS, "SETREGS" },
		{ PTRACE_SETREGSET, "SETREGSET" },
		{ PTRACE_SETSIGMASK, "SETSIGMASK" },
		{ PTRACE_SYSCALL, "SYSCALL" },
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (v[i].rq == rq)
			return v[i].name;
	return "a ptrace request";
}

long __real_ptrace(long rq, pid_t pid, void *addr, void *data);
long __wrap_ptrace(long rq, pid_t pid, void *addr, void *data);
long
__wrap_ptrace(long rq, pid_t pid, void *addr, void *data)
{
	/* The kernel never refuses to let go of one that is there. */
	bool hit = fault_hits(
	    FAULT_PTRACE, request_name(rq), rq == PTRACE_SEIZE ? ESRCH : EIO);

	if (hit && rq != PTRACE_DETACH)
		return -1;
	return __real_ptrace(rq, pid, addr, data);
}

/* ---- calls in another process ---- */

/* No call has this number: the process is told ENOSYS. */
#define NO_CALL 0xfffff

size_t __real_heal_add(struct frozen *z, size_t i, long nr, uint64_t a0,
    uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4);
size_t __wrap_heal_add(struct frozen *z, size_t i, long nr, uint64_t a0,
    uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4);
size_t
__wrap_heal_add(struct frozen *z, size_t i, long nr, uint64_t a0, uint64_t a1,
    uint64_t a2, uint64_t a3, uint64_t a4)
{
	if (fault_hits(FAULT_CALL, "a call in a list", 0))
		nr = NO_CALL;
	return __real_heal_add(z, i, nr, a0, a1, a2, a3, a4);
}

void __real_heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6]);
void __wrap_heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6]);
void
__wrap_heal_code_enter_call(struct user_regs_struct *r,
    const struct user_regs_struct *home, uint64_t ip, long nr,
    const uint64_t args[6])
{
	if (fault_hits(FAULT_CALL, "a call", 0))
		nr = NO_CALL;
	__real_heal_code_enter_call(r, home, ip, nr, args);
}
#endif
