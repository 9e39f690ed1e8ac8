#include "timed.h"

#include <assert.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>

#define NS 1000000000ull
#define MS 1000000ull

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static const struct timed timed_calls[] = {
	{ SYS_epoll_wait, 3, true },
	{ SYS_epoll_pwait, 3, true },
	{ SYS_epoll_pwait2, 3, false },
	{ SYS_semtimedop, 3, false },
	{ SYS_rt_sigtimedwait, 2, false },
	{ SYS_io_getevents, 4, false },
	{ SYS_io_pgetevents, 4, false },
};

const struct timed *
timed_find(long nr)
{
	for (size_t i = 0; i < sizeof(timed_calls) / sizeof(*timed_calls); i++)
		if (timed_calls[i].nr == nr)
			return &timed_calls[i];
	return NULL;
}

unsigned long long *
timed_reg(const struct timed *timed, struct user_regs_struct *r)
{
	switch (timed->arg) {
	case 2:
		return &r->rdx;
	case 3:
		return &r->r10;
	default:
		assert(timed->arg == 4);
		return &r->r8;
	}
}

bool
timed_ends(const struct timed *timed, uint64_t arg)
{
	return timed->ms ? (int)arg > 0 : arg != 0;
}

bool
timed_read(const struct calls_memory *m, uint64_t addr, uint64_t *ns)
{
	struct timespec t;

	if (addr == 0 || !m->read(m->arg, &t, sizeof(t), addr) ||
	    t.tv_sec < 0 || t.tv_nsec < 0 || (uint64_t)t.tv_nsec >= NS)
		return false;
	if (__builtin_mul_overflow((uint64_t)t.tv_sec, NS, ns) ||
	    __builtin_add_overflow(*ns, (uint64_t)t.tv_nsec, ns))
		*ns = UINT64_MAX;
	return true;
}

bool
timed_whole(const struct timed *timed, uint64_t arg,
    const struct calls_memory *m, uint64_t *ns)
{
	if (!timed_ends(timed, arg))
		return false;
	if (!timed->ms)
		return timed_read(m, arg, ns);
	*ns = (uint64_t)(int)arg * MS;
	return true;
}

uint64_t
timed_ms(uint64_t ns)
{
	ns = ns / MS + (ns % MS != 0);
	return ns > INT32_MAX ? INT32_MAX : ns;
}
