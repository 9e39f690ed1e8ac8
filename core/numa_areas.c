/*
 * numa_areas.c - the NUMA policy of each mapping.
 *
 * The kernel can be asked for one address, by a call of the twin; or for all
 * mappings at once, which takes as long as looking at each page.  So which of
 * the two is done depends on how many there are of both.
 *
 * /proc/PID/numa_maps shows the policy of the process where a mapping has none:
 * so the twin, which needs no memory any more, is made to have none.
 */
#include "numa_areas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "ctx.h"
#include "numa.h"
#include "proc.h"
#include "twin.h"
#include "vma.h"

#define MPOL_F_ADDR 2

/* A call takes as long as looking at so many pages. */
#define PAGES_PER_CALL 64

/* How the twin is told of one. */
struct answer {
	uint32_t mode, pad[3];
	uint64_t nodes[NUMA_WORDS];
};
_Static_assert(sizeof(struct answer) <= TWIN_ROOM, "TWIN_ROOM");

static bool
is_kernels(const struct vma *v)
{
	return v->kind == VMA_VVAR || v->kind == VMA_VVAR_VCLOCK ||
	       v->kind == VMA_VDSO || v->kind == VMA_VSYSCALL;
}

static int
put(struct process *p, struct vma *v, const struct numa *n)
{
	char what[64];

	if (n->mode == 0)
		return 0;
	snprintf(what, sizeof(what), "vma %lx-%lx", (unsigned long)v->start,
	    (unsigned long)v->end);
	if (!numa_known(n))
		return process_unsupported(p, what,
		    "its NUMA policy is of a kind that is not known: it comes "
		    "back without");
	v->numa = malloc(sizeof(*n));
	if (v->numa == NULL)
		return -ENOMEM;
	*v->numa = *n;
	return 0;
}

/* ---- all at once ---- */

/* Where the policy ends: two of them have a space in their name. */
static size_t
length(const char *s)
{
	static const char *const spaced[] = { "prefer (", "weighted " };
	size_t n = 0;

	for (size_t i = 0; i < sizeof(spaced) / sizeof(spaced[0]); i++)
		if (strncmp(s, spaced[i], strlen(spaced[i])) == 0)
			n = strlen(spaced[i]);
	return n + strcspn(s + n, " \n");
}

int
numa_areas_parse(const char *text, struct process *p)
{
	const char *s = text;
	struct numa n;
	struct vma *v;
	char *end;
	int err = 0;

	while (err == 0 && *s != '\0') {
		uint64_t start = strtoull(s, &end, 16);

		if (end == s || *end != ' ')
			return -EPROTO;
		s = end + 1;
		v = vma_find(p, start);
		if (!numa_parse_maps(s, length(s), &n))
			n = (struct numa){ .mode = UINT32_MAX };
		if (v != NULL && v->start == start && !is_kernels(v))
			err = put(p, v, &n);
		s += strcspn(s, "\n");
		s += *s == '\n';
	}
	return err;
}

static int
read_all(struct snap_ctx *cx, pid_t pid, struct process *p)
{
	char *text;
	int err;

	/* Not there: a kernel that knows no NUMA. */
	err = proc_try(pid, "numa_maps", &text, NULL);
	if (err != 0)
		return err == -ENOENT ? 0 : err;
	err = numa_areas_parse(text, p);
	free(text);
	return err == -EPROTO
		   ? snap_fail(cx, err, "/proc/%d/numa_maps: not understood",
			 (int)pid)
		   : err;
}

static bool
same(const struct numa *a, const struct numa *b)
{
	return a->mode == b->mode &&
	       memcmp(a->nodes, b->nodes, sizeof(a->nodes)) == 0;
}

/* What is as the process has it was not said of the mapping, most likely. */
int
numa_areas_collect_frozen(struct snap_ctx *cx, struct process *p)
{
	int err = read_all(cx, p->pid, p);

	for (size_t i = 0; err == 0 && i < p->nvmas; i++) {
		struct vma *v = &p->vmas[i];

		if (v->numa != NULL &&
		    same(v->numa, &p->threads[0].habits.numa)) {
			free(v->numa);
			v->numa = NULL;
		}
	}
	return err;
}

/* ---- one by one ---- */

/* EFAULT: it is not in the twin. */
static int
ask_one(struct twin *t, struct process *p, struct vma *v)
{
	const uint64_t room = twin_room(t);
	const uint64_t args[6] = { room, room + offsetof(struct answer, nodes),
		NUMA_NODES, v->start, MPOL_F_ADDR };
	struct answer a;
	struct iovec here = { &a, sizeof(a) };
	struct iovec there = { (void *)(uintptr_t)room, sizeof(a) };
	struct numa n;
	ssize_t got;
	int err;

	err = (int)twin_call(t, SYS_get_mempolicy, args);
	if (err != 0)
		return err == -EFAULT ? 0 : err;
	got = process_vm_readv(twin_pid(t), &here, 1, &there, 1, 0);
	if (got != (ssize_t)sizeof(a))
		return got < 0 ? -errno : -EIO;
	n.mode = a.mode;
	memcpy(n.nodes, a.nodes, sizeof(n.nodes));
	return put(p, v, &n);
}

static int
ask_each(struct twin *t, struct process *p)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < p->nvmas; i++)
		if (!is_kernels(&p->vmas[i]))
			err = ask_one(t, p, &p->vmas[i]);
	return err == -ENOSYS ? 0 : err;
}

static uint64_t
resident(pid_t pid)
{
	uint64_t pages = 0;
	char *text, *s;

	if (proc_try(pid, "statm", &text, NULL) != 0)
		return 0;
	s = strchr(text, ' ');
	if (s != NULL)
		pages = strtoull(s, NULL, 10);
	free(text);
	return pages;
}

int
numa_areas_collect(struct snap_ctx *cx, struct twin *t, struct process *p)
{
	const uint64_t none[6] = { 0 };
	int err;

	if (p->nvmas * PAGES_PER_CALL < resident(twin_pid(t))) {
		err = ask_each(t, p);
	} else {
		err = (int)twin_call(t, SYS_set_mempolicy, none);
		err = err == 0	       ? read_all(cx, twin_pid(t), p)
		      : err == -ENOSYS ? 0
				       : err;
	}
	if (err != 0)
		return snap_fail(cx, err == -ESRCH ? -EIO : err,
		    "process %d: its NUMA policy: %s", (int)p->pid,
		    strerror(-err));
	return 0;
}
