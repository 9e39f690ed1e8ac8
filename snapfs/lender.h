/*
 * lender.h - snapfs-run(1) restores by itself, so that what it restores is in
 * its session; and comes to us for a template.  It writes the number of a socket
 * of its own into .restore, takes on the part of an agent there, and closes
 * it when it has what it needs.
 */
#ifndef LENDER_H
#define LENDER_H

#include "restore_impl.h"

/* Answer the request, and then what is asked there.  Takes `r`. */
void lender_start(struct restore *r);

/* Unmounted: nobody is listened to any more.  With the lock. */
void lender_wake_all(struct snapfs *fs);

#endif
