/*
 * fd_inotify - watches with their numbers, and that events come.
 *
 * clones: alone
 */
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	char buf[4096] __attribute__((aligned(8)));
	const struct inotify_event *ev = (const void *)buf;
	const char *file;
	int fd, dir, gone, on_file;

	subject_init(argc, argv);
	file = subject_file("watched", 10, 1);
	must(mkdir(subject_path("dir"), 0755) == 0);
	must((fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) >= 0);
	/* Numbers 1 and 3: 2 is removed. */
	must((dir = inotify_add_watch(
		  fd, subject_path("dir"), IN_CREATE | IN_DELETE)) == 1);
	must((gone = inotify_add_watch(fd, subject_path("."), IN_MOVE)) == 2);
	must((on_file = inotify_add_watch(fd, file, IN_ATTRIB)) == 3);
	must(inotify_rm_watch(fd, gone) == 0);
	must(read(fd, buf, sizeof(buf)) > 0); /* IN_IGNORED */

	subject_wait();

	expect(read(fd, buf, sizeof(buf)) == -1 && errno == EAGAIN,
	    "an event that did not happen: watch %d, %x", ev->wd, ev->mask);
	subject_file("dir/new", 5, 1);
	expect(read(fd, buf, sizeof(buf)) > 0 && ev->wd == dir &&
		   ev->mask == IN_CREATE && strcmp(ev->name, "new") == 0,
	    "watch of a directory");
	must(chmod(file, 0600) == 0);
	expect(read(fd, buf, sizeof(buf)) > 0 && ev->wd == on_file &&
		   ev->mask == IN_ATTRIB,
	    "watch of a file");
	expect(inotify_add_watch(fd, subject_path("."), IN_MOVE) >
		   (on_file > 2 ? 0 : 3),
	    "a new watch: %s", strerror(errno));
	return subject_done();
}
