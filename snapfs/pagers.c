#include "pagers.h"

#include "procinfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TITLE PAGERS_NAME ": of %d, %" PRIu64 " of %" PRIu64 " KiB"
#define TITLE_SCAN PAGERS_NAME ": of %d, %" SCNu64 " of %" SCNu64 " KiB%c"
#define KIB 1024u

/* The rest is zeroed, so that nothing longer shows from before. */
void
pagers_title(char *title, size_t size, pid_t pid, uint64_t done, uint64_t total)
{
	char text[128];

	memset(text, 0, sizeof(text));
	snprintf(text, sizeof(text), TITLE, pid, done / KIB, total / KIB);
	if (size > sizeof(text)) {
		memset(title + sizeof(text), 0, size - sizeof(text));
		size = sizeof(text);
	}
	memcpy(title, text, size);
	title[size - 1] = '\0';
}

bool
pagers_parse(const char *title, pid_t *pid, uint64_t *done, uint64_t *total)
{
	char rest;

	return sscanf(title, TITLE_SCAN, pid, done, total, &rest) == 3;
}

static void
print(FILE *f, int proc, pid_t pager, uid_t uid, bool all)
{
	char text[256], dir[16];
	uint64_t done, total;
	struct stat st;
	pid_t pid;

	if (procinfo_read_small(proc, pager, "comm", text, sizeof(text)) < 0 ||
	    strcmp(text, PAGERS_NAME "\n") != 0 ||
	    procinfo_read_small(proc, pager, "cmdline", text, sizeof(text)) <
		0 ||
	    !pagers_parse(text, &pid, &done, &total))
		return;
	snprintf(dir, sizeof(dir), "%d", pager);
	if (!all && (fstatat(proc, dir, &st, 0) < 0 || st.st_uid != uid))
		return;
	fprintf(f, "pager: %d of %d done %" PRIu64 " total %" PRIu64 "\n",
	    pager, pid, done * KIB, total * KIB);
}

void
pagers_print(FILE *f, int proc, uid_t uid, bool all)
{
	int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((de = readdir(dir)) != NULL)
		if (de->d_name[0] >= '1' && de->d_name[0] <= '9')
			print(f, proc, atoi(de->d_name), uid, all);
	closedir(dir);
}
