#include "status.h"

#include "holder.h"
#include "pagers.h"
#include "track.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ERRORS_SHOWN 10

#define CAP(c) (UINT64_C(1) << (c))

/* Who may read what the daemon did for others. */
static bool
sees_all(const struct snapfs *fs, const struct view_creds *who)
{
	return (who->caps & CAP(CAP_SYS_PTRACE)) != 0 ||
	       (who->uid == fs->access.uid && who->uid != 0);
}

static void
print_options(FILE *f, const struct snapfs *fs)
{
	const struct opts *o = &fs->opts;

	fprintf(f, "version: %s\n", SNAPFS_VERSION);
	fprintf(f, "mountpoint: %s\n", o->mountpoint);
	fprintf(f, "daemon: %d\n", getpid());
	fprintf(f, "linger: %g\n", o->linger_ms / 1000.0);
	fprintf(f, "freeze_timeout: %g\n", o->freeze_timeout_ms / 1000.0);
	fprintf(f, "max_checkpoints: %u\n", o->max_checkpoints);
	fprintf(f, "max_named: %u\n", o->max_named);
	fprintf(f, "templates: %u\n", o->max_templates);
	fprintf(f, "template_memory: %" PRIu64 "\n", o->template_bytes);
	fprintf(f, "spares: %u\n", o->max_spares);
	fprintf(f, "copy_max: %" PRIu64 "\n", o->copy_max);
	fprintf(f, "log: %s\n", log_level_name(o->log_level));
	fprintf(f, "allow_other: %s\n", o->allow_other ? "yes" : "no");
}

static void
print_features(FILE *f)
{
	const struct snap_feature *v;

	for (v = snap_features(); v->name != NULL; v++)
		fprintf(f, "feature: %s %s%s%s\n", v->name,
		    v->present ? "yes" : "no",
		    v->present || v->without == NULL ? "" : ", ",
		    v->present || v->without == NULL ? "" : v->without);
}

/* What the daemon would need capabilities for that it has not. */
static void
print_limits(FILE *f, const struct snapfs *fs)
{
	static const struct {
		uint64_t caps;
		const char *without;
	} v[] = {
		{ CAP(CAP_SYS_PTRACE),
		    "only processes that its own user may trace can be "
		    "checkpointed" },
		{ CAP(CAP_SETUID) | CAP(CAP_SETGID) | CAP(CAP_SYS_ADMIN),
		    "only its own user can restore, and only in the daemon's "
		    "own namespaces" },
		{ CAP(CAP_CHECKPOINT_RESTORE),
		    "a restored process gets a new pid (write pid=new), "
		    "unless its writer may choose one" },
		{ CAP(CAP_SYS_RESOURCE),
		    "hard resource limits are not raised at restore" },
	};
	size_t i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if ((fs->access.prm & v[i].caps) != v[i].caps)
			fprintf(f, "unprivileged: %s\n", v[i].without);
}

/*
 * What the twins have that no other process has: the pages that the original
 * wrote to since, or all of them once that is gone.  "lost": one was killed.
 */
static void
print_cost(FILE *f, struct snapfs *fs, const struct view *v, uint64_t total[2])
{
	size_t n = snap_checkpoint_twins(v->cp, NULL, 0), got = n, i;
	pid_t *twins = calloc(n + 1, sizeof(*twins));
	uint64_t bytes, sum = n == 0 ? v->info.pages_bytes : 0;
	char text[4096];
	bool lost = twins == NULL;

	if (!lost)
		got = snap_checkpoint_twins(v->cp, twins, n);
	for (i = 0; i < got && !lost; i++) {
		lost = procinfo_read_small(fs->proc, twins[i], "smaps_rollup",
			   text, sizeof(text)) < 0 ||
		       procinfo_parse_private(text, &bytes) < 0;
		if (!lost)
			sum += bytes;
	}
	free(twins);
	fprintf(f, " twins %zu memory ", n);
	if (lost)
		fputs("lost", f);
	else
		fprintf(f, "%" PRIu64, sum);
	total[0] += n;
	total[1] += lost ? 0 : sum;
}

