#include "sysv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctx.h"
#include "family.h"
#include "proc.h"
#include "restore_pids.h"

bool
sysv_attached(const struct process *p)
{
	for (size_t i = 0; i < p->nmapfiles; i++)
		if (p->mapfiles[i].segment != NULL)
			return true;
	return false;
}

bool
sysv_parse(const char *text, int32_t id, struct ipc *s, uint64_t *size)
{
	int32_t key, this;

	/* The first line says what the columns are. */
	while ((text = strchr(text, '\n')) != NULL) {
		text++;
		/* key id mode size cpid lpid nattch uid gid cuid cgid */
		if (sscanf(text,
			"%" SCNd32 " %" SCNd32 " %" SCNo32 " %" SCNu64
			" %*d %*d %*u %u %u %u %u",
			&key, &this, &s->mode, size, &s->uid, &s->gid, &s->cuid,
			&s->cgid) != 8 ||
		    this != id)
			continue;
		s->id = id;
		s->key = (uint32_t)key;
		return true;
	}
	return false;
}

bool
sysv_same_namespace(pid_t pid)
{
	struct stat ours, its;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", (int)pid);
	return stat("/proc/self/ns/ipc", &ours) == 0 && stat(path, &its) == 0 &&
	       ours.st_ino == its.st_ino && ours.st_dev == its.st_dev;
}

/* Where the kernel has all shared memory without a name. */
static int
device(struct snap_ctx *cx, dev_t *dev)
{
	int fd = memfd_create("snapfs", MFD_CLOEXEC), err = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		err = snap_fail(cx, -errno, "memfd: %s", strerror(errno));
	else
		*dev = st.st_dev;
	if (fd >= 0)
		close(fd);
	return err;
}

int
sysv_read(struct snap_ctx *cx, const char *kind, char **text)
{
	char path[32];
	int fd, err;

	snprintf(path, sizeof(path), "/proc/sysvipc/%s", kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		*text = strdup(""); /* a kernel without */
		return *text == NULL ? -ENOMEM : 0;
	}
	err = fd < 0 ? -errno : proc_read_fd(fd, text, NULL);
	if (fd >= 0)
		close(fd);
	return err < 0 ? snap_fail(cx, err, "%s: %s", path, strerror(-err)) : 0;
}

struct ipc
sysv_object(int32_t id, const struct ipc_perm *perm)
{
	return (struct ipc){ .id = id,
		.key = (uint32_t)perm->__key,
		.mode = perm->mode & SYSV_MODES,
		.uid = perm->uid,
		.gid = perm->gid,
		.cuid = perm->cuid,
		.cgid = perm->cgid };
}

bool
sysv_other(pid_t pid, const struct family *t)
{
	struct holder h;

	return pid > 0 && (t == NULL || family_find(t, pid) == NULL) &&
	       holder_find(pid, &h) && !h.dying;
}

int
sysv_by_id(const void *a, const void *b)
{
	const struct ipc *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

bool
sysv_any(const char *text)
{
	text = strchr(text, '\n');
	return text != NULL && text[1] != '\0';
}

/* The inode number of a segment is its id. */
static int
know(struct mapfile *f, const struct vma *v, const char *list)
{
	struct ipc s;
	uint64_t size;

	if (f->segment != NULL || f->content == 0 || v->ino > INT32_MAX ||
	    !sysv_parse(list, (int32_t)v->ino, &s, &size))
		return 0;
	f->segment = malloc(sizeof(s));
	if (f->segment == NULL)
		return -ENOMEM;
	*f->segment = s;
	f->size = size;
	return 0;
}

static bool
is_segment(const struct vma *v)
{
	return v->kind == VMA_SHARED_ANON && v->shared && v->file >= 0 &&
	       strncmp(v->path, "/SYSV", strlen("/SYSV")) == 0;
}

int
sysv_collect(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	char *list = NULL;
	dev_t dev = 0;
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		const struct vma *v = &p->vmas[i];

		if (!is_segment(v))
			continue;
		if (list == NULL && !sysv_same_namespace(pid))
			return 0;
		if (list == NULL)
			err = device(cx, &dev);
		if (list == NULL && err == 0)
			err = sysv_read(cx, "shm", &list);
		if (err == 0 && makedev(v->major, v->minor) == dev)
			err = know(&p->mapfiles[v->file], v, list);
	}
	free(list);
	return err;
}
