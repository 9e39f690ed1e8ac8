#!/usr/bin/env python3
"""drip.py IMAGE ADDRESS LENGTH: is a copy of tests/tools/drip, as a whole image,
what that program had at one instant?  Prints the step.
"""
import sys

PAGE = 4096
SLOT = 16
M = (1 << 64) - 1


def hexrange(text):
    start, end = text.split("-")
    return int(start, 16), int(end, 16)


def ends_of_pages(image, start, length):
    """The first and the last word of each page; of one that is not held, 0."""
    ends = [(0, 0)] * (length // PAGE)
    pages = open(f"{image}/pages", "rb").read()
    for line in open(f"{image}/pagemap"):
        fields = line.split()
        if fields[0] != "run" or fields[2] != "held":
            continue
        a, b = hexrange(fields[1])
        for page in range(max(a, start), min(b, start + length), PAGE):
            at = int(fields[3], 0) + page - a
            ends[(page - start) // PAGE] = (
                int.from_bytes(pages[at:at + 8], "little"),
                int.from_bytes(pages[at + PAGE - 8:at + PAGE], "little"))
    return ends


def step(n, i):
    """Which pages it changes, and what is in them then."""
    x = i * 0x9e3779b97f4a7c15 & M
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & M
    x ^= x >> 27
    at = x % n
    what = x >> 32 & 63
    if what == 0:
        return range(at // SLOT * SLOT, at // SLOT * SLOT + SLOT), 0
    return range(at, at + 1), 0 if what <= 2 else i


def main(image, address, length):
    (begun, done), *ends = ends_of_pages(image, int(address, 16),
                                         int(length, 16))
    if not done <= begun <= done + 1:
        sys.exit(f"step {begun} begun, step {done} done")
    want = [0] * len(ends)
    for i in range(1, done + 1):
        pages, value = step(len(ends), i)
        for page in pages:
            want[page] = value
    open_pages = step(len(ends), begun)[0] if begun > done else ()
    for page, (found, value) in enumerate(zip(ends, want)):
        if found != (value, value) and page not in open_pages:
            sys.exit(f"step {done}: page {page} has {found}, not {value}")
    print(done)


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
