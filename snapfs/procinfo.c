#include "procinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PF_KTHREAD 0x00200000u
#define READ_MAX (4u << 20) /* of one /proc file: groups can be many */

/* ---- stat ---- */

int
procinfo_parse_stat(const char *text, struct procinfo_stat *out)
{
	const char *p;
	unsigned flags;

	memset(out, 0, sizeof(*out));
	/* The name may hold anything, ')' and spaces too: the last ')'. */
	p = strrchr(text, ')');
	if (p == NULL || sscanf(text, "%d", &out->pid) != 1)
		return -EPROTO;
	if (sscanf(p + 1,
		" %c %d %d %d %d %d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
		"%*d %*d %*d %" SCNu64,
		&out->state, &out->ppid, &out->pgid, &out->sid, &out->tty,
		&out->tty_pgid, &flags, &out->start) != 8)
		return -EPROTO;
	out->kernel = (flags & PF_KTHREAD) != 0;
	out->start &= PROC_START_MASK;
	return 0;
}

/* ---- status ---- */

/* What follows `key:` on a line of its own, NULL if there is none. */
static const char *
value_of(const char *text, const char *key)
{
	size_t len = strlen(key);
	const char *line;

	for (line = text; line != NULL && *line != '\0';) {
		if (strncmp(line, key, len) == 0 && line[len] == ':')
			return line + len + 1;
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return NULL;
}

static bool
hex_of(const char *text, const char *key, uint64_t *out)
{
	const char *v = value_of(text, key);

	return v != NULL && sscanf(v, "%" SCNx64, out) == 1;
}

static int
parse_groups(const char *v, struct procinfo_status *out)
{
	size_t room = 0;
	gid_t *grown;
	char *end;
	unsigned long g;

	for (;; v = end) {
		while (*v == ' ' || *v == '\t')
			v++;
		if (*v < '0' || *v > '9')
			return 0;
		g = strtoul(v, &end, 10);
		if (out->ngroups == room) {
			room = room ? room * 2 : 16;
			grown = reallocarray(
			    out->groups, room, sizeof(*out->groups));
			if (grown == NULL)
				return -ENOMEM;
			out->groups = grown;
		}
		out->groups[out->ngroups++] = (gid_t)g;
	}
}

int
procinfo_parse_status(const char *text, struct procinfo_status *out)
{
	const char *v;
	int err = -EPROTO;

	memset(out, 0, sizeof(*out));
	out->umask = 022;
	v = value_of(text, "Tgid");
	if (v == NULL || sscanf(v, "%d", &out->tgid) != 1)
		return err;
	v = value_of(text, "TracerPid");
	if (v == NULL || sscanf(v, "%d", &out->tracer) != 1)
		return err;
	v = value_of(text, "Uid");
	if (v == NULL || sscanf(v, "%u %u %u %u", &out->uid[0], &out->uid[1],
			     &out->uid[2], &out->uid[3]) != 4)
		return err;
	v = value_of(text, "Gid");
	if (v == NULL || sscanf(v, "%u %u %u %u", &out->gid[0], &out->gid[1],
			     &out->gid[2], &out->gid[3]) != 4)
		return err;
	if (!hex_of(text, "CapInh", &out->cap_inh) ||
	    !hex_of(text, "CapPrm", &out->cap_prm) ||
	    !hex_of(text, "CapEff", &out->cap_eff) ||
	    !hex_of(text, "CapBnd", &out->cap_bnd))
		return err;
	hex_of(text, "CapAmb", &out->cap_amb);
	v = value_of(text, "Umask");
	if (v != NULL)
		sscanf(v, "%o", &out->umask);
	v = value_of(text, "NoNewPrivs");
	out->no_new_privs = v != NULL && strtol(v, NULL, 10) != 0;
	v = value_of(text, "Seccomp");
	if (v != NULL)
		sscanf(v, "%u", &out->seccomp);
	v = value_of(text, "Seccomp_filters");
	if (v != NULL)
		sscanf(v, "%u", &out->seccomp_filters);
	v = value_of(text, "Groups");
	err = v == NULL ? -EPROTO : parse_groups(v, out);
	if (err < 0)
		procinfo_status_fini(out);
	return err;
}

void
procinfo_status_fini(struct procinfo_status *st)
{
	free(st->groups);
	st->groups = NULL;
	st->ngroups = 0;
}

/* ---- limits ---- */

static const struct {
	const char *name;
	int resource;
} limit_names[] = {
	{ "Max cpu time", RLIMIT_CPU },
	{ "Max file size", RLIMIT_FSIZE },
	{ "Max data size", RLIMIT_DATA },
	{ "Max stack size", RLIMIT_STACK },
	{ "Max core file size", RLIMIT_CORE },
	{ "Max resident set", RLIMIT_RSS },
	{ "Max processes", RLIMIT_NPROC },
	{ "Max open files", RLIMIT_NOFILE },
	{ "Max locked memory", RLIMIT_MEMLOCK },
	{ "Max address space", RLIMIT_AS },
	{ "Max file locks", RLIMIT_LOCKS },
	{ "Max pending signals", RLIMIT_SIGPENDING },
	{ "Max msgqueue size", RLIMIT_MSGQUEUE },
	{ "Max nice priority", RLIMIT_NICE },
	{ "Max realtime priority", RLIMIT_RTPRIO },
	{ "Max realtime timeout", RLIMIT_RTTIME },
};

static bool
parse_limit(const char **p, rlim_t *out)
{
	char *end;

	*p += strspn(*p, " ");
	if (strncmp(*p, "unlimited", 9) == 0) {
		*out = RLIM_INFINITY;
		*p += 9;
		return true;
	}
	if (**p < '0' || **p > '9')
		return false;
	*out = strtoull(*p, &end, 10);
	*p = end;
	return true;
}

int
procinfo_parse_limits(const char *text, struct rlimit out[RLIM_NLIMITS])
{
	const char *line, *p;
	size_t i, len;
	struct rlimit *r;

	for (i = 0; i < sizeof(limit_names) / sizeof(limit_names[0]); i++) {
		len = strlen(limit_names[i].name);
		for (line = text; line != NULL; line = strchr(line, '\n')) {
			line += *line == '\n';
			if (strncmp(line, limit_names[i].name, len) != 0 ||
			    line[len] != ' ')
				continue;
			p = line + len;
			r = &out[limit_names[i].resource];
			if (!parse_limit(&p, &r->rlim_cur) ||
			    !parse_limit(&p, &r->rlim_max))
				return -EPROTO;
			break;
		}
	}
	return 0;
}

/* ---- memory ---- */

int
procinfo_parse_private(const char *text, uint64_t *bytes)
{
	const char *clean = value_of(text, "Private_Clean");
	const char *dirty = value_of(text, "Private_Dirty");
	uint64_t a, b;

	if (clean == NULL || sscanf(clean, "%" SCNu64, &a) != 1 ||
	    dirty == NULL || sscanf(dirty, "%" SCNu64, &b) != 1)
		return -EPROTO;
	*bytes = (a + b) << 10;
	return 0;
}

int
procinfo_parse_resident(const char *text, uint64_t *bytes)
{
	const char *rss = value_of(text, "Rss");
	uint64_t kb;

	if (rss == NULL || sscanf(rss, "%" SCNu64, &kb) != 1)
		return -EPROTO;
	*bytes = kb << 10;
	return 0;
}

/* ---- reading ---- */

/* A process that ends between two calls answers either of these. */
static int
gone(int err)
{
	return err == ENOENT ? -ESRCH : -err;
}

int
procinfo_read(int dir, const char *file, char **text)
{
	size_t len = 0, room = 8192;
	char *buf = NULL, *grown;
	ssize_t n;
	int fd, err = 0;

	fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gone(errno);
	for (;;) {
		grown = realloc(buf, room);
		if (grown == NULL) {
			err = -ENOMEM;
			break;
		}
		buf = grown;
		n = read(fd, buf + len, room - len - 1);
		if (n < 0)
			err = gone(errno);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len + 1 == room && (room *= 2) > READ_MAX) {
			err = -EFBIG;
			break;
		}
	}
	close(fd);
	if (err == 0 && len == 0)
		err = -ESRCH;
	if (err < 0) {
		free(buf);
		return err;
	}
	buf[len] = '\0';
	*text = buf;
	return 0;
}

