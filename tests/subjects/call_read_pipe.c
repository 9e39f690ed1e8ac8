/*
 * call_read_pipe - asleep in read(2) and readv(2) on an empty pipe.
 *
 * variants: musl
 */
#include <sys/syscall.h>
#include <sys/uio.h>

#include "call.h"

static int a[2], b[2];
static char got[100], parts[2][4];

static long
reads(void *arg)
{
	(void)arg;
	return call_errno(read(a[0], got, sizeof(got)));
}

static long
readsv(void *arg)
{
	struct iovec iov[2] = { { parts[0], 4 }, { parts[1], 4 } };

	(void)arg;
	return call_errno(readv(b[0], iov, 2));
}

int
main(int argc, char **argv)
{
	struct call r = { .make = reads, .nr = SYS_read };
	struct call v = { .make = readsv, .nr = SYS_readv };

	subject_init(argc, argv);
	must(pipe(a) == 0 && pipe(b) == 0);
	call_begin(&r);
	call_begin(&v);

	subject_wait();

	expect(!call_finished(&r), "read returned %ld too early", r.result);
	expect(!call_finished(&v), "readv returned %ld too early", v.result);
	must(write(a[1], "hello", 5) == 5);
	call_end("read", &r, 5);
	expect(memcmp(got, "hello", 5) == 0, "read gave other bytes");
	must(write(b[1], "abcdefg", 7) == 7);
	call_end("readv", &v, 7);
	expect(
	    memcmp(parts[0], "abcd", 4) == 0 && memcmp(parts[1], "efg", 3) == 0,
	    "readv gave other bytes");
	return subject_done();
}
