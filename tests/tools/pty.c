/*
 * pty - hold pseudo terminals open.
 *
 *	pty FILE COUNT
 *
 * Writes the paths of COUNT terminals into FILE, a line each, and then reads
 * away what is written to them until it is killed.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX 16

int
main(int argc, char **argv)
{
	struct pollfd pfd[MAX];
	int count, i, slave[MAX];
	char drop[4096], name[4096];
	FILE *f;

	if (argc != 3 || (count = atoi(argv[2])) < 1 || count > MAX) {
		fprintf(stderr, "usage: pty FILE COUNT\n");
		return 2;
	}
	snprintf(name, sizeof(name), "%s.new", argv[1]);
	if ((f = fopen(name, "w")) == NULL)
		return 1;
	for (i = 0; i < count; i++) {
		pfd[i].fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
		pfd[i].events = POLLIN;
		if (pfd[i].fd < 0 || grantpt(pfd[i].fd) != 0 ||
		    unlockpt(pfd[i].fd) != 0)
			return 1;
		fprintf(f, "%s\n", ptsname(pfd[i].fd));
		/* Held open, so that the master never sees a hang-up. */
		slave[i] =
		    open(ptsname(pfd[i].fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (slave[i] < 0)
			return 1;
	}
	if (fclose(f) != 0 || rename(name, argv[1]) != 0)
		return 1;
	for (;;) {
		if (poll(pfd, (nfds_t)count, -1) < 0)
			continue;
		for (i = 0; i < count; i++)
			if (pfd[i].revents & POLLIN)
				(void)!read(pfd[i].fd, drop, sizeof(drop));
			else if (pfd[i].revents != 0)
				usleep(1000);
	}
}
