/*
 * mem_vdso - calls that go through the vDSO give what the kernel gives, and
 * no clock goes back.
 *
 * variants: musl
 */
#include <elf.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "subject.h"

static int64_t
ask_kernel(clockid_t clock)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, clock, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int
main(int argc, char **argv)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC,
		CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
		CLOCK_MONOTONIC_COARSE };
	const size_t n = sizeof(clocks) / sizeof(clocks[0]);
	int64_t first[6], libc, low, high;
	const unsigned char *vdso;
	struct timeval tv;
	unsigned cpu, node;
	size_t i;

	subject_init(argc, argv);
	for (i = 0; i < n; i++)
		first[i] = subject_now(clocks[i]);

	subject_wait();

	vdso = (const unsigned char *)getauxval(AT_SYSINFO_EHDR);
	expect(vdso != NULL && memcmp(vdso, ELFMAG, SELFMAG) == 0,
	    "AT_SYSINFO_EHDR does not point to an ELF image");
	for (i = 0; i < n; i++) {
		low = ask_kernel(clocks[i]);
		libc = subject_now(clocks[i]);
		high = ask_kernel(clocks[i]);
		expect(libc >= first[i], "clock %d went back", (int)clocks[i]);
		expect(low <= libc && libc <= high,
		    "clock %d: %lld is not between %lld and %lld",
		    (int)clocks[i], (long long)libc, (long long)low,
		    (long long)high);
	}
	must(gettimeofday(&tv, NULL) == 0);
	low = ask_kernel(CLOCK_REALTIME) / 1000000000;
	expect(low - tv.tv_sec <= 1, "gettimeofday is off");
	expect(time(NULL) - low <= 1 && low - time(NULL) <= 1, "time is off");
	cpu = 9999;
	must(syscall(SYS_getcpu, &cpu, &node, NULL) == 0);
	expect(sched_getcpu() >= 0, "sched_getcpu: %s", strerror(errno));
	return subject_done();
}
