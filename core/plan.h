/*
 * plan.h - what has to be done to make a process again, as an ordered array
 * of operations, computed from its image.  Pure: nothing is opened, mapped or
 * asked here, so that a plan can be printed, compared and tested.
 */
#ifndef PLAN_H
#define PLAN_H

#include <limits.h>
#include <sys/uio.h>

#include "inherit.h"
#include "layout.h"
#include "process.h"
#include "restorer/restorer.h"

struct snap_ctx;

/* Bytes to be written over those of the image, which has their pages. */
struct patch {
	uint64_t at;
	void *bytes;
	size_t len;
};

/* What a plan has to know of where it will be carried out. */
struct host {
	struct range vvar, vvar_vclock, vdso; /* ours */
	struct creds creds;		      /* ours; groups are borrowed */
	uint64_t lent_caps; /* of these, what we must not pass on */
	struct {
		uint64_t cur, max;
	} rlimits[PROCESS_NRLIMITS];
	bool new_pid;
	bool suspended; /* seccomp filters have no effect yet */
	/*
	 * What is made: a process, from nothing; or a template, which has the
	 * memory and nothing else, and gets its orders from control_fd; or an
	 * instance, which begins as a clone of such a one.
	 */
	enum plan_part { PLAN_WHOLE, PLAN_TEMPLATE, PLAN_INSTANCE } part;
	int control_fd;
	int cwd_fd, root_fd, tty_fd; /* PLAN_INSTANCE: numbers in it, or -1 */
	/* PLAN_INSTANCE: it stays in the template's session, in this group; 0:
	 * it leads a session of its own. */
	pid_t group;
	bool mortal;  /* PLAN_TEMPLATE: it dies with its parent */
	int fd_first; /* descriptors from here up are ours, */
	int fd_end;   /* to here; 0: all, the table is its own */
	int pages_fd, exe_fd;
	const int *source_fds; /* the pages of p->sources */
	bool paged;	/* a pager brings the runs that are late */
	int uffd_fd;	/* then: /dev/userfaultfd; -1: there is none */
	struct pieces pieces;  /* memory that is there already; borrowed */
	struct patch *patches; /* owned, with their bytes */
	size_t npatches;
	/* For each of p->mapfiles, to read and to write; -1: not needed. */
	const int *file_fds, *rw_file_fds;
};

/* Something that must outlive the great unmapping, at `off` in the area. */
struct moved {
	struct range from; /* where it is, or empty: shared memory to be made */
	uint64_t off, len;
	int file;      /* of shared memory: index into mapfiles */
	int flags;     /* of mmap(2), likewise */
	bool readonly; /* a System V segment: attached with SHM_RDONLY */
};

struct plan {
	struct moved *moved;
	size_t nmoved;
	uint64_t stacks_off; /* LANE_STACK for each lane */
	uint64_t data_off;
	uint8_t *data;
	size_t ndata;
	size_t *relocs; /* 8-byte words in data that are area offsets */
	size_t nrelocs;
	struct op *ops;
	size_t nops;
	struct lane *lanes;
	size_t nlanes;
	uint64_t *filters; /* offset of each one's struct sock_fprog */
	size_t nfilters;
	char *text; /* what the operations are about */
	size_t ntext;

	uint32_t what; /* of the operations being added */
	struct op spare;
	bool failed; /* memory ran out */
};

int plan_make(struct snap_ctx *cx, const struct process *p,
    const struct host *h, struct plan **out);
/*
 * What comes before it, in ordinary C: the memory that is inherited or handed
 * on.  Offsets are from the plan's data; h has the descriptors of then.
 */
int plan_make_inherited(struct snap_ctx *cx, const struct process *p,
    const struct host *h, struct plan **out);
void plan_free(struct plan *pl);

/* The plan as text, an operation a line; to be freed.  NULL: no memory. */
char *plan_print(const struct plan *pl);
const char *plan_op_name(const struct op *op);

/*
 * Does `v` map shared memory that has no file, which the agent makes and fills
 * in the area?  (If not, shared memory is mapped from a descriptor.)
 */
bool plan_is_anonymous_object(const struct vma *v);
/* Such a one: is it a System V segment that may not be written here? */
bool plan_is_readonly(const struct process *p, const struct vma *v);

#define PLAN_XFEATURE_TILEDATA 18 /* the bit of AMX tiles in XCR0 */

/* Is it mapped such that its file is written, now or after an mprotect(2)? */
bool plan_writes_file(const struct vma *v);

/* ---- for the parts that add operations ---- */

