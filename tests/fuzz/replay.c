/*
 * replay.c - runs a fuzzer's harness over the files of directories, each given
 * as an argument, without the fuzzer: what was found once is a test for ever.
 */
#include <dirent.h>
#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *current; /* what a crash is about */

/* In a block of its own size, so that a sanitizer sees its end. */
static void
run(const char *path)
{
	struct stat st;
	uint8_t *data;
	FILE *f;

	current = path;
	f = fopen(path, "r");
	if (f == NULL || fstat(fileno(f), &st) < 0)
		err(1, "%s", path);
	data = malloc((size_t)st.st_size + (st.st_size == 0));
	if (data == NULL ||
	    fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		err(1, "%s", path);
	fclose(f);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
}

static unsigned
run_all(const char *dir)
{
	char path[4096];
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir(dir);

	if (d == NULL)
		err(1, "%s", dir);
	while ((e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		run(path);
		n++;
	}
	closedir(d);
	return n;
}

static void
crashed(int sig)
{
	if (current != NULL &&
	    write(STDERR_FILENO, current, strlen(current)) > 0 &&
	    write(STDERR_FILENO, "\n", 1) > 0)
		current = NULL;
	signal(sig, SIG_DFL);
	raise(sig);
}

int
main(int argc, char **argv)
{
	unsigned n = 0;

	signal(SIGABRT, crashed);
	signal(SIGSEGV, crashed);
	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		n += run_all(argv[i]);
	if (n == 0)
		errx(1, "nothing to run: replay DIR...");
	printf("%u inputs\n", n);
	return 0;
}
