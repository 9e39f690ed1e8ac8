/*
 * plan_seccomp.c - the part of a plan that puts threads under their seccomp
 * filters again.
 *
 * That is done while whoever restores has the filters suspended
 * (PTRACE_O_SUSPEND_SECCOMP), so that what the plan does after it is not
 * filtered, and while the threads still have the rights for it.  Where the
 * filters cannot be suspended, they are put there at the very end, and not by
 * the plan: restore_seccomp.c.
 */
#include <linux/filter.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "plan.h"
#include "seccomp.h"

/* The programs, for whoever is to install them. */
static void
add_programs(struct plan *pl, const struct process *p)
{
	for (size_t i = 0; i < p->filters.n; i++) {
		const struct filter *f = &p->filters.v[i];
		uint64_t *slot;
		/* struct sock_fprog */
		struct {
			uint16_t n, pad[3];
			uint64_t v;
		} prog = { .n = (uint16_t)f->n };

		prog.v = plan_data(pl, f->v, f->n * sizeof(*f->v));
		slot = process_grow(
		    &pl->filters, &pl->nfilters, sizeof(*pl->filters));
		if (slot == NULL) {
			pl->failed = true;
			return;
		}
		*slot = plan_data(pl, &prog, sizeof(prog));
		plan_reloc(pl, *slot + 8);
	}
}

/* From the oldest on, but for those that are there already. */
static void
install(struct plan *pl, const struct process *p, uint32_t last, uint32_t there)
{
	const struct filter *f;

	if (last == 0 || last == there)
		return;
	f = filters_get(&p->filters, last);
	install(pl, p, f->before, there);
	plan_what(pl, "seccomp: filter %u", last);
	if (!pl->failed)
		PLAN_CALL(pl, CHECK_OK, SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    f->flags, pl->filters[last - 1])
		    ->rel = 1 << 2;
}

/* What all threads are under is the same for all: they inherit it. */
void
plan_seccomp_common(
    struct plan *pl, const struct process *p, const struct host *h)
{
	add_programs(pl, p);
	if (h->suspended)
		install(pl, p, filters_common(p), 0);
}

void
plan_seccomp(struct plan *pl, const struct process *p, const struct thread *t,
    const struct host *h)
{
	if (!h->suspended)
		return;
	if (t->seccomp == SECCOMP_MODE_STRICT) {
		plan_what(pl, "seccomp: strict mode");
		PLAN_CALL(pl, CHECK_OK, SYS_prctl, PR_SET_SECCOMP,
		    SECCOMP_MODE_STRICT);
	}
	install(pl, p, t->filter, filters_common(p));
}