/* To look at a twin's memory takes its time: without the lock. */
static void
print_view(FILE *f, struct snapfs *fs, const struct view *v, uint64_t now,
    uint64_t total[2])
{
	const bool has_name = v->name != NULL;
	pid_t reader;

	/* It may have ended meanwhile, and has no reader then. */
	pthread_mutex_lock(&fs->lock);
	reader = v->reader != NULL ? v->reader->id.pid : 0;
	pthread_mutex_unlock(&fs->lock);
	fprintf(
	    f, "%s: pid %d", has_name ? "named" : "checkpoint", v->target.pid);
	if (!has_name)
		fprintf(f, " reader %d", reader);
	fprintf(f, " twin %d", v->info.twin);
	print_cost(f, fs, v, total);
	fprintf(f, " frozen-us %" PRIu64 " pages %" PRIu64, v->info.frozen_us,
	    v->info.pages_bytes);
	/* A rename changes the name. */
	pthread_mutex_lock(&fs->lock);
	fprintf(f, " age %.1f open %u id %s", (double)(now - v->taken) / 1000,
	    v->nopen, v->info.id);
	if (has_name)
		fprintf(f, " name %s", v->name);
	pthread_mutex_unlock(&fs->lock);
	fputc('\n', f);
}

/* Those that `who` sees, in use, so that the lock can be let go of. */
static size_t
hold(struct snapfs *fs, const struct view_creds *who,
    const struct view_list *list, struct view **held, size_t n)
{
	struct view *v;

	TAILQ_FOREACH (v, list, by_use) {
		if (v->state != VIEW_TAKEN ||
		    !(sees_all(fs, who) || v->creds.uid == who->uid))
			continue;
		view_use(v);
		held[n++] = v;
	}
	return n;
}

/* All that is held now, and what that costs. */
static int
print_views(FILE *f, struct snapfs *fs, const struct view_creds *who)
{
	uint64_t all[2] = { 0 }, named[2] = { 0 }, now = snapfs_now();
	struct view **held, *v;
	unsigned live = 0, others = 0;
	size_t i, n = 0;

	pthread_mutex_lock(&fs->lock);
	TAILQ_FOREACH (v, &fs->views.named, by_use)
		live++;
	TAILQ_FOREACH (v, &fs->views.views, by_use)
		others++;
	held = calloc(live + others + 1, sizeof(struct view *));
	if (held != NULL) {
		n = hold(fs, who, &fs->views.views, held, 0);
		n = hold(fs, who, &fs->views.named, held, n);
	}
	pthread_mutex_unlock(&fs->lock);

	fprintf(f, "named-live: %u\n", live);
	for (i = 0; i < n; i++)
		print_view(
		    f, fs, held[i], now, held[i]->name != NULL ? named : all);
	fprintf(f, "named-memory: %" PRIu64 "\n", named[1]);
	fprintf(f, "twins: %" PRIu64 "\n", all[0] + named[0]);
	fprintf(f, "twins-memory: %" PRIu64 "\n", all[1] + named[1]);

	pthread_mutex_lock(&fs->lock);
	for (i = 0; i < n; i++)
		view_unuse(&fs->views, held[i]);
	pthread_mutex_unlock(&fs->lock);
	free(held);
	return held == NULL ? -ENOMEM : 0;
}

/* What a spare costs, for it has no page of its own: its page tables. */
static void
print_spare(FILE *f, const struct snapfs *fs, pid_t pid)
{
	char text[8192];
	const char *p = NULL;

	if (pid > 0 && procinfo_read_small(
			   fs->proc, pid, "status", text, sizeof(text)) == 0)
		p = strstr(text, "\nVmPTE:");
	if (p != NULL)
		fprintf(f, " spare %d page-tables %llu", pid,
		    strtoull(p + 7, NULL, 10) << 10);
}

/*
 * What a template costs: the pages that no other process has, which would be
 * free without it.  What it saves: bytes that were not read again, and memory
 * that it has in common with others.
 */
static void
print_template(FILE *f, const struct snapfs *fs, const struct template *v,
    pid_t spare, uint64_t now)
{
	char text[4096];
	uint64_t own = 0, all = 0;

	if (procinfo_read_small(
		fs->proc, v->pid, "smaps_rollup", text, sizeof(text)) == 0) {
		procinfo_parse_private(text, &own);
		procinfo_parse_resident(text, &all);
	}
	fprintf(f,
	    "template: pid %d uid %u instances %" PRIu64 " pages %" PRIu64
	    " memory %" PRIu64 " shared %" PRIu64 " not-read %" PRIu64,
	    v->pid, v->uid, v->made, v->image.bytes, own,
	    all > own ? all - own : 0,
	    v->made > 0 ? (v->made - 1) * v->image.bytes : 0);
	print_spare(f, fs, spare);
	fprintf(f, " age %.1f unused %.1f", (double)(now - v->since) / 1000,
	    (double)(now - v->used) / 1000);
	if (v->session != 0)
		fprintf(f, " session %d", v->session);
	fprintf(f, " path %s\n", v->path);
}

