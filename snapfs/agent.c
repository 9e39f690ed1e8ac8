#include "agent.h"

#include "imagedir.h"
#include "instances.h"
#include "pagers.h"
#include "terminal.h"
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PARENTS_MAX 64 /* lines parent= */

struct agent {
	struct agent_request ask;
	struct writer writer;
	struct agent_message result;
	pid_t asker;  /* the writer's process, if that can be deferred */
	int uffd_dev; /* /dev/userfaultfd, or -1 */
	char *title;  /* what /proc/PID/cmdline shows */
	size_t title_size;
	bool may_share; /* a template may be used, or made */
	int parents[PARENTS_MAX];
	size_t nparents;
	struct snap_ctx *cx;
	struct snap_pager *pager; /* after a lazy restore */
};

static void
send_message(const struct agent_message *m)
{
	/* If the daemon is gone, there is nobody to tell. */
	while (
	    send(AGENT_FD, m, sizeof(*m), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void
log_message(void *arg, const struct snap_log_record *record)
{
	struct agent_message m = { .type = AGENT_LOG };

	(void)arg;
	snap_log_pack(record, m.record);
	send_message(&m);
}

/*
 * An error of the library is the answer, which the daemon logs with the path
 * of the image.  The new process's is also the agent's.
 */
static void
log_step(void *arg, const struct snap_log_record *record)
{
	if (record->level != SNAP_ERROR)
		log_message(arg, record);
}

static int fail(struct agent *a, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int
fail(struct agent *a, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->result.text, sizeof(a->result.text), fmt, ap);
	va_end(ap);
	return err;
}

/* With a descriptor. */
static int
send_fd(const struct agent_message *m, int fd)
{
	struct iovec iov = { (void *)(uintptr_t)m, sizeof(*m) };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} c = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = c.buf,
		.msg_controllen = sizeof(c.buf) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	return sendmsg(AGENT_FD, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* ---- what only the daemon may do ---- */

static int
ask_for_handshake(void *arg, int fd)
{
	struct agent_message m = { .type = AGENT_UFFD };
	int answer;

	(void)arg;
	if (send_fd(&m, fd) < 0 ||
	    recv(AGENT_FD, &answer, sizeof(answer), 0) != sizeof(answer))
		return -EPERM;
	return answer;
}

/* ---- the restore ---- */

/*
 * It is complete.  What is to be kept is so whatever becomes of the daemon; and
 * by that word the original will be ended, so the new one must be there.
 * 1: it goes on stopped.
 */
static int
wait_for_word(
    void *arg, pid_t pid, bool (*lives)(const void *made), const void *made)
{
	struct agent_message m = { .type = AGENT_WAITS, .pid = pid },
			     yes = { .type = AGENT_KEPT };
	bool kept = false;
	int word;
	ssize_t n;

	(void)arg;
	send_message(&m);
	for (;;) {
		n = recv(AGENT_FD, &word, sizeof(word), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n != (ssize_t)sizeof(word))
			return kept ? 1 : -ECANCELED;
		if (word == AGENT_GO)
			return 0;
		if (!lives(made))
			return -ESRCH;
		kept = true;
		writer_outlive_parent();
		send_message(&yes);
	}
}

/* More than one: their pids go ahead of the result. */
static void
tell_pids(const pid_t *pids, unsigned n)
{
	struct agent_message m = { .type = AGENT_PIDS };
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		len += (size_t)snprintf(
		    m.text + len, sizeof(m.text) - len, "%d\n", pids[i]);
		if (i + 1 < n && len + 16 < sizeof(m.text))
			continue;
		send_message(&m);
		len = 0;
	}
}

static int
make(struct agent *a, const struct snap_options *log,
    const struct snap_restore_options *opt, struct snap_restore_result *res)
{
	unsigned n = a->ask.restore.instances;
	struct snap_restore_options shared = *opt;
	pid_t pids[CONTROL_INSTANCES_MAX];
	char why[AGENT_TEXT_MAX];
	int err;

	if (n <= 1) {
		err = snap_restore(a->cx, opt, res);
		return err < 0 ? fail(a, err, "%s", snap_error(a->cx)) : 0;
	}
	/* None of them can have it alone. */
	shared.terminal = NULL;
	err = instances_make(log, &shared, n, pids, res, why, sizeof(why));
	if (err < 0)
		return fail(a, err, "%s", why);
	tell_pids(pids + 1, n - 1);
	return 0;
}

static int
from_template(struct agent *a, const struct snap_options *log,
    struct snap_restore_options *opt, bool anew, struct snap_template *t)
{
	int err;

	opt->tmpl = NULL;
	if (!a->may_share)
		return 0;
	err = instances_template(a->cx, log, opt, anew, t);
	if (err < 0)
		return fail(a, err, "%s", snap_error(a->cx));
	if (err > 0)
		opt->tmpl = t;
	return 0;
}

/* What came back differently: where it is, what it has, of what it is made. */
static void
tell_notes(struct agent *a, const struct snap_template *t,
    const struct snap_restore_result *res)
{
	const char *v[] = { a->writer.notes, res->note, t->note };
	char *text = a->result.text;
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		if (v[i][0] != '\0' && len < AGENT_TEXT_MAX)
			len +=
			    (size_t)snprintf(text + len, AGENT_TEXT_MAX - len,
				"%s%s", len > 0 ? "; " : "", v[i]);
	snap_printable(text);
}

static void
restore_image(struct agent *a, int image, struct terminal *terminal, int cwd)
{
	const struct restore_request *ask = &a->ask.restore;
	struct snap_options opt = {
		.freeze_timeout_ms = a->ask.freeze_timeout_ms,
		.log = log_step,
		.log_level = a->ask.log_level,
	};
	struct snap_restore_options ropt = {
		.dir = image,
		.parents = a->parents,
		.nparents = a->nparents,
		.new_pid = ask->new_pid,
		.stopped = ask->stopped,
		.replace = ask->replace,
		.asker = a->asker,
		.tty = terminal->fd,
		.terminal = terminal_give,
		.terminal_arg = terminal,
		.stdio = ask->inherit ? a->writer.std : NULL,
		.cwd = cwd,
		.ignore = ask->ignore,
		.callers_cgroup = ask->own_cgroup,
		.lent_caps = a->writer.lent,
		.ready = ask->wait ? wait_for_word : NULL,
		.lazy = !ask->eager,
		.uffd_dev = a->uffd_dev,
		.uffd_handshake = ask_for_handshake,
	};
	struct snap_restore_result res = { 0 };
	struct snap_template t = { .control = -1 };
	int err;

	a->cx = snap_ctx_new(&opt);
	if (a->cx == NULL) {
		a->result.err = -ENOMEM;
		return;
	}
	err = from_template(a, &opt, &ropt, false, &t);
	if (err == 0)
		err = make(a, &opt, &ropt, &res);
	/* It ended while we were at it: nothing was made, so once more. */
	if (err == -EOWNERDEAD) {
		snap_clear(a->cx);
		close(t.control);
		if (t.spare > 0)
			close(t.spare);
		err = from_template(a, &opt, &ropt, true, &t);
		if (err == 0)
			err = make(a, &opt, &ropt, &res);
	}
	a->result.err = err < 0 ? err : 0;
	a->result.pid = res.pid;
	if (err == 0)
		tell_notes(a, &t, &res);
	a->pager = res.pager;
	a->result.paging = res.pager != NULL;
	a->result.tree = res.tree;
}

/* ---- after a lazy restore: the pager ---- */

static void
show_progress(void *arg, uint64_t done, uint64_t total)
{
	const struct agent *a = arg;

	pagers_title(a->title, a->title_size, a->result.pid, done, total);
}

/*
 * From here on it is as little as it can be: without the image's directory,
 * terminal, working directory, capabilities, and without need of the daemon.
 */
static void
become_pager(struct agent *a)
{
	prctl(PR_SET_NAME, PAGERS_NAME, 0, 0, 0);
	show_progress(a, 0, 0);
	if (a->uffd_dev >= 0)
		close(a->uffd_dev);
	writer_be_pager();
}

static void
page(struct agent *a)
{
	int err = snap_pager_wait(a->cx, a->pager, show_progress, a);

	if (err < 0 && a->result.tree)
		SNAP_LOG(log_message(a, &snap_log_record), SNAP_ERROR, "%s",
		    snap_error(a->cx));
	else if (err < 0)
		SNAP_LOG(log_message(a, &snap_log_record), SNAP_ERROR,
		    "process %d was killed, for its memory could not be "
		    "brought: %s",
		    a->result.pid, snap_error(a->cx));
}

/* A pager shall hold open nothing of the writer's, say the end of a pipe. */
static void
close_all(struct agent *a, int image, int cwd)
{
	int fds[] = { image, cwd, a->writer.std[0], a->writer.std[1],
		a->writer.std[2] };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (size_t i = 0; i < a->nparents; i++)
		close(a->parents[i]);
	a->nparents = 0;
}

/* Where the request says that parents of an increment are. */
static int
open_parents(struct agent *a)
{
	char *line, *rest = a->ask.restore.parents;
	int fd;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		if (a->nparents == PARENTS_MAX)
			return fail(a, -E2BIG,
			    "more than %d lines parent=", PARENTS_MAX);
		fd = open(line, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return fail(
			    a, -errno, "parent=%s: %s", line, strerror(errno));
		a->parents[a->nparents++] = fd;
	}
	return 0;
}

static void
send_result(struct agent *a, struct terminal *t)
{
	if (a->result.err < 0) {
		send_message(&a->result);
		return;
	}
	if (t->ended < 0 || send_fd(&a->result, t->ended) < 0)
		send_message(&a->result);
	terminal_go(t, a->result.pid);
}

/* As the writer. */
static void
work(struct agent *a)
{
	struct terminal terminal = {
		.fd = -1, .slave = -1, .go = -1, .ended = -1
	};
	int image = -1, cwd = -1, err;

	err = imagedir_open(a->ask.restore.path, &image, a->result.text,
	    sizeof(a->result.text));
	if (err == 0) {
		err = terminal_open(&terminal, &a->writer, &a->ask);
		if (err < 0)
			fail(a, err, "%s", a->writer.why);
	}
	if (err == 0)
		err = open_parents(a);
	if (err == 0 && a->ask.restore.inherit) {
		cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (cwd < 0)
			err = fail(a, -errno, "the working directory: %s",
			    strerror(errno));
	}
	/* What was opened of the writer must not be inherited. */
	writer_close(&a->writer);
	if (err < 0)
		a->result.err = err;
	else
		restore_image(a, image, &terminal, cwd);
	close_all(a, image, cwd);
	if (a->pager != NULL)
		become_pager(a);
	a->result.type = AGENT_RESULT;
	send_result(a, &terminal);
	terminal_close(&terminal);
	if (a->pager != NULL)
		page(a);
	snap_ctx_free(a->cx);
}

/* In a pid namespace one is only as a child. */
static int
work_in_child(struct agent *a)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		writer_die_with_parent();
		work(a);
		return 0;
	}
	if (pid < 0) {
		a->result.err = fail(a, -errno, "fork: %s", strerror(errno));
		a->result.type = AGENT_RESULT;
		send_message(&a->result);
		return 1;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	/* So that the daemon hears how it died. */
	if (WIFSIGNALED(status))
		kill(getpid(), WTERMSIG(status));
	return 0;
}

/* Exit status. */
static int
run(struct agent *a)
{
	bool fork_needed;
	int err;

	/* Before it has the writer's rights, and his root. */
	a->uffd_dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	writer_die_with_parent();
	prctl(PR_SET_NAME, AGENT_COMM_STANDBY, 0, 0, 0);
	if (recv(AGENT_FD, &a->ask, sizeof(a->ask), 0) !=
	    (ssize_t)sizeof(a->ask))
		return 1;
	prctl(PR_SET_NAME, AGENT_COMM, 0, 0, 0);
	err = writer_open(&a->writer, &a->ask);
	if (err == 0)
		err = writer_become(&a->writer, &fork_needed);
	if (err < 0) {
		fail(a, err, "%s", a->writer.why);
		writer_close(&a->writer);
		a->result.err = err;
		a->result.type = AGENT_RESULT;
		send_message(&a->result);
		return 1;
	}
	if (fork_needed)
		return work_in_child(a);
	/* In a pid namespace of the writer's, the daemon sees our parent. */
	a->may_share = a->ask.templates && instances_became();
	/* The number is that of our pid namespace only if it is the writer's.
	 */
	if (a->ask.may_defer)
		a->asker = a->ask.writer.pid;
	work(a);
	return 0;
}

int
agent_main(char **argv)
{
	struct agent *a = calloc(1, sizeof(*a));
	int status;

	if (a == NULL)
		return 1;
	a->title = argv[0];
	a->title_size = (size_t)(argv[1] - argv[0]) + strlen(argv[1]) + 1;
	status = run(a);
	free(a);
	return status;
}
