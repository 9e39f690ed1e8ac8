/*
 * img_maps.c - `maps`: the very text of /proc/PID/maps.
 *
 *	START-END PERMS OFFSET MAJOR:MINOR INODE   PATH
 */
#include <errno.h>

#include "img.h"
#include "vma.h"

#define MAX_VMAS (1u << 24)

void
img_maps_write(struct text *t, const struct process *p)
{
	for (size_t i = 0; i < p->nvmas; i++)
		vma_write(t, &p->vmas[i]);
}

int
img_maps_read(struct lines *l, struct process *p)
{
	uint64_t top = vma_task_size();
	int err;

	err = vma_parse_maps(l, p);
	if (err < 0)
		return err;
	if (p->nvmas == 0)
		return lines_fail(l, "no memory at all");
	if (p->nvmas > MAX_VMAS)
		return lines_fail(l, "more VMAs than a process can have");
	for (size_t i = 0; i < p->nvmas; i++) {
		l->line = (unsigned)i + 1;
		if (p->vmas[i].end > top && p->vmas[i].kind != VMA_VSYSCALL)
			return lines_fail(l, "above what a process can map");
	}
	return 0;
}
