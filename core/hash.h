/*
 * hash.h - XXH128, by the widest instructions that the CPU has.
 *
 * The library is built for any CPU: what it computes, AVX2 computes in less than
 * half the time, and much of what is read here is read to be summed.
 */
#ifndef HASH_H
#define HASH_H

#include <stddef.h>
#include <xxhash.h>

/* As XXH3_128bits_update() and XXH3_128bits(). */
void hash_update(XXH3_state_t *state, const void *bytes, size_t n);
XXH128_hash_t hash_of(const void *bytes, size_t n);

#endif
