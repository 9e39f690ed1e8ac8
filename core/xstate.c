#include "xstate.h"

#include <cpuid.h>
#include <string.h>

#define HEADER 512 /* xstate_bv, xcomp_bv, 48 reserved bytes */
#define HEADER_LEN 64
#define MXCSR 24
#define MXCSR_MASK 0xffffu
#define NCOMPONENTS 63

static uint64_t
get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t
xstate_supported(void)
{
	uint32_t a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
		return 3;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (uint64_t)d << 32 | a;
}

bool
xstate_component(unsigned bit, uint32_t *offset, uint32_t *size)
{
	uint32_t c, d;

	if (bit < 2 || bit >= NCOMPONENTS ||
	    (xstate_supported() & 1ull << bit) == 0 ||
	    !__get_cpuid_count(0xd, bit, size, offset, &c, &d))
		return false;
	return *size != 0;
}

size_t
xstate_length(uint64_t features)
{
	size_t len = XSTATE_MIN;
	uint32_t offset, size;

	for (unsigned bit = 2; bit < NCOMPONENTS; bit++)
		if ((features & 1ull << bit) != 0 &&
		    xstate_component(bit, &offset, &size) &&
		    len < (size_t)offset + size)
			len = (size_t)offset + size;
	return len;
}

uint64_t
xstate_in_use(const uint8_t *area, size_t len)
{
	return len < XSTATE_MIN ? 0 : get64(area + HEADER);
}

const char *
xstate_check(const uint8_t *area, size_t len)
{
	uint32_t mxcsr;

	if (len < XSTATE_MIN || len > XSTATE_MAX || len % 8 != 0)
		return "no length of an xsave area";
	for (size_t i = 8; i < HEADER_LEN; i++)
		if (area[HEADER + i] != 0)
			return "an xsave header of another format";
	memcpy(&mxcsr, area + MXCSR, sizeof(mxcsr));
	if ((mxcsr & ~MXCSR_MASK) != 0)
		return "reserved bits in mxcsr";
	if (len < xstate_length(get64(area + HEADER)))
		return "too short for the state that its header names";
	return NULL;
}
