/*
 * sandboxed - a process under seccomp that beats: a dot to FILE every 50 ms.
 *
 *	sandboxed FILE strict FIFO	in strict mode; a dot for each byte read
 *					from FIFO
 *	sandboxed FILE ACTION CALL...	with a filter that allows all but these
 *					calls; ACTION is what happens at one of
 *					them: kill, errno, or notify
 *
 * With SANDBOXED_FREE in its environment, without no_new_privs.  With
 * SANDBOXED_KEEPER it is a child that beats, and what has made it calls itself
 * what the keeper of snapfs-run(1) is called.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "snap.h"

#define CALLS_MAX 16

static void __attribute__((noreturn)) be_strict(int out, const char *fifo)
{
	int in = open(fifo, O_RDWR);
	char c;

	if (in < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) < 0)
		err(1, "strict mode");
	for (;;)
		if (syscall(SYS_read, in, &c, 1) == 1)
			syscall(SYS_write, out, ".", 1);
}

static void
filter(unsigned action, char **calls, int n)
{
	struct sock_filter v[2 * CALLS_MAX + 2], *s = v;
	struct sock_fprog prog = { .filter = v };

	*s++ = (struct sock_filter)BPF_STMT(
	    BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < n; i++) {
		long nr = snap_syscall_number(calls[i]);

		if (nr < 0)
			errx(2, "no call %s", calls[i]);
		*s++ = (struct sock_filter)BPF_JUMP(
		    BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1);
		*s++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	}
	*s++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)(s - v);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		err(1, "seccomp");
}

/* Ends with what has made it. */
static void
be_child_of_keeper(void)
{
	if (prctl(PR_SET_NAME, "snapfs-run:hold") < 0)
		err(1, "its name");
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		return;
	default:
		for (;;)
			pause();
	}
}

int
main(int argc, char **argv)
{
	const struct timespec beat = { 0, 50000000 };
	struct timespec left;
	unsigned action;
	int out;

	if (argc < 4 || argc > 3 + CALLS_MAX)
		errx(2, "usage: sandboxed FILE HOW CALL...");
	out = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0666);
	if (out < 0)
		err(1, "%s", argv[1]);
	if (strcmp(argv[2], "strict") == 0)
		be_strict(out, argv[3]);
	if (getenv("SANDBOXED_FREE") == NULL &&
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err(1, "no_new_privs");
	action = strcmp(argv[2], "kill") == 0	 ? SECCOMP_RET_KILL_PROCESS
		 : strcmp(argv[2], "errno") == 0 ? SECCOMP_RET_ERRNO | 97
						 : SECCOMP_RET_USER_NOTIF;
	filter(action, argv + 3, argc - 3);
	if (getenv("SANDBOXED_KEEPER") != NULL)
		be_child_of_keeper();
	for (;;) {
		/* With what is left of the time, if it is interrupted. */
		syscall(SYS_nanosleep, &beat, &left);
		if (write(out, ".", 1) != 1)
			return 1;
	}
}
