/*
 * img_status.c - `status`: what a process and its threads are and may.
 *
 * `key: value` lines of the process, and then a block for each thread that
 * begins with "thread: TID", the leader's first, then by tid.  Bit masks and
 * addresses are in hex, umask in octal, uid: and gid: are real, effective,
 * saved, file system; limits are soft and hard; affinity: is the mask of
 * sched_getaffinity(2), a byte after the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cgroup.h"
#include "fields.h"
#include "img.h"

#define PID_MAX (1 << 22)
#define MAX_GROUPS 65536
#define MAX_AFFINITY 8192
#define MAX_CGROUPS 65536 /* bytes of them all */

#define P(key, type, member, min, max) \
	{ \
		key, FIELD_##type, offsetof(struct process, member), min, max, \
		    false \
	}
#define T(key, type, member, min, max) \
	{ \
		key, FIELD_##type, offsetof(struct thread, member), min, max, \
		    false \
	}
/* What few have: a line only if it is not 0. */
#define P_RARE(key, type, member, max) \
	{ \
		key, FIELD_##type, offsetof(struct process, member), 0, max, \
		    true \
	}
#define T_RARE(key, type, member, max) \
	{ \
		key, FIELD_##type, offsetof(struct thread, member), 0, max, \
		    true \
	}
#define LIMIT(key, n) P("rlimit-" key, LIMIT, rlimits[n], 0, 0)
#define MM(key, member) P("mm-" key, X64, mm.member, 0, INT64_MAX)

static const struct field process_table[] = {
	P("pid", I32, pid, 1, PID_MAX),
	P("ppid", I32, ppid, 0, PID_MAX),
	P("pgid", I32, pgid, 0, PID_MAX),
	P("sid", I32, sid, 0, PID_MAX),
	P("exit-signal", U32, exit_signal, 0, PROCESS_NSIG),
	P("owner-uid", U32, owner_uid, 0, 0),
	P("owner-gid", U32, owner_gid, 0, 0),
	P("tty", X32, tty, 0, 0),
	P("tty-pgid", I32, tty_pgid, -1, PID_MAX),
	P("umask", O32, umask, 0, 0777),
	P("personality", X32, personality, 0, 0),
	P("dumpable", U32, dumpable, 0, 2),
	P("oom-score-adj", I32, oom_score_adj, -1000, 1000),
	P("coredump-filter", X32, coredump_filter, 0, 0),
	P("child-subreaper", BOOL, child_subreaper, 0, 0),
	P("thp-disable", BOOL, thp_disable, 0, 0),
	P("stopped", BOOL, group_stopped, 0, 0),
	P("stop-told", BOOL, stop_told, 0, 0),
	LIMIT("cpu", 0),
	LIMIT("fsize", 1),
	LIMIT("data", 2),
	LIMIT("stack", 3),
	LIMIT("core", 4),
	LIMIT("rss", 5),
	LIMIT("nproc", 6),
	LIMIT("nofile", 7),
	LIMIT("memlock", 8),
	LIMIT("as", 9),
	LIMIT("locks", 10),
	LIMIT("sigpending", 11),
	LIMIT("msgqueue", 12),
	LIMIT("nice", 13),
	LIMIT("rtprio", 14),
	LIMIT("rttime", 15),
	MM("start-code", start_code),
	MM("end-code", end_code),
	MM("start-data", start_data),
	MM("end-data", end_data),
	MM("start-brk", start_brk),
	MM("brk", brk),
	MM("start-stack", start_stack),
	MM("arg-start", arg_start),
	MM("arg-end", arg_end),
	MM("env-start", env_start),
	MM("env-end", env_end),
	P_RARE("thp-advised", BOOL, thp_advised, 0),
	P_RARE("memory-merge", BOOL, memory_merge, 0),
	P_RARE("lock-future", X32, lock_future, MCL_FUTURE | MCL_ONFAULT),
	P_RARE("membarrier", X32, membarrier, 0),
};
static const struct fields process_fields = { process_table,
	sizeof(process_table) / sizeof(process_table[0]) };

