#include "proc_parse.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ---- numbers ---- */

/* Parse a number and step past it; false if there is none or it is too big. */
static bool
number(const char **s, int base, uint64_t *v)
{
	const char *p = *s;
	char *end;

	while (*p == ' ' || *p == '\t')
		p++;
	if (!isxdigit((unsigned char)*p))
		return false;
	errno = 0;
	*v = strtoull(p, &end, base);
	if (end == p || errno != 0)
		return false;
	*s = end;
	return true;
}

static bool
number32(const char **s, int base, uint32_t *v)
{
	uint64_t w;

	if (!number(s, base, &w) || w > UINT32_MAX)
		return false;
	*v = (uint32_t)w;
	return true;
}

static bool
number_pid(const char **s, pid_t *pid)
{
	uint64_t w;

	if (!number(s, 10, &w) || w > INT_MAX)
		return false;
	*pid = (pid_t)w;
	return true;
}

static bool
number_signed(const char **s, int64_t *v)
{
	const char *p = *s;
	uint64_t w;
	bool minus;

	while (*p == ' ' || *p == '\t')
		p++;
	minus = *p == '-';
	if (minus)
		p++;
	if (!number(&p, 10, &w) || w > INT64_MAX)
		return false;
	*v = minus ? -(int64_t)w : (int64_t)w;
	*s = p;
	return true;
}

static const char *
next_line(const char *s)
{
	s = strchr(s, '\n');
	return s == NULL ? NULL : s + 1;
}

/* What follows "KEY:" at the beginning of a line, NULL if it is another. */
static const char *
after_key(const char *line, const char *key)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0 || line[n] != ':')
		return NULL;
	line += n + 1;
	while (*line == ' ' || *line == '\t')
		line++;
	return line;
}

/* ---- status ---- */

/* The kernel writes a newline and a backslash as \n and \\ here. */
static bool
status_name(const char *s, char comm[16])
{
	size_t n = 0;

	for (; *s != '\n' && *s != '\0'; s++) {
		char c = *s;

		if (c == '\\' && s[1] != '\0')
			c = *++s == 'n' ? '\n' : *s;
		if (n < 15)
			comm[n++] = c;
	}
	comm[n] = '\0';
	return true;
}

static bool
status_groups(const char *s, struct creds *c)
{
	gid_t *g;
	uint32_t v;

	free(c->groups);
	c->groups = NULL;
	c->ngroups = 0;
	while (number32(&s, 10, &v)) {
		g = process_grow(&c->groups, &c->ngroups, sizeof(*g));
		if (g == NULL)
			return false;
		*g = v;
	}
	return *s == ' ' || *s == '\n';
}

static bool
status_nspid(const char *s, struct proc_status *st)
{
	st->nspids = 0;
	while (number_pid(&s, &st->nspid))
		st->nspids++;
	return st->nspids > 0;
}

static bool
status_ids(const char *s, uint32_t *r, uint32_t *e, uint32_t *sv, uint32_t *f)
{
	return number32(&s, 10, r) && number32(&s, 10, e) &&
	       number32(&s, 10, sv) && number32(&s, 10, f);
}

enum status_key {
	NAME,
	UMASK,
	STATE,
	TGID,
	PID,
	PPID,
	TRACER,
	UID,
	GID,
	GROUPS,
	NSPID,
	VMLCK,
	THREADS,
	SIGPND,
	SHDPND,
	SIGBLK,
	SIGIGN,
	SIGCGT,
	CAPINH,
	CAPPRM,
	CAPEFF,
	CAPBND,
	CAPAMB,
	NNP,
	SECCOMP,
	SECCOMP_FILTERS,
	STATUS_KEYS
};

static const char *const status_keys[STATUS_KEYS] = { [NAME] = "Name",
	[UMASK] = "Umask",
	[STATE] = "State",
	[TGID] = "Tgid",
	[PID] = "Pid",
	[PPID] = "PPid",
	[TRACER] = "TracerPid",
	[UID] = "Uid",
	[GID] = "Gid",
	[GROUPS] = "Groups",
	[NSPID] = "NSpid",
	[VMLCK] = "VmLck",
	[THREADS] = "Threads",
	[SIGPND] = "SigPnd",
	[SHDPND] = "ShdPnd",
	[SIGBLK] = "SigBlk",
	[SIGIGN] = "SigIgn",
	[SIGCGT] = "SigCgt",
	[CAPINH] = "CapInh",
	[CAPPRM] = "CapPrm",
	[CAPEFF] = "CapEff",
	[CAPBND] = "CapBnd",
	[CAPAMB] = "CapAmb",
	[NNP] = "NoNewPrivs",
	[SECCOMP] = "Seccomp",
	[SECCOMP_FILTERS] = "Seccomp_filters" };

