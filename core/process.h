/*
 * process.h - what a process is made of, as plain data.
 *
 * This is the middle of the library.  A checkpoint fills a `struct process`
 * from a frozen process; image_write() turns it into the text files of an
 * image; image_read() turns those, checked, into the same structure; the plan
 * of a restore is computed from it.  Everything is owned by the structure and
 * released by process_free(), which accepts a half-filled one.
 *
 * Addresses and sizes are bytes of the process's own address space; times are
 * ns unless a name says otherwise.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <linux/filter.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>
#include <time.h>

#define PROCESS_NSIG 64	    /* signals 1..64, at [signo - 1] */
#define PROCESS_NRLIMITS 16 /* RLIM_NLIMITS of Linux 6.x */

/* ---- identity ---- */

struct creds {
	uid_t ruid, euid, suid, fsuid;
	gid_t rgid, egid, sgid, fsgid;
	gid_t *groups;
	size_t ngroups;
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint32_t securebits;
	bool no_new_privs;
};

/* ---- signals ---- */

/* The kernel's struct sigaction (x86-64), not libc's. */
struct ksigaction {
	uint64_t handler;
	uint64_t flags;
	uint64_t restorer;
	uint64_t mask;
};

struct siginfos {
	siginfo_t *v; /* 128 bytes each, as PTRACE_PEEKSIGINFO has them */
	size_t n;
};

/* ---- seccomp ---- */

/* A filter, and the one that was there before it in the same chain. */
struct filter {
	uint32_t before; /* its number, 0: none; numbers are from 1 */
	uint32_t flags;	 /* SECCOMP_FILTER_FLAG_LOG */
	struct sock_filter *v;
	size_t n;
};

/* Chains that begin in the same way have that in common: see seccomp.h. */
struct filters {
	struct filter *v;
	size_t n;
};

/* ---- threads ---- */

/*
 * A call that was interrupted with -ERESTART_RESTARTBLOCK: to be issued again
 * with `left_ns` in place of its time-out, so that the kernel makes its restart
 * block anew.  nr < 0: there was none.
 */
struct restart {
	int nr;
	uint64_t args[6];
	bool has_timeout;
	uint64_t left_ns;
};

/* set_mempolicy(2), mbind(2): mode 0, nothing was said.  See numa.h. */
#define NUMA_WORDS 16

struct numa {
	uint32_t mode; /* MPOL_*, with MPOL_F_* */
	uint64_t nodes[NUMA_WORDS];
};

/*
 * How the kernel treats a thread, if that is in another way than usual: all of
 * it 0 otherwise.
 */
struct habits {
	struct numa numa;
	uint32_t memory_error; /* PR_MCE_KILL: 1 early, 2 late */
	/* PR_SPEC_*, if set: of stores, indirect branches, the L1D cache */
	uint32_t speculation[3];
	bool no_tsc, no_cpuid; /* PR_TSC_SIGSEGV, ARCH_CPUID */
	bool io_flusher;
};

struct thread {
	pid_t tid;

	/*
	 * As it is to be resumed: an interrupted call that starts anew has rip
	 * on its syscall instruction and its number in rax; orig_rax is -1.
	 * With `restart` in force, rip and rax are those of the return from
	 * the call.
	 */
	struct user_regs_struct regs;
	uint8_t *xsave; /* NT_X86_XSTATE, as the kernel gives it */
	size_t xsave_len;
	struct restart restart;

	char comm[16];
	uint64_t sigmask;
	struct siginfos pending; /* directed at this thread */
	uint64_t altstack_sp, altstack_size;
	uint32_t altstack_flags;
	uint64_t robust_list, robust_len;
	uint64_t rseq,
	    rseq_cs; /* address of struct rseq, 0: none; its rseq_cs */
	uint32_t rseq_len, rseq_sig;
	uint64_t clear_child_tid;
	uint32_t pdeath_signal;
	uint64_t timerslack;

