#include "huge.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "uapi.h"

/*
 * MADV_COLLAPSE: the kernel copies small pages into a huge one, which is faster
 * than faults, and works on memory that came by userfaultfd.  For each by itself:
 * one that the process has unmapped is no reason to leave the others.
 */
uint64_t
huge_collapse(int pidfd, const struct part *v, size_t n)
{
	uint64_t done = 0;

	for (size_t i = 0; i < n; i++) {
		struct iovec at = { (void *)v[i].start, v[i].end - v[i].start };
		long r = syscall(
		    SYS_process_madvise, pidfd, &at, 1, UAPI_MADV_COLLAPSE, 0);

		if (r < 0 && (errno != ENOMEM && errno != EAGAIN &&
				 errno != EBUSY && errno != EINVAL))
			break;
		done += r > 0 ? (uint64_t)r : 0;
	}
	return done;
}

uint64_t
huge_beyond_pages(const struct process *p)
{
	uint64_t bytes = 0;
	size_t k = 0;

	for (size_t i = 0; i < p->nhuge; i++)
		bytes += p->huge[i].end - p->huge[i].start;
	for (size_t i = 0; i < p->nruns && k < p->nhuge; i++) {
		const struct run *r = &p->runs[i];

		while (k < p->nhuge && p->huge[k].end <= r->start)
			k++;
		for (size_t j = k; r->kind == RUN_HELD && j < p->nhuge &&
				   p->huge[j].start < r->end;
		     j++) {
			uint64_t from = p->huge[j].start > r->start
					    ? p->huge[j].start
					    : r->start;
			uint64_t to =
			    p->huge[j].end < r->end ? p->huge[j].end : r->end;

			bytes -= to - from;
			k = j;
		}
	}
	return bytes;
}
