/*
 * fuzz_proc.c - texts of /proc, ELF files, and lists of sums.  The first byte
 * of the input says which parser gets the rest.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"
#include "fileid.h"
#include "image_sums.h"
#include "proc.h"
#include "proc_parse.h"
#include "vma.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
maps(struct snap_ctx *cx, char *text, size_t len)
{
	struct process *p = process_new();
	struct text t = { 0 };
	struct lines l;

	lines_init(&l, cx, "maps", text, len);
	if (vma_parse_maps(&l, p) == 0)
		for (size_t i = 0; i < p->nvmas; i++)
			vma_write(&t, &p->vmas[i]);
	text_fini(&t);
	process_free(p);
}

static void
smaps(struct snap_ctx *cx, char *text, size_t len)
{
	struct process *p = process_new();
	struct lines l;

	for (uint64_t a = 0x1000; a < 0x10000; a += 0x2000) {
		struct vma *v = process_grow(&p->vmas, &p->nvmas, sizeof(*v));

		v->start = a;
		v->end = a + 0x1000;
	}
	lines_init(&l, cx, "smaps", text, len);
	vma_apply_smaps(&l, p, UINT64_MAX, NULL);
	process_free(p);
}

static void
status(struct snap_ctx *cx, char *text, size_t len)
{
	struct proc_status st = { 0 };
	uint64_t v;

	(void)cx;
	(void)len;
	if (proc_parse_status(text, &st) == 0)
		free(st.creds.groups);
	proc_field_u64(text, "VmLck", 10, &v);
}

static void
stat_and_limits(struct snap_ctx *cx, char *text, size_t len)
{
	struct proc_limit limits[PROCESS_NRLIMITS];
	struct posix_timer *timers;
	struct proc_stat st;
	size_t n;

	(void)cx;
	(void)len;
	proc_parse_stat(text, &st);
	proc_parse_limits(text, limits);
	if (proc_parse_timers(text, &timers, &n) == 0)
		free(timers);
}

static void
elf(struct snap_ctx *cx, char *text, size_t len)
{
	char hex[2 * FILEID_BUILD_ID_MAX + 1];

	(void)cx;
	fileid_build_id_mem(text, len, hex);
}

static void
sums(struct snap_ctx *cx, char *text, size_t len)
{
	struct image_sums *s;

	if (image_sums_parse(cx, text, len, &s) == 0) {
		image_sums_check(cx, s, "pages", "", 0);
		image_sums_free(s);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(struct snap_ctx * cx, char *text,
	    size_t len) = { maps, smaps, status, stat_and_limits, elf, sums };
	struct snap_ctx *cx;
	char *text;

	if (size == 0)
		return 0;
	cx = snap_ctx_new(NULL);
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	parsers[data[0] % (sizeof(parsers) / sizeof(parsers[0]))](
	    cx, text, size - 1);
	free(text);
	snap_ctx_free(cx);
	return 0;
}
