/*
 * hold - be another tracer.
 *
 *	hold FILE PID
 *
 * Seizes all threads of PID, makes FILE, and holds them until it is killed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	if (argc != 3) {
		fprintf(stderr, "usage: hold FILE PID\n");
		return 2;
	}
	snprintf(path, sizeof(path), "/proc/%d/task", atoi(argv[2]));
	if ((d = opendir(path)) == NULL)
		return 1;
	while ((e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' &&
		    ptrace(PTRACE_SEIZE, atoi(e->d_name), NULL, NULL) != 0) {
			fprintf(stderr, "%s: %s\n", e->d_name, strerror(errno));
			return 1;
		}
	closedir(d);
	close(open(argv[1], O_WRONLY | O_CREAT, 0600));
	for (;;)
		pause();
}