static const struct field thread_table[] = {
	T("name", NAME, comm, 0, 0),
	T("uid", IDS, creds.ruid, 0, 0),
	T("gid", IDS, creds.rgid, 0, 0),
	T("cap-inheritable", X64, creds.cap_inh, 0, 0),
	T("cap-permitted", X64, creds.cap_prm, 0, 0),
	T("cap-effective", X64, creds.cap_eff, 0, 0),
	T("cap-bounding", X64, creds.cap_bnd, 0, 0),
	T("cap-ambient", X64, creds.cap_amb, 0, 0),
	T("securebits", X32, creds.securebits, 0, 0xff),
	T("no-new-privs", BOOL, creds.no_new_privs, 0, 0),
	T("sigmask", X64, sigmask, 0, 0),
	T("altstack", X64, altstack_sp, 0, 0),
	T("altstack-size", U64, altstack_size, 0, 0),
	T("altstack-flags", X32, altstack_flags, 0, 0),
	T("robust-list", X64, robust_list, 0, 0),
	T("robust-list-length", U64, robust_len, 0, 4096),
	T("rseq", X64, rseq, 0, INT64_MAX),
	T("rseq-cs", X64, rseq_cs, 0, 0),
	T("rseq-length", U32, rseq_len, 0, 4096),
	T("rseq-signature", X32, rseq_sig, 0, 0),
	T("clear-child-tid", X64, clear_child_tid, 0, 0),
	T("parent-death-signal", U32, pdeath_signal, 0, PROCESS_NSIG),
	T("timer-slack-ns", U64, timerslack, 0, 0),
	T("sched-policy", U32, sched_policy, 0, 31),
	T("sched-priority", U32, sched_priority, 0, 99),
	T("sched-flags", X32, sched_flags, 0, 0),
	T("nice", I32, nice, -20, 19),
	T("sched-runtime", U64, sched_runtime, 0, 0),
	T("sched-deadline", U64, sched_deadline, 0, 0),
	T("sched-period", U64, sched_period, 0, 0),
	T("io-priority", X32, ioprio, 0, 0xffff),
	T_RARE("numa-policy", NUMA, habits.numa, 0),
	T_RARE("memory-error", U32, habits.memory_error, 2),
	T_RARE("speculation-store", X32, habits.speculation[0], 0x1e),
	T_RARE("speculation-branch", X32, habits.speculation[1], 0x1e),
	T_RARE("speculation-l1d", X32, habits.speculation[2], 0x1e),
	T_RARE("no-tsc", BOOL, habits.no_tsc, 0),
	T_RARE("no-cpuid", BOOL, habits.no_cpuid, 0),
	T_RARE("io-flusher", BOOL, habits.io_flusher, 0),
};
static const struct fields thread_fields = { thread_table,
	sizeof(thread_table) / sizeof(thread_table[0]) };

/* The four ids are written as an array. */
_Static_assert(offsetof(struct creds, fsuid) ==
		   offsetof(struct creds, ruid) + 3 * sizeof(uid_t),
    "order of uids");
_Static_assert(offsetof(struct creds, fsgid) ==
		   offsetof(struct creds, rgid) + 3 * sizeof(gid_t),
    "order of gids");
_Static_assert(sizeof(((struct thread *)0)->comm) == 16, "FIELD_NAME");
_Static_assert(sizeof(process_table) / sizeof(process_table[0]) <= 64 &&
		   sizeof(thread_table) / sizeof(thread_table[0]) <= 64,
    "fields.h");

/* Lines of the process that are there if there is something to say. */
static const char *const share_keys[SHARES] = {
	[SHARE_FDS] = "shares-descriptors",
	[SHARE_FS] = "shares-cwd",
};

struct thread *
img_thread(const struct process *p, pid_t tid)
{
	for (size_t i = 0; i < p->nthreads; i++)
		if (p->threads[i].tid == tid)
			return &p->threads[i];
	return NULL;
}

static void
write_cgroups(struct text *t, const char *s)
{
	while (s != NULL && *s != '\0') {
		size_t n = strcspn(s, "\n");

		text_puts(t, "cgroup: ");
		text_put(t, s, n);
		text_puts(t, "\n");
		s += n + (s[n] == '\n');
	}
}

void
img_status_write(struct text *t, const struct process *p)
{
	fields_write(t, &process_fields, p);
	write_cgroups(t, p->cgroup);
	for (size_t k = 0; k < SHARES; k++)
		if (p->share[k] != 0)
			text_putf(
			    t, "%s: %d\n", share_keys[k], (int)p->share[k]);
	for (size_t i = 0; i < p->nthreads; i++) {
		const struct thread *th = &p->threads[i];

		text_putf(t, "\nthread: %d\n", (int)th->tid);
		fields_write(t, &thread_fields, th);
		text_puts(t, "groups:");
		for (size_t k = 0; k < th->creds.ngroups; k++)
			text_putf(t, " %u", th->creds.groups[k]);
		text_puts(t, "\naffinity: ");
		text_hex(t, th->affinity, th->affinity_len);
		text_puts(t, "\n");
	}
}

/* ---- reading ---- */

struct block {
	struct thread *th; /* NULL: still the process's */
	uint64_t seen;
	bool groups, affinity;
};

static int
read_groups(struct lines *l, struct block *b, char *s)
{
	struct creds *c = &b->th->creds;
	uint64_t v;
	char *word;
	gid_t *g;

	if (b->groups)
		return lines_fail(l, "a second `groups'");
	b->groups = true;
	while ((word = text_word(&s)) != NULL) {
		if (!text_dec(word, UINT32_MAX - 1, &v) ||
		    c->ngroups >= MAX_GROUPS)
			return lines_fail(l, "not group ids");
		g = process_grow(&c->groups, &c->ngroups, sizeof(*g));
		if (g == NULL)
			return -ENOMEM;
		*g = (gid_t)v;
	}
	return s != NULL && *s != '\0' ? lines_fail(l, "not group ids") : 0;
}

