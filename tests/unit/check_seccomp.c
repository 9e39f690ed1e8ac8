/*
 * Seccomp filters: what they say of a call, how chains are kept, the text of
 * an image, and the plan that puts threads under them.
 */
#include <check.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "ctx.h"
#include "img.h"
#include "plan.h"
#include "seccomp.h"

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))
#define NR offsetof(struct seccomp_data, nr)
#define ARG0 offsetof(struct seccomp_data, args)
#define ALLOW SECCOMP_RET_ALLOW
#define KILL SECCOMP_RET_KILL_PROCESS

/* ---- running ---- */

static const struct {
	const char *name;
	struct sock_filter v[8];
	size_t n;
	uint32_t says; /* of call 5 with 0x1122334455667788, 1, 2, ... */
} runs[] = {
	{ "constant", { BPF_STMT(BPF_RET | BPF_K, ALLOW) }, 1, ALLOW },
	{ "the number",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    2, 5 },
	{ "lower half",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    2, 0x55667788 },
	{ "upper half",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG0 + 4),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    2, 0x11223344 },
	{ "jump taken",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2) },
	    4, 2 },
	{ "jump not taken",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 5, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2) },
	    4, 1 },
	{ "jump always",
	    { BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 1),
		BPF_STMT(BPF_RET | BPF_K, 2) },
	    3, 2 },
	{ "set bits, by x",
	    { BPF_STMT(BPF_LDX | BPF_IMM, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_X, 0, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2) },
	    5, 2 },
	{ "memory",
	    { BPF_STMT(BPF_LD | BPF_IMM, 70), BPF_STMT(BPF_ST, 15),
		BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LDX | BPF_MEM, 15),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    6, 71 },
	{ "arithmetic",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 3),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),
		BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_ALU | BPF_NEG, 0),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    7, 96u ^ -96u },
	{ "a shift too far",
	    { BPF_STMT(BPF_LD | BPF_IMM, 1),
		BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32),
		BPF_STMT(BPF_RET | BPF_A, 0) },
	    3, 0 },
	{ "division by nothing",
	    { BPF_STMT(BPF_LDX | BPF_IMM, 0),
		BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
		BPF_STMT(BPF_RET | BPF_K, ALLOW) },
	    3, KILL },
	{ "no end", { BPF_STMT(BPF_LD | BPF_IMM, 1) }, 1, KILL },
	{ "beyond the end",
	    { BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff),
		BPF_STMT(BPF_RET | BPF_K, ALLOW) },
	    2, KILL },
	{ "beyond the data",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)),
		BPF_STMT(BPF_RET | BPF_K, ALLOW) },
	    2, KILL },
	{ "not aligned",
	    { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2),
		BPF_STMT(BPF_RET | BPF_K, ALLOW) },
	    2, KILL },
	{ "no such memory",
	    { BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_K, ALLOW) }, 2,
	    KILL },
	{ "a byte", { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0) }, 1, KILL },
};

START_TEST(running)
{
	const struct seccomp_data data = { .nr = 5,
		.arch = AUDIT_ARCH_X86_64,
		.args = { 0x1122334455667788, 1, 2, 3, 4, 5 } };

	ck_assert_msg(
	    seccomp_run(runs[_i].v, runs[_i].n, &data) == runs[_i].says,
	    "%s: %#x", runs[_i].name,
	    seccomp_run(runs[_i].v, runs[_i].n, &data));
}
END_TEST

/* ---- chains ---- */

static uint32_t
add(struct filters *f, uint32_t before, long nr, uint32_t action)
{
	const struct sock_filter v[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, ALLOW),
	};

	return filters_add(f, before, 0, v, COUNT(v));
}

START_TEST(chains)
{
	const uint64_t none[6] = { 0 };
	struct filters f = { 0 }, g = { 0 };
	uint32_t a, b, c;

	a = add(&f, 0, SYS_sync, SECCOMP_RET_ERRNO | 1);
	b = add(&f, a, SYS_times, SECCOMP_RET_LOG);
	c = add(&f, a, SYS_alarm, SECCOMP_RET_USER_NOTIF);
	ck_assert_uint_eq(a, 1);
	ck_assert_uint_ne(b, c);
	/* The same after the same is the same. */
	ck_assert_uint_eq(add(&f, a, SYS_times, SECCOMP_RET_LOG), b);
	ck_assert_uint_ne(add(&f, b, SYS_times, SECCOMP_RET_LOG), b);
	ck_assert(filters_contain(&f, b, a) && filters_contain(&f, c, a));
	ck_assert(!filters_contain(&f, b, c) && !filters_contain(&f, a, b));
	ck_assert(filters_contain(&f, b, 0));

	ck_assert(filters_allow(&f, b, SYS_times, none));
	ck_assert(filters_allow(&f, b, SYS_alarm, none));
	ck_assert(!filters_allow(&f, b, SYS_sync, none));
	ck_assert(!filters_allow(&f, c, SYS_alarm, none));
	ck_assert(filters_allow(&f, 0, SYS_sync, none));
	ck_assert(filters_notify(&f, c) && !filters_notify(&f, b));

	ck_assert_int_eq(filters_copy(&g, &f), 0);
	ck_assert_uint_eq(g.n, f.n);
	filters_free(&f);
	ck_assert(!filters_allow(&g, b, SYS_sync, none));
	filters_free(&g);
}
END_TEST

