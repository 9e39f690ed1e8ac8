/*
 * fd_posixlock - POSIX record locks and those of an open file description.
 *
 * clones: refused
 */
#include "lock.h"

/* Who keeps this from being write-locked: 0 nobody, 1 parent, 2 an open file. */
static int
holder(const char *path, long start)
{
	struct flock fl = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = 1 };
	int fd = open(path, O_RDWR);

	if (fd < 0 || fcntl(fd, F_GETLK, &fl) != 0)
		return 9;
	if (fl.l_type == F_UNLCK)
		return 0;
	return fl.l_pid == getppid() ? 1 : fl.l_pid == -1 ? 2 : 8;
}

static void
lock(int fd, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = { .l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len };

	must(fcntl(fd, cmd, &fl) == 0);
}

int
main(int argc, char **argv)
{
	static const struct {
		long start;
		int holder;
	} want[] = { { 0, 1 }, { 9, 1 }, { 10, 0 }, { 100, 1 }, { 149, 1 },
		{ 150, 0 }, { 300, 2 }, { 310, 0 }, { 1000, 1 },
		{ 1000000, 1 } };
	const char *path;
	int a, b;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	path = subject_file("locked", 4096, 1);
	must((a = open(path, O_RDWR)) >= 0 && (b = open(path, O_RDWR)) >= 0);
	lock(a, F_SETLK, F_WRLCK, 0, 10);
	lock(a, F_SETLK, F_RDLCK, 100, 50);
	lock(a, F_SETLK, F_WRLCK, 1000, 0); /* to the end and beyond */
	lock(b, F_OFD_SETLK, F_WRLCK, 300, 10);

	subject_wait();

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		int is = in_child(holder, path, want[i].start);

		expect(is == want[i].holder, "byte %ld: held by %d, not %d",
		    want[i].start, is, want[i].holder);
	}
	return subject_done();
}
