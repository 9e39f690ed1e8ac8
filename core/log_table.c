/*
 * log_table.c - where the formats of log calls are: in this program, or in the
 * file of one, which is untrusted.
 */
#include "snap_log.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTIONS_MAX 4096u
#define SECTION_MAX (4u << 20)

/* ---- build-id ---- */

/* Find it among notes; both in a program and in its file. */
static void
find_build_id(struct snap_log_table *t, const char *notes, size_t size)
{
	ElfW(Nhdr) n;
	size_t at = 0, name, desc;

	while (size - at >= sizeof(n)) {
		memcpy(&n, notes + at, sizeof(n));
		name = at + sizeof(n);
		if (n.n_namesz > size - name)
			return;
		desc = name + (n.n_namesz + 3u) / 4 * 4;
		if (desc > size || n.n_descsz > size - desc)
			return;
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == 4 &&
		    memcmp(notes + name, "GNU", 4) == 0 &&
		    n.n_descsz <= sizeof(t->build_id)) {
			memcpy(t->build_id, notes + desc, n.n_descsz);
			t->build_id_len = n.n_descsz;
			return;
		}
		at = desc + (n.n_descsz + 3u) / 4 * 4;
		if (at > size)
			return;
	}
}

/* The program itself comes first. */
static int
notes_of_program(struct dl_phdr_info *info, size_t size, void *t)
{
	const ElfW(Phdr) * p;

	(void)size;
	for (p = info->dlpi_phdr; p < info->dlpi_phdr + info->dlpi_phnum; p++)
		if (p->p_type == PT_NOTE)
			find_build_id(t,
			    (const char *)(uintptr_t)(info->dlpi_addr +
						      p->p_vaddr),
			    p->p_memsz);
	return 1;
}

void
snap_log_table_own(struct snap_log_table *t)
{
	*t = (struct snap_log_table){
		.formats = snap_log_begin,
		.size = (size_t)(snap_log_end - snap_log_begin),
	};
	dl_iterate_phdr(notes_of_program, t);
}

/* ---- a file ---- */

struct elf {
	int fd;
	Elf64_Ehdr head;
	Elf64_Shdr *sections;
	char *names;
	size_t names_size;
};

/* As much as is asked for, or NULL. */
static void *
read_part(int fd, uint64_t off, uint64_t size, uint64_t max)
{
	char *buf;
	size_t at = 0;
	ssize_t n;

	if (size == 0 || size > max || off > INT64_MAX - size)
		return NULL;
	buf = malloc(size);
	while (buf != NULL && at < size) {
		n = pread(fd, buf + at, size - at, (off_t)(off + at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(buf);
			return NULL;
		}
		at += (size_t)n;
	}
	return buf;
}

/* The bytes of a section, or NULL. */
static char *
read_section(const struct elf *e, const Elf64_Shdr *s)
{
	return s->sh_type == SHT_NOBITS
		   ? NULL
		   : read_part(e->fd, s->sh_offset, s->sh_size, SECTION_MAX);
}

static const char *
open_elf(struct elf *e, int fd)
{
	const Elf64_Shdr *names;

	e->fd = fd;
	if (pread(fd, &e->head, sizeof(e->head), 0) !=
		(ssize_t)sizeof(e->head) ||
	    memcmp(e->head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    e->head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    e->head.e_shentsize != sizeof(Elf64_Shdr))
		return "it is no 64-bit program";
	if (e->head.e_shnum == 0 || e->head.e_shnum > SECTIONS_MAX ||
	    e->head.e_shstrndx >= e->head.e_shnum)
		return "it has no section headers";
	e->sections =
	    read_part(fd, e->head.e_shoff, e->head.e_shnum * sizeof(Elf64_Shdr),
		SECTIONS_MAX * sizeof(Elf64_Shdr));
	if (e->sections == NULL)
		return "its section headers cannot be read";
	names = &e->sections[e->head.e_shstrndx];
	e->names = read_section(e, names);
	e->names_size = names->sh_size;
	if (e->names == NULL || e->names[e->names_size - 1] != '\0')
		return "the names of its sections cannot be read";
	return NULL;
}

static const char *
read_sections(struct snap_log_table *t, const struct elf *e)
{
	for (size_t i = 0; i < e->head.e_shnum; i++) {
		const Elf64_Shdr *s = &e->sections[i];
		/* The first of that name, whatever its type. */
		bool formats =
		    t->owned == NULL && s->sh_name < e->names_size &&
		    strcmp(e->names + s->sh_name, SNAP_LOG_SECTION) == 0;
		char *text;

		if (!formats && s->sh_type != SHT_NOTE)
			continue;
		text = read_section(e, s);
		if (text == NULL)
			continue;
		if (formats && text[s->sh_size - 1] == '\0') {
			t->formats = t->owned = text;
			t->size = s->sh_size;
			continue;
		}
		find_build_id(t, text, s->sh_size);
		free(text);
	}
	return t->owned == NULL ? "it has no formats of log lines" : NULL;
}

int
snap_log_table_read(struct snap_log_table *t, int fd, char *why, size_t whysize)
{
	struct elf e = { .fd = -1 };
	const char *wrong;

	*t = (struct snap_log_table){ 0 };
	wrong = open_elf(&e, fd);
	if (wrong == NULL)
		wrong = read_sections(t, &e);
	free(e.sections);
	free(e.names);
	if (wrong == NULL)
		return 0;
	snprintf(why, whysize, "%s", wrong);
	snap_log_table_fini(t);
	return -EBADMSG;
}

void
snap_log_table_fini(struct snap_log_table *t)
{
	free(t->owned);
	*t = (struct snap_log_table){ 0 };
}
