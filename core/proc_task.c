#include "proc_task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "proc.h"

static int
read_task(pid_t pid, pid_t tid, const char *name, char **text)
{
	char path[48];
	int err;

	if (tid == 0)
		return proc_try(pid, name, text, NULL);
	snprintf(path, sizeof(path), "task/%d/%s", (int)tid, name);
	err = proc_try(pid, path, text, NULL);
	return err == -ENOENT ? -ESRCH : err;
}

int
proc_task_stat(pid_t pid, pid_t tid, struct proc_stat *st)
{
	char *text;
	int err = read_task(pid, tid, "stat", &text);

	if (err != 0)
		return err;
	err = proc_parse_stat(text, st);
	free(text);
	return err;
}

int
proc_task_creds(pid_t pid, pid_t tid, struct proc_status *st)
{
	char *text;
	int err = read_task(pid, tid, "status", &text);

	if (err != 0)
		return err;
	err = proc_parse_status(text, st);
	free(text);
	return err;
}

int
proc_task_status(pid_t pid, pid_t tid, struct proc_status *st)
{
	int err = proc_task_creds(pid, tid, st);

	if (err != 0)
		return err;
	free(st->creds.groups);
	st->creds.groups = NULL;
	st->creds.ngroups = 0;
	return 0;
}

static const char *
reason(int err)
{
	switch (err) {
	case -ESRCH:
		return "the process is gone";
	case -EPROTO:
		return "not understood";
	default:
		return strerror(-err);
	}
}

int
proc_task_fail(struct snap_ctx *cx, pid_t pid, const char *name, int err)
{
	return snap_fail(
	    cx, err, "/proc/%d/%s: %s", (int)pid, name, reason(err));
}
