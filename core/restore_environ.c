/*
 * restore_environ.c - an environment that was edited in the image.
 *
 * /proc/PID/environ is a view of memory: the strings, and somewhere below them
 * on the initial stack the list of pointers that main() was given,
 *
 *	start_stack: argc, argv[0] ... NULL, envp[0] ... NULL, auxv
 *
 * Both are rewritten, within the room that there is.  A program that has made
 * a list of its own (setenv(3)) goes on using that.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctx.h"
#include "restore.h"

#define MAX_ENVIRON (32u << 20)
#define MAX_VARIABLES 65536u

/* Bytes of the image's memory; false where they are not all in `pages`. */
static bool
image_memory(const struct process *p, uint64_t at, void *buf, size_t len)
{
	uint8_t *to = buf;

	for (size_t i = process_run_above(p, at); i < p->nruns && len > 0;
	     i++) {
		const struct run *run = &p->runs[i];
		size_t n;

		if (run->kind != RUN_HELD || at < run->start || at >= run->end)
			return false;
		n = run->end - at < len ? run->end - at : len;
		if (pread(run->src > 0 ? run->src_fd : p->pages_fd, to, n,
			(off_t)(run->offset + (at - run->start))) != (ssize_t)n)
			return false;
		at += n;
		to += n;
		len -= n;
	}
	return len == 0;
}

static int
add_patch(struct restore *r, uint64_t at, void *bytes, size_t len)
{
	struct patch *q;

	q = process_grow(&r->host.patches, &r->host.npatches, sizeof(*q));
	if (q == NULL) {
		free(bytes);
		return snap_fail(r->cx, -ENOMEM, "no memory");
	}
	q->at = at;
	q->bytes = bytes;
	q->len = len;
	return 0;
}

/*
 * Where envp is, and how many entries it has: all of them, and nothing else,
 * point into the environment.
 */
static bool
find_envp(const struct process *p, uint64_t *at, size_t *n)
{
	uint64_t word;

	if (!image_memory(p, p->mm.start_stack, &word, sizeof(word)) ||
	    word > MAX_ENVIRON / sizeof(word))
		return false;
	*at = p->mm.start_stack + (1 + word + 1) * sizeof(word);
	for (*n = 0; *n < MAX_VARIABLES; (*n)++) {
		if (!image_memory(
			p, *at + *n * sizeof(word), &word, sizeof(word)))
			return false;
		if (word == 0)
			return true;
		if (word < p->mm.env_start || word >= p->mm.env_end)
			return false;
	}
	return false;
}

static int
patch_envp(struct restore *r)
{
	const struct process *p = r->p;
	uint64_t at, *list;
	size_t n, used = 0;

	if (!find_envp(p, &at, &n)) {
		restore_note(
		    r, "environ: changed, but not in the program's own list");
		return 0;
	}
	list = calloc(n + 1, sizeof(*list));
	if (list == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	for (size_t i = 0; i < p->environ_len;
	     i += strnlen((char *)p->environ + i, p->environ_len - i) + 1) {
		if (used == n) {
			free(list);
			return snap_fail(r->cx, -E2BIG,
			    "environ: there is room for %zu variables, no more",
			    n);
		}
		list[used++] = p->mm.env_start + i;
	}
	return add_patch(r, at, list, n * sizeof(*list));
}

static int
patch_strings(struct restore *r, uint64_t room)
{
	const struct process *p = r->p;
	uint8_t *bytes;

	if (p->environ_len > room ||
	    (p->environ_len == room && room > 0 && p->environ[room - 1] != 0))
		return snap_fail(r->cx, -E2BIG,
		    "environ: it has %zu bytes, and there is room for %" PRIu64,
		    p->environ_len, room);
	bytes = calloc(1, room + 1);
	if (bytes == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	if (p->environ_len > 0)
		memcpy(bytes, p->environ, p->environ_len);
	return add_patch(r, p->mm.env_start, bytes, room);
}

int
restore_environ(struct restore *r)
{
	const struct process *p = r->p;
	uint64_t room = p->mm.env_end - p->mm.env_start;
	uint8_t *have;
	bool same;
	int err;

	if (p->mm.env_end <= p->mm.env_start || room > MAX_ENVIRON)
		return 0;
	have = malloc(room);
	if (have == NULL)
		return snap_fail(r->cx, -ENOMEM, "no memory");
	same = !image_memory(p, p->mm.env_start, have, room) ||
	       (room == p->environ_len && memcmp(have, p->environ, room) == 0);
	free(have);
	if (same)
		return 0;
	err = patch_strings(r, room);
	return err == 0 ? patch_envp(r) : err;
}
