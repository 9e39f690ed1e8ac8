/*
 * heal_run.c - threads run their lists, or a piece of code, and are waited for.
 */
#include "heal_area.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>

#include "ctx.h"

static void
fresh_slot(struct heal *h, size_t i)
{
	memset(h->shadow + h->lists[i].slot, 0, sizeof(struct heal_slot));
	memset(h->shadow + h->done + i * sizeof(uint32_t), 0, sizeof(uint32_t));
}

static uint32_t
said(const struct heal *h, size_t i)
{
	uint32_t v;

	memcpy(&v, h->shadow + h->done + i * sizeof(v), sizeof(v));
	return v;
}

static int
move(struct frozen *z, size_t i, const uint8_t *code)
{
	struct heal *h = z->heal;
	struct heal_list *l = &h->lists[i];
	struct tracee *t = &z->v[i];
	struct user_regs_struct r;

	heal_code_enter(&r, &t->regs, heal_address(z, code),
	    h->scratch + l->records, l->nrecords, h->scratch + l->slot,
	    h->scratch + h->done + i * sizeof(uint32_t), h->scratch + l->home);
	return tracee_move(t, &r);
}

static int
enter(struct frozen *z, size_t i, const uint8_t *code)
{
	int err = move(z, i, code);

	return err == 0 ? tracee_resume(&z->v[i], PTRACE_CONT, 0) : err;
}

