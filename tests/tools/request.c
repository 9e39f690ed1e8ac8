/*
 * request - write one request into .restore and say how it went.
 *
 *	request FILE PATH [OPTION...]
 *
 * PATH and the options are written as lines, in one write(2).  Prints one
 * line: the name of the errno, or OK, and what is read back from the same
 * open file.  Exit status: 0 it was restored, 1 refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	char text[8192] = "", answer[4096];
	size_t len = 0;
	const char *how = "OK";
	ssize_t n;
	int fd, i;

	if (argc < 3) {
		fprintf(stderr, "usage: request FILE PATH [OPTION...]\n");
		return 2;
	}
	for (i = 2; i < argc && len < sizeof(text); i++)
		len += (size_t)snprintf(
		    text + len, sizeof(text) - len, "%s\n", argv[i]);
	if ((fd = open(argv[1], O_RDWR)) < 0) {
		printf("%s open\n", strerrorname_np(errno));
		return 1;
	}
	n = write(fd, text, strlen(text));
	if (n < 0)
		how = strerrorname_np(errno);
	else if ((size_t)n != strlen(text))
		how = "SHORT";
	n = pread(fd, answer, sizeof(answer) - 1, 0);
	if (n < 0)
		n = snprintf(answer, sizeof(answer), "(read: %s)",
		    strerrorname_np(errno));
	while (n > 0 && answer[n - 1] == '\n')
		n--;
	answer[n] = '\0';
	printf("%s %s\n", how, answer);
	return strcmp(how, "OK") == 0 ? 0 : 1;
}
