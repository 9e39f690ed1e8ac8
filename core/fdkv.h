/*
 * fdkv.h - the `key: value` lines of an image's fdinfo/N: strict, pure
 * parsers.  What they read is untrusted.
 */
#ifndef FDKV_H
#define FDKV_H

#include <stdbool.h>

#include "process.h"

struct snap_ctx;

/* Scanners: move *s on and return true, or return false. */
bool kv_scan_u64(const char **s, int base, uint64_t max, uint64_t *v);
bool kv_scan_text(const char **s, const char *text);

/* The whole value is one number up to `max`. */
bool kv_number(const char *value, int base, uint64_t max, uint64_t *v);

/* Of a file that was checked: the number, or 0 where there is none. */
uint64_t kv_u64(const struct openfile *f, const char *key, int base);

/* MAJOR:MINOR in hex. */
bool kv_device(const char *value, dev_t *dev);

/* SECONDS.NANOSECONDS, nine digits. */
bool kv_time(const char *value, struct timespec *t);

/* Bytes in hex, exactly `len` of them. */
bool kv_hex(const char *value, uint8_t *out, size_t len);

/*
 * Checks: 0, or -EBADMSG with the sentence "fdinfo/N: ...".  The _opt forms
 * accept that the key is not there.
 */
int kv_bad(struct snap_ctx *cx, const struct openfile *f, const char *key);
int kv_need(struct snap_ctx *cx, const struct openfile *f, const char *key);
int kv_need_u64(struct snap_ctx *cx, const struct openfile *f, const char *key,
    int base, uint64_t max);
int kv_opt_u64(struct snap_ctx *cx, const struct openfile *f, const char *key,
    int base, uint64_t max);
/* `content` names contents that the image has. */
int kv_opt_content(
    struct snap_ctx *cx, const struct process *p, const struct openfile *f);

#endif
