/*
 * caps.h - capabilities of the calling thread, as masks.
 */
#ifndef CAPS_H
#define CAPS_H

#include <linux/capability.h>
#include <stdint.h>

#define CAP(c) (UINT64_C(1) << (c))

/* 0 or -errno. */
int caps_get(uint64_t *eff, uint64_t *prm, uint64_t *inh);
int caps_set(uint64_t eff, uint64_t prm, uint64_t inh);

#endif
