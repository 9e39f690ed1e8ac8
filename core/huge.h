/*
 * huge.h - memory that was in huge pages is so again.
 */
#ifndef HUGE_H
#define HUGE_H

#include "process.h"

/*
 * Of another process, all of whose memory is there.  The bytes of which it was
 * done; that is a hint as MADV_HUGEPAGE is one, and what cannot be is left.
 */
uint64_t huge_collapse(int pidfd, const struct part *v, size_t n);

/* Bytes that huge pages need and `pages` has not: rows of zeros in them. */
uint64_t huge_beyond_pages(const struct process *p);

#endif
