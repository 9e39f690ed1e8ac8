/*
 * run.c - the command line of snapfs-run(1).
 */
#include "run.h"

#include <err.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
    "usage: snapfs-run [--until CALL | --until-fd-read N | --until-listen |\n"
    "           --until-symbol NAME] [--pid-file FILE] [--] PROGRAM [ARG...]\n"
    "       snapfs-run [--template=yes|no] [--mount DIR] [--same-pid] "
    "[--learn]\n"
    "           [-v] --from DIR\n";

enum {
	UNTIL = 256,
	READ,
	LISTEN,
	SYMBOL,
	PIDFILE,
	FROM,
	SAME_PID,
	LEARN,
	MOUNT,
	TEMPLATE
};

#define MOUNT_POINT "/snap" /* where the manual has it */

struct options {
	struct snap_point point;
	bool has_point;
	const char *pidfile, *from;
	struct run_from_options how;
};

static void __attribute__((noreturn)) usage(void)
{
	fputs(usage_text, stderr);
	exit(RUN_FAILED);
}

static long
number(const char *s, const char *what, long max)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (*s < '0' || *s > '9' || *end != '\0' || n > max)
		errx(RUN_FAILED, "%s: there is no %s of that name", s, what);
	return n;
}

static void
set_point(struct options *o, struct snap_point point)
{
	if (o->has_point)
		errx(RUN_FAILED, "only one point can be waited for");
	o->point = point;
	o->has_point = true;
}

static long
call_of(const char *s)
{
	long nr = snap_syscall_number(s);

	return nr >= 0 ? nr : number(s, "system call", INT_MAX);
}

static void
take_template(struct options *o)
{
	o->how.template = strcmp(optarg, "yes") == 0;
	o->how.alone = strcmp(optarg, "no") == 0;
	if (!o->how.template && !o->how.alone)
		errx(RUN_FAILED, "--template is yes or no");
}

static void
take_option(struct options *o, int c)
{
	switch (c) {
	case UNTIL:
		set_point(o, (struct snap_point){ .kind = SNAP_POINT_CALL,
				 .nr = call_of(optarg) });
		break;
	case READ:
		set_point(
		    o, (struct snap_point){ .kind = SNAP_POINT_READ,
			   .fd = (int)number(optarg, "descriptor", INT_MAX) });
		break;
	case LISTEN:
		set_point(o, (struct snap_point){ .kind = SNAP_POINT_LISTEN });
		break;
	case SYMBOL:
		set_point(o, (struct snap_point){
				 .kind = SNAP_POINT_SYMBOL, .symbol = optarg });
		break;
	case PIDFILE:
		o->pidfile = optarg;
		break;
	case FROM:
		o->from = optarg;
		break;
	case SAME_PID:
		o->how.same_pid = true;
		break;
	case LEARN:
		o->how.learn = true;
		break;
	case MOUNT:
		o->how.mount = optarg;
		break;
	case TEMPLATE:
		take_template(o);
		break;
	case 'v':
		o->how.verbose = true;
		break;
	default:
		usage();
	}
}

static void
parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "until", required_argument, NULL, UNTIL },
		{ "until-fd-read", required_argument, NULL, READ },
		{ "until-listen", no_argument, NULL, LISTEN },
		{ "until-symbol", required_argument, NULL, SYMBOL },
		{ "pid-file", required_argument, NULL, PIDFILE },
		{ "from", required_argument, NULL, FROM },
		{ "same-pid", no_argument, NULL, SAME_PID },
		{ "learn", no_argument, NULL, LEARN },
		{ "mount", required_argument, NULL, MOUNT },
		{ "template", required_argument, NULL, TEMPLATE },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "+hvV", longs, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage_text, stdout);
			exit(0);
		}
		if (c == 'V') {
			puts("snapfs-run " SNAPFS_VERSION);
			exit(0);
		}
		take_option(o, c);
	}
}

int
main(int argc, char **argv)
{
	struct options o = { .point = { .kind = SNAP_POINT_WAIT },
		.how.mount = MOUNT_POINT };

	parse(argc, argv, &o);
	if (o.from != NULL) {
		if (o.has_point || o.pidfile != NULL)
			usage();
		if (optind != argc)
			errx(RUN_FAILED,
			    "--from: the program has its arguments already");
		return run_from(o.from, &o.how);
	}
	if (optind == argc || o.how.same_pid || o.how.learn || o.how.template ||
	    o.how.alone)
		usage();
	return run_hold(argv + optind, &o.point, o.pidfile);
}
