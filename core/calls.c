#include "calls.h"

#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "timed.h"

/* Not in any header for programs. */
#define K_EINTR 4
#define K_ERESTARTSYS 512
#define K_ERESTARTNOINTR 513
#define K_ERESTARTNOHAND 514
#define K_ERESTART_RESTARTBLOCK 516

static bool
interrupted(const struct user_regs_struct *r, long err)
{
	return (long)r->orig_rax >= 0 && (long)r->rax == -err;
}

bool
calls_waits_for_clones(const struct user_regs_struct *r)
{
	/* One that came home by hand is about to make its call anew. */
	bool again = r->orig_rax == (unsigned long)-1;

	switch (again ? r->rax : r->orig_rax) {
	case SYS_wait4:
		return (r->rdx & (__WALL | __WCLONE)) != 0;
	case SYS_waitid:
		return (r->r10 & (__WALL | __WCLONE)) != 0;
	default:
		return false;
	}
}

static bool
restarts(const struct user_regs_struct *r)
{
	return interrupted(r, K_ERESTARTSYS) ||
	       interrupted(r, K_ERESTARTNOINTR) ||
	       interrupted(r, K_ERESTARTNOHAND);
}

/* ---- plain EINTR ---- */

/*
 * Those that answer EINTR because they were woken, with nothing done: always
 * (the first two lines), on sockets with a time-out (the next), or when a
 * server of a file system gave up.  What is left of their time-outs: stubs.h.
 */
static const int eintr_calls[] = { SYS_epoll_wait, SYS_epoll_pwait,
	SYS_epoll_pwait2, SYS_semop, SYS_semtimedop, SYS_rt_sigtimedwait,
	SYS_io_getevents, SYS_io_pgetevents, 426 /* io_uring_enter */,
#define FRAGILE 9 /* the first so many */
	SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom, SYS_recvmsg,
	SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_accept,
	SYS_accept4, SYS_connect, SYS_pread64, SYS_preadv, SYS_pwrite64,
	SYS_pwritev };

bool
calls_is_fragile(int nr)
{
	for (size_t i = 0; i < FRAGILE; i++)
		if (nr == eintr_calls[i])
			return true;
	return false;
}

bool
calls_hide_eintr(struct user_regs_struct *r)
{
	if (!interrupted(r, K_EINTR))
		return false;
	for (size_t i = 0; i < sizeof(eintr_calls) / sizeof(int); i++)
		if (r->orig_rax == (unsigned long)eintr_calls[i]) {
			r->rax = (unsigned long)-K_ERESTARTNOHAND;
			return true;
		}
	return false;
}

/* ---- the image's registers ---- */

void
calls_args(const struct user_regs_struct *r, uint64_t a[6])
{
	a[0] = r->rdi;
	a[1] = r->rsi;
	a[2] = r->rdx;
	a[3] = r->r10;
	a[4] = r->r8;
	a[5] = r->r9;
}

/* The number that a `mov $nr,%eax` just before the call puts there, or -1. */
static int
preceding_number(const struct calls_memory *m, uint64_t rip)
{
	uint8_t b[16];
	int32_t nr;

	/* ... b8 NR NR NR NR 0f 05 */
	if (!m->read(m->arg, b, 7, rip - 7) || b[0] != 0xb8 || b[5] != 0x0f ||
	    b[6] != 0x05)
		return -1;
	memcpy(&nr, b + 1, sizeof(nr));
	return nr;
}

static bool
is_pointer(uint64_t v)
{
	return v >= 65536 && v < 1ull << 47;
}

static bool
waits_for_futex(uint64_t op)
{
	uint64_t cmd = op & (uint64_t)FUTEX_CMD_MASK;

	return op <= 511 && (cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET);
}

/*
 * A call that has been interrupted before is restart_syscall(2) to the kernel,
 * and its own number is forgotten.  Its arguments are still there, and no two
 * of the four calls that can be meant look alike; where the kernel tells in
 * which function the thread slept, that has to agree.
 */
static int
forgotten_number(const uint64_t a[6], uint64_t rip, const struct call_sample *s,
    const struct calls_memory *m)
{
	const char *w = s->wchan;
	uint64_t ns;
	int nr = -1;

	switch (preceding_number(m, rip)) {
	case SYS_nanosleep:
		return SYS_nanosleep;
	case SYS_clock_nanosleep:
		return SYS_clock_nanosleep;
	case SYS_poll:
		return SYS_poll;
	case SYS_futex:
		return SYS_futex;
	}
	if (a[0] < 16 && a[1] == 0 && timed_read(m, a[2], &ns))
		nr = SYS_clock_nanosleep;
	else if (is_pointer(a[0]) && (a[1] == 0 || is_pointer(a[1])) &&
		 strstr(w, "poll") == NULL && strstr(w, "futex") == NULL &&
		 timed_read(m, a[0], &ns))
		nr = SYS_nanosleep;
	else if (is_pointer(a[0]) && waits_for_futex(a[1]) &&
		 strstr(w, "poll") == NULL && timed_read(m, a[3], &ns))
		nr = SYS_futex;
	else if ((a[0] == 0 || is_pointer(a[0])) && a[1] < 1u << 20 &&
		 (int)a[2] > 0)
		nr = SYS_poll;
	if ((strstr(w, "nanosleep") != NULL && nr != SYS_nanosleep &&
		nr != SYS_clock_nanosleep) ||
	    (strstr(w, "futex") != NULL && nr != SYS_futex) ||
	    (strstr(w, "poll") != NULL && nr != SYS_poll))
		return -1;
	return nr;
}

