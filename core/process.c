#include "process.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msgqueue.h"
#include "seccomp.h"

struct process *
process_new(void)
{
	struct process *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->pages_fd = -1;
	p->frozen_fd = -1;
	p->exe_file = -1;
	return p;
}

static void
thread_fini(struct thread *t)
{
	free(t->xsave);
	free(t->pending.v);
	free(t->affinity);
	free(t->creds.groups);
}

void
openfile_forget(struct openfile *f)
{
	for (size_t i = 0; i < f->nkv; i++) {
		free(f->kv[i].key);
		free(f->kv[i].value);
	}
	free(f->kv);
	f->kv = NULL;
	f->nkv = 0;
}

static void
openfile_fini(struct openfile *f)
{
	openfile_forget(f);
	free(f->target);
}

static void
memory_fini(struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++) {
		free(p->vmas[i].path);
		free(p->vmas[i].numa);
	}
	for (size_t i = 0; i < p->nmapfiles; i++) {
		free(p->mapfiles[i].path);
		free(p->mapfiles[i].segment);
	}
	free(p->vmas);
	free(p->mapfiles);
	free(p->runs);
	free(p->former);
	free(p->sources);
	if (p->pages_fd >= 0)
		close(p->pages_fd);
	if (p->frozen_fd >= 0)
		close(p->frozen_fd);
}

void
process_free(struct process *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->nthreads; i++)
		thread_fini(&p->threads[i]);
	for (size_t i = 0; i < p->nfiles; i++)
		openfile_fini(&p->files[i]);
	for (size_t i = 0; i < p->ncontents; i++)
		if (p->contents[i].fd >= 0)
			close(p->contents[i].fd);
	for (size_t i = 0; i < p->nunsupported; i++) {
		free(p->unsupported[i].what);
		free(p->unsupported[i].why);
	}
	memory_fini(p);
	filters_free(&p->filters);
	free(p->unix_index);
	free(p->threads);
	free(p->files);
	free(p->fds);
	free(p->contents);
	free(p->zombies);
	for (size_t i = 0; i < p->nsemsets; i++)
		free(p->semsets[i].v);
	free(p->semsets);
	free(p->undos);
	for (size_t i = 0; i < p->nqueues; i++)
		msgqueue_fini(&p->queues[i]);
	free(p->queues);
	free(p->prefetch);
	free(p->huge);
	free(p->unsupported);
	free(p->pending.v);
	free(p->timers);
	free(p->dir);
	free(p->kernel);
	free(p->cgroup);
	free(p->cwd);
	free(p->root);
	free(p->exe);
	free(p->auxv);
	free(p->cmdline);
	free(p->environ);
	free(p);
}

/* Capacity is the next power of two, so no array carries one of its own. */
void *
process_grow(void *array, size_t *n, size_t size)
{
	void **v = array;
	void *w;

	if ((*n & (*n - 1)) == 0) {
		w = reallocarray(*v, *n == 0 ? 1 : *n * 2, size);
		if (w == NULL)
			return NULL;
		*v = w;
	}
	w = (char *)*v + *n * size;
	memset(w, 0, size);
	(*n)++;
	return w;
}

int
process_add_run(struct process *p, size_t first, uint64_t start, uint64_t end,
    enum run_kind kind)
{
	struct run *r = p->nruns > first ? &p->runs[p->nruns - 1] : NULL;

	if (r != NULL && r->end == start && r->kind == kind) {
		r->end = end;
		return 0;
	}
	r = process_grow(&p->runs, &p->nruns, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	r->start = start;
	r->end = end;
	r->kind = kind;
	return 0;
}

int
process_add_part(struct run **v, size_t *n, const struct run *of,
    uint64_t start, uint64_t end, enum run_kind kind)
{
	struct run *r = *n > 0 ? &(*v)[*n - 1] : NULL;

	if (start == end)
		return 0;
	if (r != NULL && r->end == start && r->kind == kind &&
	    start > of->start) {
		r->end = end;
		return 0;
	}
	r = process_grow(v, n, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	*r = *of;
	r->start = start;
	r->end = end;
	r->kind = kind;
	r->src_off = of->src_off + (start - of->start);
	return 0;
}

int
process_take_source(struct process *p, struct process *q, uint32_t src,
    uint32_t *known, uint32_t *out)
{
	struct process *owner = src == 0 ? q : q->sources[src - 1], **slot;
	size_t i = 0;

	if (known[src] == 0) {
		while (i < p->nsources && p->sources[i] != owner)
			i++;
		if (i == PAGES_SOURCES_MAX)
			return -E2BIG;
		if (i == p->nsources) {
			slot = process_grow(&p->sources, &p->nsources,
			    sizeof(struct process *));
			if (slot == NULL)
				return -ENOMEM;
			*slot = owner;
		}
		known[src] = (uint32_t)i + 1;
	}
	*out = known[src];
	return 0;
}

size_t
process_run_above(const struct process *p, uint64_t at)
{
	size_t lo = 0, hi = p->nruns;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->runs[mid].end <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int
process_unsupported(struct process *p, const char *what, const char *fmt, ...)
{
	struct unsupported *u;
	va_list ap;
	char *why;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&why, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	u = process_grow(&p->unsupported, &p->nunsupported, sizeof(*u));
	if (u == NULL) {
		free(why);
		return -ENOMEM;
	}
	u->why = why;
	u->what = strdup(what);
	return u->what == NULL ? -ENOMEM : 0;
}

/* Of the whole tree: so no id means two things in it. */
static uint32_t
last_id(const struct process *p)
{
	const struct process *const one[] = { p };
	const struct process *const *v = one;
	uint32_t last = 0;
	size_t n = 1;

	if (p->tree != NULL) {
		v = (const struct process *const *)p->tree->v;
		n = p->tree->n;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < v[i]->ncontents; k++)
			if (v[i]->contents[k].id > last)
				last = v[i]->contents[k].id;
	return last;
}

int
process_add_content(struct process *p, int fd, uint64_t size)
{
	struct content *c;

	c = process_grow(&p->contents, &p->ncontents, sizeof(*c));
	if (c == NULL) {
		close(fd);
		return -ENOMEM;
	}
	c->id = last_id(p) + 1;
	c->fd = fd;
	c->size = size;
	return (int)c->id;
}

const struct content *
process_content(const struct process *p, uint32_t id)
{
	for (size_t i = 0; i < p->ncontents; i++)
		if (p->contents[i].id == id)
			return &p->contents[i];
	return NULL;
}

const char *
openfile_get(const struct openfile *f, const char *key)
{
	for (size_t i = 0; i < f->nkv; i++)
		if (strcmp(f->kv[i].key, key) == 0)
			return f->kv[i].value;
	return NULL;
}

int
openfile_put(struct openfile *f, const char *key, const char *fmt, ...)
{
	struct kv *kv;
	va_list ap;
	int n;

	kv = process_grow(&f->kv, &f->nkv, sizeof(*kv));
	if (kv == NULL)
		return -ENOMEM;
	va_start(ap, fmt);
	n = vasprintf(&kv->value, fmt, ap);
	va_end(ap);
	if (n < 0)
		kv->value = NULL;
	kv->key = strdup(key);
	return n < 0 || kv->key == NULL ? -ENOMEM : 0;
}
