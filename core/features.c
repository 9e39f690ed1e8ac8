/*
 * features.c - what this kernel can do, probed once.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snap.h"
#include "tracker.h"
#include "uapi.h"
#include "uffd.h"

static bool
has_pagemap_scan(void)
{
	struct uapi_pm_scan_arg arg = { .size = sizeof(arg) };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool yes;

	/* Of nothing: the answer is 0, or an error that is not "no ioctl". */
	yes = fd >= 0 &&
	      (ioctl(fd, UAPI_PAGEMAP_SCAN, &arg) >= 0 || errno != ENOTTY);
	if (fd >= 0)
		close(fd);
	return yes;
}

static bool
has_procmap_query(void)
{
	struct uapi_procmap_query q = { .size = sizeof(q),
		.query_flags = UAPI_PROCMAP_COVERING_OR_NEXT_VMA };
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool yes;

	yes = fd >= 0 &&
	      (ioctl(fd, UAPI_PROCMAP_QUERY, &q) >= 0 || errno != ENOTTY);
	if (fd >= 0)
		close(fd);
	return yes;
}

static bool
has_close_range(void)
{
	return syscall(SYS_close_range, ~0u, ~0u, 0) == 0;
}

static bool
has_kcmp(void)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0, 0, 0) >= 0;
}

static bool
has_sched_clock(void)
{
	return access("/proc/self/sched", R_OK) == 0 &&
	       access("/proc/self/schedstat", R_OK) == 0;
}

static bool
has_map_files(void)
{
	struct stat st;

	return stat("/proc/self/map_files", &st) == 0;
}

/* With events of forks, by the device: what a pager needs. */
static bool
has_userfaultfd(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = uffd_new(dev);
	bool yes = fd >= 0 && uffd_handshake(fd) == 0;

	if (fd >= 0)
		close(fd);
	if (dev >= 0)
		close(dev);
	return yes;
}

enum feature {
	PAGEMAP_SCAN,
	PROCMAP_QUERY,
	CLOSE_RANGE,
	KCMP,
	SCHED_CLOCK,
	MAP_FILES,
	USERFAULTFD,
	WRITE_PROTECTION,
	NFEATURES
};

static struct snap_feature features[NFEATURES + 1] = {
	[PAGEMAP_SCAN] = { "pagemap-scan", false,
	    "the page table is read page by page; guard pages are not seen" },
	[PROCMAP_QUERY] = { "procmap-query", false, "maps is parsed" },
	[CLOSE_RANGE] = { "close-range", false,
	    "nothing: no checkpoint can be taken" },
	[KCMP] = { "kcmp", false,
	    "descriptors that share an open file come back apart" },
	[SCHED_CLOCK] = { "sched-clock", false,
	    "an interrupted sleep starts anew with its whole time" },
	[MAP_FILES] = { "map-files", false,
	    "deleted files that are mapped cannot be copied" },
	[USERFAULTFD] = { "userfaultfd", false,
	    "a restore returns when all memory is there" },
	[WRITE_PROTECTION] = { "write-protection", false,
	    "what a process writes cannot be tracked: all checkpoints are "
	    "full" },
};

static void
probe(void)
{
	features[PAGEMAP_SCAN].present = has_pagemap_scan();
	features[PROCMAP_QUERY].present = has_procmap_query();
	features[CLOSE_RANGE].present = has_close_range();
	features[KCMP].present = has_kcmp();
	features[SCHED_CLOCK].present = has_sched_clock();
	features[MAP_FILES].present = has_map_files();
	features[USERFAULTFD].present = has_userfaultfd();
	features[WRITE_PROTECTION].present = tracker_kernel_can();
}

const struct snap_feature *
snap_features(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, probe);
	return features;
}
