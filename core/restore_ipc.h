/*
 * restore_ipc.h - an object of System V IPC, made again with its id.
 */
#ifndef RESTORE_IPC_H
#define RESTORE_IPC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct restore;

/* A kind of them. */
struct ipc_kind {
	const char *next_id; /* the file that chooses the next one's id */
	/* Make `what`, mode 0600: its id or -errno.  In a child of the agent. */
	int (*make)(const void *what);
	int (*give)(int id, uid_t uid, gid_t gid, uint32_t mode);
	void (*remove)(int id);
};

/*
 * Make one with this id and, if the writer may, this creator; it is the agent's.
 * 0, and whether the creator is *other; or -errno, without a sentence, and
 * nothing is left: EEXIST the id is taken, EPERM, EACCES it may not be chosen.
 */
int restore_ipc_make(struct restore *r, const struct ipc_kind *k, int32_t id,
    uid_t cuid, gid_t cgid, const void *what, bool *other);

#endif
