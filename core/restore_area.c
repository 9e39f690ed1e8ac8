/*
 * restore_area.c - put a plan where the new process will carry it out: see
 * the picture in restorer.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_tree.h"

#define PAGE 4096ull

extern const char restorer_code[], restorer_code_end[];

static uint64_t
align_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Another process of the tree has it in its area already: 1, 0 or -errno. */
static int
share_object(struct restore *r, uint32_t content, const struct moved *m)
{
	struct restore_tree *t = r->tree;
	uint8_t *to = r->map + m->off;
	struct made *made;

	for (size_t i = 0; i < t->nmade; i++) {
		if (t->made[i].content != content)
			continue;
		/* From length 0: another mapping of the same memory. */
		if (mremap(t->made[i].at, 0, m->len,
			MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED)
			return snap_fail(r->cx, -errno, "shared memory: %s",
			    strerror(errno));
		return 1;
	}
	made = process_grow(&t->made, &t->nmade, sizeof(*made));
	if (made == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	made->content = content;
	made->at = to;
	return 0;
}

/* One object of shared memory, with its bytes but without its holes. */
static int
fill_object(struct restore *r, const struct moved *m)
{
	const struct mapfile *f = &r->p->mapfiles[m->file];
	const struct content *c = family_content(r->p, f->content);
	uint8_t *to = r->map + m->off;
	off_t data, hole;
	ssize_t n;
	int err;

	if (mmap(to, m->len, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED | m->flags, -1,
		0) == MAP_FAILED)
		return snap_fail(r->cx, -errno,
		    "%" PRIu64 " bytes of shared memory: %s", m->len,
		    strerror(errno));
	if (c == NULL)
		return 0;
	err = share_object(r, c->id, m);
	if (err != 0)
		return err < 0 ? err : 0;
	if (c->size > m->len)
		return snap_fail(r->cx, -EBADMSG,
		    "files/%u is longer than the memory it is for", c->id);
	for (data = 0; (data = lseek(c->fd, data, SEEK_DATA)) >= 0;) {
		hole = lseek(c->fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole > c->size)
			hole = (off_t)c->size;
		while (data < hole) {
			n = pread(
			    c->fd, to + data, (size_t)(hole - data), data);
			if (n <= 0)
				return snap_fail(r->cx,
				    n < 0 ? -errno : -EBADMSG, "files/%u: %s",
				    c->id,
				    n < 0 ? strerror(errno) : "cut short");
			data += n;
		}
		if ((uint64_t)data >= c->size)
			break;
	}
	return 0;
}

/* Offsets become addresses. */
static void
relocate(struct restore *r, struct op *ops, uint8_t *data)
{
	const struct plan *pl = r->plan;
	uint64_t start = (uint64_t)r->map, v;

	for (size_t i = 0; i < pl->nrelocs; i++) {
		memcpy(&v, data + pl->relocs[i], sizeof(v));
		v += start;
		memcpy(data + pl->relocs[i], &v, sizeof(v));
	}
	for (size_t i = 0; i < pl->nops; i++)
		for (int k = 0; k < 6; k++)
			if (ops[i].rel & 1 << k)
				ops[i].args[k] += start;
}

static void
place(
    struct restore *r, uint64_t ops_off, uint64_t lanes_off, uint64_t area_off)
{
	const struct plan *pl = r->plan;
	struct area *a = (struct area *)(r->map + area_off);

	if (pl->ndata > 0)
		memcpy(r->map + pl->data_off, pl->data, pl->ndata);
	memcpy(r->map + ops_off, pl->ops, pl->nops * sizeof(struct op));
	memcpy(r->map + lanes_off, pl->lanes, pl->nlanes * sizeof(struct lane));
	relocate(r, (struct op *)(r->map + ops_off), r->map + pl->data_off);
	a->start = (uint64_t)r->map;
	a->end = a->start + r->map_len;
	a->ops = (struct op *)(r->map + ops_off);
	a->lanes = (struct lane *)(r->map + lanes_off);
	a->nlanes = (uint32_t)pl->nlanes;
	a->serves = r->host.part == PLAN_TEMPLATE;
	if (a->serves)
		a->spare_stack =
		    a->start + pl->stacks_off + r->p->nthreads * LANE_STACK;
	r->area = a;
}

/* The area of an instance reaches it as a descriptor. */
static int
area_file(struct restore *r)
{
	r->area_fd = memfd_create("snapfs", MFD_CLOEXEC);
	if (r->area_fd < 0 || ftruncate(r->area_fd, (off_t)r->map_len) < 0)
		return snap_fail(r->cx, -errno,
		    "%zu bytes for the restorer: %s", r->map_len,
		    strerror(errno));
	return 0;
}

int
restore_area(struct restore *r)
{
	const struct plan *pl = r->plan;
	uint64_t code_len = (uint64_t)(restorer_code_end - restorer_code);
	uint64_t ops = align_up(pl->data_off + pl->ndata, 64);
	uint64_t lanes = align_up(ops + pl->nops * sizeof(struct op), 64);
	uint64_t area = align_up(lanes + pl->nlanes * sizeof(struct lane), 64);
	uint64_t code = align_up(area + sizeof(struct area), PAGE);
	uint64_t at;
	int err = 0;

	r->map_len = align_up(code + code_len, PAGE);
	at = layout_hole(&r->self, r->p, r->map_len);
	if (at == 0)
		return snap_fail(r->cx, -ENOMEM,
		    "no %zu bytes of address space that neither the image nor "
		    "snapfs uses",
		    r->map_len);
	err = r->host.part == PLAN_INSTANCE ? area_file(r) : 0;
	if (err < 0)
		return err;
	r->map = mmap((void *)at, r->map_len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE |
		(r->area_fd < 0 ? MAP_ANONYMOUS : 0),
	    r->area_fd, 0);
	if (r->map == MAP_FAILED || (uint64_t)r->map != at) {
		err = errno;
		r->map = NULL;
		return snap_fail(r->cx, -err, "%zu bytes for the restorer: %s",
		    r->map_len, strerror(err));
	}
	for (size_t i = 0; i < pl->nmoved && err == 0; i++) {
		const struct moved *m = &pl->moved[i];

		if (m->file >= 0)
			err = r->p->mapfiles[m->file].segment != NULL
				  ? restore_segment(r, m)
				  : fill_object(r, m);
	}
	if (err < 0)
		return err;
	place(r, ops, lanes, area);
	if (r->host.part == PLAN_INSTANCE)
		return 0; /* the template has the code */
	memcpy(r->map + code, restorer_code, code_len);
	r->entry = at + code;
	if (mprotect(r->map + code, align_up(code_len, PAGE),
		PROT_READ | PROT_EXEC) < 0)
		return snap_fail(r->cx, -errno,
		    "making the restorer executable: %s", strerror(errno));
	return 0;
}

void
restore_area_free(struct restore *r)
{
	if (r->map != NULL)
		munmap(r->map, r->map_len);
	r->map = NULL;
	r->area = NULL;
}
