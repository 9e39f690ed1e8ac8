#include "instances.h"

#include "identity.h"
#include "snap_log.h"
#include "writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- talking to the daemon ---- */

static bool
tell(struct agent_message *m, const int *fds, size_t n)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(AGENT_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n > 0) {
		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
	}
	do
		r = sendmsg(AGENT_FD, &h, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r == (ssize_t)sizeof(*m);
}

/* Its answer; fds are what came with it, or -1. */
static bool
hear(struct agent_message *m, int fds[OFFER_FDS])
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(OFFER_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t r;

	for (int i = 0; i < OFFER_FDS; i++)
		fds[i] = -1;
	do
		r = recvmsg(AGENT_FD, &h, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (h.msg_controllen >= sizeof(control.head) && r > 0)
		memcpy(fds, CMSG_DATA(&control.head),
		    control.head.cmsg_len - CMSG_LEN(0));
	return r == (ssize_t)sizeof(*m) && m->type == AGENT_OFFER;
}

bool
instances_became(void)
{
	struct agent_message m = { .type = AGENT_BECAME };
	int fds[OFFER_FDS];

	return tell(&m, NULL, 0) && hear(&m, fds) && m.offer.what == OFFER_MAKE;
}

/* ---- the template ---- */

static int
make(struct snap_ctx *cx, const struct snap_options *log,
    const struct snap_restore_options *opt, struct snap_template *t)
{
	struct agent_message m = { .type = AGENT_TEMPLATE };
	int err = snap_template_make(cx, opt, t), fds[AGENT_FDS];

	if (err == -ENOTSUP) {
		/* Other processes of it are made without, then. */
		SNAP_LOG(log->log(log->log_arg, &snap_log_record), SNAP_NOTICE,
		    "no template: %s", snap_error(cx));
		snap_clear(cx);
		return 0;
	}
	if (err < 0)
		return err;
	fds[0] = t->control;
	fds[1] = t->pidfd;
	m.offer.start = t->start;
	m.offer.end = t->end;
	memcpy(m.offer.note, t->note, sizeof(m.offer.note));
	tell(&m, fds, AGENT_FDS);
	close(t->pidfd);
	t->pidfd = -1;
	return 1;
}

int
instances_template(struct snap_ctx *cx, const struct snap_options *log,
    const struct snap_restore_options *opt, bool anew, struct snap_template *t)
{
	struct agent_message m = { .type = AGENT_IMAGE };
	int fds[OFFER_FDS];

	*t = (struct snap_template){ .control = -1, .pidfd = -1 };
	if (anew)
		return make(cx, log, opt, t);
	/* What is wrong with the image, the restore says better. */
	if (identity_of(opt->dir, &m.offer.image) < 0)
		return 0;
	if (!tell(&m, NULL, 0) || !hear(&m, fds))
		return 0;
	if (m.offer.what == OFFER_MAKE)
		return make(cx, log, opt, t);
	if (m.offer.what != OFFER_USE || fds[0] < 0)
		return 0;
	t->control = fds[0];
	if (m.offer.spare && fds[1] > 0)
		t->spare = fds[1];
	t->start = m.offer.start;
	t->end = m.offer.end;
	memcpy(t->note, m.offer.note, sizeof(t->note));
	return 1;
}

/* ---- many ---- */

/* What the maker of one says: that it is complete, and that it runs. */
struct report {
	int err;
	struct snap_restore_result res;
	char why[AGENT_TEXT_MAX];
};

/* What has it; its instance, once that is complete, or -1. */
struct making {
	int sock, pidfd;
};

static bool
told_to_go_on(int sock)
{
	char c;

	return recv(sock, &c, 1, 0) == 1;
}

static int
wait_for_others(
    void *arg, pid_t pid, bool (*lives)(const void *made), const void *made)
{
	struct making *k = arg;
	struct report r = { .res.pid = pid };

	(void)lives;
	(void)made;
	k->pidfd = pidfd_open(pid, 0);
	if (k->pidfd < 0)
		return -errno;
	if (send(k->sock, &r, sizeof(r), MSG_NOSIGNAL) != (ssize_t)sizeof(r) ||
	    !told_to_go_on(k->sock))
		return -ECANCELED;
	return 0;
}

static void
make_one(const struct snap_options *log,
    const struct snap_restore_options *common, bool first, int sock)
{
	struct snap_restore_options opt = *common;
	struct snap_template alone;
	struct making k = { sock, -1 };
	struct report r = { 0 };
	struct snap_ctx *cx = snap_ctx_new(log);

	writer_die_with_parent();
	/* The spare is one of them. */
	if (opt.tmpl != NULL && !first) {
		alone = *opt.tmpl;
		alone.spare = 0;
		opt.tmpl = &alone;
	}
	/*
	 * Complete means with all its memory; and the daemon, which one of us
	 * at a time may ask, is not asked.
	 */
	opt.lazy = false;
	opt.uffd_handshake = NULL;
	opt.ready = wait_for_others;
	opt.ready_arg = &k;
	r.err = cx == NULL ? -ENOMEM : snap_restore(cx, &opt, &r.res);
	if (r.err < 0 && cx != NULL)
		snprintf(r.why, sizeof(r.why), "%s", snap_error(cx));
	(void)!send(sock, &r, sizeof(r), MSG_NOSIGNAL);
	/* Another one was killed when it was to run: then none does. */
	if (r.err == 0 && !told_to_go_on(sock))
		(void)pidfd_send_signal(k.pidfd, SIGKILL, NULL, 0);
	_exit(0);
}

struct maker {
	pid_t pid;
	int sock;
};

static int
start(struct maker *m, unsigned i, const struct snap_options *log,
    const struct snap_restore_options *opt)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	m[i].pid = fork();
	if (m[i].pid == 0) {
		/* Its end alone: so that it sees ours close. */
		for (unsigned k = 0; k < i; k++)
			close(m[k].sock);
		close(sv[0]);
		make_one(log, opt, i == 0, sv[1]);
	}
	close(sv[1]);
	m[i].sock = sv[0];
	if (m[i].pid > 0)
		return 0;
	close(sv[0]);
	return -EAGAIN;
}

