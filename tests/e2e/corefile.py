#!/usr/bin/env python3
"""corefile.py CORE IMAGE PID - is what CORE has of memory that of PID?

PID must be stopped; IMAGE is a copy of the same checkpoint.  Every byte that the
core file has is compared with the memory of the process, but for what the kernel
itself writes to; what it says to be there without having it must be zeros in
private anonymous memory.  Every mapping must be there from start to end, and the
threads those of the process.  Prints how many bytes were the same.
"""
import os
import re
import struct
import sys

PIECE = 1 << 20
PT_LOAD, PT_NOTE, PN_XNUM = 1, 4, 0xffff
NT_PRSTATUS, NT_AUXV = 1, 6


def headers(core):
    e = struct.unpack("<16sHHIQQQIHHHHHH", os.pread(core, 64, 0))
    if e[0][:4] != b"\x7fELF" or e[1] != 4 or e[2] != 62:
        sys.exit("it is no ELF core file of x86-64")
    n = e[10]
    if n == PN_XNUM:
        n = struct.unpack("<IIQQQQIIQQ", os.pread(core, 64, e[6]))[7]
    table = os.pread(core, 56 * n, e[5])
    return [struct.unpack_from("<IIQQQQQQ", table, 56 * i) for i in range(n)]


def notes(core, h):
    text, at = os.pread(core, h[5], h[2]), 0
    while at < len(text):
        name, size, kind = struct.unpack_from("<III", text, at)
        at += 12 + (name + 3) // 4 * 4
        yield kind, text[at:at + size]
        at += (size + 3) // 4 * 4


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return [(*(int(x, 16) for x in line.split()[0].split("-")),
                 line.split()[1], line.split()[4]) for line in f]


def kernels(image):
    """What the kernel writes to in each thread."""
    with open(image + "/status") as f:
        text = f.read()
    return [(int(m[2], 16), int(m[2], 16) + 32) for m in re.finditer(
        r"^(rseq|clear-child-tid): 0x([0-9a-f]+)$", text, re.M)]


def same(want, have, at, skipped):
    if want == have:
        return
    for i, (a, b) in enumerate(zip(want, have)):
        if a != b and not any(s <= at + i < e for s, e in skipped):
            sys.exit(f"at {at + i:x}: {a:02x} in the core, {b:02x} in memory")


def compare(core, mem, h, skipped):
    _, _, off, start, _, bytes_, _, _ = h
    for at in range(0, bytes_, PIECE):
        n = min(PIECE, bytes_ - at)
        want = os.pread(core, n, off + at)
        if len(want) != n:
            sys.exit(f"{start + at:x}: the core file is too short")
        same(want, os.pread(mem, n, start + at), start + at, skipped)
    return bytes_


def zeros(mem, pagemap, start, end):
    """Of what is there at all, so that a TiB of nothing takes no time."""
    end = min(end, start + (64 << 20))
    while start < end:
        at, start = start, min(end, start // 4096 * 4096 + 4096)
        entry = os.pread(pagemap, 8, at // 4096 * 8)
        try:
            if entry[7] & 0xc0 and any(os.pread(mem, start - at, at)):
                sys.exit(f"at {at:x}: the core file says zeros")
        except OSError:
            pass  # a guard page


def main(name, image, pid):
    core, mem, pagemap = (os.open(n, os.O_RDONLY) for n in (
        name, f"/proc/{pid}/mem", f"/proc/{pid}/pagemap"))
    all_ = headers(core)
    loads = [h for h in all_ if h[0] == PT_LOAD]
    skipped, total, k = kernels(image), 0, 0
    for start, end, mode, inode in mappings(pid):
        at = start
        while k < len(loads) and loads[k][3] < end:
            if loads[k][3] != at:
                sys.exit(f"{at:x}: not in the core file")
            if (loads[k][1] & 2 != 0) != (mode[1] == "w"):
                sys.exit(f"{at:x}: {mode} in memory")
            total += compare(core, mem, loads[k], skipped)
            at += loads[k][6]
            if inode == "0" and mode[3] == "p" and "r" in mode:
                zeros(mem, pagemap, loads[k][3] + loads[k][5], at)
            k += 1
        if at != end:
            sys.exit(f"{at:x}: not in the core file, up to {end:x}")
    if k != len(loads):
        sys.exit(f"{loads[k][3]:x}: in the core file alone")
    found = list(notes(core, next(h for h in all_ if h[0] == PT_NOTE)))
    tids = [struct.unpack_from("<I", d, 32)[0]
            for kind, d in found if kind == NT_PRSTATUS]
    if sorted(tids) != sorted(map(int, os.listdir(f"/proc/{pid}/task"))):
        sys.exit(f"its threads are {tids}")
    if os.fstat(core).st_size != max(
            h[2] + (h[5] + 4095) // 4096 * 4096 for h in all_ if h[5]):
        sys.exit("it does not end with its last segment")
    print(total)


main(*sys.argv[1:])
