/*
 * vma.h - parse the text of /proc/PID/maps and smaps, and write it again.
 *
 * Pure: text in, struct vma out.  The same parser reads what the kernel
 * writes and what an image says, and the writer gives back the very bytes.
 */
#ifndef VMA_H
#define VMA_H

#include "process.h"
#include "text.h"

/* Above every user address; depends on the CPU's page-table depth. */
uint64_t vma_task_size(void);

/*
 * One line of maps, which is changed.  v->path is allocated; kind is what the
 * line alone tells, the other fields are as in a zeroed struct with file -1.
 * 0, -EINVAL (not such a line) or -ENOMEM.
 */
int vma_parse(char *line, struct vma *v);

/* What a line of maps alone says: a guess for files, certain for the rest. */
enum vma_kind vma_guess_kind(const struct vma *v);

/* The whole text of a maps file; appends to p->vmas. */
int vma_parse_maps(struct lines *l, struct process *p);

/* The line as the kernel writes it, with its newline. */
void vma_write(struct text *t, const struct vma *v);

/*
 * Set flags and pkey of p->vmas from the text of a smaps file of the same
 * address space, or of its twin: a VMA takes those of the one that covers its
 * start; `mask` are the flags to take.  seen[i], if not NULL, becomes true
 * where there was one.
 */
int vma_apply_smaps(
    struct lines *l, struct process *p, uint64_t mask, bool *seen);

/*
 * Does this text of a smaps file tell of memory whose missing pages are
 * brought by way of a userfaultfd?  Pages of it that are not there may yet be
 * anything.
 */
bool vma_smaps_missing(const char *smaps);

/* The VMA that covers `addr`, or NULL.  p->vmas is sorted. */
struct vma *vma_find(const struct process *p, uint64_t addr);

/* Names of flags, two letters as in smaps, joined by commas; "-" if none. */
void vma_write_flags(struct text *t, uint64_t flags);
bool vma_parse_flags(char *s, uint64_t *flags);

const char *vma_kind_name(enum vma_kind kind);
bool vma_kind_parse(const char *name, enum vma_kind *kind);

#endif
