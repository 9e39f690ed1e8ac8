/*
 * printable.c - text from elsewhere, fit for a line of a terminal.
 */
#include "snap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static bool
is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Bytes of the sequence that begins with `lead`; 0: none does. */
static size_t
sequence(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xc2)
		return 0;
	if (lead < 0xe0)
		return 2;
	if (lead < 0xf0)
		return 3;
	return lead < 0xf5 ? 4 : 0;
}

/*
 * The bytes of the printable character at `s`, 0 if there is none: as the
 * Unicode Standard 15.0, table 3-7, has it.
 */
static size_t
character(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = sequence(*s);
	uint32_t c = n < 2 ? *s : *s & (0x7fu >> n);

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (n == 0 || c < least[n] || c > 0x10ffff ||
	    (c >= 0xd800 && c <= 0xdfff) || is_control(c))
		return 0;
	return n;
}

void
snap_printable(char *text)
{
	unsigned char *s = (unsigned char *)text;
	size_t n;

	while (*s != '\0') {
		n = character(s);
		if (n == 0) {
			*s = '?';
			n = 1;
		}
		s += n;
	}
}
