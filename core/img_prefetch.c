/*
 * img_prefetch.c - `prefetch`: what a process touched first when it was
 * restored, in this order.  A hint, which an image need not have.
 *
 *	START-END	bytes of `pages`, hexadecimal, whole pages
 */
#include <errno.h>

#include "img.h"

void
img_prefetch_write(struct text *t, const struct part *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		text_putf(t, "%lx-%lx\n", (unsigned long)v[i].start,
		    (unsigned long)v[i].end);
}

/* Each byte but once: so the work is bounded by the size of `pages`. */
static int
read_line(struct lines *l, struct process *p, char *line, uint64_t *left)
{
	struct part *part;
	uint64_t start, end;

	if (!text_range(line, &start, &end))
		return lines_fail(l, "not a range START-END of whole pages");
	if (end > p->pages_size)
		return lines_fail(l, "beyond the end of `pages'");
	if (end - start > *left)
		return lines_fail(l, "more bytes than `pages' has");
	*left -= end - start;
	part = process_grow(&p->prefetch, &p->nprefetch, sizeof(*part));
	if (part == NULL)
		return -ENOMEM;
	*part = (struct part){ start, end };
	return 0;
}

int
img_prefetch_read(struct lines *l, struct process *p)
{
	uint64_t left = p->pages_size;
	char *line;
	int r, err;

	while ((r = lines_next(l, &line)) > 0) {
		err = read_line(l, p, line, &left);
		if (err < 0)
			return err;
	}
	return r;
}
