/*
 * confine - run a command under a seccomp filter that allows everything; with
 * -u, all but userfaultfd(2), with -p, all but pidfd_open(2), with -s, all but
 * memfd_secret(2), which are as on a kernel that has none.
 *
 *	confine [-u | -p | -s] COMMAND [ARG...]
 */
#include <err.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		    offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog all = { .len = 1, .filter = &filter[3] };
	struct sock_fprog but = { .len = 4, .filter = filter };
	struct sock_fprog prog = all;

	if (argc > 1 && strlen(argv[1]) == 2 && argv[1][0] == '-' &&
	    strchr("ups", argv[1][1]) != NULL) {
		if (argv[1][1] == 'p')
			filter[1].k = SYS_pidfd_open;
		else if (argv[1][1] == 's')
			filter[1].k = 447; /* memfd_secret, Linux 5.14 */
		prog = but;
		argc--;
		argv++;
	}
	if (argc < 2)
		errx(2, "usage: confine [-u | -p | -s] COMMAND [ARG...]");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		err(77, "seccomp");
	execvp(argv[1], argv + 1);
	err(1, "%s", argv[1]);
}
