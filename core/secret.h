/*
 * secret.h - memfd_secret(2): memory that nobody can read from outside, not
 *	even the kernel on another's behalf.
 *
 * Who has mapped it can read it.  What is open we map ourselves; what is only
 * mapped is so in the twin, too, as all that is MAP_SHARED, which copies it to
 * memory of its own, where we read it.  At a restore it is secret memory again.
 */
#ifndef SECRET_H
#define SECRET_H

#include <sys/stat.h>

#include "process.h"

struct frozen;
struct snap_ctx;
struct twin;

/* As links in /proc/PID/fd and lines of maps have it. */
#define SECRET_NAME "/secretmem (deleted)"

/* Is what is called `target` and has this device such memory? */
bool secret_is(const char *target, dev_t dev);

/* Has it any mapped?  Then it must have a twin. */
bool secret_any(const struct process *p);

/*
 * Frozen: contents of one that is open at `fd`, a duplicate of the process's,
 * by which we can map it ourselves.  The id, or -errno with a sentence.
 */
int secret_collect_fd(
    struct snap_ctx *cx, struct process *p, int fd, const struct stat *st);

/*
 * Frozen, descriptors collected, the twin just made (NULL: there is none):
 * contents of what is mapped and of what there are none yet.  What cannot be
 * copied becomes VMA_OTHER.
 */
int secret_collect(struct snap_ctx *cx, const struct frozen *z, struct twin *t,
    struct process *p);

/* Is this file, of an image, such memory? */
bool secret_is_mapfile(const struct mapfile *f);

/*
 * A new one of `size` bytes with the data of the file `from`, or -errno with a
 * sentence that begins with `what`.
 */
int secret_make(struct snap_ctx *cx, const char *what, int from, uint64_t size);

#endif
