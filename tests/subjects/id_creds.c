/*
 * id_creds - real, effective and saved ids that differ, groups, parts of the
 * capabilities, securebits, no_new_privs.
 */
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "subject.h"

#define CHOWN (1u << CAP_CHOWN)
#define NICE (1u << CAP_SYS_NICE)
#define BIND (1u << CAP_NET_BIND_SERVICE)

static struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3,
	0 };

int
main(int argc, char **argv)
{
	static const gid_t groups[] = { 65534, 100, 7, 123456 };
	struct __user_cap_data_struct caps[2], is[2];
	uid_t r, e, s;
	gid_t list[10];
	int n;

	subject_init(argc, argv);
	if (geteuid() != 0)
		subject_skip("not root");
	must(chmod(subject_path("."), 0777) == 0);
	must(setgroups(4, groups) == 0);
	must(setresgid(65534, 100, 7) == 0);
	must(
	    prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP |
					 SECBIT_NO_CAP_AMBIENT_RAISE) == 0);
	must(prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) == 0);
	must(setresuid(65534, 1234, 4321) == 0);
	memset(caps, 0, sizeof(caps));
	caps[0].permitted = CHOWN | NICE | BIND;
	caps[0].effective = NICE;
	caps[0].inheritable = BIND;
	must(syscall(SYS_capset, &header, caps) == 0);
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_DUMPABLE, 1) == 0);

	subject_wait();

	must(getresuid(&r, &e, &s) == 0);
	expect(
	    r == 65534 && e == 1234 && s == 4321, "uids are %u %u %u", r, e, s);
	must(getresgid(&r, &e, &s) == 0);
	expect(r == 65534 && e == 100 && s == 7, "gids are %u %u %u", r, e, s);
	n = getgroups(10, list);
	expect(n == 4, "%d groups", n);
	must(syscall(SYS_capget, &header, is) == 0);
	expect(memcmp(caps, is, sizeof(caps)) == 0, "capabilities are %x %x %x",
	    is[0].permitted, is[0].effective, is[0].inheritable);
	expect(prctl(PR_GET_SECUREBITS) ==
		   (SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP |
		       SECBIT_NO_CAP_AMBIENT_RAISE),
	    "securebits are %x", (unsigned)prctl(PR_GET_SECUREBITS));
	expect(prctl(PR_CAPBSET_READ, CAP_SYS_MODULE) == 0, "bounding set");
	expect(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs");
	expect(prctl(PR_GET_DUMPABLE) == 1, "dumpable");
	return subject_done();
}
