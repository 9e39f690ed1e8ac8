/*
 * call_write_pipe - asleep in write(2) on a full pipe: nothing of it is lost
 * or written twice.
 */
#include <fcntl.h>
#include <sys/syscall.h>

#include "call.h"

#define SIZE 4096

static int fds[2];
static char all[2 * SIZE], drained[2 * SIZE];

static long
writes(void *arg)
{
	(void)arg;
	return call_errno(write(fds[1], all + SIZE, SIZE));
}

int
main(int argc, char **argv)
{
	struct call w = { .make = writes, .nr = SYS_write };
	size_t n = 0;
	ssize_t part;

	subject_init(argc, argv);
	must(pipe(fds) == 0);
	subject_fill(all, sizeof(all), 6);
	must(fcntl(fds[1], F_SETPIPE_SZ, SIZE) == SIZE);
	must(write(fds[1], all, SIZE) == SIZE);
	call_begin(&w);

	subject_wait();

	expect(!call_finished(&w), "write returned %ld too early", w.result);
	while (n < sizeof(all) &&
	       (part = read(fds[0], drained + n, sizeof(all) - n)) > 0)
		n += (size_t)part;
	call_end("write", &w, SIZE);
	subject_filled("what came through", drained, sizeof(drained), 6);
	return subject_done();
}
