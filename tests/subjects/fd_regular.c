/*
 * fd_regular - regular files: offsets, flags, close-on-exec, and that writing
 * goes on where it was.
 *
 * variants: musl
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	int rd, wr, rw, sync, end, high;
	char buf[8192];
	const char *path;
	struct stat st;

	subject_init(argc, argv);
	path = subject_file("data", 8192, 3);
	must((rd = open(path, O_RDONLY | O_CLOEXEC)) >= 0);
	must(lseek(rd, 4096, SEEK_SET) == 4096);
	must((wr = open(subject_path("out"), O_WRONLY | O_CREAT, 0640)) >= 0);
	must(write(wr, "first ", 6) == 6);
	must((rw = open(path, O_RDWR | O_NOATIME | O_NONBLOCK)) >= 0);
	must((sync = open(path, O_RDWR | O_DSYNC | O_NOFOLLOW)) >= 0);
	must((end = open(path, O_RDONLY)) >= 0);
	must(lseek(end, 1000000, SEEK_SET) == 1000000);
	must((high = fcntl(rd, F_DUPFD, 700)) >= 700);

	subject_wait();

	must(read(rd, buf, 4096) == 4096);
	subject_filled("read", buf, 4096, 3 + 1);
	expect(lseek(high, 0, SEEK_CUR) == 8192, "700 has not the same offset");
	must(write(wr, "second", 6) == 6);
	must(fstat(wr, &st) == 0);
	expect(st.st_size == 12, "the written file has %lld bytes",
	    (long long)st.st_size);
	must(pread(open(subject_path("out"), O_RDONLY | O_CLOEXEC), buf, 12,
		 0) == 12);
	expect(memcmp(buf, "first second", 12) == 0, "the written file");
	expect(read(end, buf, 1) == 0, "read past the end");
	expect(fcntl(rd, F_GETFD) == FD_CLOEXEC && fcntl(wr, F_GETFD) == 0,
	    "close-on-exec");
	expect((fcntl(rw, F_GETFL) & (O_NOATIME | O_NONBLOCK)) ==
		   (O_NOATIME | O_NONBLOCK),
	    "O_NOATIME and O_NONBLOCK");
	expect((fcntl(sync, F_GETFL) & O_DSYNC) == O_DSYNC, "O_DSYNC");
	subject_forget();
	return subject_done();
}
