/*
 * fd_many - a thousand descriptors, and high numbers.
 */
#include <fcntl.h>
#include <sys/resource.h>

#include "subject.h"

#define N 1000

int
main(int argc, char **argv)
{
	struct rlimit rl;
	int fd[N], high = -1;
	const char *path;

	subject_init(argc, argv);
	must(getrlimit(RLIMIT_NOFILE, &rl) == 0);
	if (rl.rlim_max < 4096)
		subject_skip(
		    "RLIMIT_NOFILE is %llu", (unsigned long long)rl.rlim_max);
	rl.rlim_cur = 4096;
	must(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	path = subject_file("file", 5000, 1);
	for (int i = 0; i < N; i++) {
		must((fd[i] = open(path, O_RDONLY)) >= 0);
		must(lseek(fd[i], i, SEEK_SET) == i);
	}
	must((high = fcntl(fd[7], F_DUPFD, 4095)) == 4095);

	subject_wait();

	for (int i = 0; i < N; i++)
		expect(lseek(fd[i], 0, SEEK_CUR) == i, "offset of %d is %lld",
		    fd[i], (long long)lseek(fd[i], 0, SEEK_CUR));
	expect(lseek(high, 0, SEEK_CUR) == 7, "4095 is not a dup");
	return subject_done();
}
