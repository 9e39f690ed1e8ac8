#include "seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- chains ---- */

static bool
is_like(const struct filter *f, uint32_t before, uint32_t flags,
    const struct sock_filter *v, size_t n)
{
	return f->before == before && f->flags == flags && f->n == n &&
	       memcmp(f->v, v, n * sizeof(*v)) == 0;
}

uint32_t
filters_add(struct filters *f, uint32_t before, uint32_t flags,
    const struct sock_filter *v, size_t n)
{
	struct sock_filter *own;
	struct filter *new;

	for (size_t i = 0; i < f->n; i++)
		if (is_like(&f->v[i], before, flags, v, n))
			return (uint32_t)i + 1;
	own = malloc(n * sizeof(*v));
	new = own == NULL ? NULL : process_grow(&f->v, &f->n, sizeof(*new));
	if (new == NULL) {
		free(own);
		return 0;
	}
	memcpy(own, v, n * sizeof(*v));
	*new = (struct filter){ before, flags, own, n };
	return (uint32_t)f->n;
}

int
filters_copy(struct filters *to, const struct filters *from)
{
	for (size_t i = 0; i < from->n; i++) {
		const struct filter *f = &from->v[i];

		if (filters_add(to, f->before, f->flags, f->v, f->n) == 0)
			return -ENOMEM;
	}
	return 0;
}

void
filters_free(struct filters *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->v[i].v);
	free(f->v);
	*f = (struct filters){ 0 };
}

bool
filters_contain(const struct filters *f, uint32_t last, uint32_t number)
{
	while (last > number)
		last = filters_get(f, last)->before;
	return last == number;
}

uint32_t
filters_common(const struct process *p)
{
	uint32_t c = p->nthreads > 0 ? p->threads[0].filter : 0;

	for (size_t i = 1; c != 0 && i < p->nthreads; i++)
		while (c != 0 &&
		       !filters_contain(&p->filters, p->threads[i].filter, c))
			c = filters_get(&p->filters, c)->before;
	return c;
}

/* ---- running one ---- */

struct machine {
	uint32_t a, x, mem[BPF_MEMWORDS];
};

static bool
load(struct machine *m, const struct sock_filter *f,
    const struct seccomp_data *data)
{
	switch (f->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		if (f->k % 4 != 0 || f->k > sizeof(*data) - 4)
			return false;
		memcpy(&m->a, (const char *)data + f->k, sizeof(m->a));
		return true;
	case BPF_LD | BPF_W | BPF_LEN:
		m->a = sizeof(*data);
		return true;
	case BPF_LDX | BPF_W | BPF_LEN:
		m->x = sizeof(*data);
		return true;
	case BPF_LD | BPF_IMM:
		m->a = f->k;
		return true;
	case BPF_LDX | BPF_IMM:
		m->x = f->k;
		return true;
	}
	if (f->k >= BPF_MEMWORDS)
		return false;
	switch (f->code) {
	case BPF_LD | BPF_MEM:
		m->a = m->mem[f->k];
		return true;
	case BPF_LDX | BPF_MEM:
		m->x = m->mem[f->k];
		return true;
	case BPF_ST:
		m->mem[f->k] = m->a;
		return true;
	case BPF_STX:
		m->mem[f->k] = m->x;
		return true;
	}
	return false;
}

static bool
compute(struct machine *m, const struct sock_filter *f)
{
	uint32_t v = BPF_SRC(f->code) == BPF_X ? m->x : f->k;

	switch (BPF_OP(f->code)) {
	case BPF_ADD:
		m->a += v;
		return true;
	case BPF_SUB:
		m->a -= v;
		return true;
	case BPF_MUL:
		m->a *= v;
		return true;
	case BPF_DIV:
		m->a = v == 0 ? 0 : m->a / v;
		return v != 0;
	case BPF_AND:
		m->a &= v;
		return true;
	case BPF_OR:
		m->a |= v;
		return true;
	case BPF_XOR:
		m->a ^= v;
		return true;
	case BPF_LSH:
		m->a = v < 32 ? m->a << v : 0;
		return true;
	case BPF_RSH:
		m->a = v < 32 ? m->a >> v : 0;
		return true;
	case BPF_NEG:
		m->a = -m->a;
		return true;
	}
	return false;
}