/* The same call from another place: one that looks at places is not asked. */
START_TEST(elsewhere)
{
	struct sock_filter looks[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 8),
		BPF_STMT(BPF_RET | BPF_K, ALLOW),
	};
	struct user_regs_struct r = { .orig_rax = SYS_times, .r10 = 5 };
	struct filters f = { 0 };
	uint32_t plain, place;

	plain = add(&f, 0, SYS_sync, KILL);
	place = filters_add(&f, plain, 0, looks, COUNT(looks));
	ck_assert(filters_allow_elsewhere(&f, 0, &r));
	ck_assert(filters_allow_elsewhere(&f, plain, &r));
	ck_assert(!filters_allow_elsewhere(&f, place, &r));
	looks[0].k = 12; /* its upper half */
	place = filters_add(&f, plain, 0, looks, COUNT(looks));
	ck_assert(!filters_allow_elsewhere(&f, place, &r));
	looks[0].k = 16;
	place = filters_add(&f, plain, 0, looks, COUNT(looks));
	ck_assert(filters_allow_elsewhere(&f, place, &r));
	r.orig_rax = SYS_sync;
	ck_assert(!filters_allow_elsewhere(&f, plain, &r));
	filters_free(&f);
}
END_TEST

static struct process *
confined(void)
{
	struct process *p = process_new();

	p->pid = 10;
	p->dumpable = 1;
	for (int i = 0; i < 3; i++) {
		struct thread *t =
		    process_grow(&p->threads, &p->nthreads, sizeof(*t));

		t->tid = 10 + i;
		t->restart.nr = -1;
		t->seccomp = SECCOMP_MODE_FILTER;
	}
	add(&p->filters, 0, SYS_sync, KILL);
	add(&p->filters, 1, SYS_times, KILL);
	add(&p->filters, 2, SYS_alarm, KILL);
	p->filters.v[1].flags = SECCOMP_FILTER_FLAG_LOG;
	p->threads[0].filter = p->threads[1].filter = 2;
	p->threads[2].filter = 3;
	return p;
}

START_TEST(common)
{
	struct process *p = confined();

	ck_assert_uint_eq(filters_common(p), 2);
	p->threads[1].filter = 1;
	ck_assert_uint_eq(filters_common(p), 1);
	p->threads[1].filter = add(&p->filters, 0, SYS_getpid, KILL);
	ck_assert_uint_eq(filters_common(p), 0);
	process_free(p);
}
END_TEST

/* ---- the text ---- */

static int
reads(struct process *p, const char *s, struct snap_ctx *cx)
{
	char *text = strdup(s);
	struct lines l;
	int err;

	lines_init(&l, cx, "seccomp", text, strlen(text));
	err = img_seccomp_read(&l, p);
	free(text);
	return err;
}

START_TEST(there_and_back)
{
	struct process *p = confined(), *q = confined();
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct text t = { 0 }, u = { 0 };
	char *s, *again;
	size_t len;

	p->threads[1].seccomp = SECCOMP_MODE_STRICT;
	p->threads[1].filter = 0;
	img_seccomp_write(&t, p);
	s = text_take(&t, &len);
	filters_free(&q->filters);
	for (size_t i = 0; i < q->nthreads; i++)
		q->threads[i].seccomp = q->threads[i].filter = 0;
	ck_assert_msg(reads(q, s, cx) == 0, "%s", snap_error(cx));
	ck_assert_uint_eq(q->filters.v[1].flags, SECCOMP_FILTER_FLAG_LOG);
	ck_assert_uint_eq(q->threads[2].filter, 3);
	ck_assert_uint_eq(q->threads[1].seccomp, SECCOMP_MODE_STRICT);
	img_seccomp_write(&u, q);
	again = text_take(&u, &len);
	ck_assert_str_eq(s, again);
	free(s);
	free(again);
	snap_ctx_free(cx);
	process_free(p);
	process_free(q);
}
END_TEST

#define OP "op: 0x06 0 0 0x7fff0000\n"

