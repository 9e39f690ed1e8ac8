/*
 * restore_segment.c - System V shared memory, made again with its id.
 *
 * The agent attaches it in the areas of all that had it, from where they take
 * it; the kernel counts them as if they had attached it.  A segment that nobody
 * removed outlives its processes, as a file does: if it is still there, the same
 * and attached by nobody else, it is taken and gets the bytes of the image.
 *
 * Who makes one is remembered for good, so a child is whoever that was for a
 * moment.  Until all is there it is the agent's, who gives it to its owner.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include "ctx.h"
#include "restore_ipc.h"

#define PERMISSIONS 0777u

/* ---- making one ---- */

static int
give(int id, uid_t uid, gid_t gid, uint32_t mode)
{
	struct shmid_ds ds = { .shm_perm = {
				   .uid = uid,
				   .gid = gid,
				   .mode = mode & PERMISSIONS,
			       } };

	return shmctl(id, IPC_SET, &ds) < 0 ? -errno : 0;
}

static int
get(const void *what)
{
	const struct joined *j = what;
	int id =
	    shmget((key_t)j->want->key, j->size, IPC_CREAT | IPC_EXCL | 0600);

	return id < 0 ? -errno : id;
}

static void
remove_it(int id)
{
	shmctl(id, IPC_RMID, NULL);
}

static uint64_t
bytes(const void *what)
{
	return ((const struct joined *)what)->size;
}

static const struct ipc_kind segments = {
	.name = "System V shared memory segment",
	.unit = "bytes",
	.next_id = "/proc/sys/kernel/shm_next_id",
	.make = get,
	.size = bytes,
	.give = give,
	.remove = remove_it,
};

static int
make(struct restore *r, struct joined *j)
{
	int err = restore_ipc_make(r, &segments, j->want, j);

	j->id = j->want->id;
	j->created = err == 0;
	return err;
}

/* ---- one that is there ---- */

static bool
is_same(const struct joined *j, const struct shmid_ds *ds)
{
	const struct ipc *s = j->want;

	return (uint32_t)ds->shm_perm.__key == s->key &&
	       ds->shm_segsz == j->size && ds->shm_perm.uid == s->uid &&
	       ds->shm_perm.gid == s->gid &&
	       (ds->shm_perm.mode & ~(unsigned)SHM_LOCKED) ==
		   (s->mode & ~(unsigned)SHM_LOCKED);
}

static int
find_or_make(struct restore *r, struct joined *j)
{
	struct shmid_ds ds;

	if (shmctl(j->want->id, IPC_STAT, &ds) < 0) {
		if (errno == EINVAL || errno == EIDRM)
			return make(r, j);
		return snap_fail(r->cx, -errno,
		    "System V shared memory segment %d: %s", j->want->id,
		    strerror(errno));
	}
	if (!is_same(j, &ds))
		return snap_fail(r->cx, -EEXIST,
		    "System V shared memory segment %d is another one here: "
		    "its key, size, owner or mode differ; see ipcrm(1)",
		    j->want->id);
	j->id = j->want->id;
	return 0;
}

static struct joined *
join(struct restore *r, const struct mapfile *f)
{
	struct restore_tree *t = r->tree;
	struct joined *j;

	for (size_t i = 0; i < t->njoined; i++) {
		j = &t->joined[i];
		if (j->content == f->content && j->size == f->size)
			return j;
		if (j->content == f->content || j->id == f->segment->id) {
			snap_fail(r->cx, -EBADMSG,
			    "System V shared memory segment %d is two",
			    f->segment->id);
			return NULL;
		}
	}
	j = process_grow(&t->joined, &t->njoined, sizeof(*j));
	if (j == NULL) {
		snap_fail(r->cx, -ENOMEM, "no memory");
		return NULL;
	}
	*j = (struct joined){ .content = f->content,
		.want = f->segment,
		.size = f->size,
		.id = -1 };
	return find_or_make(r, j) == 0 ? j : NULL;
}

int
restore_segment(struct restore *r, const struct moved *m)
{
	const struct mapfile *f = &r->p->mapfiles[m->file];
	struct joined *j;

	/* The kernel attaches so much, over whatever is there. */
	if (f->size == 0 || ((f->size + 4095) & ~4095ull) != m->len)
		return snap_fail(r->cx, -EBADMSG,
		    "System V shared memory segment %d is not as large as "
		    "what is mapped of it",
		    f->segment->id);
	j = join(r, f);
	if (j == NULL)
		return r->cx->error;
	if (shmat(j->id, r->map + m->off,
		SHM_REMAP | (m->readonly ? SHM_RDONLY : 0)) == (void *)-1)
		return snap_fail(r->cx, -errno,
		    "attaching System V shared memory segment %d: %s", j->id,
		    strerror(errno));
	/* From now on it ends with the last that has it. */
	if (j->attached++ == 0 && j->created && j->want->mode & SHM_DEST)
		shmctl(j->id, IPC_RMID, NULL);
	return 0;
}

/* ---- when nobody else has it ---- */

static int
fill(struct restore_tree *t, const struct joined *j, uint8_t *to)
{
	const struct content *c = family_content(t->v[0].p, j->content);
	ssize_t n;

	for (size_t i = 0; c == NULL && i < t->n; i++)
		c = family_content(t->v[i].p, j->content);
	if (c == NULL || c->size > ((j->size + 4095) & ~4095ull))
		return -EBADMSG;
	if (!j->created && madvise(to, j->size, MADV_REMOVE) < 0)
		memset(to, 0, j->size);
	for (off_t data = 0, hole; (uint64_t)data < c->size;) {
		data = lseek(c->fd, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(c->fd, data, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole > c->size)
			hole = (off_t)c->size;
		for (; data < hole; data += n) {
			n = pread(
			    c->fd, to + data, (size_t)(hole - data), data);
			if (n <= 0)
				return n < 0 ? -errno : -EBADMSG;
		}
	}
	return 0;
}

static int
check_users(struct restore_tree *t, const struct joined *j)
{
	struct shmid_ds ds;

	if (shmctl(j->id, IPC_STAT, &ds) < 0)
		return -errno;
	if (ds.shm_nattch == j->attached)
		return 0;
	return snap_fail(t->cx, -EBUSY,
	    "System V shared memory segment %d is attached by others: end them "
	    "first",
	    j->id);
}

static int
settle(struct restore_tree *t, struct joined *j)
{
	const struct ipc *s = j->want;
	int err = check_users(t, j);
	void *at;

	if (err != 0)
		return err;
	at = shmat(j->id, NULL, 0);
	if (at == (void *)-1)
		return -errno;
	err = fill(t, j, at);
	shmdt(at);
	if (err == 0 && j->created)
		err = give(j->id, s->uid, s->gid, s->mode);
	if (err == 0 && j->created && s->mode & SHM_LOCKED &&
	    shmctl(j->id, SHM_LOCK, NULL) < 0)
		restore_note(&t->v[0],
		    "System V shared memory segment %d is not locked", j->id);
	return err;
}

int
restore_segments_settle(struct restore_tree *t)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < t->njoined; i++) {
		err = settle(t, &t->joined[i]);
		if (err != 0)
			snap_fail(t->cx, err,
			    "System V shared memory segment %d: %s",
			    t->joined[i].id, strerror(-err));
	}
	return err;
}

void
restore_segments_undo(struct restore_tree *t)
{
	for (size_t i = 0; i < t->njoined; i++)
		if (t->joined[i].created)
			shmctl(t->joined[i].id, IPC_RMID, NULL);
}