static int
print_templates(FILE *f, struct snapfs *fs, const struct view_creds *who)
{
	uint64_t now = snapfs_now();
	struct template **held, *v;
	size_t i, n = 0;
	unsigned live, spares;
	pid_t *spare;
	int err;

	pthread_mutex_lock(&fs->lock);
	templates_sweep(&fs->templates);
	live = fs->templates.n;
	spares = fs->templates.nspares;
	held = calloc(live + 1, sizeof(struct template *));
	spare = calloc(live + 1, sizeof(*spare));
	TAILQ_FOREACH (v, &fs->templates.list, by_use)
		if (held != NULL && spare != NULL &&
		    (sees_all(fs, who) || v->uid == who->uid)) {
			v->nuse++;
			spare[n] = v->spare.pid;
			held[n++] = v;
		}
	pthread_mutex_unlock(&fs->lock);

	fprintf(f, "templates-live: %u\n", live);
	fprintf(f, "spares-live: %u\n", spares);
	for (i = 0; i < n; i++)
		print_template(f, fs, held[i], spare[i], now);

	pthread_mutex_lock(&fs->lock);
	fprintf(f, "templates-dropped: %" PRIu64 "\n", fs->templates.dropped);
	fprintf(f, "spares-used: %" PRIu64 "\n", fs->templates.spares_used);
	for (i = 0; i < n; i++)
		templates_put(&fs->templates, held[i]);
	pthread_mutex_unlock(&fs->lock);
	err = held == NULL || spare == NULL ? -ENOMEM : 0;
	free(held);
	free(spare);
	return err;
}

static void
print_state(FILE *f, struct snapfs *fs)
{
	const struct counters *c = &fs->counters;

	pthread_mutex_lock(&fs->lock);
	fprintf(f, "checkpoints-live: %u\n", fs->views.ntaken);
	fprintf(f, "checkpoints-taken: %" PRIu64 "\n", c->checkpoints);
	fprintf(f, "checkpoints-failed: %" PRIu64 "\n", c->failed);
	fprintf(f, "frozen-us-max: %" PRIu64 "\n", c->frozen_us_max);
	fprintf(f, "restores: %" PRIu64 "\n", c->restores);
	fprintf(f, "restores-failed: %" PRIu64 "\n", c->failed_restores);
	pthread_mutex_unlock(&fs->lock);
}

static int
status(struct snapfs *fs, const struct view_creds *who, struct handle *h)
{
	size_t len = 0;
	char *errors = log_errors(
	    fs->log, who->uid, sees_all(fs, who), "error", ERRORS_SHOWN, &len);
	FILE *f = open_memstream(&h->text, &h->len);
	int err;

	if (f == NULL) {
		free(errors);
		return -ENOMEM;
	}
	print_options(f, fs);
	print_features(f);
	print_limits(f, fs);
	print_state(f, fs);
	err = print_views(f, fs, who);
	if (err == 0)
		err = print_templates(f, fs, who);
	pagers_print(f, fs->proc, who->uid, sees_all(fs, who));
	track_print(f, fs, who->uid, sees_all(fs, who));
	holder_print(f, fs, who->uid, sees_all(fs, who));
	if (errors != NULL)
		fwrite(errors, 1, len, f);
	free(errors);
	return fclose(f) == 0 ? err : -ENOMEM;
}

static int
answer(struct snapfs *fs, const struct view_creds *who, struct handle *h)
{
	pthread_mutex_lock(&fs->lock);
	h->text = strdup(control_answer_get(&fs->answers, who->uid));
	pthread_mutex_unlock(&fs->lock);
	if (h->text == NULL)
		return -ENOMEM;
	h->len = strlen(h->text);
	return 0;
}

int
status_text(struct snapfs *fs, enum node_kind kind,
    const struct view_creds *who, struct handle *h)
{
	switch (kind) {
	case NODE_RESTORE:
		return answer(fs, who, h);
	case NODE_STATUS:
		return status(fs, who, h);
	case NODE_LOG_RAW:
		h->text =
		    log_raw(fs->log, who->uid, sees_all(fs, who), &h->len);
		return h->text == NULL ? -ENOMEM : 0;
	default:
		h->text =
		    log_text(fs->log, who->uid, sees_all(fs, who), &h->len);
		return h->text == NULL ? -ENOMEM : 0;
	}
}
