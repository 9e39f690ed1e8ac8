/*
 * id_limits - resource limits, soft and hard.  They are compared with the
 * rest of /proc; this also tries some.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "subject.h"

static void
lower(int which, rlim_t cur, rlim_t max)
{
	struct rlimit rl = { cur, max }, is;

	must(getrlimit(which, &is) == 0);
	if (rl.rlim_max > is.rlim_max)
		rl.rlim_max = is.rlim_max;
	if (rl.rlim_cur > rl.rlim_max)
		rl.rlim_cur = rl.rlim_max;
	must(setrlimit(which, &rl) == 0);
}

int
main(int argc, char **argv)
{
	int fd;

	subject_init(argc, argv);
	lower(RLIMIT_NOFILE, 20, 30);
	lower(RLIMIT_CORE, 12345, 54321);
	lower(RLIMIT_STACK, 4 << 20, 64 << 20);
	lower(RLIMIT_FSIZE, 1 << 20, 2 << 20);
	lower(RLIMIT_CPU, 600, 700);
	lower(RLIMIT_AS, 2ull << 30, 3ull << 30);
	lower(RLIMIT_DATA, 1 << 30, 2ll << 30);
	lower(RLIMIT_MEMLOCK, 4096, 8192);
	lower(RLIMIT_NPROC, 2000, 3000);
	lower(RLIMIT_SIGPENDING, 50, 60);
	lower(RLIMIT_MSGQUEUE, 4096, 8192);
	lower(RLIMIT_NICE, 5, 10);
	lower(RLIMIT_RTPRIO, 1, 2);

	subject_wait();

	expect(fcntl(0, F_DUPFD, 20) == -1 && errno == EINVAL,
	    "descriptor 20 can be had");
	fd = fcntl(0, F_DUPFD, 19);
	expect(fd == 19, "descriptor 19 cannot be had");
	if (fd >= 0)
		close(fd);
	return subject_done();
}
