/*
 * gather_undo.c - what is to be undone to System V semaphores when the process
 * ends (SEM_UNDO)?
 *
 * The kernel shows these numbers to nobody, but it takes none beyond its range.
 * So the process is made to try operations of which the last can never be done:
 * then none is, and the error tells which of them it was.  First of many
 * semaphores, whether there is anything; then of each how much, by halves.
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
#include "semset.h"
#include "sysv.h"

#define EACH 10u /* operations of each semaphore */
#define OPS_MAX 301u
#define ATTEMPTS 8
#define UNDOS_MAX 64u /* semaphores of a set, in one process */

struct undo {
	struct frozen *z;
	uint64_t at;	/* where the process has room for operations */
	size_t at_once; /* semaphores */
	unsigned short before[SEMSET_MAX], after[SEMSET_MAX];
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
		{ SEMSET_VALUE_MAX, true },
		{ -SEMSET_VALUE_MAX, false },
		{ 1, true },
		{ SEMSET_VALUE_MAX - 1, false },
		{ -SEMSET_VALUE_MAX, true },
		{ SEMSET_VALUE_MAX, false },
		{ -SEMSET_VALUE_MAX, true },
		{ 1, false },
		{ -1, true },
	};

	op[0] = (struct sembuf){ n, (short)-(int)value, IPC_NOWAIT };
	for (size_t i = 0; i < EACH - 1; i++)
		op[i + 1] = (struct sembuf){ n, then[i].by,
			(short)(IPC_NOWAIT | (then[i].undo ? SEM_UNDO : 0)) };
}

/*
 * Is what is to be undone less than `limit`, up to 0, or is it at least that,
 * above?  If so one of these cannot be done.
 */
static size_t
put_limit(struct sembuf *op, unsigned short n, unsigned short value, int limit)
{
	const short plain = IPC_NOWAIT, undo = (short)(IPC_NOWAIT | SEM_UNDO);
	int by = limit <= 0 ? limit + SEMSET_VALUE_MAX + 1
			    : limit - SEMSET_VALUE_MAX - 1;
	size_t k = 0;

	op[k++] = (struct sembuf){ n, (short)-(int)value, plain };
	if (by < 0)
		op[k++] = (struct sembuf){ n, SEMSET_VALUE_MAX, plain };
	if (by > SEMSET_VALUE_MAX) {
		op[k++] = (struct sembuf){ n, SEMSET_VALUE_MAX, undo };
		op[k++] = (struct sembuf){ n, -SEMSET_VALUE_MAX, plain };
		by -= SEMSET_VALUE_MAX;
	}
	op[k++] = (struct sembuf){ n, (short)by, undo };
	return k;
}

/* The answer to n operations, and one that can never be done. */
static int
try(struct snap_ctx *cx, struct undo *u, int id, struct sembuf *ops, size_t n,
    int64_t *result)
{
	struct frozen *z = u->z;

	/* No value is that large. */
	ops[n] = (struct sembuf){ ops[n - 1].sem_num, -SEMSET_VALUE_MAX - 1,
		IPC_NOWAIT };
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

/* Of semaphores [from, to): anything?  Of one, with `limit`: see put_limit(). */
struct question {
	int id;
	size_t from, to;
	const int *limit;
};

static size_t
put_question(const struct undo *u, const struct question *q, struct sembuf *ops)
{
	size_t n = 0;

	if (q->limit != NULL)
		return put_limit(ops, (unsigned short)q->from,
		    u->before[q->from], *q->limit);
	for (size_t i = q->from; i < q->to; i++, n += EACH)
		put_ops(&ops[n], (unsigned short)i, u->before[i]);
	return n;
}

/* Others may change the values meanwhile: then it is tried again. */
static int
look(struct snap_ctx *cx, struct undo *u, const struct question *q,
    enum found *found)
{
	union semun before = { .array = u->before },
		    after = { .array = u->after };
	struct sembuf ops[OPS_MAX];
	int64_t result;
	int err;

	for (int k = 0; k < ATTEMPTS; k++) {
		*found = NOTHING;
		if (semctl(q->id, 0, GETALL, before) < 0)
			return 0;
		err = try(cx, u, q->id, ops, put_question(u, q, ops), &result);
		if (err != 0 || (result != -EAGAIN && result != -ERANGE))
			return err;
		*found = result == -ERANGE ? SOMETHING : NOTHING;
		if (semctl(q->id, 0, GETALL, after) < 0)
			return 0;
		if (memcmp(&u->before[q->from], &u->after[q->from],
			(q->to - q->from) * sizeof(u->before[0])) == 0)
			return 0;
	}
	*found = UNKNOWN;
	return 0;
}

/* How much of one semaphore. */
static int
measure(struct snap_ctx *cx, struct undo *u, int id, size_t n,
    struct process *p, enum found *found)
{
	int low = INT16_MIN, high = INT16_MAX, limit, err = 0;
	struct question q = { id, n, n + 1, &limit };
	struct semundo *slot;

	while (err == 0 && low < high) {
		limit = high - (high - low) / 2;
		err = look(cx, u, &q, found);
		if (*found == UNKNOWN)
			return err;
		if ((*found == SOMETHING) == (limit <= 0))
			high = limit - 1;
		else
			low = limit;
	}
	if (err != 0 || low == 0)
		return err;
	slot = process_grow(&p->undos, &p->nundos, sizeof(*slot));
	if (slot == NULL)
		return -ENOMEM;
	*slot = (struct semundo){ id, (uint16_t)n, (int16_t)low };
	return 0;
}

/* Of some semaphores. */
static int
look_at(struct snap_ctx *cx, struct undo *u, const struct question *some,
    struct process *p, enum found *found)
{
	int err = look(cx, u, some, found);

	if (err != 0 || *found != SOMETHING)
		return err;
	for (size_t i = some->from;
	     err == 0 && *found != UNKNOWN && i < some->to; i++) {
		const struct question one = { some->id, i, i + 1, NULL };

		err = look(cx, u, &one, found);
		if (err == 0 && *found == SOMETHING)
			err = measure(cx, u, some->id, i, p, found);
	}
	return err;
}

static int
look_at_set(struct snap_ctx *cx, struct undo *u, int id, struct process *p)
{
	struct semid_ds ds;
	union semun arg = { .buf = &ds };
	struct question q = { .id = id };
	enum found found = NOTHING;
	size_t n, had = p->nundos;
	char what[32];
	int err = 0;

	if (semctl(id, 0, IPC_STAT, arg) < 0)
		return 0;
	n = ds.sem_nsems < SEMSET_MAX ? ds.sem_nsems : SEMSET_MAX;
	for (; err == 0 && found != UNKNOWN && q.from < n; q.from = q.to) {
		q.to = q.from + u->at_once < n ? q.from + u->at_once : n;
		err = look_at(cx, u, &q, p, &found);
		if (p->nundos - had > UNDOS_MAX)
			break;
	}
	if (err != 0 || (found != UNKNOWN && p->nundos - had <= UNDOS_MAX))
		return err;
	p->nundos = had;
	snprintf(what, sizeof(what), "semaphores %d", id);
	return process_unsupported(p, what,
	    found == UNKNOWN
		? "others change them, so it cannot be seen whether it has "
		  "operations to be undone when it ends (SEM_UNDO)"
		: "it has operations of too many of them to be undone when it "
		  "ends (SEM_UNDO); the restored process has not");
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
