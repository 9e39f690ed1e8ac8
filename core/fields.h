/*
 * fields.h - lines "key: value" of a structure, by a table of its members, in
 * both directions.
 */
#ifndef FIELDS_H
#define FIELDS_H

#include "text.h"

enum field_type {
	FIELD_U64,   /* decimal */
	FIELD_X64,   /* 0x and 16 hex digits, with leading zeros */
	FIELD_U32,   /* decimal */
	FIELD_X32,   /* 0x and 8 hex digits */
	FIELD_O32,   /* octal, 4 digits or more */
	FIELD_I32,   /* signed */
	FIELD_BOOL,  /* yes or no */
	FIELD_NAME,  /* char[16], escaped */
	FIELD_IDS,   /* four uint32_t: real, effective, saved, file system */
	FIELD_LIMIT, /* two uint64_t: soft, hard; or "unlimited" */
	FIELD_NUMA   /* struct numa, see numa.h */
};

struct field {
	const char *key;
	enum field_type type;
	size_t offset;
	int64_t min, max; /* of U64, U32, I32; both 0: what the type holds */
	bool optional;	  /* not written if it is 0, and may be missing */
};

/* At most 64 rows. */
struct fields {
	const struct field *v;
	size_t n;
};

void fields_write(struct text *t, const struct fields *f, const void *base);

/*
 * One line.  1: it was a field, and its bit is set in *seen; 0: the key is
 * none of them; -EBADMSG: a bad value, or the second of its kind.
 */
int fields_parse(struct lines *l, const struct fields *f, void *base,
    const char *key, char *value, uint64_t *seen);

/* -EBADMSG if one is missing; `of` names the block, "" if there is but one. */
int fields_complete(
    struct lines *l, const struct fields *f, uint64_t seen, const char *of);

#endif
