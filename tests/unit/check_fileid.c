/*
 * Build-ids: of a real file, and of ELF files that no linker made.
 */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fault.h"
#include "fileid.h"
#include "unit.h"

#define ID_LEN 20

/* The smallest file with a note: header, one segment, the note. */
static struct elf {
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	Elf64_Nhdr other;
	char other_name[4], other_desc[8];
	Elf64_Nhdr nh;
	char name[4];
	uint8_t id[ID_LEN];
} good;

static void
set_up(void)
{
	memset(&good, 0, sizeof(good));
	memcpy(good.eh.e_ident, ELFMAG, SELFMAG);
	good.eh.e_ident[EI_CLASS] = ELFCLASS64;
	good.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	good.eh.e_phoff = offsetof(struct elf, ph);
	good.eh.e_phentsize = sizeof(Elf64_Phdr);
	good.eh.e_phnum = 1;
	good.ph.p_type = PT_NOTE;
	good.ph.p_offset = offsetof(struct elf, other);
	good.ph.p_filesz = sizeof(good) - offsetof(struct elf, other);
	good.ph.p_align = 4;
	good.other = (Elf64_Nhdr){ 4, 8, 99 };
	memcpy(good.other_name, "abc", 4);
	good.nh = (Elf64_Nhdr){ 4, ID_LEN, NT_GNU_BUILD_ID };
	memcpy(good.name, "GNU", 4);
	memset(good.id, 0xab, ID_LEN);
}

static const char *
id_of(const void *image, size_t len)
{
	static char hex[2 * FILEID_BUILD_ID_MAX + 1];
	char *copy = malloc(len + 1); /* so that ASan sees its end */

	memcpy(copy, image, len);
	ck_assert_int_eq(fileid_build_id_mem(copy, len, hex), 0);
	free(copy);
	return hex;
}

START_TEST(of_memory)
{
	ck_assert_uint_eq(strlen(id_of(&good, sizeof(good))), 2 * ID_LEN);
	ck_assert_int_eq(strspn(id_of(&good, sizeof(good)), "ab"), 2 * ID_LEN);
}
END_TEST

START_TEST(cut)
{
	for (size_t len = 0; len < sizeof(good); len++)
		ck_assert_str_eq(id_of(&good, len), "");
}
END_TEST

START_TEST(lying)
{
	struct elf e;

	e = good, e.eh.e_phoff = UINT64_MAX - 8;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.eh.e_phnum = 65535;
	e.ph.p_type = PT_LOAD;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.eh.e_phentsize = 1;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.ph.p_offset = UINT64_MAX;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.ph.p_filesz = UINT64_MAX;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.other.n_namesz = UINT32_MAX;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.other.n_descsz = UINT32_MAX - 3;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.nh.n_descsz = 0;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
	e = good, e.nh.n_descsz = ID_LEN + 8;
	ck_assert_str_eq(id_of(&e, sizeof(e)), "");
}
END_TEST

START_TEST(random_bytes)
{
	struct elf e;

	srand(7);
	for (int i = 0; i < 100000; i++) {
		e = good;
		for (int k = rand() % 4; k >= 0; k--)
			((uint8_t *)&e)[(size_t)rand() % sizeof(e)] =
			    (uint8_t)(rand() % 5 == 0 ? 255 : rand());
		id_of(&e, sizeof(e));
	}
}
END_TEST

START_TEST(of_the_vdso)
{
	const void *vdso = (const void *)getauxval(AT_SYSINFO_EHDR);
	char hex[2 * FILEID_BUILD_ID_MAX + 1];

	if (vdso == NULL)
		return;
	ck_assert_int_eq(fileid_build_id_mem(vdso, 4096, hex), 0);
	ck_assert_uint_ge(strlen(hex), 32);
}
END_TEST

static int
temporary(const void *bytes, size_t len)
{
	int fd = memfd_create("fileid", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	return fd;
}

static const char *
difference(const struct mapfile *f, int fd)
{
	const char *how;

	ck_assert_int_eq(fileid_differs(f, fd, &how), 0);
	return how;
}

START_TEST(differences)
{
	int elf = temporary(&good, sizeof(good)), text = temporary("ab", 2);
	struct mapfile f = { 0 };
	struct timespec at[2] = { { 1, 0 }, { 1, 0 } };

	ck_assert_int_eq(fileid_read(elf, &f), 0);
	ck_assert_uint_eq(f.size, sizeof(good));
	ck_assert_ptr_null(difference(&f, elf));
	ck_assert_ptr_nonnull(difference(&f, text));
	/* installed anew: the time is another, the build is not */
	futimens(elf, at);
	ck_assert_ptr_null(difference(&f, elf));
	good.id[0] = 0;
	ck_assert_int_eq(pwrite(elf, &good, sizeof(good), 0), sizeof(good));
	ck_assert_str_eq(difference(&f, elf), "is another build of it");

	memset(&f, 0, sizeof(f));
	ck_assert_int_eq(fileid_read(text, &f), 0);
	ck_assert_ptr_null(difference(&f, text));
	futimens(text, at);
	ck_assert_str_eq(difference(&f, text), "was changed since");
	ck_assert_int_eq(write(text, "c", 1), 1);
	ck_assert_str_eq(difference(&f, text), "has another size");
	close(elf);
	close(text);
}
END_TEST

/* That it cannot be told is not that it is another one. */
START_TEST(unreadable)
{
	char hex[2 * FILEID_BUILD_ID_MAX + 1];
	int elf = temporary(&good, sizeof(good)), dir = open("/", O_RDONLY);
	struct mapfile f = { 0 };
	const char *how;

	ck_assert_int_ge(dir, 0);
	ck_assert_int_eq(fileid_read(elf, &f), 0);
	ck_assert_int_eq(fileid_differs(&f, dir, &how), -EISDIR);
	ck_assert_int_eq(fileid_build_id(dir, hex), -EISDIR);
#ifdef SNAPFS_FAULTS
	struct fault_plan plan = { .classes = FAULT_MEMORY, .at = 1 };

	fault_use(&plan);
	ck_assert_int_eq(fileid_differs(&f, elf, &how), -ENOMEM);
	plan = (struct fault_plan){ .classes = FAULT_MEMORY, .at = 1 };
	ck_assert_int_eq(
	    fileid_build_id_mem(&good, sizeof(good), hex), -ENOMEM);
	fault_use(NULL);
#endif
	close(elf);
	close(dir);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("fileid");
	TCase *t = tcase_create("fileid");

	tcase_add_checked_fixture(t, set_up, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, of_memory);
	tcase_add_test(t, cut);
	tcase_add_test(t, lying);
	tcase_add_test(t, random_bytes);
	tcase_add_test(t, of_the_vdso);
	tcase_add_test(t, differences);
	tcase_add_test(t, unreadable);
	suite_add_tcase(s, t);
	return unit_run(s);
}
