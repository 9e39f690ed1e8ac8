/*
 * id_cmdline - cmdline and environ as /proc shows them, after the program
 * wrote over them and moved them; the auxiliary vector; exe.
 *
 * variants: musl
 */
#include <sys/auxv.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	char text[4096];
	char *title = argv[0];
	unsigned long random = getauxval(AT_RANDOM);
	unsigned char was[16];

	subject_init(argc, argv);
	memcpy(was, (void *)random, 16);
	must(strlen(title) >= 5);
	memset(title, 'T', 5); /* setproctitle's way */
	must(setenv("SUBJECT", "set later", 1) == 0);

	subject_wait();

	subject_proc("cmdline", text, sizeof(text));
	expect(memcmp(text, "TTTTT", 5) == 0, "cmdline is %s", text);
	expect(strcmp(getenv("SUBJECT"), "set later") == 0, "environment");
	expect(getauxval(AT_RANDOM) == random &&
		   memcmp(was, (void *)random, 16) == 0,
	    "AT_RANDOM's bytes");
	return subject_done();
}
