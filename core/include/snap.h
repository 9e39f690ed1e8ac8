/*
 * snap.h - all that a front end sees of the checkpoint and restore library.
 *
 * Errors: every call that can fail returns 0 (or a count) or -errno, and
 * leaves one sentence in the context, snap_error().  The first error stands
 * until snap_clear().  The errno means:
 *
 *	ESRCH      the process is gone
 *	EPERM      the kernel does not allow it
 *	ENOTSUP    a kind of object, or a kernel, that is not handled
 *	EBUSY      another tracer has it
 *	EEXIST     a pid is taken
 *	EBADMSG    the image is damaged (the sentence says FILE:LINE)
 *	EPROTO     the image's version or architecture is not known here
 *	ETIMEDOUT  it would not freeze in time
 *
 * Threads: a context belongs to one thread at a time.  A checkpoint is taken
 * and dropped on the same thread, and that thread must live as long as the
 * checkpoint does, since it is the tracer of the twin (ptrace(2): a tracee
 * belongs to the thread that attached it).  If that thread ends, or the
 * program is killed, the original runs on and the twin dies.
 * snap_checkpoint_read() and the node calls may be made on any thread.
 */
#ifndef SNAP_H
#define SNAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "snap_log.h"

/* ---- context ---- */

struct snap_ctx;

struct snap_options {
	/* How long a process may take to freeze, in ms; 0 means 2000. */
	unsigned freeze_timeout_ms;
	/* Where the log goes, may be NULL; and up to which level. */
	void (*log)(void *arg, const struct snap_log_record *record);
	void *log_arg;
	enum snap_level log_level;
};

/* NULL if there is no memory.  `opt` is copied and may be NULL. */
struct snap_ctx *snap_ctx_new(const struct snap_options *opt);
void snap_ctx_free(struct snap_ctx *cx);

/* The sentence of the first error, "" if there was none; owned by `cx`. */
const char *snap_error(const struct snap_ctx *cx);
void snap_clear(struct snap_ctx *cx);

/*
 * In place, for text with names in it, which are others' choice: each byte of a
 * control character (C0, DEL, C1), and each that is not part of well-formed
 * UTF-8, becomes '?'.  Sentences and notes of this library are so already.
 */
void snap_printable(char *text);

/* ---- what this kernel can do ---- */

struct snap_feature {
	const char *name; /* e.g. "pagemap-scan" */
	bool present;
	const char *without; /* what is done instead, a sentence */
};

/* Probe once; the array ends with a NULL name and is static. */
const struct snap_feature *snap_features(void);

/* ---- taking a checkpoint ---- */

struct snap_checkpoint;
struct snap_tracker;

struct snap_take_options {
	/*
	 * Processes that are not part of the checkpoint although they are
	 * below `pid` (the reader itself, and whoever waits for it).
	 */
	const pid_t *exclude;
	size_t nexclude;
	/*
	 * May whoever asked see this process, which is below `pid` and frozen?
	 * NULL: all of them.  What he may not is left out, and said to be.
	 */
	bool (*may)(void *arg, pid_t pid);
	void *may_arg;
	/*
	 * Tells what was written since earlier checkpoints of this process, may
	 * be NULL.  See snap_tracker_new().
	 */
	struct snap_tracker *tracker;
	/*
	 * Only its `delta` is going to be read.  Then, if it is not more than
	 * `copy_max` bytes, what was written is copied before it is frozen, and
	 * what is left while it is, where that is shorter than a fork; no twin
	 * is made, and there is nothing but `delta`.
	 */
	bool delta;
	uint64_t copy_max;
	/*
	 * Leave the original frozen as it is in the checkpoint, until
	 * snap_checkpoint_release(), _end() or _drop(); or the end of the
	 * calling thread, upon which the kernel lets it go.
	 */
	bool hold;
};

/*
 * Freeze `pid` and all processes below it, make a twin of each, let them go on.  On success *out is owned by the
 * caller, to be dropped with snap_checkpoint_drop() on this very thread.
 * The original is thawed when this returns, whatever it returns; but for `hold`,
 * and that after ETIMEDOUT a thread of it in uninterruptible sleep may be held when it
 * comes out of that, until the calling thread ends.  After any error a thread
 * may run on and yet have us as its tracer until then.
 */
