/*
 * taker - take checkpoints that fail, or that we do not survive.
 *
 * Reads lines from standard input and answers each with one:
 *
 *	kill CLASSES N PID [ONLY]	take a checkpoint of PID in a child that is
 *				killed at the Nth passage of a point, or of
 *				those of that name
 *	fail CLASSES N ERRNO PID [ONLY]	take one in a thread, where the call at the
 *				Nth passage fails (ERRNO 0: with one that fits)
 *	late N MS TIMEOUT PID	where we are MS late to interrupt a thread for
 *				the Nth time, with that freeze timeout in ms
 *	sweep			clear away what was left
 *
 * With " delta" behind the PID it is of an increment, for which no twin is made
 * if PID is alone; its parent is taken before, and nothing fails in that.
 *
 *	killed WHAT | BEFORE		"before": the last ptrace(2) request
 *	failed ERRNO FDS HEAP WHAT | SENTENCE
 *	taken FDS HEAP WHAT | NOTE
 *	through PASSED			the Nth passage did not come; how many did
 *	again				nor did it, but the checkpoint failed
 *	swept NOTE
 *
 * FDS and HEAP are the number of open files and of bytes allocated afterwards,
 * WHAT is the call that failed.  A checkpoint that was taken is also read, to
 * its end.
 */
#include <dirent.h>
#include <err.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "snap.h"

static struct fault_plan *plan;
static struct snap_log_table table;

struct take {
	pid_t pid;
	unsigned classes; /* to be counted from the start */
	bool delta;	  /* an increment */
	unsigned freeze_timeout_ms;
	int err;
	char why[1024];	 /* snap_error() */
	char note[1024]; /* the last notice */
};

static void
note(void *arg, const struct snap_log_record *record)
{
	struct take *t = arg;

	snap_log_text(&table, record, t->note, sizeof(t->note));
}

static int
read_all(struct snap_checkpoint *cp)
{
	static char buf[1 << 20];
	ssize_t n = 0;

	for (uint32_t i = 1; i < snap_checkpoint_nodes(cp); i++) {
		const struct snap_node *node = snap_checkpoint_node(cp, i);
		uint64_t off = 0;

		if (node->type == SNAP_DIR)
			continue;
		while ((n = snap_checkpoint_read(
			    cp, i, buf, sizeof(buf), off)) > 0)
			off += (uint64_t)n;
		if (n < 0)
			return (int)n;
		if (off != node->size)
			return -71; /* EPROTO: shorter than it said */
	}
	return 0;
}

/* The checkpoint that is the parent, copied. */
static void
take_parent(struct take *t, struct snap_take_options *opt)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct snap_checkpoint *cp = NULL;

	t->err = snap_checkpoint_take(cx, t->pid, opt, &cp);
	if (t->err == 0)
		snap_checkpoint_copied(cp);
	snap_checkpoint_drop(cp);
	snap_ctx_free(cx);
	opt->delta = true;
	opt->copy_max = UINT64_MAX;
}

static void *
take(void *arg)
{
	struct take *t = arg;
	struct snap_options opt = {
		.log = note,
		.log_arg = t,
		.log_level = SNAP_NOTICE,
		.freeze_timeout_ms = t->freeze_timeout_ms,
	};
	struct snap_take_options opt_take = { 0 };
	struct snap_checkpoint *cp = NULL;
	struct snap_ctx *cx;

	/* What it is registered with goes when the tracker goes. */
	if (t->delta) {
		opt_take.tracker = snap_tracker_new();
		take_parent(t, &opt_take);
	}
	atomic_store(&plan->classes, t->classes);
	cx = snap_ctx_new(&opt);
	if (cx == NULL) {
		t->err = -12;
		snprintf(t->why, sizeof(t->why), "no memory for a context");
		snap_tracker_stop(opt_take.tracker);
		return NULL;
	}
	if (!t->delta)
		opt_take.tracker = snap_tracker_new();
	t->err = snap_checkpoint_take(cx, t->pid, &opt_take, &cp);
	snprintf(t->why, sizeof(t->why), "%s", snap_error(cx));
	if (t->err == 0) {
		t->err = read_all(cp);
		if (t->err < 0)
			snprintf(t->why, sizeof(t->why), "reading it: %s",
			    strerror(-t->err));
	}
	snap_checkpoint_drop(cp);
	snap_tracker_stop(opt_take.tracker);
	snap_ctx_free(cx);
	return NULL;
}

