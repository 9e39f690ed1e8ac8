/*
 * othername.h - another name of a file whose own is gone.
 *
 * A file that was made under one name, linked to another and removed under the
 * first is known by the first to whoever opened it then: sem_open(3) does so.
 */
#ifndef OTHERNAME_H
#define OTHERNAME_H

#include <sys/stat.h>
#include <sys/types.h>

struct snap_ctx;

/*
 * A path, in the directory of `path`, that leads to the file which `st` is of,
 * as the root of process `pid` sees it.  NULL: none was found.
 */
char *othername(
    struct snap_ctx *cx, pid_t pid, const char *path, const struct stat *st);

#endif