	uint32_t sched_policy, sched_priority, sched_flags;
	int32_t nice;
	uint64_t sched_runtime, sched_deadline, sched_period;
	uint32_t ioprio;
	uint8_t *affinity; /* bit mask of CPUs, sched_getaffinity(2) */
	size_t affinity_len;
	struct habits habits;

	struct creds creds;
	uint32_t seccomp; /* SECCOMP_MODE_* */
	uint32_t filter;  /* in mode 2: the number of its newest filter */
};

/* ---- timers ---- */

struct itimer {
	uint64_t value, interval; /* what is left, 0: not armed */
};

struct posix_timer {
	int32_t id;
	int32_t clockid;
	int32_t notify; /* SIGEV_*, with SIGEV_THREAD_ID's 4 */
	int32_t signo;
	uint64_t sigval;
	pid_t tid; /* of SIGEV_THREAD_ID */
	uint64_t value, interval;
	int32_t overrun;
};

/* ---- memory ---- */

enum vma_kind {
	VMA_ANON,	 /* private anonymous, [heap] and [stack] too */
	VMA_FILE,	 /* of a file, private or shared */
	VMA_SHARED_ANON, /* /dev/zero (deleted), SysV, memfd */
	VMA_VDSO,
	VMA_VVAR,
	VMA_VVAR_VCLOCK,
	VMA_VSYSCALL,
	VMA_OTHER, /* devices and the like: not restorable */
};

struct vma {
	uint64_t start, end; /* page-aligned, start < end */
	unsigned prot;	     /* PROT_* */
	bool shared;	     /* MAP_SHARED */
	uint64_t offset;
	uint32_t major, minor;
	uint64_t ino;
	char *path; /* as in maps, "" if none, still escaped */
	enum vma_kind kind;
	uint64_t flags; /* VMA_F_*, from VmFlags */
	uint32_t pkey;
	int file;	   /* index into mapfiles, -1: none */
	struct numa *numa; /* owned; NULL: nothing was said of it */
};

/* VmFlags of /proc/PID/smaps that a restore brings back (proc(5)). */
#define VMA_F_GROWSDOWN (1u << 0)    /* gd */
#define VMA_F_LOCKED (1u << 1)	     /* lo */
#define VMA_F_LOCKONFAULT (1u << 2)  /* lf */
#define VMA_F_SEQ (1u << 3)	     /* sr */
#define VMA_F_RAND (1u << 4)	     /* rr */
#define VMA_F_DONTCOPY (1u << 5)     /* dc */
#define VMA_F_NORESERVE (1u << 6)    /* nr */
#define VMA_F_HUGETLB (1u << 7)	     /* ht */
#define VMA_F_WIPEONFORK (1u << 8)   /* wf */
#define VMA_F_DONTDUMP (1u << 9)     /* dd */
#define VMA_F_HUGEPAGE (1u << 10)    /* hg */
#define VMA_F_NOHUGEPAGE (1u << 11)  /* nh */
#define VMA_F_MERGEABLE (1u << 12)   /* mg */
#define VMA_F_UFFD (1u << 13)	     /* um, uw, ui */
#define VMA_F_SEALED (1u << 14)	     /* sl */
#define VMA_F_DROPPABLE (1u << 15)   /* dp */
#define VMA_F_SHADOWSTACK (1u << 16) /* ss */
#define VMA_F_ACCOUNT (1u << 17)     /* ac */
#define VMA_F_IO (1u << 18)	     /* io, pf */
#define VMA_F_SYNC (1u << 19)	     /* sf */
#define VMA_F_MAYWRITE (1u << 20)    /* mw, of shared mappings only */

/*
 * What the kernel knows of each object of System V IPC: shared memory, a set of
 * semaphores, a message queue.
 */
struct ipc {
	int32_t id;
	uint32_t key, mode;
	uid_t uid, cuid; /* owner, and who made it */
	gid_t gid, cgid;
};

/*
 * A file that some VMA maps (or that is the executable): how to know it again.
 * Where `content` is not 0 the file on disk was no longer it (deleted or
 * replaced), and its bytes are in files/<content>.
 */
