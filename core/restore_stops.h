/*
 * restore_stops.h - children that were stopped.
 */
#ifndef RESTORE_STOPS_H
#define RESTORE_STOPS_H

#include "restore_seccomp.h"

/* It is complete, and all its threads are in stops: stop it as SIGSTOP does. */
int restore_stop(struct restore *r);

/* Afterwards, while its parent can still make calls. */
int restore_stop_heard(struct restore *parent, const struct restore *child,
    restore_call_fn *call, void *arg);

#endif
