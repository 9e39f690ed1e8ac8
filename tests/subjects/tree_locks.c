/*
 * tree_locks - what two processes keep each other out with: semaphores and a
 * robust mutex in shared memory, a semaphore with a name, locks of files of
 * all kinds, a lease.
 *
 * phases: survive twice
 */
#include <fcntl.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "subject.h"

struct shared {
	sem_t ping, pong, held;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int turn, seen;
};

static struct shared *s;
static sem_t *named;
static int posix, ofd, flocked, leased;

static void
take(sem_t *sem)
{
	while (sem_wait(sem) != 0 && errno == EINTR)
		;
}

static void
make_shared(void)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	char name[64];

	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(s != MAP_FAILED);
	must(sem_init(&s->ping, 1, 0) == 0 && sem_init(&s->pong, 1, 0) == 0 &&
	     sem_init(&s->held, 1, 3) == 0);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	must(pthread_mutex_init(&s->mutex, &ma) == 0);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	must(pthread_cond_init(&s->cond, &ca) == 0);
	snprintf(name, sizeof(name), "/snapfs-test-%d", (int)getpid());
	named = sem_open(name, O_CREAT | O_EXCL, 0600, 2);
	must(named != SEM_FAILED);
	/* It has no name in the end, so that none is left. */
	must(sem_unlink(name) == 0);
}

static void
lock(int fd, int cmd, off_t from)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = from, .l_len = 10 };

	must(fcntl(fd, cmd, &l) == 0);
}

static void
child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	posix = open(subject_path("posix"), O_RDWR);
	ofd = open(subject_path("ofd"), O_RDWR);
	flocked = open(subject_path("flock"), O_RDWR);
	leased = open(subject_path("lease"), O_RDONLY);
	lock(posix, F_SETLK, 100);
	lock(ofd, F_OFD_SETLK, 50);
	must(flock(flocked, LOCK_EX) == 0);
	must(fcntl(leased, F_SETLEASE, F_RDLCK) == 0);
	must(pthread_mutex_lock(&s->mutex) == 0);
	sem_post(&s->pong);
	/* It answers, then waits for a turn, then dies with the mutex. */
	take(&s->ping);
	s->seen = fcntl(leased, F_GETLEASE);
	sem_post(&s->pong);
	while (s->turn == 0)
		pthread_cond_wait(&s->cond, &s->mutex);
	s->seen = s->turn;
	sem_post(&s->pong);
	for (;;)
		pause();
}

static struct flock
locker(int fd, int cmd, off_t from)
{
	struct flock l = { .l_type = F_WRLCK, .l_start = from, .l_len = 1 };

	expect(fcntl(fd, cmd, &l) == 0, "fcntl: %s", strerror(errno));
	return l;
}

static void
check_locks(pid_t pid)
{
	struct flock l = locker(posix, F_GETLK, 105);

	expect(l.l_type == F_WRLCK && l.l_pid == pid && l.l_start == 100 &&
		   l.l_len == 10,
	    "record lock: %d of %d", l.l_type, (int)l.l_pid);
	l = locker(posix, F_GETLK, 95);
	expect(l.l_type == F_UNLCK, "record lock below it: %d", l.l_type);
	l = locker(ofd, F_OFD_GETLK, 55);
	expect(l.l_type == F_WRLCK && l.l_start == 50, "lock of a file: %d",
	    l.l_type);
	expect(flock(flocked, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK,
	    "flock: %s", strerror(errno));
}

static void
check(pid_t pid)
{
	int v = -1, err;

	expect(sem_getvalue(&s->held, &v) == 0 && v == 3, "semaphore: %d", v);
	expect(sem_getvalue(named, &v) == 0 && v == 2, "the named one: %d", v);
	expect((err = pthread_mutex_trylock(&s->mutex)) == EBUSY,
	    "the mutex: %s", strerror(err));
	check_locks(pid);
	sem_post(&s->ping);
	take(&s->pong);
	expect(s->seen == F_RDLCK, "the child's lease: %d", s->seen);
	/* It waits, and has let go. */
	expect((err = pthread_mutex_lock(&s->mutex)) == 0, "the mutex: %s",
	    strerror(err));
	s->turn = 5;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->mutex);
	take(&s->pong);
	expect(s->seen == 5, "it had no turn");
	/* What one has that dies is given to the next, who is told. */
	kill(pid, SIGKILL);
	err = pthread_mutex_lock(&s->mutex);
	expect(err == EOWNERDEAD, "the mutex of the dead: %s", strerror(err));
	expect(pthread_mutex_consistent(&s->mutex) == 0 &&
		   pthread_mutex_unlock(&s->mutex) == 0,
	    "it cannot be made consistent");
}

int
main(int argc, char **argv)
{
	int st = 0;
	pid_t pid;

	subject_init(argc, argv);
	subject_allow(SUBJECT_MAPS | SUBJECT_SIGNALS);
	make_shared();
	posix = open(subject_file("posix", 1000, 1), O_RDWR);
	ofd = open(subject_file("ofd", 1000, 2), O_RDWR);
	flocked = open(subject_file("flock", 1000, 3), O_RDWR);
	subject_file("lease", 1000, 4);
	pid = fork();
	must(pid >= 0);
	if (pid == 0)
		child();
	take(&s->pong);

	subject_wait();

	subject_forget();
	check(pid);
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	expect(WIFSIGNALED(st), "its status: %#x", st);
	expect(flock(flocked, LOCK_SH | LOCK_NB) == 0, "its flock is left");
	return subject_done();
}
