/*
 * check_corefile.c - an ELF core file of a process made by hand: its headers,
 * and the bytes that it has at any offset.
 */
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "corefile.h"

#define PAGE 4096u
#define START 0x10000000u
#define MANY 70000u /* more than a header can say */

/* `held` pages, every second one of a mapping, each full of its number. */
static struct process *
striped(uint32_t held)
{
	struct process *p = process_new();
	struct thread *th =
	    process_grow(&p->threads, &p->nthreads, sizeof(*th));
	struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));
	uint32_t page[PAGE / 4];

	p->pid = th->tid = 4711;
	th->regs.rip = 0x123456;
	strcpy(th->comm, "striped");
	v->start = START;
	v->end = START + 2 * (uint64_t)held * PAGE;
	v->prot = PROT_READ;
	v->kind = VMA_ANON;
	v->file = -1;
	p->frozen_fd = memfd_create("pages", MFD_CLOEXEC);
	for (uint32_t i = 0; i < held; i++) {
		struct run *r = process_grow(&p->runs, &p->nruns, sizeof(*r));

		r->start = START + 2 * (uint64_t)i * PAGE;
		r->end = r->start + PAGE;
		r->src_fd = p->frozen_fd;
		r->src_off = (uint64_t)i * PAGE;
		for (size_t k = 0; k < PAGE / 4; k++)
			page[k] = i;
		ck_assert_int_eq(write(p->frozen_fd, page, PAGE), PAGE);
	}
	return p;
}

static void
get(const struct corefile *c, void *buf, size_t len, uint64_t off)
{
	ck_assert_int_eq(corefile_read(c, buf, len, off), (ssize_t)len);
}

/* The number of segments, wherever that is said. */
static uint32_t
segments(const struct corefile *c, uint64_t *table)
{
	Elf64_Ehdr e;
	Elf64_Shdr s;

	get(c, &e, sizeof(e), 0);
	ck_assert_mem_eq(e.e_ident, ELFMAG, SELFMAG);
	ck_assert_uint_eq(e.e_type, ET_CORE);
	*table = e.e_phoff;
	if (e.e_phnum != PN_XNUM)
		return e.e_phnum;
	ck_assert_uint_eq(e.e_shnum, 1);
	get(c, &s, sizeof(s), e.e_shoff);
	return s.sh_info;
}

static void
check_striped(uint32_t held)
{
	struct process *p = striped(held);
	struct corefile *c = corefile_new(p);
	uint64_t table, end = 0;
	uint32_t n, word;
	Elf64_Phdr h;

	ck_assert_ptr_nonnull(c);
	n = segments(c, &table);
	ck_assert_uint_eq(n, 1 + 2 * held);
	for (uint32_t i = 0; i < 2 * held; i++) {
		get(c, &h, sizeof(h), table + (i + 1) * sizeof(h));
		ck_assert_uint_eq(h.p_type, PT_LOAD);
		ck_assert_uint_eq(h.p_flags, PF_R);
		ck_assert_uint_eq(h.p_vaddr, START + (uint64_t)i * PAGE);
		ck_assert_uint_eq(h.p_memsz, PAGE);
		ck_assert_uint_eq(h.p_filesz, i % 2 == 0 ? PAGE : 0);
		ck_assert_uint_eq(h.p_offset % PAGE, 0);
		if (i % 2 == 1)
			continue;
		get(c, &word, sizeof(word), h.p_offset + PAGE - sizeof(word));
		ck_assert_uint_eq(word, i / 2);
		end = h.p_offset + PAGE;
	}
	ck_assert_uint_eq(corefile_size(c), end);
	ck_assert_int_eq(corefile_read(c, &word, sizeof(word), end), 0);
	ck_assert_int_eq(corefile_read(c, &word, sizeof(word), end - 1), 1);
	corefile_free(c);
	process_free(p);
}

START_TEST(few)
{
	check_striped(3);
}
END_TEST

START_TEST(more_than_the_header_can_say)
{
	check_striped(MANY / 2);
}
END_TEST

/* Of all pieces it is the same as of one. */
START_TEST(in_pieces)
{
	struct process *p = striped(3);
	struct corefile *c = corefile_new(p);
	size_t size = corefile_size(c), at = 0;
	char *whole = malloc(size), *pieces = malloc(size);

	get(c, whole, size, 0);
	for (size_t len = 1; at < size; len = len * 7 % 5003 + 1) {
		if (len > size - at)
			len = size - at;
		get(c, pieces + at, len, at);
		at += len;
	}
	ck_assert(memcmp(whole, pieces, size) == 0);
	free(whole);
	free(pieces);
	corefile_free(c);
	process_free(p);
}
END_TEST

/* The twin is gone: an error, and no zeros. */
START_TEST(without_its_memory)
{
	struct process *p = striped(3);
	struct corefile *c = corefile_new(p);
	char byte;

	ck_assert_int_eq(ftruncate(p->frozen_fd, 0), 0);
	ck_assert_int_eq(
	    corefile_read(c, &byte, 1, corefile_size(c) - 1), -EIO);
	corefile_free(c);
	process_free(p);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("corefile");
	TCase *tc = tcase_create("corefile");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, few);
	tcase_add_test(tc, more_than_the_header_can_say);
	tcase_add_test(tc, in_pieces);
	tcase_add_test(tc, without_its_memory);
	suite_add_tcase(s, tc);
	return unit_run(s);
}
