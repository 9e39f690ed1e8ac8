/*
 * steady - a program that watches itself all the time, for as long as it runs.
 *
 *	steady FILE KIND...
 *
 * Each KIND is a thread or two that do something over and over, and compare
 * what they see with what a program that nobody holds would see:
 *
 *	regs	 every general and SSE register, the flags
 *	fp	 a chaotic sequence has one end only
 *	sleep	 nanosleep, poll, futex: all of the time, no EINTR
 *	epoll	 epoll_wait, sigtimedwait: no EINTR, no event lost
 *	pipe	 two threads, more data than a pipe holds
 *	signal	 queued signals, each once and in order
 *	timer	 expirations and overruns against the clock
 *	children waitpid(__WALL) and SIGCHLD: its own children only
 *	threads	 threads that come and go
 *	sem	 System V semaphores: values, who was the last, what is to be
 *		 undone; one that waits does not return
 *	quiet	 threads asleep in every kind of call, which never return; with
 *		 pending signals and timers: its /proc does not change
 *	reaper	 it adopts orphans (PR_SET_CHILD_SUBREAPER)
 *
 * FILE is mapped and shows a `struct status`, below: progress, and the first
 * thing that was not as it should be.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 16

#define SIG_SEQUENCE (SIGRTMIN + 2)
#define SIG_TIMER (SIGRTMIN + 3)
#define SIG_NEVER (SIGRTMIN + 5)
#define SIG_PENDING (SIGRTMIN + 6)

/* faults.py knows this layout. */
struct status {
	_Atomic uint32_t ready, failed, nworkers;
	uint32_t pid;
	char error[240];
	struct {
		char name[16];
		_Atomic uint64_t beats;
		_Atomic uint64_t late_us; /* the longest that it overslept */
	} w[WORKERS];
};

struct worker {
	unsigned n;
	void (*round)(struct worker *w); /* once, over and over */
	void (*start)(struct worker *w);
	int fds[4];
	uint64_t seq, since;
	timer_t timer;
	pthread_t peer;
	_Atomic uint64_t seen;
};

static struct status *status;
static _Atomic unsigned chld_signals;

static void
wrong(const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&status->failed, 1) != 0)
		return;
	va_start(ap, fmt);
	vsnprintf(status->error, sizeof(status->error), fmt, ap);
	va_end(ap);
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static void
must(bool ok, const char *what)
{
	if (!ok)
		err(2, "%s", what);
}

/* A sleep that began at `from` and was to take `us`. */
static void
slept(struct worker *w, const char *what, uint64_t from, uint64_t us)
{
	uint64_t took = now_us() - from;

	if (took + 1 < us)
		wrong("%s: %llu of %llu us", what, (unsigned long long)took,
		    (unsigned long long)us);
	else if (took - us > atomic_load(&status->w[w->n].late_us) &&
		 took >= us)
		atomic_store(&status->w[w->n].late_us, took - us);
}

/* ---- regs ---- */

#define EACH_GPR(X) \
	X("rax") \
	X("rbx") \
	X("rdx") \
	X("rsi") X("rdi") X("rbp") X("r8") X("r9") X("r10") X("r11") X("r12") \
	    X("r13") X("r14") X("r15")
#define PATTERN "0x5a0f1e2d3c4b"
#define SET(r) "movabs $" PATTERN ", %%" r "\n"
#define SUM(r) "movabs $" PATTERN ", %%rcx\n cmp %%rcx, %%" r "\n jne 3f\n"

/*
 * Spin for a while without an instruction that changes anything but rcx, the
 * counter.  rsp is used below the red zone.
 */
