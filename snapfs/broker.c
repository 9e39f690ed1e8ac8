#include "broker.h"

#include "housekeeper.h"
#include "place.h"
#include "snapfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long a template that another makes is waited for. */
#define MADE_S 10

static void
answer(int sock, struct agent_message *m, const int *fds, size_t n)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(OFFER_FDS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	m->type = AGENT_OFFER;
	if (n > 0) {
		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
	}
	/* If it is dead, its end is seen elsewhere. */
	(void)!sendmsg(sock, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* It is the writer now, and has not looked at the image. */
static void
became(struct broker *b, int sock)
{
	struct agent_message m = { .offer.what = OFFER_NONE };

	if (b->place == NULL && !b->looked)
		b->place = place_of(b->fs->proc, b->agent);
	if (b->place != NULL)
		m.offer.what = OFFER_MAKE;
	answer(sock, &m, NULL, 0);
}

/* Without laziness there is nothing to lose by making one at once. */
static bool
asks_for_many(const struct restore_request *q)
{
	return q->template == TEMPLATE_YES || q->instances != 0 ||
	       (q->new_pid && q->eager);
}

/*
 * The one that there is; or, of many that snapfs-run(1) starts at once, that
 * which the first of them is making.  With the lock.
 */
static struct template *
find(struct broker *b)
{
	struct snapfs *fs = b->fs;
	struct templates *all = &fs->templates;
	struct template *v;
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += MADE_S;
	for (;;) {
		v = templates_get(all, &b->image, b->place, snapfs_now());
		if (v != NULL || b->session == 0 || fs->closing ||
		    !templates_is_made(all, &b->image, b->place) ||
		    pthread_cond_timedwait(&fs->made, &fs->lock, &end) != 0)
			return v;
	}
}

/* Whoever waits for it looks again.  With the lock. */
static void
end_making(struct broker *b)
{
	templates_end(&b->making);
	pthread_cond_broadcast(&b->fs->made);
}

/* Of snapfs-run's, each session has its own. */
static const char *
where_seen(const struct broker *b)
{
	return b->session == 0 ? NULL : b->place;
}

/*
 * Whoever comes while the first is still at work is the second.  With the lock.
 */
static bool
is_to_make_one(struct broker *b)
{
	struct templates *all = &b->fs->templates;
	bool wanted = asks_for_many(b->ask);

	if (b->place == NULL || !(wanted || b->ask->new_pid))
		return false;
	if (b->session != 0 && templates_is_made(all, &b->image, b->place))
		return false;
	if (!templates_worth(all, &b->image, where_seen(b), b->uid, wanted)) {
		templates_see(all, &b->image, where_seen(b), b->uid);
		b->first = true;
		return false;
	}
	if (b->session != 0)
		templates_begin(all, &b->making, &b->image, b->place);
	return true;
}

static void
look_for_one(struct broker *b, int sock, const struct agent_message *asked)
{
	struct agent_message m = { .offer.what = OFFER_NONE };
	int fds[OFFER_FDS];
	size_t n = 0;

	pthread_mutex_lock(&b->fs->lock);
	/* It may ask again; whoever waits for what it makes has its answer. */
	end_making(b);
	b->looked = true;
	b->image = asked->offer.image;
	if (b->place != NULL && b->in_use == NULL)
		b->in_use = find(b);
	if (b->in_use != NULL) {
		m.offer.what = OFFER_USE;
		m.offer.start = b->in_use->t.start;
		m.offer.end = b->in_use->t.end;
		memcpy(m.offer.note, b->in_use->t.note, sizeof(m.offer.note));
		fds[n++] = b->in_use->t.control;
		if (b->in_use->keeper > 0)
			fds[n++] = b->in_use->keeper;
		if (b->ask->new_pid && b->spare.bytes == 0)
			b->spare =
			    templates_take_spare(&b->fs->templates, b->in_use);
		m.offer.spare = b->spare.sock > 0;
		if (m.offer.spare)
			fds[n++] = b->spare.sock;
	} else if (is_to_make_one(b)) {
		m.offer.what = OFFER_MAKE;
	}
	pthread_mutex_unlock(&b->fs->lock);
	answer(sock, &m, fds, n); /* in use, so they are not closed */
	/* Only whoever is to use it has it, so that it ends with him. */
	if (b->spare.sock > 0)
		close(b->spare.sock);
	b->spare.sock = 0;
}

/* The kernel says which process a pidfd is of. */
static pid_t
pid_of(const struct snapfs *fs, int pidfd)
{
	char name[48], text[1024];
	const char *p;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "self/fdinfo/%d", pidfd);
	fd = openat(fs->proc, name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	p = strstr(text, "\nPid:");
	return p == NULL ? -1 : (pid_t)atoi(p + 5);
}

/*
 * A template is ended by a signal of ours, which may be sent to any process: so
 * whoever tells of one may tell only of what is the writer's anyway.
 */
static bool
is_writers(const struct broker *b, pid_t pid)
{
	struct stat st;
	char dir[16];

	snprintf(dir, sizeof(dir), "%d", (int)pid);
	return pid > 0 && fstatat(b->fs->proc, dir, &st, 0) == 0 &&
	       st.st_uid == b->uid;
}

static void
keep_it(struct broker *b, const struct agent_message *m, int fds[AGENT_FDS])
{
	struct template made = {
		.image = b->image,
		.place = b->place,
		.path = (char *)b->ask->path,
		.uid = b->uid,
		.pid = pid_of(b->fs, fds[1]),
		.session = b->session,
		.keeper = b->keeper,
		.t = { .control = fds[0],
		    .pidfd = fds[1],
		    .start = m->offer.start,
		    .end = m->offer.end },
	};

	if (b->place == NULL || !b->looked || !is_writers(b, made.pid) ||
	    (b->session != 0) != (b->keeper != 0))
		return;
	b->keeper = 0;
	memcpy(made.t.note, m->offer.note, sizeof(made.t.note) - 1);
	fds[0] = fds[1] = -1;
	pthread_mutex_lock(&b->fs->lock);
	/* Lent to it, and found to be dying, which may take a while. */
	templates_drop(&b->fs->templates, b->in_use);
	templates_put(&b->fs->templates, b->in_use);
	b->in_use = templates_add(&b->fs->templates, &made, snapfs_now());
	end_making(b);
	housekeeper_wake(b->fs->housekeeper);
	pthread_mutex_unlock(&b->fs->lock);
}

void
broker_message(struct broker *b, int sock, const struct agent_message *m,
    int fds[AGENT_FDS])
{
	if (m->type == AGENT_BECAME)
		became(b, sock);
	else if (m->type == AGENT_IMAGE)
		look_for_one(b, sock, m);
	else if (m->type == AGENT_TEMPLATE && fds[0] >= 0 && fds[1] >= 0)
		keep_it(b, m, fds);
	else if (m->type == AGENT_KEEPER && b->session != 0 && b->keeper == 0 &&
		 fds[0] > 0) {
		b->keeper = fds[0];
		fds[0] = -1;
	}
}

void
broker_end(struct broker *b, unsigned instances, pid_t first)
{
	pthread_mutex_lock(&b->fs->lock);
	if (b->in_use != NULL) {
		b->in_use->made += instances;
		b->in_use->due = b->in_use->due || b->ask->new_pid;
	}
	/* What was refused was not restored. */
	if (b->first && instances == 0)
		templates_unsee(
		    &b->fs->templates, &b->image, where_seen(b), b->uid);
	templates_put(&b->fs->templates, b->in_use);
	end_making(b);
	pthread_mutex_unlock(&b->fs->lock);
	if (b->keeper > 0)
		close(b->keeper);
	b->keeper = 0;
	b->in_use = NULL;
	/* If nothing came of it: it may be frozen, and then it would stay. */
	if ((instances == 0 && b->session == 0) ||
	    (first > 0 && first != b->spare.pid))
		spare_end(&b->spare);
	else
		spare_forget(&b->spare);
	free(b->place);
	b->place = NULL;
}
