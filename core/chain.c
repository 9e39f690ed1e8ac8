#include "chain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "image.h"

#define HEAD_MAX 512 /* of `checkpoint`: id and parent are in its first lines */

/* A directory that may be a link. */
struct candidate {
	int base;   /* borrowed: the directory that it is in */
	char *name; /* NULL: it is `base` itself */
	char id[33];
	bool whole;
	bool complete; /* it has its sums, which are written last */
	bool used;
};

struct chain {
	struct snap_ctx *cx;
	struct candidate *v;
	size_t n;
	struct family *f;
};

/* ---- which there are ---- */

static int
open_candidate(const struct candidate *c)
{
	return openat(c->base, c->name == NULL ? "." : c->name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The beginning of a regular file `checkpoint`; what is wrong with it is seen
 * when it is read. */
static bool
read_head(int dir, char *buf)
{
	int fd = openat(
	    dir, "checkpoint", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	ssize_t n = -1;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		n = pread(fd, buf, HEAD_MAX - 1, 0);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

static bool
identify(struct candidate *c)
{
	char head[HEAD_MAX];
	const char *id, *parent;
	int dir = open_candidate(c);
	bool ok = dir >= 0 && snap_image_is(dir) && read_head(dir, head);

	c->complete =
	    ok && faccessat(dir, "xxh128sums", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (dir >= 0)
		close(dir);
	if (!ok)
		return false;
	id = strstr(head, "\nid: ");
	parent = strstr(head, "\nparent: ");
	if (id == NULL || parent == NULL || strcspn(id + 5, "\n") != 32)
		return false;
	memcpy(c->id, id + 5, 32);
	c->id[32] = '\0';
	c->whole = strncmp(parent + 9, "none\n", 5) == 0;
	return true;
}

static int
add_candidate(struct chain *ch, int base, const char *name)
{
	struct candidate c = { .base = base, .name = (char *)(uintptr_t)name };
	struct candidate *in;

	if (!identify(&c))
		return 0;
	if (name != NULL) {
		c.name = strdup(name);
		if (c.name == NULL)
			return -ENOMEM;
	}
	in = process_grow(&ch->v, &ch->n, sizeof(*in));
	if (in == NULL) {
		free(c.name);
		return -ENOMEM;
	}
	*in = c;
	return 0;
}

static int
add_directory(struct chain *ch, int base)
{
	int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int err = 0;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while (err == 0 && (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = add_candidate(ch, base, e->d_name);
	closedir(dir);
	return err;
}

/* ---- one link ---- */

/* Of two that are the same checkpoint the whole one is meant, but not a copy
 * or merge that was broken off. */
static const struct candidate *
better(const struct candidate *a, const struct candidate *b)
{
	if (a->complete != b->complete)
		return a->complete ? a : b;
	if (a->whole != b->whole)
		return a->whole ? a : b;
	return NULL;
}

static int
find(struct chain *ch, const struct process *child, struct candidate **out)
{
	struct candidate *c, *found = NULL, *equal = NULL;

	for (size_t i = 0; i < ch->n; i++) {
		c = &ch->v[i];
		if (strcmp(c->id, child->parent_id) != 0)
			continue;
		if (found != NULL && better(found, c) == NULL) {
			equal = c;
		} else if (found == NULL || better(found, c) == c) {
			found = c;
			equal = NULL;
		}
	}
	/* There may have been a better one than both. */
	if (equal != NULL)
		return snap_fail(ch->cx, -EINVAL,
		    "%s and %s are both checkpoint %s, the parent of %s: take "
		    "one of them away",
		    found->name != NULL ? found->name : "one",
		    equal->name != NULL ? equal->name : "another", equal->id,
		    child->id);
	if (found == NULL)
		return snap_fail(ch->cx, -ENOENT,
		    "the parent of increment %s, checkpoint %s, is not there",
		    child->id, child->parent_id);
	if (found->used)
		return snap_fail(ch->cx, -ELOOP,
		    "checkpoint %s is a parent of itself", found->id);
	found->used = true;
	*out = found;
	return 0;
}

static bool
is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec ||
	       (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static int
check_link(struct snap_ctx *cx, const struct candidate *c,
    const struct process *parent, const struct process *child)
{
	if (strcmp(parent->id, child->parent_id) != 0)
		return snap_fail(
		    cx, -EBADMSG, "checkpoint %s changed", child->parent_id);
	if (parent->pid != child->pid)
		return snap_fail(cx, -EBADMSG,
		    "the parent of increment %s is of process %d, not of %d",
		    child->id, (int)parent->pid, (int)child->pid);
	if (!is_before(&parent->time, &child->time))
		return snap_fail(cx, -EBADMSG,
		    "the parent of increment %s, %s, is not older than it",
		    child->id, c->name != NULL ? c->name : c->id);
	return 0;
}

/* Of a parent only the pages are wanted. */
static void
forget_contents(struct process *p)
{
	for (size_t i = 0; i < p->ncontents; i++)
		if (p->contents[i].fd >= 0)
			close(p->contents[i].fd);
	p->ncontents = 0;
}

static int
read_candidate(struct chain *ch, const struct candidate *c,
    struct process **out, struct image_sums **sums)
{
	int dir = open_candidate(c), err;
	char *name;

	if (dir < 0)
		return snap_fail(ch->cx, -errno, "%s: %s",
		    c->name != NULL ? c->name : c->id, strerror(errno));
	if (asprintf(&name, "%s/", c->name != NULL ? c->name : c->id) < 0) {
		close(dir);
		return -ENOMEM;
	}
	ch->cx->where = name;
	err = image_read(ch->cx, dir, out, sums);
	ch->cx->where = NULL;
	close(dir);
	if (err < 0) {
		free(name);
		return err;
	}
	forget_contents(*out);
	(*out)->dir = name;
	return 0;
}

/* The parent of `child` becomes the next of those above. */
static int
read_link(struct chain *ch, const struct process *child)
{
	struct image_sums *sums = NULL;
	struct candidate *c = NULL;
	struct process *p;
	int err;

	err = find(ch, child, &c);
	if (err == 0)
		err = read_candidate(ch, c, &p, &sums);
	if (err < 0)
		return err;
	err = family_add_above(ch->f, p, sums);
	return err == 0 ? check_link(ch->cx, c, p, child) : err;
}

/* ---- whose page is it ---- */

struct resolver {
	struct snap_ctx *cx;
	struct process *child;
	const struct process *parent; /* resolved */
	struct run *v;
	size_t n;
};

static struct run *
add_run(
    struct resolver *r, const struct run *from, uint64_t start, uint64_t end)
{
	struct run *run = process_grow(&r->v, &r->n, sizeof(*run));

	if (run == NULL)
		return NULL;
	*run = *from;
	run->start = start;
	run->end = end;
	run->offset = from->offset + (start - from->start);
	run->src_off = from->src_off + (start - from->start);
	return run;
}

/* *at is where to begin looking: runs are in order on both sides. */
static int
take_over(struct resolver *r, const struct run *want, size_t *at)
{
	const struct process *p = r->parent;
	uint64_t from = want->start, end;
	struct run *run;

	while (*at < p->nruns && p->runs[*at].end <= from)
		(*at)++;
	for (size_t i = *at; from < want->end; i++, from = end) {
		const struct run *has = i < p->nruns ? &p->runs[i] : NULL;

		if (has == NULL || has->start > from ||
		    (has->kind != RUN_HELD && has->kind != RUN_ZERO))
			return snap_fail(r->cx, -EBADMSG,
			    "increment %s wants page %lx of its parent, which "
			    "does not hold it",
			    r->child->id, (unsigned long)from);
		end = has->end < want->end ? has->end : want->end;
		run = add_run(r, has, from, end);
		if (run == NULL)
			return -ENOMEM;
		run->up++;
	}
	return 0;
}

static int
resolve_runs(
    struct snap_ctx *cx, struct process *child, const struct process *parent)
{
	struct resolver r = { .cx = cx, .child = child, .parent = parent };
	size_t at = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < child->nruns; i++) {
		const struct run *run = &child->runs[i];

		if (run->kind == RUN_PARENT)
			err = take_over(&r, run, &at);
		else if (add_run(&r, run, run->start, run->end) == NULL)
			err = -ENOMEM;
	}
	if (err < 0) {
		free(r.v);
		return err;
	}
	free(child->runs);
	child->runs = r.v;
	child->nruns = r.n;
	return 0;
}

/* ---- the chain ---- */

static int
read_links(struct chain *ch)
{
	const struct process *last = ch->f->v[0];
	int err = 0;

	while (err == 0 && last->parent_id[0] != '\0') {
		if (ch->f->nabove == CHAIN_MAX)
			return snap_fail(ch->cx, -E2BIG,
			    "a chain of more than %d increments: merge it in "
			    "parts",
			    CHAIN_MAX);
		err = read_link(ch, last);
		if (err == 0)
			last = ch->f->above[ch->f->nabove - 1];
	}
	return err;
}

/* The increment that was asked for is one of the candidates, too. */
static void
mark_used(struct chain *ch, const struct process *p)
{
	for (size_t i = 0; i < ch->n; i++)
		if (strcmp(ch->v[i].id, p->id) == 0)
			ch->v[i].used = true;
}

static int
list_candidates(
    struct chain *ch, int dir, const int *more, size_t nmore, int *above)
{
	int err = 0;

	*above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*above >= 0)
		err = add_directory(ch, *above);
	for (size_t i = 0; err == 0 && i < nmore; i++) {
		err = add_candidate(ch, more[i], NULL);
		if (err == 0)
			err = add_directory(ch, more[i]);
	}
	return err;
}

/* From the oldest on; a parent's runs are not needed any more then. */
static int
resolve_all(struct snap_ctx *cx, struct family *f)
{
	int err = 0;

	for (size_t i = f->nabove; err == 0 && i-- > 0;) {
		err = resolve_runs(
		    cx, i == 0 ? f->v[0] : f->above[i - 1], f->above[i]);
		free(f->above[i]->runs);
		f->above[i]->runs = NULL;
		f->above[i]->nruns = 0;
	}
	if (err == 0)
		f->v[0]->parent_id[0] = '\0';
	return err;
}

int
chain_resolve(struct snap_ctx *cx, int dir, const int *more, size_t nmore,
    struct family *f)
{
	struct chain ch = { .cx = cx, .f = f };
	int above = -1, err;

	if (f->n > 1 || f->nabove > 0)
		return snap_fail(cx, -EBADMSG,
		    "checkpoint: an increment, of more than one process");
	err = list_candidates(&ch, dir, more, nmore, &above);
	if (err == 0) {
		mark_used(&ch, f->v[0]);
		err = read_links(&ch);
	}
	if (err == 0)
		err = resolve_all(cx, f);
	if (above >= 0)
		close(above);
	for (size_t i = 0; i < ch.n; i++)
		free(ch.v[i].name);
	free(ch.v);
	return err == -ENOMEM ? snap_fail(cx, err, "no memory") : err;
}
