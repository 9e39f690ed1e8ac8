/*
 * cgroup.h - which cgroups a process is in, and moving it.
 *
 * They are told of as in /proc/PID/cgroup, a line for each hierarchy:
 * NUMBER:CONTROLLERS:PATH, with number 0 and no controllers for version 2.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The directory of the cgroup that `line` names, among the mounts of
 * `mountinfo`.  False if none shows it.  Pure.
 */
bool cgroup_directory(
    const char *line, const char *mountinfo, char *out, size_t size);

/* Is it a line as above, with nothing in it that leads elsewhere?  Pure. */
bool cgroup_is_line(const char *line, size_t len);

/*
 * Put process `pid` (0: this one), which is where this one is, into each cgroup
 * of `theirs` that is not its own already.  What fails is added to `notes`.
 */
void cgroup_move(pid_t pid, const char *theirs, char *notes, size_t size);

#endif
