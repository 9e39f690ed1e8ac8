#define FUSE_USE_VERSION 312

#include "opts.h"

#include "log.h"

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINGER_MS 5000
#define FREEZE_TIMEOUT_MS 2000
#define MAX_CHECKPOINTS 64
#define MAX_NAMED 32
#define COPY_MAX (UINT64_C(256) << 20)
#define MAX_TEMPLATES 8
#define MAX_SPARES 8

const char opts_usage[] =
    "usage: snapfs [SOURCE] MOUNTPOINT [-fdhV] [-o OPTION[,OPTION...]]\n"
    "\n"
    "  -f                   stay in the foreground, log to stderr\n"
    "  -d                   the same, with every FUSE request\n"
    "  -h, -V               print this, or the version\n"
    "  -o linger=SECONDS    how long an unused checkpoint is kept (5)\n"
    "  -o freeze_timeout=SECONDS\n"
    "                       how long a process may take to freeze (2)\n"
    "  -o max_checkpoints=N how many there may be at once (64)\n"
    "  -o max_named=N       how many PID@NAME a user may have (32)\n"
    "  -o templates=N       how many templates are kept, 0: none (8)\n"
    "  -o template_memory=SIZE\n"
    "                       of all together: 512M, 2G (a quarter of memory)\n"
    "  -o spares=N          how many of them have a clone made ahead, 0: none "
    "(8)\n"
    "  -o copy_max=SIZE     how much of an increment is copied, if that is\n"
    "                       shorter than a fork (256M, or an eighth of "
    "memory)\n"
    "  -o log=LEVEL         error, notice, step or debug (step)\n"
    "  -o allow_other       every user may come in (root's default)\n"
    "\n"
    "and the options of mount(8) and mount.fuse(8).  See snapfs(1).\n";

struct parse {
	struct opts *o;
	char *linger, *freeze_timeout, *max_checkpoints, *max_named, *templates,
	    *template_memory, *spares, *copy_max, *log, *max_read;
	int foreground, debug, help, version, allow_other, track;
	char *names[2];
	int nnames;
	const char *why;
};

enum { KEY_IGNORE };

#define OPT(t, f) \
	{ \
		t, offsetof(struct parse, f), 1 \
	}

/* Of fstab and mount(8), without a meaning here; dev and suid never hold. */
#define IGNORE(t) FUSE_OPT_KEY(t, KEY_IGNORE)

static const struct fuse_opt table[] = {
	OPT("linger=%s", linger),
	OPT("freeze_timeout=%s", freeze_timeout),
	OPT("max_checkpoints=%s", max_checkpoints),
	OPT("max_named=%s", max_named),
	OPT("templates=%s", templates),
	OPT("template_memory=%s", template_memory),
	OPT("spares=%s", spares),
	OPT("copy_max=%s", copy_max),
	OPT("log=%s", log),
	OPT("max_read=%s", max_read),
	OPT("-f", foreground),
	OPT("-d", debug),
	OPT("debug", debug),
	OPT("-h", help),
	OPT("--help", help),
	OPT("-V", version),
	OPT("--version", version),
	OPT("allow_other", allow_other),
	OPT("track", track),
	IGNORE("defaults"),
	IGNORE("auto"),
	IGNORE("noauto"),
	IGNORE("fail"),
	IGNORE("nofail"),
	IGNORE("user"),
	IGNORE("user="),
	IGNORE("nouser"),
	IGNORE("users"),
	IGNORE("nousers"),
	IGNORE("owner"),
	IGNORE("group"),
	IGNORE("_netdev"),
	IGNORE("comment="),
	IGNORE("uhelper="),
	IGNORE("helper="),
	IGNORE("dev"),
	IGNORE("suid"),
	IGNORE("exec"),
	IGNORE("relatime"),
	IGNORE("norelatime"),
	IGNORE("strictatime"),
	IGNORE("nostrictatime"),
	IGNORE("lazytime"),
	IGNORE("nolazytime"),
	IGNORE("fsname="),
	IGNORE("subtype="),
	FUSE_OPT_END,
};

static int
parse_one(void *data, const char *arg, int key, struct fuse_args *outargs)
{
	struct parse *p = data;

	(void)outargs;
	switch (key) {
	case KEY_IGNORE:
		return 0;
	case FUSE_OPT_KEY_NONOPT:
		if (p->nnames == 2) {
			p->why = "too many arguments";
			return -1;
		}
		p->names[p->nnames] = strdup(arg);
		return p->names[p->nnames++] == NULL ? -1 : 0;
	default:
		/* Options for other programs: x-systemd.automount and so on. */
		return strncmp(arg, "x-", 2) == 0 || strncmp(arg, "X-", 2) == 0
			   ? 0
			   : 1;
	}
}

bool
opts_seconds(const char *s, unsigned *ms)
{
	char *end;
	double v;

	if (*s < '0' || *s > '9')
		return false;
	v = strtod(s, &end);
	if (*end != '\0' || !isfinite(v) || v < 0 || v > 1e6)
		return false;
	*ms = (unsigned)(v * 1000 + 0.5);
	return true;
}

static bool
parse_count(const char *s, unsigned min, unsigned *out)
{
	char *end;
	unsigned long v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (*end != '\0' || errno != 0 || v < min || v > 1u << 30)
		return false;
	*out = (unsigned)v;
	return true;
}

bool
opts_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long v;
	const char *unit;
	unsigned shift = 0;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno != 0)
		return false;
	if (*end != '\0') {
		unit = strchr(units, *end);
		if (unit == NULL || end[1] != '\0')
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (v > UINT64_MAX >> shift)
		return false;
	*bytes = (uint64_t)v << shift;
	return true;
}

