/*
 * main.c - start, mount, serve, unmount.
 */
#include "agent.h"
#include "holder.h"
#include "housekeeper.h"
#include "job.h"
#include "lender.h"
#include "ops.h"
#include "readahead.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

/* How long an unmount waits for the threads of checkpoints, in s. */
#define CLOSE_S 5

#define THREADS 16

/* Larger memory is given back when it is freed, whichever thread had it. */
#define GIVEN_BACK (256 << 10)

/* Of malloc(): more for each thread only hold more that is free. */
#define ARENAS 2

uint64_t
snapfs_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/*
 * A twin is a process traced by one of our threads that is younger than a
 * checkpoint.  Others that are traced are held for a moment: below one that is
 * being checkpointed, or while what a daemon left in them is cleared away.
 */
static bool
traced_by_us(struct snapfs *fs, pid_t pid)
{
	char text[4096], path[64];
	const char *p;

	if (procinfo_read_small(fs->proc, pid, "status", text, sizeof(text)) <
	    0)
		return false;
	p = strstr(text, "\nTracerPid:");
	if (p == NULL || atoi(p + 11) == 0)
		return false;
	snprintf(path, sizeof(path), "self/task/%d", atoi(p + 11));
	return faccessat(fs->proc, path, F_OK, 0) == 0;
}

static bool
known_as_own(struct snapfs *fs, const struct procinfo_stat *st)
{
	const struct paging *p;
	size_t i;

	if (st->pid == getpid() || st->ppid == getpid() ||
	    templates_has(&fs->templates, st->pid))
		return true;
	for (i = 0; i < MAX_AGENTS; i++)
		if (fs->agents[i] > 0 &&
		    (fs->agents[i] == st->pid || fs->agents[i] == st->ppid))
			return true;
	LIST_FOREACH (p, &fs->paging, entry)
		if (p->pager == st->pid || p->pager == st->ppid)
			return true;
	return false;
}

bool
snapfs_own(struct snapfs *fs, const struct procinfo_stat *st)
{
	bool own, may_be;

	pthread_mutex_lock(&fs->lock);
	own = known_as_own(fs, st);
	may_be = st->state == 't' && !job_targets(fs, st->pid) &&
		 job_can_have_made(fs, st->start);
	pthread_mutex_unlock(&fs->lock);
	return own || (may_be && traced_by_us(fs, st->pid));
}

/* A checkpoint has descriptors of its own. */
static void
raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static unsigned
seccomp_filters_of(int proc, pid_t pid)
{
	struct procinfo_status st;
	char text[8192];
	unsigned n;

	if (procinfo_read_small(proc, pid, "status", text, sizeof(text)) < 0 ||
	    procinfo_parse_status(text, &st) < 0)
		return 0;
	n = st.seccomp_filters;
	procinfo_status_fini(&st);
	return n;
}

/*
 * Filters that every process here is under, as in a container: those of init,
 * if we have them and no others.
 */
static unsigned
common_seccomp_filters(int proc)
{
	unsigned n = seccomp_filters_of(proc, getpid());

	return n == seccomp_filters_of(proc, 1) ? n : 0;
}

static void
init(struct snapfs *fs)
{
	pthread_condattr_t attr;
	int error;

	clock_gettime(CLOCK_REALTIME, &fs->since);
	fs->proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs->proc < 0)
		err(1, "/proc");
	error = access_init(&fs->access, fs->proc);
	if (error < 0)
		errx(1, "own credentials: %s", strerror(-error));
	fs->seccomp_filters = common_seccomp_filters(fs->proc);
	fs->log = log_new(
	    fs->opts.log_level, fs->opts.foreground ? STDERR_FILENO : -1);
	if (fs->log == NULL)
		errx(1, "%s", strerror(ENOMEM));
	pthread_mutex_init(&fs->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fs->quiet, &attr);
	pthread_cond_init(&fs->closed, &attr);
	pthread_cond_init(&fs->made, &attr);
	pthread_condattr_destroy(&attr);
	buffers_init(&fs->buffers);
	view_table_init(&fs->views);
	fs->views.max = fs->opts.max_checkpoints;
	fs->views.max_named = fs->opts.max_named;
	templates_init(&fs->templates);
	fs->templates.max = fs->opts.max_templates;
	fs->templates.max_bytes = fs->opts.template_bytes;
	fs->templates.max_spares = fs->opts.max_spares;
	fs->templates.proc = fs->proc;
	fs->views.linger_ms = fs->opts.linger_ms;
	fs->views.drop = job_drop;
	fs->views.reader_unused = housekeeper_unwatch;
	fs->views.arg = fs;
}

static bool
all_quiet(const struct snapfs *fs)
{
	size_t i;

	for (i = 0; i < MAX_AGENTS; i++)
		if (fs->agents[i] != 0)
			return false;
	return fs->njobs == 0 && LIST_EMPTY(&fs->lenders);
}

/*
 * Every checkpoint is dropped; the originals are not even frozen.  If a thread
 * does not end in time, the end of the program ends its twin.
 */
