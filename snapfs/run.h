/*
 * run.h - snapfs-run(1): run a program up to a point, or go on from there.
 */
#ifndef RUN_H
#define RUN_H

#include <stdbool.h>

#include "snap.h"

/* Exit statuses that are not the program's, as env(1) and others have them. */
#define RUN_FAILED 125
#define RUN_CANNOT_EXECUTE 126
#define RUN_NOT_FOUND 127

/* Run argv up to the point, print its pid.  The exit status. */
int run_hold(char **argv, const struct snap_point *point, const char *pidfile);

struct run_from_options {
	const char *mount; /* where a daemon is that keeps templates, if any */
	bool template;	   /* have one made now */
	bool alone;	   /* make and use none */
	bool same_pid;
	bool learn; /* see what it touches first, for the next */
	bool verbose;
};

/* An instance of the image in `dir`, in the foreground.  The exit status. */
int run_from(const char *dir, const struct run_from_options *how);

/* A file for what is learned; exits if it cannot be made in `dir`. */
int learn_open(int dir, const char *path);
/* Make it the image's, or drop it. */
void learn_close(int dir, int fd, bool keep);

#endif
