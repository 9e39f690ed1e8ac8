#include "chain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chain_share.h"
#include "cow.h"
#include "ctx.h"
#include "family.h"
#include "image.h"

#define HEAD_MAX 512 /* of `checkpoint`: id and parent are in its first lines */

/* A directory that may be a link. */
struct candidate {
	int base;   /* borrowed: the directory that it is in */
	char *name; /* NULL: it is `base` itself */
	char id[33];
	char parent[33]; /* "": it is whole */
	bool complete;	 /* it has its sums, which are written last */
	bool used;
};

struct chain {
	struct snap_ctx *cx;
	struct candidate *v;
	size_t n;
	struct candidate **links; /* the parent first, then its own */
	size_t nlinks;
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

/* The id behind a key of `checkpoint`; "" if it is none. */
static void
take_id(const char *at, char *id)
{
	bool is = at != NULL && strcspn(at, "\n") == 32;

	memcpy(id, is ? at : "", is ? 32 : 0);
	id[is ? 32 : 0] = '\0';
}

static bool
identify(struct candidate *c)
{
	char head[HEAD_MAX];
	const char *id, *parent;
	int dir = open_candidate(c);
	bool ok = dir >= 0 && snap_image_is(dir) == 1 && read_head(dir, head);

	c->complete =
	    ok && faccessat(dir, "xxh128sums", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (dir >= 0)
		close(dir);
	if (!ok)
		return false;
	id = strstr(head, "\nid: ");
	parent = strstr(head, "\nparent: ");
	if (id == NULL || parent == NULL)
		return false;
	take_id(id + 5, c->id);
	take_id(parent + 9, c->parent);
	return c->id[0] != '\0';
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
	if ((a->parent[0] == '\0') != (b->parent[0] == '\0'))
		return a->parent[0] == '\0' ? a : b;
	return NULL;
}

/* The parent `id` of increment `of`. */
static int
find(struct chain *ch, const char *of, const char *id, struct candidate **out)
{
	struct candidate *c, *found = NULL, *equal = NULL;

	for (size_t i = 0; i < ch->n; i++) {
		c = &ch->v[i];
		if (strcmp(c->id, id) != 0)
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
		    equal->name != NULL ? equal->name : "another", id, of);
	if (found == NULL)
		return snap_fail(ch->cx, -ENOENT,
		    "the parent of increment %s, checkpoint %s, is not there",
		    of, id);
	if (found->used)
		return snap_fail(ch->cx, -ELOOP,
		    "checkpoint %s is a parent of itself", found->id);
	found->used = true;
	*out = found;
	return 0;
}

/* From the parent of p on. */
static int
find_links(struct chain *ch, const struct process *p)
{
	const char *of = p->id, *id = p->parent_id;
	struct candidate *c = NULL, **slot;
	int err;

	for (; id[0] != '\0'; of = c->id, id = c->parent) {
		if (ch->nlinks == CHAIN_MAX)
			return snap_fail(ch->cx, -E2BIG,
			    "a chain of more than %d increments: merge it in "
			    "parts",
			    CHAIN_MAX);
		err = find(ch, of, id, &c);
		if (err < 0)
			return err;
		slot = process_grow(
		    &ch->links, &ch->nlinks, sizeof(struct candidate *));
		if (slot == NULL)
			return -ENOMEM;
		*slot = c;
	}
	return 0;
}

/* ---- one link ---- */

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
read_link(struct chain *ch, const struct candidate *c, struct family *link)
{
	int dir = open_candidate(c), err;
	const char *name = c->name != NULL ? c->name : c->id;
	char *path;

	if (dir < 0)
		return snap_fail(
		    ch->cx, -errno, "%s: %s", name, strerror(errno));
	if (asprintf(&path, "%s/", name) < 0) {
		close(dir);
		return -ENOMEM;
	}
	err = image_read_link(ch->cx, dir, path, link);
	free(path);
	close(dir);
	for (size_t i = 0; i < link->n; i++)
		forget_contents(link->v[i]);
	if (err == 0 && (strcmp(link->v[0]->id, c->id) != 0 ||
			    strcmp(link->v[0]->parent_id, c->parent) != 0))
		err =
		    snap_fail(ch->cx, -EBADMSG, "checkpoint %s changed", c->id);
	return err;
}

static bool
is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec ||
	       (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* The same process, earlier. */
static int
find_earlier(struct snap_ctx *cx, const struct family *older,
    const struct process *p, struct process **out)
{
	const struct process *first = older->v[0];

	for (size_t i = 0; i < older->n; i++) {
		struct process *q = older->v[i];

		if (strcmp(q->id, p->parent_id) != 0)
			continue;
		if (q->pid != p->pid)
			return snap_fail(cx, -EBADMSG,
			    "the parent of increment %s is of process %d, not "
			    "of %d",
			    p->id, (int)q->pid, (int)p->pid);
		if (!is_before(&q->time, &p->time))
			return snap_fail(cx, -EBADMSG,
			    "the parent of increment %s, %s, is not older than "
			    "it",
			    p->id, q->dir);
		*out = q;
		return 0;
	}
	return snap_fail(cx, -EBADMSG,
	    "the parent of increment %s, of process %d, is not in checkpoint "
	    "%s",
	    p->id, (int)p->pid, first->id);
}

/* ---- whose page is it ---- */

struct resolver {
	struct snap_ctx *cx;
	struct process *child;
	struct process *parent; /* resolved */
	struct run *v;
	size_t n;
	uint32_t *known; /* see process_take_source() */
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

/* What children shared with their parents then: see chain_share.h for now. */
static int
add_earlier(
    struct resolver *r, const struct run *has, uint64_t from, uint64_t end)
{
	struct run *run = add_run(r, has, from, end);
	int err;

	if (run == NULL)
		return -ENOMEM;
	run->up = 0;
	run->former = false;
	if (has->kind != RUN_HELD)
		return 0;
	err = process_take_source(
	    r->child, r->parent, has->src, r->known, &run->src);
	return err != -E2BIG
		   ? err
		   : snap_fail(r->cx, err,
			 "increment %s: the memory of process %d is in more "
			 "than %u images: merge some of them",
			 r->child->id, (int)r->child->pid, PAGES_SOURCES_MAX);
}

/* *at is where to begin looking: runs are in order on both sides. */
static int
take_over(struct resolver *r, const struct run *want, size_t *at)
{
	const struct process *p = r->parent;
	uint64_t from = want->start, end;
	int err;

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
		err = add_earlier(r, has, from, end);
		if (err < 0)
			return err;
	}
	return 0;
}

static int
resolve_runs(struct snap_ctx *cx, struct process *child, struct process *parent)
{
	struct resolver r = { .cx = cx, .child = child, .parent = parent };
	size_t at = 0;
	int err = 0;

	r.known = calloc(parent->nsources + 1, sizeof(*r.known));
	if (r.known == NULL)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < child->nruns; i++) {
		const struct run *run = &child->runs[i];

		if (run->kind == RUN_PARENT)
			err = take_over(&r, run, &at);
		else if (add_run(&r, run, run->start, run->end) == NULL)
			err = -ENOMEM;
	}
	free(r.known);
	if (err < 0) {
		free(r.v);
		return err;
	}
	free(child->runs);
	child->runs = r.v;
	child->nruns = r.n;
	return 0;
}

/* A tree may stand for more pieces of memory than it has lines. */
static int
check_pieces(struct snap_ctx *cx, const struct family *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->v[i]->nruns;
	if (t->n == 1 || n <= COW_PIECES_MAX)
		return 0;
	return snap_fail(cx, -E2BIG,
	    "the memory of increment %s is in more than %u pieces: merge its "
	    "parents",
	    t->v[0]->id, COW_PIECES_MAX);
}

/* What is new since then is held wholly. */
static int
resolve_link(
    struct snap_ctx *cx, struct family *link, const struct family *older)
{
	struct process *q = NULL;
	int err = 0;

	for (size_t i = 0; err == 0 && i < link->n; i++) {
		if (link->v[i]->parent_id[0] == '\0')
			continue;
		err = find_earlier(cx, older, link->v[i], &q);
		if (err == 0)
			err = resolve_runs(cx, link->v[i], q);
	}
	if (err == 0)
		err = cow_resolve_tree(cx, link);
	if (err == 0 && link->n > 1)
		err = chain_share(link);
	return err == 0 ? check_pieces(cx, link) : err;
}

/* ---- whose pages are needed ---- */

#define UNUSED SIZE_MAX

/* One that is needed moves to those above `f`. */
static int
keep(struct family *f, struct process **p, struct image_sums **sums)
{
	struct process *q = *p;
	struct image_sums *s = *sums;

	if (q->index == UNUSED)
		return 0;
	*p = NULL;
	*sums = NULL;
	free(q->runs);
	free(q->former);
	q->runs = q->former = NULL;
	q->nruns = q->nformer = 0;
	return family_add_above(f, q, s);
}

/* Those that are not needed any more, since an increment holds all itself. */
static void
drop_unused(struct family *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->nabove; i++) {
		if (f->above[i]->index == UNUSED) {
			process_free(f->above[i]);
			image_sums_free(f->above_sums[i]);
			continue;
		}
		f->above[n] = f->above[i];
		f->above_sums[n] = f->above_sums[i];
		f->above[n]->index = n;
		n++;
	}
	f->nabove = n;
}

/* `link` is resolved: of `older` and those before it only some are needed. */
static int
keep_used(struct family *f, struct family *older, const struct family *link)
{
	int err = 0;

	for (size_t i = 0; i < f->nabove; i++)
		f->above[i]->index = UNUSED;
	for (size_t i = 0; i < older->n; i++)
		older->v[i]->index = UNUSED;
	for (size_t i = 0; i < older->nabove; i++)
		older->above[i]->index = UNUSED;
	for (size_t i = 0; i < link->n; i++)
		for (size_t k = 0; k < link->v[i]->nsources; k++)
			if (link->v[i]->sources[k]->tree != link)
				link->v[i]->sources[k]->index = 0;
	drop_unused(f);
	for (size_t i = 0; err == 0 && i < older->n; i++)
		err = keep(f, &older->v[i], &older->sums[i]);
	for (size_t i = 0; err == 0 && i < older->nabove; i++)
		err = keep(f, &older->above[i], &older->above_sums[i]);
	return err;
}

/* ---- the chain ---- */

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

/* From the oldest on: each is resolved when the next is read. */
static int
resolve_all(struct chain *ch)
{
	struct family trees[2] = { 0 }, *link, *older = NULL;
	int err = 0;

	for (size_t i = ch->nlinks + 1; err == 0 && i-- > 0; older = link) {
		link = i == 0 ? ch->f : &trees[i % 2];
		if (i > 0)
			err = read_link(ch, ch->links[i - 1], link);
		if (err == 0 && older != NULL)
			err = resolve_link(ch->cx, link, older);
		if (err == 0 && older != NULL)
			err = keep_used(ch->f, older, link);
		if (older != NULL) {
			family_fini(older);
			memset(older, 0, sizeof(*older));
		}
	}
	family_fini(&trees[0]);
	family_fini(&trees[1]);
	for (size_t i = 0; err == 0 && i < ch->f->n; i++)
		ch->f->v[i]->parent_id[0] = '\0';
	return err;
}

int
chain_resolve(struct snap_ctx *cx, int dir, const int *more, size_t nmore,
    struct family *f)
{
	struct chain ch = { .cx = cx, .f = f };
	int above = -1, err;

	err = list_candidates(&ch, dir, more, nmore, &above);
	if (err == 0) {
		mark_used(&ch, f->v[0]);
		err = find_links(&ch, f->v[0]);
	}
	if (err == 0)
		err = resolve_all(&ch);
	if (above >= 0)
		close(above);
	for (size_t i = 0; i < ch.n; i++)
		free(ch.v[i].name);
	free(ch.v);
	free(ch.links);
	return err == -ENOMEM ? snap_fail(cx, err, "no memory") : err;
}
