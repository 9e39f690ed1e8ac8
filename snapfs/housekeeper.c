#include "housekeeper.h"

#include "giveback.h"
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Memory is short when less than this part of it can be had. */
#define SHORT_PART 16
#define LOOK_MS 1000 /* how often that is looked at, if there are templates; */
		     /* and what was freed */

struct housekeeper {
	struct snapfs *fs;
	int epoll;
	int wake;    /* an eventfd: there are views again */
	bool asleep; /* under the lock: waits without looking at the clock */
	bool freed;  /* under the lock: there may be memory to give back */
	uint64_t gave_back; /* when it was looked at for the last time */
};

static bool
has_exited(const struct reader *r)
{
	struct pollfd p = { .fd = r->pidfd, .events = POLLIN };

	return r->pidfd >= 0 && poll(&p, 1, 0) == 1;
}

void
housekeeper_wake(struct housekeeper *h)
{
	uint64_t one = 1;

	if (h->asleep && write(h->wake, &one, sizeof(one)) > 0)
		h->asleep = false;
}

void
housekeeper_freed(struct housekeeper *h)
{
	uint64_t one = 1;

	h->freed = true;
	if (write(h->wake, &one, sizeof(one)) > 0)
		h->asleep = false;
}

void
housekeeper_spares(struct housekeeper *h)
{
	uint64_t one = 1;

	(void)!write(h->wake, &one, sizeof(one));
}

/* The pid may be another reader's by now: so ask the pidfd. */
static struct reader *
exited_reader(struct view_table *t, pid_t pid)
{
	struct reader *r;

	LIST_FOREACH (r, &t->readers[(unsigned)pid % VIEW_BUCKETS], link)
		if (r->id.pid == pid && !r->gone && has_exited(r))
			return r;
	return NULL;
}

void
housekeeper_watch(struct housekeeper *h, struct reader *r)
{
	struct epoll_event ev = {
		.events = EPOLLIN,
		.data.u64 = (uint64_t)r->id.pid,
	};

	housekeeper_wake(h);
	if (r->pidfd >= 0)
		return;
	/* It is blocked in a request, so it is there; else its time runs out. */
	r->pidfd = (int)syscall(SYS_pidfd_open, r->id.pid, 0);
	if (r->pidfd >= 0)
		epoll_ctl(h->epoll, EPOLL_CTL_ADD, r->pidfd, &ev);
}

void
housekeeper_unwatch(void *arg, struct reader *r)
{
	(void)arg;
	/* Nothing else has this descriptor, so epoll forgets it too. */
	if (r->pidfd >= 0)
		close(r->pidfd);
	r->pidfd = -1;
}

static void
handle(struct housekeeper *h, const struct epoll_event *ev)
{
	struct reader *r;
	uint64_t n;

	if (ev->data.u64 == 0) {
		if (read(h->wake, &n, sizeof(n)) < 0)
			return;
		return;
	}
	r = exited_reader(&h->fs->views, (pid_t)ev->data.u64);
	if (r == NULL)
		return;
	/* What is open may stay for long, and this event would come again. */
	epoll_ctl(h->epoll, EPOLL_CTL_DEL, r->pidfd, NULL);
	view_reader_gone(&h->fs->views, r);
}

/* kB of /proc/meminfo; 0 if it is not said. */
static uint64_t
meminfo(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p == NULL ? 0 : strtoull(p + strlen(key), NULL, 10);
}

static bool
memory_is_short(const struct snapfs *fs)
{
	char text[4096];
	int fd = openat(fs->proc, "meminfo", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return meminfo(text, "MemAvailable:") <
	       meminfo(text, "MemTotal:") / SHORT_PART;
}

static int
sooner(int timeout, int ms)
{
	return timeout < 0 || timeout > ms ? ms : timeout;
}

/*
 * They are there for speed only: when memory is short their spares go, then one
 * at each look, the least recently used first.
 */
static int
look_after_templates(struct snapfs *fs, int timeout)
{
	templates_sweep(&fs->templates);
	if (fs->templates.n == 0)
		return timeout;
	if (!memory_is_short(fs))
		templates_bear(&fs->templates);
	else if (!templates_drop_spares(&fs->templates))
		templates_drop_one(&fs->templates);
	return fs->templates.n == 0 ? timeout : sooner(timeout, LOOK_MS);
}

/* Not at each end of a checkpoint: is it time?  Else *timeout says when. */
static bool
is_time_to_give_back(struct housekeeper *h, int *timeout)
{
	uint64_t now = snapfs_now(), next = h->gave_back + LOOK_MS;

	if (!h->freed)
		return false;
	if (now < next) {
		*timeout = sooner(*timeout, (int)(next - now));
		return false;
	}
	h->freed = false;
	h->gave_back = now;
	return true;
}

/* There is one where there are templates.  Without the lock: it takes a while. */
static void
look_after_standby(struct snapfs *fs)
{
	struct standby s = { 0 };
	bool wanted;

	pthread_mutex_lock(&fs->lock);
	wanted = fs->templates.n > 0 && !fs->closing;
	if (!wanted)
		s = standby_take(&fs->standby);
	wanted = wanted && fs->standby.pid == 0;
	pthread_mutex_unlock(&fs->lock);
	standby_end(&s);
	/* By this thread, which does not end: so it does not, either. */
	if (!wanted || standby_begin(&s) < 0)
		return;
	pthread_mutex_lock(&fs->lock);
	fs->standby = s;
	pthread_mutex_unlock(&fs->lock);
}

static void *
housekeeper_main(void *arg)
{
	struct housekeeper *h = arg;
	struct snapfs *fs = h->fs;
	struct epoll_event ev[16];
	int i, n, timeout = -1;
	bool give_back;

	for (;;) {
		n = epoll_wait(h->epoll, ev, 16, timeout);
		pthread_mutex_lock(&fs->lock);
		for (i = 0; i < n; i++)
			handle(h, &ev[i]);
		timeout = view_expire(&fs->views, snapfs_now());
		timeout = look_after_templates(fs, timeout);
		give_back = is_time_to_give_back(h, &timeout);
		h->asleep = timeout < 0;
		pthread_mutex_unlock(&fs->lock);
		look_after_standby(fs);
		if (give_back)
			giveback_some(fs->proc);
	}
	return NULL;
}

struct housekeeper *
housekeeper_new(struct snapfs *fs)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct housekeeper *h = calloc(1, sizeof(*h));
	int err;

	if (h == NULL)
		return NULL;
	h->fs = fs;
	h->asleep = true;
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->epoll < 0 || h->wake < 0 ||
	    epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wake, &ev) < 0) {
		err = errno;
		goto fail;
	}
	err = -job_thread(housekeeper_main, h, "housekeeper");
	if (err == 0)
		return h;
fail:
	if (h->epoll >= 0)
		close(h->epoll);
	if (h->wake >= 0)
		close(h->wake);
	free(h);
	errno = err;
	return NULL;
}
