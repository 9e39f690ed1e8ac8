/*
 * restorer.c - the loop over the plan of a restore.
 *
 * Runs in the new process when nothing else of it is left: no libc, no stack
 * but its own, no data but the area.  It decides nothing; all that is clever
 * is in the plan.  Linked flat, so it must not need relocations, and entered
 * at its first byte, which is restorer_lane().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/ioctl.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "restorer.h"

#define TASK_SIZE_MAX 0x7ffffffff000ull
#define IOV_BATCH 1024
#define TIMER_TRIES (1 << 20)
#define CLONE_TRIES 1000
#define CLONE_NAP_NS 2000000

void restorer_lane(struct area *a, uint64_t lane)
    __attribute__((noreturn, used, section(".text.start")));

static long
call6(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
    uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile(
	    "syscall"
	    : "=a"(ret)
	    : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	    : "rcx", "r11", "memory");
	return ret;
}

static void
futex_wait(uint32_t *word, uint32_t value)
{
	call6(SYS_futex, (uint64_t)word, FUTEX_WAIT, value, 0, 0, 0);
}

/*
 * A short read is not an error yet: the pages may come through a file system
 * that answers piecemeal.  The end of the file is.
 */
static long
read_all(struct op *op)
{
	struct iovec *iov = (struct iovec *)op->args[1];
	uint64_t n = op->args[2], off = op->args[3];
	int64_t total = 0;
	long r;

	while (total < op->want) {
		r = call6(SYS_preadv, op->args[0], (uint64_t)iov,
		    n < IOV_BATCH ? n : IOV_BATCH, off, 0, 0);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? r : total;
		total += r;
		off += (uint64_t)r;
		while (n > 0 && (uint64_t)r >= iov->iov_len) {
			r -= (long)iov->iov_len;
			iov++;
			n--;
		}
		if (r > 0) {
			iov->iov_base = (char *)iov->iov_base + r;
			iov->iov_len -= (uint64_t)r;
		}
	}
	return total;
}

static long
unmap(uint64_t from, uint64_t to)
{
	return from < to ? call6(SYS_munmap, from, to - from, 0, 0, 0, 0) : 0;
}

/* All but the area, which is not among the ranges. */
static long
clear(const struct area *a, const uint64_t *keep, uint64_t n)
{
	uint64_t from = 0, to;
	long r = 0;

	for (uint64_t i = 0; r == 0 && i <= n; i++) {
		to = i < n ? keep[2 * i] : TASK_SIZE_MAX;
		if (from <= a->start && a->start < to) {
			r = unmap(from, a->start);
			from = a->end;
		}
		if (r == 0)
			r = unmap(from, to);
		if (i < n)
			from = keep[2 * i + 1];
	}
	return r;
}

/*
 * The new thread, or process, finds its two arguments on its own stack; the
 * parent's frame is not its to return into.
 */
static long
clone_into(struct area *a, struct clone_args *ca, uint64_t lane)
{
	uint64_t *top = (uint64_t *)(ca->stack + ca->stack_size);
	long ret;

	top[0] = (uint64_t)a;
	top[1] = lane;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rdi\n\t"
			 "pop %%rsi\n\t"
			 "call restorer_lane\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone3), "D"(ca), "S"(sizeof(*ca))
			 : "rcx", "r11", "memory");
	return ret;
}

static long
clone_lane(struct area *a, struct clone_args *ca, uint64_t lane)
{
	long ret = clone_into(a, ca, lane);

	if (ret > 0)
		a->lanes[lane].tid = (int32_t)ret;
	return ret;
}

/*
 * A thread of a process that was killed a moment ago gives its id back a
 * little later than its process is gone, if it is slow to be scheduled.
 */
static long
clone_patiently(struct area *a, struct clone_args *ca, uint64_t lane)
{
	struct timespec nap = { 0, CLONE_NAP_NS };
	long r;

	for (int i = 0;; i++) {
		r = clone_lane(a, ca, lane);
		if (r != -EEXIST || i >= CLONE_TRIES)
			return r;
		call6(SYS_nanosleep, (uint64_t)&nap, 0, 0, 0, 0, 0);
	}
}

static void
copy(uint64_t dst, uint64_t src, uint64_t len)
{
	__asm__ volatile("rep movsb"
			 : "+D"(dst), "+S"(src), "+c"(len)
			 :
			 : "memory");
}

