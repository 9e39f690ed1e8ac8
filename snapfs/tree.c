#include "tree.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* What the page cache and readers that size their buffers by it are told. */
#define BLOCK_FILE (1u << 20)

const struct tree_control tree_controls[] = {
	{ ".restore", NODE_RESTORE, 0666 },
	{ ".status", NODE_STATUS, 0444 },
	{ ".log", NODE_LOG, 0444 },
	{ NULL, NODE_INVALID, 0 },
};

/* Looked up, but not listed. */
static const struct tree_control hidden_controls[] = {
	{ ".log.raw", NODE_LOG_RAW, 0444 },
	{ NULL, NODE_INVALID, 0 },
};

static const struct tree_control *const control_tables[] = {
	tree_controls,
	hidden_controls,
};

bool
tree_pid(const char *name, pid_t *pid)
{
	long v = 0;
	const char *p;

	/* One name a process: no sign, no leading zero. */
	if (name[0] < '1' || name[0] > '9')
		return false;
	for (p = name; *p != '\0'; p++) {
		if (*p < '0' || *p > '9' || p - name >= 7)
			return false;
		v = v * 10 + (*p - '0');
	}
	if (v >= 1 << 22)
		return false;
	*pid = (pid_t)v;
	return true;
}

int
tree_named(const char *name, pid_t *pid)
{
	const char *at = strchr(name, '@');
	char digits[8];
	const unsigned char *p;

	if (at == NULL || at - name >= (ptrdiff_t)sizeof(digits))
		return -EPERM;
	memcpy(digits, name, (size_t)(at - name));
	digits[at - name] = '\0';
	if (!tree_pid(digits, pid))
		return -EPERM;
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	for (p = (const unsigned char *)at + 1; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			return -EINVAL;
	return at[1] == '\0' ? -EINVAL : 0;
}

const struct tree_control *
tree_control_named(const char *name)
{
	const struct tree_control *c;

	for (size_t i = 0; i < 2; i++)
		for (c = control_tables[i]; c->name != NULL; c++)
			if (strcmp(c->name, name) == 0)
				return c;
	return NULL;
}

const struct tree_control *
tree_control_kind(enum node_kind kind)
{
	const struct tree_control *c;

	for (size_t i = 0; i < 2; i++)
		for (c = control_tables[i]; c->name != NULL; c++)
			if (c->kind == kind)
				return c;
	return NULL;
}

unsigned
tree_top_count(void)
{
	const struct snap_name *top = snap_top_names();
	unsigned n = 0;

	while (n < NODE_MAX_TOP && top[n].name != NULL)
		n++;
	return n;
}

int
tree_top_index(const char *name)
{
	const struct snap_name *top = snap_top_names();
	unsigned i, n = tree_top_count();

	for (i = 0; i < n; i++)
		if (strcmp(top[i].name, name) == 0)
			return (int)i;
	return -1;
}

const struct snap_name *
tree_top(unsigned index)
{
	return index < tree_top_count() ? &snap_top_names()[index] : NULL;
}

struct node
tree_top_node(unsigned index, struct proc_id proc, uint32_t gen)
{
	struct node node = { .kind = NODE_FILE };

	if (snap_top_names()[index].type == SNAP_DIR && proc.pid != 0) {
		node.kind = NODE_PROC;
		node.proc = proc;
		node.sub = index + 1;
		return node;
	}
	node.gen = gen;
	node.low = node_low_top(index);
	node.last = index + 1 == tree_top_count();
	return node;
}

struct node
tree_node(const struct snap_checkpoint *cp, uint32_t n, struct proc_id proc,
    uint32_t gen)
{
	const struct snap_node *sn = snap_checkpoint_node(cp, n);
	struct node node = {
		.kind = NODE_FILE,
		.gen = gen,
		.low = node_low_other(n),
	};
	int top;

	if (n == 0 && proc.pid != 0)
		return (struct node){ .kind = NODE_PROC, .proc = proc };
	if (n != 0 && sn->parent == 0 && (top = tree_top_index(sn->name)) >= 0)
		return tree_top_node((unsigned)top, proc, gen);
	return node;
}

/* A name at the top, of which this checkpoint may have none. */
static bool
top_number(const struct snap_checkpoint *cp, unsigned index, uint32_t *n)
{
	const struct snap_name *top = tree_top(index);

	if (top == NULL)
		return false;
	*n = snap_checkpoint_lookup(cp, 0, top->name);
	return *n != 0;
}

bool
tree_number(
    const struct snap_checkpoint *cp, const struct node *node, uint32_t *n)
{
	if (node->kind == NODE_PROC) {
		*n = 0;
		return node->sub == 0 || top_number(cp, node->sub - 1, n);
	}
	if (node->low <= NODE_MAX_TOP)
		return top_number(cp, node->low - 1, n);
	*n = node->low - node_low_other(0);
	return snap_checkpoint_node(cp, *n) != NULL;
}

static void
stat_times(struct stat *st, struct timespec modified, struct timespec changed)
{
	st->st_atim = modified;
	st->st_mtim = modified;
	st->st_ctim = changed;
}

void
tree_stat_dir(struct stat *st, uint64_t ino, uid_t uid, gid_t gid,
    struct timespec when, struct timespec since)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = S_IFDIR | 0500;
	/* One link: how many subdirectories there are is not said. */
	st->st_nlink = 1;
	st->st_uid = uid;
	st->st_gid = gid;
	st->st_blksize = 4096;
	stat_times(st, when, since);
}

void
tree_stat_root(struct stat *st, struct timespec since)
{
	tree_stat_dir(st, 1, 0, 0, since, since);
	st->st_mode = S_IFDIR | 0555;
}

void
tree_stat_control(
    struct stat *st, const struct tree_control *c, struct timespec since)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = (ino_t)(c->kind - NODE_ROOT + 1);
	st->st_mode = S_IFREG | c->mode;
	st->st_nlink = 1;
	st->st_blksize = 4096;
	stat_times(st, since, since);
}

void
tree_stat_file(struct stat *st, uint64_t ino, const struct snap_node *node,
    struct timespec when)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_uid = node->uid;
	st->st_gid = node->gid;
	st->st_blksize = 4096;
	switch (node->type) {
	case SNAP_DIR:
		st->st_mode = S_IFDIR | 0500;
		break;
	case SNAP_LINK:
		st->st_mode = S_IFLNK | 0777;
		st->st_size = (off_t)node->size;
		break;
	case SNAP_FILE:
		st->st_mode = S_IFREG | 0400;
		st->st_size = (off_t)node->size;
		/* Not fewer than the size asks for: cp would look for holes. */
		st->st_blocks = (blkcnt_t)((node->size + 511) / 512);
		if (node->size >= BLOCK_FILE)
			st->st_blksize = BLOCK_FILE;
		break;
	}
	stat_times(st, when, when);
}
