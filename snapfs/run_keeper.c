#include "run_keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_send.h"

#define NAME "snapfs-run:keep" /* the kernel has 15 bytes for it */
#define SOCKET 3
#define ANSWER_MS 10000
#define LOOK_MS 5000

struct ward {
	pid_t pid;
	int sock; /* -1: nobody needs it, and it was killed */
};

enum { SIGNALS, ORDERS, LEADER, WARDS }; /* what is polled, in this order */

struct keeper {
	struct ward *v;
	size_t n;
	struct pollfd *polled; /* WARDS and one of each ward */
	pid_t template;	       /* 0: it has ended */
	pid_t session;
};

/* ---- who is entrusted ---- */

static struct ward *
ward_of(struct keeper *k, pid_t pid)
{
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].pid == pid)
			return &k->v[i];
	return NULL;
}

static bool
is_child(pid_t pid)
{
	siginfo_t si;

	return pid > 0 && waitid(P_PID, (id_t)pid, &si,
			      WEXITED | WSTOPPED | WNOHANG | WNOWAIT) == 0;
}

static int
add(struct keeper *k, pid_t pid, int sock)
{
	struct pollfd *p;
	struct ward *v;

	if (!is_child(pid))
		return -ECHILD;
	if (ward_of(k, pid) != NULL)
		return -EBUSY;
	v = reallocarray(k->v, k->n + 1, sizeof(*v));
	if (v != NULL)
		k->v = v;
	p = reallocarray(k->polled, WARDS + k->n + 1, sizeof(*p));
	if (p != NULL)
		k->polled = p;
	if (v == NULL || p == NULL)
		return -ENOMEM;
	k->v[k->n++] = (struct ward){ pid, sock };
	return 0;
}

/* False at the end of them. */
static bool
take_ward(struct keeper *k)
{
	int fds[KEEPER_FDS];
	pid_t pid = 0;
	ssize_t n = run_receive(SOCKET, &pid, sizeof(pid), fds, 1);
	int err;

	if (n <= 0)
		return false;
	if (fds[0] < 0)
		return true;
	err = n == (ssize_t)sizeof(pid) ? add(k, pid, fds[0]) : -EINVAL;
	(void)!send(fds[0], &err, sizeof(err), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (err < 0)
		close(fds[0]);
	return true;
}

/* ---- what becomes of them ---- */

static void
drop(struct keeper *k, struct ward *w)
{
	if (w->sock >= 0)
		close(w->sock);
	*w = k->v[--k->n];
}

/* False when there is no child any more. */
static bool
reap(struct keeper *k)
{
	struct ward *w;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid == k->template && !WIFSTOPPED(status))
			k->template = 0;
		w = ward_of(k, pid);
		if (w == NULL)
			continue;
		if (w->sock >= 0)
			(void)!send(w->sock, &status, sizeof(status),
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (!WIFSTOPPED(status))
			drop(k, w);
	}
	return pid == 0 || errno != ECHILD;
}

/* Whoever stood in for it has ended.  Nobody but us reaps it, so it is it. */
static void
abandon(struct ward *w)
{
	kill(w->pid, SIGKILL);
	close(w->sock);
	w->sock = -1;
}

/* ---- the end of the template ---- */

static void
end_template(const struct keeper *k)
{
	if (k->template > 0)
		kill(k->template, SIGKILL);
}

/* Those who stop a service or a session know nobody here by name. */
static void
hear_signals(struct keeper *k)
{
	struct signalfd_siginfo si;
	int fd = k->polled[SIGNALS].fd;

	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		if (si.ssi_signo != SIGCHLD)
			end_template(k);
}

/* The template; its spare; an instance that is not entrusted to us yet. */
static bool
is_unused(struct keeper *k, pid_t pid)
{
	return pid == k->template || (is_child(pid) && ward_of(k, pid) == NULL);
}

/* Is anybody left in the session, who could start another instance? */
static bool
is_of_use(struct keeper *k)
{
	DIR *dir = opendir("/proc");
	struct dirent *de;
	bool is = dir == NULL;
	pid_t pid;

	while (!is && (de = readdir(dir)) != NULL) {
		pid = atoi(de->d_name);
		is = pid > 0 && getsid(pid) == k->session && !is_unused(k, pid);
	}
	if (dir != NULL)
		closedir(dir);
	return is;
}

/* ---- from start to end ---- */

/* After the leader of the session has ended, we look whether others have. */
static int
patience(const struct keeper *k)
{
	return k->polled[LEADER].fd < 0 && k->template > 0 ? LOOK_MS : -1;
}

