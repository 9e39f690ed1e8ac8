#include "fileid.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PHDRS 256
#define MAX_NOTES (64u << 10)

/* A file, of which `mem` is the beginning, or memory that looks like one. */
struct source {
	int fd; /* -1: memory alone */
	const uint8_t *mem;
	size_t len;
};

/* 1; 0 if it does not reach so far; -errno. */
static int
get(const struct source *s, void *buf, size_t len, uint64_t off)
{
	ssize_t n;

	if (off <= s->len && len <= s->len - off) {
		memcpy(buf, s->mem + off, len);
		return 1;
	}
	if (s->fd < 0 || off > INT64_MAX - len)
		return 0;
	n = pread(s->fd, buf, len, (off_t)off);
	return n < 0 ? -errno : n == (ssize_t)len;
}

static void
to_hex(const uint8_t *b, size_t n, char *hex)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		hex[2 * i] = digits[b[i] >> 4];
		hex[2 * i + 1] = digits[b[i] & 15];
	}
	hex[2 * n] = '\0';
}

static size_t
align_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* Notes are aligned to 4, or to 8 in a segment that says so. */
static bool
search_notes(const uint8_t *b, size_t len, size_t align, char *hex)
{
	Elf64_Nhdr n;
	size_t at = 0, desc, next;

	while (len - at >= sizeof(n)) {
		memcpy(&n, b + at, sizeof(n));
		if (n.n_namesz > MAX_NOTES || n.n_descsz > MAX_NOTES)
			return false;
		desc = align_up(at + sizeof(n) + n.n_namesz, align);
		next = align_up(desc + n.n_descsz, align);
		if (desc + n.n_descsz > len)
			return false;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 &&
		    memcmp(b + at + sizeof(n), "GNU", 4) == 0 &&
		    n.n_descsz > 0 && n.n_descsz <= FILEID_BUILD_ID_MAX) {
			to_hex(b + desc, n.n_descsz, hex);
			return true;
		}
		if (next > len)
			return false;
		at = next;
	}
	return false;
}

/* 1: found; 0; -errno. */
static int
search_segment(const struct source *s, const Elf64_Phdr *ph, char *hex)
{
	size_t len = ph->p_filesz < MAX_NOTES ? ph->p_filesz : MAX_NOTES;
	uint8_t *b;
	int rc;

	b = malloc(len + 1);
	if (b == NULL)
		return -ENOMEM;
	rc = get(s, b, len, ph->p_offset);
	if (rc > 0)
		rc = search_notes(b, len, ph->p_align == 8 ? 8 : 4, hex);
	free(b);
	return rc;
}

static int
search(const struct source *s, char *hex)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	int rc;

	hex[0] = '\0';
	rc = get(s, &eh, sizeof(eh), 0);
	if (rc <= 0 || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_ident[EI_DATA] != ELFDATA2LSB || eh.e_phentsize != sizeof(ph))
		return rc < 0 ? rc : 0;
	rc = 0;
	for (unsigned i = 0; i < eh.e_phnum && i < MAX_PHDRS && rc == 0; i++) {
		uint64_t off;

		if (__builtin_add_overflow(eh.e_phoff, i * sizeof(ph), &off))
			return 0;
		rc = get(s, &ph, sizeof(ph), off);
		if (rc <= 0)
			return rc;
		rc = ph.p_type == PT_NOTE ? search_segment(s, &ph, hex) : 0;
	}
	return rc < 0 ? rc : 0;
}

int
fileid_build_id(int fd, char hex[2 * FILEID_BUILD_ID_MAX + 1])
{
	/* All that is looked for is there, as a rule. */
	uint8_t head[4096];
	ssize_t n = pread(fd, head, sizeof(head), 0);

	hex[0] = '\0';
	if (n < 0)
		return -errno;
	return search(
	    &(struct source){ .fd = fd, .mem = head, .len = (size_t)n }, hex);
}

int
fileid_build_id_mem(
    const void *image, size_t len, char hex[2 * FILEID_BUILD_ID_MAX + 1])
{
	return search(
	    &(struct source){ .fd = -1, .mem = image, .len = len }, hex);
}

int
fileid_read(int fd, struct mapfile *f)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	f->mtime = st.st_mtim;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	return fileid_build_id(fd, f->build_id);
}

static const char *
difference(const struct mapfile *f, const struct mapfile *now)
{
	if (f->build_id[0] != '\0')
		return strcmp(f->build_id, now->build_id) == 0
			   ? NULL
			   : "is another build of it";
	if (f->size != now->size)
		return "has another size";
	if (f->mtime.tv_sec != now->mtime.tv_sec ||
	    f->mtime.tv_nsec != now->mtime.tv_nsec)
		return "was changed since";
	return NULL;
}

/*
 * A build-id stands for the contents, so that a program may have been
 * installed anew, or on another machine; else the time must be the same.
 */
int
fileid_differs(const struct mapfile *f, int fd, const char **how)
{
	struct mapfile now = { 0 };
	int err;

	*how = NULL;
	err = fileid_read(fd, &now);
	if (err == 0)
		*how = difference(f, &now);
	return err;
}
