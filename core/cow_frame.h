/*
 * cow_frame.h - which page of the machine a page of a process is.
 */
#ifndef COW_FRAME_H
#define COW_FRAME_H

#include <stdint.h>

#define COW_PAGE 4096ull

/*
 * Of an entry of /proc/PID/pagemap: its frame, 0 if it has none that is the
 * process's own, or for those who may not know.
 */
static inline uint64_t
cow_frame(uint64_t entry)
{
	const uint64_t present = 1ull << 63, file = 1ull << 61;

	return (entry & (present | file)) == present
		   ? entry & ((1ull << 55) - 1)
		   : 0;
}

#endif
