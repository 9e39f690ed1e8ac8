#include "job.h"

#include "copied.h"
#include "forget.h"
#include "holder.h"
#include "housekeeper.h"
#include "track.h"
#include "tree.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The work on such a thread keeps its data on the heap. */
#define STACK_SIZE (256u << 10)

/* How often twins are looked after that have to be. */
#define TEND_NS 200000000

struct waiter {
	struct want want;
	struct job *job;	  /* while it is listed */
	bool listed, interrupted; /* under the lock */
	TAILQ_ENTRY(waiter) link;
};

TAILQ_HEAD(waiters, waiter);

struct job {
	struct snapfs *fs;
	struct view *view;
	struct caller reader;
	struct proc_id target;
	bool delta;	     /* nothing but that is wanted */
	uint64_t begun;	     /* ticks since boot */
	pthread_cond_t wake; /* the view has ended, or is in use no more */
	struct waiters waiters;
	uint8_t *looked_up;    /* bit mask over nodes; under the lock */
	struct holder *holder; /* whoever has the original held; or NULL */
	struct snap_ctx *cx;   /* for the end of that: there is memory then */
	struct copied *copied; /* of a process that is tracked; the same */
	struct log_job log;
	LIST_ENTRY(job) link;
};

int
job_thread(void *(*start)(void *), void *arg, const char *name)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, old;
	int err;

	/* Signals are for the main thread, which waits for them. */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&thread, &attr, start, arg);
	if (err == 0)
		pthread_setname_np(thread, name);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

/* ---- waiting requests ---- */

/*
 * libfuse calls this when FUSE_INTERRUPT comes, with a lock of the request's
 * held: so that lock is taken before ours, and fuse_req_interrupt_func(), which
 * takes it, is never called with ours held.
 */
static void
interrupted(fuse_req_t req, void *arg)
{
	struct waiter *w = arg;
	struct snapfs *fs = w->want.fs;
	bool ours;

	(void)req;
	pthread_mutex_lock(&fs->lock);
	w->interrupted = true;
	ours = w->listed;
	if (ours) {
		TAILQ_REMOVE(&w->job->waiters, w, link);
		view_unuse(&fs->views, w->job->view);
		/* Its name is free at once: the call may be made again. */
		if (w->want.make)
			view_end(&fs->views, w->job->view);
	}
	pthread_mutex_unlock(&fs->lock);
	if (ours) {
		w->want.answer(&w->want, NULL, -EINTR);
		free(w);
	}
}

/* After this the interrupt function neither runs nor will run. */
static void
settle(struct waiter *w)
{
	fuse_req_interrupt_func(w->want.req, NULL, NULL);
}

static void
answer_all(struct job *j, struct waiters *waiters, int err)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(waiters)) != NULL) {
		TAILQ_REMOVE(waiters, w, link);
		settle(w);
		w->want.answer(&w->want, j->view, err);
		free(w);
		pthread_mutex_lock(&j->fs->lock);
		view_unuse(&j->fs->views, j->view);
		pthread_mutex_unlock(&j->fs->lock);
	}
}

/* ---- the thread of a checkpoint ---- */

/*
 * Between the check of the reader's rights and the freeze the process may have
 * become another (its pid was taken anew), or privileged (it executed a setuid
 * program).  So ask again about what was taken: the twin has the credentials of
 * that instant, and the files have the owner that /proc gave it, which is root
 * for whatever a user may not trace.
 */
static int
verify(struct job *j, const struct snap_checkpoint *cp)
{
	const uint64_t ptrace = UINT64_C(1) << CAP_SYS_PTRACE;
	const struct view_creds *creds = &j->reader.creds;
	struct snapfs *fs = j->fs;
	struct snap_checkpoint_info info;
	struct procinfo_stat st;
	int err;

	err = procinfo_stat(fs->proc, j->target.pid, &st);
	if (err == 0 &&
	    !proc_id_equal(j->target, (struct proc_id){ st.pid, st.start }))
		return -ESRCH;
	snap_checkpoint_info(cp, &info);
	/* In his own user namespace he may trace others, if that was so now. */
	if (!(creds->caps & ptrace) &&
	    !(creds->ns_eff & ptrace && info.twin != 0) &&
	    snap_checkpoint_node(cp, 0)->uid != creds->uid)
		return -EACCES;
	if (info.twin == 0)
		return 0;
	return access_check(&fs->access, creds, info.twin);
}

/* Whose rights cannot be asked again without one: see verify(). */
static bool
needs_twin(const struct view_creds *creds)
{
	const uint64_t ptrace = UINT64_C(1) << CAP_SYS_PTRACE;

	return !(creds->caps & ptrace) && (creds->ns_eff & ptrace);
}

