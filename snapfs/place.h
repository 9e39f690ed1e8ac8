/*
 * place.h - with which rights, and where, a process is: as a text that is equal
 * for two processes exactly if a clone of one could have been made by the
 * other.
 */
#ifndef PLACE_H
#define PLACE_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The ids, groups, capabilities and filters, limits, namespaces, root, cgroups
 * and label of process `pid`, as the kernel tells them in `proc`, an open
 * /proc.  To be freed; NULL if anything of it cannot be learned.
 */
char *place_of(int proc, pid_t pid);

#endif