/* Begin the next lane; its operations are those added until it ends. */
void plan_begin_lane(struct plan *pl);
void plan_end_lane(struct plan *pl);
/* What the operations added from now on are about: "maps:14". */
void plan_what(struct plan *pl, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Never NULL: when memory ran out it is a spare one. */
struct op *plan_op(struct plan *pl, enum op_kind kind, enum op_check check,
    int nr, const uint64_t args[6]);
/* The offset in the area of a copy of `len` bytes; 16-aligned. */
uint64_t plan_data(struct plan *pl, const void *bytes, size_t len);
/* The 8 bytes at this offset in the area are themselves such an offset. */
void plan_reloc(struct plan *pl, uint64_t off);

#define PLAN_CALL(pl, check, nr, ...) \
	plan_op(pl, OP_CALL, check, nr, (const uint64_t[6]){ __VA_ARGS__ })

/* plan_moved.c */
int plan_moved(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h);
/* Our counterpart of a VMA that the kernel made, NULL if it is none. */
const struct range *plan_ours(const struct host *h, const struct vma *v);
/* plan_memory.c */
bool plan_is_system(const struct vma *v);
/* Flags and protection of mmap(2); `filled`: it has contents. */
int plan_mmap_flags(const struct vma *v, bool filled);
uint64_t plan_first_prot(const struct vma *v, bool filled);
int plan_memory(struct snap_ctx *cx, struct plan *pl, const struct process *p,
    const struct host *h);
/* plan_contents.c */
void plan_fill(struct plan *pl, const struct process *p, const struct host *h);
/*
 * Bytes of run r, which go to `at`.  Reads that follow one another in `pages`
 * become one operation; r NULL: that was all.
 */
struct plan_reads {
	struct iovec iov[IOV_MAX];
	size_t n;
	uint64_t off, total;
	uint32_t src;
};
void plan_read(struct plan *pl, const struct host *h, struct plan_reads *rd,
    const struct run *r, uint64_t at);
/* plan_inherited.c */
/* Is all of this VMA there already?  `k` moves on, from 0. */
bool plan_is_there(const struct host *h, size_t vma, size_t *k);
/* Unmap all else. */
void plan_clear(struct plan *pl, const struct host *h);
/* Move it to where it belongs. */
void plan_bring_home(
    struct plan *pl, const struct host *h, size_t vma, size_t k);
/* Is it memory that a pager fills, in part at least? */
bool plan_is_paged(const struct host *h, const struct vma *v);
void plan_pager_begin(struct plan *pl, const struct host *h);
void plan_pager_await(struct plan *pl);
void plan_patch(struct plan *pl, const struct host *h);
void plan_guards(struct plan *pl, const struct process *p);
/* plan_advice.c */
void plan_pkeys(struct plan *pl, const struct process *p);
void plan_thp(struct plan *pl, const struct process *p, enum op_check check);
void plan_advise(
    struct plan *pl, const struct process *p, size_t i, bool before);
void plan_names(struct plan *pl, const struct process *p);
void plan_mm_map(
    struct plan *pl, const struct process *p, const struct host *h);
void plan_memory_late(struct plan *pl, const struct process *p);
void plan_unforked(struct plan *pl, const struct process *p);
/* plan_template.c */
int plan_template_check(struct snap_ctx *cx, const struct process *p);
void plan_template(struct plan *pl, const struct host *h);
void plan_instance(
    struct plan *pl, const struct process *p, const struct host *h);
/*
 * The descriptors that an instance is sent, in this order: those of the image,
 * then those that it needs for a while.  NULL: no memory.
 */
struct fd_place *plan_fd_places(
    const struct process *p, const struct host *h, size_t *n);
/* plan_process.c */
void plan_process(
    struct plan *pl, const struct process *p, const struct host *h);
void plan_clones(
    struct plan *pl, const struct process *p, const struct host *h);
void plan_process_late(
    struct plan *pl, const struct process *p, const struct host *h);
/* plan_seccomp.c */
void plan_seccomp_common(
    struct plan *pl, const struct process *p, const struct host *h);
void plan_seccomp(struct plan *pl, const struct process *p,
    const struct thread *t, const struct host *h);
/* plan_habits.c */
void plan_numa_thread(struct plan *pl, const struct thread *t);
void plan_numa_memory(struct plan *pl, const struct process *p, size_t i);
void plan_habits_process(struct plan *pl, const struct process *p);
void plan_habits_thread(struct plan *pl, const struct thread *t);
/* plan_thread.c, plan_creds.c */
void plan_thread(struct plan *pl, const struct process *p, size_t lane,
    const struct host *h);
void plan_creds(
    struct plan *pl, const struct creds *want, const struct host *h);
void plan_epilogue(struct plan *pl, const struct process *p);

#endif
