/*
 * secret_twin.h - a twin copies secret memory that it has mapped to memory of
 *	its own, from which we can read it.
 */
#ifndef SECRET_TWIN_H
#define SECRET_TWIN_H

#include "process.h"

struct twin;

/*
 * All of the object that v of the twin shows, `size` bytes, to the file `to`,
 * which is empty; holes stay holes.  0 or -errno: EAGAIN if it may not lock
 * memory, ETIMEDOUT if it is not done at `deadline`.  Afterwards it has mapped
 * what it had before.
 */
int secret_twin_copy(struct twin *t, const struct vma *v, int to, uint64_t size,
    uint64_t deadline);

#endif
