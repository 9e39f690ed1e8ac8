#include "written_ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "tracee.h"
#include "written_read.h"

/* So long it is copied; and so long waited for one piece. */
#define COPY_NS 1000000000ull
#define WAIT_NS 2000000000ull

/*
 * A page of a process that runs can have become one that is to be read from
 * somewhere, and nothing ends such a wait.  So a thread reads, which is not
 * waited for for ever, and has what it needs for itself.
 */
struct ahead_job {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done, left; /* by the thread; by who began it */
	struct readable of;
	struct reading rd;
	struct written_room room;
	uint64_t deadline;
	struct spans not ;
	int err;
};

static void
job_free(struct ahead_job *j)
{
	if (j->of.mem >= 0)
		close(j->of.mem);
	written_room_close(&j->room);
	reading_fini(&j->rd);
	spans_fini(&j->not );
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void *
job_main(void *arg)
{
	struct ahead_job *j = arg;
	bool left;

	j->err = reading_try(&j->of, &j->rd, &j->room, j->deadline, &j->not );
	pthread_mutex_lock(&j->lock);
	j->done = true;
	left = j->left;
	pthread_cond_signal(&j->changed);
	pthread_mutex_unlock(&j->lock);
	if (left)
		job_free(j);
	return NULL;
}

static struct ahead_job *
job_new(void)
{
	struct ahead_job *j = calloc(1, sizeof(*j));
	pthread_condattr_t attr;

	if (j == NULL)
		return NULL;
	pthread_mutex_init(&j->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->changed, &attr);
	pthread_condattr_destroy(&attr);
	j->of.mem = -1;
	j->room.fd = -1;
	return j;
}

/* false: it is not done, and the job is the thread's from here on. */
static bool
job_wait(struct ahead_job *j, uint64_t deadline)
{
	struct timespec until = { (time_t)(deadline / 1000000000u),
		(long)(deadline % 1000000000u) };
	bool done;
	int err = 0;

	pthread_mutex_lock(&j->lock);
	while (!j->done && err == 0)
		err = pthread_cond_timedwait(&j->changed, &j->lock, &until);
	done = j->done;
	j->left = !done;
	pthread_mutex_unlock(&j->lock);
	return done;
}

/* -ETIMEDOUT: it is the thread's. */
static int
job_run(struct ahead_job *j)
{
	pthread_t thread;
	bool done;
	int err;

	j->deadline = now_ns() + COPY_NS;
	err = pthread_create(&thread, NULL, job_main, j);
	if (err != 0)
		return -err;
	done = job_wait(j, j->deadline + WAIT_NS);
	if (done)
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
	return done ? 0 : -ETIMEDOUT;
}

/* ---- places ---- */

static int
place(struct ahead *a, const struct spans *want)
{
	uint64_t at = 0;
	int err = 0;

	a->at = calloc(want->n + 1, sizeof(*a->at));
	if (a->at == NULL)
		return -ENOMEM;
	for (size_t i = 0; err == 0 && i < want->n; i++) {
		err = spans_add(&a->slots, want->v[i].start, want->v[i].end);
		a->at[i] = at;
		at += want->v[i].end - want->v[i].start;
	}
	a->at[want->n] = at;
	return err;
}

struct ahead *
ahead_new(const struct spans *want)
{
	struct ahead *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->room.fd = -1;
	if (place(a, want) < 0) {
		ahead_free(a);
		return NULL;
	}
	written_room_open(&a->room, a->at[want->n]);
	return a;
}

void
ahead_free(struct ahead *a)
{
	if (a == NULL)
		return;
	written_room_close(&a->room);
	spans_fini(&a->slots);
	spans_fini(&a->good);
	spans_fini(&a->written);
	spans_fini(&a->left);
	free(a->at);
	free(a);
}

/* ---- copying ---- */

uint64_t
ahead_place(
    const struct ahead *a, size_t *k, uint64_t at, uint64_t end, uint64_t *to)
{
	const struct span *s;

	while (*k < a->slots.n && a->slots.v[*k].end <= at)
		++*k;
	s = *k < a->slots.n ? &a->slots.v[*k] : NULL;
	*to = end;
	if (s == NULL || s->start >= end)
		return UINT64_MAX;
	if (s->start > at) {
		*to = s->start;
		return UINT64_MAX;
	}
	if (s->end < end)
		*to = s->end;
	return a->at[*k] + (at - s->start);
}

static int
list(const struct ahead *a, const struct spans *want, struct reading *rd)
{
	uint64_t at, to, place;
	size_t k = 0;
	int err = 0;

	for (size_t i = 0; i < want->n; i++)
		for (at = want->v[i].start; err == 0 && at < want->v[i].end;
		     at = to) {
			place = ahead_place(a, &k, at, want->v[i].end, &to);
			if (place != UINT64_MAX)
				err = reading_add(rd, at, to, place);
		}
	return err;
}

/* What there was is lost to a thread that does not come back. */
static void
begin_anew(struct ahead *a)
{
	spans_fini(&a->slots);
	spans_fini(&a->good);
	a->at[0] = 0;
	written_room_open(&a->room, 0);
}

/* What of `want` has a place and was read is good. */
static int
take_read(struct ahead *a, const struct ahead_job *j, const struct spans *want)
{
	struct spans read = { 0 }, no = { 0 };
	int err = spans_unite(&no, want);

	if (err == 0)
		err = spans_subtract(&no, &a->slots);
	if (err == 0)
		err = spans_unite(&no, &j->not );
	if (err == 0)
		err = spans_unite(&read, want);
	if (err == 0)
		err = spans_subtract(&read, &no);
	spans_fini(&no);
	if (err == 0)
		err = spans_unite(&a->good, &read);
	spans_fini(&read);
	return err;
}

int
ahead_copy(struct snap_ctx *cx, struct ahead *a, pid_t pid,
    const struct spans *want, uint64_t nth)
{
	struct ahead_job *j = job_new();
	int err = j == NULL ? -ENOMEM : list(a, want, &j->rd);

	a->nth = nth;
	if (err == 0 && j->rd.n > 0) {
		j->of.pid = pid;
		j->of.mem = proc_open(cx, pid, "mem", O_RDONLY);
		err = j->of.mem < 0 ? j->of.mem : 0;
	}
	if (err == 0 && j->rd.n > 0) {
		j->room = a->room;
		a->room = (struct written_room){ .fd = -1 };
		err = job_run(j);
		if (err == -ETIMEDOUT) {
			begin_anew(a);
			return err;
		}
		a->room = j->room;
		j->room = (struct written_room){ .fd = -1 };
		if (err == 0)
			err = j->err;
		if (err == 0)
			err = take_read(a, j, want);
	}
	if (j != NULL)
		job_free(j);
	return err;
}

int
ahead_renew(struct ahead *a, const struct written *w)
{
	int err = w->nth == a->nth + 1 ? spans_subtract(&a->good, &w->fresh)
				       : -ESTALE;

	a->nth = w->nth;
	if (err < 0)
		spans_fini(&a->good);
	return err == -ESTALE ? 0 : err;
}

int64_t
ahead_settle(struct ahead *a, struct spans *written)
{
	int err = spans_unite(&a->left, written);

	if (err == 0)
		err = spans_subtract(&a->left, &a->good);
	a->written = *written;
	*written = (struct spans){ 0 };
	return err < 0 ? err : (int64_t)spans_bytes(&a->left);
}
