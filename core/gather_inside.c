/*
 * gather_inside.c - what only the process itself can ask the kernel, and what
 * follows from the answers.
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctx.h"
#include "gather.h"
#include "gather_thread.h"
#include "heal.h"
#include "proc.h"
#include "proc_parse.h"
#include "stubs.h"
#include "twin.h"
#include "uapi.h"

#define SIGSET_SIZE 8
#define PEEK_MAX 32

/* ---- what is asked ---- */

/* Where the answers to what the caller is asked for all will be. */
struct process_calls {
	uint64_t actions, itimers, timers, subreaper;
	size_t asked_subreaper, overruns, dumpable, thp, brk;
	size_t memory_merge, membarrier, keyrings[2];
};

#define ITIMERS 3
#define PROCESS_RECORDS (PROCESS_NSIG + ITIMERS + 8)
#define PROCESS_DATA \
	(PROCESS_NSIG * sizeof(struct ksigaction) + \
	    ITIMERS * sizeof(struct itimerval) + 64)

static void
ask_timers(struct frozen *z, size_t i, const struct process *p,
    struct process_calls *c)
{
	size_t record = 0;

	c->timers = heal_data(z, i, p->ntimers * sizeof(struct itimerspec));
	for (size_t k = 0; k < p->ntimers; k++) {
		uint64_t id = (uint64_t)p->timers[k].id;

		heal_add(z, i, SYS_timer_gettime, id,
		    c->timers + k * sizeof(struct itimerspec), 0, 0, 0);
		record = heal_add(z, i, SYS_timer_getoverrun, id, 0, 0, 0, 0);
		if (k == 0)
			c->overruns = record;
	}
}

/* Those that no other process has. */
static const struct {
	int64_t id;
	const char *name;
} keyrings[] = {
	{ KEY_SPEC_THREAD_KEYRING, "thread" },
	{ KEY_SPEC_PROCESS_KEYRING, "process" },
};

static void
ask_process(struct frozen *z, size_t i, const struct process *p,
    struct process_calls *c)
{
	c->actions = heal_data(z, i, PROCESS_NSIG * sizeof(struct ksigaction));
	c->itimers = heal_data(z, i, ITIMERS * sizeof(struct itimerval));
	c->subreaper = heal_data(z, i, sizeof(int));
	for (unsigned s = 1; s <= PROCESS_NSIG; s++)
		heal_add(z, i, SYS_rt_sigaction, s, 0,
		    c->actions + (s - 1) * sizeof(struct ksigaction),
		    SIGSET_SIZE, 0);
	for (unsigned k = 0; k < ITIMERS; k++)
		heal_add(z, i, SYS_getitimer, k,
		    c->itimers + k * sizeof(struct itimerval), 0, 0, 0);
	c->asked_subreaper = heal_add(
	    z, i, SYS_prctl, PR_GET_CHILD_SUBREAPER, c->subreaper, 0, 0, 0);
	c->dumpable = heal_add(z, i, SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
	c->thp = heal_add(z, i, SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0);
	c->memory_merge =
	    heal_try(z, i, SYS_prctl, UAPI_PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
	c->membarrier = heal_try(z, i, SYS_membarrier,
	    UAPI_MEMBARRIER_GET_REGISTRATIONS, 0, 0, 0, 0);
	for (size_t k = 0; k < 2; k++)
		c->keyrings[k] = heal_try(z, i, SYS_keyctl,
		    KEYCTL_GET_KEYRING_ID, (uint64_t)keyrings[k].id, 0, 0, 0);
	c->brk = heal_add(z, i, SYS_brk, 0, 0, 0, 0, 0);
	ask_timers(z, i, p, c);
}

/* ---- what was answered ---- */

static uint64_t
ns_of_timeval(const struct timeval *t)
{
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_usec * 1000u;
}

static uint64_t
ns_of_timespec(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

static void
take_timers(const struct frozen *z, size_t i, const struct process_calls *c,
    struct process *p)
{
	struct itimerspec ts;
	struct itimerval tv;

	for (unsigned k = 0; k < ITIMERS; k++) {
		memcpy(&tv, heal_answer(z, c->itimers + k * sizeof(tv)),
		    sizeof(tv));
		p->itimers[k].value = ns_of_timeval(&tv.it_value);
		p->itimers[k].interval = ns_of_timeval(&tv.it_interval);
	}
	for (size_t k = 0; k < p->ntimers; k++) {
		memcpy(&ts, heal_answer(z, c->timers + k * sizeof(ts)),
		    sizeof(ts));
		p->timers[k].value = ns_of_timespec(&ts.it_value);
		p->timers[k].interval = ns_of_timespec(&ts.it_interval);
		p->timers[k].overrun =
		    (int32_t)heal_result(z, i, c->overruns + 2 * k);
	}
}

/* What a kernel that has it not has answered with an error, is 0. */
static uint32_t
flags_of(const struct frozen *z, size_t i, size_t record)
{
	int64_t v = heal_result(z, i, record);

	return v > 0 ? (uint32_t)v : 0;
}

static int
note_keyrings(const struct frozen *z, size_t i, const struct process_calls *c,
    struct process *p)
{
	char what[32];

	for (size_t k = 0; k < 2; k++) {
		if (heal_result(z, i, c->keyrings[k]) <= 0)
			continue;
		snprintf(what, sizeof(what), "keyring %s", keyrings[k].name);
		if (process_unsupported(p, what,
			"it has keys of its own (keyrings(7)); it comes back "
			"without") != 0)
			return -ENOMEM;
	}
	return 0;
}

static int
take_process(const struct frozen *z, size_t i, const struct process_calls *c,
    struct process *p)
{
	uint32_t thp = flags_of(z, i, c->thp);
	int subreaper;

	memcpy(p->actions, heal_answer(z, c->actions), sizeof(p->actions));
	memcpy(&subreaper, heal_answer(z, c->subreaper), sizeof(subreaper));
	p->child_subreaper = subreaper != 0;
	p->dumpable = (uint32_t)heal_result(z, i, c->dumpable);
	p->thp_disable = (thp & 1) != 0;
	p->thp_advised = (thp & UAPI_PR_THP_DISABLE_EXCEPT_ADVISED) != 0;
	p->memory_merge = flags_of(z, i, c->memory_merge) == 1;
	p->membarrier = flags_of(z, i, c->membarrier);
	p->mm.brk = (uint64_t)heal_result(z, i, c->brk);
	take_timers(z, i, c, p);
	return note_keyrings(z, i, c, p);
}

/* ---- pending signals ---- */

static int
peek(struct tracee *t, unsigned flags, struct siginfos *s)
{
	struct __ptrace_peeksiginfo_args args = { 0, flags, PEEK_MAX };
	siginfo_t buf[PEEK_MAX], *si;
	long n;

	for (;;) {
		n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &args, buf);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		for (long i = 0; i < n; i++) {
			si = process_grow(&s->v, &s->n, sizeof(*si));
			if (si == NULL)
				return -ENOMEM;
			*si = buf[i];
		}
		args.off += (uint64_t)n;
	}
}

static uint64_t
mask_of(const struct siginfos *s)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].si_signo >= 1 && s->v[i].si_signo <= PROCESS_NSIG)
			mask |= 1ull << (s->v[i].si_signo - 1);
	return mask;
}

