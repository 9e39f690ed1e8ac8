#include "place.h"

#include "procinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Lines of /proc/PID/status; the others change from moment to moment. */
static const char *const keys[] = { "Uid:", "Gid:", "Groups:", "CapInh:",
	"CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:",
	"Seccomp_filters:", "Cpus_allowed:", "Mems_allowed:" };

/* Files that are read whole. */
static const char *const files[] = { "limits", "cgroup", "oom_score_adj",
	"uid_map", "gid_map" };

static const char *const namespaces[] = { "cgroup", "ipc", "mnt", "net", "pid",
	"pid_for_children", "time", "time_for_children", "user", "uts" };

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static int
put_status(FILE *f, int dir)
{
	char *text, *line, *save;
	int err = procinfo_read(dir, "status", &text);

	if (err < 0)
		return err;
	for (line = strtok_r(text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		for (size_t i = 0; i < COUNT(keys); i++)
			if (strncmp(line, keys[i], strlen(keys[i])) == 0)
				fprintf(f, "%s\n", line);
	free(text);
	return 0;
}

static int
put_file(FILE *f, int dir, const char *name)
{
	char *text;
	int err = procinfo_read(dir, name, &text);

	if (err < 0)
		return err;
	fprintf(f, "%s:\n%s", name, text);
	free(text);
	return 0;
}

/* What a link of /proc leads to is known by its device and inode. */
static int
put_object(FILE *f, int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0)
		return -errno;
	fprintf(f, "%s: %lu %lu\n", name, (unsigned long)st.st_dev,
	    (unsigned long)st.st_ino);
	return 0;
}

/* A kernel without that kind of namespace, or of label, is the same for all. */
static int
optional(int err)
{
	return err == -ENOENT || err == -EINVAL ? 0 : err;
}

static int
put_all(FILE *f, int dir)
{
	char name[64];
	int err = put_status(f, dir);

	for (size_t i = 0; err == 0 && i < COUNT(files); i++)
		err = put_file(f, dir, files[i]);
	for (size_t i = 0; err == 0 && i < COUNT(namespaces); i++) {
		snprintf(name, sizeof(name), "ns/%s", namespaces[i]);
		err = optional(put_object(f, dir, name));
	}
	if (err == 0)
		err = put_object(f, dir, "root");
	if (err == 0)
		err = optional(put_file(f, dir, "attr/current"));
	return err;
}

char *
place_of(int proc, pid_t pid)
{
	char path[16], *text = NULL;
	size_t len;
	FILE *f;
	int dir, err;

	snprintf(path, sizeof(path), "%d", pid);
	dir = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return NULL;
	f = open_memstream(&text, &len);
	err = f == NULL ? -ENOMEM : put_all(f, dir);
	close(dir);
	if (f != NULL && fclose(f) != 0)
		err = -ENOMEM;
	if (err == 0)
		return text;
	free(text);
	return NULL;
}