struct mapfile {
	char *path; /* unescaped, without " (deleted)" */
	uint64_t size;
	struct timespec mtime;
	char build_id[65]; /* hex, "" if it has none */
	uint32_t content;
	/* System V shared memory, of the file's size; its mode has SHM_DEST
	   (removed, but attached) and SHM_LOCKED, too. */
	struct ipc *segment; /* owned; NULL: it is none */
	dev_t dev;	     /* at the checkpoint; not in an image */
	ino_t ino;
};

enum run_kind {
	RUN_HELD,  /* its bytes are in `pages` at `offset` */
	RUN_GUARD, /* MADV_GUARD_INSTALL */
	RUN_ZERO,  /* nothing but zeros; of private anonymous memory only */
	/* The parent process holds the same at these addresses, see cow.h. */
	RUN_INHERITED,
	/* It has held the same at these addresses: its `former`. */
	RUN_FORMER,
	/* Of an increment: as its parent checkpoint has them, see chain.h. */
	RUN_PARENT,
};

/* Sorted by start, disjoint, each inside one VMA; HELD ones by offset too. */
struct run {
	uint64_t start, end;
	enum run_kind kind;
	uint64_t offset; /* in `pages`, page-aligned */
	/*
	 * Where a checkpoint's bytes come from: the twin's /proc/PID/mem
	 * (src_off is then start) or a copy made while frozen.  In an image
	 * that was read: the `pages` file.  Borrowed.
	 */
	int src_fd;
	uint64_t src_off;
	/* Of an image that was read, its memory resolved: */
	uint32_t src; /* whose `pages`: 0 its own, else of sources[src - 1] */
	uint32_t up;  /* the process so many levels above has the same */
	bool former;  /* or had: it is of its parent's `former` */
	bool late;    /* a restore: a pager brings it, see late.h */
};

struct mm_layout { /* struct prctl_mm_map, without auxv and exe */
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk;
	uint64_t start_stack, arg_start, arg_end, env_start, env_end;
};

/* ---- descriptors ---- */

/* One `key: value` line of a fdinfo file.  Order is kept. */
struct kv {
	char *key, *value;
};

/* An open file description: what dup(2)ed descriptors share. */
struct openfile {
	uint32_t id;   /* the first descriptor that refers to it */
	char kind[24]; /* the name of its row in the resource table */
	char *target;  /* readlink of /proc/PID/fd/N */
	uint64_t pos;
	uint32_t flags; /* O_*, without O_CLOEXEC */
	struct kv *kv;	/* what its kind wants to know */
	size_t nkv;
	/* At a restore: it is the caller's standard descriptor `std`. */
	bool given;
	int std; /* -1: the caller has it closed */
};

struct fdent {
	int fd;
	bool cloexec;
	uint32_t file; /* index into openfiles */
};

/*
 * Contents that exist nowhere else: files/ID.  In a tree of processes an id is
 * used once, and what several of them share is kept by the first of the tree:
 * with `up` the bytes are in files/ID of the directory so many levels above.
 */
struct content {
	uint32_t id; /* from 1 up */
	uint32_t up; /* 0: its own */
	int fd; /* owned; read with pread; -1: another of the tree has it */
	uint64_t size;
	dev_t dev; /* of the object it was copied from, see shared.h */
	ino_t ino; /* 0: of none */
};

/* ---- children that have ended ---- */

/* One that its parent has not waited for yet. */
struct zombie {
	pid_t pid, pgid, sid;
	int32_t status;	      /* as wait(2) gives it */
	uint32_t exit_signal; /* what its parent got, or 0 */
	char comm[16];
};

/* ---- System V semaphores, see semset.h ---- */

struct semaphore {
	uint16_t value;
	pid_t pid; /* who was the last to change it, 0: nobody */
};

/* A set that nobody but the tree uses; the first of its users has it. */
struct semset {
	struct ipc ipc;
	struct semaphore *v; /* owned */
	size_t n;
};

/* What is added to the value when the process ends (SEM_UNDO). */
struct semundo {
	int32_t id;
	uint16_t number;
	int16_t by; /* not 0 */
};