/* How far to go on from the next instruction; false: no jump. */
static bool
jump(const struct machine *m, const struct sock_filter *f, size_t *by)
{
	uint32_t v = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
	bool yes;

	switch (BPF_OP(f->code)) {
	case BPF_JA:
		*by = f->k;
		return true;
	case BPF_JEQ:
		yes = m->a == v;
		break;
	case BPF_JGT:
		yes = m->a > v;
		break;
	case BPF_JGE:
		yes = m->a >= v;
		break;
	case BPF_JSET:
		yes = (m->a & v) != 0;
		break;
	default:
		return false;
	}
	*by = yes ? f->jt : f->jf;
	return true;
}

static bool
step(struct machine *m, const struct sock_filter *f,
    const struct seccomp_data *data, size_t *by)
{
	*by = 0;
	switch (BPF_CLASS(f->code)) {
	case BPF_LD:
	case BPF_LDX:
	case BPF_ST:
	case BPF_STX:
		return load(m, f, data);
	case BPF_ALU:
		return compute(m, f);
	case BPF_JMP:
		return jump(m, f, by);
	case BPF_MISC:
		if (BPF_MISCOP(f->code) == BPF_TAX)
			m->x = m->a;
		else
			m->a = m->x;
		return true;
	}
	return false;
}

/* Jumps only lead forward, so it ends. */
uint32_t
seccomp_run(
    const struct sock_filter *v, size_t n, const struct seccomp_data *data)
{
	struct machine m = { 0 };
	size_t by;

	for (size_t i = 0; i < n; i += 1 + by) {
		if (v[i].code == (BPF_RET | BPF_K))
			return v[i].k;
		if (v[i].code == (BPF_RET | BPF_A))
			return m.a;
		if (!step(&m, &v[i], data, &by) || by > n)
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

/* ---- a chain ---- */

bool
filters_allow(
    const struct filters *f, uint32_t last, long nr, const uint64_t args[6])
{
	struct seccomp_data data = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64 };

	for (int i = 0; i < 6; i++)
		data.args[i] = args[i];
	for (; last != 0; last = filters_get(f, last)->before) {
		const struct filter *x = filters_get(f, last);
		uint32_t what =
		    seccomp_run(x->v, x->n, &data) & SECCOMP_RET_ACTION_FULL;

		if (what != SECCOMP_RET_ALLOW && what != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}

/* An answer that is computed may be anything. */
bool
filters_notify(const struct filters *f, uint32_t last)
{
	for (; last != 0; last = filters_get(f, last)->before) {
		const struct filter *x = filters_get(f, last);

		for (size_t i = 0; i < x->n; i++)
			if (x->v[i].code == (BPF_RET | BPF_A) ||
			    (x->v[i].code == (BPF_RET | BPF_K) &&
				(x->v[i].k & SECCOMP_RET_ACTION_FULL) ==
				    SECCOMP_RET_USER_NOTIF))
				return true;
	}
	return false;
}

/* Does one of the chain look at the place from which a call is made? */
static bool
see_place(const struct filters *f, uint32_t last)
{
	const uint32_t place =
	    offsetof(struct seccomp_data, instruction_pointer);

	for (; last != 0; last = filters_get(f, last)->before) {
		const struct filter *x = filters_get(f, last);

		for (size_t i = 0; i < x->n; i++)
			if (x->v[i].code == (BPF_LD | BPF_W | BPF_ABS) &&
			    x->v[i].k - place < sizeof(uint64_t))
				return true;
	}
	return false;
}

bool
filters_allow_elsewhere(
    const struct filters *f, uint32_t last, const struct user_regs_struct *r)
{
	const uint64_t args[6] = { r->rdi, r->rsi, r->rdx, r->r10, r->r8,
		r->r9 };

	return !see_place(f, last) &&
	       filters_allow(f, last, (long)r->orig_rax, args);
}
