/*
 * xstate.h - the layout of the CPU's extended state (XSAVE, standard format).
 *
 * Which state is where differs between makers of CPUs, so an image says it.
 */
#ifndef XSTATE_H
#define XSTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XSTATE_MIN 576 /* the legacy area and the header */
#define XSTATE_MAX 65536

/* Bits of XCR0: what this CPU and kernel keep. */
uint64_t xstate_supported(void);

/* Where component `bit` (2 and up) lies; false if this CPU has not got it. */
bool xstate_component(unsigned bit, uint32_t *offset, uint32_t *size);

/* All that is asked of the CPU, which in a virtual machine takes its time. */
struct xstate_layout {
	uint64_t supported;
	size_t end[64]; /* of component `bit`; 0: there is none */
};

void xstate_layout(struct xstate_layout *x);

/* The bytes that an area with these components has at least. */
size_t xstate_length(const struct xstate_layout *x, uint64_t features);

/* xstate_bv of the header: the components that are not in their first state.
 * `len` is at least XSTATE_MIN. */
uint64_t xstate_in_use(const uint8_t *area, size_t len);

/*
 * NULL if the kernel may be given this area, else what is wrong with it.
 * Components that the CPU has not got are not looked for.
 */
const char *xstate_check(
    const struct xstate_layout *x, const uint8_t *area, size_t len);

#endif
