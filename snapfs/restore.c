#include "restore.h"

#include "agent.h"
#include "broker.h"
#include "foreground.h"
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an agent may take; and how long after the writer got a signal. */
#define LIMIT_MS (3600u * 1000)
#define SIGNALLED_MS 2000u
#define LOOK_MS 200u  /* how often an interrupted writer is looked at */
#define EXIT_MS 5000u /* from its answer to its end */

struct restore {
	struct snapfs *fs;
	fuse_req_t req;
	struct handle *handle; /* open as long as the write is not answered */
	struct caller writer;
	enum { BY_WRITE, BY_READ, BY_CLOSE } by; /* which call is answered */
	size_t size;				 /* BY_WRITE, BY_READ */
	off_t off;				 /* BY_READ */
	off_t end; /* the file offset behind what was written */
	struct agent_request ask;
	bool waits;    /* for more to be written */
	int interrupt; /* an eventfd */
	struct log_job log;

	pid_t agent;
	int sock;
	struct broker broker;
	struct agent_message result;
	char more[CONTROL_ANSWER_MAX / 2]; /* pids, one a line */
	bool has_result;
	struct paging *paging; /* it goes on as a pager */
	int terminal;	       /* see struct handle; owned */
};

static void set_result(struct restore *r, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
set_result(struct restore *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->result.text, sizeof(r->result.text), fmt, ap);
	va_end(ap);
	r->result.err = err;
	r->has_result = true;
}

/* ---- the agent's process ---- */

/*
 * The table of agents makes them and their children invisible in the mount.
 * The place is taken before the process is there, so that it always is.
 */
static pid_t *
agent_slot(struct snapfs *fs, pid_t was, pid_t is)
{
	pid_t *found = NULL;
	size_t i;

	pthread_mutex_lock(&fs->lock);
	for (i = 0; i < MAX_AGENTS && found == NULL; i++)
		if (fs->agents[i] == was && !(was == 0 && fs->closing))
			found = &fs->agents[i];
	if (found != NULL)
		*found = is;
	if (is == 0)
		pthread_cond_broadcast(&fs->quiet);
	pthread_mutex_unlock(&fs->lock);
	return found;
}

static int
spawn(int sock, pid_t *pid)
{
	char room[AGENT_ROOM + 1];
	char *argv[] = { (char[]){ AGENT_NAME }, room, NULL };
	char *envp[] = { NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	memset(room, ' ', AGENT_ROOM);
	room[AGENT_ROOM] = '\0';
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&fa);
	err = posix_spawn_file_actions_adddup2(&fa, sock, AGENT_FD);
	if (err == 0)
		err = posix_spawn_file_actions_addopen(
		    &fa, 0, "/dev/null", O_RDWR, 0);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, 0, 1);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, 0, 2);
	if (err == 0)
		err =
		    posix_spawn_file_actions_addclosefrom_np(&fa, AGENT_FD + 1);
	if (err == 0)
		err =
		    posix_spawn(pid, "/proc/self/exe", &fa, &attr, argv, envp);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return -err;
}

static int
start_agent(struct restore *r)
{
	int sv[2], moved, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	/* dup2() onto itself would leave close-on-exec set. */
	moved = fcntl(sv[1], F_DUPFD_CLOEXEC, AGENT_FD + 1);
	close(sv[1]);
	if (moved < 0) {
		close(sv[0]);
		return -EMFILE;
	}
	err = spawn(moved, &r->agent);
	close(moved);
	if (err < 0) {
		close(sv[0]);
		r->agent = 0;
		return err;
	}
	r->sock = sv[0];
	if (send(r->sock, &r->ask, sizeof(r->ask), MSG_NOSIGNAL) !=
	    (ssize_t)sizeof(r->ask))
		return -EIO; /* it died: its end is looked at */
	return 0;
}

/*
 * The descriptors that came with a message, -1 where there is none.  A pager
 * has the rights of the writer, who may have it send what he likes: so there
 * must be no room for one that is not told of here.
 */
_Static_assert(
    CMSG_SPACE(AGENT_FDS * sizeof(int)) == CMSG_LEN(AGENT_FDS * sizeof(int)),
    "no room for one more");

