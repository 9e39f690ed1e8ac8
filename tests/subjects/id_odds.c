/*
 * id_odds - personality, oom_score_adj, what a core dump would hold, being a
 * subreaper, no huge pages.
 */
#include <fcntl.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include "subject.h"

static void
put(const char *path, const char *text)
{
	int fd;

	must((fd = open(path, O_WRONLY)) >= 0);
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	must(close(fd) == 0);
}

int
main(int argc, char **argv)
{
	char text[64];
	int on = 0;

	subject_init(argc, argv);
	must(personality(ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS) != -1);
	put("/proc/self/oom_score_adj", "555");
	put("/proc/self/coredump_filter", "0x21");
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	must(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_NAME, "odd (name) 1") == 0);

	subject_wait();

	expect(personality(0xffffffff) == (ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS),
	    "personality is %x", (unsigned)personality(0xffffffff));
	expect(atoi(subject_proc("oom_score_adj", text, sizeof(text))) == 555,
	    "oom_score_adj is %s", text);
	expect(strtol(subject_proc("coredump_filter", text, sizeof(text)), NULL,
		   16) == 0x21,
	    "coredump_filter is %s", text);
	must(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0);
	expect(on == 1, "no subreaper any more");
	expect(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "THP");
	must(prctl(PR_GET_NAME, text) == 0);
	expect(strcmp(text, "odd (name) 1") == 0, "the name is %s", text);
	return subject_done();
}
