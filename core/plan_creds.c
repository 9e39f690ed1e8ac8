/*
 * plan_creds.c - the part of a plan that gives a thread its credentials.
 *
 * A restored process never has more rights than whoever restores it: what the
 * kernel would not refuse by itself, since we were lent capabilities for our
 * own work, is left out here.  The kernel refuses the rest.
 */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "plan.h"

static bool
same_groups(const struct creds *a, const struct creds *b)
{
	return a->ngroups == b->ngroups &&
	       (a->ngroups == 0 || memcmp(a->groups, b->groups,
				       a->ngroups * sizeof(a->groups[0])) == 0);
}

static bool
same_ids(const struct creds *a, const struct creds *b)
{
	return a->ruid == b->ruid && a->euid == b->euid && a->suid == b->suid &&
	       a->fsuid == b->fsuid && a->rgid == b->rgid &&
	       a->egid == b->egid && a->sgid == b->sgid && a->fsgid == b->fsgid;
}

static void
set_groups(struct plan *pl, const struct creds *c)
{
	uint64_t at = 0;

	if (c->ngroups > 0)
		at =
		    plan_data(pl, c->groups, c->ngroups * sizeof(c->groups[0]));
	PLAN_CALL(pl, CHECK_OK, SYS_setgroups, c->ngroups, at)->rel =
	    c->ngroups > 0 ? 1 << 1 : 0;
}

/* setfsuid(2) answers with the old one: twice, so that the answer tells. */
static void
set_fs_id(struct plan *pl, int nr, uint32_t id)
{
	PLAN_CALL(pl, CHECK_ANY, nr, id);
	PLAN_CALL(pl, CHECK_IS, nr, id)->want = (int32_t)id;
}

static void
set_ids(struct plan *pl, const struct creds *c)
{
	PLAN_CALL(pl, CHECK_OK, SYS_setresgid, c->rgid, c->egid, c->sgid);
	set_fs_id(pl, SYS_setfsgid, c->fsgid);
	PLAN_CALL(pl, CHECK_OK, SYS_setresuid, c->ruid, c->euid, c->suid);
	set_fs_id(pl, SYS_setfsuid, c->fsuid);
}

static void
set_caps(struct plan *pl, uint64_t eff, uint64_t prm, uint64_t inh)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
		{ (uint32_t)(eff >> 32), (uint32_t)(prm >> 32),
		    (uint32_t)(inh >> 32) },
	};

	PLAN_CALL(pl, CHECK_OK, SYS_capset, plan_data(pl, &head, sizeof(head)),
	    plan_data(pl, data, sizeof(data)))
	    ->rel = 1 << 0 | 1 << 1;
}

static void
set_ambient(struct plan *pl, const struct creds *c, uint64_t amb)
{
	if (c->cap_amb != 0)
		PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_CAP_AMBIENT,
		    PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (uint64_t k = 0; k < 64; k++)
		if (amb & 1ull << k)
			PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_CAP_AMBIENT,
			    PR_CAP_AMBIENT_RAISE, k, 0, 0);
}

static void
drop_bounding(struct plan *pl, uint64_t drop)
{
	for (uint64_t k = 0; k < 64; k++)
		if (drop & 1ull << k)
			PLAN_CALL(
			    pl, CHECK_NOTE, SYS_prctl, PR_CAPBSET_DROP, k);
}

/*
 * In this order each step is still allowed: ids while we may change them and
 * keep our capabilities over it (KEEPCAPS), then what CAP_SETPCAP is needed
 * for, then the capabilities themselves.
 */
void
plan_creds(struct plan *pl, const struct creds *want, const struct host *h)
{
	const struct creds *have = &h->creds;
	uint64_t may = have->cap_prm & ~h->lent_caps;
	uint64_t prm = want->cap_prm & may, eff = want->cap_eff & prm;
	/* Inheritable ones are of no use beyond the bounding set. */
	uint64_t inh = want->cap_inh & (may | have->cap_inh);
	uint64_t amb = want->cap_amb & prm & inh;
	bool ids = !same_ids(have, want);
	bool bits = have->securebits != want->securebits;
	uint64_t drop = have->cap_bnd & ~want->cap_bnd;

	if (!same_groups(have, want))
		set_groups(pl, want);
	if (ids) {
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_KEEPCAPS, 1);
		set_ids(pl, want);
	}
	if (ids || bits || drop != 0 || amb != 0 || inh != have->cap_inh)
		set_caps(pl, have->cap_prm, have->cap_prm, inh);
	set_ambient(pl, have, amb);
	drop_bounding(pl, drop);
	if (ids && !bits)
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_KEEPCAPS,
		    !!(want->securebits & SECBIT_KEEP_CAPS));
	if (bits)
		PLAN_CALL(pl, CHECK_NOTE, SYS_prctl, PR_SET_SECUREBITS,
		    want->securebits);
	set_caps(pl, eff, prm, inh);
	if (want->no_new_privs)
		PLAN_CALL(
		    pl, CHECK_OK, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
