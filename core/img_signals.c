/*
 * img_signals.c - `signals`: dispositions and what is pending.
 *
 *	action: SIGNO NAME HANDLER FLAGS RESTORER MASK
 *		one for each signal whose action is not all default, in order;
 *		HANDLER is default, ignore or an address
 *	pending: process SIGNO CODE HEX
 *	pending: TID SIGNO CODE HEX
 *		a signal that waits, directed at the process or at a thread, in
 *		the order of arrival; HEX is its siginfo, 128 bytes
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "img.h"

#define MAX_PENDING (1u << 20)

/* Linux x86-64; real-time signals are RTn, as the kernel counts from 32. */
static const char *const names[32] = { NULL, "HUP", "INT", "QUIT", "ILL",
	"TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
	"ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN",
	"TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
	"SYS" };

static void
signal_name(int signo, char buf[16])
{
	if (signo < 32)
		snprintf(buf, 16, "SIG%s", names[signo]);
	else
		snprintf(buf, 16, "RT%d", signo - 32);
}

static void
write_action(struct text *t, int signo, const struct ksigaction *a)
{
	char name[16];

	if (a->handler == 0 && a->flags == 0 && a->restorer == 0 &&
	    a->mask == 0)
		return;
	signal_name(signo, name);
	text_putf(t, "action: %d %s ", signo, name);
	if (a->handler <= 1)
		text_puts(t, a->handler == 0 ? "default" : "ignore");
	else
		text_putf(t, "0x%lx", (unsigned long)a->handler);
	text_putf(t, " 0x%lx 0x%lx 0x%016lx\n", (unsigned long)a->flags,
	    (unsigned long)a->restorer, (unsigned long)a->mask);
}

static void
write_pending(struct text *t, const struct siginfos *s, const char *who)
{
	for (size_t i = 0; i < s->n; i++) {
		text_putf(t, "pending: %s %d %d ", who, s->v[i].si_signo,
		    s->v[i].si_code);
		text_hex(t, &s->v[i], sizeof(s->v[i]));
		text_puts(t, "\n");
	}
}

void
img_signals_write(struct text *t, const struct process *p)
{
	char who[16];

	for (int i = 0; i < PROCESS_NSIG; i++)
		write_action(t, i + 1, &p->actions[i]);
	write_pending(t, &p->pending, "process");
	for (size_t i = 0; i < p->nthreads; i++) {
		snprintf(who, sizeof(who), "%d", (int)p->threads[i].tid);
		write_pending(t, &p->threads[i].pending, who);
	}
}

/* ---- reading ---- */

static bool
parse_signo(const char *s, int *signo)
{
	uint64_t v;

	if (s == NULL || !text_dec(s, PROCESS_NSIG, &v) || v == 0)
		return false;
	*signo = (int)v;
	return true;
}

static bool
parse_handler(const char *s, uint64_t *handler)
{
	if (strcmp(s, "default") == 0)
		*handler = 0;
	else if (strcmp(s, "ignore") == 0)
		*handler = 1;
	else
		return text_xnum(s, UINT64_MAX, handler);
	return true;
}

static int
read_action(struct lines *l, struct process *p, char *s, int *last)
{
	char *number = text_word(&s), *name = text_word(&s);
	char *handler = text_word(&s), *flags = text_word(&s);
	char *restorer = text_word(&s), *mask = text_word(&s);
	struct ksigaction *a;
	char want[16];
	int signo;

	if (mask == NULL || s != NULL || !parse_signo(number, &signo))
		return lines_fail(
		    l, "not SIGNO NAME HANDLER FLAGS RESTORER MASK");
	if (signo <= *last)
		return lines_fail(l, "signals are not in order");
	*last = signo;
	signal_name(signo, want);
	if (strcmp(name, want) != 0)
		return lines_fail(l, "signal %d is %s", signo, want);
	if (signo == SIGKILL || signo == SIGSTOP)
		return lines_fail(l, "%s has no action of its own", want);
	a = &p->actions[signo - 1];
	if (!parse_handler(handler, &a->handler) ||
	    !text_xnum(flags, UINT64_MAX, &a->flags) ||
	    !text_xnum(restorer, UINT64_MAX, &a->restorer) ||
	    !text_xnum(mask, UINT64_MAX, &a->mask))
		return lines_fail(l, "not a number in hex");
	return 0;
}

static int
pending_of(
    struct lines *l, struct process *p, const char *who, struct siginfos **q)
{
	struct thread *th;
	uint64_t tid;

	*q = &p->pending;
	if (strcmp(who, "process") == 0)
		return 0;
	th = text_dec(who, INT32_MAX, &tid) ? img_thread(p, (pid_t)tid) : NULL;
	if (th == NULL)
		return lines_fail(l, "neither process nor a thread's id");
	*q = &th->pending;
	return 0;
}

static int
read_pending(struct lines *l, struct process *p, char *s)
{
	char *who = text_word(&s), *number = text_word(&s);
	char *code_word = text_word(&s);
	struct siginfos *q;
	int64_t code;
	siginfo_t *si;
	int signo, err;

	if (code_word == NULL || s == NULL || !parse_signo(number, &signo) ||
	    !text_sdec(code_word, INT32_MIN, INT32_MAX, &code))
		return lines_fail(l, "not WHO SIGNO CODE HEX");
	err = pending_of(l, p, who, &q);
	if (err < 0)
		return err;
	if (q->n >= MAX_PENDING)
		return lines_fail(l, "more signals than can be pending");
	si = process_grow(&q->v, &q->n, sizeof(*si));
	if (si == NULL)
		return -ENOMEM;
	if (!text_unhex(s, si, sizeof(*si)))
		return lines_fail(l, "not a siginfo in hex");
	if (si->si_signo != signo || si->si_code != code)
		return lines_fail(l, "number and siginfo do not agree");
	return 0;
}

int
img_signals_read(struct lines *l, struct process *p)
{
	char *key, *value;
	int r, err, last = 0;

	while ((r = lines_pair(l, &key, &value)) > 0) {
		if (strcmp(key, "action") == 0)
			err = read_action(l, p, value, &last);
		else if (strcmp(key, "pending") == 0)
			err = read_pending(l, p, value);
		else
			err = lines_fail(l, "unknown key `%.32s'", key);
		if (err < 0)
			return err;
	}
	return r;
}
