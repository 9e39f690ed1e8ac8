#include "readahead.h"

#include "procinfo.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The device number of the mount, from mountinfo: stat(2) would ask the file
 * system, which does not answer yet.  The last mount on a directory counts.
 */
static bool
find_device(const char *mountinfo, const char *mountpoint, char *dev)
{
	const char *line, *p;
	char point[PATH_MAX];
	unsigned major, minor;
	bool found = false;

	for (line = mountinfo; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		p = strstr(line, " - ");
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &major, &minor,
			point) != 3 ||
		    p == NULL || strncmp(p, " - fuse", 7) != 0 ||
		    strcmp(point, mountpoint) != 0)
			continue;
		snprintf(dev, 32, "%u:%u", major, minor);
		found = true;
	}
	return found;
}

void
readahead_raise(int proc, const char *mountpoint, size_t bytes)
{
	char *mountinfo, dev[32], path[80], value[16];
	int self, fd, n;
	bool found;

	self = openat(proc, "self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (self < 0)
		return;
	if (procinfo_read(self, "mountinfo", &mountinfo) < 0) {
		close(self);
		return;
	}
	close(self);
	found = find_device(mountinfo, mountpoint, dev);
	free(mountinfo);
	if (!found)
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", dev);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = snprintf(value, sizeof(value), "%zu", bytes >> 10);
	if (write(fd, value, (size_t)n) < 0)
		fprintf(stderr, "snapfs: %s: not written\n", path);
	close(fd);
}
