/*
 * fd_eventfd - counters, one of them a semaphore.
 */
#include <fcntl.h>
#include <sys/eventfd.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	eventfd_t v;
	int a, s, max;

	subject_init(argc, argv);
	must((a = eventfd(42, EFD_NONBLOCK | EFD_CLOEXEC)) >= 0);
	must((s = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK)) >= 0);
	must((max = eventfd(0, EFD_NONBLOCK)) >= 0);
	must(eventfd_write(max, UINT64_MAX - 1) == 0);

	subject_wait();

	expect(eventfd_read(a, &v) == 0 && v == 42, "count");
	expect(eventfd_read(a, &v) == -1 && errno == EAGAIN, "O_NONBLOCK");
	for (int i = 0; i < 3; i++)
		expect(eventfd_read(s, &v) == 0 && v == 1, "semaphore %d", i);
	expect(eventfd_read(s, &v) == -1 && errno == EAGAIN, "semaphore's end");
	expect(eventfd_write(max, 1) == -1 && errno == EAGAIN, "full counter");
	return subject_done();
}
