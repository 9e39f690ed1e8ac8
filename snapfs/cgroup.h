/*
 * cgroup.h - joining the cgroups of another process.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The directory of the cgroup that `line` (one of /proc/PID/cgroup) names,
 * among the mounts of `mountinfo`.  False if none shows it.  Pure.
 */
bool cgroup_directory(
    const char *line, const char *mountinfo, char *out, size_t size);

/*
 * Put this process into each cgroup of `theirs`, the text of a /proc/PID/cgroup,
 * that is not its own already.  What fails is added to `notes`.
 */
void cgroup_join(const char *theirs, char *notes, size_t size);

#endif
