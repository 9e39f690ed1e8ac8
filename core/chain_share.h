/*
 * chain_share.h - in an increment of a tree: what processes still have in common
 * since they were forked.
 *
 * A process without a twin (written.h) cannot say that it shares a page: of what
 * it has not written it says that it is as its parent checkpoint has it.  But
 * when all links are resolved it is known whose page that is, and two that have
 * the same page of the same earlier process have it in common.
 */
#ifndef CHAIN_SHARE_H
#define CHAIN_SHARE_H

#include "process.h"

/*
 * Of a tree that is resolved: what a child has of its parent process gets
 * `run.up`; what only children of one have of each other is `former` of that,
 * where it has none itself.  0 or -ENOMEM; what is in too many pieces, or in
 * too many images, is not shared, which costs memory and nothing else.
 */
int chain_share(struct family *link);

#endif
