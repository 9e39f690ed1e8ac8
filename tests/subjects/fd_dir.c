/*
 * fd_dir - an open directory, half read, and what is opened relative to it.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "subject.h"

struct entry {
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static char seen[300];

/* Read up to `max` entries, leave the offset behind the last one. */
static int
list(int fd, int max)
{
	static char buf[65536] __attribute__((aligned(8)));
	int count = 0;
	long n, at;

	while (count < max &&
	       (n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (at = 0; at < n && count < max; count++) {
			struct entry *e = (struct entry *)(buf + at);

			at += e->len;
			if (e->name[0] == 'f')
				seen[atoi(e->name + 1)]++;
			if (count == max - 1)
				lseek(fd, e->off, SEEK_SET);
		}
	return count;
}

int
main(int argc, char **argv)
{
	char name[32];
	int fd, opath, i;

	subject_init(argc, argv);
	must(mkdir(subject_path("dir"), 0755) == 0);
	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "dir/f%d", i);
		subject_file(name, 0, 0);
	}
	must((fd = open(subject_path("dir"), O_RDONLY | O_DIRECTORY)) >= 0);
	must((opath = open(subject_path("dir"), O_PATH)) >= 0);
	must(list(fd, 150) == 150);

	subject_wait();

	list(fd, 10000);
	for (i = 0; i < 300; i++)
		expect(seen[i] == 1, "f%d was listed %d times", i, seen[i]);
	expect(faccessat(fd, "f17", F_OK, 0) == 0, "a relative name");
	expect(faccessat(opath, "f17", F_OK, 0) == 0, "relative to O_PATH");
	must(lseek(fd, 0, SEEK_SET) == 0);
	subject_forget();
	return subject_done();
}
