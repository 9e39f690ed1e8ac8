/*
 * unit.h - how a program of tests ends, and where its tests may put files.
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A directory that is removed when all tests have run, since one that fails or
 * is killed clears nothing away: where tests/run removes what is left in any
 * case, or in /tmp.
 */
static inline const char *
unit_dir(void)
{
	static char name[256];
	const char *work = getenv("WORK");

	if (name[0] != '\0')
		return name;
	snprintf(name, sizeof(name), "%s/unit.XXXXXX",
	    work != NULL && strlen(work) < 64 ? work : "/tmp");
	if (mkdtemp(name) == NULL) {
		perror(name);
		exit(EXIT_FAILURE);
	}
	return name;
}

static inline int
unit_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

/* Run it; the exit status.  How much is said is for CK_VERBOSITY to say. */
static inline int
unit_run(Suite *s)
{
	SRunner *r = srunner_create(s);
	const char *dir = unit_dir();
	int failed;

	srunner_run_all(r, CK_ENV);
	nftw(dir, unit_remove, 8, FTW_DEPTH | FTW_PHYS);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
