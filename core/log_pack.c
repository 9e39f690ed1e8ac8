/*
 * log_pack.c - a log record as bytes, and back.
 *
 * A head, then eight bytes an argument; of a string these are its length, and
 * its bytes follow behind all arguments, each string with a NUL.
 */
#include "snap_log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define WAS_NULL UINT64_MAX
#define TYPE(r, i) ((r)->types >> 4 * (i)&15)

struct packed {
	uint64_t time;
	uint32_t format;
	uint32_t types;
	uint32_t size; /* of all of it, without what is filled up */
	uint8_t level;
	uint8_t nargs;
	uint8_t zero[2];
};

_Static_assert(sizeof(struct packed) == 24, "no holes");

uint64_t
snap_log_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Its length, after what of it there is room for was put to `at`. */
static uint64_t
pack_string(char *buf, size_t *at, const char *s)
{
	size_t n, room = SNAP_LOG_PACKED_MAX - *at;

	if (s == NULL || room == 0)
		return WAS_NULL;
	n = strnlen(s, room - 1);
	memcpy(buf + *at, s, n);
	buf[*at + n] = '\0';
	*at += n + 1;
	return n;
}

size_t
snap_log_pack(const struct snap_log_record *r, void *buf)
{
	struct packed head = {
		.time = r->time,
		.format = r->format,
		.types = r->types,
		.level = (uint8_t)r->level,
		.nargs = (uint8_t)r->nargs,
	};
	char *at = (char *)buf + sizeof(head);
	size_t end = sizeof(head) + r->nargs * sizeof(r->args[0]);
	uint64_t arg;

	for (unsigned i = 0; i < r->nargs; i++, at += sizeof(arg)) {
		arg = r->args[i];
		if (TYPE(r, i) == SNAP_LOG_STR)
			arg = pack_string(
			    buf, &end, (const char *)(uintptr_t)arg);
		memcpy(at, &arg, sizeof(arg));
	}
	head.size = (uint32_t)end;
	memcpy(buf, &head, sizeof(head));
	/* Zeros up to the next eight bytes: all of it is a multiple of 8. */
	memset((char *)buf + end, 0, -end % 8);
	return end + -end % 8;
}

/* The string of `len` bytes at `at`: its address as an argument. */
static int
unpack_string(
    const char *buf, size_t size, size_t *at, uint64_t len, uint64_t *arg)
{
	const char *s = buf + *at;

	if (len == WAS_NULL) {
		*arg = 0;
		return 0;
	}
	if (len >= size - *at || strnlen(s, len + 1) != len)
		return -EBADMSG;
	*arg = (uint64_t)(uintptr_t)s;
	*at += len + 1;
	return 0;
}

int
snap_log_unpack(struct snap_log_record *r, const void *buf, size_t size)
{
	struct packed head;
	size_t at;
	int err = 0;

	if (size < sizeof(head))
		return -EBADMSG;
	memcpy(&head, buf, sizeof(head));
	at = sizeof(head) + head.nargs * sizeof(r->args[0]);
	if (head.nargs > SNAP_LOG_ARGS || head.level > SNAP_DEBUG ||
	    head.size > size || at > head.size)
		return -EBADMSG;
	*r = (struct snap_log_record){
		.time = head.time,
		.format = head.format,
		.types = head.types,
		.level = (enum snap_level)head.level,
		.nargs = head.nargs,
	};
	memcpy(r->args, (const char *)buf + sizeof(head),
	    head.nargs * sizeof(r->args[0]));
	for (unsigned i = 0; err == 0 && i < r->nargs; i++)
		if (TYPE(r, i) == SNAP_LOG_STR)
			err = unpack_string(
			    buf, head.size, &at, r->args[i], &r->args[i]);
	return err;
}
