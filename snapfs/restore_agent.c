/*
 * restore_agent.c - the process that does a restore: begun, listened to,
 *	reaped, or left to go on as a pager.
 */
#include "restore_impl.h"

#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an agent may take; and how long after the writer got a signal. */
#define LIMIT_MS (3600u * 1000)
#define SIGNALLED_MS 2000u
#define LOOK_MS 200u  /* how often an interrupted writer is looked at */
#define EXIT_MS 5000u /* from its answer to its end */

/* With the lock: has a user all that one may have? */
static bool
share_is_used(const struct snapfs *fs, uid_t uid)
{
	unsigned n = 0;

	for (size_t i = 0; i < MAX_AGENTS; i++)
		n += fs->agents[i] != 0 && fs->agents_uids[i] == uid;
	return n >= AGENTS_SHARE && uid != fs->access.uid;
}

/*
 * The table of agents makes them and their children invisible in the mount.
 * The place is taken before the process is there, so that it always is.  It may
 * be taken for as long as the user likes, by `wait`: so no user has all.
 */
static bool
agent_slot(struct restore *r, pid_t was, pid_t is)
{
	struct snapfs *fs = r->fs;
	uid_t uid = r->writer.creds.uid;
	bool found = false;
	size_t i = MAX_AGENTS;

	pthread_mutex_lock(&fs->lock);
	if (was != 0 || !(fs->closing || share_is_used(fs, uid)))
		i = 0;
	for (; i < MAX_AGENTS && !found; i++) {
		if (fs->agents[i] != was)
			continue;
		fs->agents[i] = is;
		fs->agents_uids[i] = uid;
		found = true;
	}
	pthread_mutex_unlock(&fs->lock);
	return found;
}

static void
free_slot(struct snapfs *fs, pid_t was)
{
	bool found = false;

	pthread_mutex_lock(&fs->lock);
	for (size_t i = 0; i < MAX_AGENTS && !found; i++) {
		found = fs->agents[i] == was;
		if (found)
			fs->agents[i] = 0;
	}
	pthread_cond_broadcast(&fs->quiet);
	pthread_mutex_unlock(&fs->lock);
}

/* It died before it had heard of anything, so another can be asked. */
static bool
try_agent(struct restore *r, const struct standby *v)
{
	r->agent = v->pid;
	r->sock = v->sock;
	return send(r->sock, &r->ask, sizeof(r->ask), MSG_NOSIGNAL) ==
	       (ssize_t)sizeof(r->ask);
}

