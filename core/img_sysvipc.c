/*
 * img_sysvipc.c - `sysvipc`: sets of semaphores that only the tree uses, what
 * is to be undone to such when the process ends, and message queues.
 *
 *	semaphores ID KEY MODE UID GID CUID CGID
 *			a set: key in hex, mode in octal; owner and creator
 *	value N PID	of each of its semaphores, in their order: the value,
 *			and who was the last to change it, or 0
 *	undo ID NUMBER BY
 *			is added to the value of a semaphore
 *
 *	queue ID KEY MODE UID GID CUID CGID BYTES PID PID
 *			a queue: how many bytes may be in it; who sent, and who
 *			received last, or 0
 *	message TYPE BYTES
 *			of each that waits in it, in their order: in hex, - if it
 *			has none
 *
 * Sets, undos and queues are sorted, in this order; a set or queue is in the file
 * of the first of the tree that uses it.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fdkv.h"
#include "img.h"
#include "msgqueue.h"
#include "semset.h"
#include "sysv.h"

#define PID_MAX (1 << 22)
#define NO_BYTES "-"

void
img_ipc_write(struct text *t, const struct ipc *o)
{
	text_putf(t, "%d %x %o %u %u %u %u", o->id, o->key, o->mode, o->uid,
	    o->gid, o->cuid, o->cgid);
}

/* The last word of a line has no space behind it. */
static char *
next_word(char **line)
{
	char *word = *line;

	if (word != NULL && strchr(word, ' ') != NULL)
		return text_word(line);
	*line = NULL;
	return word;
}

bool
img_ipc_parse(char **line, uint32_t modes, struct ipc *o)
{
	const struct {
		int base;
		uint64_t max;
	} words[] = { { 10, INT32_MAX }, { 16, UINT32_MAX }, { 8, modes },
		{ 10, UINT32_MAX }, { 10, UINT32_MAX }, { 10, UINT32_MAX },
		{ 10, UINT32_MAX } };
	uint64_t v[7];
	char *word;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		word = next_word(line);
		if (word == NULL ||
		    !kv_number(word, words[i].base, words[i].max, &v[i]))
			return false;
	}
	*o = (struct ipc){ .id = (int32_t)v[0],
		.key = (uint32_t)v[1],
		.mode = (uint32_t)v[2],
		.uid = (uid_t)v[3],
		.gid = (gid_t)v[4],
		.cuid = (uid_t)v[5],
		.cgid = (gid_t)v[6] };
	return true;
}

static void
write_queue(struct text *t, const struct msgqueue *q)
{
	text_puts(t, "queue ");
	img_ipc_write(t, &q->ipc);
	text_putf(t, " %llu %d %d\n", (unsigned long long)q->qbytes,
	    (int)q->sender, (int)q->receiver);
	for (size_t i = 0; i < q->n; i++) {
		text_putf(t, "message %lld ", (long long)q->v[i].type);
		if (q->v[i].size > 0)
			text_hex(t, q->v[i].bytes, q->v[i].size);
		else
			text_puts(t, NO_BYTES);
		text_puts(t, "\n");
	}
}

void
img_sysvipc_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nsemsets; i++) {
		const struct semset *s = &p->semsets[i];

		text_puts(t, "semaphores ");
		img_ipc_write(t, &s->ipc);
		text_puts(t, "\n");
		for (size_t k = 0; k < s->n; k++)
			text_putf(t, "value %u %d\n", s->v[k].value,
			    (int)s->v[k].pid);
	}
	for (size_t i = 0; i < p->nundos; i++)
		text_putf(t, "undo %d %u %d\n", p->undos[i].id,
		    p->undos[i].number, p->undos[i].by);
	for (size_t i = 0; i < p->nqueues; i++)
		write_queue(t, &p->queues[i]);
}

