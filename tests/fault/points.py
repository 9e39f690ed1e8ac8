#!/usr/bin/env python3
"""points.py - which calls of the programs no series makes fail, or kills at.

usage: SNAPFS_FAULT_SITES=DIR tests/fault/run ...
       points.py [--all] DIR BUILD

Prints, of each call in core/ and snapfs/ that can be made to fail, where it is,
in which function, and what never happened at it in any of the programs: passed,
failed, killed.  With --all also those at which all of that happened.  (A call
that is the last thing that its function does may be a jump, and is not seen.)
"""

import collections
import os
import re
import subprocess
import sys

PROGRAMS = ["snapfs/snapfs", "snapfs/snapfs-merge", "snapfs/snapfs-run",
            "tests/fault/taker", "tests/tools/snapcore-restore"]
PASSED, FAILED, KILLED = 1, 2, 4
CALL = re.compile(r"^\s*([0-9a-f]+):.*\bcall\s+[0-9a-f]+ <__wrap_(\w+)>")
NEXT = re.compile(r"^\s*([0-9a-f]+):")
# asprintf is vasprintf's, and heal_*_call changes a number of a call.
UNTOLD = ("asprintf",)


def calls(program):
    """(return address, name) of all."""
    name = None
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in out.splitlines():
        m = NEXT.match(line)
        if m is None:
            continue
        if name is not None:
            yield int(m[1], 16), name
        m = CALL.match(line)
        name = m[2] if m and m[2] not in UNTOLD else None


def places(program, addresses):
    """(function, file:line) of each; of what is inlined, where it was written."""
    out = subprocess.run(
        ["addr2line", "-f", "-e", program] +
        [hex(a - 1) for a in addresses],
        stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    for i in range(0, len(out), 2):
        where = out[i + 1].split(" ")[0]
        yield out[i], re.sub(r".*/((?:core|snapfs)/)", r"\1", where)


def main():
    args = sys.argv[1:]
    everything = "--all" in args
    where, build = args[-2:]
    seen = collections.defaultdict(int)
    for program in PROGRAMS:
        path = os.path.join(build, program)
        found = list(calls(path))
        try:
            with open(os.path.join(where, os.path.basename(program)),
                      "rb") as f:
                marks = f.read()
        except FileNotFoundError:
            marks = b""
        for (at, name), (function, place) in zip(
                found, places(path, [a for a, _ in found])):
            if place.startswith(("core/", "snapfs/")):
                seen[place, function, name] |= \
                    marks[at] if at < len(marks) else 0
    counts = collections.Counter()
    for (place, function, name), what in sorted(seen.items()):
        counts["all"] += 1
        never = [word for bit, word in ((PASSED, "passed"), (FAILED, "failed"),
                                        (KILLED, "killed")) if not what & bit]
        for word in never:
            counts[word] += 1
        if never or everything:
            print(f"{place}: {function}: {name}: "
                  f"{'never ' + ', '.join(never) if never else 'all'}")
    print(f"{counts['all']} points; never passed {counts['passed']}, "
          f"failed {counts['failed']}, killed {counts['killed']}")


if __name__ == "__main__":
    main()