static int
read_cgroup(struct lines *l, struct process *p, const char *s)
{
	size_t n = p->cgroup == NULL ? 0 : strlen(p->cgroup), len = strlen(s);
	char *all;

	if (!cgroup_is_line(s, len))
		return lines_fail(l, "not a cgroup: %.80s", s);
	if (n + len > MAX_CGROUPS)
		return lines_fail(l, "more cgroups than there can be");
	all = realloc(p->cgroup, n + len + 2);
	if (all == NULL)
		return -ENOMEM;
	memcpy(all + n, s, len);
	memcpy(all + n + len, "\n", 2);
	p->cgroup = all;
	return 0;
}

static int
read_affinity(struct lines *l, struct block *b, const char *s)
{
	struct thread *th = b->th;
	size_t n = strlen(s) / 2;

	if (b->affinity)
		return lines_fail(l, "a second `affinity'");
	b->affinity = true;
	if (n > MAX_AFFINITY)
		return lines_fail(l, "more CPUs than there can be");
	th->affinity = malloc(n + 1);
	if (th->affinity == NULL)
		return -ENOMEM;
	th->affinity_len = n;
	return text_unhex(s, th->affinity, n)
		   ? 0
		   : lines_fail(l, "not bytes in hex");
}

/* 1: it was one; 0: it is another key. */
static int
read_share(struct lines *l, struct process *p, const char *key, const char *s)
{
	uint64_t pid;

	for (size_t k = 0; k < SHARES; k++) {
		if (strcmp(key, share_keys[k]) != 0)
			continue;
		if (p->share[k] != 0)
			return lines_fail(l, "a second `%s'", key);
		if (!text_dec(s, PID_MAX, &pid) || pid == 0)
			return lines_fail(l, "not the id of a process");
		p->share[k] = (pid_t)pid;
		return 1;
	}
	return 0;
}

static int
end_block(struct lines *l, const struct process *p, const struct block *b)
{
	int err;

	if (b->th == NULL) {
		err = fields_complete(l, &process_fields, b->seen, "");
		if (err == 0 && p->ppid == p->pid)
			err = lines_fail(l, "it is its own parent");
		for (size_t k = 0; err == 0 && k < SHARES; k++)
			if (p->share[k] == p->pid)
				err = lines_fail(l,
				    "`%s' with itself is not to be said",
				    share_keys[k]);
		return err;
	}
	err = fields_complete(l, &thread_fields, b->seen, "this thread");
	if (err == 0 && (!b->groups || !b->affinity))
		err = lines_fail(l, "this thread: no `%s'",
		    b->groups ? "affinity" : "groups");
	return err;
}

static int
begin_thread(struct lines *l, struct process *p, struct block *b, char *s)
{
	pid_t last = p->nthreads > 1 ? p->threads[p->nthreads - 1].tid : 0;
	struct thread *th;
	uint64_t tid;

	if (!text_dec(s, PID_MAX, &tid) || tid == 0)
		return lines_fail(l, "not a thread's id");
	if (p->nthreads == 0 && (pid_t)tid != p->pid)
		return lines_fail(l, "the first thread must be the leader");
	if (p->nthreads > 0 && ((pid_t)tid <= last || (pid_t)tid == p->pid))
		return lines_fail(l, "threads are not in order of their ids");
	th = process_grow(&p->threads, &p->nthreads, sizeof(*th));
	if (th == NULL)
		return -ENOMEM;
	th->tid = (pid_t)tid;
	th->restart.nr = -1;
	*b = (struct block){ .th = th };
	return 0;
}

static int
read_pair(
    struct lines *l, struct process *p, struct block *b, char *key, char *value)
{
	int r;

	if (b->th == NULL && strcmp(key, "cgroup") == 0) {
		return read_cgroup(l, p, value);
	} else if (b->th == NULL) {
		r = fields_parse(l, &process_fields, p, key, value, &b->seen);
		if (r == 0)
			r = read_share(l, p, key, value);
	} else if (strcmp(key, "groups") == 0) {
		return read_groups(l, b, value);
	} else if (strcmp(key, "affinity") == 0) {
		return read_affinity(l, b, value);
	} else {
		r = fields_parse(
		    l, &thread_fields, b->th, key, value, &b->seen);
	}
	return r == 0 ? lines_fail(l, "unknown key `%.32s'", key) : r;
}

int
img_status_read(struct lines *l, struct process *p)
{
	struct block b = { 0 };
	pid_t pid = p->pid;
	char *key, *value;
	int r, err;

	while ((r = lines_pair(l, &key, &value)) > 0) {
		if (strcmp(key, "thread") == 0) {
			err = end_block(l, p, &b);
			if (err == 0)
				err = begin_thread(l, p, &b, value);
		} else {
			err = read_pair(l, p, &b, key, value);
		}
		if (err < 0)
			return err;
		if (p->pid != pid)
			return lines_fail(
			    l, "`checkpoint' has pid %d", (int)pid);
	}
	if (r < 0)
		return r;
	err = end_block(l, p, &b);
	if (err == 0 && p->nthreads == 0)
		err = lines_fail(l, "no thread");
	return err;
}
