/*
 * lock.h - who holds a lock, asked from outside: by a child, since locks of
 * one process do not conflict with its own.
 */
#ifndef LOCK_H
#define LOCK_H

#include <fcntl.h>
#include <sys/wait.h>

#include "subject.h"

/* Run `fn` in a child: its result, 0..255. */
static inline int
in_child(int (*fn)(const char *path, long arg), const char *path, long arg)
{
	int status = 0;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(fn(path, arg));
	must(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

#endif