static int
start_agent(struct restore *r)
{
	struct snapfs *fs = r->fs;
	struct standby v;
	int err;

	pthread_mutex_lock(&fs->lock);
	v = standby_take(&fs->standby);
	pthread_mutex_unlock(&fs->lock);
	/* If it is stopped, nobody would answer. */
	if (v.pid > 0 && !procinfo_is_stopped(fs->proc, v.pid) &&
	    try_agent(r, &v))
		return 0;
	standby_end(&v);
	r->agent = 0;
	err = standby_begin(&v);
	if (err < 0)
		return err;
	/* Its end is looked at. */
	return try_agent(r, &v) ? 0 : -EIO;
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

void
restore_close_fds(const int fds[AGENT_FDS])
{
	for (int i = 0; i < AGENT_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

ssize_t
restore_receive(
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
	case AGENT_WAITS:
		restore_waits(r, m->pid);
		break;
	case AGENT_KEPT:
		restore_kept(r);
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
	ssize_t n = restore_receive(r->sock, &m, MSG_DONTWAIT, fds);
	int err = errno;

	if (n == (ssize_t)sizeof(m) && m.type != AGENT_RESULT)
		handle_message(r, &m, fds);
	if (n == (ssize_t)sizeof(m) && m.type == AGENT_RESULT && m.err == 0) {
		r->terminal = fds[0];
		fds[0] = -1;
	}
	restore_close_fds(fds);
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

		/* Nobody waits for it, but it for somebody. */
		if (restore_is_waiting(r)) {
			end = now + LIMIT_MS;
			interrupted = false;
		}
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
	restore_set_result(r, signalled ? -EINTR : -ETIMEDOUT,
	    signalled ? "interrupted before the process was complete"
		      : "the restore took too long and was given up");
}

/*
 * It exits by itself, unless something is wrong with it.  Its place is free
 * before its number is: whoever ends all agents ends no other process.
 */
static int
reap(struct snapfs *fs, pid_t agent)
{
	uint64_t end = snapfs_now() + EXIT_MS;
	int status = 0, pidfd;
	struct pollfd p = { .events = POLLIN };
	siginfo_t info;

	pidfd = pidfd_open(agent, 0);
	p.fd = pidfd;
	while (pidfd >= 0 && snapfs_now() < end)
		if (poll(&p, 1, (int)EXIT_MS) == 1)
			break;
	if (pidfd < 0 || p.revents == 0)
		kill(agent, SIGKILL);
	if (pidfd >= 0)
		close(pidfd);
	while (waitid(P_PID, (id_t)agent, &info, WEXITED | WNOWAIT) < 0 &&
	       errno == EINTR)
		;
	free_slot(fs, agent);
	while (waitpid(agent, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

void
restore_reap_agent(struct snapfs *fs, pid_t agent)
{
	(void)reap(fs, agent);
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
			.tree = r->result.tree,
			.sock = r->sock,
			.log = r->log };
		pthread_mutex_lock(&r->fs->lock);
		LIST_INSERT_HEAD(&r->fs->paging, p, entry);
		pthread_mutex_unlock(&r->fs->lock);
	} else {
		close(r->sock);
	}
	free_slot(r->fs, r->agent);
	r->paging = p;
}

/* Until it ends.  What it cannot tell itself is how it was killed. */
void
restore_listen_to_pager(struct paging *p)
{
	struct agent_message m;
	int fds[AGENT_FDS], status = 0;
	ssize_t n;

	do {
		n = restore_receive(p->sock, &m, 0, fds);
		restore_close_fds(fds);
		if (n == (ssize_t)sizeof(m) && m.type == AGENT_LOG)
			log_received(&p->log, m.record, sizeof(m.record));
	} while (n > 0 || (n < 0 && errno == EINTR));
	while (waitpid(p->pager, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && p->tree)
		log_put_job(&p->log, SNAP_ERROR,
		    "of process %d and those below it, all were killed that "
		    "waited for memory, for their pager %d was killed by "
		    "signal %d",
		    p->pid, p->pager, WTERMSIG(status));
	else if (WIFSIGNALED(status))
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

/*
 * An instance runs: nobody need wait for the end of its agent.  But what was to
 * be stopped is so a moment later than its agent has let go of it.
 */
static bool
is_over(const struct restore *r, bool instance)
{
	return instance && r->has_result && r->result.err == 0 &&
	       !r->ask.restore.stopped;
}

void
restore_run_agent(struct restore *r)
{
	int err, status;
	bool instance;

	if (!agent_slot(r, 0, -1)) {
		restore_set_result(r, -EAGAIN, "too many restores at once");
		return;
	}
	err = start_agent(r);
	if (r->agent == 0) {
		restore_set_result(
		    r, err, "no process for the restore: %s", strerror(-err));
		free_slot(r->fs, -1);
		return;
	}
	agent_slot(r, -1, r->agent);
	r->broker = (struct broker){ .fs = r->fs,
		.uid = r->writer.creds.uid,
		.agent = r->agent,
		.ask = &r->ask.restore };
	if (err == 0)
		listen_to_agent(r);
	restore_waits_no_more(r);
	instance = r->broker.in_use != NULL;
	broker_end(&r->broker, instances_made(r), r->result.pid);
	if (r->has_result && r->result.err == 0 && r->result.paging) {
		keep_pager(r);
		return;
	}
	close(r->sock);
	if (is_over(r, instance)) {
		r->ends = r->agent;
		return;
	}
	status = reap(r->fs, r->agent);
	if (r->has_result)
		return;
	if (WIFSIGNALED(status))
		restore_set_result(r, -EIO,
		    "the restoring process died of signal %d",
		    WTERMSIG(status));
	else
		restore_set_result(
		    r, -EIO, "the restoring process said nothing");
}
