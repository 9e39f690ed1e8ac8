/*
 * status.h - what the control files say when they are read.
 */
#ifndef STATUS_H
#define STATUS_H

#include "handle.h"

/*
 * The text of .restore, .status or .log for a user with these rights, into
 * h->text and h->len.  0 or -ENOMEM.
 */
int status_text(struct snapfs *fs, enum node_kind kind,
    const struct view_creds *who, struct handle *h);

#endif
