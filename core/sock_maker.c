#include "sock_maker.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40
#endif

struct order {
	enum { PAIR, LISTEN, CONNECT } what;
	int type, fd, backlog;
	const struct sockaddr *a;
	socklen_t len;
};

/* What a child of ours tells, in memory that it shares with us. */
struct outcome {
	int err, v[2];
	bool done;
};

static void
carry_out(const struct order *o, struct outcome *out)
{
	int n = 0;

	switch (o->what) {
	case PAIR:
		n = socketpair(AF_UNIX, o->type, 0, out->v);
		break;
	case LISTEN:
		n = listen(o->fd, o->backlog);
		break;
	case CONNECT:
		n = connect(o->fd, o->a, o->len);
		break;
	}
	out->err = n == 0 ? 0 : -errno;
	out->done = true;
}

struct caps {
	struct __user_cap_data_struct v[2];
};

static long
caps_call(long nr, struct caps *c)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};

	return syscall(nr, &head, c->v);
}

/*
 * It has the number, and our descriptors.  To choose it needs a capability
 * that we may hold, but not in effect.
 */
static pid_t
bear(pid_t pid)
{
	const int word = CAP_CHECKPOINT_RESTORE / 32;
	struct clone_args ca = {
		.flags = CLONE_FILES,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};
	struct caps before, raised;
	pid_t got;
	int err;

	if (caps_call(SYS_capget, &before) != 0)
		return -errno;
	raised = before;
	raised.v[word].effective |=
	    raised.v[word].permitted & 1u << CAP_CHECKPOINT_RESTORE % 32;
	(void)caps_call(SYS_capset, &raised);
	got = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	err = errno;
	/* Both: it is in effect for this only. */
	(void)caps_call(SYS_capset, &before);
	return got < 0 ? -err : got;
}

static bool
have_done(pid_t pid, const struct order *o, struct outcome *out)
{
	pid_t child = bear(pid);

	if (child == 0) {
		carry_out(o, out);
		_exit(0);
	}
	if (child < 0)
		return false;
	while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
		;
	return out->done;
}

static int
act(struct sock_maker *m, const struct order *o, int v[2])
{
	struct outcome own = { 0 }, *out;
	const size_t size = sizeof(*out);

	out = m->pid <= 0 || m->pid == getpid()
		  ? NULL
		  : mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (out != NULL && out != MAP_FAILED) {
		if (have_done(m->pid, o, out))
			own = *out;
		munmap(out, size);
	}
	if (!own.done) {
		m->other |= m->pid > 0 && m->pid != getpid();
		carry_out(o, &own);
	}
	if (v != NULL && own.err == 0) {
		v[0] = own.v[0];
		v[1] = own.v[1];
	}
	return own.err;
}

int
sock_maker_pair(struct sock_maker *m, int type, int v[2])
{
	return act(m, &(struct order){ .what = PAIR, .type = type }, v);
}

int
sock_maker_listen(struct sock_maker *m, int fd, int backlog)
{
	return act(m,
	    &(struct order){ .what = LISTEN, .fd = fd, .backlog = backlog },
	    NULL);
}

int
sock_maker_connect(
    struct sock_maker *m, int fd, const struct sockaddr *a, socklen_t len)
{
	return act(m,
	    &(struct order){ .what = CONNECT, .fd = fd, .a = a, .len = len },
	    NULL);
}
