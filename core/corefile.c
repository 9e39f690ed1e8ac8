#include "corefile.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <unistd.h>

#include "corefile_notes.h"
#include "text.h"

#define PAGE 4096ull

/* A segment, and where its bytes are: `fd` -1, it has none in the file. */
struct load {
	Elf64_Phdr h;
	int fd;
	uint64_t src_off;
};

struct corefile {
	char *head; /* what comes before the memory: whole pages */
	size_t head_len;
	struct load *v; /* only those that have bytes, by offset */
	size_t n;
	uint64_t size;
};

/* ---- which memory ---- */

struct collector {
	const struct process *p;
	struct load *v;
	size_t n;
	bool failed; /* no memory */
};

static void
add(struct collector *c, const struct vma *v, uint64_t start, uint64_t end,
    uint64_t bytes, int fd, uint64_t src_off)
{
	struct load *s;

	if (start == end)
		return;
	s = process_grow(&c->v, &c->n, sizeof(*s));
	if (s == NULL) {
		c->failed = true;
		return;
	}
	s->h.p_type = PT_LOAD;
	s->h.p_flags = ((v->prot & PROT_READ) != 0 ? PF_R : 0u) |
		       ((v->prot & PROT_WRITE) != 0 ? PF_W : 0u) |
		       ((v->prot & PROT_EXEC) != 0 ? PF_X : 0u);
	s->h.p_vaddr = start;
	s->h.p_memsz = end - start;
	s->h.p_filesz = bytes;
	s->h.p_align = PAGE;
	s->fd = bytes > 0 ? fd : -1;
	s->src_off = src_off;
}

/* The contents of what it maps, if these are in files/ID; else NULL. */
static const struct content *
content_of(const struct process *p, const struct vma *v)
{
	const struct content *c = NULL;
	uint32_t id = v->file >= 0 ? p->mapfiles[v->file].content : 0;

	if (id != 0)
		c = process_content(p, id);
	for (uint32_t up = c == NULL ? 0 : c->up; up > 0; up--)
		p = p->tree->v[p->parent];
	if (c != NULL && c->up > 0)
		c = process_content(p, id);
	return c;
}

/*
 * How many bytes of the vDSO there are: up to the end of its section headers.
 * Behind that, in the twin, may be the code that made it.
 */
static uint64_t
vdso_bytes(const struct process *p, const struct vma *v)
{
	uint64_t size = v->end - v->start;
	Elf64_Ehdr e;

	if (pread(p->pages_fd, &e, sizeof(e), (off_t)v->start) != sizeof(e) ||
	    memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_shoff > size ||
	    e.e_shnum * sizeof(Elf64_Shdr) > size - e.e_shoff)
		return 0;
	return e.e_shoff + e.e_shnum * sizeof(Elf64_Shdr);
}

/* Can the twin read that of it?  And is it the begin of an ELF file? */
static bool
is_elf(const struct process *p, const struct vma *v)
{
	char magic[SELFMAG];

	return (v->prot & PROT_READ) != 0 &&
	       pread(p->pages_fd, magic, SELFMAG, (off_t)v->start) == SELFMAG &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0;
}

/* What of its own the process does not have there. */
static void
add_gap(struct collector *c, const struct vma *v, uint64_t start, uint64_t end)
{
	const struct content *of = content_of(c->p, v);
	uint64_t off = v->offset + (start - v->start), bytes = 0;

	if (start == end)
		return;
	if (of != NULL) {
		bytes = off < of->size ? of->size - off : 0;
		bytes = bytes < end - start ? bytes : end - start;
		add(c, v, start, end, bytes, of->fd, off);
	} else if (v->kind == VMA_VDSO) {
		add(c, v, start, end, vdso_bytes(c->p, v), c->p->pages_fd,
		    start);
	} else if (v->kind == VMA_FILE && start == v->start && v->offset == 0 &&
		   is_elf(c->p, v)) {
		add(c, v, start, start + PAGE, PAGE, c->p->pages_fd, start);
		add(c, v, start + PAGE, end, 0, -1, 0);
	} else {
		add(c, v, start, end, 0, -1, 0);
	}
}

/* Its pages, from the first run on that may be in it. */
static void
add_vma(struct collector *c, const struct vma *v, size_t *first)
{
	const struct process *p = c->p;
	uint64_t at = v->start;

	for (; *first < p->nruns && p->runs[*first].start < v->end;
	     (*first)++) {
		const struct run *r = &p->runs[*first];
		/* What its parent holds for it is its twin's, too. */
		bool twins = r->kind == RUN_INHERITED || r->kind == RUN_FORMER;

		if (r->kind != RUN_HELD && !twins)
			continue;
		if ((v->flags & VMA_F_DONTDUMP) != 0)
			continue;
		add_gap(c, v, at, r->start);
		add(c, v, r->start, r->end, r->end - r->start,
		    twins ? p->pages_fd : r->src_fd,
		    twins ? r->start : r->src_off);
		at = r->end;
	}
	if ((v->flags & VMA_F_DONTDUMP) != 0)
		add(c, v, v->start, v->end, 0, -1, 0);
	else
		add_gap(c, v, at, v->end);
}