/* ---- System V message queues, see msgqueue.h ---- */

struct message {
	int64_t type; /* above 0 */
	char *bytes;  /* owned */
	size_t size;
};

/* A queue that nobody but the tree uses; the first of its users has it. */
struct msgqueue {
	struct ipc ipc;
	uint64_t qbytes;	/* how much there may be in it */
	pid_t sender, receiver; /* the last ones, 0: none */
	struct message *v;	/* owned, in their order */
	size_t n;
	size_t bytes; /* of all of them */
};

/* ---- what a restore would not bring back ---- */

struct unsupported {
	char *what; /* "fd 7", "vma 7f...-7f...", "child 123": no ':' */
	char *why;  /* a sentence: the reason and the remedy */
};

/* ---- what is each one's own, unless clone(2) was told otherwise ---- */

enum share {
	SHARE_FDS, /* the table of descriptors */
	SHARE_FS,  /* root, working directory and umask */
	SHARES
};

/* ---- the process ---- */

/* Bytes [start, end) of `pages`, or addresses. */
struct part {
	uint64_t start, end;
};

struct process {
	/* of the checkpoint itself */
	char id[33];
	char parent_id[33]; /* of an increment; "": it is whole */
	char *dir; /* where it was read, from the image that was asked for:
			"children/12/", "../../", or of a link of a chain
			"NAME/"; NULL: it is that image itself */
	struct timespec time;
	uint64_t frozen_us;
	char *kernel;	    /* uname -r */
	char arch[16];	    /* "x86_64" */
	uint64_t xfeatures; /* XCR0 bits whose state is not initial in some
				   thread: needed at restore */
	char vdso[65];	    /* build-id of the vDSO, hex; "" if none */

	struct unix_index *unix_index; /* see there; or NULL */
	struct family *tree; /* of which it is v[index]; borrowed.  NULL: none,
				or it is above[index] of one */
	size_t index;
	size_t parent;	/* the index of its parent, its own for the first */
	uint32_t depth; /* how many levels below the first */

	pid_t pid, ppid, pgid, sid;
	uint32_t exit_signal; /* what its parent gets when it ends, or 0 */
	uid_t owner_uid;      /* owner of /proc/PID */
	gid_t owner_gid;
	pid_t share[SHARES]; /* the first of the tree that has the same; 0: it
				 is the first itself, mostly the only one */
	uint32_t tty;	     /* controlling terminal's device, 0: none */
	pid_t tty_pgid; /* the process group in the foreground there, or -1 */

	struct thread *threads; /* the leader first, then by tid */
	size_t nthreads;
	struct filters filters;

	uint32_t umask;
	uint32_t personality;
	uint32_t dumpable;
	int32_t oom_score_adj;
	uint32_t coredump_filter;
	bool child_subreaper;
	bool thp_disable;
	bool thp_advised;     /* but where it was asked for by madvise(2) */
	bool memory_merge;    /* PR_SET_MEMORY_MERGE */
	uint32_t lock_future; /* MCL_FUTURE, MCL_ONFAULT */
	uint32_t membarrier;  /* MEMBARRIER_CMD_REGISTER_* */
	bool group_stopped;   /* SIGSTOPped */
	bool stop_told;	      /* and its parent has waited for that */
	struct {
		uint64_t cur, max;
	} rlimits[PROCESS_NRLIMITS];

	struct ksigaction actions[PROCESS_NSIG];
	struct siginfos pending; /* directed at the process */

	struct itimer itimers[3];
	struct posix_timer *timers;
	size_t ntimers;

	char *cgroup;		/* as in /proc/PID/cgroup, NULL: not known */
	char *cwd, *root, *exe; /* as readlink gives them */
	int exe_file;		/* index into mapfiles, -1: none */
	struct mm_layout mm;
	uint8_t *auxv, *cmdline, *environ;
	size_t auxv_len, cmdline_len, environ_len;

