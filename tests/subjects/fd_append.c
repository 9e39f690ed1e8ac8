/*
 * fd_append - a log: O_APPEND, and a file that another has appended to since.
 *
 * clones: alone
 */
#include <fcntl.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	const char *path;
	char buf[32];
	int a, b;

	subject_init(argc, argv);
	path = subject_path("journal");
	must((a = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644)) >= 0);
	must(write(a, "one ", 4) == 4);
	must((b = open(path, O_RDWR)) >= 0);

	subject_wait();

	expect(fcntl(a, F_GETFL) & O_APPEND, "O_APPEND is gone");
	must(lseek(a, 0, SEEK_SET) == 0);
	must(write(a, "two", 3) == 3);
	must(read(b, buf, sizeof(buf)) == 7);
	expect(memcmp(buf, "one two", 7) == 0, "the log: %.7s", buf);
	must(lseek(a, 4, SEEK_SET) == 4);
	must(lseek(b, 0, SEEK_SET) == 0);
	return subject_done();
}
