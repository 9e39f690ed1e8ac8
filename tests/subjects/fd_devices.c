/*
 * fd_devices - /dev/null and its like.
 *
 * variants: musl
 */
#include <fcntl.h>

#include "subject.h"

static const char *const paths[] = { "/dev/null", "/dev/zero", "/dev/full",
	"/dev/random", "/dev/urandom" };

int
main(int argc, char **argv)
{
	char buf[16];
	int fd[5], i;

	subject_init(argc, argv);
	for (i = 0; i < 5; i++)
		must((fd[i] = open(paths[i], O_RDWR)) >= 0);

	subject_wait();

	expect(read(fd[0], buf, 16) == 0, "/dev/null gave something");
	expect(write(fd[0], buf, 16) == 16, "/dev/null took nothing");
	memset(buf, 1, 16);
	expect(read(fd[1], buf, 16) == 16, "/dev/zero");
	subject_zero("/dev/zero", buf, 16);
	expect(write(fd[2], buf, 16) == -1 && errno == ENOSPC, "/dev/full");
	expect(read(fd[3], buf, 4) > 0, "/dev/random");
	expect(read(fd[4], buf, 16) == 16, "/dev/urandom");
	return subject_done();
}
