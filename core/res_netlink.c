/*
 * res_netlink.c - netlink sockets: their protocol, number, and groups.  What
 * waits in them is the kernel's news of its past, and is not kept.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctx.h"
#include "fdkv.h"
#include "res.h"
#include "sock_option.h"

#define WORDS 32 /* of groups, 32 each */

static bool
netlink_match(const struct fd_probe *q)
{
	return S_ISSOCK(q->st.st_mode) && q->domain == AF_NETLINK;
}

static const int flags[] = { NETLINK_PKTINFO, NETLINK_BROADCAST_ERROR,
	NETLINK_NO_ENOBUFS, NETLINK_LISTEN_ALL_NSID, NETLINK_CAP_ACK,
	NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK };
#define NFLAGS (sizeof(flags) / sizeof(flags[0]))

static int
put_state(struct openfile *f, int fd)
{
	uint32_t groups[WORDS] = { 0 }, mask = 0;
	struct sockaddr_nl a = { 0 };
	socklen_t len = sizeof(a), size = sizeof(groups);
	int err, on;

	if (getsockname(fd, (void *)&a, &len) != 0)
		return -errno;
	err = openfile_put(f, "protocol", "%d", sock_int(fd, SO_PROTOCOL));
	if (err == 0)
		err = openfile_put(f, "portid", "%u", a.nl_pid);
	if (getsockopt(
		fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &size) != 0)
		size = 0;
	for (unsigned g = 0; err == 0 && g < 8 * size && g < 32 * WORDS; g++)
		if ((groups[g / 32] >> g % 32 & 1) != 0)
			err = openfile_put(f, "membership", "%u", g + 1);
	for (unsigned i = 0; i < NFLAGS; i++) {
		len = sizeof(on);
		if (getsockopt(fd, SOL_NETLINK, flags[i], &on, &len) == 0 &&
		    on != 0)
			mask |= 1u << i;
	}
	return err == 0 ? openfile_put(f, "netlink-flags", "%x", mask) : err;
}

static int
netlink_collect(struct snap_ctx *cx, const struct fd_probe *q,
    struct process *p, struct openfile *f)
{
	int fd = resource_getfd(cx, q), err;

	(void)p;
	if (fd < 0)
		return fd;
	err = put_state(f, fd);
	if (err == 0)
		err = openfile_put(f, "type", "%d", sock_int(fd, SO_TYPE));
	if (err == 0)
		err = sock_option_collect(cx, f, fd);
	close(fd);
	return err;
}

static int
netlink_check(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f)
{
	uint64_t n;
	int err = kv_need_u64(cx, f, "protocol", 10, 255);

	(void)p;
	if (err == 0)
		err = kv_need_u64(cx, f, "type", 10, SOCK_RAW);
	if (err == 0)
		err = kv_need_u64(cx, f, "portid", 10, UINT32_MAX);
	if (err == 0)
		err =
		    kv_need_u64(cx, f, "netlink-flags", 16, (1u << NFLAGS) - 1);
	for (size_t i = 0; i < f->nkv && err == 0; i++)
		if (strcmp(f->kv[i].key, "membership") == 0 &&
		    (!kv_number(f->kv[i].value, 10, 32 * WORDS, &n) || n == 0))
			err = kv_bad(cx, f, "membership");
	return err == 0 ? sock_option_check(cx, f) : err;
}

/* The number is the pid for the first of a process, which may be another. */
static void
bind_number(const struct fd_restore *r, const struct openfile *f, int fd)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK,
		.nl_pid = (uint32_t)kv_u64(f, "portid", 10) };

	if (a.nl_pid == 0 || bind(fd, (void *)&a, sizeof(a)) == 0)
		return;
	a.nl_pid = 0;
	(void)bind(fd, (void *)&a, sizeof(a));
	resource_note(r, "fd %u: a netlink socket with another number", f->id);
}

static int
netlink_restore(
    struct snap_ctx *cx, const struct fd_restore *r, const struct openfile *f)
{
	uint64_t mask = kv_u64(f, "netlink-flags", 16), group;
	int fd, on = 1, err = 0;

	fd = socket(AF_NETLINK, (int)kv_u64(f, "type", 10) | SOCK_CLOEXEC,
	    (int)kv_u64(f, "protocol", 10));
	if (fd < 0)
		return snap_fail(
		    cx, -errno, "fd %u: socket: %s", f->id, strerror(errno));
	bind_number(r, f, fd);
	for (unsigned i = 0; i < NFLAGS; i++)
		if ((mask >> i & 1) != 0 &&
		    setsockopt(fd, SOL_NETLINK, flags[i], &on, sizeof(on)) != 0)
			err = -errno;
	for (size_t i = 0; i < f->nkv; i++)
		if (strcmp(f->kv[i].key, "membership") == 0 &&
		    kv_number(f->kv[i].value, 10, 32 * WORDS, &group)) {
			int g = (int)group;

			if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP,
				&g, sizeof(g)) != 0)
				err = -errno;
		}
	if (err == 0)
		err = sock_option_begin(cx, r, f, fd);
	if (err == 0)
		err = sock_option_end(cx, r, f, fd);
	if (err == 0)
		return resource_set_flags(cx, f, fd);
	close(fd);
	return snap_fail(
	    cx, err, "fd %u: its netlink options: %s", f->id, strerror(-err));
}

const struct resource res_netlink = {
	.name = "netlink",
	.match = netlink_match,
	.collect = netlink_collect,
	.check = netlink_check,
	.restore = netlink_restore,
};