int snap_checkpoint_take(struct snap_ctx *cx, pid_t pid,
    const struct snap_take_options *opt, struct snap_checkpoint **out);

/*
 * To be called now and then, on the same thread, until it returns false: lets
 * go of twins that were killed, for a container ends only when all of its
 * processes have, and these are some of it.
 */
bool snap_checkpoint_tend(struct snap_checkpoint *cp);

/* Accepts NULL. */
void snap_checkpoint_drop(struct snap_checkpoint *cp);

/*
 * Of a checkpoint whose original is held, on the same thread.  Let it go on; or
 * kill it, with all below it, in such a way that the peers of its connections of
 * TCP hear nothing of it, so that these can go on elsewhere.  -ESTALE: one of
 * them has gone on since the checkpoint; then, and with any other error, the
 * original is held as before.
 */
void snap_checkpoint_release(struct snap_ctx *cx, struct snap_checkpoint *cp);
int snap_checkpoint_end(struct snap_ctx *cx, struct snap_checkpoint *cp);

/*
 * Clear away what a program that was killed may have left in any process: code,
 * memory, dead twins.  To be called once when a program starts, on a thread
 * that may be held up by processes that do not freeze.
 */
void snap_sweep(struct snap_ctx *cx);

struct snap_checkpoint_info {
	pid_t pid;
	pid_t twin;	      /* 0 if it was copied while frozen */
	unsigned processes;   /* itself and those below it */
	uint64_t frozen_us;   /* how long one of them was held at most */
	struct timespec time; /* CLOCK_REALTIME of the freeze */
	uint64_t pages_bytes; /* the sizes of `pages` */
	bool only_delta;      /* it has no files but those of `delta` */
	char id[33];	      /* 32 hex digits */
};

void snap_checkpoint_info(
    const struct snap_checkpoint *cp, struct snap_checkpoint_info *info);

/* ---- what changed since ---- */

/*
 * What one process and those below it write to their memory, from its first
 * checkpoint with the tracker on: each later one then has, beside its files, a
 * directory `delta` (snap_checkpoint_lookup() finds it, it is not among the
 * children) with the same files, where `pages` holds only what was written
 * since the last checkpoint of which snap_checkpoint_copied() was told, its
 * parent.
 *
 * Nothing is left in the processes but that their memory is registered with a
 * userfaultfd each that nobody but the tracker has; when that is stopped, or
 * the program ends, the kernel takes it away.
 *
 * Thread-safe.  Checkpoints may outlive the tracker.
 */
struct snap_tracker *snap_tracker_new(void); /* NULL: no memory */

/* One more, and one less, that has it; NULL is accepted. */
struct snap_tracker *snap_tracker_get(struct snap_tracker *t);
void snap_tracker_put(struct snap_tracker *t);

/* Tracking ends now, whoever else has it; and one less has it. */
void snap_tracker_stop(struct snap_tracker *t);

/*
 * Can this process be tracked, as far as one sees without holding it?  ENOTSUP
 * with the reason: a kernel without write-protection in async mode, or a process
 * that uses userfaultfd itself.
 */
int snap_tracker_possible(struct snap_ctx *cx, pid_t pid);

struct snap_tracker_info {
	bool on;	  /* its memory is registered */
	char why[128];	  /* why it is not, "" if nothing is wrong */
	char parent[33];  /* the next increment's parent, "": none yet */
	uint64_t scans;	  /* how often it was asked what was written */
	uint64_t scan_us; /* how long that held the process, the last time */
	uint64_t pages;	 /* that were written before the last time: one fault */
			 /* of the process each */
	uint64_t copied; /* increments for which no twin was made */
	size_t processes; /* that are tracked; `pages' and `scan_us' of all */
};

void snap_tracker_info(struct snap_tracker *t, struct snap_tracker_info *info);

/* No more than so many processes; others are whole in each increment. */
void snap_tracker_limit(struct snap_tracker *t, size_t processes);

/*
 * All of this checkpoint, or of its delta, was copied: later increments build
 * upon it, unless they do upon a later one already.
 */
void snap_checkpoint_copied(struct snap_checkpoint *cp);

/*
 * The pids of all its twins, at most `n` of them, into `pids`, which may be
 * NULL if n is 0; returns how many there are.  They never change.
 */
