#include "hold.h"

#include <linux/audit.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "proc.h"
#include "proc_task.h"

/*
 * The first instruction has no effect but to be known again: "snap".  What
 * follows is one block for each call:
 *
 *	if (nr == NR && (no condition, or argument ARG (un)equal to VALUE) ...)
 *		return USER_NOTIF;
 */
#define MAGIC 0x736e6170u
#define MAX_RULES 32

struct condition {
	bool used, equal;
	unsigned arg;
	uint32_t value;
};

struct rule {
	long nr;
	struct condition c[2];
};

#define IS(a, v) \
	{ \
		.used = true, .equal = true, .arg = (a), .value = (v) \
	}
#define NOT(a, v) \
	{ \
		.used = true, .equal = false, .arg = (a), .value = (v) \
	}

/* Reads of a descriptor that is their first argument. */
static const long reads[] = { SYS_read, SYS_readv, SYS_pread64, SYS_preadv,
	SYS_preadv2, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg };

/* Polling nothing is sleeping; polling for no time is no waiting. */
static const struct rule waits[] = {
	{ SYS_accept, { { .used = false } } },
	{ SYS_accept4, { { .used = false } } },
	{ SYS_poll, { NOT(1, 0), NOT(2, 0) } },
	{ SYS_ppoll, { NOT(1, 0) } },
	{ SYS_select, { NOT(0, 0) } },
	{ SYS_pselect6, { NOT(0, 0) } },
	{ SYS_epoll_wait, { NOT(3, 0) } },
	{ SYS_epoll_pwait, { NOT(3, 0) } },
	{ SYS_epoll_pwait2, { { .used = false } } },
	{ SYS_pause, { { .used = false } } },
	{ SYS_rt_sigsuspend, { { .used = false } } },
	{ SYS_rt_sigtimedwait, { { .used = false } } },
};

static size_t
rules_of(const struct snap_point *point, struct rule v[MAX_RULES])
{
	const uint32_t fd =
	    point->kind == SNAP_POINT_READ ? (uint32_t)point->fd : 0;
	size_t n = 0;

	if (point->kind == SNAP_POINT_CALL ||
	    point->kind == SNAP_POINT_LISTEN) {
		v[0] = (struct rule){ .nr = point->kind == SNAP_POINT_CALL
						? point->nr
						: SYS_listen };
		return 1;
	}
	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
		v[n++] = (struct rule){ reads[i], { IS(0, fd) } };
	if (point->kind == SNAP_POINT_WAIT)
		for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
			v[n++] = waits[i];
	return n;
}

static size_t
put_rule(struct sock_filter *v, const struct rule *r)
{
	const struct sock_filter notify =
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	const struct sock_filter number = BPF_STMT(
	    BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	size_t n = 2, left = (size_t)r->c[0].used + r->c[1].used;

	v[0] = number;
	/* Over the conditions, two instructions each, and the return. */
	v[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
	    (uint32_t)r->nr, 0, (uint8_t)(2 * left + 1));
	for (int i = 0; i < 2; i++) {
		const struct condition *c = &r->c[i];
		uint8_t over;

		if (!c->used)
			continue;
		left--;
		over = (uint8_t)(2 * left + 1);
		v[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    (uint32_t)(offsetof(struct seccomp_data, args) +
			       8 * c->arg));
		v[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
		    c->value, c->equal ? 0 : over, c->equal ? over : 0);
	}
	v[n++] = notify;
	return n;
}

size_t
hold_filter(
    const struct snap_point *point, struct sock_filter v[HOLD_FILTER_MAX])
{
	const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_IMM, MAGIC),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct rule rules[MAX_RULES];
	size_t n = sizeof(head) / sizeof(head[0]), nrules;

	memcpy(v, head, sizeof(head));
	nrules = rules_of(point, rules);
	for (size_t i = 0; i < nrules; i++)
		n += put_rule(v + n, &rules[i]);
	v[n++] =
	    (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return n;
}

bool
hold_filter_ours(const struct sock_filter *v, size_t n)
{
	if (n < 5 || n > HOLD_FILTER_MAX || v[0].code != (BPF_LD | BPF_IMM) ||
	    v[0].k != MAGIC)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (BPF_CLASS(v[i].code) != BPF_RET)
			continue;
		if (v[i].code != (BPF_RET | BPF_K) ||
		    (v[i].k != SECCOMP_RET_ALLOW &&
			v[i].k != SECCOMP_RET_USER_NOTIF))
			return false;
	}
	return true;
}

static bool
is_free(pid_t pid)
{
	struct proc_status st;

	return proc_task_status(pid, 0, &st) == 0 && st.seccomp == 0;
}

bool
hold_is_kept(pid_t ppid, bool *unfiltered)
{
	char *comm;
	bool yes;

	*unfiltered = false;
	if (ppid <= 0 || proc_try(ppid, "comm", &comm, NULL) < 0)
		return false;
	yes = strcmp(comm, HOLD_COMM "\n") == 0;
	free(comm);
	*unfiltered = yes && is_free(ppid);
	return yes;
}
