/*
 * fd_deleted - files without a name: deleted ones, O_TMPFILE ones, open once
 * and twice, with their contents.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "subject.h"

static void
check(const char *what, int fd, unsigned seed, off_t at)
{
	char buf[8192];
	struct stat st;

	expect(lseek(fd, 0, SEEK_CUR) == at, "%s: offset is %lld", what,
	    (long long)lseek(fd, 0, SEEK_CUR));
	must(fstat(fd, &st) == 0);
	expect(
	    st.st_size == 8192, "%s: %lld bytes", what, (long long)st.st_size);
	expect(st.st_nlink == 0, "%s: has a name", what);
	expect(pread(fd, buf, 8192, 0) == 8192, "%s: read", what);
	subject_filled(what, buf, 4096, seed);
	subject_filled(what, buf + 4096, 4096, seed + 1);
}

int
main(int argc, char **argv)
{
	static char buf[8192];
	int a, ro, both[2], tmp;
	const char *path;

	subject_init(argc, argv);
	subject_allow(SUBJECT_FDS);
	path = subject_file("a", 8192, 10);
	must((a = open(path, O_RDWR)) >= 0);
	must(lseek(a, 100, SEEK_SET) == 100);
	must(unlink(path) == 0);
	path = subject_file("ro", 8192, 20);
	must((ro = open(path, O_RDONLY)) >= 0);
	must(unlink(path) == 0);
	path = subject_file("both", 8192, 30);
	must((both[0] = open(path, O_RDWR)) >= 0);
	must((both[1] = open(path, O_RDONLY)) >= 0);
	must(unlink(path) == 0);
	must((tmp = open(subject_path("."), O_TMPFILE | O_RDWR, 0600)) >= 0);
	subject_fill(buf, 4096, 40);
	subject_fill(buf + 4096, 4096, 41);
	must(write(tmp, buf, 8192) == 8192);

	subject_wait();

	check("deleted", a, 10, 100);
	check("deleted, read-only", ro, 20, 0);
	check("deleted, twice", both[0], 30, 0);
	check("deleted, twice", both[1], 30, 0);
	check("O_TMPFILE", tmp, 40, 8192);
	expect((fcntl(ro, F_GETFL) & O_ACCMODE) == O_RDONLY, "access mode");
	must(pwrite(both[0], "new", 3, 0) == 3);
	must(pread(both[1], buf, 3, 0) == 3);
	expect(memcmp(buf, "new", 3) == 0, "they are no longer one file");
	return subject_done();
}