/*
 * The whole time-out of a call, and where the kernel has already written what
 * is left of it (0: nowhere).  False if it has none.
 */
static bool
timeout(const struct restart *rs, const struct calls_memory *m, uint64_t *ns,
    uint64_t *left_at)
{
	*left_at = 0;
	switch (rs->nr) {
	case SYS_nanosleep:
		*left_at = rs->args[1];
		return timed_read(m, rs->args[0], ns);
	case SYS_clock_nanosleep:
		*left_at = rs->args[3];
		return timed_read(m, rs->args[2], ns);
	case SYS_poll:
		*ns = (uint64_t)(int)rs->args[2] * 1000000u;
		return (int)rs->args[2] > 0;
	case SYS_futex:
		return (rs->args[1] & FUTEX_CMD_MASK) == FUTEX_WAIT &&
		       timed_read(m, rs->args[3], ns);
	default:
		return false;
	}
}

/* Start it anew from the beginning. */
static void
again(struct user_regs_struct *r, int nr)
{
	r->rip -= 2; /* `syscall` */
	r->rax = (unsigned long)nr;
	r->orig_rax = (unsigned long)-1;
}

static void
answer_eintr(struct user_regs_struct *r)
{
	r->rax = (unsigned long)-K_EINTR;
	r->orig_rax = (unsigned long)-1;
}

/* As an image has it: three hundred years are as good as more. */
static uint64_t
at_most(uint64_t ns)
{
	return ns < INT64_MAX ? ns : INT64_MAX;
}

/*
 * The time that is left is what the kernel wrote for the program to see; else
 * the whole less what the thread has slept, as far as that is known.  (Where
 * a call was interrupted before, only the sleep since then is.)
 */
static bool
image_restart_block(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s, const struct calls_memory *m)
{
	struct restart *rs = &t->restart;
	uint64_t ns, left_at, left;

	calls_args(r, rs->args);
	rs->nr = r->orig_rax == SYS_restart_syscall
		     ? forgotten_number(rs->args, r->rip, s, m)
		     : (int)r->orig_rax;
	if (rs->nr < 0) {
		answer_eintr(&t->regs);
		return false;
	}
	if (!timeout(rs, m, &ns, &left_at)) {
		/* For ever, or until a moment: from the beginning will do. */
		again(&t->regs, rs->nr);
		rs->nr = -1;
		return true;
	}
	t->regs.orig_rax = (unsigned long)-1;
	rs->has_timeout = true;
	if (left_at != 0 && timed_read(m, left_at, &left))
		ns = left;
	else if (s->valid)
		ns = s->slept < ns ? ns - s->slept : 0;
	rs->left_ns = at_most(ns);
	return true;
}

/* A call of timed.h, stopped before its time was over. */
static void
image_timed(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s)
{
	uint64_t stopped = s->since + s->slept;

	t->regs.orig_rax = (unsigned long)-1;
	calls_args(r, t->restart.args);
	t->restart.nr = (int)r->orig_rax;
	t->restart.has_timeout = true;
	t->restart.left_ns =
	    at_most(s->until > stopped ? s->until - stopped : 0);
}

void
calls_by_hand(struct user_regs_struct *home, const struct user_regs_struct *r)
{
	*home = *r;
	home->orig_rax = (unsigned long)-1;
	if (interrupted(r, K_ERESTART_RESTARTBLOCK))
		again(home, SYS_restart_syscall);
	else if (restarts(r))
		again(home, (int)r->orig_rax);
}

bool
calls_image(struct thread *t, const struct user_regs_struct *r,
    const struct call_sample *s, const struct calls_memory *m)
{
	t->regs = *r;
	t->restart.nr = -1;
	if (interrupted(r, K_ERESTART_RESTARTBLOCK))
		return image_restart_block(t, r, s, m);
	if (s->until != 0) {
		image_timed(t, r, s);
		return true;
	}
	if (restarts(r))
		again(&t->regs, (int)r->orig_rax);
	else
		t->regs.orig_rax = (unsigned long)-1;
	return true;
}

/* Those that any handler ends; others only one without SA_RESTART. */
static long
restart_of(unsigned long nr)
{
	switch (nr) {
	case SYS_select:
	case SYS_pselect6:
	case SYS_poll:
	case SYS_ppoll:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return K_ERESTARTNOHAND;
	case SYS_read:
	case SYS_readv:
	case SYS_wait4:
	case SYS_waitid:
		return K_ERESTARTSYS;
	default:
		return 0;
	}
}

bool
calls_interruptible(struct user_regs_struct *r)
{
	long err = (long)r->orig_rax >= 0 ? 0 : restart_of(r->rax);

	if (err == 0)
		return false;
	r->orig_rax = r->rax;
	r->rax = (unsigned long)-err;
	r->rip += 2;
	return true;
}

void
calls_signalled(
    struct thread *t, const struct user_regs_struct *r, uint64_t sa_flags)
{
	if (!interrupted(r, K_ERESTARTNOHAND) &&
	    !interrupted(r, K_ERESTART_RESTARTBLOCK) &&
	    (!interrupted(r, K_ERESTARTSYS) || (sa_flags & SA_RESTART) != 0))
		return;
	t->regs = *r;
	answer_eintr(&t->regs);
	memset(&t->restart, 0, sizeof(t->restart));
	t->restart.nr = -1;
}
