#!/usr/bin/env python3
"""samemem.py IMAGE PID - is the memory of PID, byte by byte, what IMAGE says?

PID must be stopped, with all its memory there.  What is left out is the
kernel's own: vDSO, guard pages, memory that it may drop, rseq areas, and what
has the number of a thread, which is another with `pid=new`.
"""
import importlib.machinery
import importlib.util
import os
import re
import sys

PIECE = 1 << 20


def ranges(line):
    return [int(x, 16) for x in line.split("-")]


def read_maps(image):
    """The offset of each mapping in its file."""
    with open(image + "/maps") as f:
        return [int(line.split()[2], 16) for line in f]


def read_pagemap(image):
    files, vmas = {}, []
    with open(image + "/pagemap") as f:
        for line in f:
            w = line.split()
            if w[0] == "file":
                files[w[1]] = (w[5], line.rstrip("\n").split(" ", 6)[6])
            elif w[0] == "vma":
                vmas.append((*ranges(w[1]), w[2], w[3], w[5], []))
            elif w[0] == "run":
                vmas[-1][5].append((*ranges(w[1]), w[2], w[3:]))
    return files, vmas


def kernels(image):
    """What the kernel writes to in each thread."""
    with open(image + "/status") as f:
        text = f.read()
    areas = []
    for key, size in ("rseq", 32), ("clear-child-tid", 4):
        areas += [(int(m[1], 16), int(m[1], 16) + size) for m in
                  re.finditer(rf"^{key}: 0x([0-9a-f]+)$", text, re.M)]
    return areas


class Source:
    """What a mapping without runs would have: zeros, or a file's bytes."""

    def __init__(self, image, files, kind, number, offset):
        self.f = None
        self.offset = offset
        if kind != "anon":
            content, path = files[number]
            if content != "-":
                # What several have is kept by the first of the tree.
                while not os.path.exists(f"{image}/files/{content}"):
                    image += "/../.."
                path = f"{image}/files/{content}"
            self.f = open(path, "rb", 0)

    def read(self, at, n):
        if self.f is None:
            return bytes(n)
        got = os.pread(self.f.fileno(), n, self.offset + at)
        return got + bytes(n - len(got))


def compare(mem, start, end, expected, skipped, what):
    """expected(at, n): the bytes of n from `at` on."""
    for at in range(start, end, PIECE):
        n = min(PIECE, end - at)
        want, have = expected(at, n), os.pread(mem, n, at)
        if want == have:
            continue
        for i in range(n):
            if want[i] != have[i] and not any(
                    s <= at + i < e for s, e in skipped):
                sys.exit(f"at {at + i:x}, in {start:x}-{end:x}, {what}: "
                         f"{have[i]:02x}, not {want[i]:02x}")


def load(name):
    """The other program, as a module."""
    path = os.path.dirname(__file__) + "/../tools/same-memory.py"
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def main(image, pid):
    offsets, (files, vmas) = read_maps(image), read_pagemap(image)
    skipped = kernels(image)
    mem = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    pages = os.open(image + "/pages", os.O_RDONLY)
    above = None
    total = 0
    for (start, end, kind, number, flags, runs), offset in zip(vmas, offsets):
        if kind not in ("anon", "file", "shared") or "dp" in flags.split(","):
            continue
        source = Source(image, files, kind, number, offset)
        at = start
        for a, b, how, rest in runs + [(end, end, "end", [])]:
            compare(mem, at, a, lambda x, n: source.read(x - start, n),
                    skipped, kind)
            if how == "held":
                where = int(rest[0]) - a
                compare(mem, a, b, lambda x, n: os.pread(pages, n, x + where),
                        skipped, f"{kind} held")
            elif how in ("inherited", "former"):
                above = above or load("same_memory").pages(image + "/../..")
                compare(mem, a, b, lambda x, n: b"".join(
                    above[how == "former"][y]
                    for y in range(x, x + n, 4096)), skipped, how)
            elif how == "zero":
                compare(mem, a, b, lambda x, n: bytes(n), skipped, "zeros")
            at = b
        total += end - start
    print(total)


main(sys.argv[1], sys.argv[2])
