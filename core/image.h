/*
 * image.h - a checkpoint as files: struct process to text and back.
 *
 * Writing goes to memory (image_file), since a checkpoint's files are served
 * before they are copied anywhere.  Reading is strict: an image is untrusted
 * input, and every refusal says FILE:LINE.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "process.h"
#include "snap.h"

/* ---- writing ---- */

/*
 * One file of the tree, in the order of snap_checkpoint_node().  Where `text`
 * is not NULL it is the contents (or a link's target); else the contents come
 * from `content_fd`, or, with neither, they are `pages` or one of the sums.
 */
struct image_node {
	struct snap_node node;
	const struct process *p; /* whose directory it is in; borrowed */
	char *name;		 /* owned; node.name points to it */
	char *text;		 /* owned */
	int content_fd;		 /* borrowed from the process, -1: none */
	enum {
		IMAGE_TEXT,
		IMAGE_CONTENT,
		IMAGE_PAGES,
		IMAGE_PAGESUMS,
		IMAGE_SUMS,
	} source;
};

struct image_tree {
	struct image_node *v;
	size_t n;
	uint32_t *slots; /* of image_names.c */
	size_t nslots;
};

/* p, and all that are below it in its tree. */
int image_write(
    struct snap_ctx *cx, const struct process *p, struct image_tree *out);
/* Nothing but its root. */
int image_write_root(
    struct snap_ctx *cx, const struct process *p, struct image_tree *out);
void image_tree_free(struct image_tree *t);

/* image_names.c: all nodes are there; the number of one in `dir`, 0: none. */
int image_names_make(struct image_tree *t);
uint32_t image_find(const struct image_tree *t, uint32_t dir, const char *name);

/* snap_checkpoint_read() or what is like it. */
typedef ssize_t image_read_fn(
    void *arg, uint32_t n, void *buf, size_t len, uint64_t off);

/*
 * The sums of a tree, computed while its files are read: what a reader is
 * given from the start of a file to its end is not read a second time.
 * Thread-safe, but for new and free.  The tree is borrowed.
 */
struct image_hasher;

/* NULL if there is no memory. */
struct image_hasher *image_hasher_new(
    const struct image_tree *t, image_read_fn *read, void *arg);
void image_hasher_free(struct image_hasher *h);

/*
 * A thread is about to read these bytes of node `n`; those that are read behind
 * them wait for them.  It must call image_hasher_feed() with what it has got
 * from the same offset on, even if that is nothing.
 */
void image_hasher_begin(
    struct image_hasher *h, uint32_t n, size_t len, uint64_t off);

/* These bytes of node `n` were just read. */
void image_hasher_feed(struct image_hasher *h, uint32_t n, const void *buf,
    size_t len, uint64_t off);

/*
 * The text of the xxh128sums in directory `dir`, to be freed; what was not fed
 * is read.  Its length does not depend on the contents, and is node.size of the
 * sums' node beforehand.
 */
int image_hasher_sums(struct image_hasher *h, uint32_t dir, char **text);
/* Likewise of the pagesums that are node `n`, behind their pages. */
int image_hasher_pagesums(
    struct image_hasher *h, uint32_t n, char **text, size_t *len);

/* ---- reading ---- */

/*
 * Read and check the image in the open directory `dir`: every text file whole
 * and once, its checksum, its syntax, its limits, and what the files say of
 * each other.  Opens `pages` and files/ID (O_NOFOLLOW) without reading them.
 * On success *out is the caller's, to be released by process_free().
 *
 * ENOENT no checkpoint there; EBADMSG damaged or cut short; EPROTO another
 * version or architecture.
 */
struct image_sums; /* the checksums that are still to be verified */
int image_read(struct snap_ctx *cx, int dir, struct process **out,
    struct image_sums **sums);
/* The same into p, which is new, and the caller's in any case; so is *sums. */
int image_read_into(struct snap_ctx *cx, int dir, struct process *p,
    struct image_sums **sums);

/*
 * The same with all that is below children/, as *out, empty so far, to be
 * released by family_fini() in any case; and what they say of each other.  Its
 * memory is resolved (cow.h), but for that of an increment (chain.h).
 */
int image_read_tree(struct snap_ctx *cx, int dir, struct family *out);
/* That is one link of a chain, in sentences NAME/. */
int image_read_link(
    struct snap_ctx *cx, int dir, const char *name, struct family *out);

/*
 * The sums by which pieces of `pages` are to be verified; borrowed.  NULL if
 * there are none to go by: then `pages` is to be verified whole, if at all.
 * Accepts NULL.
 */
const struct pagesums *image_pagesums(const struct image_sums *sums);

/*
 * Verify files/ID and `pages`: reads them whole.  What a pager brings is
 * verified as it is read: then `pieces` says of each piece of `pages`, if there
 * are sums of pieces, whether it is to be verified here.  NULL: all are.
 */
int image_verify(struct snap_ctx *cx, const struct process *p,
    const struct image_sums *sums, const bool *pieces);
/* Only files/ID. */
int image_verify_contents(struct snap_ctx *cx, const struct process *p,
    const struct image_sums *sums);
void image_sums_free(struct image_sums *s);

#endif