size_t snap_checkpoint_twins(
    const struct snap_checkpoint *cp, pid_t *pids, size_t n);

/*
 * A checkpoint as a tree of files.  Nodes are numbered from 0, the root
 * directory, in the order in which they should be read: `checkpoint` is the
 * first file, `xxh128sums` the last.  Children of a directory have higher
 * numbers than the directory.  Nothing of a tree ever changes.
 */
enum snap_node_type { SNAP_DIR, SNAP_FILE, SNAP_LINK };

struct snap_node {
	const char *name; /* "" for the root; owned by the checkpoint */
	enum snap_node_type type;
	uint32_t parent;
	uint32_t first_child; /* 0: none */
	uint32_t next;	      /* the next child of the same parent; 0: none */
	uint64_t size;	      /* bytes; of a link, the length of its target */
	uid_t uid;	      /* the owner of the process */
	gid_t gid;
};

uint32_t snap_checkpoint_nodes(const struct snap_checkpoint *cp);

/*
 * Behind these numbers, so many are those of `core`, the ELF core file of each
 * process: snap_checkpoint_lookup() finds it in the process's directory, whose
 * child it is not.  It is made then.
 */
uint32_t snap_checkpoint_cores(const struct snap_checkpoint *cp);

/* NULL: there is no such node, or no memory to make it. */
const struct snap_node *snap_checkpoint_node(
    const struct snap_checkpoint *cp, uint32_t n);

/* The number of `name` in directory `dir`, or 0: there is none. */
uint32_t snap_checkpoint_lookup(
    const struct snap_checkpoint *cp, uint32_t dir, const char *name);

/*
 * Bytes of a file, or of a link's target: the number read, 0 at the end,
 * -errno.  Thread-safe.  EIO if the twin is gone.
 */
ssize_t snap_checkpoint_read(struct snap_checkpoint *cp, uint32_t n, void *buf,
    size_t len, uint64_t off);

/*
 * Where a file is read by several threads: say what will be read, before it is,
 * so that the sums of what is read behind it can wait.  Then it must be followed
 * by snap_checkpoint_served() of the same offset, of whatever length.
 */
void snap_checkpoint_reading(
    struct snap_checkpoint *cp, uint32_t n, size_t len, uint64_t off);

/*
 * Tell of bytes that snap_checkpoint_read() gave, so that xxh128sums need not
 * read them again.  A call of its own, for it takes its time: a front end
 * answers whoever waits for the bytes first.  Thread-safe; may be left out.
 */
void snap_checkpoint_served(struct snap_checkpoint *cp, uint32_t n,
    const void *buf, size_t len, uint64_t off);

/*
 * The names at the top of every checkpoint, in reading order, for listing a
 * directory whose checkpoint has not been taken; ends with a NULL name.
 */
struct snap_name {
	const char *name;
	enum snap_node_type type;
};

const struct snap_name *snap_top_names(void);

/* ---- chains ---- */

/*
 * Write the whole image that the increment in `dir` and its parents make into
 * the empty directory `out`.  Parents are found by their ids beside `dir`, and
 * in the directories `more`, which may be parents themselves.  0 or -errno (see
 * chain.h); then what is in `out` is no image.
 */
int snap_merge(
    struct snap_ctx *cx, int dir, const int *more, size_t nmore, int out);

/* ---- restoring ---- */

/*
 * Does the directory open at `dir` hold an image, whole or not?  1, 0, or -errno
 * if its file `checkpoint` cannot be read.
 */
int snap_image_is(int dir);

/*
 * A process that has the memory of an image, and never runs: what is restored
 * with it is a clone of it, so that what the instances do not change is there
 * once.  It ends when the last copy of `control` is closed.
 */
struct snap_template {
	int control; /* owned, as pidfd is */
	int pidfd;
	int spare; /* of snap_template_spare(), owned; 0: none */
	pid_t pid; /* for whoever made it, while that is its parent */
	uint64_t start, end; /* addresses of its own */
	char note[512];	     /* what came back differently; "" if nothing */
};

/*
 * What an image wants of the terminal that the caller gives in place of the
 * one that it had.  Terminals whose masters are in it are none of these.
 */
