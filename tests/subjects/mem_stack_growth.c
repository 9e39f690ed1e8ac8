/*
 * mem_stack_growth - the main thread's stack can still grow by megabytes.
 *
 * variants: musl
 */
#include "subject.h"

static int
descend(int depth)
{
	volatile char frame[16384];

	memset((char *)frame, depth, sizeof(frame));
	if (depth > 0 && descend(depth - 1) != depth - 1)
		return -1;
	return frame[100] == (char)depth && frame[16000] == (char)depth ? depth
									: -1;
}

int
main(int argc, char **argv)
{
	char here[30000];

	subject_init(argc, argv);
	subject_fill(here, sizeof(here), 9);

	subject_wait();

	subject_filled("stack", here, sizeof(here), 9);
	expect(descend(300) == 300, "a frame changed while the stack grew");
	return subject_done();
}
