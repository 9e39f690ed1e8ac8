/*
 * instances.h - in an agent: a template, if there is to be one, and any number
 * of processes from it, all or none.
 */
#ifndef INSTANCES_H
#define INSTANCES_H

#include "agent.h"

/*
 * Tell the daemon that this process is the writer now.  To be called before
 * anything of the image is looked at; false: no template for this one.
 */
bool instances_became(void);

/*
 * Have the template for opt->dir: the one that there is, or a new one, which
 * the daemon is told of.  1 with *t, which is the caller's; 0: do without;
 * or -errno with a sentence in `cx`.  With `anew`, the one that there is has
 * ended.
 */
int instances_template(struct snap_ctx *cx, const struct snap_options *log,
    const struct snap_restore_options *opt, bool anew, struct snap_template *t);

/*
 * Restore n of them at once: pids[0 .. n-1], or -errno and a sentence in
 * `why`, and none is left.
 */
int instances_make(const struct snap_options *log,
    const struct snap_restore_options *opt, unsigned n, pid_t *pids,
    struct snap_restore_result *first, char *why, size_t whysize);

#endif