/* A process below the target, while it is frozen: the reader's rights again. */
static bool
may(void *arg, pid_t pid)
{
	struct job *j = arg;

	return access_check(&j->fs->access, &j->reader.creds, pid) == 0;
}

/*
 * Whoever reads checkpoints is not part of one: it may be blocked in a request
 * to us; nor is who holds a process, and would have to let go.  NULL if there is
 * no memory.
 */
static pid_t *
list_readers(struct snapfs *fs, size_t *n)
{
	const struct job *j;
	size_t holders;
	pid_t *v;

	*n = 0;
	pthread_mutex_lock(&fs->lock);
	holders = holder_count(fs);
	v = calloc(fs->njobs + holders + 1, sizeof(*v));
	LIST_FOREACH (j, &fs->jobs, link)
		if (v != NULL && *n <= fs->njobs)
			v[(*n)++] = j->reader.id.pid;
	if (v != NULL)
		*n += holder_pids(fs, v + *n, holders);
	pthread_mutex_unlock(&fs->lock);
	return v;
}

static int
take_without_readers(
    struct job *j, struct snap_ctx *cx, struct snap_checkpoint **cp)
{
	struct snap_take_options opt = { .may = may, .may_arg = j };
	pid_t *readers = list_readers(j->fs, &opt.nexclude);
	int err;

	if (readers == NULL)
		return -ENOMEM;
	opt.exclude = readers;
	opt.tracker = track_for_checkpoint(
	    j->fs, j->target, &j->log, j->reader.creds.uid);
	j->holder = holder_claim(j->fs, j->target, &j->reader.creds, &j->wake);
	opt.hold = j->holder != NULL;
	opt.delta = j->delta && !needs_twin(&j->reader.creds);
	opt.copy_max = j->fs->opts.copy_max;
	err = snap_checkpoint_take(cx, j->target.pid, &opt, cp);
	if (err == 0 && opt.tracker != NULL)
		j->copied = copied_new(*cp);
	if (opt.tracker != NULL)
		track_counted(j->fs, j->target, opt.tracker);
	snap_tracker_put(opt.tracker);
	free(readers);
	return err;
}

/* Tell whoever waits for it that it is held, or is not. */
static void
tell_holder(struct job *j, const struct snap_checkpoint *cp)
{
	struct snap_checkpoint_info info = { 0 };

	if (j->holder == NULL)
		return;
	if (cp != NULL)
		snap_checkpoint_info(cp, &info);
	holder_taken(j->fs, j->holder, info.processes);
	if (cp == NULL)
		j->holder = NULL;
}

/* With those of core files. */
static uint32_t
all_nodes(const struct snap_checkpoint *cp)
{
	return snap_checkpoint_nodes(cp) + snap_checkpoint_cores(cp);
}

static int
take(struct job *j, struct snap_checkpoint **cp)
{
	struct snap_options opt = {
		.freeze_timeout_ms = j->fs->opts.freeze_timeout_ms,
		.log = log_sink,
		.log_arg = &j->log,
		.log_level = j->fs->opts.log_level,
	};
	struct snap_ctx *cx = snap_ctx_new(&opt);
	int err;

	if (cx == NULL)
		return -ENOMEM;
	err = take_without_readers(j, cx, cp);
	if (err == 0 && j->holder != NULL)
		j->cx = cx;
	else
		snap_ctx_free(cx);
	if (err < 0) {
		tell_holder(j, NULL);
		return err;
	}
	err = verify(j, *cp);
	if (err == 0) {
		j->looked_up = calloc(1, all_nodes(*cp) / 8 + 1);
		if (j->looked_up == NULL)
			err = -ENOMEM;
	}
	if (err < 0) {
		log_put_job(&j->log, SNAP_ERROR, "%s", strerror(-err));
		snap_checkpoint_drop(*cp);
		*cp = NULL;
	}
	tell_holder(j, *cp);
	return err;
}

/* With the lock. */
static void
taken(struct job *j, struct snap_checkpoint *cp, int err)
{
	struct snapfs *fs = j->fs;
	struct snap_checkpoint_info info;

	if (cp == NULL) {
		fs->counters.failed++;
		view_failed(&fs->views, j->view, err, snapfs_now());
		return;
	}
	snap_checkpoint_info(cp, &info);
	fs->counters.checkpoints++;
	if (info.frozen_us > fs->counters.frozen_us_max)
		fs->counters.frozen_us_max = info.frozen_us;
	view_taken(&fs->views, j->view, cp, &info, snapfs_now());
}

