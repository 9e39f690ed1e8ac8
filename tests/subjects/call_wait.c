/*
 * call_wait - asleep in wait4(2) for any child whatever: it must not see one
 * that is not its own.  (Child processes are not restored.)  With the argument
 * `plain' it does not ask for children that give no signal.
 *
 * phases: survive
 */
#include <sys/syscall.h>
#include <sys/wait.h>

#include "call.h"

static long
waits(void *arg)
{
	int status;
	pid_t pid;

	pid = waitpid(-1, &status, arg == NULL ? __WALL : 0);
	if (pid < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EPROTO;
}

int
main(int argc, char **argv)
{
	struct call c = { .make = waits, .nr = SYS_wait4 };
	int fds[2];
	char byte;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	c.arg = argc > 2 ? argv[2] : NULL;
	/* It is this thread that SIGCHLD would come to. */
	signal(SIGCHLD, SIG_DFL);
	must(pipe(fds) == 0);
	switch (fork()) {
	case -1:
		must(!"fork");
		break;
	case 0:
		close(fds[1]);
		if (read(fds[0], &byte, 1) != 0)
			_exit(1);
		_exit(23);
	}
	call_begin(&c);

	subject_wait();

	expect(!call_finished(&c), "wait4 returned %ld too early", c.result);
	close(fds[1]);
	call_end("wait4", &c, 23);
	subject_forget();
	return subject_done();
}
