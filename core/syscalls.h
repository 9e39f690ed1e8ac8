/*
 * syscalls.h - names of system calls, for sentences.
 */
#ifndef SYSCALLS_H
#define SYSCALLS_H

const char *syscall_name(long nr);

#endif
