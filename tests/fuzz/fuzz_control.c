/*
 * fuzz_control.c - requests to .restore, and what they are answered; options
 * and names of the mount.
 *
 * A request that is written line by line must mean what it means as a whole.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "node.h"
#include "opts.h"
#include "tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool right)
{
	if (!right)
		abort();
}

/* -errno with a sentence, or 0 with something in it that is sound. */
static int
parse(const char *text, size_t len, struct restore_request *r)
{
	char why[200];
	int err;

	memset(why, 'x', sizeof(why));
	err = control_parse(text, len, r, why, sizeof(why));
	check(memchr(why, '\0', sizeof(why)) != NULL);
	check((err == 0) == (why[0] == '\0'));
	for (const char *s = why; *s != '\0'; s++)
		check(*s >= ' ' && *s < 0x7f);
	check(memchr(r->path, '\0', sizeof(r->path)) != NULL);
	check(memchr(r->tty, '\0', sizeof(r->tty)) != NULL);
	check(err < 0 || !(r->new_pid && r->replace));
	return err;
}

static bool
same(const struct restore_request *a, const struct restore_request *b)
{
	return strcmp(a->path, b->path) == 0 && strcmp(a->tty, b->tty) == 0 &&
	       a->new_pid == b->new_pid && a->stopped == b->stopped &&
	       a->replace == b->replace;
}

static void
line_by_line(const char *text, size_t len, const struct restore_request *whole)
{
	struct restore_request *r = calloc(1, sizeof(*r));

	while (len > 0) {
		const char *nl = memchr(text, '\n', len);
		size_t n = nl == NULL ? len : (size_t)(nl - text) + 1;

		check(parse(text, n, r) == 0);
		text += n;
		len -= n;
	}
	check(same(r, whole));
	free(r);
}

static void
request(const char *text, size_t len)
{
	struct restore_request *r = calloc(1, sizeof(*r));

	if (parse(text, len, r) == 0) {
		line_by_line(text, len, r);
		if (control_is_below(r->path, "/tmp", "/snap"))
			check(r->path[0] == '/');
		control_is_below(r->path, "/snap/1", "/snap");
	}
	free(r);
}

/* Two strings: the mount point and a path. */
static void
below(const char *text, size_t len)
{
	char *mount = strndup(text, len);
	char *path = strdup(len > strlen(mount) ? mount + strlen(mount) : "");

	if (len > strlen(mount)) {
		free(path);
		path =
		    strndup(text + strlen(mount) + 1, len - strlen(mount) - 1);
	}
	if (control_is_below(path, mount, mount))
		check(path[0] != '/' || strlen(path) > 1);
	free(path);
	free(mount);
}

/* Pairs of a user and a line; what was put last is what is got. */
static void
answers(const char *text, size_t len)
{
	struct control_answers *a = calloc(1, sizeof(*a));

	while (len > 1) {
		size_t n = strnlen(text + 1, len - 1);
		char *line = strndup(text + 1, n);
		uid_t uid = (unsigned char)text[0];

		control_answer_put(a, uid, line);
		check(strncmp(control_answer_get(a, uid), line,
			  CONTROL_ANSWER_MAX - 1) == 0);
		control_answer_get(a, uid + 1);
		free(line);
		text += n + 1;
		len -= n + 1;
	}
	free(a);
}

/* Names that are looked up, numbers of inodes that come back. */
static void
names(const char *text, size_t len)
{
	char *name = strndup(text, len);
	struct node node;
	uint64_t ino = 0;
	unsigned ms;
	pid_t pid;

	if (tree_pid(name, &pid)) {
		char again[16];

		snprintf(again, sizeof(again), "%d", pid);
		check(pid > 0 && strcmp(again, name) == 0);
	}
	tree_control_named(name);
	tree_top_index(name);
	opts_seconds(name, &ms);
	free(name);
	memcpy(&ino, text, len < sizeof(ino) ? len : sizeof(ino));
	node = node_of(ino);
	if (node.kind != NODE_INVALID) {
		struct node again = node_of(node_ino(&node));

		check(node_ino(&again) == node_ino(&node));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(
	    const char *text, size_t len) = { request, below, answers, names };
	char *text;

	if (size == 0)
		return 0;
	/* Exactly its own size: nothing behind it. */
	text = malloc(size - 1 + (size == 1));
	memcpy(text, data + 1, size - 1);
	kinds[data[0] % (sizeof(kinds) / sizeof(kinds[0]))](text, size - 1);
	free(text);
	return 0;
}