/* ---- what comes before it ---- */

/*
 * Where there are more segments than the header can say, the first section
 * header says it (PN_XNUM of elf(5)).
 */
static void
put_headers(struct text *t, const struct collector *c, size_t notes_len)
{
	bool many = c->n + 1 >= PN_XNUM;
	Elf64_Ehdr e = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
		    ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(e),
		.e_ehsize = sizeof(e),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = many ? PN_XNUM : (uint16_t)(c->n + 1),
	};
	Elf64_Shdr s = { .sh_info = (uint32_t)(c->n + 1), .sh_size = 1 };
	Elf64_Phdr notes = { .p_type = PT_NOTE, .p_align = 4 };

	notes.p_offset =
	    sizeof(e) + (c->n + 1) * sizeof(notes) + (many ? sizeof(s) : 0);
	notes.p_filesz = notes_len;
	if (many) {
		e.e_shoff = notes.p_offset - sizeof(s);
		e.e_shentsize = sizeof(s);
		e.e_shnum = 1;
	}
	text_put(t, &e, sizeof(e));
	text_put(t, &notes, sizeof(notes));
	for (size_t i = 0; i < c->n; i++)
		text_put(t, &c->v[i].h, sizeof(c->v[i].h));
	if (many)
		text_put(t, &s, sizeof(s));
}

static uint64_t
whole_pages(uint64_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

/* Where in the file each is; returns the size of that. */
static uint64_t
place(struct collector *c, uint64_t at)
{
	for (size_t i = 0; i < c->n; i++) {
		c->v[i].h.p_offset = at;
		at += whole_pages(c->v[i].h.p_filesz);
	}
	return at;
}

static int
make_head(struct corefile *f, struct collector *c)
{
	static const char zeros[PAGE];
	struct text notes = { 0 }, head = { 0 };
	size_t len = sizeof(Elf64_Ehdr) + sizeof(Elf64_Shdr) +
		     (c->n + 1) * sizeof(Elf64_Phdr);

	corefile_notes(&notes, c->p);
	len = whole_pages(len + notes.len);
	f->size = place(c, len);
	put_headers(&head, c, notes.len);
	text_put(&head, notes.s, notes.len);
	if (!notes.failed && head.len < len)
		text_put(&head, zeros, len - head.len);
	if (notes.failed)
		head.failed = true;
	text_fini(&notes);
	f->head = text_take(&head, &f->head_len);
	return f->head == NULL ? -ENOMEM : 0;
}

struct corefile *
corefile_new(const struct process *p)
{
	struct corefile *f = calloc(1, sizeof(*f));
	struct collector c = { .p = p };
	size_t run = 0;

	for (size_t i = 0; i < p->nvmas; i++)
		add_vma(&c, &p->vmas[i], &run);
	if (f == NULL || c.failed || make_head(f, &c) < 0) {
		free(c.v);
		corefile_free(f);
		return NULL;
	}
	for (size_t i = 0; i < c.n; i++)
		if (c.v[i].h.p_filesz > 0)
			c.v[f->n++] = c.v[i];
	f->v = c.v;
	return f;
}

void
corefile_free(struct corefile *f)
{
	if (f == NULL)
		return;
	free(f->head);
	free(f->v);
	free(f);
}

/* ---- reading ---- */

uint64_t
corefile_size(const struct corefile *f)
{
	return f->size;
}

/* The last segment that begins at or before it. */
static const struct load *
segment_at(const struct corefile *f, uint64_t off)
{
	size_t low = 0, high = f->n;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (f->v[mid].h.p_offset <= off)
			low = mid;
		else
			high = mid;
	}
	return &f->v[low];
}

/* Some of what is asked for, from one source. */
static ssize_t
read_some(const struct corefile *f, void *buf, size_t len, uint64_t off)
{
	const struct load *s;
	uint64_t in, left;
	ssize_t n;

	if (off < f->head_len) {
		left = f->head_len - off;
		len = len < left ? len : left;
		memcpy(buf, f->head + off, len);
		return (ssize_t)len;
	}
	s = segment_at(f, off);
	in = off - s->h.p_offset;
	if (in >= s->h.p_filesz) {
		left = whole_pages(s->h.p_filesz) - in;
		len = len < left ? len : left;
		memset(buf, 0, len);
		return (ssize_t)len;
	}
	left = s->h.p_filesz - in;
	len = len < left ? len : left;
	n = pread(s->fd, buf, len, (off_t)(s->src_off + in));
	if (n == 0) /* the twin's memory is gone */
		return -EIO;
	return n < 0 ? -errno : n;
}

ssize_t
corefile_read(const struct corefile *f, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	if (off >= f->size)
		return 0;
	if (len > f->size - off)
		len = f->size - off;
	while (done < len) {
		n = read_some(f, (char *)buf + done, len - done, off + done);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}