static int
read_set(struct lines *l, struct process *p, char *line)
{
	struct ipc o;
	struct semset *s;

	if (!img_ipc_parse(&line, SYSV_MODES, &o) || line != NULL)
		return lines_fail(
		    l, "not ID KEY MODE UID GID CUID CGID of a set");
	if (p->nundos > 0 || p->nqueues > 0 ||
	    (p->nsemsets > 0 && p->semsets[p->nsemsets - 1].ipc.id >= o.id))
		return lines_fail(
		    l, "not in the order of ids, before undos and queues");
	if (p->nsemsets > 0 && p->semsets[p->nsemsets - 1].n == 0)
		return lines_fail(l, "the set before it is empty");
	s = process_grow(&p->semsets, &p->nsemsets, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->ipc = o;
	return 0;
}

static int
read_value(struct lines *l, struct process *p, char *line)
{
	struct semaphore *one;
	struct semset *s;
	uint64_t value, pid;
	char *word = text_word(&line);

	if (p->nundos > 0 || p->nqueues > 0 || p->nsemsets == 0)
		return lines_fail(l, "not behind a set");
	if (word == NULL || line == NULL ||
	    !text_dec(word, SEMSET_VALUE_MAX, &value) ||
	    !text_dec(line, PID_MAX, &pid))
		return lines_fail(l, "not VALUE PID of a semaphore");
	s = &p->semsets[p->nsemsets - 1];
	if (s->n >= SEMSET_MAX)
		return lines_fail(l, "more than a set may have");
	one = process_grow(&s->v, &s->n, sizeof(*one));
	if (one == NULL)
		return -ENOMEM;
	*one = (struct semaphore){ (uint16_t)value, (pid_t)pid };
	return 0;
}

static int
read_undo(struct lines *l, struct process *p, char *line)
{
	char *id = text_word(&line), *number = text_word(&line);
	struct semundo *u;
	uint64_t a, b;
	int64_t by;

	if (id == NULL || number == NULL || line == NULL ||
	    !text_dec(id, INT32_MAX, &a) ||
	    !text_dec(number, SEMSET_MAX - 1, &b) ||
	    !text_sdec(line, INT16_MIN, INT16_MAX, &by) || by == 0)
		return lines_fail(l, "not ID NUMBER BY of an undo");
	if (p->nqueues > 0)
		return lines_fail(l, "not before queues");
	u = process_grow(&p->undos, &p->nundos, sizeof(*u));
	if (u == NULL)
		return -ENOMEM;
	*u = (struct semundo){ (int32_t)a, (uint16_t)b, (int16_t)by };
	if (p->nundos > 1 && semset_by_undo(u - 1, u) >= 0)
		return lines_fail(l, "not in the order of ids and numbers");
	return 0;
}

static int
read_queue(struct lines *l, struct process *p, char *line)
{
	static const uint64_t max[] = { INT64_MAX, PID_MAX, PID_MAX };
	struct msgqueue *q;
	uint64_t v[3];
	struct ipc o;
	char *word;
	bool good = img_ipc_parse(&line, SYSV_MODES, &o);

	for (size_t i = 0; good && i < sizeof(v) / sizeof(v[0]); i++) {
		word = next_word(&line);
		good = word != NULL && text_dec(word, max[i], &v[i]);
	}
	if (!good || line != NULL)
		return lines_fail(l,
		    "not ID KEY MODE UID GID CUID CGID BYTES PID PID of a "
		    "queue");
	if (p->nqueues > 0 && p->queues[p->nqueues - 1].ipc.id >= o.id)
		return lines_fail(l, "not in the order of ids");
	q = process_grow(&p->queues, &p->nqueues, sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	q->ipc = o;
	q->qbytes = v[0];
	q->sender = (pid_t)v[1];
	q->receiver = (pid_t)v[2];
	return 0;
}

static int
read_message(struct lines *l, struct process *p, char *line)
{
	char *type = text_word(&line);
	struct message *m;
	struct msgqueue *q;
	size_t size;
	int64_t number;

	if (p->nqueues == 0)
		return lines_fail(l, "not behind a queue");
	q = &p->queues[p->nqueues - 1];
	if (type == NULL || line == NULL ||
	    !text_sdec(type, 1, INT64_MAX, &number))
		return lines_fail(l, "not TYPE BYTES of a message");
	size = strcmp(line, NO_BYTES) == 0 ? 0 : strlen(line) / 2;
	if (q->n >= MSGQUEUE_MESSAGES || size > MSGQUEUE_BYTES - q->bytes)
		return lines_fail(l, "more than may be in a queue");
	m = process_grow(&q->v, &q->n, sizeof(*m));
	if (m == NULL || (m->bytes = malloc(size + 1)) == NULL)
		return -ENOMEM;
	m->type = number;
	m->size = size;
	q->bytes += size;
	if (strcmp(line, NO_BYTES) != 0 &&
	    (size == 0 || !text_unhex(line, m->bytes, size)))
		return lines_fail(l, "not TYPE BYTES of a message");
	return 0;
}

int
img_sysvipc_read(struct lines *l, struct process *p)
{
	static const struct {
		const char *word;
		int (*read)(struct lines *l, struct process *p, char *line);
	} kinds[] = { { "semaphores", read_set }, { "value", read_value },
		{ "undo", read_undo }, { "queue", read_queue },
		{ "message", read_message } };
	char *line, *word;
	int r, err;

	while ((r = lines_next(l, &line)) > 0) {
		word = text_word(&line);
		err = 1;
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
			if (word != NULL && line != NULL &&
			    strcmp(word, kinds[i].word) == 0)
				err = kinds[i].read(l, p, line);
		if (err > 0)
			return lines_fail(l,
			    "neither semaphores, value, undo, queue nor "
			    "message");
		if (err < 0)
			return err;
	}
	if (r == 0 && p->nsemsets > 0 && p->semsets[p->nsemsets - 1].n == 0)
		return lines_fail(l, "the set is empty");
	return r;
}
