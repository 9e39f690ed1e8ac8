/*
 * proc.h - read /proc/PID files whole; pure parsers of their text.
 *
 * A file of /proc is read to its end into memory before any of it is looked
 * at.  The text comes from the kernel, but much of it (names, paths) is the
 * process's own choice: nothing in it is trusted to be short, or printable.
 */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct snap_ctx;

/*
 * open(2) of /proc/PID/NAME, O_CLOEXEC added.  -ESRCH where the process is
 * gone, otherwise the error of open(2); a sentence is left either way.
 */
int proc_open(struct snap_ctx *cx, pid_t pid, const char *name, int flags);

/*
 * /proc/PID/NAME whole, with a NUL behind it that is not counted.  *text is
 * to be freed.  `len` may be NULL where the text has no NUL of its own.
 */
int proc_read(
    struct snap_ctx *cx, pid_t pid, const char *name, char **text, size_t *len);

/* The target of the link /proc/PID/NAME, to be freed. */
int proc_readlink(
    struct snap_ctx *cx, pid_t pid, const char *name, char **target);

/* The same where a failure is no error of the job: no sentence is left. */
int proc_try(pid_t pid, const char *name, char **text, size_t *len);

/* Read what is left of `fd` likewise; 0 or -errno, without a sentence. */
int proc_read_fd(int fd, char **text, size_t *len);

/*
 * The value of the line "KEY:\tvalue" in a text such as status: points behind
 * the colon and the blanks; NULL if there is no such line.  The value ends
 * with a newline or the end of the text.
 */
const char *proc_field(const char *text, const char *key);

/* The number at the start of that value; false if there is none. */
bool proc_field_u64(
    const char *text, const char *key, int base, uint64_t *value);

#endif
