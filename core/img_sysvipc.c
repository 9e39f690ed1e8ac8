/*
 * img_sysvipc.c - `sysvipc`: sets of semaphores that only the tree uses, and
 * what is to be undone to such when the process ends.
 *
 *	semaphores ID KEY MODE UID GID CUID CGID
 *			a set: key in hex, mode in octal; owner and creator
 *	value N PID	of each of its semaphores, in their order: the value,
 *			and who was the last to change it, or 0
 *	undo ID NUMBER BY
 *			is added to the value of a semaphore
 *
 * Sets and undos are sorted; a set is in the file of the first of the tree that
 * uses it.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fdkv.h"
#include "img.h"
#include "semset.h"

#define PID_MAX (1 << 22)

void
img_sysvipc_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nsemsets; i++) {
		const struct semset *s = &p->semsets[i];

		text_putf(t, "semaphores %d %x %o %u %u %u %u\n", s->id, s->key,
		    s->mode, s->uid, s->gid, s->cuid, s->cgid);
		for (size_t k = 0; k < s->n; k++)
			text_putf(t, "value %u %d\n", s->v[k].value,
			    (int)s->v[k].pid);
	}
	for (size_t i = 0; i < p->nundos; i++)
		text_putf(t, "undo %d %u %d\n", p->undos[i].id,
		    p->undos[i].number, p->undos[i].by);
}

static int
read_set(struct lines *l, struct process *p, char *line)
{
	static const struct {
		int base;
		uint64_t max;
	} words[] = { { 10, INT32_MAX }, { 16, UINT32_MAX },
		{ 8, SEMSET_MODES }, { 10, UINT32_MAX }, { 10, UINT32_MAX },
		{ 10, UINT32_MAX }, { 10, UINT32_MAX } };
	struct semset *s;
	uint64_t v[7];
	char *word;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		word = i == 6 ? line : text_word(&line);
		if (word == NULL ||
		    !kv_number(word, words[i].base, words[i].max, &v[i]))
			return lines_fail(
			    l, "not ID KEY MODE UID GID CUID CGID of a set");
	}
	if (p->nundos > 0 ||
	    (p->nsemsets > 0 && p->semsets[p->nsemsets - 1].id >= (int)v[0]))
		return lines_fail(l, "not in the order of ids, before undos");
	if (p->nsemsets > 0 && p->semsets[p->nsemsets - 1].n == 0)
		return lines_fail(l, "the set before it is empty");
	s = process_grow(&p->semsets, &p->nsemsets, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	*s = (struct semset){ .id = (int32_t)v[0],
		.key = (uint32_t)v[1],
		.mode = (uint32_t)v[2],
		.uid = (uid_t)v[3],
		.gid = (gid_t)v[4],
		.cuid = (uid_t)v[5],
		.cgid = (gid_t)v[6] };
	return 0;
}

static int
read_value(struct lines *l, struct process *p, char *line)
{
	struct semaphore *one;
	struct semset *s;
	uint64_t value, pid;
	char *word = text_word(&line);

	if (p->nundos > 0 || p->nsemsets == 0)
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
	u = process_grow(&p->undos, &p->nundos, sizeof(*u));
	if (u == NULL)
		return -ENOMEM;
	*u = (struct semundo){ (int32_t)a, (uint16_t)b, (int16_t)by };
	if (p->nundos > 1 && semset_by_undo(u - 1, u) >= 0)
		return lines_fail(l, "not in the order of ids and numbers");
	return 0;
}

int
img_sysvipc_read(struct lines *l, struct process *p)
{
	static const struct {
		const char *word;
		int (*read)(struct lines *l, struct process *p, char *line);
	} kinds[] = { { "semaphores", read_set }, { "value", read_value },
		{ "undo", read_undo } };
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
			return lines_fail(
			    l, "neither semaphores, value nor undo");
		if (err < 0)
			return err;
	}
	if (r == 0 && p->nsemsets > 0 && p->semsets[p->nsemsets - 1].n == 0)
		return lines_fail(l, "the set is empty");
	return r;
}
