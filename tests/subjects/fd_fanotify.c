/*
 * fd_fanotify - groups with marks of inodes, a mount and a file system, what
 * they ignore, and that events come.
 *
 * clones: alone
 */
#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/stat.h>

#include "subject.h"

static int
group(unsigned flags, unsigned event)
{
	int fd = fanotify_init(flags, event);

	if (fd < 0)
		subject_skip("fanotify_init: %s", strerror(errno));
	return fd;
}

static void
mark(int fd, unsigned flags, uint64_t mask, const char *path)
{
	if (fanotify_mark(fd, FAN_MARK_ADD | flags, mask, AT_FDCWD, path) == 0)
		return;
	if (errno == ENODEV || errno == EOPNOTSUPP || errno == EXDEV)
		subject_skip("fanotify_mark %s: %s", path, strerror(errno));
	subject_die("fanotify_mark %x %s: %s", flags, path, strerror(errno));
}

/* The lines of a group in fdinfo are as they were: in any order. */
static void
lines(int fd, unsigned *n, unsigned *sum)
{
	char name[32], text[4096], *s;

	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	s = (char *)subject_proc(name, text, sizeof(text));
	*n = *sum = 0;
	while ((s = strstr(s, "\nfanotify ")) != NULL) {
		unsigned h = 0;

		for (s++; *s != '\n' && *s != '\0'; s++)
			h = h * 31 + (unsigned char)*s;
		*sum += h;
		++*n;
	}
}

/* The masks of all events that wait. */
static uint64_t
events(int fd)
{
	char buf[8192] __attribute__((aligned(8)));
	struct fanotify_event_metadata *m = (void *)buf;
	uint64_t all = 0;
	ssize_t n = read(fd, buf, sizeof(buf));

	for (; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n)) {
		all |= m->mask;
		if (m->fd >= 0)
			close(m->fd);
	}
	return all;
}

int
main(int argc, char **argv)
{
	unsigned n[3], sum[3], m, s;
	int names, wide, low, fd[3];
	const char *file;

	subject_init(argc, argv);
	file = subject_file("watched", 10, 1);
	must(mkdir(subject_path("dir"), 0755) == 0);
	names = fd[0] =
	    group(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_NONBLOCK |
		      FAN_CLOEXEC | FAN_UNLIMITED_QUEUE,
		O_RDONLY | O_LARGEFILE);
	mark(names, 0, FAN_CREATE | FAN_ONDIR | FAN_EVENT_ON_CHILD,
	    subject_path("dir"));
	mark(names, 0, FAN_ATTRIB, file);
	mark(names, FAN_MARK_FILESYSTEM, FAN_DELETE_SELF, "/proc/self/exe");
	wide = fd[1] =
	    group(FAN_CLASS_CONTENT | FAN_NONBLOCK, O_RDWR | O_LARGEFILE);
	mark(wide, FAN_MARK_MOUNT, FAN_OPEN_EXEC, "/dev");
	mark(wide, 0, FAN_CLOSE_WRITE | FAN_OPEN, file);
	mark(wide, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY,
	    FAN_OPEN, file);
	low = fd[2] = group(FAN_REPORT_FID | FAN_NONBLOCK, 0);
	mark(low, FAN_MARK_IGNORE_SURV, FAN_MODIFY, subject_path("."));
	for (int i = 0; i < 3; i++)
		lines(fd[i], &n[i], &sum[i]);

	subject_wait();

	for (int i = 0; i < 3; i++) {
		lines(fd[i], &m, &s);
		expect(m == n[i] && s == sum[i], "marks of group %d: %u lines",
		    i, m);
	}
	expect(events(names) == 0, "an event that did not happen");
	subject_file("dir/new", 5, 1);
	expect(events(names) & FAN_CREATE, "the mark of a directory");
	must(chmod(file, 0600) == 0);
	expect(events(names) & FAN_ATTRIB, "the mark of a file");
	(void)events(wide);
	must(close(open(file, O_WRONLY)) == 0);
	expect(events(wide) == FAN_CLOSE_WRITE, "what is to be ignored");
	must(close(open(subject_path("dir/new"), O_WRONLY | O_APPEND)) == 0);
	expect(events(low) == 0, "what is ignored as well");
	return subject_done();
}