	struct vma *vmas; /* sorted by start, disjoint */
	size_t nvmas;
	struct mapfile *mapfiles;
	size_t nmapfiles;
	struct run *runs;
	size_t nruns;
	/* What it had when it forked, and children of it still have: sorted,
	   disjoint, HELD; behind the runs in `pages`. */
	struct run *former;
	size_t nformer;
	struct process **sources; /* whose pages its runs need, too; borrowed */
	size_t nsources;
	struct part *huge; /* by address: what was in huge pages */
	size_t nhuge;
	uint64_t pages_size; /* bytes of `pages` */
	int pages_fd;	     /* owned, -1: none.  The twin's mem or the file */
	int frozen_fd; /* owned, -1: none.  Pages copied while it was frozen */

	struct openfile *files; /* by id */
	size_t nfiles;
	struct fdent *fds; /* by fd */
	size_t nfds;

	struct content *contents; /* by id */
	size_t ncontents;

	struct zombie *zombies; /* by pid */
	size_t nzombies;

	struct semset *semsets; /* by id */
	size_t nsemsets;
	struct semundo *undos; /* by id, then number */
	size_t nundos;
	struct msgqueue *queues; /* by id */
	size_t nqueues;

	struct part *prefetch; /* in the order of use, no more than `pages` */
	size_t nprefetch;

	struct unsupported *unsupported;
	size_t nunsupported;
};

struct image_sums;
struct snap_ctx;

/*
 * A process and all below it, or one alone: parents before their children,
 * children by pid.
 */
struct family {
	struct process **v;
	struct image_sums **sums; /* of an image that was read: what is left to
				     verify of each; else NULL */
	size_t n;
	uint64_t thawed;       /* clock ticks since boot: frozen until then */
	bool copying_limited;  /* while frozen, see copytime.h */
	uint64_t copying_left; /* ns */
	/* Whose pages these need, too: those above an image that is not
	   restored from its top, its parent first; or those of the parents of
	   an increment. */
	struct process **above;
	struct image_sums **above_sums;
	size_t nabove;
};

/* How many processes one tree may have, and how deep it may be. */
#define FAMILY_MAX 4096
#define FAMILY_DEPTH_MAX 256

/* NULL if there is no memory. */
struct process *process_new(void);
void process_free(struct process *p);

/*
 * Grow an array by one zeroed element and return it, NULL if there is no
 * memory:	t = process_grow(&p->threads, &p->nthreads, sizeof(*t));
 */
void *process_grow(void *array, size_t *n, size_t size);
/*
 * A run behind the others; it becomes part of the last one, if that is of its
 * kind and ends where it starts, and is not one of the `first` first.
 */
int process_add_run(struct process *p, size_t first, uint64_t start,
    uint64_t end, enum run_kind kind);
/*
 * Behind the *n runs of *v, which are new ones of the parts of `of` so far: its
 * part from start to end, as that kind.  It becomes part of the last one if it
 * goes on with that.  0 or -ENOMEM.
 */
int process_add_part(struct run **v, size_t *n, const struct run *of,
    uint64_t start, uint64_t end, enum run_kind kind);

/*
 * Of an image that was read: p is to have runs of q.  Under which `src` in p is
 * what has the number `src` in q?  `known`, q->nsources + 1 zeros at first,
 * keeps that.  0, -ENOMEM, or -E2BIG: there may not be more.
 */
#define PAGES_SOURCES_MAX 4096
int process_take_source(struct process *p, struct process *q, uint32_t src,
    uint32_t *known, uint32_t *out);

/* The index of the first run that ends above `at`; nruns: there is none. */
size_t process_run_above(const struct process *p, uint64_t at);

/* 0 or -ENOMEM. */
int process_unsupported(struct process *p, const char *what, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));

/*
 * Add contents, taking over `fd` (closed at failure too).  Returns the new id
 * or -ENOMEM.
 */
int process_add_content(struct process *p, int fd, uint64_t size);
const struct content *process_content(const struct process *p, uint32_t id);

/* NULL if there is no such key. */
const char *openfile_get(const struct openfile *f, const char *key);
int openfile_put(struct openfile *f, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* All its keys. */
void openfile_forget(struct openfile *f);

#endif