/* From the last, so that a directory comes after what is in it. */
static void
forget_nodes(struct job *j, const struct snap_checkpoint *cp)
{
	struct forget f = { .se = j->fs->se };
	struct proc_id owner = view_owner(j->view);
	struct node node;

	for (uint32_t n = all_nodes(cp); n-- > 1;) {
		if (!(j->looked_up[n / 8] & 1u << n % 8))
			continue;
		node = tree_node(cp, n, owner, j->view->gen);
		forget_add(&f, node_ino(&node));
	}
	forget_flush(&f);
}

static bool
wanted(const struct snapfs *fs, const struct view *v)
{
	if (v->state != VIEW_ENDED || v->nuse > 0)
		return true;
	return v->nopen > 0 && !fs->closing;
}

/* What holds it wants it to go on, or to end: on this very thread. */
static void
serve_holder(struct job *j, struct snap_checkpoint *cp, enum holder_wish wish)
{
	int err = 0;

	snap_clear(j->cx);
	if (wish == HOLDER_END)
		err = snap_checkpoint_end(j->cx, cp);
	else
		snap_checkpoint_release(j->cx, cp);
	if (holder_done(j->fs, j->holder, wish, err))
		j->holder = NULL;
}

/* With the lock: until there may be something to do. */
static void
sleep_with(struct job *j, struct snap_checkpoint *cp)
{
	struct timespec end;

	if (!snap_checkpoint_tend(cp)) {
		pthread_cond_wait(&j->wake, &j->fs->lock);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += TEND_NS;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	pthread_cond_timedwait(&j->wake, &j->fs->lock, &end);
}

/* Sleep until nobody wants it, then drop it on this very thread. */
static void
keep(struct job *j, struct snap_checkpoint *cp)
{
	struct snapfs *fs = j->fs;
	enum holder_wish wish;
	bool closing;

	pthread_mutex_lock(&fs->lock);
	while (wanted(fs, j->view) || j->holder != NULL) {
		wish = holder_wish(fs, j->holder);
		if (wish == HOLDER_NOTHING) {
			sleep_with(j, cp);
			continue;
		}
		pthread_mutex_unlock(&fs->lock);
		serve_holder(j, cp, wish);
		pthread_mutex_lock(&fs->lock);
	}
	closing = fs->closing;
	pthread_mutex_unlock(&fs->lock);

	if (!closing)
		forget_nodes(j, cp);
	snap_checkpoint_drop(cp);

	pthread_mutex_lock(&fs->lock);
	view_dropped(&fs->views, j->view);
	pthread_mutex_unlock(&fs->lock);
}

static void
job_free(struct job *j)
{
	pthread_cond_destroy(&j->wake);
	free(j->looked_up);
	copied_free(j->copied);
	snap_ctx_free(j->cx);
	free(j);
}

static void *
job_main(void *arg)
{
	struct job *j = arg;
	struct snapfs *fs = j->fs;
	struct waiters waiters = TAILQ_HEAD_INITIALIZER(waiters);
	struct snap_checkpoint *cp = NULL;
	struct waiter *w;
	int err;

	err = take(j, &cp);

	pthread_mutex_lock(&fs->lock);
	/*
	 * Once it failed nobody finds this job: the next look-up begins
	 * another.  Each waiter has a use of the view, so it stays until the
	 * last is answered.
	 */
	TAILQ_CONCAT(&waiters, &j->waiters, link);
	TAILQ_FOREACH (w, &waiters, link)
		w->listed = false;
	taken(j, cp, err);
	pthread_mutex_unlock(&fs->lock);

	answer_all(j, &waiters, err);
	if (cp != NULL)
		keep(j, cp);

	pthread_mutex_lock(&fs->lock);
	LIST_REMOVE(j, link);
	job_free(j);
	fs->njobs--;
	housekeeper_freed(fs->housekeeper);
	pthread_cond_broadcast(&fs->quiet);
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

void
job_drop(void *arg, struct view *v)
{
	(void)arg;
	pthread_cond_signal(&v->job->wake);
}

bool
job_targets(const struct snapfs *fs, pid_t pid)
{
	const struct job *j;

	LIST_FOREACH (j, &fs->jobs, link)
		if (j->target.pid == pid)
			return true;
	return false;
}

bool
job_can_have_made(const struct snapfs *fs, uint64_t start)
{
	const struct job *j;

	LIST_FOREACH (j, &fs->jobs, link)
		if (start >= j->begun)
			return true;
	return false;
}

void
job_served(
    struct snapfs *fs, struct view *v, uint32_t n, uint64_t off, uint64_t len)
{
	bool all = false;

	pthread_mutex_lock(&fs->lock);
	if (v->job != NULL && v->job->copied != NULL)
		all = copied_served(v->job->copied, n, off, len);
	if (all)
		snap_checkpoint_copied(v->cp);
	pthread_mutex_unlock(&fs->lock);
}

void
job_looked_up(struct view *v, uint32_t n)
{
	if (v->job != NULL && v->job->looked_up != NULL)
		v->job->looked_up[n / 8] |= 1u << n % 8;
}

/* ---- asking for a checkpoint ---- */

static uint64_t
ticks_since_boot(void)
{
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec * hz / 1000000000;
}

static int
begin(struct snapfs *fs, struct view *v, const struct caller *who, bool delta)
{
	struct job *j;
	char name[16];
	int err;

	if (holder_has(fs, v->target)) {
		log_put(fs->log, who->creds.uid, SNAP_ERROR,
		    "%d: it is held for somebody who has its .hold open",
		    v->target.pid);
		view_failed(&fs->views, v, -EBUSY, snapfs_now());
		return -EBUSY;
	}
	if (v->name == NULL && !view_make_room(&fs->views, v, snapfs_now())) {
		log_put(fs->log, who->creds.uid, SNAP_ERROR,
		    "%d: there are %u checkpoints already, all in use "
		    "(max_checkpoints)",
		    v->target.pid, fs->views.ntaken);
		return -EAGAIN;
	}
	j = calloc(1, sizeof(*j));
	if (j == NULL) {
		view_failed(&fs->views, v, -ENOMEM, snapfs_now());
		return -ENOMEM;
	}
	j->fs = fs;
	j->view = v;
	j->reader = *who;
	j->target = v->target;
	j->delta = delta;
	j->begun = ticks_since_boot();
	TAILQ_INIT(&j->waiters);
	pthread_cond_init(&j->wake, NULL);
	j->log =
	    log_job(fs->log, who->creds.uid, RING_CHECKPOINT, v->target.pid);
	snprintf(name, sizeof(name), "take-%d", v->target.pid);
	v->job = j;
	view_taking(&fs->views, v, &who->creds, snapfs_now());
	fs->njobs++;
	LIST_INSERT_HEAD(&fs->jobs, j, link);
	err = job_thread(job_main, j, name);
	if (err < 0) {
		fs->njobs--;
		LIST_REMOVE(j, link);
		job_free(j);
		view_failed(&fs->views, v, err, snapfs_now());
	}
	return err;
}

/* The view that it is about, the reader's own or a new one with a name. */
static int
view_wanted(struct snapfs *fs, const struct caller *who, struct proc_id target,
    const struct want *w, struct view **out)
{
	int err;

	if (fs->closing)
		return -ENODEV;
	if (w->make) {
		err = view_named_new(&fs->views, w->name, target, &who->creds,
		    snapfs_now(), out);
		if (err == -EDQUOT)
			log_put(fs->log, who->creds.uid, SNAP_ERROR,
			    "%s: user %u has %u named checkpoints already "
			    "(max_named)",
			    w->name, who->creds.uid, fs->views.max_named);
		return err;
	}
	*out = view_get(&fs->views, who->id, target, snapfs_now());
	if (*out == NULL)
		return -ENOMEM;
	housekeeper_watch(fs->housekeeper, (*out)->reader);
	return 0;
}

/* With the lock: put `w` on the list of the view's job, begun if need be. */
static int
enlist(struct snapfs *fs, const struct caller *who, struct proc_id target,
    struct waiter *w, struct view **out)
{
	struct view *v;
	int err = view_wanted(fs, who, target, &w->want, &v);

	if (err < 0)
		return err;
	*out = v;
	if (v->state == VIEW_RESERVED) {
		err = view_recent_error(v, snapfs_now());
		if (err == 0)
			err = begin(fs, v, who, w->want.delta);
	}
	if (err < 0)
		return err;
	view_use(v);
	if (v->state == VIEW_TAKING) {
		w->job = v->job;
		w->listed = true;
		TAILQ_INSERT_TAIL(&v->job->waiters, w, link);
	}
	return 0;
}

void
job_want(struct snapfs *fs, const struct caller *who, struct proc_id target,
    const struct want *want)
{
	struct waiter *w = calloc(1, sizeof(*w));
	struct view *v = NULL;
	bool listed;
	int err;

	if (w == NULL) {
		want->answer(want, NULL, -ENOMEM);
		return;
	}
	w->want = *want;
	fuse_req_interrupt_func(want->req, interrupted, w);

	pthread_mutex_lock(&fs->lock);
	err = w->interrupted ? -EINTR : enlist(fs, who, target, w, &v);
	listed = err == 0 && w->listed;
	pthread_mutex_unlock(&fs->lock);

	/* A listed one may be answered and gone by now. */
	if (listed)
		return;
	settle(w);
	w->want.answer(&w->want, v, err);
	if (err == 0) {
		pthread_mutex_lock(&fs->lock);
		view_unuse(&fs->views, v);
		pthread_mutex_unlock(&fs->lock);
	}
	free(w);
}
