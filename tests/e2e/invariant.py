#!/usr/bin/env python3
"""invariant.py IMAGE ADDRESS LENGTH: does a copy of tests/tools/invariant keep
what that program keeps?  Reads `maps`, `pagemap` and `pages` of the image, as
anybody could, and nothing else.  Prints the rounds that it finds.
"""
import mmap
import sys

PAGE = 4096
WORDS = PAGE // 8
QUARTERS = 4


def hexrange(text):
    start, end = text.split("-")
    return int(start, 16), int(end, 16)


def counters(image, start, length):
    """The first and the last word of each page."""
    mapped = any(a <= start and start + length <= b
                 for a, b in (hexrange(line.split()[0])
                              for line in open(f"{image}/maps")))
    if not mapped:
        sys.exit("maps: no such mapping")
    first, last = [0] * (length // PAGE), [0] * (length // PAGE)
    with open(f"{image}/pages", "rb") as f:
        words = memoryview(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ))
        words = words.cast("Q")
    for line in open(f"{image}/pagemap"):
        fields = line.split()
        if fields[0] != "run" or fields[2] != "held":
            continue
        a, b = hexrange(fields[1])
        lo, hi = max(a, start), min(b, start + length)
        if lo >= hi:
            continue
        at = (int(fields[3], 0) + lo - a) // 8
        run = words[at:at + (hi - lo) // 8]
        if len(run) != (hi - lo) // 8:
            sys.exit("pages: too short")
        pages = slice((lo - start) // PAGE, (hi - start) // PAGE)
        first[pages] = run[0::WORDS].tolist()
        last[pages] = run[WORDS - 1::WORDS].tolist()
    return first, last


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
    first, last = counters(image, int(address, 16), int(length, 16))
    wrong = check(first, last)
    if wrong:
        sys.exit(wrong)
    print(first[0], first[-1])


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
