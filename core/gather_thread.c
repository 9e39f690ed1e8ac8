#include "gather_thread.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heal.h"
#include "proc_task.h"

#define SIGSET_SIZE 8
#define IOPRIO_WHO_PROCESS 1

/* More groups than that are taken from what was read before the freeze. */
#define GROUPS_MAX 32
#define CPUS_MAX 1024 /* bytes of a CPU mask */

/* struct sched_attr of sched_setattr(2), its first version */
struct sched {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

struct caps {
	struct __user_cap_header_struct head;
	struct __user_cap_data_struct data[2];
};

/* ---- asking ---- */

size_t
thread_cpus(void)
{
	uint8_t cpus[CPUS_MAX];
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(cpus), cpus);

	return n > 0 ? (size_t)n : sizeof(cpus);
}

static void
ask_creds(struct frozen *z, size_t i, struct thread_asks *a)
{
	const struct __user_cap_header_struct head = {
		_LINUX_CAPABILITY_VERSION_3, 0
	};
	uint64_t data;

	a->ruid = heal_data(z, i, 3 * sizeof(uid_t));
	a->rgid = heal_data(z, i, 3 * sizeof(gid_t));
	a->caps = heal_data(z, i, sizeof(struct caps));
	a->groups = heal_data(z, i, GROUPS_MAX * sizeof(gid_t));
	memcpy(heal_answer(z, a->caps), &head, sizeof(head));
	data = a->caps + offsetof(struct caps, data);

	heal_add(z, i, SYS_getresuid, a->ruid, a->ruid + 4, a->ruid + 8, 0, 0);
	heal_add(z, i, SYS_getresgid, a->rgid, a->rgid + 4, a->rgid + 8, 0, 0);
	/* No id is -1: these change nothing and tell what it is. */
	a->fsuid = heal_add(z, i, SYS_setfsuid, (uint64_t)-1, 0, 0, 0, 0);
	a->fsgid = heal_add(z, i, SYS_setfsgid, (uint64_t)-1, 0, 0, 0, 0);
	a->has_caps = heal_add(z, i, SYS_capget, a->caps, data, 0, 0, 0);
	a->ngroups =
	    heal_add(z, i, SYS_getgroups, GROUPS_MAX, a->groups, 0, 0, 0);
	a->nnp = heal_add(z, i, SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	a->securebits =
	    heal_add(z, i, SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0);
}

static void
ask_scheduling(struct frozen *z, size_t i, size_t cpus, struct thread_asks *a)
{
	a->sched = heal_data(z, i, sizeof(struct sched));
	a->affinity = heal_data(z, i, cpus);
	heal_add(
	    z, i, SYS_sched_getattr, 0, a->sched, sizeof(struct sched), 0, 0);
	a->naffinity =
	    heal_add(z, i, SYS_sched_getaffinity, 0, cpus, a->affinity, 0, 0);
	a->ioprio =
	    heal_add(z, i, SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0, 0, 0, 0);
	/* Real-time threads have one too, which sched_getattr hides. */
	a->nice = heal_add(z, i, SYS_getpriority, PRIO_PROCESS, 0, 0, 0, 0);
	a->slack = heal_add(z, i, SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
}

void
thread_ask(struct frozen *z, size_t i, size_t cpus, struct thread_asks *a)
{
	a->altstack = heal_data(z, i, sizeof(stack_t));
	a->tid_address = heal_data(z, i, sizeof(uint64_t));
	a->pdeath = heal_data(z, i, sizeof(int));
	a->comm = heal_data(z, i, 16);
	a->pending = heal_data(z, i, SIGSET_SIZE);
	a->robust = heal_data(z, i, 2 * sizeof(uint64_t));
	heal_add(z, i, SYS_rt_sigpending, a->pending, SIGSET_SIZE, 0, 0, 0);
	heal_add(z, i, SYS_sigaltstack, 0, a->altstack, 0, 0, 0);
	heal_add(z, i, SYS_prctl, PR_GET_TID_ADDRESS, a->tid_address, 0, 0, 0);
	heal_add(z, i, SYS_prctl, PR_GET_PDEATHSIG, a->pdeath, 0, 0, 0);
	heal_add(z, i, SYS_prctl, PR_GET_NAME, a->comm, 0, 0, 0);
	heal_add(z, i, SYS_get_robust_list, 0, a->robust, a->robust + 8, 0, 0);
	ask_creds(z, i, a);
	ask_scheduling(z, i, cpus, a);
	habits_ask(z, i, &a->habits);
}

/* ---- what was answered ---- */

static int
copy_groups(struct creds *c, const gid_t *groups, size_t n)
{
	c->groups = malloc((n + 1) * sizeof(gid_t));
	if (c->groups == NULL)
		return -ENOMEM;
	if (n > 0)
		memcpy(c->groups, groups, n * sizeof(gid_t));
	c->ngroups = n;
	return 0;
}

static uint64_t
whole(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

static int
take_creds(const struct frozen *z, size_t i, const struct thread_asks *a,
    const struct creds *early, struct creds *c)
{
	const gid_t *groups = heal_answer(z, a->groups);
	const uid_t *u = heal_answer(z, a->ruid);
	const gid_t *g = heal_answer(z, a->rgid);
	const struct caps *caps = heal_answer(z, a->caps);
	int64_t ngroups = heal_result(z, i, a->ngroups);

	c->ruid = u[0];
	c->euid = u[1];
	c->suid = u[2];
	c->rgid = g[0];
	c->egid = g[1];
	c->sgid = g[2];
	c->fsuid = (uid_t)heal_result(z, i, a->fsuid);
	c->fsgid = (gid_t)heal_result(z, i, a->fsgid);
	if (heal_result(z, i, a->has_caps) != 0)
		return -EPROTO;
	c->cap_eff = whole(caps->data[0].effective, caps->data[1].effective);
	c->cap_prm = whole(caps->data[0].permitted, caps->data[1].permitted);
	c->cap_inh =
	    whole(caps->data[0].inheritable, caps->data[1].inheritable);
	c->cap_bnd = early->cap_bnd;
	c->cap_amb = early->cap_amb;
	c->no_new_privs = heal_result(z, i, a->nnp) == 1;
	c->securebits = (uint32_t)heal_result(z, i, a->securebits);
	if (ngroups < 0)
		return copy_groups(c, early->groups, early->ngroups);
	return copy_groups(c, groups, (size_t)ngroups);
}

static int
keep_affinity(struct thread *t, const void *cpus, int64_t n)
{
	if (n <= 0)
		return n == 0 ? -EPROTO : (int)n;
	t->affinity = malloc((size_t)n);
	if (t->affinity == NULL)
		return -ENOMEM;
	memcpy(t->affinity, cpus, (size_t)n);
	t->affinity_len = (size_t)n;
	return 0;
}

static void
keep_sched(struct thread *t, const struct sched *s)
{
	t->sched_policy = s->policy;
	t->sched_flags = (uint32_t)s->flags;
	t->nice = s->nice;
	t->sched_priority = s->priority;
	t->sched_runtime = s->runtime;
	t->sched_deadline = s->deadline;
	t->sched_period = s->period;
}

static void
take_signals(const struct frozen *z, const struct thread_asks *a,
    struct thread *t, uint64_t *pending)
{
	stack_t ss;

	memcpy(&ss, heal_answer(z, a->altstack), sizeof(ss));
	t->altstack_sp = (uintptr_t)ss.ss_sp;
	t->altstack_size = ss.ss_size;
	t->altstack_flags = (uint32_t)ss.ss_flags;
	memcpy(&t->pdeath_signal, heal_answer(z, a->pdeath), sizeof(int));
	/* That it dies with its keeper is no affair of the program's. */
	if (z->held && t->tid == z->pid && t->pdeath_signal == SIGKILL)
		t->pdeath_signal = 0;
	memcpy(pending, heal_answer(z, a->pending), sizeof(*pending));
}

int
thread_take(const struct frozen *z, size_t i, const struct thread_asks *a,
    struct thread *t, uint64_t *pending)
{
	const uint64_t *robust = heal_answer(z, a->robust);
	const struct early *e = early_find(&z->early, t->tid);
	struct proc_status st = { 0 };
	int err = 0;

	take_signals(z, a, t, pending);
	memcpy(&t->clear_child_tid, heal_answer(z, a->tid_address),
	    sizeof(t->clear_child_tid));
	memcpy(t->comm, heal_answer(z, a->comm), sizeof(t->comm));
	t->comm[sizeof(t->comm) - 1] = '\0';
	t->robust_list = robust[0];
	t->robust_len = robust[1];
	keep_sched(t, heal_answer(z, a->sched));
	/* The call itself answers 1 to 40. */
	t->nice = 20 - (int32_t)heal_result(z, i, a->nice);
	t->ioprio = (uint32_t)heal_result(z, i, a->ioprio);
	t->timerslack = (uint64_t)heal_result(z, i, a->slack);
	if (e == NULL) /* born when the freeze had begun */
		err = proc_task_creds(z->pid, z->v[i].tid, &st);
	if (err == 0)
		err = take_creds(
		    z, i, a, e != NULL ? &e->creds : &st.creds, &t->creds);
	free(st.creds.groups);
	if (err == 0)
		err = keep_affinity(t, heal_answer(z, a->affinity),
		    heal_result(z, i, a->naffinity));
	return err;
}

/* ---- looking ---- */

int
thread_look(
    const struct frozen *z, size_t i, struct thread *t, uint64_t *pending)
{
	struct sched s = { .size = sizeof(s) };
	uint8_t cpus[CPUS_MAX];
	struct proc_status st;
	void *head;
	size_t len;
	int err;

	err = proc_task_creds(z->pid, z->v[i].tid, &st);
	if (err != 0)
		return err;
	t->creds = st.creds;
	memcpy(t->comm, st.comm, sizeof(t->comm));
	*pending = st.sigpnd | st.shdpnd;
	if (syscall(SYS_get_robust_list, t->tid, &head, &len) < 0 ||
	    syscall(SYS_sched_getattr, t->tid, &s, sizeof(s), 0) < 0)
		return -errno;
	t->robust_list = (uintptr_t)head;
	t->robust_len = len;
	keep_sched(t, &s);
	t->nice = getpriority(PRIO_PROCESS, (id_t)t->tid);
	t->ioprio =
	    (uint32_t)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, t->tid);
	return keep_affinity(t, cpus,
	    syscall(SYS_sched_getaffinity, t->tid, sizeof(cpus), cpus));
}