int
procinfo_read_small(
    int proc, pid_t pid, const char *file, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%d/%s", pid, file);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gone(errno);
	n = read(fd, buf, size - 1);
	if (n <= 0) {
		n = n < 0 ? gone(errno) : -ESRCH;
		close(fd);
		return (int)n;
	}
	close(fd);
	buf[n] = '\0';
	return 0;
}

int
procinfo_stat(int proc, pid_t pid, struct procinfo_stat *out)
{
	char buf[1024];
	int err = procinfo_read_small(proc, pid, "stat", buf, sizeof(buf));

	return err < 0 ? err : procinfo_parse_stat(buf, out);
}

bool
procinfo_is_stopped(int proc, pid_t pid)
{
	struct procinfo_stat st;

	return procinfo_stat(proc, pid, &st) == 0 &&
	       (st.state == 'T' || st.state == 't');
}

bool
procinfo_signalled(int proc, pid_t tid, uint64_t but)
{
	uint64_t own, all, blocked;
	char text[4096];

	if (procinfo_read_small(proc, tid, "status", text, sizeof(text)) < 0 ||
	    !hex_of(text, "SigPnd", &own) || !hex_of(text, "ShdPnd", &all) ||
	    !hex_of(text, "SigBlk", &blocked))
		return true;
	return ((own | all) & ~blocked & ~but) != 0;
}
