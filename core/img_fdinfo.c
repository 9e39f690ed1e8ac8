/*
 * img_fdinfo.c - `fdinfo/N`: an open file, as one descriptor shows it.
 *
 *	pos:	OFFSET		as in /proc/PID/fdinfo
 *	flags:	0OCTAL		O_*, with O_CLOEXEC of the descriptor
 *	kind: KIND		the kind of object, see snapfs(5)
 *	file: ID		descriptors that share an open file (dup(2))
 *				have the same: the lowest of their numbers
 *	KEY: VALUE		what the kind wants to know, escaped; some keys
 *				may be there more than once
 *
 * All descriptors of one open file repeat its lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "img.h"

#define MAX_FLAGS 0xffffffffu

void
img_fdinfo_write(struct text *t, const struct process *p, const struct fdent *e)
{
	const struct openfile *f = &p->files[e->file];

	text_putf(t, "pos:\t%lu\n", (unsigned long)f->pos);
	text_putf(t, "flags:\t0%o\n", f->flags | (e->cloexec ? O_CLOEXEC : 0u));
	text_putf(t, "kind: %s\n", f->kind);
	text_putf(t, "file: %u\n", f->id);
	for (size_t i = 0; i < f->nkv; i++) {
		text_putf(t, "%s: ", f->kv[i].key);
		text_escape(t, f->kv[i].value);
		text_puts(t, "\n");
	}
}

/* ---- reading ---- */

struct reader {
	struct lines *l;
	struct openfile f;
	bool cloexec;
	unsigned seen;
};