static void
regs_round(struct worker *w)
{
	static const uint64_t want[2] = { 0x0123456789abcdef, ~0ull / 3 };
	uint64_t flags, bad, got[2];

	(void)w;
	__asm__ volatile(
	    "lea -256(%%rsp), %%rsp\n push %%rbp\n push %%rbx\n"
	    "movups %[want], %%xmm7\n movups %[want], %%xmm15\n" EACH_GPR(
		SET) "movabs $3000000, %%rcx\n stc\n std\n"
		     "1: lea -1(%%rcx), %%rcx\n jrcxz 2f\n jmp 1b\n"
		     "2: pushf\n cld\n" EACH_GPR(
			 SUM) "pop %%rax\n xor %%edx, %%edx\n jmp 4f\n"
			      "3: pop %%rax\n mov $1, %%edx\n"
			      "4: pop %%rbx\n pop %%rbp\n lea 256(%%rsp), "
			      "%%rsp\n"
	    : "=&a"(flags), "=&d"(bad)
	    : [want] "m"(want)
	    : "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
	    "r14", "r15", "xmm7", "xmm15", "memory", "cc");
	__asm__ volatile("movups %%xmm15, %0" : "=m"(got));
	if (bad)
		wrong("a register changed");
	if ((flags & 0x401) != 0x401)
		wrong("flags: %llx", (unsigned long long)flags);
	if (memcmp(got, want, sizeof(got)) != 0)
		wrong("xmm15 changed");
}

/* ---- fp ---- */

static double
chaos(void)
{
	volatile double x = 0.3141592653589793;

	for (int i = 0; i < 200000; i++)
		x = 3.9999 * x * (1 - x);
	return x;
}

static void
fp_round(struct worker *w)
{
	static double first;
	double x = chaos();

	if (w->seq++ == 0)
		first = x;
	else if (x != first)
		wrong("fp: %a, not %a", x, first);
}

/* ---- sleep ---- */

static void
sleep_round(struct worker *w)
{
	const struct timespec t = { 0, 2000000 };
	uint64_t from = now_us();
	uint32_t word = 0;
	long r;

	if (nanosleep(&t, NULL) != 0)
		wrong("nanosleep: %s", strerror(errno));
	slept(w, "nanosleep", from, 2000);
	from = now_us();
	r = poll(NULL, 0, 2);
	if (r != 0)
		wrong("poll: %ld, %s", r, strerror(errno));
	slept(w, "poll", from, 2000);
	from = now_us();
	r = syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0);
	if (r != -1 || errno != ETIMEDOUT)
		wrong("futex: %ld, %s", r, strerror(errno));
	slept(w, "futex", from, 2000);
}

/* ---- epoll ---- */

static void *
epoll_peer(void *arg)
{
	const struct timespec t = { 0, 1500000 };
	struct worker *w = arg;
	uint64_t one = 1;

	for (;;) {
		nanosleep(&t, NULL);
		/* One at a time: none may be lost. */
		if (atomic_load(&w->seen) == w->seq) {
			w->seq++;
			must(write(w->fds[1], &one, 8) == 8, "eventfd");
		}
	}
	return NULL;
}

static void
epoll_start(struct worker *w)
{
	struct epoll_event ev = { EPOLLIN, { .u64 = 7 } };

	w->fds[0] = epoll_create1(0);
	w->fds[1] = eventfd(0, EFD_NONBLOCK);
	w->fds[2] = epoll_create1(0);
	must(w->fds[0] >= 0 && w->fds[1] >= 0 && w->fds[2] >= 0, "epoll");
	must(epoll_ctl(w->fds[0], EPOLL_CTL_ADD, w->fds[1], &ev) == 0, "ctl");
	must(pthread_create(&w->peer, NULL, epoll_peer, w) == 0, "thread");
}

