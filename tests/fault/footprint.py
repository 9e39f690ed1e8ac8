"""footprint.py - what /proc shows of a process, to be compared with later.

    before = Footprint(pid)
    ...
    for line in before.differences(Footprint(pid)): print(line)

Left out is what the mere passing of time changes, and what every stop by a
tracer does (this is the kernel's doing, and said in SECURITY.md):

  * CPU time, context switches, page faults, the CPU that it last ran on;
  * a sleep with a time-out that was interrupted shows as restart_syscall;
  * so does one for which the kernel does not keep its time-out: what is left is
    in the register, and it is made in the vDSO (core/stubs.h);
  * a call that is started anew counts twice (io: syscr);
  * one page of the vDSO is the process's own after the first checkpoint, and
    the peak of its address space had room for the scratch area.

SigQ counts the signals of all processes of a user.
"""

import os
import re

RESTART = 219
# nr: which field of /proc/PID/syscall has the time-out
TIMED = {232: 4, 281: 4, 441: 4, 220: 4, 128: 3, 208: 5, 333: 5}
RESTARTABLE = {35, 230, 7, 202}  # nanosleep, clock_nanosleep, poll, futex

STATUS = """Name Umask State Tgid Pid PPid TracerPid Uid Gid FDSize Groups
NStgid NSpid NSpgid NSsid Kthread VmSize VmLck VmPin VmStk VmExe VmLib
VmSwap VmData HugetlbPages CoreDumping THP_enabled Threads SigPnd ShdPnd
SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp
Seccomp_filters Speculation_Store_Bypass Cpus_allowed Mems_allowed""".split()

# Fields of stat as proc(5) numbers them.
STAT = {
    2: "comm", 3: "state", 4: "ppid", 5: "pgrp", 6: "session", 7: "tty_nr",
    8: "tpgid", 9: "flags", 12: "majflt", 13: "cmajflt", 18: "priority",
    19: "nice", 20: "num_threads", 21: "itrealvalue", 22: "starttime",
    23: "vsize", 25: "rsslim", 26: "startcode", 27: "endcode",
    28: "startstack", 31: "signal", 32: "blocked", 33: "sigignore",
    34: "sigcatch", 38: "exit_signal", 40: "rt_priority", 41: "policy",
    45: "start_data", 46: "end_data", 47: "start_brk", 48: "arg_start",
    49: "arg_end", 50: "env_start", 51: "env_end", 52: "exit_code"}

# PF_* that say what a task did, not what it is: SUPERPRIV, USED_MATH and such.
FLAGS_VARY = 0x100 | 0x2000 | 0x400000

SMAPS = ("Size", "Anonymous", "Swap", "Locked", "VmFlags", "ProtectionKey",
         "AnonHugePages", "Private_Hugetlb", "Shared_Hugetlb")

WHOLE = """maps limits timers cmdline environ auxv comm cgroup oom_score_adj
oom_adj personality coredump_filter loginuid sessionid setgroups uid_map
gid_map timerslack_ns""".split()

LINKS = ["cwd", "root", "exe"]


def text(path):
    try:
        with open(path, "rb") as f:
            return f.read().decode("latin-1")
    except OSError as e:
        return f"<{e.strerror}>"


def link(path):
    try:
        return os.readlink(path)
    except OSError as e:
        return f"<{e.strerror}>"


def listing(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def status_fields(t):
    got = {}
    for line in t.splitlines():
        key, _, value = line.partition(":")
        if key in STATUS:
            got[key] = value.strip()
    return got


def stat_fields(t):
    got = {}
    end = t.rfind(")")
    if end < 0:
        return got
    got["comm"] = t[t.find("(") + 1:end]
    for n, value in enumerate(t[end + 2:].split(), 3):
        if n == 9:
            value = str(int(value) & ~FLAGS_VARY)
        if n in STAT:
            got[STAT[n]] = value
    return got


def smaps_fields(t):
    got, name = {}, ""
    for line in t.splitlines():
        key, _, value = line.partition(":")
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            name = line
        elif key in SMAPS:
            if name.endswith("[vdso]") and key == "Anonymous":
                continue
            got[f"{name} {key}"] = value.strip()
    return got


class Footprint:
    """All of one process; with quiet=False only what does not move while it
    runs."""

    def __init__(self, pid, quiet=True):
        self.v = v = {}
        base = f"/proc/{pid}"
        for name in WHOLE:
            v[name] = text(f"{base}/{name}")
        for line in text(f"{base}/io").splitlines():
            if not line.startswith("syscr"):
                v[f"io {line.split(':')[0]}"] = line
        for name in LINKS:
            v[name] = link(f"{base}/{name}")
        for ns in listing(f"{base}/ns"):
            v[f"ns/{ns}"] = link(f"{base}/ns/{ns}")
        for fd in listing(f"{base}/fd"):
            v[f"fd/{fd}"] = link(f"{base}/fd/{fd}")
            v[f"fdinfo/{fd}"] = text(f"{base}/fdinfo/{fd}")
        for key, value in smaps_fields(text(f"{base}/smaps")).items():
            v[f"smaps {key}"] = value
        tasks = listing(f"{base}/task")
        if quiet:
            v["task"] = " ".join(tasks)
        for tid in tasks if quiet else [str(pid)]:
            self.task(f"{base}/task/{tid}", tid)
        if not quiet:
            for key in list(v):
                if key == "timers" or key.startswith(("io ", "fdinfo/")) or \
                   re.search(r" (State|Threads|SigPnd|ShdPnd|FDSize|"
                             r"state|num_threads|signal|syscall|children|"
                             r"wchan|vsize|VmSize|VmData|VmStk|Anonymous)$", key):
                    del v[key]

    def task(self, base, tid):
        v = self.v
        for key, value in status_fields(text(f"{base}/status")).items():
            v[f"task/{tid}/status {key}"] = value
        for key, value in stat_fields(text(f"{base}/stat")).items():
            v[f"task/{tid}/stat {key}"] = value
        v[f"task/{tid} children"] = text(f"{base}/children")
        v[f"task/{tid} syscall"] = call = text(f"{base}/syscall")
        if not call.startswith(f"{RESTART} "):
            v[f"task/{tid} wchan"] = text(f"{base}/wchan")

    def differences(self, now):
        out = []
        for key in sorted(set(self.v) | set(now.v)):
            a, b = self.v.get(key), now.v.get(key)
            if a == b or self.same_call(key, a, b) or \
               b is None and key.endswith(" wchan"):
                continue
            out += self.lines(key, a, b)
        return out

    @staticmethod
    def same_call(key, a, b):
        if not key.endswith(" syscall") or a is None or b is None:
            return False
        x, y = a.split(), b.split()
        if len(x) != 9 or len(y) != 9:
            return False
        if int(x[0]) in TIMED:
            x[TIMED[int(x[0])]] = y[TIMED[int(x[0])]]
            return x[:8] == y[:8]
        return x[1:] == y[1:] and int(y[0]) == RESTART and \
            (int(x[0]) in RESTARTABLE or int(x[0]) == RESTART)

    @staticmethod
    def lines(key, a, b):
        if a is None or b is None or "\n" not in a + b:
            return [f"{key}: {a!r} -> {b!r}"]
        x, y = a.splitlines(), b.splitlines()
        return [f"{key}: -{s}" for s in x if s not in y] + \
            [f"{key}: +{s}" for s in y if s not in x] or [f"{key}: order"]
