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

	__cpuid(1, a, b, c, d);
	if ((c & bit_OSXSAVE) == 0)
		return 3;
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (uint64_t)d << 32 | a;
}

/* Who has more than the first two has the leaf that describes them. */
static bool
component(uint64_t supported, unsigned bit, uint32_t *offset, uint32_t *size)
{
	uint32_t c, d;

	if (bit < 2 || bit >= NCOMPONENTS || (supported & 1ull << bit) == 0)
		return false;
	__cpuid_count(0xd, bit, *size, *offset, c, d);
	(void)c;
	(void)d;
	return *size != 0;
}

bool
xstate_component(unsigned bit, uint32_t *offset, uint32_t *size)
{
	return component(xstate_supported(), bit, offset, size);
}

void
xstate_layout(struct xstate_layout *x)
{
	uint32_t offset, size;

	memset(x, 0, sizeof(*x));
	x->supported = xstate_supported();
	for (unsigned bit = 2; bit < NCOMPONENTS; bit++)
		if (component(x->supported, bit, &offset, &size))
			x->end[bit] = (size_t)offset + size;
}

size_t
xstate_length(const struct xstate_layout *x, uint64_t features)
{
	size_t len = XSTATE_MIN;

	for (unsigned bit = 2; bit < NCOMPONENTS; bit++)
		if ((features & 1ull << bit) != 0 && len < x->end[bit])
			len = x->end[bit];
	return len;
}

uint64_t
xstate_in_use(const uint8_t *area, size_t len)
{
	return len < XSTATE_MIN ? 0 : get64(area + HEADER);
}

const char *
xstate_check(const struct xstate_layout *x, const uint8_t *area, size_t len)
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
	if (len < xstate_length(x, get64(area + HEADER)))
		return "too short for the state that its header names";
	return NULL;
}
