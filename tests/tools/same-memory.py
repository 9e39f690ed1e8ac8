#!/usr/bin/env python3
"""same-memory.py IMAGE IMAGE - have both the same memory, byte by byte?

It may be written otherwise: rows of zeros may be held or not, so may pages that
are as in the mapped file, and neighbouring mappings of the same kind may have
become one.  The first image has all files.  What a child shares with its parent
is that of the image two directories above.
"""

import sys

PAGE = 4096


def span(text):
    start, end = text.split("-")
    return int(start, 16), int(end, 16)


def pages(image):
    """What is at each address: bytes, or what kind of nothing."""
    with open(image + "/pages", "rb") as f:
        data = f.read()
    found, had = {}, {}
    with open(image + "/pagemap") as f:
        lines = [line.split() for line in f]
    above = None
    for word, where, *rest in lines:
        if word not in ("run", "former"):
            continue
        kind, *offset = rest if word == "run" else ("held", *rest)
        of = found if word == "run" else had
        if kind in ("inherited", "former") and above is None:
            above = pages(image + "/../..")
        start, end = span(where)
        for at in range(start, end, PAGE):
            if kind == "held":
                off = int(offset[0]) + at - start
                of[at] = data[off:off + PAGE]
                assert len(of[at]) == PAGE, image
            elif kind in ("inherited", "former"):
                of[at] = above[kind == "former"][at]
            else:
                of[at] = bytes(PAGE) if kind == "zero" else kind
    return found, had


def mappings(image):
    flags = {}
    with open(image + "/pagemap") as f:
        for line in f:
            word = line.split()
            if word[0] == "vma":
                flags[word[1]] = word[2:]
    found = []
    with open(image + "/maps") as f:
        for line in f:
            where, *rest = line.rstrip("\n").split(None, 5)
            start, end = span(where)
            what = rest, flags.get(where)
            if rest[3] == "0" and found and found[-1][1:] == (start, what):
                start = found.pop()[0]
            found.append((start, end, what))
    return found


def of_files(image):
    """A function: what the mapped file has at an address, or None."""
    files, vmas = {}, []
    with open(image + "/pagemap") as f:
        for word in (line.rstrip("\n").split(None, 6) for line in f):
            if word[0] == "file":
                files[word[1]] = (f"{image}/files/{word[5]}"
                                  if word[5] != "-" else word[6])
            elif word[0] == "vma" and word[2] == "file":
                vmas.append((span(word[1]), word[3]))
    with open(image + "/maps") as f:
        offsets = {span(w[0]): int(w[2], 16) for w in map(str.split, f)}

    def page(at):
        for where, number in vmas:
            if where[0] <= at < where[1]:
                with open(files[number], "rb") as f:
                    f.seek(at - where[0] + offsets[where])
                    return f.read(PAGE).ljust(PAGE, b"\0")
        return None
    return page


def main():
    a, b = sys.argv[1:]
    differ = []
    for x, y in zip(mappings(a), mappings(b)):
        if x != y:
            differ.append(f"{x}, {y}")
            break
    p, q, file = pages(a)[0], pages(b)[0], of_files(a)
    differ += [f"page {at:x}: {str(p.get(at))[:20]} {str(q.get(at))[:20]}"
               for at in sorted(p.keys() | q.keys())
               if (p.get(at) or file(at)) != (q.get(at) or file(at))]
    if len(mappings(a)) != len(mappings(b)):
        differ.append("not as many mappings")
    print("\n".join(differ[:10]))
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