/* Kernel threads and zombies have no umask and no memory. */
static const uint32_t status_optional = 1u << UMASK | 1u << VMLCK |
					1u << NSPID | 1u << SECCOMP |
					1u << SECCOMP_FILTERS | 1u << CAPAMB;

static bool
status_value(enum status_key k, const char *s, struct proc_status *st)
{
	struct creds *c = &st->creds;
	uint32_t v;

	switch (k) {
	case NAME:
		return status_name(s, st->comm);
	case UMASK:
		return number32(&s, 8, &st->umask);
	case STATE:
		st->state = *s;
		return isalpha((unsigned char)*s);
	case TGID:
		return number_pid(&s, &st->tgid);
	case PID:
		return number_pid(&s, &st->pid);
	case PPID:
		return number_pid(&s, &st->ppid);
	case TRACER:
		return number_pid(&s, &st->tracer);
	case UID:
		return status_ids(s, &c->ruid, &c->euid, &c->suid, &c->fsuid);
	case GID:
		return status_ids(s, &c->rgid, &c->egid, &c->sgid, &c->fsgid);
	case GROUPS:
		return status_groups(s, c);
	case NSPID:
		return status_nspid(s, st);
	case VMLCK:
		if (!number(&s, 10, &st->vm_locked))
			return false;
		return !__builtin_mul_overflow(
		    st->vm_locked, 1024u, &st->vm_locked);
	case THREADS:
		return number32(&s, 10, &st->threads);
	case SIGPND:
		return number(&s, 16, &st->sigpnd);
	case SHDPND:
		return number(&s, 16, &st->shdpnd);
	case SIGBLK:
		return number(&s, 16, &st->sigblk);
	case SIGIGN:
		return number(&s, 16, &st->sigign);
	case SIGCGT:
		return number(&s, 16, &st->sigcgt);
	case CAPINH:
		return number(&s, 16, &c->cap_inh);
	case CAPPRM:
		return number(&s, 16, &c->cap_prm);
	case CAPEFF:
		return number(&s, 16, &c->cap_eff);
	case CAPBND:
		return number(&s, 16, &c->cap_bnd);
	case CAPAMB:
		return number(&s, 16, &c->cap_amb);
	case NNP:
		if (!number32(&s, 10, &v))
			return false;
		c->no_new_privs = v != 0;
		return true;
	case SECCOMP:
		return number32(&s, 10, &st->seccomp);
	case SECCOMP_FILTERS:
		return number32(&s, 10, &st->seccomp_filters);
	default:
		return false;
	}
}

int
proc_parse_status(const char *text, struct proc_status *st)
{
	uint32_t seen = 0;
	const char *line, *value;
	unsigned k = 0;

	memset(st, 0, sizeof(*st));
	for (line = text; line != NULL && *line != '\0';
	     line = next_line(line)) {
		/* The lines come in the order of the table. */
		for (unsigned j = k; j < STATUS_KEYS; j++) {
			value = after_key(line, status_keys[j]);
			if (value == NULL)
				continue;
			if (!status_value(j, value, st))
				goto bad;
			seen |= 1u << j;
			k = j + 1;
			break;
		}
	}
	if ((seen | status_optional) == (1u << STATUS_KEYS) - 1)
		return 0;
bad:
	free(st->creds.groups);
	st->creds.groups = NULL;
	return -EPROTO;
}

/* ---- stat ---- */

/* Fields are numbered as in proc(5); comm, the second, may hold anything. */
static void
stat_field(struct proc_stat *st, unsigned field, uint64_t v)
{
	switch (field) {
	case 4:
		st->ppid = (pid_t)v;
		break;
	case 5:
		st->pgid = (pid_t)v;
		break;
	case 6:
		st->sid = (pid_t)v;
		break;
	case 7:
		st->tty = (uint32_t)v;
		break;
	case 8:
		st->tty_pgid = (pid_t)v;
		break;
	case 9:
		st->flags = v;
		break;
	case 22:
		st->starttime = v;
		break;
	case 26:
		st->mm.start_code = v;
		break;
	case 27:
		st->mm.end_code = v;
		break;
	case 28:
		st->mm.start_stack = v;
		break;
	case 38:
		st->exit_signal = (int)v;
		break;
	case 45:
		st->mm.start_data = v;
		break;
	case 46:
		st->mm.end_data = v;
		break;
	case 47:
		st->mm.start_brk = v;
		break;
	case 52:
		st->exit_code = (int)v;
		break;
	case 48:
		st->mm.arg_start = v;
		break;
	case 49:
		st->mm.arg_end = v;
		break;
	case 50:
		st->mm.env_start = v;
		break;
	case 51:
		st->mm.env_end = v;
		break;
	}
}