int
heal_start(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	const struct heal_head head = { .magic = HEAL_MAGIC, .size = h->size };
	struct hurry hurry;
	int err = 0;

	memcpy(h->shadow, &head, sizeof(head));
	memcpy(h->shadow + HEAL_HEAD_SIZE, heal_code,
	    (size_t)(heal_code_end - heal_code));
	for (size_t i = 0; i < z->n; i++) {
		struct heal_list *l = &h->lists[i];

		fresh_slot(h, i);
		heal_way_home(
		    &z->v[i], h->shadow + l->home, h->scratch + l->home, false);
	}
	if (!frozen_write(z, h->scratch, h->shadow, h->size))
		return snap_fail(cx, -errno, "process %d: write to it: %s",
		    (int)z->pid, strerror(errno));
	err = heal_check_lists(cx, z);
	if (err != 0)
		return err;
	hurry_begin(&hurry);
	for (size_t i = 0; i < z->n && err == 0; i++)
		if (!z->v[i].no_calls)
			err = enter(z, i, heal_code_calls);
	hurry_end(&hurry);
	if (err != 0)
		return snap_fail(cx, err, "process %d: calls in it: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

/* Of threads [from, to) that are away: how many have not said a word? */
static int
look(struct frozen *z, size_t from, size_t to, size_t *silent)
{
	struct heal *h = z->heal;
	size_t at = h->done + from * sizeof(uint32_t);

	if (!frozen_read(z, h->shadow + at, (to - from) * sizeof(uint32_t),
		h->scratch + at))
		return -ESRCH;
	*silent = 0;
	for (size_t i = from; i < to; i++)
		*silent += z->v[i].away && said(h, i) == 0;
	return 0;
}

/*
 * One that is stopped although nobody asked: for SIGSTOP, which is passed on,
 * or by an interruption that was still due.
 */
static int
push(struct tracee *t)
{
	int err;

	err = tracee_poll(t);
	if (err == 0 && t->state == TRACEE_STOPPED)
		err = tracee_resume(t, PTRACE_CONT, tracee_signal(t));
	return err;
}

/* Wait until they have said that they are done. */
static int
wait_done(struct frozen *z, size_t from, size_t to)
{
	unsigned naps = 0;
	size_t silent;
	int err;

	for (;;) {
		err = look(z, from, to, &silent);
		if (err != 0 || silent == 0)
			return err;
		for (size_t i = from; i < to && err == 0; i++)
			if (z->v[i].away && said(z->heal, i) == 0)
				err = push(&z->v[i]);
		if (err == 0 && now_ns() > z->deadline)
			err = -ETIMEDOUT;
		if (err != 0)
			return err;
		nap(&naps);
	}
}

/*
 * It waited so long for us that it went home, and came to its end there; or
 * the whole process did, which shows when the checkpoint is taken again.
 */
static int
ended_at_home(struct tracee *t)
{
	t->away = false;
	return -EAGAIN;
}

/* Stop them where they wait for us. */
static int
stop_parked(struct frozen *z, size_t from, size_t to)
{
	int err = 0, err1;

	for (size_t i = from; i < to; i++)
		if (z->v[i].away)
			tracee_interrupt(&z->v[i]);
	for (size_t i = from; i < to; i++)
		if (z->v[i].away) {
			err1 = tracee_wait_interrupted(&z->v[i], z->deadline);
			if (err1 == -ESRCH)
				err1 = ended_at_home(&z->v[i]);
			err = err == 0 ? err1 : err;
		}
	return err;
}

/*
 * All are stopped: have the answers.  One that has waited for too long may be
 * home already, and have run since then: it is left alone, and the checkpoint
 * has to be taken again.  While it is still in our code it has not.
 */
static int
have_answers(struct frozen *z)
{
	struct heal *h = z->heal;
	int err = 0;

	if (!frozen_read(z, h->shadow, h->size, h->scratch))
		return -ESRCH;
	for (size_t i = 0; i < z->n; i++) {
		struct tracee *t = &z->v[i];

		if (!t->away || said(h, i) != HEAL_LEFT ||
		    heal_contains_thread(z, t))
			continue;
		t->away = t->settled = false;
		t->went_home = true;
		err = -EAGAIN;
	}
	return err;
}

/* EAGAIN is no failure yet. */
static int
calls_failed(struct snap_ctx *cx, const struct frozen *z, int err)
{
	if (err == -EAGAIN)
		return err;
	return snap_fail(cx, err, "process %d: calls in it: %s", (int)z->pid,
	    strerror(-err));
}

/*
 * For the case of our death: threads that were stopped where they nap need not
 * wait for us any more; and if the area is busy, they nap until it is not.
 */
static int
set_head(struct frozen *z, uint64_t busy)
{
	const struct heal_head head = { .busy = busy,
		.nap = { 0, HEAL_NAP_STOPPED_NS } };

	return frozen_write(z, z->heal->scratch + HEAL_BUSY, &head.busy,
		   HEAL_HEAD_SIZE - HEAL_BUSY)
		   ? 0
		   : -errno;
}

int
heal_finish(struct snap_ctx *cx, struct frozen *z)
{
	struct heal *h = z->heal;
	int err;

	err = wait_done(z, 0, z->n);
	if (err == 0)
		err = stop_parked(z, 0, z->n);
	if (err == 0)
		err = set_head(z, 0);
	if (err == 0)
		err = have_answers(z);
	if (err != 0)
		return calls_failed(cx, z, err);
	for (size_t i = 0; i < z->n; i++)
		h->lists[i].nrecords = h->lists[i].data_used = 0;
	return 0;
}

int
heal_enter(struct snap_ctx *cx, struct frozen *z, const uint8_t *code,
    const struct heal_slot *names)
{
	struct heal *h = z->heal;
	size_t i = h->caller, slot = h->lists[i].slot;
	size_t done = h->done + i * sizeof(uint32_t);
	struct heal_slot fresh;
	int err = 0;

	fresh_slot(h, i);
	memcpy(&fresh, h->shadow + slot, sizeof(fresh));
	memcpy(fresh.name, names->name, sizeof(fresh.name));
	memcpy(fresh.old_name, names->old_name, sizeof(fresh.old_name));
	memcpy(h->shadow + slot, &fresh, sizeof(fresh));
	if (!frozen_write(z, h->scratch + slot, h->shadow + slot,
		sizeof(struct heal_slot)) ||
	    !frozen_write(
		z, h->scratch + done, h->shadow + done, sizeof(uint32_t)))
		err = -errno;
	/*
	 * A direct twin is not reaped here: there is nothing to wait for.  If we
	 * die before it enters, others nap until it says that the area is not
	 * busy, which it would not if it was on its way home already.
	 */
	if (err == 0 && code != heal_code_direct)
		err = move(z, i, heal_code_not_busy);
	if (err == 0 && code != heal_code_direct)
		err = set_head(z, h->scratch + slot);
	if (err == 0)
		err = tracee_options(heal_thread(z), PTRACE_O_TRACECLONE);
	if (err == 0)
		err = enter(z, i, code);
	if (err != 0)
		return snap_fail(cx, err, "process %d: calls in it: %s",
		    (int)z->pid, strerror(-err));
	return 0;
}

int
heal_event(struct snap_ctx *cx, struct frozen *z, int event, pid_t *child)
{
	size_t i = z->heal->caller, silent;
	struct tracee *t = &z->v[i];
	unsigned naps = 0;
	unsigned long msg;
	int err;

	for (;;) {
		err = look(z, i, i + 1, &silent);
		if (err == 0)
			err = tracee_poll(t);
		if (err == 0 && t->state == TRACEE_STOPPED) {
			if (t->stop == (SIGTRAP | event << 8))
				break;
			err = tracee_resume(t, PTRACE_CONT, tracee_signal(t));
		}
		if (err == 0 && silent == 0)
			return 0;
		if (err == 0 && now_ns() > z->deadline)
			err = -ETIMEDOUT;
		if (err != 0)
			return snap_fail(cx, err, "process %d: calls in it: %s",
			    (int)z->pid, strerror(-err));
		nap(&naps);
	}
	if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &msg) < 0)
		return snap_fail(cx, -errno, "process %d is gone", (int)z->pid);
	*child = (pid_t)msg;
	return 1;
}

int
heal_leave(struct snap_ctx *cx, struct frozen *z, struct heal_slot *slot)
{
	struct heal *h = z->heal;
	size_t i = h->caller;
	int err;

	err = wait_done(z, i, i + 1);
	if (err == 0)
		err = stop_parked(z, i, i + 1);
	if (err == 0)
		err = set_head(z, 0);
	if (err == 0)
		err = have_answers(z);
	if (err != 0)
		return calls_failed(cx, z, err);
	memcpy(slot, h->shadow + h->lists[i].slot, sizeof(*slot));
	return 0;
}

bool
heal_reaped(struct frozen *z, uint64_t deadline)
{
	uint64_t busy = 1;
	unsigned naps = 0;

	if (z->heal == NULL || z->heal->scratch == 0 || !heal_thread(z)->away)
		return true;
	for (;;) {
		if (frozen_read(
			z, &busy, sizeof(busy), z->heal->scratch + HEAL_BUSY) &&
		    busy == 0)
			return true;
		if (push(heal_thread(z)) != 0 || now_ns() > deadline)
			return false;
		nap(&naps);
	}
}
