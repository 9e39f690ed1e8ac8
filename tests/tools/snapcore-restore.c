/*
 * snapcore-restore - restore an image without a file system.
 *
 *	snapcore-restore DIR [pid=new] [stopped] [replace] [ignore=WHAT]
 *	    [tty=PATH] [instance] [lazy]
 *
 * Prints the pid; what came back differently goes to standard error.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snap.h"

static void
log_line(void *arg, const struct snap_log_record *record)
{
	char line[2048];

	if (record->level != SNAP_ERROR &&
	    snap_log_text(arg, record, line, sizeof(line)) == 0)
		fprintf(stderr, "%s\n", line);
}

static bool instance; /* by way of a template */

static void
parse_option(struct snap_restore_options *o, const char *arg)
{
	if (strcmp(arg, "pid=new") == 0)
		o->new_pid = true;
	else if (strcmp(arg, "stopped") == 0)
		o->stopped = true;
	else if (strcmp(arg, "replace") == 0)
		o->replace = true;
	else if (strncmp(arg, "ignore=", 7) == 0)
		o->ignore = arg + 7;
	else if (strcmp(arg, "lazy") == 0)
		o->lazy = true;
	else if (strcmp(arg, "instance") == 0)
		instance = true;
	else if (strncmp(arg, "tty=", 4) == 0) {
		o->tty = open(arg + 4, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (o->tty < 0)
			err(2, "%s", arg + 4);
	} else
		errx(2, "%s: no such option", arg);
}

/* The agent: it ends when the process is on its own. */
static int
agent(const struct snap_restore_options *o)
{
	struct snap_log_table table;
	struct snap_options opt = {
		.log = log_line,
		.log_arg = &table,
		.log_level = SNAP_DEBUG,
	};
	struct snap_restore_options with = *o;
	struct snap_restore_result res = { 0 };
	struct snap_template t;
	struct snap_ctx *cx = snap_ctx_new(&opt);
	int rc;

	snap_log_table_own(&table);
	if (cx == NULL)
		errx(1, "no memory");
	rc = instance ? snap_template_make(cx, &with, &t) : 0;
	if (rc == 0 && instance)
		with.tmpl = &t;
	if (rc == 0)
		rc = snap_restore(cx, &with, &res);
	if (rc == 0)
		rc = snap_pager_wait(cx, res.pager, NULL, NULL);
	if (rc < 0)
		fprintf(stderr, "snapcore-restore: %s (%s)\n", snap_error(cx),
		    strerrorname_np(-rc));
	else
		printf("%d\n", (int)res.pid);
	if (rc == 0 && res.note[0] != '\0')
		fprintf(stderr, "note: %s\n", res.note);
	snap_ctx_free(cx);
	return rc < 0;
}

int
main(int argc, char **argv)
{
	struct snap_restore_options o = { .tty = -1, .cwd = -1 };
	int st;
	pid_t pid;

	if (argc < 2)
		errx(2, "usage: snapcore-restore DIR [OPTION]...");
	o.dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o.dir < 0)
		err(1, "%s", argv[1]);
	for (int i = 2; i < argc; i++)
		parse_option(&o, argv[i]);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		st = agent(&o);
		fflush(NULL);
		_exit(st);
	}
	if (waitpid(pid, &st, 0) < 0)
		err(1, "waitpid");
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}
