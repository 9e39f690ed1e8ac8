#include "silence.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctx.h"
#include "proc.h"
#include "tcp_sock.h"

static const struct openfile *
find(const struct openfile *files, size_t n, const char *link)
{
	struct tcp_sock t;

	for (size_t i = 0; i < n; i++)
		if (strcmp(files[i].target, link) == 0 &&
		    strcmp(files[i].kind, "tcp") == 0 &&
		    tcp_sock_parse(&files[i], &t) && t.kind == TCP_CONNECTED)
			return &files[i];
	return NULL;
}

static int
add(struct snap_ctx *cx, struct silence *s, int pidfd, int number,
    const struct openfile *f)
{
	struct silenced *slot;
	int fd;

	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].file->id == f->id)
			return 0;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	if (fd < 0)
		return errno == EBADF || errno == ESRCH
			   ? 0
			   : snap_fail(cx, -errno, "its socket %d: %s", number,
				 strerror(errno));
	/* One that has ended since has nothing more to say. */
	if (!tcp_is_connected(fd)) {
		close(fd);
		return 0;
	}
	slot = process_grow(&s->v, &s->n, sizeof(*slot));
	if (slot == NULL) {
		close(fd);
		return snap_fail(cx, -ENOMEM, "no memory");
	}
	*slot = (struct silenced){ fd, f };
	return 0;
}

int
silence_collect(struct snap_ctx *cx, struct silence *s, pid_t pid, int pidfd,
    const struct openfile *files, size_t nfiles)
{
	const struct openfile *f;
	char link[64];
	struct dirent *e;
	int fd = proc_open(cx, pid, "fd", O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int err = 0;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : snap_fail(cx, -ENOMEM, "no memory");
	}
	while (err == 0 && (e = readdir(dir)) != NULL) {
		ssize_t n =
		    readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		f = find(files, nfiles, link);
		if (f != NULL)
			err = add(cx, s, pidfd, atoi(e->d_name), f);
	}
	closedir(dir);
	return err;
}

static int
compare_one(struct snap_ctx *cx, const struct openfile *f,
    const struct tcp_state *now, int err)
{
	struct tcp_sock t;

	(void)tcp_sock_parse(f, &t);
	if (err != 0)
		return snap_fail(cx, err, "fd %u: its connection: %s", f->id,
		    strerror(-err));
	if (now->in_seq == t.s.in_seq && now->out_seq == t.s.out_seq)
		return 0;
	return snap_fail(cx, -ESTALE,
	    "fd %u: the connection has gone on since the checkpoint: %u bytes "
	    "received, %u sent",
	    f->id, now->in_seq - t.s.in_seq, now->out_seq - t.s.out_seq);
}

int
silence_compare(struct snap_ctx *cx, const struct silence *s)
{
	struct tcp_state *v = calloc(s->n + 1, sizeof(*v));
	int *errs = calloc(s->n + 1, sizeof(*errs));
	int *fds = calloc(s->n + 1, sizeof(*fds)), err = 0;

	if (v == NULL || errs == NULL || fds == NULL)
		err = snap_fail(cx, -ENOMEM, "no memory");
	for (size_t i = 0; err == 0 && i < s->n; i++)
		fds[i] = s->v[i].fd;
	if (err == 0 && s->n > 0)
		err = tcp_peek(cx, fds, s->n, v, errs);
	for (size_t i = 0; err == 0 && i < s->n; i++)
		err = compare_one(cx, s->v[i].file, &v[i], errs[i]);
	for (size_t i = 0; v != NULL && i < s->n; i++)
		free(v[i].bytes);
	free(v);
	free(errs);
	free(fds);
	return err;
}

void
silence_end(struct silence *s, bool mute)
{
	int on = 1;

	for (size_t i = 0; i < s->n; i++) {
		if (mute)
			(void)setsockopt(s->v[i].fd, IPPROTO_TCP, TCP_REPAIR,
			    &on, sizeof(on));
		close(s->v[i].fd);
	}
	free(s->v);
	*s = (struct silence){ 0 };
}