/* One line for each lock, watch, packet, ... */
static bool
may_repeat(const char *key)
{
	static const char *const keys[] = { "lock", "tfd", "watch", "mark",
		"packet", "message", "option", "pending", "membership" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

static int
add_kv(struct reader *r, const char *key, char *value)
{
	if (key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-")] != '\0')
		return lines_fail(r->l, "a bad key `%.32s'", key);
	if (!may_repeat(key) && openfile_get(&r->f, key) != NULL)
		return lines_fail(r->l, "a second `%.32s'", key);
	if (!text_unescape(value))
		return lines_fail(r->l, "badly escaped");
	return openfile_put(&r->f, key, "%s", value);
}

static bool
parse_pos(struct reader *r, char *s)
{
	return text_dec(s, INT64_MAX, &r->f.pos);
}

static bool
parse_flags(struct reader *r, char *s)
{
	uint64_t v;

	if (!text_oct(s, MAX_FLAGS, &v))
		return false;
	r->cloexec = (v & O_CLOEXEC) != 0;
	r->f.flags = (uint32_t)v & ~(uint32_t)O_CLOEXEC;
	return true;
}

static bool
parse_kind(struct reader *r, char *s)
{
	if (*s == '\0' || strlen(s) >= sizeof(r->f.kind))
		return false;
	strcpy(r->f.kind, s);
	return true;
}

static bool
parse_file(struct reader *r, char *s)
{
	uint64_t v;

	if (!text_dec(s, INT32_MAX, &v))
		return false;
	r->f.id = (uint32_t)v;
	return true;
}

static int
read_pair(struct reader *r, const char *key, char *value)
{
	static const struct {
		const char *key;
		bool (*parse)(struct reader *r, char *s);
	} table[] = {
		{ "pos", parse_pos },
		{ "flags", parse_flags },
		{ "kind", parse_kind },
		{ "file", parse_file },
	};

	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(key, table[i].key) != 0)
			continue;
		if ((r->seen & 1u << i) != 0)
			return lines_fail(r->l, "a second `%s'", key);
		r->seen |= 1u << i;
		return table[i].parse(r, value)
			   ? 0
			   : lines_fail(r->l, "bad value of `%s'", key);
	}
	return add_kv(r, key, value);
}

static int
read_all(struct reader *r)
{
	char *key, *value;
	int n, err;

	while ((n = lines_pair(r->l, &key, &value)) > 0) {
		err = read_pair(r, key, value);
		if (err < 0)
			return err;
	}
	if (n == 0 && r->seen != 15)
		return lines_fail(
		    r->l, "one of pos, flags, kind and file is missing");
	return n;
}

static bool
same_lines(const struct openfile *a, const struct openfile *b)
{
	if (a->pos != b->pos || a->flags != b->flags ||
	    strcmp(a->kind, b->kind) != 0 || a->nkv != b->nkv)
		return false;
	for (size_t i = 0; i < a->nkv; i++)
		if (strcmp(a->kv[i].key, b->kv[i].key) != 0 ||
		    strcmp(a->kv[i].value, b->kv[i].value) != 0)
			return false;
	return true;
}

static void
fini(struct openfile *f)
{
	openfile_forget(f);
	free(f->target);
}

int
img_fdinfo_read(struct lines *l, struct process *p, int fd, const char *target)
{
	struct reader r = { .l = l };
	struct openfile *f;
	struct fdent *e;
	int err;

	r.f.target = strdup(target);
	err = r.f.target == NULL ? -ENOMEM : read_all(&r);
	if (err < 0)
		goto out;
	err = -ENOMEM;
	f = process_grow(&p->files, &p->nfiles, sizeof(*f));
	if (f == NULL)
		goto out;
	*f = r.f;
	memset(&r.f, 0, sizeof(r.f));
	e = process_grow(&p->fds, &p->nfds, sizeof(*e));
	if (e == NULL)
		goto out;
	e->fd = fd;
	e->cloexec = r.cloexec;
	e->file = (uint32_t)p->nfiles - 1;
	err = 0;
out:
	fini(&r.f);
	return err;
}

/* ---- which descriptors share an open file ---- */

struct member {
	const struct openfile *f;
	int fd;
};

static int
by_file(const void *a, const void *b)
{
	const struct member *m = a, *n = b;
	int c;

	if (m->f->id != n->f->id)
		return m->f->id < n->f->id ? -1 : 1;
	c = strcmp(m->f->target, n->f->target);
	return c != 0 ? c : m->fd - n->fd;
}

/*
 * So far each descriptor has an open file of its own, p->files[i] being that
 * of p->fds[i].  Those of one id and target are one; where the user let the
 * link of one duplicate lead elsewhere, that is a file of its own.
 */
static int
share(struct snap_ctx *cx, struct process *p, struct member *m)
{
	const struct member *first = m;

	for (size_t i = 0; i < p->nfds; i++)
		m[i] = (struct member){ &p->files[i], p->fds[i].fd };
	qsort(m, p->nfds, sizeof(*m), by_file);
	for (size_t i = 0; i < p->nfds; i++) {
		size_t at = (size_t)(m[i].f - p->files);

		if (m[i].f->id != first->f->id ||
		    strcmp(m[i].f->target, first->f->target) != 0)
			first = &m[i];
		else if (!same_lines(m[i].f, first->f))
			return snap_fail(cx, -EBADMSG,
			    "fdinfo/%d: file %u, and fdinfo/%d says otherwise "
			    "of it",
			    m[i].fd, first->f->id, first->fd);
		p->fds[at].file = (uint32_t)(first->f - p->files);
	}
	return 0;
}

/* Keep the first of each, whose id becomes its own descriptor. */
static void
compact(struct process *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nfds; i++) {
		struct fdent *e = &p->fds[i];

		if (e->file < i) { /* p->fds[e->file] was seen already */
			e->file = p->fds[e->file].file;
			fini(&p->files[i]);
			continue;
		}
		p->files[i].id = (uint32_t)e->fd;
		e->file = (uint32_t)n;
		if (n != i)
			p->files[n] = p->files[i];
		n++;
	}
	p->nfiles = n;
}

int
img_fdinfo_finish(struct snap_ctx *cx, struct process *p)
{
	struct member *m = calloc(p->nfds + 1, sizeof(*m));
	int err;

	if (m == NULL)
		return -ENOMEM;
	err = share(cx, p, m);
	free(m);
	if (err == 0)
		compact(p);
	return err;
}
