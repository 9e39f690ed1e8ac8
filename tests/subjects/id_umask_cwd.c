/*
 * id_umask_cwd - umask and working directory.
 *
 * variants: musl
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "subject.h"

int
main(int argc, char **argv)
{
	struct stat st;
	int fd;

	subject_init(argc, argv);
	must(mkdir(subject_path("here"), 0755) == 0);
	must(chdir(subject_path("here")) == 0);
	umask(0137);

	subject_wait();

	must((fd = open("new", O_WRONLY | O_CREAT | O_TRUNC, 0777)) >= 0);
	must(fstat(fd, &st) == 0);
	expect((st.st_mode & 0777) == 0640, "mode of a new file is %o",
	    st.st_mode & 0777);
	must(close(fd) == 0);
	expect(access(subject_path("here/new"), F_OK) == 0,
	    "it was made elsewhere");
	return subject_done();
}
