/*
 * gather_undo.c - is anything to be undone to System V semaphores when the
 * process ends (SEM_UNDO)?
 *
 * The kernel shows these numbers to nobody, but it takes none beyond its range.
 * So the process is made to try operations of which the last can never be done:
 * then none is, and the error tells which of them it was.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "freeze_seccomp.h"
#include "gather.h"
#include "heal.h"
#include "sysv.h"

#define SEMS_MAX 65536u /* in a set: their numbers have 16 bits */
#define VALUE_MAX 32767
#define EACH 10u /* operations of each semaphore */
#define OPS_MAX 301u
#define ATTEMPTS 8

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

struct undo {
	struct frozen *z;
	uint64_t at;	/* where the process has room for operations */
	size_t at_once; /* semaphores */
	unsigned short before[SEMS_MAX], after[SEMS_MAX];
};

/*
 * With 0 to be undone all of these can be done, with any other number one cannot:
 * it would be beyond -32768 or 32767.  The value ends as 0.
 */
static void
put_ops(struct sembuf *op, unsigned short n, unsigned short value)
{
	static const struct {
		short by;
		bool undo;
	} then[EACH - 1] = {
		{ VALUE_MAX, true },
		{ -VALUE_MAX, false },
		{ 1, true },
		{ VALUE_MAX - 1, false },
		{ -VALUE_MAX, true },
		{ VALUE_MAX, false },
		{ -VALUE_MAX, true },
		{ 1, false },
		{ -1, true },
	};

	op[0] = (struct sembuf){ n, (short)-(int)value, IPC_NOWAIT };
	for (size_t i = 0; i < EACH - 1; i++)
		op[i + 1] = (struct sembuf){ n, then[i].by,
			(short)(IPC_NOWAIT | (then[i].undo ? SEM_UNDO : 0)) };
}

/* The answer to the operations on semaphores [from, to) of the set. */
static int
try(struct snap_ctx *cx, struct undo *u, int id, size_t from, size_t to,
    int64_t *result)
{
	struct sembuf ops[OPS_MAX];
	struct frozen *z = u->z;
	size_t n = 0;

	for (size_t i = from; i < to; i++, n += EACH)
		put_ops(&ops[n], (unsigned short)i, u->before[i]);
	/* No value is that large. */
	ops[n] =
	    (struct sembuf){ ops[n - 1].sem_num, -VALUE_MAX - 1, IPC_NOWAIT };
	n++;
	const uint64_t args[6] = { (uint64_t)id, u->at, n };
	if (!freeze_seccomp_allows(z, &z->v[heal_caller(z)], SYS_semop, args)) {
		*result = -EPERM;
		return 0;
	}
	if (!frozen_write(z, u->at, ops, n * sizeof(*ops)))
		return -errno;
	return heal_call(cx, z, SYS_semop, args, result);
}

enum found { NOTHING, SOMETHING, UNKNOWN };

/* Others may change the values meanwhile: then it is tried again. */
static int
look(struct snap_ctx *cx, struct undo *u, int id, size_t from, size_t to,
    enum found *found)
{
	union semun before = { .array = u->before },
		    after = { .array = u->after };
	int64_t result;
	int err;

	for (int k = 0; k < ATTEMPTS; k++) {
		*found = NOTHING;
		if (semctl(id, 0, GETALL, before) < 0)
			return 0;
		err = try(cx, u, id, from, to, &result);
		if (err != 0 || (result != -EAGAIN && result != -ERANGE))
			return err;
		*found = result == -ERANGE ? SOMETHING : NOTHING;
		if (semctl(id, 0, GETALL, after) < 0)
			return 0;
		if (memcmp(&u->before[from], &u->after[from],
			(to - from) * sizeof(u->before[0])) == 0)
			return 0;
	}
	*found = UNKNOWN;
	return 0;
}

static int
look_at_set(struct snap_ctx *cx, struct undo *u, int id, struct process *p)
{
	struct semid_ds ds;
	union semun arg = { .buf = &ds };
	enum found found = NOTHING;
	size_t n, to;
	char what[32];
	int err = 0;

	if (semctl(id, 0, IPC_STAT, arg) < 0)
		return 0;
	n = ds.sem_nsems < SEMS_MAX ? ds.sem_nsems : SEMS_MAX;
	for (size_t from = 0; err == 0 && found == NOTHING && from < n;
	     from = to) {
		to = from + u->at_once < n ? from + u->at_once : n;
		err = look(cx, u, id, from, to, &found);
	}
	if (err != 0 || found == NOTHING)
		return err;
	snprintf(what, sizeof(what), "semaphores %d", id);
	return process_unsupported(p, what,
	    found == SOMETHING
		? "it has operations to be undone when it ends (SEM_UNDO); the "
		  "restored process has not"
		: "others change them, so it cannot be seen whether it has "
		  "operations to be undone when it ends (SEM_UNDO)");
}

static size_t
kernel_takes(void)
{
	FILE *f = fopen("/proc/sys/kernel/sem", "re");
	unsigned n = 0;

	if (f == NULL || fscanf(f, "%*u %*u %u", &n) != 1)
		n = 0;
	if (f != NULL)
		fclose(f);
	return n;
}

/* Of so many semaphores are the operations for which there is room. */
static size_t
at_once(struct frozen *z, uint64_t *at)
{
	size_t most = kernel_takes();
	uint64_t size;

	heal_spare(z, at, &size);
	if (most > OPS_MAX)
		most = OPS_MAX;
	if (most > size / sizeof(struct sembuf))
		most = size / sizeof(struct sembuf);
	return most == 0 ? 0 : (most - 1) / EACH;
}

static int
look_at_all(
    struct snap_ctx *cx, struct frozen *z, const char *text, struct process *p)
{
	struct undo *u = malloc(sizeof(*u));
	int err = u == NULL ? -ENOMEM : 0;
	int32_t id;

	if (u != NULL) {
		u->z = z;
		u->at_once = at_once(z, &u->at);
	}
	/* The first line says what the columns are. */
	while (
	    err == 0 && u->at_once > 0 && (text = strchr(text, '\n')) != NULL) {
		text++;
		if (sscanf(text, "%*d %" SCNd32, &id) == 1)
			err = look_at_set(cx, u, id, p);
	}
	free(u);
	return err;
}

int
gather_undo(
    struct snap_ctx *cx, struct frozen *z, pid_t nothing, struct process *p)
{
	char *text = NULL;
	int err;

	if (nothing > 0 &&
	    syscall(SYS_kcmp, z->pid, nothing, KCMP_SYSVSEM, 0, 0) == 0)
		return 0;
	err = sysv_read(cx, "sem", &text);
	if (err == 0 && sysv_any(text) && sysv_same_namespace(z->pid))
		err = look_at_all(cx, z, text, p);
	free(text);
	return err;
}
