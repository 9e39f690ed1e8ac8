#include "hash.h"

#include "hash_wide.h"

void
hash_update(XXH3_state_t *state, const void *bytes, size_t n)
{
	if (hash_wide_possible())
		hash_wide_update(state, bytes, n);
	else
		XXH3_128bits_update(state, bytes, n);
}

XXH128_hash_t
hash_of(const void *bytes, size_t n)
{
	XXH128_hash_t h;

	if (hash_wide_possible())
		hash_wide_of(bytes, n, &h.low64, &h.high64);
	else
		h = XXH3_128bits(bytes, n);
	return h;
}
