#include "restore_ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "restore_tree.h"

struct made_by {
	int err;
	bool other; /* its maker could not be who it was */
};

/* The next one that anybody makes gets this id, if it is free. */
static int
choose_id(const struct ipc_kind *k, int id)
{
	char text[16];
	int fd = open(k->next_id, O_WRONLY | O_CLOEXEC), n, err = 0;

	if (fd < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "%d", id);
	if (write(fd, text, (size_t)n) != n)
		err = -errno;
	close(fd);
	return err;
}

/* In a child of the agent, which does nothing else. */
static void
make_as_maker(struct restore *r, const struct ipc_kind *k, int32_t id,
    uid_t cuid, gid_t cgid, const void *what, struct made_by *out)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int made;

	out->err = restore_rights(r, true);
	if (out->err == 0)
		out->err = choose_id(k, id);
	if (out->err != 0)
		return;
	out->other =
	    (cgid != gid && syscall(SYS_setresgid, -1, cgid, -1) != 0) ||
	    (cuid != uid && syscall(SYS_setresuid, -1, cuid, -1) != 0);
	made = k->make(what);
	if (made < 0) {
		out->err = made;
		return;
	}
	out->err = made != id ? -EEXIST : k->give(made, uid, gid, 0600);
	if (out->err != 0)
		k->remove(made);
}

int
restore_ipc_make(struct restore *r, const struct ipc_kind *k, int32_t id,
    uid_t cuid, gid_t cgid, const void *what, bool *other)
{
	struct made_by by = { 0 };
	int fds[2], status, err;
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		make_as_maker(r, k, id, cuid, cgid, what, &by);
		_exit(write(fds[1], &by, sizeof(by)) == sizeof(by) ? 0 : 1);
	}
	close(fds[1]);
	n = pid < 0 ? -1 : read(fds[0], &by, sizeof(by));
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	err = pid < 0 ? -EAGAIN : n == sizeof(by) ? by.err : -EIO;
	*other = by.other;
	if (err != 0) {
		/* Not for whoever makes the next one. */
		if (restore_rights(r, true) == 0)
			(void)choose_id(k, -1);
		(void)restore_rights(r, false);
	}
	return err;
}