struct snap_terminal {
	bool controlling; /* it was the controlling terminal of some of it */
	bool foreground;  /* some were in the foreground there, and ran */
	bool reads;	  /* and had it open for reading */
	/*
	 * It cannot be in another's session: it led one of its own, or has
	 * several process groups.
	 */
	bool session;
};

struct snap_restore_options {
	int dir; /* the image's directory, open; not consumed */
	/* Where parents of an increment may be but beside it; the same. */
	const int *parents;
	size_t nparents;
	bool new_pid; /* let the kernel choose the pids */
	bool stopped; /* leave it in SIGSTOP */
	bool replace; /* kill what runs under these pids first */
	/*
	 * The process that does nothing but wait for this call, 0: none.  If
	 * what was killed is a child of it, the pid is not free before it has
	 * waited for that child: so the call ends with -ECHILD, nothing was
	 * made, and is to be made again.
	 */
	pid_t asker;
	/*
	 * A terminal, open, or -1; not consumed.  If it is nobody's controlling
	 * terminal it becomes that of the process, if that had one.
	 */
	int tty;
	/*
	 * Called when the image is known and nothing was made: may set `tty`,
	 * `stdio` and `session` of *opt, which is the call's own.  0 or
	 * -errno.  May be NULL.
	 */
	int (*terminal)(void *arg, const struct snap_terminal *want,
	    struct snap_restore_options *opt);
	void *terminal_arg;
	/*
	 * Three descriptors that take the place of standard input, output and
	 * error, where the image has these; -1: that one is closed.  NULL:
	 * those of the image.  Not consumed.
	 */
	const int *stdio;
	/*
	 * What may be missing, in lines: things as `unsupported` names them, or
	 * the first word of that.  NULL: nothing.
	 */
	const char *ignore;
	/* The working directory, open, or -1: that of the image. */
	int cwd;
	/*
	 * Each process stays in the cgroups of the caller.  If not, it goes to
	 * those that it was in, as far as the caller may put it there.
	 */
	bool callers_cgroup;
	/*
	 * The caller stands in for the process: it stays his child, so that he
	 * hears of its end, in his session and process group unless it led a
	 * session of its own.  If not, it is adopted when the caller exits.
	 */
	bool child;
	bool session; /* with `child`: it leads a session all the same */
	/*
	 * Make it a clone of this template, which snap_template_make() made
	 * for a caller with exactly these credentials and in this place, of an
	 * image with the same memory.  NULL: from nothing.  It is a child of
	 * the template's parent; with `child` that stands in for it, and the
	 * template was made with `child`, in the caller's session.
	 * -EOWNERDEAD: the template is no more, and nothing was made.
	 */
	const struct snap_template *tmpl;
	/*
	 * Called when the process is complete and would run at once; what it
	 * returns below 0 is the end of it, and above 0 leaves it stopped.
	 * lives(made) says, at any time until it returns, whether all processes
	 * that were made are there still: they may be killed meanwhile; -ESRCH
	 * is to be returned for that.  May be NULL.
	 */
	int (*ready)(void *arg, pid_t pid, bool (*lives)(const void *made),
	    const void *made);
	void *ready_arg;
	/*
	 * Capabilities that the caller holds only so that it can do its work
	 * (a bit mask as in capabilities(7)): the restored process may not
	 * have them whatever the image says.
	 */
	uint64_t lent_caps;
	/*
	 * Return when it runs, though not all of its memory is there: the
	 * caller, or rather threads that were started in it, bring the rest
	 * meanwhile.  Then res->pager is to be given to snap_pager_wait(), and
	 * the caller may not end before that returned.
	 */
	bool lazy;
	/*
	 * With `lazy`: a file that snap_pager_wait() writes what the process
	 * touched first to, to be put beside the image's as `prefetch`.
	 * Meanwhile nothing else is brought.  0 or -1: none; not consumed.
	 */
	int learn;
	int uffd_dev; /* /dev/userfaultfd, open; 0 or -1: none; not consumed */
	/*
	 * Call snap_uffd_handshake(fd) with more rights than the caller's;
	 * may be NULL.  0 or -errno.
	 */
	int (*uffd_handshake)(void *arg, int fd);
	void *uffd_arg;
};

struct snap_pager; /* what brings memory to a process that runs already */

struct snap_restore_result {
	pid_t pid;
	char note[512]; /* what came back differently; "" if nothing */
	struct snap_pager *pager; /* NULL: all its memory is there */
	bool tree;		  /* there are more processes than one */
};

