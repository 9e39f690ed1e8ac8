/*
 * tree.h - which names exist, and what stat(2) says of them.  Pure.
 */
#ifndef TREE_H
#define TREE_H

#include "node.h"
#include "snap.h"

#include <sys/stat.h>

/* The pid that `name` is in canonical decimal; false if it is none. */
bool tree_pid(const char *name, pid_t *pid);

/*
 * The pid in PID@NAME, the name of a checkpoint that is kept: 0, or -EPERM if
 * it has no such form, -EINVAL if NAME is empty or has control characters,
 * -ENAMETOOLONG.
 */
int tree_named(const char *name, pid_t *pid);

/* The control files at the root, in listing order; ends with a NULL name. */
struct tree_control {
	const char *name;
	enum node_kind kind;
	mode_t mode;
};
extern const struct tree_control tree_controls[];

const struct tree_control *tree_control_named(const char *name);
const struct tree_control *tree_control_kind(enum node_kind kind);

/* snap_top_names() with their numbers. */
unsigned tree_top_count(void);
int tree_top_index(const char *name); /* -1: no such name */
const struct snap_name *tree_top(unsigned index);

/*
 * Whose the directories of a generation are, if they are not shared by all that
 * read one process: those of a named checkpoint are its own, as its files are.
 */
#define TREE_OWN ((struct proc_id){ 0, 0 })

/*
 * The node of a name at the top in generation `gen` of process `proc`, or of
 * TREE_OWN.
 */
struct node tree_top_node(unsigned index, struct proc_id proc, uint32_t gen);

/* The node of number `n` of a checkpoint of `proc`. */
struct node tree_node(const struct snap_checkpoint *cp, uint32_t n,
    struct proc_id proc, uint32_t gen);

/* The reverse: the number in the checkpoint, false if there is no such. */
bool tree_number(
    const struct snap_checkpoint *cp, const struct node *node, uint32_t *n);

/* A directory of a process; `when` becomes its mtime, `since` its ctime. */
void tree_stat_dir(struct stat *st, uint64_t ino, uid_t uid, gid_t gid,
    struct timespec when, struct timespec since);
void tree_stat_root(struct stat *st, struct timespec since);
void tree_stat_control(
    struct stat *st, const struct tree_control *c, struct timespec since);

/* Anything in a checkpoint, which was taken at `when`. */
void tree_stat_file(struct stat *st, uint64_t ino, const struct snap_node *node,
    struct timespec when);

#endif
