/*
 * readahead.h - let the kernel read ahead as much as one request can hold.
 */
#ifndef READAHEAD_H
#define READAHEAD_H

#include <stddef.h>

/*
 * FUSE reads ahead no more than the 128 KiB that every mount begins with; only
 * /sys/class/bdi can raise that, and only for root.  Failure costs speed.
 */
void readahead_raise(int proc, const char *mountpoint, size_t bytes);

#endif
