#include "hash_wide.h"

#define XXH_INLINE_ALL /* with the flags that this file is compiled with */
#include <xxhash.h>

void
hash_wide_update(void *state, const void *bytes, size_t n)
{
	XXH3_128bits_update(state, bytes, n);
}

void
hash_wide_of(const void *bytes, size_t n, uint64_t *low64, uint64_t *high64)
{
	const XXH128_hash_t h = XXH3_128bits(bytes, n);

	*low64 = h.low64;
	*high64 = h.high64;
}
