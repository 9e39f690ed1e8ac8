/*
 * fd_dup - which descriptors are one open file and which are not.
 *
 * variants: musl
 */
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "subject.h"

static bool
same(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b) == 0;
}

int
main(int argc, char **argv)
{
	int fd[3], file, dup1, twice, ev, ev2, p[2], p2;
	const char *path;

	subject_init(argc, argv);
	path = subject_file("file", 100, 1);
	must((file = open(path, O_RDONLY)) >= 0);
	must((dup1 = fcntl(file, F_DUPFD_CLOEXEC, 100)) == 100);
	must((twice = open(path, O_RDONLY)) >= 0);
	must((ev = eventfd(0, 0)) >= 0 && (ev2 = dup(ev)) >= 0);
	must(pipe(p) == 0 && (p2 = dup2(p[1], 55)) == 55);
	/* The lowest number of a group is closed. */
	must((fd[0] = open("/dev/null", O_RDWR)) >= 0);
	must((fd[1] = dup(fd[0])) >= 0 && (fd[2] = dup(fd[0])) >= 0);
	must(close(fd[0]) == 0);

	subject_wait();

	expect(same(file, dup1), "dup of a file");
	expect(!same(file, twice), "a file opened twice");
	expect(same(ev, ev2), "dup of an eventfd");
	expect(same(p[1], p2) && !same(p[0], p[1]), "dup of a pipe");
	expect(same(fd[1], fd[2]), "dup of what was closed");
	must(lseek(file, 50, SEEK_SET) == 50);
	expect(lseek(dup1, 0, SEEK_CUR) == 50, "offset of the dup");
	expect(lseek(twice, 0, SEEK_CUR) == 0, "offset of the other");
	must(lseek(file, 0, SEEK_SET) == 0);
	return subject_done();
}
