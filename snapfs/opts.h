/*
 * opts.h - the command line: snapfs [SOURCE] MOUNTPOINT [-f] [-d] [-o OPTIONS]
 */
#ifndef OPTS_H
#define OPTS_H

#include "snap.h"

struct fuse_args;

struct opts {
	char *source;	  /* NULL: "snapfs" */
	char *mountpoint; /* absolute */
	bool foreground;
	bool debug; /* every FUSE request to stderr */
	bool help, version;
	bool allow_other;
	bool track; /* every process of which a checkpoint is taken */
	unsigned linger_ms;
	unsigned freeze_timeout_ms;
	unsigned max_checkpoints;
	unsigned max_templates;	 /* 0: none is made */
	uint64_t template_bytes; /* of all of them together */
	unsigned max_spares;	 /* 0: none is made */
	uint64_t copy_max;	 /* bytes of an increment that has no twin */
	unsigned max_named;	 /* checkpoints with a name, of one user */
	unsigned max_read;	 /* bytes in one request, 0: as libfuse likes */
	enum snap_level log_level;
};

/*
 * Parse `args`; what is left in it is for libfuse.  0, or -errno with a
 * sentence in `why`: EINVAL if that is not how it is used.
 */
int opts_parse(
    struct opts *o, struct fuse_args *args, char *why, size_t whysize);
void opts_fini(struct opts *o);

extern const char opts_usage[];

/* Bytes, or with K, M, G or T that many times 1024, ... */
bool opts_size(const char *s, uint64_t *bytes);

/* Seconds, with a fraction if one likes, as ms; false if it is no such. */
bool opts_seconds(const char *s, unsigned *ms);

#endif