static void
look_around(struct keeper *k)
{
	struct pollfd *p = k->polled;
	size_t n = k->n;
	int r;

	for (size_t i = 0; i < n; i++)
		p[WARDS + i] =
		    (struct pollfd){ .fd = k->v[i].sock, .events = POLLIN };
	r = poll(p, WARDS + n, patience(k));
	if (r == 0 && !is_of_use(k))
		end_template(k);
	if (r <= 0)
		return;
	/* They send nothing, so it is the end of file. */
	for (size_t i = 0; i < n; i++)
		if (p[WARDS + i].revents != 0)
			abandon(&k->v[i]);
	hear_signals(k);
	if (p[LEADER].revents != 0) {
		close(p[LEADER].fd);
		p[LEADER].fd = -1;
	}
	if (p[ORDERS].revents != 0 && !take_ward(k))
		p[ORDERS].fd = -1; /* nobody is left who could say anything */
}

/* Nothing of the caller's is held: no pipe, no terminal, no directory. */
static void
let_go_of_all(int sock)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 3; i++)
		dup2(null, i);
	if (sock != SOCKET)
		dup3(sock, SOCKET, O_CLOEXEC);
	closefrom(SOCKET + 1);
	(void)!chdir("/");
}

static int
signals(void)
{
	sigset_t all, heard;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&heard);
	sigaddset(&heard, SIGCHLD);
	sigaddset(&heard, SIGTERM);
	sigaddset(&heard, SIGHUP);
	return signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void __attribute__((noreturn))
keep(int sock, pid_t template, pid_t session)
{
	struct keeper k = {
		.polled = calloc(WARDS, sizeof(*k.polled)),
		.template = template,
		.session = session,
	};

	let_go_of_all(sock);
	if (k.polled == NULL)
		_exit(1);
	k.polled[SIGNALS] =
	    (struct pollfd){ .fd = signals(), .events = POLLIN };
	k.polled[ORDERS] = (struct pollfd){ .fd = SOCKET, .events = POLLIN };
	k.polled[LEADER] =
	    (struct pollfd){ .fd = pidfd_open(session, 0), .events = POLLIN };
	if (k.polled[SIGNALS].fd < 0)
		_exit(1);
	while (reap(&k))
		look_around(&k);
	_exit(0);
}

/*
 * The template is in the caller's session, but in no group that the terminal's
 * signals go to; and we are in neither, so that we do not count for a group
 * that has nobody else outside (POSIX's orphaned ones).
 */
static void
stand_aside(pid_t template)
{
	(void)setpgid(template, template);
	(void)setsid();
}

void
keeper_main(int dir, int to)
{
	const struct snap_restore_options opt = { .dir = dir, .child = true };
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct keeper_report r = { 0 };
	pid_t session = getsid(0);
	int sv[2], fds[KEEPER_FDS];

	prctl(PR_SET_NAME, NAME, 0, 0, 0);
	if (cx == NULL ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		_exit(1);
	r.err = snap_template_make(cx, &opt, &r.t);
	if (r.err < 0) {
		snprintf(r.why, sizeof(r.why), "%s", snap_error(cx));
		(void)run_send(to, &r, sizeof(r), NULL, 0);
		_exit(1);
	}
	stand_aside(r.t.pid);
	fds[0] = r.t.control;
	fds[1] = r.t.pidfd;
	fds[2] = sv[1];
	(void)run_send(to, &r, sizeof(r), fds, KEEPER_FDS);
	snap_ctx_free(cx);
	keep(sv[0], r.t.pid, session);
}

/* ---- of whoever entrusts ---- */

static int
answer_of(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int err;

	if (poll(&p, 1, ANSWER_MS) == 0)
		return -ETIMEDOUT; /* it is stopped */
	if (recv(sock, &err, sizeof(err), MSG_DONTWAIT) != (ssize_t)sizeof(err))
		return -EOWNERDEAD;
	return err;
}

int
keeper_entrust(int keeper, pid_t pid)
{
	int sv[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	err = run_send(keeper, &pid, sizeof(pid), &sv[1], 1);
	close(sv[1]);
	if (err == -EPIPE || err == -ECONNRESET || err == -ECONNREFUSED)
		err = -EOWNERDEAD;
	if (err == 0)
		err = answer_of(sv[0]);
	if (err == 0)
		return sv[0];
	close(sv[0]);
	return err;
}
