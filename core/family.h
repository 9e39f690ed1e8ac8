/*
 * family.h - processes that belong together: one and all below it.
 */
#ifndef FAMILY_H
#define FAMILY_H

#include "process.h"

struct snap_ctx;

/*
 * A new process of the tree, child of v[parent] (ignored of the first), or
 * NULL: no memory, or there are too many.  Parents are added before children.
 */
struct process *family_add(struct family *t, size_t parent);
/* One more whose pages are needed; takes over both, at failure too. */
int family_add_above(
    struct family *t, struct process *p, struct image_sums *sums);
void family_fini(struct family *t);

/* NULL if there is none. */
struct process *family_find(const struct family *t, pid_t pid);

/*
 * Whose `pages` has the bytes of a run of p with this `src`: the number of a
 * process of the tree; behind these, of one above it.
 */
size_t family_source(
    const struct family *t, const struct process *p, uint32_t src);
/* That process. */
struct process *family_numbered(const struct family *t, size_t k);

/* The process that has the bytes of this content of p: p itself, mostly. */
struct process *family_keeper(const struct process *p, const struct content *c);

/*
 * What an image's processes say of each other: no id twice, nothing shared
 * that is not there.  Contents that lie above the tree become its first's.
 */
int family_check(struct snap_ctx *cx, struct family *t);

/*
 * family_share.c: the first of the tree that has the same table as p (itself,
 * if it is that or the only one); does each say what the first says?
 */
struct process *family_sharer(const struct process *p, enum share k);
int family_check_shares(struct snap_ctx *cx, const struct family *t);

/* Of those that `p` itself lists; NULL if it has none with this id. */
struct content *family_own(struct process *p, uint32_t id);

/* The bytes of content `id` of p; NULL if it has none. */
const struct content *family_content(const struct process *p, uint32_t id);

/*
 * The open file that f of p is another descriptor of (`same`): its process,
 * and *index among that one's files.  p itself if that is not in the tree.
 */
struct process *family_file(
    const struct process *p, const struct openfile *f, uint32_t *index);

/*
 * All were collected: what several share goes to the first process, where
 * each finds it, and each has its contents by id.  0 or -ENOMEM.
 */
int family_settle_contents(struct family *t);

#endif