/* `only`: the name of a point, or "". */
static void
prepare(uint64_t n, bool kill, int error, const char *only)
{
	memset(plan, 0, sizeof(*plan));
	plan->at = n;
	plan->kill = kill;
	plan->error = error;
	snprintf(plan->only, sizeof(plan->only), "%s", only);
}

static int
open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static void
through(void)
{
	printf(
	    "through %llu\n", (unsigned long long)atomic_load(&plan->passed));
}

static void
killed(struct take *t, uint64_t n, const char *only)
{
	pid_t child;
	int status;

	prepare(n, true, 0, only);
	child = fork();
	if (child == 0) {
		take(t);
		_exit(t->err == 0 ? 0 : 1);
	}
	if (child < 0)
		err(1, "fork");
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status) && atomic_load(&plan->hit))
		printf("killed %s | %s\n", plan->what, plan->before);
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		through();
	else if (WIFEXITED(status))
		printf("again\n");
	else
		printf("lost %d at %s\n", status, plan->what);
}

static void
in_thread(struct take *t)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, take, t) != 0)
		err(1, "pthread_create");
	pthread_join(thread, NULL);
	atomic_store(&plan->classes, 0);
	if (!atomic_load(&plan->hit))
		t->err == 0 ? through() : (void)printf("again\n");
	else if (t->err < 0)
		printf("failed %d %d %zu %s | %s\n", -t->err, open_files(),
		    mallinfo2().uordblks, plan->what, t->why);
	else
		printf("taken %d %zu %s | %s\n", open_files(),
		    mallinfo2().uordblks, plan->what, t->note);
}

static void
failed(struct take *t, uint64_t n, int error, const char *only)
{
	prepare(n, false, error, only);
	in_thread(t);
}

static void
late(struct take *t, uint64_t n, unsigned ms)
{
	t->classes = FAULT_PTRACE;
	prepare(n, false, 0, "INTERRUPT");
	plan->late_ms = ms;
	in_thread(t);
}

static void
sweep(void)
{
	struct take t = { 0 };
	struct snap_options opt = {
		.log = note, .log_arg = &t, .log_level = SNAP_NOTICE
	};
	struct snap_ctx *cx = snap_ctx_new(&opt);

	atomic_store(&plan->classes, 0);
	if (cx == NULL)
		errx(1, "no memory");
	snap_sweep(cx);
	snap_ctx_free(cx);
	printf("swept %s\n", t.note);
}

/* false: it is not understood. */
static bool
answer(const char *line)
{
	struct take t = { .delta = strstr(line, " delta\n") != NULL };
	char only[20] = "";
	unsigned long n;
	unsigned ms;
	int error;

	if (strcmp(line, "sweep\n") == 0)
		sweep();
	else if (sscanf(line, "kill %u %lu %d %19s", &t.classes, &n, &t.pid,
		     only) >= 3)
		killed(&t, n, t.delta ? "" : only);
	else if (sscanf(line, "fail %u %lu %d %d %19s", &t.classes, &n, &error,
		     &t.pid, only) >= 4)
		failed(&t, n, error, t.delta ? "" : only);
	else if (sscanf(line, "late %lu %u %u %d", &n, &ms,
		     &t.freeze_timeout_ms, &t.pid) == 4)
		late(&t, n, ms);
	else
		return false;
	return true;
}

static void *
one_more(void *levels)
{
	pthread_t thread;

	if (levels != NULL) {
		if (pthread_create(&thread, NULL, one_more, NULL) != 0)
			err(1, "pthread_create");
		pthread_join(thread, NULL);
	}
	return NULL;
}

/*
 * What the C library keeps of threads that have ended, some bytes for each of
 * those that were there at once, is there from the start: a checkpoint is taken
 * by one thread, and it makes one at a time.
 */
static void
have_threads(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, one_more, &plan) != 0)
		err(1, "pthread_create");
	pthread_join(thread, NULL);
}

int
main(void)
{
	char line[256];

	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (plan == MAP_FAILED)
		err(1, "mmap");
	fault_use(plan);
	snap_log_table_own(&table);
	have_threads();
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin) != NULL)
		if (!answer(line))
			errx(2, "not understood: %s", line);
	return 0;
}
