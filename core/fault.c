#include "fault.h"

#ifdef SNAPFS_FAULTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
fault_hit(const char *name)
{
	static atomic_int hits;
	const char *want = getenv("SNAPFS_FAULT");
	size_t n = strlen(name);
	int count = 1;

	if (want == NULL || strncmp(want, name, n) != 0 ||
	    (want[n] != '\0' && want[n] != ':'))
		return;
	if (want[n] == ':')
		count = atoi(want + n + 1);
	if (atomic_fetch_add(&hits, 1) + 1 == count)
		kill(getpid(), SIGKILL);
}
#endif