static int
parse_values(struct opts *o, const struct parse *p, char *why, size_t size)
{
	uint64_t memory =
	    (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	o->linger_ms = LINGER_MS;
	o->freeze_timeout_ms = FREEZE_TIMEOUT_MS;
	o->max_checkpoints = MAX_CHECKPOINTS;
	o->max_named = MAX_NAMED;
	o->copy_max = memory / 8 < COPY_MAX ? memory / 8 : COPY_MAX;
	o->max_templates = MAX_TEMPLATES;
	o->max_spares = MAX_SPARES;
	o->template_bytes = memory / 4;
	o->log_level = SNAP_STEP;
	if (p->linger != NULL && !opts_seconds(p->linger, &o->linger_ms))
		snprintf(
		    why, size, "linger=%s: not a time in seconds", p->linger);
	else if (p->freeze_timeout != NULL &&
		 (!opts_seconds(p->freeze_timeout, &o->freeze_timeout_ms) ||
		     o->freeze_timeout_ms == 0))
		snprintf(why, size, "freeze_timeout=%s: not a time in seconds",
		    p->freeze_timeout);
	else if (p->max_checkpoints != NULL &&
		 !parse_count(p->max_checkpoints, 1, &o->max_checkpoints))
		snprintf(why, size, "max_checkpoints=%s: not a number",
		    p->max_checkpoints);
	else if (p->max_named != NULL &&
		 !parse_count(p->max_named, 0, &o->max_named))
		snprintf(why, size, "max_named=%s: not a number", p->max_named);
	else if (p->templates != NULL &&
		 !parse_count(p->templates, 0, &o->max_templates))
		snprintf(why, size, "templates=%s: not a number", p->templates);
	else if (p->template_memory != NULL &&
		 !opts_size(p->template_memory, &o->template_bytes))
		snprintf(why, size, "template_memory=%s: not a size",
		    p->template_memory);
	else if (p->spares != NULL &&
		 !parse_count(p->spares, 0, &o->max_spares))
		snprintf(why, size, "spares=%s: not a number", p->spares);
	else if (p->copy_max != NULL && !opts_size(p->copy_max, &o->copy_max))
		snprintf(why, size, "copy_max=%s: not a size", p->copy_max);
	else if (p->max_read != NULL &&
		 !parse_count(p->max_read, 1, &o->max_read))
		snprintf(why, size, "max_read=%s: not a number", p->max_read);
	else if (p->log != NULL && !log_level_named(p->log, &o->log_level))
		snprintf(why, size,
		    "log=%s: the levels are error, notice, step and debug",
		    p->log);
	else
		return 0;
	return -EINVAL;
}

static int
parse_names(struct opts *o, struct parse *p, char *why, size_t size)
{
	const char *mountpoint;
	int err;

	if (p->nnames == 0) {
		snprintf(why, size, "no mount point given");
		return -EINVAL;
	}
	mountpoint = p->names[p->nnames - 1];
	o->mountpoint = realpath(mountpoint, NULL);
	if (o->mountpoint == NULL) {
		err = errno;
		snprintf(why, size, "%s: %s", mountpoint,
		    err == ENOTCONN
			? "a mount without its daemon is there: umount it"
			: strerror(err));
		return err == EINVAL ? -ENOENT : -err;
	}
	if (p->nnames == 2) {
		o->source = p->names[0];
		p->names[0] = NULL;
	}
	return 0;
}

/* libfuse makes mount options of these. */
static int
add_mount_options(const struct opts *o, struct fuse_args *args)
{
	const char *source = o->source != NULL ? o->source : "snapfs";
	char *opt;
	int err;

	/* A comma would begin another option. */
	if (strchr(source, ',') != NULL || *source == '\0')
		source = "snapfs";
	if (asprintf(&opt, "-osubtype=snapfs,fsname=%s%s", source,
		o->allow_other ? ",allow_other" : "") < 0)
		return -ENOMEM;
	err = fuse_opt_add_arg(args, opt) < 0 ? -ENOMEM : 0;
	free(opt);
	if (err == 0 && o->max_read != 0) {
		if (asprintf(&opt, "-omax_read=%u", o->max_read) < 0)
			return -ENOMEM;
		err = fuse_opt_add_arg(args, opt) < 0 ? -ENOMEM : 0;
		free(opt);
	}
	if (err == 0 && o->debug && fuse_opt_add_arg(args, "-d") < 0)
		err = -ENOMEM;
	return err;
}

int
opts_parse(struct opts *o, struct fuse_args *args, char *why, size_t whysize)
{
	struct parse p = { .o = o };
	int err = 0;

	memset(o, 0, sizeof(*o));
	snprintf(why, whysize, "bad usage");
	if (fuse_opt_parse(args, &p, table, parse_one) < 0) {
		if (p.why != NULL)
			snprintf(why, whysize, "%s", p.why);
		err = -EINVAL;
		goto out;
	}
	o->foreground = p.foreground || p.debug;
	o->debug = p.debug;
	o->help = p.help;
	o->version = p.version;
	if (o->help || o->version)
		goto out;
	o->track = p.track;
	o->allow_other = p.allow_other || geteuid() == 0;
	err = parse_values(o, &p, why, whysize);
	if (err == 0)
		err = parse_names(o, &p, why, whysize);
	if (err == 0)
		err = add_mount_options(o, args);
out:
	free(p.linger);
	free(p.freeze_timeout);
	free(p.max_checkpoints);
	free(p.max_named);
	free(p.templates);
	free(p.template_memory);
	free(p.spares);
	free(p.copy_max);
	free(p.log);
	free(p.max_read);
	free(p.names[0]);
	free(p.names[1]);
	return err;
}

void
opts_fini(struct opts *o)
{
	free(o->source);
	free(o->mountpoint);
}