static void
close_all(struct snapfs *fs)
{
	struct timespec end;
	struct view *v;
	size_t i;

	pthread_mutex_lock(&fs->lock);
	fs->closing = true;
	holder_wake_all(fs);
	/* What is open in a view holds it no more: wake its thread. */
	TAILQ_FOREACH (v, &fs->views.views, by_use)
		if (v->job != NULL)
			job_drop(fs, v);
	TAILQ_FOREACH (v, &fs->views.named, by_use)
		if (v->job != NULL)
			job_drop(fs, v);
	view_end_all(&fs->views);
	lender_wake_all(fs);
	templates_drop_all(&fs->templates);
	/* Its writer gets no answer any more, so nothing may come of it. */
	for (i = 0; i < MAX_AGENTS; i++)
		if (fs->agents[i] > 0)
			kill(fs->agents[i], SIGKILL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += CLOSE_S;
	while (!all_quiet(fs))
		if (pthread_cond_timedwait(&fs->quiet, &fs->lock, &end) != 0)
			break;
	pthread_mutex_unlock(&fs->lock);
}

static int
serve(struct snapfs *fs)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int error;

	if (cfg == NULL)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(cfg, 1);
	fuse_loop_cfg_set_max_threads(cfg, THREADS);
	fuse_loop_cfg_set_idle_threads(cfg, THREADS);
	error = fuse_session_loop_mt(fs->se, cfg);
	fuse_loop_cfg_destroy(cfg);
	/* A signal ended it: that is no failure. */
	return error > 0 ? 0 : error;
}

/* The kernel hangs up when the file system is unmounted. */
static bool
still_mounted(struct snapfs *fs)
{
	struct pollfd p = { .fd = fuse_session_fd(fs->se) };

	return poll(&p, 1, 0) <= 0 || (p.revents & POLLERR) == 0;
}

static void
unmount(struct snapfs *fs)
{
	/* Whatever is at the mount point by now is none of ours. */
	if (!still_mounted(fs))
		return;
	/*
	 * Requests that were not read yet are answered by the kernel, so that
	 * nobody waits for a daemon that listens no more.
	 */
	if (fs->access.eff & UINT64_C(1) << CAP_SYS_ADMIN)
		umount2(fs->opts.mountpoint, MNT_FORCE | MNT_DETACH);
	fuse_session_unmount(fs->se);
}

/* What an earlier daemon left when it was killed. */
static void *
sweep(void *arg)
{
	struct snapfs *fs = arg;
	struct log_job log = log_job(fs->log, 0, RING_PLAIN, 0);
	const struct snap_options opt = {
		.freeze_timeout_ms = fs->opts.freeze_timeout_ms,
		.log = log_sink,
		.log_arg = &log,
		.log_level = fs->opts.log_level,
	};
	struct snap_ctx *cx = snap_ctx_new(&opt);

	if (cx != NULL)
		snap_sweep(cx);
	snap_ctx_free(cx);
	return NULL;
}

static int
run(struct snapfs *fs, struct fuse_args *args)
{
	int error;

	fs->se = fuse_session_new(args, &snapfs_ops, sizeof(snapfs_ops), fs);
	if (fs->se == NULL)
		return 1;
	if (fuse_set_signal_handlers(fs->se) < 0)
		errx(1, "signal handlers: %s", strerror(errno));
	if (fuse_session_mount(fs->se, fs->opts.mountpoint) < 0)
		return 1;
	if (fuse_daemonize(fs->opts.foreground) < 0)
		return 1;
	/* Threads do not survive daemon(3), and the daemon's pid is new. */
	raise_descriptors();
	readahead_raise(fs->proc, fs->opts.mountpoint, BUFFER_SIZE);
	error = access_lower(&fs->access);
	fs->housekeeper = housekeeper_new(fs);
	if (error == 0 && fs->housekeeper == NULL)
		error = -errno;
	if (error == 0)
		error = job_thread(sweep, fs, "sweep");
	if (error == 0)
		error = serve(fs);
	if (error < 0)
		warnx("%s: %s", fs->opts.mountpoint, strerror(-error));
	close_all(fs);
	unmount(fs);
	fuse_remove_signal_handlers(fs->se);
	fuse_session_destroy(fs->se);
	return error < 0;
}

/* All that ends before there is a file system; true if that was it. */
static bool
answered(struct opts *o, struct fuse_args *args, int *status)
{
	char why[256];
	int error = opts_parse(o, args, why, sizeof(why));

	*status = error < 0;
	if (error < 0)
		warnx("%s", why);
	if (error == -EINVAL)
		fputs(opts_usage, stderr);
	else if (error == 0 && o->help)
		fputs(opts_usage, stdout);
	else if (error == 0 && o->version)
		printf("snapfs %s\n", SNAPFS_VERSION);
	return error < 0 || o->help || o->version;
}

int
main(int argc, char **argv)
{
	static struct snapfs fs;
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	int error;

	if (argc == 2 && strcmp(argv[0], AGENT_NAME) == 0)
		return agent_main(argv);
	mallopt(M_MMAP_THRESHOLD, GIVEN_BACK);
	mallopt(M_ARENA_MAX, ARENAS);
	if (answered(&fs.opts, &args, &error)) {
		fuse_opt_free_args(&args);
		return error;
	}
	/* What its starter had open, say a lock, is not to be open until umount. */
	closefrom(STDERR_FILENO + 1);
	init(&fs);
	error = run(&fs, &args);
	fuse_opt_free_args(&args);
	/*
	 * Threads that did not end still use what there is: the end of the
	 * process is the end of all of it.
	 */
	fflush(NULL);
	_exit(error);
}
