/*
 * uffd.h - the requests of userfaultfd(2), each with one meaning.
 *
 * They act on the address space in which the descriptor was made, whoever
 * holds it.  Addresses and lengths are of whole pages.
 */
#ifndef UFFD_H
#define UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One for the caller's own memory, by way of the open /dev/userfaultfd, or of
 * the system call if `dev` is not above 0.  -errno if he may not.
 */
int uffd_new(int dev);

/*
 * Shake hands, with all events: fork, mremap, munmap, madvise.  -EPERM: only
 * a caller with CAP_SYS_PTRACE may ask for that of forks.
 */
int uffd_handshake(int fd);

/* From now on, who touches a page that is not there waits. */
int uffd_register(int fd, uint64_t start, uint64_t len);

/*
 * Put bytes, or zeros, where no page is, and wake who waits.  How many bytes
 * were put; or, if none, -errno:
 *
 *	EEXIST  there is a page at `dst` already
 *	EAGAIN  the address space is being changed: there is an event to read
 *	ENOENT  [dst, dst + len) is not within one registered VMA
 *	ESRCH   the address space is gone
 */
int64_t uffd_copy(int fd, uint64_t dst, const void *src, uint64_t len);
int64_t uffd_zero(int fd, uint64_t dst, uint64_t len);

/* Whoever touches it gets SIGBUS: it is neither there nor zero.  As above. */
int64_t uffd_poison(int fd, uint64_t dst, uint64_t len);

/* Who waits for these pages shall try again. */
void uffd_wake(int fd, uint64_t start, uint64_t len);

/* 0; -EAGAIN: it is being changed; -ESRCH: the address space is gone. */
int uffd_state(int fd);

#endif