/*
 * Recreate the process whose image is open at opt->dir.
 *
 * To be called in a process of its own (fork one), single-threaded, that has
 * already become whoever asked for it: namespaces, cgroup, root, working
 * directory, credentials, limits.  The restored process is an orphan from the
 * start, adopted by init or a subreaper, unless `child` is set.  On failure
 * nothing is left behind.
 */
int snap_restore(struct snap_ctx *cx, const struct snap_restore_options *opt,
    struct snap_restore_result *res);

/*
 * Wait until all memory is there, or the processes have ended: 0.  Or -errno and
 * a sentence: it could not be brought, and so the process was killed, of a tree
 * those that lacked some, which the sentence then tells; or all is well
 * but what was learned could not be written.  Should the
 * caller be killed meanwhile, the process is, too.  `tell`, if not NULL, is
 * called now and then with the bytes that are there and their sum.  Accepts
 * NULL for `pager`, which it releases.
 */
int snap_pager_wait(struct snap_ctx *cx, struct snap_pager *pager,
    void (*tell)(void *arg, uint64_t done, uint64_t total), void *arg);

/*
 * Ask for what a pager needs to know of its process, which the kernel grants
 * to those with CAP_SYS_PTRACE only: on behalf of somebody without, who sent
 * this userfaultfd.  0, or -errno: EBADF, it is something else.
 */
int snap_uffd_handshake(int fd);

/*
 * Make a template of the image at opt->dir (of the other options only lent_caps
 * and child count), under the same conditions.  It is an orphan; with `child`
 * it is the caller's child, and ends with him.  -ENOTSUP: this image can have
 * none.
 */
int snap_template_make(struct snap_ctx *cx,
    const struct snap_restore_options *opt, struct snap_template *out);

/*
 * Have the template with this `control` make its next clone ahead: the *spare*,
 * which becomes one restored process with a new pid, if it is in `spare` of the
 * template then.  A socket of ours, which brings a message from it, with its
 * credentials (SCM_CREDENTIALS), when it is there, and is at its end if it has
 * ended, or was used; when the last copy is closed it ends.  Or -errno.
 */
int snap_template_spare(int control);

/*
 * Put this process into each cgroup of `theirs`, the text of a /proc/PID/cgroup.
 * What fails is added to `notes`, a string of at most `size` bytes.
 */
void snap_cgroup_join(const char *theirs, char *notes, size_t size);

/* ---- running a program up to a point ---- */

enum snap_point_kind {
	SNAP_POINT_WAIT,   /* it first waits for the outside, see below */
	SNAP_POINT_CALL,   /* it first makes the system call `nr` */
	SNAP_POINT_READ,   /* it first reads from descriptor `fd` */
	SNAP_POINT_LISTEN, /* it has called listen(2) */
	SNAP_POINT_SYMBOL, /* it first gets to the function `symbol` */
};

/*
 * Waiting for the outside is: reading the standard input that it was given;
 * accept(2); or polling (and pausing) when none of what is polled is ready and
 * no other thread of it, or of its children, does anything but sleep.
 */
struct snap_point {
	enum snap_point_kind kind;
	long nr;
	int fd;
	const char *symbol;
};

/* The number of a system call, -1: there is none of that name. */
long snap_syscall_number(const char *name);

struct snap_hold_options {
	char *const *argv; /* looked up in PATH; environment: the caller's */
	struct snap_point point;
	/* Called once, when it stands at the point.  May be NULL. */
	void (*held)(void *arg, pid_t pid);
	void *held_arg;
};

/*
 * Run a program up to a point, stop it there, and stand by it until it ends.
 *
 * To be called in a process of its own, single-threaded, that inherits to the
 * program what it has; it becomes the program's keeper.  At the point the
 * program is stopped as by SIGSTOP, untraced, and what it was about to do is
 * still to be done; SIGCONT lets it go on.  If the keeper is killed, the
 * program is.  A checkpoint that is taken of it there is one of a process that
 * runs: it knows the keeper by its name.
 *
 * 0 when the program has ended; *status as from waitpid(2).
 */
int snap_hold(
    struct snap_ctx *cx, const struct snap_hold_options *opt, int *status);

#endif