static void
epoll_round(struct worker *w)
{
	const struct timespec t = { 0, 2000000 };
	struct epoll_event ev;
	uint64_t n = 0, from;
	sigset_t set;
	int r;

	r = epoll_wait(w->fds[0], &ev, 1, 20000);
	if (r != 1)
		wrong("epoll_wait: %d, %s", r, strerror(errno));
	else if (read(w->fds[1], &n, 8) != 8 || n != 1)
		wrong("eventfd: %llu", (unsigned long long)n);
	atomic_fetch_add(&w->seen, n);
	sigemptyset(&set);
	sigaddset(&set, SIG_NEVER);
	from = now_us();
	r = sigtimedwait(&set, NULL, &t);
	if (r != -1 || errno != EAGAIN)
		wrong("sigtimedwait: %d, %s", r, strerror(errno));
	slept(w, "sigtimedwait", from, 2000);
	from = now_us();
	r = epoll_wait(w->fds[2], &ev, 1, 2);
	if (r != 0)
		wrong("epoll_wait of 2 ms: %d, %s", r, strerror(errno));
	slept(w, "epoll_wait", from, 2000);
}

/* ---- pipe ---- */

#define PIPE_BYTES 100000u

static bool
transfer(int fd, char *buf, bool in, char value)
{
	size_t n = 0;
	ssize_t r;

	if (!in)
		memset(buf, value, PIPE_BYTES);
	while (n < PIPE_BYTES) {
		r = in ? read(fd, buf + n, PIPE_BYTES - n)
		       : write(fd, buf + n, PIPE_BYTES - n);
		if (r <= 0) {
			wrong("pipe: %zd, %s", r, strerror(errno));
			return false;
		}
		n += (size_t)r;
	}
	for (n = 0; in && n < PIPE_BYTES; n++)
		if (buf[n] != value) {
			wrong("pipe: byte %zu is %d, not %d", n, buf[n], value);
			return false;
		}
	return true;
}

static void *
pipe_peer(void *arg)
{
	static char buf[PIPE_BYTES];
	struct worker *w = arg;

	for (char v = 0;; v++)
		if (!transfer(w->fds[0], buf, true, v) ||
		    !transfer(w->fds[3], buf, false, v))
			return NULL;
}

static void
pipe_start(struct worker *w)
{
	must(pipe(w->fds) == 0 && pipe(w->fds + 2) == 0, "pipe");
	must(pthread_create(&w->peer, NULL, pipe_peer, w) == 0, "thread");
}

static void
pipe_round(struct worker *w)
{
	static char buf[PIPE_BYTES];
	char v = (char)w->seq++;

	transfer(w->fds[1], buf, false, v);
	transfer(w->fds[2], buf, true, v);
}

/* ---- signal ---- */

static struct worker *signal_worker;

static void
on_sequence(int signo, siginfo_t *si, void *uc)
{
	struct worker *w = signal_worker;

	(void)signo;
	(void)uc;
	if ((uint64_t)si->si_value.sival_int != atomic_load(&w->seen) + 1)
		wrong("signal %d came after %llu", si->si_value.sival_int,
		    (unsigned long long)atomic_load(&w->seen));
	atomic_fetch_add(&w->seen, 1);
}

/* What the kernel knows of a sigset_t. */
static void
same_mask(const sigset_t *want, const sigset_t *got)
{
	unsigned long long w, g;

	memcpy(&w, want, sizeof(w));
	memcpy(&g, got, sizeof(g));
	if (w != g)
		wrong("the signal mask is %llx, not %llx", g, w);
}

static void *
signal_peer(void *arg)
{
	sigset_t set, now;

	(void)arg;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	sigdelset(&set, SIG_SEQUENCE);
	for (;;) {
		if (sigsuspend(&set) != -1 || errno != EINTR)
			wrong("sigsuspend: %s", strerror(errno));
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		sigdelset(&now, SIG_SEQUENCE);
		same_mask(&set, &now);
	}
	return NULL;
}

static void
signal_start(struct worker *w)
{
	signal_worker = w;
	must(pthread_create(&w->peer, NULL, signal_peer, w) == 0, "thread");
}

static void
signal_round(struct worker *w)
{
	const struct timespec t = { 0, 100000 };
	const uint64_t burst = 5;
	uint64_t from = now_us();

	for (uint64_t i = 1; i <= burst; i++) {
		union sigval v = { .sival_int = (int)(w->seq + i) };

		must(pthread_sigqueue(w->peer, SIG_SEQUENCE, v) == 0, "queue");
	}
	w->seq += burst;
	while (atomic_load(&w->seen) != w->seq) {
		nanosleep(&t, NULL);
		if (now_us() - from > 20000000) {
			wrong("a signal is lost: %llu of %llu",
			    (unsigned long long)atomic_load(&w->seen),
			    (unsigned long long)w->seq);
			return;
		}
	}
}

