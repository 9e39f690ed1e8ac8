#include "semset.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "sysv.h"

static int
read_values(struct semset *s)
{
	unsigned short *values = calloc(s->n + 1, sizeof(*values));
	union semun arg = { .array = values };
	int err = values == NULL ? -ENOMEM : 0, pid;

	s->v = calloc(s->n + 1, sizeof(*s->v));
	if (s->v == NULL)
		err = -ENOMEM;
	if (err == 0 && semctl(s->ipc.id, 0, GETALL, arg) < 0)
		err = -errno;
	for (size_t i = 0; err == 0 && i < s->n; i++) {
		pid = semctl(s->ipc.id, (int)i, GETPID);
		if (pid < 0)
			err = -errno;
		else
			s->v[i] = (struct semaphore){ values[i], pid };
	}
	free(values);
	return err;
}

int
semset_read(int32_t id, struct semset *s)
{
	struct semid_ds ds;
	union semun arg = { .buf = &ds };
	int err;

	*s = (struct semset){ .ipc.id = id };
	if (semctl(id, 0, IPC_STAT, arg) < 0)
		return -errno;
	if (ds.sem_nsems > SEMSET_MAX)
		return -E2BIG;
	s->ipc = sysv_object(id, &ds.sem_perm);
	s->n = ds.sem_nsems;
	err = read_values(s);
	if (err < 0) {
		free(s->v);
		s->v = NULL;
	}
	return err;
}

bool
semset_is_waited_for(const struct semset *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (semctl(s->ipc.id, (int)i, GETNCNT) > 0 ||
		    semctl(s->ipc.id, (int)i, GETZCNT) > 0)
			return true;
	return false;
}

pid_t
semset_other(const struct semset *s, const struct family *t)
{
	pid_t last = 0;

	for (size_t i = 0; i < s->n; i++) {
		pid_t pid = s->v[i].pid;

		if (pid != last && sysv_other(pid, t))
			return pid;
		last = pid;
	}
	return 0;
}

int
semset_by_undo(const void *a, const void *b)
{
	const struct semundo *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}
