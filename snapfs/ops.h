/*
 * ops.h - the callbacks of the file system: decode, call, reply exactly once.
 */
#ifndef OPS_H
#define OPS_H

#include "snapfs.h"

extern const struct fuse_lowlevel_ops snapfs_ops;

#endif
