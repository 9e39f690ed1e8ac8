/*
 * fd_flock - flock(2) locks, exclusive and shared.
 *
 * clones: refused
 */
#include <sys/file.h>

#include "lock.h"

static int
try(const char *path, long how)
{
	int fd = open(path, O_RDONLY);

	return fd >= 0 && flock(fd, (int)how | LOCK_NB) == 0;
}

int
main(int argc, char **argv)
{
	const char *ex, *sh, *none;
	int a, b, c, d;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	ex = subject_file("exclusive", 1, 1);
	sh = subject_file("shared", 1, 1);
	none = subject_file("none", 1, 1);
	must((a = open(ex, O_RDWR)) >= 0 && flock(a, LOCK_EX) == 0);
	must((b = open(sh, O_RDONLY)) >= 0 && flock(b, LOCK_SH) == 0);
	must((c = open(sh, O_RDONLY)) >= 0 && flock(c, LOCK_SH) == 0);
	must((d = open(none, O_RDONLY)) >= 0);

	subject_wait();

	expect(!in_child(try, ex, LOCK_SH), "the exclusive lock is gone");
	expect(!in_child(try, sh, LOCK_EX), "the shared lock is gone");
	expect(in_child(try, sh, LOCK_SH), "the shared lock is exclusive");
	expect(in_child(try, none, LOCK_EX), "a lock that was not there");
	must(flock(b, LOCK_UN) == 0);
	expect(!in_child(try, sh, LOCK_EX), "two shared locks were one");
	must(flock(c, LOCK_UN) == 0);
	expect(in_child(try, sh, LOCK_EX), "the lock belongs to nobody");
	return subject_done();
}
