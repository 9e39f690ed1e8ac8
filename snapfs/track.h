/*
 * track.h - processes of which it is kept what they write: `.track`.
 *
 * A table of trackers by process.  Everything that takes `fs` takes its lock.
 */
#ifndef TRACK_H
#define TRACK_H

#include "snapfs.h"

#include <stdio.h>

struct handle;

/* With a reference of the caller's, for snap_tracker_put(); NULL: it is off. */
struct snap_tracker *track_find(struct snapfs *fs, struct proc_id id);

/* The same for a checkpoint of it, which turns it on with `-o track`. */
struct snap_tracker *track_for_checkpoint(
    struct snapfs *fs, struct proc_id id, const struct log_job *log, uid_t uid);

/* After that: how many processes are tracked with it by now. */
void track_counted(
    struct snapfs *fs, struct proc_id id, struct snap_tracker *tracker);

/* The words `on` and `off`: 0 or -errno, with the reason in the log. */
int track_write(struct snapfs *fs, const struct caller *who, struct proc_id id,
    const char *buf, size_t size);

/* What a read of it gives, in h->text. */
int track_read(struct snapfs *fs, struct proc_id id, struct handle *h);

/* A line for each in .status, those of `uid` or all. */
void track_print(FILE *f, struct snapfs *fs, uid_t uid, bool all);

#endif