static const struct {
	const char *text, *says;
} bads[] = {
	{ "filter: 2 0 0x0\n" OP, "1: not the next filter's number" },
	{ "filter: 1 1 0x0\n" OP, "1: not the number of one before it" },
	{ "filter: 1 0 0\n" OP, "1: not flags" },
	{ "filter: 1 0 0x0 0\n" OP, "1: not flags" },
	{ OP, "1: of no filter" },
	{ "filter: 1 0 0x0\nop: 0x06 0 256 0x0\n", "2: not CODE JT JF K" },
	{ "filter: 1 0 0x0\nop: 0x10000 0 0 0x0\n", "2: not CODE JT JF K" },
	{ "filter: 1 0 0x0\nop: 0x06 0 0\n", "2: not CODE JT JF K" },
	{ "filter: 1 0 0x0\nthread: 10 1\n", "2: filter 1 has no instruction" },
	{ "filter: 1 0 0x0\n" OP "thread: 10 2\n",
	    "3: not the number of a filter" },
	{ "filter: 1 0 0x0\n" OP "thread: 10 0\n",
	    "3: not the number of a filter" },
	{ "filter: 1 0 0x0\n" OP "thread: 77 1\n", "3: not a thread" },
	{ "filter: 1 0 0x0\n" OP "thread: 10 1\nthread: 10 1\n",
	    "4: a thread's second" },
	{ "thread: 10 Strict\n", "1: not the number of a filter" },
	{ "mode: 2\n", "1: unknown key" },
};

START_TEST(refused)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = confined();

	filters_free(&p->filters);
	for (size_t i = 0; i < p->nthreads; i++)
		p->threads[i].seccomp = p->threads[i].filter = 0;
	ck_assert_int_eq(reads(p, bads[_i].text, cx), -EBADMSG);
	ck_assert_msg(strstr(snap_error(cx), bads[_i].says) != NULL, "%s",
	    snap_error(cx));
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

/* As many as the kernel allows along a chain, and one more. */
START_TEST(too_long)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = confined();
	struct text t = { 0 };
	size_t len;
	char *s;

	filters_free(&p->filters);
	for (size_t i = 0; i < p->nthreads; i++)
		p->threads[i].seccomp = p->threads[i].filter = 0;
	for (unsigned i = 1; i <= 8; i++) {
		text_putf(&t, "filter: %u %u 0x0\n", i, i - 1);
		for (unsigned k = 0; k < BPF_MAXINSNS - 4; k++)
			text_puts(&t, OP);
	}
	text_puts(&t, "thread: 10 8\nfilter: 9 8 0x0\n" OP "thread: 11 9\n");
	s = text_take(&t, &len);
	ck_assert_int_eq(reads(p, s, cx), -EBADMSG);
	ck_assert(strstr(snap_error(cx), "too long together") != NULL);
	ck_assert_uint_eq(p->threads[0].filter, 8);
	free(s);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

/* ---- the plan ---- */

/* Which operations of a plan install filters, by the lane they are in. */
static void
count(const struct plan *pl, int per_lane[4])
{
	for (size_t lane = 0; lane < pl->nlanes; lane++)
		for (uint32_t i = 0; i < pl->lanes[lane].n; i++) {
			const struct op *op =
			    &pl->ops[pl->lanes[lane].first + i];

			per_lane[lane] +=
			    op->kind == OP_CALL && op->nr == SYS_seccomp;
		}
}

START_TEST(planned)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = confined();
	struct host h = { .fd_first = 100, .pages_fd = 100, .exe_fd = -1 };
	int suspended[4] = { 0 }, plain[4] = { 0 };
	struct plan *pl;

	h.suspended = true;
	ck_assert_int_eq(plan_make(cx, p, &h, &pl), 0);
	count(pl, suspended);
	/* Two that all inherit, and the one of the last thread. */
	ck_assert_int_eq(suspended[0], 2);
	ck_assert_int_eq(suspended[1], 0);
	ck_assert_int_eq(suspended[2], 1);
	ck_assert_uint_eq(pl->nfilters, 3);
	plan_free(pl);

	h.suspended = false;
	ck_assert_int_eq(plan_make(cx, p, &h, &pl), 0);
	count(pl, plain);
	ck_assert_int_eq(plain[0] + plain[1] + plain[2], 0);
	ck_assert_uint_eq(pl->nfilters, 3);
	plan_free(pl);
	process_free(p);
	snap_ctx_free(cx);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("seccomp");
	TCase *tc = tcase_create("seccomp");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, running, 0, (int)COUNT(runs));
	tcase_add_test(tc, chains);
	tcase_add_test(tc, elsewhere);
	tcase_add_test(tc, common);
	tcase_add_test(tc, there_and_back);
	tcase_add_loop_test(tc, refused, 0, (int)COUNT(bads));
	tcase_add_test(tc, too_long);
	tcase_add_test(tc, planned);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