/*
 * Newer kernels take the id that is in the word; older ones count from 0, so
 * the right one comes up in time.
 */
static long
timer(uint64_t clock, uint64_t event, int64_t want)
{
	int32_t id;
	long r;

	for (int i = 0; i < TIMER_TRIES; i++) {
		id = (int32_t)want;
		r = call6(
		    SYS_timer_create, clock, event, (uint64_t)&id, 0, 0, 0);
		if (r < 0)
			return r;
		if (id == want)
			return id;
		call6(SYS_timer_delete, (uint64_t)id, 0, 0, 0, 0, 0);
		if (id > want)
			break;
	}
	return -EAGAIN;
}

/*
 * The kernel gives a thread room for tiles when it first touches one; without
 * it no debugger can set them.
 */
static long
touch_tiles(void)
{
	/* Palette 1; tile 0 is one row of four bytes. */
	uint8_t config[64] __attribute__((aligned(64)));

	for (unsigned i = 0; i < sizeof(config); i++)
		((volatile uint8_t *)config)[i] = 0;
	config[0] = 1;
	config[16] = 4;
	config[48] = 1;
	__asm__ volatile("ldtilecfg %0\n\t"
			 "tilezero %%tmm0\n\t"
			 "tilerelease"
			 :
			 : "m"(config)
			 : "memory");
	return 0;
}

static long
offer_uffd(struct area *a, uint64_t dev)
{
	uint64_t flags = O_CLOEXEC | O_NONBLOCK;
	long fd;

	fd = (int64_t)dev < 0
		 ? call6(SYS_userfaultfd, flags, 0, 0, 0, 0, 0)
		 : call6(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, flags, 0, 0, 0);
	if (fd < 0)
		return fd;
	__atomic_store_n(&a->uffd, (int32_t)fd + 1, __ATOMIC_RELEASE);
	call6(SYS_futex, (uint64_t)&a->uffd, FUTEX_WAKE, 1, 0, 0, 0);
	return 0;
}

/* What is not there yet may be touched only after this. */
static long
await_taken(struct area *a)
{
	while (__atomic_load_n(&a->taken, __ATOMIC_ACQUIRE) == 0)
		futex_wait(&a->taken, 0);
	return call6(SYS_close, (uint64_t)a->uffd - 1, 0, 0, 0, 0, 0);
}

/* ---- descriptors ---- */

struct fds_message {
	struct cmsghdr head;
	int32_t fds[FDS_BATCH];
};

/*
 * The descriptors of one message: their number.  *body gets what came with
 * them, `len` bytes at most; fewer are an error, but none is the end: 0.
 */
static long
receive_fds(uint64_t sock, void *body, uint64_t len, struct fds_message *m)
{
	struct iovec iov = { body, len };
	struct msghdr h = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = m,
		.msg_controllen = sizeof(*m) };
	long r;

	do
		r = call6(
		    SYS_recvmsg, sock, (uint64_t)&h, MSG_CMSG_CLOEXEC, 0, 0, 0);
	while (r == -EINTR);
	if (r <= 0)
		return r;
	if ((uint64_t)r != len || h.msg_flags & MSG_CTRUNC ||
	    h.msg_controllen < sizeof(m->head) ||
	    m->head.cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	return (long)((m->head.cmsg_len - sizeof(m->head)) / sizeof(int32_t));
}

/*
 * They come at the lowest free numbers, and are to go to free numbers that
 * ascend: so none of the former is above its place, and from the last to the
 * first no place is taken by one that has not gone to its own.
 */
static long
place_fds(const int32_t *fds, const struct fd_place *to, long n)
{
	long r;

	while (n-- > 0) {
		if (fds[n] == to[n].fd) {
			r = call6(SYS_fcntl, (uint64_t)fds[n], F_SETFD,
			    to[n].cloexec ? FD_CLOEXEC : 0, 0, 0, 0);
			if (r < 0)
				return r;
			continue;
		}
		r = call6(SYS_dup3, (uint64_t)fds[n], (uint64_t)to[n].fd,
		    to[n].cloexec ? O_CLOEXEC : 0, 0, 0, 0);
		if (r < 0)
			return r;
		call6(SYS_close, (uint64_t)fds[n], 0, 0, 0, 0, 0);
	}
	return 0;
}

