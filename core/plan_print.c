/*
 * plan_print.c - a plan as text, for people and for tests.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "plan.h"
#include "text.h"
#include "uapi.h"

static const struct {
	int nr, nargs;
	const char *name;
} calls[] = {
	{ SYS_arch_prctl, 2, "arch_prctl" },
	{ SYS_capset, 2, "capset" },
	{ SYS_chroot, 1, "chroot" },
	{ SYS_close_range, 3, "close_range" },
	{ SYS_dup3, 3, "dup3" },
	{ SYS_fchdir, 1, "fchdir" },
	{ SYS_fcntl, 3, "fcntl" },
	{ SYS_ioctl, 3, "ioctl" },
	{ SYS_ioprio_set, 3, "ioprio_set" },
	{ SYS_madvise, 3, "madvise" },
	{ SYS_mlock2, 3, "mlock2" },
	{ SYS_mmap, 6, "mmap" },
	{ SYS_mprotect, 3, "mprotect" },
	{ SYS_mremap, 5, "mremap" },
	{ SYS_mseal, 3, "mseal" },
	{ SYS_personality, 1, "personality" },
	{ SYS_pkey_alloc, 2, "pkey_alloc" },
	{ SYS_pkey_mprotect, 4, "pkey_mprotect" },
	{ SYS_prctl, 5, "prctl" },
	{ SYS_prlimit64, 4, "prlimit64" },
	{ SYS_read, 3, "read" },
	{ SYS_rseq, 4, "rseq" },
	{ SYS_rt_sigaction, 4, "rt_sigaction" },
	{ SYS_rt_sigqueueinfo, 3, "rt_sigqueueinfo" },
	{ SYS_rt_tgsigqueueinfo, 4, "rt_tgsigqueueinfo" },
	{ SYS_sched_setaffinity, 3, "sched_setaffinity" },
	{ SYS_sched_setattr, 3, "sched_setattr" },
	{ SYS_set_robust_list, 2, "set_robust_list" },
	{ SYS_set_tid_address, 1, "set_tid_address" },
	{ SYS_setfsgid, 1, "setfsgid" },
	{ SYS_setfsuid, 1, "setfsuid" },
	{ SYS_setgroups, 2, "setgroups" },
	{ SYS_setitimer, 3, "setitimer" },
	{ SYS_setpriority, 3, "setpriority" },
	{ SYS_setresgid, 3, "setresgid" },
	{ SYS_setresuid, 3, "setresuid" },
	{ SYS_setsid, 0, "setsid" },
	{ SYS_sigaltstack, 2, "sigaltstack" },
	{ SYS_timer_settime, 4, "timer_settime" },
	{ SYS_umask, 1, "umask" },
};

static const struct {
	const char *name;
	int nargs;
} kinds[] = {
	[OP_READ] = { "read", 4 },
	[OP_UFFD] = { "userfaultfd", 1 },
	[OP_TAKEN] = { "await-pager", 0 },
	[OP_CLEAR] = { "clear", 2 },
	[OP_CLONE] = { "clone", 2 },
	[OP_STORE] = { "store", 2 },
	[OP_COPY] = { "copy", 3 },
	[OP_SWAP] = { "swap", 3 },
	[OP_TIMER] = { "timer", 2 },
	[OP_TILES] = { "tiles", 0 },
	[OP_BARRIER] = { "barrier", 0 },
	[OP_FDS] = { "take_fds", 3 },
};

static const char *
describe(const struct op *op, int *nargs)
{
	*nargs = 6;
	if (op->kind != OP_CALL) {
		*nargs = kinds[op->kind].nargs;
		if (op->kind == OP_CLEAR && op->args[1] == 0)
			*nargs = 0;
		return kinds[op->kind].name;
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].nr == op->nr) {
			*nargs = calls[i].nargs;
			return calls[i].name;
		}
	return "call";
}

const char *
plan_op_name(const struct op *op)
{
	int nargs;

	return describe(op, &nargs);
}

static void
print_arg(struct text *t, const struct op *op, int i)
{
	uint64_t v = op->args[i];

	if (op->rel & 1 << i)
		text_putf(t, " area+%#" PRIx64, v);
	else if (op->tid & 1 << i)
		text_putf(t, " tid(%" PRIu64 ")", v);
	else if (v < 4096 || v > -4096ull)
		text_putf(t, " %" PRId64, (int64_t)v);
	else
		text_putf(t, " %#" PRIx64, v);
}

static void
print_op(struct text *t, const struct plan *pl, const struct op *op)
{
	int nargs;

	text_puts(t, describe(op, &nargs));
	for (int i = 0; i < nargs; i++)
		print_arg(t, op, i);
	if (op->check == CHECK_IS)
		text_putf(t, " = %#" PRIx64, (uint64_t)op->want);
	else if (op->check == CHECK_NOTE)
		text_puts(t, " or note");
	else if (op->check == CHECK_ANY)
		text_puts(t, " or not");
	text_putf(t, "\t# %s\n", pl->text + op->what);
}

char *
plan_print(const struct plan *pl)
{
	struct text t = { 0 };

	for (size_t i = 0; i < pl->nmoved; i++)
		text_putf(&t,
		    "keep area+%#" PRIx64 " %#" PRIx64 " of %#" PRIx64 "\n",
		    pl->moved[i].off, pl->moved[i].len,
		    pl->moved[i].from.start);
	for (size_t l = 0; l < pl->nlanes; l++) {
		text_putf(&t, "lane %zu:\n", l);
		for (size_t i = 0; i < pl->lanes[l].n; i++)
			print_op(&t, pl, &pl->ops[pl->lanes[l].first + i]);
	}
	return text_take(&t, NULL);
}
