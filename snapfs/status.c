#include "status.h"

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

static void
print_view(FILE *f, const struct view *v, uint64_t now)
{
	fprintf(f,
	    "checkpoint: pid %d reader %d twin %d frozen-us %" PRIu64
	    " pages %" PRIu64 " age %.1f open %u id %s\n",
	    v->target.pid, v->reader->id.pid, v->info.twin, v->info.frozen_us,
	    v->info.pages_bytes, (double)(now - v->taken) / 1000, v->nopen,
	    v->info.id);
}

static void
print_state(FILE *f, struct snapfs *fs, const struct view_creds *who)
{
	const struct counters *c = &fs->counters;
	const struct view *v;
	uint64_t now = snapfs_now();

	pthread_mutex_lock(&fs->lock);
	fprintf(f, "checkpoints-live: %u\n", fs->views.ntaken);
	fprintf(f, "checkpoints-taken: %" PRIu64 "\n", c->checkpoints);
	fprintf(f, "checkpoints-failed: %" PRIu64 "\n", c->failed);
	fprintf(f, "frozen-us-max: %" PRIu64 "\n", c->frozen_us_max);
	fprintf(f, "restores: %" PRIu64 "\n", c->restores);
	fprintf(f, "restores-failed: %" PRIu64 "\n", c->failed_restores);
	TAILQ_FOREACH (v, &fs->views.views, by_use)
		if (v->state == VIEW_TAKEN &&
		    (sees_all(fs, who) || v->creds.uid == who->uid))
			print_view(f, v, now);
	pthread_mutex_unlock(&fs->lock);
}

static int
status(struct snapfs *fs, const struct view_creds *who, struct handle *h)
{
	size_t len = 0;
	char *errors = log_errors(
	    fs->log, who->uid, sees_all(fs, who), "error", ERRORS_SHOWN, &len);
	FILE *f = open_memstream(&h->text, &h->len);

	if (f == NULL) {
		free(errors);
		return -ENOMEM;
	}
	print_options(f, fs);
	print_features(f);
	print_limits(f, fs);
	print_state(f, fs, who);
	if (errors != NULL)
		fwrite(errors, 1, len, f);
	free(errors);
	return fclose(f) == 0 ? 0 : -ENOMEM;
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
	default:
		h->text =
		    log_text(fs->log, who->uid, sees_all(fs, who), &h->len);
		return h->text == NULL ? -ENOMEM : 0;
	}
}
