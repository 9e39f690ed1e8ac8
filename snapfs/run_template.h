/*
 * run_template.h - the template that an instance of snapfs-run(1) is cloned
 * from: one in the caller's session, as of setsid(2), that the daemon knows of, or a new one.
 */
#ifndef RUN_TEMPLATE_H
#define RUN_TEMPLATE_H

#include "run.h"

struct run_template {
	struct snap_template t; /* control -1: there is none */
	int keeper;		/* see run_keeper.h; or -1 */
	int daemon;		/* a socket; or -1 */
	char why[600]; /* why there is none; "" if there need not be one */
};

/*
 * Is there one for the image in `dir`, or shall there be, and could it be made?
 * To be called while there is one thread only.  run_template_free() in any case.
 */
bool run_template_find(
    struct run_template *v, int dir, const struct run_from_options *how);

/* It has ended meanwhile: make one. */
bool run_template_again(struct run_template *v, int dir);

/* An instance was made of it. */
void run_template_used(struct run_template *v);

void run_template_free(struct run_template *v);

#endif
