/*
 * syscalls.c - the numbers of system calls, and their names.
 */
#include "syscalls.h"

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

const char *
syscall_name(long nr)
{
	for (size_t i = 0; i < sizeof(syscalls) / sizeof(syscalls[0]); i++)
		if (syscalls[i].nr == nr)
			return syscalls[i].name;
	return "an unknown call";
}