static long
take_fds(uint64_t sock, const struct fd_place *to, uint64_t n)
{
	struct fds_message m;
	char byte;
	long got, r;

	while (n > 0) {
		got = receive_fds(sock, &byte, 1, &m);
		if (got <= 0 || (uint64_t)got > n)
			return got < 0 ? got : -EPIPE;
		r = place_fds(m.fds, to, got);
		if (r < 0)
			return r;
		to += got;
		n -= (uint64_t)got;
	}
	return 0;
}

static long
barrier(struct area *a)
{
	uint32_t n;

	for (;;) {
		n = __atomic_load_n(&a->done, __ATOMIC_ACQUIRE);
		if (n >= a->nlanes - 1)
			return 0;
		futex_wait(&a->done, n);
	}
}

static long
perform(struct area *a, struct op *op)
{
	const uint64_t *v = op->args;
	uint32_t *word;

	switch (op->kind) {
	case OP_CALL:
		return call6(op->nr, v[0], v[1], v[2], v[3], v[4], v[5]);
	case OP_READ:
		return read_all(op);
	case OP_UFFD:
		return offer_uffd(a, v[0]);
	case OP_TAKEN:
		return await_taken(a);
	case OP_CLEAR:
		return clear(a, (const uint64_t *)v[0], v[1]);
	case OP_CLONE:
		return clone_patiently(a, (struct clone_args *)v[0], v[1]);
	case OP_STORE:
		*(volatile uint64_t *)v[0] = v[1];
		return 0;
	case OP_COPY:
		copy(v[0], v[1], v[2]);
		return 0;
	case OP_SWAP:
		word = (uint32_t *)v[0];
		if (*word == (uint32_t)v[1])
			*word = (uint32_t)v[2];
		return 0;
	case OP_TIMER:
		return timer(v[0], v[1], op->want);
	case OP_TILES:
		return touch_tiles();
	case OP_BARRIER:
		return barrier(a);
	case OP_FDS:
		return take_fds(v[0], (const struct fd_place *)v[1], v[2]);
	}
	return -ENOSYS;
}

static int
failed(const struct op *op)
{
	switch (op->check) {
	case CHECK_OK:
		return op->ret < 0;
	case CHECK_IS:
		return op->ret != op->want;
	}
	return 0;
}

/* ---- a template ---- */

static void
wake_born(struct area *a)
{
	call6(SYS_futex, (uint64_t)&a->born, FUTEX_WAKE, 1, 0, 0, 0);
}

static void
say_born(struct area *a, long pid)
{
	__atomic_store_n(&a->born, (int32_t)pid, __ATOMIC_RELEASE);
	wake_born(a);
}

static long
map_area(const struct serve *q)
{
	return call6(SYS_mmap, q->at, q->len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_FIXED_NOREPLACE, SERVE_AREA, 0);
}

/* A sibling of ours: the child, from birth, of whoever adopts orphans here. */
static void
bear(const struct serve *q)
{
	struct area *a = (struct area *)q->area;
	struct clone_args ca = {
		.flags = CLONE_PARENT,
		.stack = q->stack,
		.stack_size = q->stack_size,
	};

	if (map_area(q) < 0)
		return; /* whoever asked sees his pipe closed */
	if (q->has_tid) {
		ca.set_tid = (uint64_t)&q->tid;
		ca.set_tid_size = 1;
	}
	say_born(a, clone_lane(a, &ca, 0));
	call6(SYS_munmap, q->at, q->len, 0, 0, 0, 0);
}

/* ---- its spare ---- */

/*
 * The one thing that it has of where it was ordered is its socket, and what it
 * has of its template, beside the memory, is a pidfd: to end with it.
 */
static void
settle(void)
{
	/* Not a string, for which there might be a relocation. */
	const char name[16] = { 's', 'n', 'a', 'p', 'f', 's', '-', 's', 'p',
		'a', 'r', 'e' };

	call6(SYS_dup3, SPARE_SOCKET, SERVE_CONTROL, O_CLOEXEC, 0, 0, 0);
	call6(SYS_dup3, SPARE_NFDS, SPARE_TEMPLATE, O_CLOEXEC, 0, 0, 0);
	call6(
	    SYS_close_range, SERVE_CONTROL + 1, SPARE_TEMPLATE - 1, 0, 0, 0, 0);
	call6(SYS_close_range, SPARE_TEMPLATE + 1, ~0u, 0, 0, 0, 0);
	call6(SYS_prctl, PR_SET_NAME, (uint64_t)name, 0, 0, 0, 0);
	/* By that, whoever ordered it learns its pid. */
	call6(SYS_sendto, SERVE_CONTROL, (uint64_t)name, 1, MSG_NOSIGNAL, 0, 0);
}

