/*
 * hash_wide.h - the same code as the library's, compiled for AVX2.
 *
 * The state is an XXH3_state_t, which is the same whoever works on it.
 */
#ifndef HASH_WIDE_H
#define HASH_WIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool
hash_wide_possible(void)
{
	return __builtin_cpu_supports("avx2");
}

void hash_wide_update(void *state, const void *bytes, size_t n);
void hash_wide_of(
    const void *bytes, size_t n, uint64_t *low64, uint64_t *high64);

#endif
