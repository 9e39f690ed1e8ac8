/*
 * syscalls.c - the numbers of system calls by their names.
 */
#include <string.h>
#include <sys/syscall.h>

#include "snap.h"

static const struct {
	const char *name;
	long nr;
} syscalls[] = {
#include SYSCALLS_INC
};

long
snap_syscall_number(const char *name)
{
	for (size_t i = 0; i < sizeof(syscalls) / sizeof(syscalls[0]); i++)
		if (strcmp(syscalls[i].name, name) == 0)
			return syscalls[i].nr;
	return -1;
}