/* ---- timer ---- */

#define PERIOD_US 2000u

static void
timer_start(struct worker *w)
{
	struct itimerspec it = { { 0, PERIOD_US * 1000 },
		{ 0, PERIOD_US * 1000 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIG_TIMER };

	must(timer_create(CLOCK_MONOTONIC, &ev, &w->timer) == 0, "timer");
	w->since = now_us();
	must(timer_settime(w->timer, 0, &it, NULL) == 0, "timer");
}

/*
 * Expirations up to now are as many as the periods that have passed.  (The one
 * that is due at this moment may, or may not, have been counted.)
 */
static void
timer_round(struct worker *w)
{
	uint64_t before, after;
	siginfo_t si;
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIG_TIMER);
	before = now_us();
	r = sigwaitinfo(&set, &si);
	after = now_us();
	if (r != SIG_TIMER) {
		wrong("sigwaitinfo: %d, %s", r, strerror(errno));
		return;
	}
	w->seq += 1 + (uint64_t)si.si_overrun;
	if (w->seq > (after - w->since) / PERIOD_US + 1 ||
	    w->seq + 2 < (before - w->since) / PERIOD_US)
		wrong("timer: %llu expirations in %llu us",
		    (unsigned long long)w->seq,
		    (unsigned long long)(after - w->since));
}

/* ---- children ---- */

static void
on_child(int signo)
{
	(void)signo;
	atomic_fetch_add(&chld_signals, 1);
}

static void
children_start(struct worker *w)
{
	struct sigaction sa = { .sa_handler = on_child,
		.sa_flags = SA_RESTART | SA_NOCLDSTOP };

	(void)w;
	sigaction(SIGCHLD, &sa, NULL);
}

