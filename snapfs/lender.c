#include "lender.h"

#include "housekeeper.h"
#include "job.h"
#include "place.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LENDERS_MAX 512u
#define LENDERS_SHARE 128u /* of each user */

struct lender {
	LIST_ENTRY(lender) entry;
	struct restore *r; /* NULL: its write was answered */
	struct snapfs *fs;
	struct restore_request ask;
	struct broker broker;
	int sock;
	bool listed;
};

void
lender_wake_all(struct snapfs *fs)
{
	struct lender *l;

	LIST_FOREACH (l, &fs->lenders, entry)
		shutdown(l->sock, SHUT_RDWR);
	pthread_cond_broadcast(&fs->made);
}

/* ---- who it is ---- */

/* It is taken from him on his own word, and may be nothing but a socket. */
static int
check_socket(int fd)
{
	int domain = 0, type = 0;
	socklen_t n = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
	    domain != AF_UNIX || type != SOCK_SEQPACKET)
		return -ENOTSOCK;
	return 0;
}

static int
take_socket(struct lender *l, struct proc_id who)
{
	struct procinfo_stat st;
	int pidfd = pidfd_open(who.pid, 0), err = 0;

	if (pidfd < 0)
		return -errno;
	l->sock = pidfd_getfd(pidfd, (int)l->ask.broker, 0);
	if (l->sock < 0)
		err = -errno;
	close(pidfd);
	if (err == 0)
		err = procinfo_stat(l->fs->proc, who.pid, &st);
	if (err == 0 &&
	    !proc_id_equal(who, (struct proc_id){ st.pid, st.start }))
		err = -ESRCH;
	return err == 0 ? check_socket(l->sock) : err;
}

/* Else its pids mean nothing here. */
static bool
is_in_our_pids(const struct snapfs *fs, pid_t pid)
{
	struct stat own, its;
	char name[32];

	snprintf(name, sizeof(name), "%d/ns/pid", pid);
	return fstatat(fs->proc, "self/ns/pid", &own, 0) == 0 &&
	       fstatat(fs->proc, name, &its, 0) == 0 &&
	       own.st_ino == its.st_ino && own.st_dev == its.st_dev;
}

/* Which filters others are under is not seen, only how many. */
static bool
is_filtered(const struct snapfs *fs, pid_t pid)
{
	struct procinfo_status st;
	char text[8192];
	unsigned n;

	if (procinfo_read_small(fs->proc, pid, "status", text, sizeof(text)) <
		0 ||
	    procinfo_parse_status(text, &st) < 0)
		return true;
	n = st.seccomp_filters;
	procinfo_status_fini(&st);
	return n != fs->seccomp_filters;
}

/* As of an agent, and where a fork of it would be. */
static char *
place_of_runner(struct lender *l, pid_t pid)
{
	struct procinfo_stat st;
	char *place = NULL, *all = NULL;

	if (!is_in_our_pids(l->fs, pid) || is_filtered(l->fs, pid) ||
	    procinfo_stat(l->fs->proc, pid, &st) < 0 || st.sid <= 0)
		return NULL;
	place = place_of(l->fs->proc, pid);
	if (place != NULL && asprintf(&all, "%ssession: %d terminal %d\n",
				 place, st.sid, st.tty) < 0)
		all = NULL;
	free(place);
	l->broker.session = st.sid;
	return all;
}

/* ---- its part ---- */

/* Until it has closed its socket. */
static void
listen_to(struct lender *l)
{
	struct agent_message m;
	int fds[AGENT_FDS];
	unsigned made = 0;
	ssize_t n;

	do {
		n = restore_receive(l->sock, &m, 0, fds);
		if (n == (ssize_t)sizeof(m) && m.type == AGENT_RESULT)
			made = m.err == 0;
		else if (n == (ssize_t)sizeof(m))
			broker_message(&l->broker, l->sock, &m, fds);
		restore_close_fds(fds);
	} while (n > 0 || (n < 0 && errno == EINTR));
	broker_end(&l->broker, made, 0);
	housekeeper_spares(l->fs->housekeeper);
}

/* There may be many at once, but not without end. */
static int
enter(struct lender *l)
{
	struct snapfs *fs = l->fs;
	unsigned all = 0, his = 0;
	struct lender *v;
	int err = 0;

	pthread_mutex_lock(&fs->lock);
	LIST_FOREACH (v, &fs->lenders, entry) {
		all++;
		his += v->broker.uid == l->broker.uid;
	}
	if (fs->closing || all >= LENDERS_MAX || his >= LENDERS_SHARE) {
		err = -EAGAIN;
	} else {
		LIST_INSERT_HEAD(&fs->lenders, l, entry);
		l->listed = true;
	}
	pthread_mutex_unlock(&fs->lock);
	return err;
}

static void
lender_free(struct lender *l)
{
	struct snapfs *fs = l->fs;

	pthread_mutex_lock(&fs->lock);
	if (l->listed)
		LIST_REMOVE(l, entry);
	pthread_cond_broadcast(&fs->quiet);
	pthread_mutex_unlock(&fs->lock);
	if (l->sock >= 0)
		close(l->sock);
	free(l->broker.place);
	free(l);
}

/* It waits in its write(2), and can change nothing of what it is. */
static int
begin(struct lender *l)
{
	struct restore *r = l->r;
	int err;

	if (r->by != BY_WRITE) {
		restore_set_result(r, -EINVAL,
		    "broker= and the path must come in one write(2)");
		return -EINVAL;
	}
	err = take_socket(l, r->writer.id);
	if (err < 0) {
		restore_set_result(
		    r, err, "broker=%u: %s", l->ask.broker, strerror(-err));
		return err;
	}
	if (l->fs->opts.max_templates != 0 && l->ask.template != TEMPLATE_NO &&
	    l->ask.ignore[0] == '\0')
		l->broker.place = place_of_runner(l, r->writer.id.pid);
	err = enter(l);
	if (err < 0)
		restore_set_result(
		    r, err, "too many that are restored at once");
	return err;
}

static void *
lender_main(void *arg)
{
	struct lender *l = arg;
	struct restore *r = l->r;

	if (begin(l) < 0) {
		restore_done(r);
		lender_free(l);
		return NULL;
	}
	/* The file may be closed from now on. */
	fuse_reply_write(r->req, r->size);
	free(r);
	l->r = NULL;
	listen_to(l);
	lender_free(l);
	return NULL;
}

void
lender_start(struct restore *r)
{
	struct lender *l = calloc(1, sizeof(*l));
	int err = -ENOMEM;

	if (l != NULL) {
		l->r = r;
		l->fs = r->fs;
		l->ask = r->ask.restore;
		l->sock = -1;
		l->broker = (struct broker){
			.fs = r->fs, .uid = r->writer.creds.uid, .ask = &l->ask
		};
		err = job_thread(lender_main, l, "lender");
	}
	if (err == 0)
		return;
	free(l);
	restore_set_result(r, err, "no thread: %s", strerror(-err));
	restore_done(r);
}