static int
add_bare(struct siginfos *s, uint64_t mask)
{
	siginfo_t *si;

	for (int signo = 1; signo <= PROCESS_NSIG; signo++) {
		if ((mask >> (signo - 1) & 1) == 0)
			continue;
		si = process_grow(&s->v, &s->n, sizeof(*si));
		if (si == NULL)
			return -ENOMEM;
		si->si_signo = signo;
		si->si_code = SI_USER;
	}
	return 0;
}

/*
 * `pending` has, for each thread, what is pending for it or for the process.
 * A signal may be so without a siginfo, if it came when the queue was full:
 * then it is the process's if all threads see it, else the thread's.
 */
static int
read_pending(struct frozen *z, struct process *p, const uint64_t *pending)
{
	uint64_t all = ~0ull, bare;
	int err;

	err = peek(&z->v[0], PTRACE_PEEKSIGINFO_SHARED, &p->pending);
	for (size_t i = 0; i < z->n && err == 0; i++) {
		if (pending[i] != 0)
			err = peek(&z->v[i], 0, &p->threads[i].pending);
		all &= pending[i] & ~mask_of(&p->threads[i].pending);
	}
	if (err == 0)
		err = add_bare(&p->pending, all & ~mask_of(&p->pending));
	for (size_t i = 0; i < z->n && err == 0; i++) {
		bare = pending[i] & ~mask_of(&p->pending) &
		       ~mask_of(&p->threads[i].pending);
		err = add_bare(&p->threads[i].pending, bare);
	}
	return err;
}

/* ---- calls in progress ---- */

/* The first pending signal that has a handler and that `t` does not block. */
static const struct ksigaction *
deliverable(const struct process *p, const struct siginfos *s, uint64_t mask)
{
	for (size_t i = 0; i < s->n; i++) {
		int signo = s->v[i].si_signo;
		const struct ksigaction *a;

		if (signo < 1 || signo > PROCESS_NSIG ||
		    (mask >> (signo - 1) & 1) != 0)
			continue;
		a = &p->actions[signo - 1];
		if (a->handler != (uintptr_t)SIG_DFL &&
		    a->handler != (uintptr_t)SIG_IGN)
			return a;
	}
	return NULL;
}

