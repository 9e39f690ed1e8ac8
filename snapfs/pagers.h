/*
 * pagers.h - the pagers that are at work, and who they work for.
 *
 * After a lazy restore the agent brings the memory of what it restored; it
 * outlives the request, and the daemon.  So a daemon does not have to have
 * started a pager to know of it: it shows by its name what it is, and by its
 * command line what it is about.  What that says is for the eyes only.
 */
#ifndef PAGERS_H
#define PAGERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct snapfs;
struct view_creds;

#define PAGERS_NAME "snapfs-pager" /* as in /proc/PID/comm */

/* Write such a command line; cut short where it does not fit. */
void pagers_title(
    char *title, size_t size, pid_t pid, uint64_t done, uint64_t total);

/* The inverse; false if it is none. */
bool pagers_parse(
    const char *title, pid_t *pid, uint64_t *done, uint64_t *total);

/* Lines of .status: those of `uid`, or of all. */
void pagers_print(FILE *f, int proc, uid_t uid, bool all);

#endif
