/*
 * hold_elf.c - where a function is in an ELF file.  The file is anybody's.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "hold.h"

#define MAX_TABLE (512ull << 20) /* bytes of a symbol or string table */
#define MAX_HEADERS 4096u
#define PAGE 4096ull

static bool
read_at(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pread(
		    fd, (char *)buf + done, len - done, (off_t)(off + done));
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

/* A table of the file, to be freed, with a NUL behind it. */
static void *
read_table(int fd, uint64_t off, uint64_t size)
{
	char *v;

	if (size > MAX_TABLE || off > INT64_MAX - size)
		return NULL;
	v = malloc(size + 1);
	if (v == NULL || !read_at(fd, v, size, off)) {
		free(v);
		return NULL;
	}
	v[size] = '\0';
	return v;
}

static bool
find_lowest(int fd, const Elf64_Ehdr *eh, uint64_t *lowest)
{
	Elf64_Phdr *ph;

	*lowest = UINT64_MAX;
	if (eh->e_phentsize != sizeof(*ph) || eh->e_phnum > MAX_HEADERS)
		return false;
	ph = read_table(fd, eh->e_phoff, eh->e_phnum * sizeof(*ph));
	for (unsigned i = 0; ph != NULL && i < eh->e_phnum; i++)
		if (ph[i].p_type == PT_LOAD && ph[i].p_vaddr < *lowest)
			*lowest = ph[i].p_vaddr & ~(PAGE - 1);
	free(ph);
	return *lowest != UINT64_MAX;
}

static bool
search(const Elf64_Sym *sym, size_t n, const char *str, uint64_t strsize,
    const char *name, uint64_t *address)
{
	for (size_t i = 0; i < n; i++) {
		if (ELF64_ST_TYPE(sym[i].st_info) != STT_FUNC ||
		    sym[i].st_shndx == SHN_UNDEF || sym[i].st_name >= strsize ||
		    strcmp(str + sym[i].st_name, name) != 0)
			continue;
		*address = sym[i].st_value;
		return true;
	}
	return false;
}

static bool
search_section(int fd, const Elf64_Shdr *s, const Elf64_Shdr *strings,
    const char *name, uint64_t *address)
{
	Elf64_Sym *sym = read_table(fd, s->sh_offset, s->sh_size);
	char *str = read_table(fd, strings->sh_offset, strings->sh_size);
	bool found = sym != NULL && str != NULL &&
		     search(sym, s->sh_size / sizeof(*sym), str,
			 strings->sh_size, name, address);

	free(sym);
	free(str);
	return found;
}

bool
hold_elf_symbol(int fd, const char *name, uint64_t *address, uint64_t *lowest)
{
	Elf64_Ehdr eh;
	Elf64_Shdr *sh;
	bool found = false;

	if (!read_at(fd, &eh, sizeof(eh), 0) ||
	    memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	    eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    !find_lowest(fd, &eh, lowest) || eh.e_shentsize != sizeof(*sh) ||
	    eh.e_shnum > MAX_HEADERS)
		return false;
	sh = read_table(fd, eh.e_shoff, eh.e_shnum * sizeof(*sh));
	for (unsigned i = 0; sh != NULL && i < eh.e_shnum && !found; i++)
		if ((sh[i].sh_type == SHT_SYMTAB ||
			sh[i].sh_type == SHT_DYNSYM) &&
		    sh[i].sh_link < eh.e_shnum)
			found = search_section(
			    fd, &sh[i], &sh[sh[i].sh_link], name, address);
	free(sh);
	return found;
}
