/*
 * fd_fifo - a FIFO with both ends here, and one opened for both.
 *
 * clones: refused
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	int rd, wr, rw;
	char buf[100];

	subject_init(argc, argv);
	must(mkfifo(subject_path("two"), 0600) == 0);
	must(mkfifo(subject_path("one"), 0600) == 0);
	must((rd = open(subject_path("two"), O_RDONLY | O_NONBLOCK)) >= 0);
	must((wr = open(subject_path("two"), O_WRONLY)) >= 0);
	must((rw = open(subject_path("one"), O_RDWR)) >= 0);
	must(write(wr, "unread in two", 13) == 13);
	must(write(rw, "unread in one", 13) == 13);

	subject_wait();

	expect(
	    read(rd, buf, 100) == 13 && memcmp(buf, "unread in two", 13) == 0,
	    "what was unread in the one with two ends");
	expect(read(rd, buf, 100) == -1 && errno == EAGAIN, "O_NONBLOCK");
	expect(
	    read(rw, buf, 100) == 13 && memcmp(buf, "unread in one", 13) == 0,
	    "what was unread in the one for both");
	must(write(wr, "again", 5) == 5);
	expect(read(rd, buf, 100) == 5, "what is written afterwards");
	return subject_done();
}
