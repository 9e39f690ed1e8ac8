/*
 * restore_pids.h - who has the ids of an image now.
 */
#ifndef RESTORE_PIDS_H
#define RESTORE_PIDS_H

#include <stdbool.h>
#include <sys/types.h>

/* How long a process that is dying anyway may take, in ms. */
#define DYING_MS 5000
#define POLL_MS 5

struct holder {
	pid_t tgid, ppid;
	char comm[64];
	bool dying; /* dead, or killed and on its way */
	bool dead;  /* all of it: only its parent has not waited */
};

/* A process of a group and a session. */
struct member {
	pid_t tgid, ppid, pgid, sid;
	char comm[64];
};

/* false: no process or thread has this id. */
bool holder_find(pid_t id, struct holder *h);

/* All that are not about to end, up to the first step that is not 0. */
int each_member(int (*step)(void *arg, const struct member *m), void *arg);

/* 0: there is none. */
pid_t parent_of(pid_t pid);

/* Is it one of those below which we run? */
bool holder_is_ancestor(const struct holder *h);

#endif
