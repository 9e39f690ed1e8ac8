#include "foreground.h"

#include "job.h"
#include "procinfo.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOK_MS 200 /* how often an interrupted writer is looked at */
#define BIT(sig) (UINT64_C(1) << ((sig)-1))

/* What a shell hears while it waits for a job, and waits on. */
#define HARMLESS (BIT(SIGCHLD) | BIT(SIGWINCH) | BIT(SIGCONT) | BIT(SIGURG))

struct waiting {
	struct snapfs *fs;
	fuse_req_t req;
	struct handle *h; /* open until this is answered */
	pid_t tid;
	int ended;     /* a duplicate of h->terminal */
	int interrupt; /* an eventfd */
};

void
foreground_set(struct handle *h, int fd)
{
	if (fd < 0)
		return;
	if (h->terminal >= 0)
		close(h->terminal);
	h->terminal = fd;
}

bool
foreground_busy(struct snapfs *fs, struct handle *h)
{
	struct pollfd p = { .events = POLLIN };
	bool busy;

	pthread_mutex_lock(&fs->lock);
	p.fd = h->terminal;
	busy = p.fd >= 0 && poll(&p, 1, 0) == 0;
	pthread_mutex_unlock(&fs->lock);
	return busy;
}

/* With the last duplicate closed, the relay knows that nobody waits. */
static void
lose(struct waiting *w)
{
	pthread_mutex_lock(&w->fs->lock);
	if (w->h->terminal >= 0)
		close(w->h->terminal);
	w->h->terminal = -1;
	pthread_mutex_unlock(&w->fs->lock);
}

/*
 * The kernel tells of the first signal only: from then on the writer is looked
 * at now and then.
 */
static void *
wait_main(void *arg)
{
	struct waiting *w = arg;
	struct pollfd p[2] = {
		{ .fd = w->ended, .events = POLLIN },
		{ .fd = w->interrupt, .events = POLLIN },
	};

	for (;;) {
		bool interrupted = p[1].fd < 0;

		(void)poll(p, 2, interrupted ? LOOK_MS : -1);
		if (p[0].revents != 0)
			break;
		if (p[1].revents != 0)
			p[1].fd = -1;
		p[1].revents = 0;
		if (p[1].fd < 0 &&
		    procinfo_signalled(w->fs->proc, w->tid, HARMLESS)) {
			lose(w);
			break;
		}
	}
	/* No interrupt function runs after this. */
	fuse_req_interrupt_func(w->req, NULL, NULL);
	fuse_reply_err(w->req, 0);
	close(w->ended);
	close(w->interrupt);
	free(w);
	return NULL;
}

static void
interrupted(fuse_req_t req, void *arg)
{
	struct waiting *w = arg;
	uint64_t one = 1;

	(void)req;
	if (write(w->interrupt, &one, sizeof(one)) < 0)
		return; /* it cannot be full */
}

/* NULL: there is nothing to wait for, or no memory for it. */
static struct waiting *
waiting_new(struct snapfs *fs, struct handle *h)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->fs = fs;
	w->h = h;
	w->interrupt = -1;
	pthread_mutex_lock(&fs->lock);
	w->ended =
	    h->terminal < 0 ? -1 : fcntl(h->terminal, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&fs->lock);
	if (w->ended >= 0)
		w->interrupt = eventfd(0, EFD_CLOEXEC);
	if (w->interrupt >= 0)
		return w;
	if (w->ended >= 0)
		close(w->ended);
	free(w);
	return NULL;
}

void
foreground_reply(struct snapfs *fs, fuse_req_t req, struct handle *h,
    const struct caller *who)
{
	struct waiting *w = waiting_new(fs, h);

	if (w == NULL) {
		fuse_reply_err(req, 0);
		return;
	}
	w->req = req;
	w->tid = who->tid;
	fuse_req_interrupt_func(req, interrupted, w);
	if (job_thread(wait_main, w, "foreground") == 0)
		return;
	fuse_req_interrupt_func(req, NULL, NULL);
	fuse_reply_err(req, 0);
	close(w->ended);
	close(w->interrupt);
	free(w);
}
