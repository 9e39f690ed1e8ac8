#include "identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* Of which memory is made; `status` has the layout of it. */
static const char *const names[] = { "checkpoint", "maps", "pagemap", "pages",
	"status", "cmdline", "environ", "auxv", "exe" };

/* Which may be missing: with them it is not an image of one process. */
static const char *const others[] = { "children", "zombies" };

static int
add(XXH3_state_t *state, int dir, const char *name)
{
	struct stat st;
	uint64_t v[8];

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	v[0] = st.st_dev;
	v[1] = st.st_ino;
	v[2] = (uint64_t)st.st_size;
	v[3] = st.st_mode;
	v[4] = (uint64_t)st.st_mtim.tv_sec;
	v[5] = (uint64_t)st.st_mtim.tv_nsec;
	v[6] = (uint64_t)st.st_ctim.tv_sec;
	v[7] = (uint64_t)st.st_ctim.tv_nsec;
	XXH3_128bits_update(state, name, strlen(name) + 1);
	XXH3_128bits_update(state, v, sizeof(v));
	return 0;
}

static int
not_dots(const struct dirent *de)
{
	return strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0;
}

/* Saved contents, which may be mapped; in the order of their names. */
static int
add_contents(XXH3_state_t *state, int dir)
{
	struct dirent **v;
	int fd, n, err = 0;

	fd = openat(dir, "files", O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = scandirat(fd, ".", &v, not_dots, alphasort);
	if (n < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	for (int i = 0; i < n; i++) {
		if (err == 0)
			err = add(state, fd, v[i]->d_name);
		free(v[i]);
	}
	free(v);
	close(fd);
	return err;
}

int
identity_of(int dir, struct identity *out)
{
	XXH3_state_t *state = XXH3_createState();
	XXH128_hash_t sum;
	struct stat st, pages;
	int err = 0;

	if (state == NULL)
		return -ENOMEM;
	XXH3_128bits_reset(state);
	if (fstat(dir, &st) < 0 ||
	    fstatat(dir, "pages", &pages, AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	for (size_t i = 0; err == 0 && i < sizeof(names) / sizeof(names[0]);
	     i++)
		err = add(state, dir, names[i]);
	for (size_t i = 0; err == 0 && i < sizeof(others) / sizeof(others[0]);
	     i++) {
		err = add(state, dir, others[i]);
		if (err == -ENOENT)
			err = 0;
	}
	if (err == 0)
		err = add_contents(state, dir);
	sum = XXH3_128bits_digest(state);
	XXH3_freeState(state);
	if (err < 0)
		return err;
	*out = (struct identity){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.sum = { sum.low64, sum.high64 },
		.bytes = (uint64_t)pages.st_size,
	};
	return 0;
}
