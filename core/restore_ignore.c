/*
 * restore_ignore.c - what `unsupported` names is not brought back, so the
 * restore is refused, unless whoever asked for it said that it may be missing
 * (`ignore=`): a thing as it is named there, or by the first word all of a
 * kind.
 *
 * A descriptor that may be missing is opened again if that can be done, and is
 * a dead one if not, see res_dead.c; a mapping is left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "fdkv.h"
#include "resource.h"
#include "restore.h"

/* `ignore` is a list of lines. */
static bool
is_ignored(const char *ignore, const char *what)
{
	size_t whole = strlen(what), word = strcspn(what, " "), n;

	for (const char *s = ignore; s != NULL && *s != '\0'; s += n) {
		n = strcspn(s, "\n");
		if ((n == whole || n == word) && strncmp(s, what, n) == 0)
			return true;
		n += s[n] == '\n';
	}
	return false;
}

/* Descriptors speak for themselves when they are opened. */
static int
mark_descriptors(struct restore *r)
{
	struct process *p = r->p;
	char what[24];

	for (size_t i = 0; i < p->nfds; i++) {
		struct openfile *f = &p->files[p->fds[i].file];

		snprintf(what, sizeof(what), "fd %d", p->fds[i].fd);
		if (is_ignored(r->opt->ignore, what) &&
		    openfile_get(f, "ignored") == NULL &&
		    openfile_put(f, "ignored", "1") != 0)
			return snap_fail(r->cx, -ENOMEM, "no memory");
	}
	return 0;
}

static void
drop_vma(struct process *p, size_t i)
{
	const struct vma v = p->vmas[i];
	size_t n = 0;

	for (size_t k = 0; k < p->nruns; k++)
		if (p->runs[k].start < v.start || p->runs[k].start >= v.end)
			p->runs[n++] = p->runs[k];
	p->nruns = n;
	free(p->vmas[i].path);
	free(p->vmas[i].numa);
	memmove(&p->vmas[i], &p->vmas[i + 1],
	    (p->nvmas - i - 1) * sizeof(p->vmas[0]));
	p->nvmas--;
}

/* Only what could not be mapped; other lines tell of less. */
static bool
drop_mapping(struct process *p, const char *what)
{
	uint64_t start, end;

	if (!kv_scan_text(&what, "vma ") ||
	    !kv_scan_u64(&what, 16, UINT64_MAX, &start) ||
	    !kv_scan_text(&what, "-") || !kv_number(what, 16, UINT64_MAX, &end))
		return false;
	for (size_t i = 0; i < p->nvmas; i++)
		if (p->vmas[i].start == start && p->vmas[i].end == end &&
		    (p->vmas[i].kind == VMA_OTHER ||
			(p->vmas[i].flags & (VMA_F_SHADOWSTACK | VMA_F_SYNC |
						VMA_F_IO)) != 0)) {
			drop_vma(p, i);
			return true;
		}
	return false;
}

int
restore_ignore(struct restore *r)
{
	int err = mark_descriptors(r);

	for (size_t i = 0; i < r->p->nunsupported && err == 0; i++) {
		const struct unsupported *u = &r->p->unsupported[i];

		if (strncmp(u->what, "fd ", 3) == 0)
			continue;
		if (!is_ignored(r->opt->ignore, u->what))
			return snap_fail(r->cx, -ENOTSUP,
			    "%s: %s; to restore all the same: ignore=%s",
			    u->what, u->why, u->what);
		(void)drop_mapping(r->p, u->what);
		restore_note(r, "%swithout %s",
		    r->where == NULL ? "" : r->where, u->what);
	}
	return err;
}
