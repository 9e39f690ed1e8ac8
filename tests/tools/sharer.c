/*
 * sharer - a process with two children that share with each other what flags
 * of clone(2) say, and nothing with it.
 *
 *	sharer FILE FLAG...	files, fs; FILE is made when they are there
 */
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
stay(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

int
main(int argc, char **argv)
{
	unsigned long flags = CLONE_PARENT;
	pid_t pid;

	if (argc < 2)
		errx(2, "usage: sharer FILE FLAG...");
	for (int i = 2; i < argc; i++)
		flags |= strcmp(argv[i], "files") == 0 ? CLONE_FILES : CLONE_FS;
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
		if (pid < 0)
			err(1, "clone");
		if (pid > 0 &&
		    close(open(argv[1], O_WRONLY | O_CREAT, 0666)) < 0)
			err(1, "%s", argv[1]);
		stay();
	}
	for (;;)
		pause();
}