/*
 * A signal to the process goes to the first thread that does not block it,
 * as the kernel would have it.
 */
static int
settle_calls(struct frozen *z, struct process *p)
{
	const struct calls_memory memory = { frozen_read, z };
	bool shared_taken = false;
	char what[32];

	for (size_t i = 0; i < z->n; i++) {
		struct thread *t = &p->threads[i];
		struct user_regs_struct home;
		const struct ksigaction *a;

		t->sigmask = z->v[i].sigmask;
		stubs_home(z, &z->v[i], &home);
		if (!calls_image(t, &home, &z->v[i].sample, &memory)) {
			snprintf(what, sizeof(what), "thread %d", (int)t->tid);
			if (process_unsupported(p, what,
				"it sleeps in a call that cannot be issued "
				"again, and will see EINTR") != 0)
				return -ENOMEM;
		}
		a = deliverable(p, &t->pending, t->sigmask);
		if (a == NULL && !shared_taken) {
			a = deliverable(p, &p->pending, t->sigmask);
			shared_taken = a != NULL;
		}
		if (a != NULL)
			calls_signalled(t, &home, a->flags);
	}
	return 0;
}

/* ---- all of it ---- */

/* One that may not make the calls that tell. */
static int
note_filtered(const struct tracee *t, struct process *p)
{
	char what[32];

	if (t->seccomp == 0)
		return 0;
	snprintf(what, sizeof(what), "thread %d", (int)t->tid);
	return process_unsupported(p, what,
	    "it is under a seccomp filter that lets us not ask for its signal "
	    "stack and tid address: it comes back without these");
}

static int
take_thread(const struct frozen *z, size_t i, const struct thread_asks *a,
    struct process *p, uint64_t *pending)
{
	int err = thread_take(z, i, a, &p->threads[i], pending);

	if (err == 0)
		err = habits_take(z, i, &a->habits, p, &p->threads[i]);
	return err;
}

static int
ask(struct snap_ctx *cx, struct frozen *z, struct process *p, uint64_t *pending,
    struct thread_asks *asks, struct process_calls *pc)
{
	size_t caller = heal_caller(z), cpus = thread_cpus();
	int err;

	for (size_t i = 0; i < z->n; i++)
		if (!z->v[i].no_calls)
			thread_ask(z, i, cpus, &asks[i]);
	ask_process(z, caller, p, pc);
	err = heal_start(cx, z);
	if (err == 0)
		err = heal_finish(cx, z);
	for (size_t i = 0; i < z->n && err == 0; i++) {
		struct thread *t = &p->threads[i];

		if (!z->v[i].no_calls)
			err = take_thread(z, i, &asks[i], p, &pending[i]);
		else if ((err = thread_look(z, i, t, &pending[i])) == 0)
			err = note_filtered(&z->v[i], p);
	}
	if (err == 0)
		err = take_process(z, caller, pc, p);
	z->adopts |= p->child_subreaper ||
		     heal_result(z, caller, pc->asked_subreaper) < 0;
	return err;
}

static int
gather(struct snap_ctx *cx, struct frozen *z, struct process *p,
    uint64_t *pending, struct thread_asks *asks)
{
	const struct heal_room room = { THREAD_ASKS_RECORDS,
		THREAD_ASKS_DATA + (thread_cpus() + 15) / 16 * 16,
		PROCESS_RECORDS + 2 * p->ntimers,
		PROCESS_DATA + p->ntimers * sizeof(struct itimerspec) };
	struct process_calls pc = { 0 };
	int err;

	err = heal_open(cx, z, p, &room);
	if (err == 0)
		err = ask(cx, z, p, pending, asks, &pc);
	if (err == 0)
		err = read_pending(z, p, pending);
	if (err == 0)
		err = settle_calls(z, p);
	return err;
}

int
gather_inside(struct snap_ctx *cx, struct frozen *z, struct process *p)
{
	struct thread_asks *asks = calloc(z->n, sizeof(*asks));
	uint64_t *pending = calloc(z->n, sizeof(*pending));
	int err = -ENOMEM;

	if (asks != NULL && pending != NULL)
		err = gather(cx, z, p, pending, asks);
	free(asks);
	free(pending);
	if (err != 0 && err != -EAGAIN)
		return snap_fail(
		    cx, err, "process %d: %s", (int)z->pid, strerror(-err));
	frozen_step(cx, z, "seen from inside");
	return err;
}
