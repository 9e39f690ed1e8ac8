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
#include <unistd.h>

static void
answer(int sock, struct agent_message *m, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	m->type = AGENT_OFFER;
	if (fd >= 0) {
		h.msg_control = &control;
		h.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	}
	/* If it is dead, its end is seen elsewhere. */
	(void)!sendmsg(sock, &h, MSG_NOSIGNAL);
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
	answer(sock, &m, -1);
}

/* Without laziness there is nothing to lose by making one at once. */
static bool
asks_for_many(const struct restore_request *q)
{
	return q->template == TEMPLATE_YES || q->instances != 0 ||
	       (q->new_pid && q->eager);
}

static void
look_for_one(struct broker *b, int sock, const struct agent_message *asked)
{
	struct templates *all = &b->fs->templates;
	struct agent_message m = { .offer.what = OFFER_NONE };
	bool wanted = asks_for_many(b->ask);
	int fd = -1;

	b->looked = true;
	b->image = asked->offer.image;
	pthread_mutex_lock(&b->fs->lock);
	if (b->place != NULL && b->in_use == NULL)
		b->in_use =
		    templates_get(all, &b->image, b->place, snapfs_now());
	if (b->in_use != NULL) {
		m.offer.what = OFFER_USE;
		m.offer.start = b->in_use->t.start;
		m.offer.end = b->in_use->t.end;
		memcpy(m.offer.note, b->in_use->t.note, sizeof(m.offer.note));
		fd = b->in_use->t.control;
	} else if (b->place != NULL && (wanted || b->ask->new_pid) &&
		   templates_worth(all, &b->image, b->uid, wanted)) {
		m.offer.what = OFFER_MAKE;
	}
	pthread_mutex_unlock(&b->fs->lock);
	answer(sock, &m, fd); /* in use, so it is not closed */
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
		.t = { .control = fds[0],
		    .pidfd = fds[1],
		    .start = m->offer.start,
		    .end = m->offer.end },
	};

	if (b->place == NULL || !b->looked || !is_writers(b, made.pid))
		return;
	memcpy(made.t.note, m->offer.note, sizeof(made.t.note) - 1);
	fds[0] = fds[1] = -1;
	pthread_mutex_lock(&b->fs->lock);
	/* Lent to it, and found to be dying, which may take a while. */
	templates_drop(&b->fs->templates, b->in_use);
	templates_put(&b->fs->templates, b->in_use);
	b->in_use = templates_add(&b->fs->templates, &made, snapfs_now());
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
}

void
broker_end(struct broker *b, unsigned instances)
{
	pthread_mutex_lock(&b->fs->lock);
	if (b->in_use != NULL)
		b->in_use->made += instances;
	templates_put(&b->fs->templates, b->in_use);
	pthread_mutex_unlock(&b->fs->lock);
	b->in_use = NULL;
	free(b->place);
	b->place = NULL;
}
