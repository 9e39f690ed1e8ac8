/*
 * id_nobody - all of root given up, as a daemon does.
 */
#include <grp.h>
#include <sys/stat.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	subject_init(argc, argv);
	if (geteuid() != 0)
		subject_skip("not root");
	must(chmod(subject_path("."), 0777) == 0);
	must(setgroups(0, NULL) == 0);
	must(setresgid(65534, 65534, 65534) == 0);
	must(setresuid(65534, 65534, 65534) == 0);

	subject_wait();

	expect(getuid() == 65534 && geteuid() == 65534, "uids are %u %u",
	    getuid(), geteuid());
	expect(setuid(0) == -1, "it can become root again");
	expect(getgroups(0, NULL) == 0, "it has groups");
	return subject_done();
}
