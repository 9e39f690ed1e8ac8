#!/usr/bin/env python3
"""invariant.py IMAGE ADDRESS LENGTH: does a copy of tests/tools/invariant keep
what that program keeps?  Reads `maps`, `pagemap` and `pages` of the image, as
anybody could, and nothing else.  Prints the rounds that it finds.
"""
import sys

PAGE = 4096
WORDS = PAGE // 8
QUARTERS = 4


def hexrange(text):
    start, end = text.split("-")
    return int(start, 16), int(end, 16)


def memory(image, start, length):
    """The bytes at these addresses."""
    mapped = any(a <= start and start + length <= b
                 for a, b in (hexrange(line.split()[0])
                              for line in open(f"{image}/maps")))
    if not mapped:
        sys.exit("maps: no such mapping")
    out = bytearray(length)
    with open(f"{image}/pages", "rb") as pages:
        for line in open(f"{image}/pagemap"):
            words = line.split()
            if words[0] != "run" or words[2] != "held":
                continue
            a, b = hexrange(words[1])
            lo, hi = max(a, start), min(b, start + length)
            if lo < hi:
                pages.seek(int(words[3], 0) + lo - a)
                out[lo - start:hi - start] = pages.read(hi - lo)
    if len(out) != length:
        sys.exit("pages: too short")
    return out


def check(first, last):
    """first, last: the counters at both ends of each page."""
    if max(first) - min(first) > 1:
        return f"counters from {min(first)} to {max(first)}"
    quarter = len(first) // QUARTERS
    for q in range(QUARTERS):
        a = first[q * quarter:(q + 1) * quarter]
        b = last[q * quarter:(q + 1) * quarter]
        if any(x < y for x, y in zip(a, a[1:])):
            return f"quarter {q}: a counter is behind the one after it"
        torn = sum(x != y for x, y in zip(a, b))
        if torn > 1:
            return f"quarter {q}: {torn} pages are half written"
    return None


def main(image, address, length):
    data = memoryview(memory(image, int(address, 16), int(length, 16)))
    words = data.cast("Q")
    wrong = check(words[0::WORDS].tolist(), words[WORDS - 1::WORDS].tolist())
    if wrong:
        sys.exit(wrong)
    print(words[0], words[(len(words) // WORDS - 1) * WORDS])


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
