#include "run_template.h"

#include "agent.h"
#include "caps.h"
#include "identity.h"
#include "run_keeper.h"
#include "run_send.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KNOCK_S 5      /* for the daemon to let us in */
#define OFFER_MS 15000 /* to offer one, which another may be making */
#define TYPE " - fuse.snapfs "
#define YAMA "/proc/sys/kernel/yama/ptrace_scope"

static bool __attribute__((format(printf, 2, 3)))
without(struct run_template *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
	return false;
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void
close_spare(struct run_template *v)
{
	if (v->t.spare > 0)
		close(v->t.spare);
	v->t.spare = 0;
}

/* ---- the daemon's door ---- */

/* Is it a mount of ours?  Its device is in the list of mounts. */
static bool
is_mount(const char *path)
{
	char want[40], *line = NULL;
	struct stat st;
	size_t size = 0;
	bool is = false;
	FILE *f;

	if (stat(path, &st) < 0)
		return false;
	snprintf(want, sizeof(want), " %u:%u / ", major(st.st_dev),
	    minor(st.st_dev));
	f = fopen("/proc/self/mountinfo", "re");
	while (f != NULL && !is && getline(&line, &size, f) > 0)
		is = strstr(line, want) != NULL && strstr(line, TYPE) != NULL;
	free(line);
	if (f != NULL)
		fclose(f);
	return is;
}

/* What is said there, and what came of it. */
struct knock {
	char file[PATH_MAX], *mount;
	char text[PATH_MAX + 64];
	int err; /* -ENOENT: there is no mount */
};

/* A daemon that is stopped, say, answers nobody. */
static void *
knock_main(void *arg)
{
	struct knock *k = arg;
	size_t len = strlen(k->text);
	int fd;

	k->err = -ENOENT;
	if (!is_mount(k->mount))
		return NULL;
	fd = open(k->file, O_WRONLY | O_CLOEXEC);
	k->err = fd < 0 || write(fd, k->text, len) != (ssize_t)len ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* It may go on for ever if it has not ended in time: so it has all it needs. */
static int
knock(struct knock *k)
{
	struct timespec end;
	pthread_t thread;
	int err;

	err = pthread_create(&thread, NULL, knock_main, k);
	if (err != 0) {
		free(k);
		return -err;
	}
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += KNOCK_S;
	if (pthread_timedjoin_np(thread, NULL, &end) != 0)
		return -ETIMEDOUT;
	err = k->err;
	free(k);
	return err;
}

static struct knock *
knock_new(int dir, const struct run_from_options *how, int sock)
{
	struct knock *k = malloc(sizeof(*k) + strlen(how->mount) + 1);
	char name[32], path[PATH_MAX];
	ssize_t n;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", dir);
	n = readlink(name, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	/* What is no line there is only for people to read. */
	for (char *p = path; *p != '\0'; p++)
		if (*p == '\n')
			*p = '?';
	if (k == NULL || n <= 0) {
		free(k);
		return NULL;
	}
	k->mount = strcpy((char *)(k + 1), how->mount);
	snprintf(k->file, sizeof(k->file), "%s/.restore", how->mount);
	snprintf(k->text, sizeof(k->text), "broker=%d\n%s%s%s\n", sock,
	    how->same_pid ? "" : "pid=new\n",
	    how->template ? "template=yes\n" : "", path);
	return k;
}

/* It takes one end of a pair, and so has that when this returns. */
static bool
call_on(struct run_template *v, int dir, const struct run_from_options *how)
{
	struct knock *k;
	int sv[2], err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return without(v, "socket: %s", strerror(errno));
	k = knock_new(dir, how, sv[1]);
	err = k == NULL ? -ENOMEM : knock(k);
	/* It may be taken late: then nobody is at the other end. */
	if (err != -ETIMEDOUT)
		close(sv[1]);
	v->daemon = sv[0];
	if (err == 0)
		return true;
	close_fd(&v->daemon);
	return err == -ENOENT
		   ? without(v, "%s is no mount of snapfs", how->mount)
		   : without(v, "%s: %s", how->mount, strerror(-err));
}

/* ---- its offer ---- */

static bool
hear(struct run_template *v, struct agent_message *m)
{
	struct pollfd p = { .fd = v->daemon, .events = POLLIN };
	int fds[OFFER_FDS];

	if (poll(&p, 1, OFFER_MS) != 1 ||
	    run_receive(v->daemon, m, sizeof(*m), fds, OFFER_FDS) !=
		(ssize_t)sizeof(*m) ||
	    m->type != AGENT_OFFER)
		return false;
	v->t.control = fds[0];
	v->keeper = fds[1];
	if (fds[2] > 0)
		v->t.spare = fds[2];
	return true;
}

static bool
use(struct run_template *v, const struct agent_message *m)
{
	v->t.start = m->offer.start;
	v->t.end = m->offer.end;
	memcpy(v->t.note, m->offer.note, sizeof(v->t.note));
	v->t.note[sizeof(v->t.note) - 1] = '\0';
	return v->t.control >= 0 && v->keeper >= 0;
}

/* ---- a new one ---- */

/* Not our child, for it outlives us. */
static int
start_keeper(int dir, int report)
{
	pid_t pid = fork();

	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			keeper_main(dir, report);
		_exit(pid < 0);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static void
tell_daemon(struct run_template *v)
{
	struct agent_message m = { .type = AGENT_KEEPER };
	const int fds[] = { v->t.control, v->t.pidfd };

	if (v->daemon < 0 ||
	    run_send(v->daemon, &m, sizeof(m), &v->keeper, 1) < 0)
		return;
	m.type = AGENT_TEMPLATE;
	m.offer.start = v->t.start;
	m.offer.end = v->t.end;
	memcpy(m.offer.note, v->t.note, sizeof(m.offer.note));
	(void)run_send(v->daemon, &m, sizeof(m), fds, 2);
}

static bool
make(struct run_template *v, int dir)
{
	struct keeper_report r;
	int sv[2], fds[KEEPER_FDS], err;
	ssize_t n = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return without(v, "socket: %s", strerror(errno));
	err = start_keeper(dir, sv[1]);
	close(sv[1]);
	if (err == 0)
		n = run_receive(sv[0], &r, sizeof(r), fds, KEEPER_FDS);
	close(sv[0]);
	if (n != (ssize_t)sizeof(r))
		return without(v, "whoever was to make it has ended");
	r.why[sizeof(r.why) - 1] = '\0';
	if (r.err < 0)
		return without(v, "%s", r.why);
	v->t = r.t;
	v->t.control = fds[0];
	v->t.pidfd = fds[1];
	v->keeper = fds[2];
	tell_daemon(v);
	return true;
}

/* ---- */

/* Of those there are none: so it need not be tried each time. */
static bool
is_tree(int dir)
{
	int fd = openat(
	    dir, "children", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	bool is = false;

	while (d != NULL && !is && (de = readdir(d)) != NULL)
		is = de->d_name[0] != '.';
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	return is;
}

/* Is it allowed to trace what is no child of ours? */
static bool
may_trace(void)
{
	uint64_t eff = 0, prm, inh;
	char scope = '0';
	int fd = open(YAMA, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, &scope, 1) != 1)
			scope = '3';
		close(fd);
	}
	return scope == '0' ||
	       (scope < '3' && caps_get(&eff, &prm, &inh) == 0 &&
		   (eff & CAP(CAP_SYS_PTRACE)) != 0);
}

bool
run_template_find(
    struct run_template *v, int dir, const struct run_from_options *how)
{
	struct agent_message m = { .type = AGENT_IMAGE };

	*v = (struct run_template){
		.t = { .control = -1, .pidfd = -1 }, .keeper = -1, .daemon = -1
	};
	if (how->alone || how->learn)
		return how->template && without(v, "none is made by --learn");
	if (!may_trace())
		return without(v, YAMA " allows to trace children only");
	/* A restore of it says better what is wrong with it. */
	if (identity_of(dir, &m.offer.image) < 0)
		return false;
	if (is_tree(dir))
		return without(v, "it is a tree of processes");
	if (!call_on(v, dir, how))
		return false;
	if (run_send(v->daemon, &m, sizeof(m), NULL, 0) < 0 || !hear(v, &m))
		return without(v, "%s: no answer", how->mount);
	if (m.offer.what == OFFER_MAKE)
		return make(v, dir);
	if (m.offer.what == OFFER_USE)
		return use(v, &m);
	return how->template &&
	       without(v, "%s: none of this image may be kept", how->mount);
}

bool
run_template_again(struct run_template *v, int dir)
{
	close_fd(&v->t.control);
	close_fd(&v->t.pidfd);
	close_spare(v);
	close_fd(&v->keeper);
	return make(v, dir);
}

void
run_template_used(struct run_template *v)
{
	struct agent_message m = { .type = AGENT_RESULT };

	if (v->daemon >= 0)
		(void)run_send(v->daemon, &m, sizeof(m), NULL, 0);
}

void
run_template_free(struct run_template *v)
{
	close_fd(&v->t.control);
	close_fd(&v->t.pidfd);
	close_spare(v);
	close_fd(&v->keeper);
	close_fd(&v->daemon);
}
