/*
 * mem_sysv - System V shared memory: attached twice, once to be read only, a
 * part of it unmapped; and two that are removed but attached, one of which its
 * child has, too.
 *
 * clones: refused
 */
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "subject.h"

#define PAGE 4096
#define SIZE (5 * PAGE + 100)

static int to_child[2], to_parent[2];

static void
child(unsigned char *both)
{
	char what;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(to_child[1]);
	close(to_parent[0]);
	while (read(to_child[0], &what, 1) == 1) {
		both[1] = (unsigned char)(both[0] + 1);
		if (write(to_parent[1], &what, 1) != 1)
			_exit(1);
	}
	_exit(42);
}

/* Removed at once: nothing stays when this is killed. */
static int
removed(void **at, size_t size, int mode)
{
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | mode);

	must(id >= 0);
	*at = shmat(id, NULL, 0);
	must(*at != (void *)-1);
	must(shmctl(id, IPC_RMID, NULL) == 0);
	return id;
}

static void
same(const char *what, int id, const struct shmid_ds *was)
{
	struct shmid_ds is;
	int tries = 200;

	/* Whoever restores it has it for a moment, too. */
	do {
		if (shmctl(id, IPC_STAT, &is) < 0) {
			subject_fail("%s: %s", what, strerror(errno));
			return;
		}
		subject_rest();
	} while (is.shm_nattch != was->shm_nattch && --tries > 0);
	expect(is.shm_nattch == was->shm_nattch, "%s: attached %lu, was %lu",
	    what, (unsigned long)is.shm_nattch, (unsigned long)was->shm_nattch);
	expect(is.shm_segsz == was->shm_segsz, "%s: its size", what);
	expect(is.shm_perm.mode == was->shm_perm.mode, "%s: mode %o", what,
	    (unsigned)is.shm_perm.mode);
	expect(is.shm_perm.uid == was->shm_perm.uid &&
		   is.shm_perm.gid == was->shm_perm.gid &&
		   is.shm_perm.cuid == was->shm_perm.cuid &&
		   is.shm_perm.cgid == was->shm_perm.cgid,
	    "%s: its owner", what);
}

int
main(int argc, char **argv)
{
	struct shmid_ds was, was_both;
	unsigned char *p, *both, *twice;
	int id, id_both, st;
	void *at;
	char what = 'x';
	pid_t pid;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS | SUBJECT_FDS);
	id = removed(&at, SIZE, 0640);
	p = at;
	id_both = removed(&at, PAGE, 0600);
	both = at;
	twice = shmat(id, NULL, SHM_RDONLY);
	must(twice != (void *)-1);
	must(munmap(p + 2 * PAGE, PAGE) == 0);
	must(mprotect(p + PAGE, PAGE, PROT_READ) == 0);
	subject_fill(p + 3 * PAGE, PAGE, 3);
	subject_fill(p + 5 * PAGE, 100, 5);
	must(pipe(to_child) == 0 && pipe(to_parent) == 0);
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		must(shmdt(twice) == 0);
		child(both);
	}
	close(to_child[0]);
	close(to_parent[1]);
	/* The child has let go of what it does not use. */
	do {
		must(shmctl(id, IPC_STAT, &was) == 0);
		subject_rest();
	} while (was.shm_nattch != 7);
	must(shmctl(id_both, IPC_STAT, &was_both) == 0);

	subject_wait();

	same("the one", id, &was);
	same("the other", id_both, &was_both);
	subject_filled("whole page", p + 3 * PAGE, PAGE, 3);
	subject_filled("the end", p + 5 * PAGE, 100, 5);
	subject_zero("hole", p + 4 * PAGE, PAGE);
	expect(!subject_readable(p + 2 * PAGE), "what was unmapped is there");
	p[4 * PAGE] = 'y';
	expect(twice[4 * PAGE] == 'y', "the two are no longer one");
	expect(mprotect(twice, PAGE, PROT_READ | PROT_WRITE) < 0,
	    "what is attached to be read can be written");
	both[0] = 7;
	expect(write(to_child[1], &what, 1) == 1 &&
		   read(to_parent[0], &what, 1) == 1 && both[1] == 8,
	    "it is not the child's any more");
	expect(shmdt(p) == 0 && !subject_readable(p + 3 * PAGE),
	    "it cannot be detached");
	expect(shmctl(id, IPC_STAT, &was) == 0 && was.shm_nattch >= 1,
	    "it is gone with that");
	subject_forget();
	close(to_child[1]);
	expect(waitpid(pid, &st, 0) == pid && WIFEXITED(st) &&
		   WEXITSTATUS(st) == 42,
	    "the child");
	return subject_done();
}