int
proc_parse_stat(const char *text, struct proc_stat *st)
{
	const char *open = strchr(text, '('), *shut = strrchr(text, ')'), *s;
	unsigned field;
	int64_t v;
	uint64_t u;
	size_t n;

	memset(st, 0, sizeof(*st));
	if (open == NULL || shut == NULL || shut < open)
		return -EPROTO;
	n = (size_t)(shut - open - 1);
	if (n >= sizeof(st->comm))
		n = sizeof(st->comm) - 1;
	memcpy(st->comm, open + 1, n);
	if (shut[1] != ' ' || !isalpha((unsigned char)shut[2]))
		return -EPROTO;
	st->state = shut[2];
	s = shut + 3;
	for (field = 4; field <= 52; field++) {
		/* The limit of the RSS needs all 64 bits; tpgid may be -1. */
		if (number(&s, 10, &u))
			stat_field(st, field, u);
		else if (number_signed(&s, &v))
			stat_field(st, field, (uint64_t)v);
		else
			break;
	}
	return field == 53 ? 0 : -EPROTO;
}

/* ---- limits ---- */

static const char *const limit_names[PROCESS_NRLIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};

static bool
limit_value(const char **s, uint64_t *v)
{
	static const char unlimited[] = "unlimited";
	const char *p = *s;

	while (*p == ' ')
		p++;
	if (strncmp(p, unlimited, sizeof(unlimited) - 1) == 0) {
		*v = UINT64_MAX;
		*s = p + sizeof(unlimited) - 1;
		return true;
	}
	return number(s, 10, v);
}

int
proc_parse_limits(const char *text, struct proc_limit limits[PROCESS_NRLIMITS])
{
	uint32_t seen = 0;

	for (const char *line = text; line != NULL && *line != '\0';
	     line = next_line(line)) {
		for (unsigned i = 0; i < PROCESS_NRLIMITS; i++) {
			size_t n = strlen(limit_names[i]);
			const char *s = line + n;

			if (strncmp(line, limit_names[i], n) != 0 || *s != ' ')
				continue;
			if (!limit_value(&s, &limits[i].cur) ||
			    !limit_value(&s, &limits[i].max))
				return -EPROTO;
			seen |= 1u << i;
		}
	}
	return seen == (1u << PROCESS_NRLIMITS) - 1 ? 0 : -EPROTO;
}

/* ---- timers ---- */

/*
 *	ID: 0
 *	signal: 14/00007ffc7e1e0d70
 *	notify: signal/pid.1234
 *	ClockID: 0
 */
static bool
timer_signal(const char *s, struct posix_timer *t)
{
	int64_t v;

	if (!number_signed(&s, &v) || v < 0 || v > PROCESS_NSIG || *s++ != '/')
		return false;
	t->signo = (int32_t)v;
	return number(&s, 16, &t->sigval);
}

static bool
timer_notify(const char *s, struct posix_timer *t)
{
	if (strncmp(s, "signal/", 7) == 0)
		t->notify = SIGEV_SIGNAL;
	else if (strncmp(s, "none/", 5) == 0)
		t->notify = SIGEV_NONE;
	else if (strncmp(s, "thread/", 7) == 0)
		t->notify = SIGEV_THREAD;
	else
		return false;
	s = strchr(s, '/') + 1;
	if (strncmp(s, "tid.", 4) == 0) {
		t->notify |= SIGEV_THREAD_ID;
		s += 4;
		return number_pid(&s, &t->tid);
	}
	return strncmp(s, "pid.", 4) == 0;
}

static bool
timer_line(const char *line, struct posix_timer *t)
{
	const char *s;
	int64_t v;

	if ((s = after_key(line, "signal")) != NULL)
		return timer_signal(s, t);
	if ((s = after_key(line, "notify")) != NULL)
		return timer_notify(s, t);
	if ((s = after_key(line, "ClockID")) != NULL) {
		if (!number_signed(&s, &v) || v < INT_MIN || v > INT_MAX)
			return false;
		t->clockid = (int32_t)v;
	}
	return true;
}

int
proc_parse_timers(const char *text, struct posix_timer **timers, size_t *n)
{
	struct posix_timer *v = NULL, *t = NULL;
	size_t count = 0;
	const char *s;
	uint64_t id;

	for (const char *line = text; line != NULL && *line != '\0';
	     line = next_line(line)) {
		s = after_key(line, "ID");
		if (s != NULL) {
			t = process_grow(&v, &count, sizeof(*v));
			if (t == NULL) {
				free(v);
				return -ENOMEM;
			}
			if (!number(&s, 10, &id) || id > INT_MAX)
				goto bad;
			t->id = (int32_t)id;
		} else if (t == NULL || !timer_line(line, t)) {
			goto bad;
		}
	}
	*timers = v;
	*n = count;
	return 0;
bad:
	free(v);
	return -EPROTO;
}
