#include "image_sums.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "ctx.h"
#include "hash.h"
#include "pagesums.h"
#include "text.h"

#define DIGITS 32
#define CHUNK (1u << 20)
#define CHECKPOINT "checkpoint"

struct sum {
	char *path;
	XXH128_canonical_t hash;
	bool seen;
};

struct image_sums {
	struct sum *v; /* by path */
	size_t n;
	struct pagesums *pages;
};

/* ---- reading ---- */

/* Relative, without empty, "." or ".." components. */
static bool
safe_path(const char *s)
{
	if (strlen(s) >= PATH_MAX)
		return false;
	for (;;) {
		size_t n = strcspn(s, "/");

		if (n == 0 || (n == 1 && s[0] == '.') ||
		    (n == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		if (s[n] == '\0')
			return true;
		s += n + 1;
	}
}

static int
parse_line(struct lines *l, char *line, struct image_sums *s)
{
	struct sum *sum;

	if (strlen(line) < DIGITS + 3 || line[DIGITS] != ' ' ||
	    line[DIGITS + 1] != ' ')
		return lines_fail(l, "not HASH, two blanks, path");
	line[DIGITS] = '\0';
	sum = process_grow(&s->v, &s->n, sizeof(*sum));
	if (sum == NULL)
		return -ENOMEM;
	if (!text_unhex(line, sum->hash.digest, sizeof(sum->hash.digest)))
		return lines_fail(l, "not a sum of 32 hex digits");
	if (!safe_path(line + DIGITS + 2))
		return lines_fail(l, "a path that leads out of the image");
	sum->path = strdup(line + DIGITS + 2);
	return sum->path == NULL ? -ENOMEM : 0;
}

static int
by_path(const void *a, const void *b)
{
	const struct sum *s = a, *t = b;

	return strcmp(s->path, t->path);
}

static int
settle(struct lines *l, struct image_sums *s)
{
	if (s->n == 0 || strcmp(s->v[s->n - 1].path, CHECKPOINT) != 0)
		return lines_fail(l,
		    "the last line is not that of `checkpoint': the copy was "
		    "cut short");
	qsort(s->v, s->n, sizeof(*s->v), by_path);
	for (size_t i = 1; i < s->n; i++)
		if (strcmp(s->v[i].path, s->v[i - 1].path) == 0)
			return lines_fail(
			    l, "%.200s has two lines", s->v[i].path);
	return 0;
}

int
image_sums_parse(
    struct snap_ctx *cx, char *text, size_t len, struct image_sums **out)
{
	struct image_sums *s = calloc(1, sizeof(*s));
	struct lines l;
	char *line;
	int r, err = 0;

	if (s == NULL)
		return -ENOMEM;
	lines_init(&l, cx, "xxh128sums", text, len);
	while ((r = lines_next(&l, &line)) > 0 && err == 0)
		err = parse_line(&l, line, s);
	if (r < 0)
		err = r;
	if (err == 0)
		err = settle(&l, s);
	if (err < 0) {
		image_sums_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void
image_sums_free(struct image_sums *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->v[i].path);
	free(s->v);
	pagesums_free(s->pages);
	free(s);
}

void
image_sums_set_pages(struct image_sums *s, struct pagesums *pages)
{
	s->pages = pages;
}

const struct pagesums *
image_pagesums(const struct image_sums *s)
{
	return s == NULL ? NULL : s->pages;
}

static struct sum *
find(const struct image_sums *s, const char *path)
{
	struct sum key = { .path = (char *)path };

	return s->n == 0 ? NULL
			 : bsearch(&key, s->v, s->n, sizeof(*s->v), by_path);
}

bool
image_sums_is(
    const struct image_sums *s, const char *path, const uint8_t hash[16])
{
	const struct sum *sum = find(s, path);

	return sum != NULL &&
	       memcmp(sum->hash.digest, hash, sizeof(sum->hash.digest)) == 0;
}

bool
image_sums_has(struct image_sums *s, const char *path, bool mark)
{
	struct sum *sum = find(s, path);

	if (sum != NULL && mark)
		sum->seen = true;
	return sum != NULL;
}

static int
compare(struct snap_ctx *cx, const struct sum *sum, XXH128_hash_t hash)
{
	XXH128_canonical_t c;

	XXH128_canonicalFromHash(&c, hash);
	if (memcmp(&c, &sum->hash, sizeof(c)) == 0)
		return 0;
	return snap_fail(cx, -EBADMSG,
	    "%s: its checksum is wrong: damaged, or edited (then remove its "
	    "line from xxh128sums)",
	    sum->path);
}

int
image_sums_check(struct snap_ctx *cx, struct image_sums *s, const char *path,
    const void *bytes, size_t len)
{
	struct sum *sum = find(s, path);

	if (sum == NULL)
		return 0;
	sum->seen = true;
	return compare(cx, sum, hash_of(bytes, len));
}

int
image_sums_rest(struct snap_ctx *cx, const struct image_sums *s, int dir)
{
	struct stat st;

	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i].seen)
			continue;
		if (fstatat(dir, s->v[i].path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			return snap_fail(cx, -EBADMSG,
			    "%s: missing, and xxh128sums names it",
			    s->v[i].path);
	}
	return 0;
}

/* ---- verifying what is large ---- */

static int
hash_fd(int fd, uint64_t size, char *buf, XXH3_state_t *state)
{
	ssize_t n;

	XXH3_128bits_reset(state);
	for (uint64_t off = 0; off<size; off += n> 0 ? (uint64_t)n : 0) {
		n = pread(fd, buf, CHUNK, (off_t)off);
		if (n == 0)
			return -EBADMSG;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			hash_update(state, buf, (size_t)n);
	}
	return 0;
}

struct verifier {
	struct snap_ctx *cx;
	const struct image_sums *sums;
	char *buf; /* CHUNK bytes */
	XXH3_state_t *state;
};

static int
verify(struct verifier *v, const char *path, int fd, uint64_t size)
{
	const struct sum *sum = find(v->sums, path);
	int err;

	if (sum == NULL)
		return 0;
	err = hash_fd(fd, size, v->buf, v->state);
	if (err < 0)
		return snap_fail(v->cx, err,
		    "%s: cannot be read to its end: %s", path, strerror(-err));
	return compare(v->cx, sum, XXH3_128bits_digest(v->state));
}

/* ---- pieces of `pages` ---- */

static int
verify_piece(struct verifier *v, const struct process *p, size_t i)
{
	const struct pagesums *s = v->sums->pages;
	uint64_t len = pagesums_bytes(s, i), at = 0;
	ssize_t n;

	while (at < len) {
		n = pread(p->pages_fd, v->buf + at, len - at,
		    (off_t)(i * s->piece + at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return snap_fail(v->cx, n < 0 ? -errno : -EBADMSG,
			    "pages: cannot be read to its end: %s",
			    n < 0 ? strerror(errno) : "it is shorter now");
		at += (uint64_t)n;
	}
	return pagesums_good(s, i, v->buf)
		   ? 0
		   : snap_fail(v->cx, -EBADMSG, PAGESUMS_BAD, i * s->piece);
}

static int
verify_pieces(struct verifier *v, const struct process *p, const bool *pieces)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < v->sums->pages->n; i++)
		if (pieces[i])
			err = verify_piece(v, p, i);
	return err;
}

static int
verify_pages(struct verifier *v, const struct process *p, const bool *pieces)
{
	if (pieces != NULL && v->sums->pages != NULL)
		return verify_pieces(v, p, pieces);
	return verify(v, "pages", p->pages_fd, p->pages_size);
}

static int
verify_image(struct snap_ctx *cx, const struct process *p,
    const struct image_sums *sums, bool pages, const bool *pieces)
{
	struct verifier v = { cx, sums, malloc(CHUNK), XXH3_createState() };
	char path[32];
	int err = 0;

	if (v.buf == NULL || v.state == NULL)
		err = snap_fail(cx, -ENOMEM, "verifying: out of memory");
	if (err == 0 && pages)
		err = verify_pages(&v, p, pieces);
	for (size_t i = 0; err == 0 && i < p->ncontents; i++) {
		if (p->contents[i].up > 0)
			continue;
		snprintf(path, sizeof(path), "files/%u", p->contents[i].id);
		err = verify(&v, path, p->contents[i].fd, p->contents[i].size);
	}
	free(v.buf);
	XXH3_freeState(v.state);
	return err;
}

int
image_verify(struct snap_ctx *cx, const struct process *p,
    const struct image_sums *sums, const bool *pieces)
{
	return verify_image(cx, p, sums, true, pieces);
}

int
image_verify_contents(
    struct snap_ctx *cx, const struct process *p, const struct image_sums *sums)
{
	return verify_image(cx, p, sums, false, NULL);
}