static void
children_round(struct worker *w)
{
	const struct timespec t = { 0, (long)(w->seq % 8) * 3000000 };
	int code = (int)(w->seq++ & 0x7f), st = -1;
	sigset_t set;
	pid_t pid, got;

	/* Only here may SIGCHLD be taken. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	pid = fork();
	if (pid == 0) {
		if (nanosleep(&t, NULL) != 0)
			_exit(255);
		_exit(code);
	}
	must(pid > 0, "fork");
	got = waitpid(-1, &st, __WALL);
	if (got != pid || !WIFEXITED(st) || WEXITSTATUS(st) != code)
		wrong("waitpid: %d, status %x; not %d, %x", (int)got, st,
		    (int)pid, code << 8);
	got = waitpid(-1, &st, __WALL | WNOHANG);
	if (got != -1 || errno != ECHILD)
		wrong("waitpid: a child %d, status %x", (int)got, st);
	if (atomic_load(&chld_signals) != w->seq)
		wrong("%u SIGCHLD for %llu children",
		    atomic_load(&chld_signals), (unsigned long long)w->seq);
}

/* ---- threads ---- */

static void *
mortal(void *arg)
{
	const struct timespec t = { 0, (long)((uintptr_t)arg % 5) * 200000 };

	if (nanosleep(&t, NULL) != 0)
		wrong("nanosleep: %s", strerror(errno));
	return (char *)arg + 1;
}

static void
threads_round(struct worker *w)
{
	pthread_t v[4];
	void *r;

	for (uintptr_t i = 0; i < 4; i++)
		must(pthread_create(
			 &v[i], NULL, mortal, (void *)(w->seq + i)) == 0,
		    "thread");
	for (uintptr_t i = 0; i < 4; i++)
		if (pthread_join(v[i], &r) != 0 ||
		    (uintptr_t)r != w->seq + i + 1)
			wrong("a thread ended with %p", r);
	w->seq++;
}

/* ---- quiet ---- */

static int idle_pipe[2], idle_epoll;

#define QUIET(name, call) \
	static void *quiet_##name(void *arg) \
	{ \
		long r = (long)(call); \
\
		wrong(#name " returned %ld, %s", r, strerror(errno)); \
		return arg; \
	}

static const struct timespec long_time = { 100000, 0 };
static uint32_t quiet_word;
static sigset_t quiet_set, full_set;

QUIET(nanosleep, nanosleep(&long_time, NULL))
QUIET(poll, poll(NULL, 0, -1))
QUIET(poll_timed, poll(NULL, 0, 100000000))
QUIET(futex, syscall(SYS_futex, &quiet_word, FUTEX_WAIT, 0, NULL, NULL, 0))
QUIET(futex_timed,
    syscall(SYS_futex, &quiet_word, FUTEX_WAIT, 0, &long_time, NULL, 0))
QUIET(read, read(idle_pipe[0], &(char){ 0 }, 1))
QUIET(epoll, epoll_wait(idle_epoll, &(struct epoll_event){ 0 }, 1, -1))
QUIET(epoll_timed,
    epoll_wait(idle_epoll, &(struct epoll_event){ 0 }, 1, 100000000))
QUIET(sigtimedwait, sigtimedwait(&quiet_set, NULL, &long_time))
QUIET(sigsuspend, sigsuspend(&full_set))
QUIET(wait, waitpid(-1, NULL, __WALL))

static void
quiet_start(struct worker *w)
{
	static void *(*const v[])(void *) = { quiet_nanosleep, quiet_poll,
		quiet_poll_timed, quiet_futex, quiet_futex_timed, quiet_read,
		quiet_epoll, quiet_epoll_timed, quiet_sigtimedwait,
		quiet_sigsuspend, quiet_wait };
	const struct itimerval it = { { 0, 0 }, { 100000, 0 } };
	const struct itimerspec its = { { 0, 0 }, { 100000, 0 } };
	struct sigevent ev = { .sigev_notify = SIGEV_NONE };
	pid_t pid;

	must(pipe(idle_pipe) == 0, "pipe");
	idle_epoll = epoll_create1(0);
	must(idle_epoll >= 0, "epoll");
	sigfillset(&quiet_set);
	sigfillset(&full_set);
	sigdelset(&quiet_set, SIG_PENDING);
	must(timer_create(CLOCK_MONOTONIC, &ev, &w->timer) == 0 &&
		 timer_settime(w->timer, 0, &its, NULL) == 0 &&
		 setitimer(ITIMER_REAL, &it, NULL) == 0,
	    "timer");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	must(pid > 0, "fork");
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		must(pthread_create(&w->peer, NULL, v[i], NULL) == 0, "thread");
	/* For the process, and for one thread, both blocked everywhere. */
	kill(getpid(), SIG_PENDING);
	pthread_kill(pthread_self(), SIG_PENDING);
}

static void
quiet_round(struct worker *w)
{
	(void)w;
	for (;;)
		pause();
}

/* ---- semaphores ---- */

enum { SEM_VALUE, SEM_UNDONE, SEM_NEVER, SEMS };

static int semset;

static int
sem_change(int n, int by, int flags)
{
	struct sembuf op = { (unsigned short)n, (short)by, (short)flags };

	return semop(semset, &op, 1);
}

static void *
sem_never(void *arg)
{
	(void)arg;
	sem_change(SEM_NEVER, -1, 0);
	wrong("semop returned: %s", strerror(errno));
	return NULL;
}

static void
sem_start(struct worker *w)
{
	semset = semget(IPC_PRIVATE, SEMS, 0600);
	must(semset >= 0, "semget");
	must(sem_change(SEM_UNDONE, 7, SEM_UNDO) == 0, "semop");
	must(pthread_create(&w->peer, NULL, sem_never, NULL) == 0, "thread");
}

static void
sem_round(struct worker *w)
{
	int was = semctl(semset, SEM_UNDONE, GETVAL);

	(void)w;
	if (was != 7)
		wrong("a semaphore that nobody changes is %d", was);
	if (sem_change(SEM_VALUE, 3, SEM_UNDO) != 0 ||
	    semctl(semset, SEM_VALUE, GETVAL) != 3)
		wrong("a semaphore is not 3: %s", strerror(errno));
	if (semctl(semset, SEM_VALUE, GETPID) != getpid())
		wrong("another one changed a semaphore");
	if (sem_change(SEM_VALUE, -3, SEM_UNDO) != 0 ||
	    semctl(semset, SEM_VALUE, GETVAL) != 0)
		wrong("a semaphore is not 0: %s", strerror(errno));
}

/* ---- all ---- */

static void
reaper_start(struct worker *w)
{
	(void)w;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static const struct kind {
	const char *name;
	void (*start)(struct worker *w);
	void (*round)(struct worker *w);
} kinds[] = {
	{ "regs", NULL, regs_round },
	{ "fp", NULL, fp_round },
	{ "sleep", NULL, sleep_round },
	{ "epoll", epoll_start, epoll_round },
	{ "pipe", pipe_start, pipe_round },
	{ "signal", signal_start, signal_round },
	{ "timer", timer_start, timer_round },
	{ "children", children_start, children_round },
	{ "threads", NULL, threads_round },
	{ "sem", sem_start, sem_round },
	{ "quiet", quiet_start, quiet_round },
	{ "reaper", reaper_start, NULL },
};

static void *
work(void *arg)
{
	struct worker *w = arg;

	if (w->start != NULL)
		w->start(w);
	atomic_fetch_add(&status->ready, 1);
	while (w->round != NULL) {
		w->round(w);
		atomic_fetch_add(&status->w[w->n].beats, 1);
	}
	return NULL;
}

static void
unexpected(int signo)
{
	wrong("signal %d", signo);
}

/* Threads block all signals that are for some other thread. */
static void
set_signals(void)
{
	struct sigaction sa = { .sa_handler = unexpected };
	sigset_t set;

	for (int i = 1; i < SIGRTMAX; i++)
		if (i != SIGKILL && i != SIGSTOP && i != SIGTERM &&
		    i != SIGINT && i != SIGSEGV && i != SIGCHLD)
			sigaction(i, &sa, NULL);
	sa.sa_flags = SA_SIGINFO;
	sa.sa_sigaction = on_sequence;
	sigaction(SIG_SEQUENCE, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIG_SEQUENCE);
	sigaddset(&set, SIG_TIMER);
	sigaddset(&set, SIG_NEVER);
	sigaddset(&set, SIG_PENDING);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void
add(const char *name)
{
	static struct worker workers[WORKERS];
	static unsigned n;
	const size_t all = sizeof(kinds) / sizeof(kinds[0]);
	pthread_t thread;

	for (size_t i = 0; i < all; i++) {
		struct worker *w = &workers[n];

		if (strcmp(kinds[i].name, name) != 0)
			continue;
		w->n = n;
		w->start = kinds[i].start;
		w->round = kinds[i].round;
		snprintf(
		    status->w[n].name, sizeof(status->w[n].name), "%s", name);
		if (++n == WORKERS)
			errx(2, "too many");
		must(pthread_create(&thread, NULL, work, w) == 0, "thread");
		pthread_setname_np(thread, name);
		atomic_store(&status->nworkers, n);
		return;
	}
	errx(2, "no such kind: %s", name);
}

int
main(int argc, char **argv)
{
	int fd;

	if (argc < 3)
		errx(2, "usage: steady FILE KIND...");
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && ftruncate(fd, sizeof(*status)) == 0, argv[1]);
	status = mmap(
	    NULL, sizeof(*status), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(status != MAP_FAILED, "mmap");
	close(fd);
	status->pid = (uint32_t)getpid();
	set_signals();
	for (int i = 2; i < argc; i++)
		add(argv[i]);
	for (;;)
		pause();
}