static void
sent_fds(struct msghdr *msg, int fds[AGENT_FDS])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);

	if (c != NULL && c->cmsg_level == SOL_SOCKET &&
	    c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len >= CMSG_LEN(sizeof(int)) &&
	    c->cmsg_len <= CMSG_LEN(AGENT_FDS * sizeof(int)))
		memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
}

static void
close_fds(const int fds[AGENT_FDS])
{
	for (int i = 0; i < AGENT_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* As recv(2); the descriptors are the caller's. */
static ssize_t
receive_message(
    int sock, struct agent_message *m, int flags, int fds[AGENT_FDS])
{
	struct iovec iov = { m, sizeof(*m) };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(AGENT_FDS * sizeof(int))];
	} c;
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = c.buf,
		.msg_controllen = sizeof(c.buf) };
	ssize_t n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);

	for (int i = 0; i < AGENT_FDS; i++)
		fds[i] = -1;
	if (n >= 0)
		sent_fds(&msg, fds);
	return n;
}

/* What needs the daemon's rights, and does nothing to it. */
static void
shake_hands(int sock, int fd)
{
	int answer = fd < 0 ? -EBADF : snap_uffd_handshake(fd);

	(void)!send(sock, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Taken as data: lines of digits. */
static void
add_pids(struct restore *r, const char *text)
{
	size_t n = strlen(r->more), len = strspn(text, "0123456789\n");

	if (len < sizeof(r->more) - n) {
		memcpy(r->more + n, text, len);
		r->more[n + len] = '\0';
	}
}

/* What is not the result. */
static void
handle_message(struct restore *r, struct agent_message *m, int fds[AGENT_FDS])
{
	switch (m->type) {
	case AGENT_LOG:
		log_received(&r->log, m->record, sizeof(m->record));
		break;
	case AGENT_UFFD:
		shake_hands(r->sock, fds[0]);
		break;
	case AGENT_PIDS:
		m->text[sizeof(m->text) - 1] = '\0';
		add_pids(r, m->text);
		break;
	default:
		broker_message(&r->broker, r->sock, m, fds);
	}
}

/* One message; false at the end of them. */
static bool
receive(struct restore *r)
{
	struct agent_message m;
	int fds[AGENT_FDS];
	ssize_t n = receive_message(r->sock, &m, MSG_DONTWAIT, fds);
	int err = errno;

	if (n == (ssize_t)sizeof(m) && m.type != AGENT_RESULT)
		handle_message(r, &m, fds);
	if (n == (ssize_t)sizeof(m) && m.type == AGENT_RESULT && m.err == 0) {
		r->terminal = fds[0];
		fds[0] = -1;
	}
	close_fds(fds);
	if (n < 0 && (err == EINTR || err == EAGAIN))
		return true;
	if (n != (ssize_t)sizeof(m))
		return false;
	if (m.type != AGENT_RESULT)
		return true;
	m.text[sizeof(m.text) - 1] = '\0';
	/* What it says is taken as data: an errno and a pid, or EIO. */
	r->result = m;
	if (m.err > 0 || m.err < -4095 || (m.err == 0 && m.pid <= 0))
		r->result.err = -EIO;
	r->has_result = true;
	return false;
}

/*
 * A freeze interrupts the writer's write(2) too, and that must not be the end
 * of the restore: so see whether it is a signal that it waits to handle.
 */
static bool
writer_is_signalled(const struct restore *r)
{
	return procinfo_signalled(r->fs->proc, r->writer.tid, 0);
}

/* When to give up, seen after an interruption: the kernel tells of it once. */
static uint64_t
new_end(const struct restore *r, uint64_t end, bool *signalled)
{
	if (*signalled || !writer_is_signalled(r))
		return end;
	*signalled = true;
	return snapfs_now() + SIGNALLED_MS;
}

/* Listen until it has said its result, or ended, or its time is over. */
static void
listen_to_agent(struct restore *r)
{
	struct pollfd p[2] = {
		{ .fd = r->sock, .events = POLLIN },
		{ .fd = r->interrupt, .events = POLLIN },
	};
	uint64_t now = snapfs_now(), end = now + LIMIT_MS;
	bool interrupted = false, signalled = false;

	for (; now < end; now = snapfs_now()) {
		uint64_t wait = end - now;

		if (interrupted && wait > LOOK_MS)
			wait = LOOK_MS;
		if (poll(p, 2, (int)wait) < 0 && errno != EINTR)
			return;
		if (p[1].revents != 0) {
			interrupted = true;
			p[1].fd = -1;
			p[1].revents = 0;
		}
		if (interrupted)
			end = new_end(r, end, &signalled);
		if (p[0].revents != 0 && !receive(r))
			return;
	}
	/*
	 * Until it is complete, what it makes dies with it: so this leaves
	 * nothing behind.
	 */
	kill(r->agent, SIGKILL);
	set_result(r, signalled ? -EINTR : -ETIMEDOUT,
	    signalled ? "interrupted before the process was complete"
		      : "the restore took too long and was given up");
}

/* It exits by itself, unless something is wrong with it. */
static int
reap(pid_t pid)
{
	uint64_t end = snapfs_now() + EXIT_MS;
	int status = 0, pidfd;
	struct pollfd p = { .events = POLLIN };

	pidfd = pidfd_open(pid, 0);
	p.fd = pidfd;
	while (pidfd >= 0 && snapfs_now() < end)
		if (poll(&p, 1, (int)EXIT_MS) == 1)
			break;
	if (pidfd < 0 || p.revents == 0)
		kill(pid, SIGKILL);
	if (pidfd >= 0)
		close(pidfd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/*
 * It goes on as a pager: the request need not wait for that, and the daemon's
 * end is not the end of it.
 */
static void
keep_pager(struct restore *r)
{
	struct paging *p = calloc(1, sizeof(*p));

	if (p != NULL) {
		*p = (struct paging){ .fs = r->fs,
			.pager = r->agent,
			.pid = r->result.pid,
			.sock = r->sock,
			.log = r->log };
		pthread_mutex_lock(&r->fs->lock);
		LIST_INSERT_HEAD(&r->fs->paging, p, entry);
		pthread_mutex_unlock(&r->fs->lock);
	} else {
		close(r->sock);
	}
	agent_slot(r->fs, r->agent, 0);
	r->paging = p;
}

/* Until it ends.  What it cannot tell itself is how it was killed. */
static void
listen_to_pager(struct paging *p)
{
	struct agent_message m;
	int fds[AGENT_FDS], status = 0;
	ssize_t n;

	do {
		n = receive_message(p->sock, &m, 0, fds);
		close_fds(fds);
		if (n == (ssize_t)sizeof(m) && m.type == AGENT_LOG)
			log_received(&p->log, m.record, sizeof(m.record));
	} while (n > 0 || (n < 0 && errno == EINTR));
	while (waitpid(p->pager, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		log_put_job(&p->log, SNAP_ERROR,
		    "process %d was killed, for its pager %d was killed by "
		    "signal %d before all memory was there",
		    p->pid, p->pager, WTERMSIG(status));
	pthread_mutex_lock(&p->fs->lock);
	LIST_REMOVE(p, entry);
	pthread_mutex_unlock(&p->fs->lock);
	close(p->sock);
	free(p);
}

static unsigned
instances_made(const struct restore *r)
{
	unsigned n = r->ask.restore.instances;

	return !r->has_result || r->result.err != 0 ? 0 : n == 0 ? 1 : n;
}

static void
run_agent(struct restore *r)
{
	int err, status;

	if (agent_slot(r->fs, 0, -1) == NULL) {
		set_result(r, -EAGAIN, "too many restores at once");
		return;
	}
	err = start_agent(r);
	if (r->agent == 0) {
		set_result(
		    r, err, "no process for the restore: %s", strerror(-err));
		agent_slot(r->fs, -1, 0);
		return;
	}
	agent_slot(r->fs, -1, r->agent);
	r->broker = (struct broker){ .fs = r->fs,
		.uid = r->writer.creds.uid,
		.agent = r->agent,
		.ask = &r->ask.restore };
	if (err == 0)
		listen_to_agent(r);
	broker_end(&r->broker, instances_made(r));
	if (r->has_result && r->result.err == 0 && r->result.paging) {
		keep_pager(r);
		return;
	}
	close(r->sock);
	status = reap(r->agent);
	agent_slot(r->fs, r->agent, 0);
	if (r->has_result)
		return;
	if (WIFSIGNALED(status))
		set_result(r, -EIO, "the restoring process died of signal %d",
		    WTERMSIG(status));
	else
		set_result(r, -EIO, "the restoring process said nothing");
}

/* ---- the answer ---- */

static void
answer_text(const struct restore *r, char *text, size_t size)
{
	const struct agent_message *m = &r->result;
	const char *nl = m->text[0] != '\0' ? "\n" : "";

	if (m->err == 0)
		snprintf(
		    text, size, "%d\n%s%s%s", m->pid, r->more, m->text, nl);
	else
		snprintf(text, size, "%s\n",
		    m->text[0] != '\0' ? m->text : strerror(-m->err));
}

static void
reply_text(struct restore *r)
{
	const char *text = NULL;
	size_t size;

	pthread_mutex_lock(&r->fs->lock);
	size = handle_text(r->handle, r->size, r->off, &text);
	fuse_reply_buf(r->req, text, size);
	pthread_mutex_unlock(&r->fs->lock);
}

/* Frees it. */
static void
reply(struct restore *r, int err)
{
	/* No interrupt function runs after this. */
	fuse_req_interrupt_func(r->req, NULL, NULL);
	if (r->by == BY_READ)
		reply_text(r); /* the sentence, if it failed */
	else if (r->by == BY_CLOSE && err == 0)
		foreground_reply(r->fs, r->req, r->handle, &r->writer);
	else if (r->by == BY_WRITE && err == 0)
		fuse_reply_write(r->req, r->size);
	else
		fuse_reply_err(r->req, -err);
	if (r->interrupt >= 0)
		close(r->interrupt);
	free(r);
}

static void
finish(struct restore *r)
{
	struct snapfs *fs = r->fs;
	struct handle *h = r->handle;
	char text[CONTROL_ANSWER_MAX];
	const struct agent_message *m = &r->result;

	if (m->err == 0)
		log_put(fs->log, r->writer.creds.uid, SNAP_NOTICE,
		    "restore of %s: it is %d", r->ask.restore.path, m->pid);
	else
		log_put(fs->log, r->writer.creds.uid, SNAP_ERROR,
		    "restore of %s: %s", r->ask.restore.path,
		    m->text[0] != '\0' ? m->text : strerror(-m->err));
	answer_text(r, text, sizeof(text));

	pthread_mutex_lock(&fs->lock);
	foreground_set(h, r->terminal);
	control_answer_put(&fs->answers, r->writer.creds.uid, text);
	free(h->text);
	h->text = strdup(text);
	h->len = h->text != NULL ? strlen(text) : 0;
	/* A write that fails does not move the offset, those before it did. */
	if (m->err == 0)
		h->base = r->end;
	else
		h->base = r->by == BY_WRITE ? r->end - (off_t)r->size : 0;
	if (m->err == 0)
		fs->counters.restores++;
	else
		fs->counters.failed_restores++;
	pthread_mutex_unlock(&fs->lock);

	reply(r, m->err);
}

/* For a later call on the open file to go on with. */
static int
keep(struct restore *r)
{
	struct restore_request *q = malloc(sizeof(*q));
	struct handle *h = r->handle;

	if (q == NULL) {
		set_result(r, -ENOMEM, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	*q = r->ask.restore;
	r->waits = true;
	pthread_mutex_lock(&r->fs->lock);
	free(h->pending);
	h->pending = q;
	h->pending_of = r->writer.id;
	h->pending_end = r->end;
	pthread_mutex_unlock(&r->fs->lock);
	return 0;
}

/*
 * A child of the writer's was killed, and he cannot wait for it before his
 * write(2) returns: the restore is made when he closes the file, or reads it.
 */
static void *
restore_main(void *arg)
{
	struct restore *r = arg;
	struct paging *p;

	run_agent(r);
	p = r->paging;
	if (r->result.err != -ECHILD || !r->ask.may_defer)
		finish(r);
	else if (keep(r) < 0)
		finish(r);
	else
		reply(r, 0);
	if (p != NULL)
		listen_to_pager(p);
	return NULL;
}

static void
interrupted(fuse_req_t req, void *arg)
{
	struct restore *r = arg;
	uint64_t one = 1;

	(void)req;
	if (write(r->interrupt, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

/* ---- the request ---- */

/*
 * Whoever writes must be who opened: else a program with more rights than its
 * caller could be made to write here what it believes to be its output.
 */
static bool
same_rights(const struct view_creds *opener, const struct view_creds *writer)
{
	return opener->uid == writer->uid && opener->gid == writer->gid &&
	       (writer->caps & ~opener->caps) == 0;
}

/* Is it worth a look whether there is a template, or shall be? */
static bool
may_share(const struct restore *r)
{
	const struct restore_request *q = &r->ask.restore;
	bool any;

	/* What is ignored may be a part of memory. */
	if (r->fs->opts.max_templates == 0 || q->template == TEMPLATE_NO ||
	    q->ignore[0] != '\0')
		return false;
	pthread_mutex_lock(&r->fs->lock);
	any = r->fs->templates.n > 0;
	pthread_mutex_unlock(&r->fs->lock);
	return any || q->new_pid || q->template == TEMPLATE_YES;
}

static void
fill_request(struct restore *r)
{
	struct snapfs *fs = r->fs;
	struct agent_request *ask = &r->ask;
	const uint64_t needed = UINT64_C(1) << CAP_SETUID |
				UINT64_C(1) << CAP_SETGID |
				UINT64_C(1) << CAP_SYS_ADMIN;

	ask->tid = r->writer.tid;
	ask->writer = r->writer.id;
	ask->uid = r->writer.creds.uid;
	ask->gid = r->writer.creds.gid;
	ask->templates = may_share(r);
	ask->may_defer = r->by == BY_WRITE;
	ask->terminal_busy = foreground_busy(fs, r->handle);
	ask->privileged = (fs->access.prm & needed) == needed;
	ask->seccomp_filters = fs->seccomp_filters;
	ask->freeze_timeout_ms = fs->opts.freeze_timeout_ms;
	ask->log_level = fs->opts.log_level;
}

/*
 * What waits for more is kept with the open file.  The kernel sends a flush
 * beside a write, so it is taken out and put back under the lock, and whoever
 * has taken it is the only one to act on it.
 */
static struct restore_request *
take_pending(struct snapfs *fs, struct handle *h)
{
	struct restore_request *q;

	pthread_mutex_lock(&fs->lock);
	q = h->pending;
	h->pending = NULL;
	pthread_mutex_unlock(&fs->lock);
	return q;
}

static void
set_requested(const struct restore *r)
{
	pthread_mutex_lock(&r->fs->lock);
	r->handle->requested = true;
	pthread_mutex_unlock(&r->fs->lock);
}

static bool
was_requested(const struct restore *r)
{
	bool yes;

	pthread_mutex_lock(&r->fs->lock);
	yes = r->handle->requested;
	pthread_mutex_unlock(&r->fs->lock);
	return yes;
}

static bool
has_options(const struct restore_request *q)
{
	return q->instances != 0 || q->template != TEMPLATE_AUTO ||
	       q->new_pid || q->stopped || q->replace || q->inherit ||
	       q->eager || q->ignore[0] != '\0' || q->tty[0] != '\0';
}

/*
 * The directory of a process that runs, alone: without an option it could only
 * be refused, so it waits for one, or for the end of the request.
 */
static bool
waits_for_options(const struct restore *r, bool waited)
{
	const struct restore_request *q = &r->ask.restore;
	char link[64], cwd[PATH_MAX];
	ssize_t n;

	if (waited || has_options(q))
		return false;
	snprintf(link, sizeof(link), "%d/cwd", r->writer.id.pid);
	n = readlinkat(r->fs->proc, link, cwd, sizeof(cwd) - 1);
	cwd[n < 0 ? 0 : n] = '\0';
	return control_is_below(q->path, cwd, r->fs->opts.mountpoint);
}

/* After the path, and when the restore was done: too late to mean anything. */
static int
refuse_late_options(struct restore *r)
{
	set_result(r, -EINVAL,
	    "the options came with a write(2) of their own, when the "
	    "restore was done: write them before the path");
	return -EINVAL;
}

static int
check_rights(struct restore *r)
{
	if (same_rights(&r->handle->creds, &r->writer.creds))
		return 0;
	set_result(r, -EPERM,
	    "the writer has other rights than whoever opened the file");
	return -EPERM;
}

/* r->waits: there is nothing to do yet. */
static int
parse(struct restore *r, const char *buf, size_t size)
{
	struct restore_request *before;
	bool waited;
	char why[256];
	int err = check_rights(r);

	if (err < 0)
		return err;
	before = take_pending(r->fs, r->handle);
	waited = before != NULL;
	if (waited)
		r->ask.restore = *before;
	free(before);
	err = control_parse(buf, size, &r->ask.restore, why, sizeof(why));
	if (err < 0) {
		set_result(r, err, "%s", why);
		return err;
	}
	if (r->ask.restore.path[0] == '\0')
		return was_requested(r) ? refuse_late_options(r) : keep(r);
	if (waits_for_options(r, waited))
		return keep(r);
	set_requested(r);
	return 0;
}

static void
start(struct restore *r)
{
	int err;

	fill_request(r);
	r->interrupt = eventfd(0, EFD_CLOEXEC);
	if (r->interrupt < 0) {
		set_result(r, -errno, "%s", strerror(errno));
		finish(r);
		return;
	}
	fuse_req_interrupt_func(r->req, interrupted, r);
	err = job_thread(restore_main, r, "restore");
	if (err < 0) {
		set_result(r, err, "no thread: %s", strerror(-err));
		finish(r);
	}
}

static struct restore *
restore_new(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who)
{
	struct restore *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->fs = fs;
	r->req = req;
	r->handle = h;
	r->writer = *who;
	r->log = log_job(fs->log, who->creds.uid, RING_RESTORE, who->id.pid);
	r->interrupt = r->terminal = -1;
	return r;
}

void
restore_request(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, const char *buf, size_t size, off_t off)
{
	struct restore *r = restore_new(fs, req, h, who);

	if (r == NULL) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	r->by = BY_WRITE;
	r->size = size;
	r->end = off + (off_t)size;
	if (parse(r, buf, size) < 0) {
		finish(r);
	} else if (r->waits) {
		fuse_reply_write(req, size);
		free(r);
	} else {
		start(r);
	}
}

/*
 * What waits there for the end of the request, if it is `who` that ends it:
 * other processes may have the file open too, and close it first.
 */
static struct restore_request *
take_ended(
    struct snapfs *fs, struct handle *h, const struct caller *who, off_t *end)
{
	struct restore_request *q = NULL;

	pthread_mutex_lock(&fs->lock);
	if (h->pending != NULL && h->pending->path[0] != '\0' &&
	    proc_id_equal(h->pending_of, who->id)) {
		q = h->pending;
		*end = h->pending_end;
		h->pending = NULL;
	}
	pthread_mutex_unlock(&fs->lock);
	return q;
}

/*
 * The rights are looked at again: since it wrote, the process may have become
 * a program with more of them, by exec(2), which closes what it was given.
 */
static void
act(struct restore *r)
{
	set_requested(r);
	if (check_rights(r) < 0)
		finish(r);
	else
		start(r);
}

/* What waited, as a request of its own; NULL with *err 0 if nothing did. */
static struct restore *
ended(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, int *err)
{
	off_t end = 0;
	struct restore_request *q = take_ended(fs, h, who, &end);
	struct restore *r = q == NULL ? NULL : restore_new(fs, req, h, who);

	*err = q != NULL && r == NULL ? -ENOMEM : 0;
	if (r != NULL) {
		r->ask.restore = *q;
		r->end = end;
	}
	free(q);
	return r;
}

void
restore_flush(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who)
{
	int err;
	struct restore *r = ended(fs, req, h, who, &err);

	if (r == NULL && err == 0) {
		foreground_reply(fs, req, h, who);
		return;
	}
	if (r == NULL) {
		fuse_reply_err(req, -err);
		return;
	}
	r->by = BY_CLOSE;
	act(r);
}

bool
restore_read(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who, size_t size, off_t off)
{
	int err;
	struct restore *r = ended(fs, req, h, who, &err);

	if (r == NULL && err < 0)
		fuse_reply_err(req, -err);
	if (r == NULL)
		return err < 0;
	r->by = BY_READ;
	r->size = size;
	r->off = off;
	act(r);
	return true;
}
