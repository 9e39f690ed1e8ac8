/*
 * housekeeper.h - a thread that ends views: those whose reader has exited, and
 * those that were left unused.  It looks after the templates, what is made ahead
 * for the next restore, and what memory the daemon keeps, too.
 */
#ifndef HOUSEKEEPER_H
#define HOUSEKEEPER_H

#include "view.h"

struct snapfs;
struct housekeeper;

/* Starts the thread.  NULL with errno set. */
struct housekeeper *housekeeper_new(struct snapfs *fs);

/* With the lock: hear of the exit of this reader, and look at the clock. */
void housekeeper_watch(struct housekeeper *h, struct reader *r);

/* With the lock: there is something to look after again. */
void housekeeper_wake(struct housekeeper *h);

/* With the lock: what a checkpoint had is free, and may go back to the kernel. */
void housekeeper_freed(struct housekeeper *h);

/* A template was used, and may have another spare; nobody waits for that. */
void housekeeper_spares(struct housekeeper *h);

/* The view_table's `reader_unused`. */
void housekeeper_unwatch(void *fs, struct reader *r);

#endif
