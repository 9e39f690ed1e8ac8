/*
 * img_zombies.c - `zombies`: children that have ended and that the process has
 * not waited for.
 *
 *	PID PGID SID STATUS SIGNAL NAME
 *			STATUS as wait(2) gives it, in hex; SIGNAL is what the
 *			parent got, or 0; the name is escaped
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "img.h"

#define PID_MAX (1 << 22)

void
img_zombies_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nzombies; i++) {
		const struct zombie *z = &p->zombies[i];

		text_putf(t, "%d %d %d 0x%x %u ", (int)z->pid, (int)z->pgid,
		    (int)z->sid, (unsigned)z->status, z->exit_signal);
		text_escape(t, z->comm);
		text_puts(t, "\n");
	}
}

static bool
parse_pid(char **s, pid_t *pid)
{
	char *w = text_word(s);
	uint64_t v;

	if (w == NULL || !text_dec(w, PID_MAX, &v))
		return false;
	*pid = (pid_t)v;
	return true;
}

/* An exit status, or a signal that ends a process. */
static bool
parse_status(char **s, int32_t *status)
{
	char *w = text_word(s);
	uint64_t v;

	if (w == NULL || !text_xnum(w, 0xffff, &v))
		return false;
	*status = (int32_t)v;
	return (v & 0x7f) == 0 ? (v & 0x80) == 0
			       : v <= 0xff && (v & 0x7f) <= PROCESS_NSIG;
}

static int
read_line(struct lines *l, struct process *p, char *s)
{
	struct zombie *z;
	uint64_t signal;
	char *w;

	z = process_grow(&p->zombies, &p->nzombies, sizeof(*z));
	if (z == NULL)
		return -ENOMEM;
	if (!parse_pid(&s, &z->pid) || z->pid == 0 ||
	    !parse_pid(&s, &z->pgid) || !parse_pid(&s, &z->sid))
		return lines_fail(l, "not PID PGID SID");
	if (!parse_status(&s, &z->status))
		return lines_fail(l, "not the status of a process that ended");
	w = text_word(&s);
	if (w == NULL || !text_dec(w, PROCESS_NSIG, &signal))
		return lines_fail(l, "not a signal");
	z->exit_signal = (uint32_t)signal;
	if (s == NULL || !text_unescape(s))
		return lines_fail(l, "not a name");
	snprintf(z->comm, sizeof(z->comm), "%.15s", s);
	return 0;
}

int
img_zombies_read(struct lines *l, struct process *p)
{
	char *line;
	int r, err;

	while ((r = lines_next(l, &line)) > 0) {
		err = read_line(l, p, line);
		if (err < 0)
			return err;
		if (p->nzombies > FAMILY_MAX)
			return lines_fail(l, "more than there may be");
	}
	return r;
}
