/*
 * img_timers.c - `timers`: the interval timers and the POSIX timers.
 *
 *	itimer: real VALUE INTERVAL	what is left and the interval, in ns;
 *	itimer: virtual ...		0: not armed
 *	itimer: prof ...
 *
 * and a block for each POSIX timer, by id:
 *
 *	timer: ID
 *	clock: CLOCKID
 *	notify: SIGEV_*		as a number, SIGEV_THREAD_ID being 4
 *	signal: SIGNO
 *	value: 0xHEX		of its siginfo
 *	thread: TID		of SIGEV_THREAD_ID, else 0
 *	left-ns: NS
 *	interval-ns: NS
 *	overrun: COUNT
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "img.h"

#define MAX_NS INT64_MAX
#define SIGEV_TID 4

#define F(key, type, member, min, max) \
	{ \
		key, FIELD_##type, offsetof(struct posix_timer, member), min, \
		    max, false \
	}

static const struct field table[] = {
	F("clock", I32, clockid, 0, 0),
	F("notify", I32, notify, 0, SIGEV_TID),
	F("signal", I32, signo, 0, PROCESS_NSIG),
	F("value", X64, sigval, 0, 0),
	F("thread", I32, tid, 0, 1 << 22),
	F("left-ns", U64, value, 0, MAX_NS),
	F("interval-ns", U64, interval, 0, MAX_NS),
	F("overrun", I32, overrun, 0, INT32_MAX),
};
static const struct fields fields = { table, sizeof(table) / sizeof(table[0]) };

static const char *const itimer_names[3] = { "real", "virtual", "prof" };

static int
by_id(const void *a, const void *b)
{
	const struct posix_timer *const *s = a, *const *t = b;

	return (*s)->id < (*t)->id ? -1 : (*s)->id > (*t)->id;
}

void
img_timers_write(struct text *t, const struct process *p)
{
	const struct posix_timer **v;

	for (int i = 0; i < 3; i++)
		text_putf(t, "itimer: %s %lu %lu\n", itimer_names[i],
		    (unsigned long)p->itimers[i].value,
		    (unsigned long)p->itimers[i].interval);
	v = calloc(p->ntimers + 1, sizeof(*v));
	if (v == NULL) {
		t->failed = true;
		return;
	}
	for (size_t i = 0; i < p->ntimers; i++)
		v[i] = &p->timers[i];
	qsort(v, p->ntimers, sizeof(*v), by_id);
	for (size_t i = 0; i < p->ntimers; i++) {
		text_putf(t, "\ntimer: %d\n", v[i]->id);
		fields_write(t, &fields, v[i]);
	}
	free(v);
}

/* ---- reading ---- */

struct reader {
	struct lines *l;
	struct process *p;
	unsigned itimers;	   /* bits of those seen */
	struct posix_timer *timer; /* the block at hand */
	uint64_t seen;
};

static int
read_itimer(struct reader *r, char *s)
{
	char *name = text_word(&s), *value = text_word(&s);
	char *interval = text_word(&s);

	if (interval == NULL || s != NULL)
		return lines_fail(r->l, "not NAME VALUE INTERVAL");
	for (int i = 0; i < 3; i++) {
		if (strcmp(name, itimer_names[i]) != 0)
			continue;
		if ((r->itimers & 1u << i) != 0)
			return lines_fail(r->l, "a second itimer %s", name);
		r->itimers |= 1u << i;
		if (!text_dec(value, MAX_NS, &r->p->itimers[i].value) ||
		    !text_dec(interval, MAX_NS, &r->p->itimers[i].interval))
			return lines_fail(r->l, "not nanoseconds");
		return 0;
	}
	return lines_fail(r->l, "no such itimer: %.32s", name);
}

static int
end_timer(struct reader *r)
{
	const struct posix_timer *t = r->timer;
	int err;

	if (t == NULL)
		return 0;
	err = fields_complete(r->l, &fields, r->seen, "this timer");
	if (err < 0)
		return err;
	/* SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, or to a thread */
	if (t->notify == 3)
		return lines_fail(r->l, "this timer: no such `notify'");
	if (t->notify != 1 && t->signo == 0)
		return lines_fail(r->l, "this timer: no signal");
	if (t->notify == SIGEV_TID && img_thread(r->p, t->tid) == NULL)
		return lines_fail(r->l, "this timer: no thread %d", t->tid);
	return 0;
}

static int
begin_timer(struct reader *r, const char *s)
{
	int64_t id;
	int err;

	err = end_timer(r);
	if (err < 0)
		return err;
	if (!text_sdec(s, 0, INT32_MAX, &id) ||
	    (r->timer != NULL && id <= r->timer->id))
		return lines_fail(r->l, "timers are not in order of their ids");
	r->timer =
	    process_grow(&r->p->timers, &r->p->ntimers, sizeof(*r->timer));
	if (r->timer == NULL)
		return -ENOMEM;
	r->timer->id = (int32_t)id;
	r->seen = 0;
	return 0;
}

static int
read_pair(struct reader *r, const char *key, char *value)
{
	int n;

	if (strcmp(key, "timer") == 0)
		return begin_timer(r, value);
	if (r->timer == NULL)
		return strcmp(key, "itimer") == 0
			   ? read_itimer(r, value)
			   : lines_fail(r->l, "unknown key `%.32s'", key);
	n = fields_parse(r->l, &fields, r->timer, key, value, &r->seen);
	return n == 0 ? lines_fail(r->l, "unknown key `%.32s'", key) : n;
}

int
img_timers_read(struct lines *l, struct process *p)
{
	struct reader r = { .l = l, .p = p };
	char *key, *value;
	int n, err;

	while ((n = lines_pair(l, &key, &value)) > 0) {
		err = read_pair(&r, key, value);
		if (err < 0)
			return err;
	}
	if (n < 0)
		return n;
	if (r.itimers != 7)
		return lines_fail(l, "an itimer is missing");
	return end_timer(&r);
}
