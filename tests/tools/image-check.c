/*
 * image-check - read an image as a restore would, and restore nothing.
 *
 *	image-check DIR
 *
 * Prints a line that sums it up.  Exit status: 0 good; 1 not, with the
 * sentence; 77 good for another CPU or kernel than this.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "resource.h"

int
main(int argc, char **argv)
{
	struct snap_ctx *cx = snap_ctx_new(NULL);
	struct process *p = NULL;
	struct image_sums *sums = NULL;
	int dir, rc;

	if (argc != 2 || cx == NULL)
		errx(2, "usage: image-check DIR");
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		err(1, "%s", argv[1]);
	rc = image_read(cx, dir, &p, &sums);
	if (rc == 0 && sums != NULL)
		rc = image_verify(cx, p, sums, NULL);
	if (rc == 0)
		rc = fds_check(cx, p);
	if (rc < 0) {
		printf("%s: %s (%s)\n", argv[1], snap_error(cx),
		    strerrorname_np(-rc));
		return rc == -EPROTO ? 77 : 1;
	}
	printf("process %d: %zu threads, %zu mappings, %zu descriptors, "
	       "%zu contents, %zu unsupported\n",
	    (int)p->pid, p->nthreads, p->nvmas, p->nfds, p->ncontents,
	    p->nunsupported);
	image_sums_free(sums);
	process_free(p);
	snap_ctx_free(cx);
	return 0;
}
