/*
 * img_unsupported.c - `unsupported`: what a restore would not bring back.
 *
 *	WHAT: WHY	"fd 7", "vma START-END", ...: the reason and the remedy,
 *			escaped
 */
#include <errno.h>
#include <string.h>

#include "img.h"

void
img_unsupported_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nunsupported; i++) {
		text_escape(t, p->unsupported[i].what);
		text_puts(t, ": ");
		text_escape(t, p->unsupported[i].why);
		text_puts(t, "\n");
	}
}

int
img_unsupported_read(struct lines *l, struct process *p)
{
	char *what, *why;
	int r;

	while ((r = lines_pair(l, &what, &why)) > 0) {
		if (!text_unescape(what) || !text_unescape(why))
			return lines_fail(l, "badly escaped");
		if (process_unsupported(p, what, "%s", why) < 0)
			return -ENOMEM;
	}
	return r;
}
