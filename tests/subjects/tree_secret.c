/*
 * tree_secret - secret memory (memfd_secret(2)) that two processes have, each
 * of which maps another part of it; and a descriptor of one that both have.
 *
 * phases: survive twice
 */
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "subject.h"

#define PAGE 4096

static int fd, to_child[2], to_parent[2];
static char *mine, *its, *both;

static char *
map(int of, size_t from)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, of,
	    (off_t)(from * PAGE));

	must(p != MAP_FAILED);
	return p;
}

static int
secret(size_t pages)
{
	int s = (int)syscall(447, 0);

	if (s < 0)
		subject_skip("no memfd_secret: %s", strerror(errno));
	must(ftruncate(s, (off_t)(pages * PAGE)) == 0);
	return s;
}

/* Asked, it tells what it sees, and writes. */
static void
child(void)
{
	char what, *p;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(to_child[1]);
	close(to_parent[0]);
	must(munmap(mine, PAGE) == 0);
	while (read(to_child[0], &what, 1) == 1) {
		p = map(fd, 0);
		what = its[5] == 'i' && p[1] == 'd' ? both[0] : 0;
		both[1]++;
		p[2]++;
		must(munmap(p, PAGE) == 0);
		if (write(to_parent[1], &what, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

int
main(int argc, char **argv)
{
	int part;
	char c = 0, *p;
	pid_t pid;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS | SUBJECT_SIGNALS);
	part = secret(4);
	mine = map(part, 1);
	its = map(part, 0);
	both = map(part, 3);
	must(close(part) == 0);
	mine[5] = 'm';
	its[5] = 'i';
	fd = secret(1);
	p = map(fd, 0);
	p[1] = 'd';
	must(munmap(p, PAGE) == 0);
	must(pipe(to_child) == 0 && pipe(to_parent) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		child();
	close(to_child[0]);
	close(to_parent[1]);
	must(munmap(its, PAGE) == 0);

	subject_wait();

	subject_forget();
	expect(mine[5] == 'm', "what only the parent maps is lost");
	both[0] = 77;
	both[1] = 3;
	expect(write(to_child[1], "?", 1) == 1 &&
		   read(to_parent[0], &c, 1) == 1 && c == 77,
	    "the child sees %d", c);
	expect(both[1] == 4, "memory is not shared");
	p = map(fd, 0);
	expect(p[1] == 'd' && p[2] > 0, "the descriptor is not shared");
	return subject_done();
}