/* One report of each, `res` of the first that failed or of the first of all. */
static int
collect(const struct maker *m, unsigned n, pid_t *pids,
    struct snap_restore_result *first, char *why, size_t whysize)
{
	struct report r;
	int err = 0;

	for (unsigned i = 0; i < n; i++) {
		if (recv(m[i].sock, &r, sizeof(r), 0) != (ssize_t)sizeof(r)) {
			memset(&r, 0, sizeof(r));
			r.err = -EIO;
			snprintf(r.why, sizeof(r.why),
			    "the process that made an instance died");
		}
		if (r.err < 0 && err == 0) {
			err = r.err;
			snprintf(why, whysize, "%.*s", (int)sizeof(r.why) - 1,
			    r.why);
		}
		pids[i] = r.res.pid;
		if (i == 0)
			*first = r.res;
	}
	return err;
}

static void
tell_all(const struct maker *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)!send(m[i].sock, "g", 1, MSG_NOSIGNAL);
}

int
instances_make(const struct snap_options *log,
    const struct snap_restore_options *opt, unsigned n, pid_t *pids,
    struct snap_restore_result *first, char *why, size_t whysize)
{
	struct maker *m = calloc(n, sizeof(*m));
	unsigned started = 0;
	int err = m == NULL ? -ENOMEM : 0;

	why[0] = '\0';
	while (err == 0 && started < n) {
		err = start(m, started, log, opt);
		started += err == 0;
	}
	if (err < 0)
		snprintf(why, whysize, "no process to make an instance: %s",
		    strerror(-err));
	/* All are complete before one runs, and all run before one is left. */
	for (int step = 0; err == 0 && step < 2; step++) {
		err = collect(m, n, pids, first, why, whysize);
		if (err == 0)
			tell_all(m, n);
	}
	for (unsigned i = 0; i < started; i++)
		close(m[i].sock);
	for (unsigned i = 0; i < started; i++)
		while (waitpid(m[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
	free(m);
	return err;
}