/* The message that makes it an instance; false: it is needed no more. */
static int
await_order(struct serve *q)
{
	struct pollfd v[2] = { { SERVE_CONTROL, POLLIN, 0 },
		{ SPARE_TEMPLATE, POLLIN, 0 } };
	struct fds_message m;
	long n;

	do
		n = call6(SYS_poll, (uint64_t)v, 2, -1ull, 0, 0, 0);
	while (n == -EINTR);
	if (n <= 0 || v[1].revents != 0)
		return 0;
	n = receive_fds(SERVE_CONTROL, q, sizeof(*q), &m);
	return n == SERVE_NFDS - 1 && !q->has_tid;
}

/* If it was frozen, the area may be that of a clone of the template by now. */
static int
is_in_time(struct area *a)
{
	int32_t pid = (int32_t)call6(SYS_getpid, 0, 0, 0, 0, 0, 0);
	int32_t none = SPARE_UNBORN;

	if (!__atomic_compare_exchange_n(&a->born, &none, pid, 0,
		__ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return 0;
	wake_born(a);
	return 1;
}

static void
be_spare(void)
{
	struct serve q;
	struct area *a;

	settle();
	if (await_order(&q)) {
		call6(SYS_close, SPARE_TEMPLATE, 0, 0, 0, 0, 0);
		a = (struct area *)q.area;
		if (map_area(&q) >= 0 && is_in_time(a))
			restorer_lane(a, 0);
	}
	call6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* What fails is no harm: whoever ordered it sees its socket closed. */
static void
bear_spare(struct area *a)
{
	struct clone_args ca = {
		.flags = CLONE_PARENT,
		.stack = a->spare_stack,
		.stack_size = LANE_STACK - 2 * sizeof(uint64_t),
	};
	long self = call6(SYS_getpid, 0, 0, 0, 0, 0, 0);

	if (ca.stack != 0 &&
	    call6(SYS_pidfd_open, self, 0, 0, 0, 0, 0) == SPARE_NFDS)
		clone_into(a, &ca, SPARE_LANE);
}

/* In memory of its own, unlike the rest of the area: another may be on it. */
static void
make_spare_stack(struct area *a)
{
	if (call6(SYS_mmap, a->spare_stack, LANE_STACK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1ull, 0) < 0)
		a->spare_stack = 0;
}

/*
 * Until nobody is left who could ask.  The clone shares our stack, which is in
 * shared memory, but is never on it.
 */
static void
serve(struct area *a)
{
	struct fds_message m;
	struct serve q;
	long n;

	make_spare_stack(a);
	for (;;) {
		n = receive_fds(SERVE_CONTROL, &q, sizeof(q), &m);
		if (n == 0)
			call6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
		if (n == SERVE_NFDS - 1)
			bear(&q);
		if (n == SPARE_NFDS - 1)
			bear_spare(a);
		call6(SYS_close_range, SERVE_AREA, ~0u, 0, 0, 0, 0);
	}
}

void
restorer_lane(struct area *a, uint64_t lane)
{
	struct lane *l = &a->lanes[lane];

	if (lane == SPARE_LANE)
		be_spare();
	/* Whoever made it knows its id later than it may need it itself. */
	l->tid = (int32_t)call6(SYS_gettid, 0, 0, 0, 0, 0, 0);
	for (uint32_t i = l->first; i < l->first + l->n; i++) {
		struct op *op = &a->ops[i];

		for (int k = 0; k < 6; k++)
			if (op->tid & 1 << k)
				op->args[k] =
				    (uint64_t)a->lanes[op->args[k]].tid;
		op->ret = perform(a, op);
		if (failed(op)) {
			uint32_t none = 0;

			__atomic_compare_exchange_n(&a->failed, &none, i + 1, 0,
			    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
			call6(SYS_exit_group, 1, 0, 0, 0, 0, 0);
		}
	}
	__atomic_add_fetch(&a->done, 1, __ATOMIC_RELEASE);
	call6(SYS_futex, (uint64_t)&a->done, FUTEX_WAKE, 1 << 30, 0, 0, 0);
	if (a->serves)
		serve(a);
	for (;;)
		futex_wait(&a->never, 0);
}
