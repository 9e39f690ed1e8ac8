#!/usr/bin/env python3
"""faults.py - checkpoints that we do not survive, or in which a call fails.

usage: faults.py [--quick] [--only TEXT] [--points N] BUILD

A program that watches itself (steady) is checkpointed by one (taker) that is
killed, or for which a call fails or comes late, at the Nth passage of a fault
point; N = 1, 2, 3, ... until a checkpoint gets through.  After each, what was
left is swept away, and then

  * the program has found nothing, and all of it goes on;
  * its /proc is what it was;
  * no twin is left;
  * a failing checkpoint gave an errno and a sentence, or succeeded; and our
    own memory and open files are what they were.

Prints a line for each series on descriptor 3 as tests/e2e/lib.sh does, and
the number of passages on standard output.
"""

import contextlib
import ctypes
import functools
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import typing

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from footprint import TIMED, Footprint, listing, text  # noqa: E402

PTRACE, CALL, MEMORY, TASK, IO = 1, 2, 4, 8, 16
VERBOSE = os.environ.get("VERBOSE")
ALL = PTRACE | CALL | MEMORY | TASK | IO

# With `delta' increments are taken: that of a tree with twins, the other without.
SUBJECTS = ["quiet", "quiet reaper", "regs fp", "sleep epoll", "children",
            "signal timer", "pipe threads", "sem", "children delta",
            "regs signal delta"]

# A thread in one of these sees EINTR if we die between having interrupted it
# and its first SETREGS: the kernel offers no way around it (SECURITY.md).
KERNEL_EINTR = re.compile(
    r"^(epoll_wait|epoll_timed|epoll|semop|sigtimedwait|sigwaitinfo)\b.*"
    r"Interrupted system call")

NEWNS, NEWIPC, NEWNET = 0x00020000, 0x08000000, 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

# In s.  The freeze timeout is 2 s, and to undo what failed takes one or two.
TOO_LONG = 9

# So late that threads in our code go home by themselves (heal_code.h), and may
# end there; and with which freeze timeout: it is not over then, or it is.
LATE_MS = 300
LATE = {"late": 5000, "too late": 200}

# The requests of that window; where little CPU is to be had, several threads
# are in it at a time.
STOPPING = ("INTERRUPT", "GETREGS", "SETREGS")


class Subject:
    HEAD, WORKER = struct.Struct("=IIII240s"), struct.Struct("=16sQQ")

    """One steady; `init` among its kinds: as the first of a PID namespace."""

    def __init__(self, build, kinds, scratch):
        init = ["unshare", "--pid", "--fork"] if "init" in kinds else []
        self.kinds = [k for k in kinds.split() if k != "init"]
        self.path = os.path.join(scratch, "status")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        # It may use all the CPU that there is, which others need.
        self.process = subprocess.Popen(
            ["nice", "-n", "19"] + init +
            [f"{build}/tests/fault/steady", self.path] + self.kinds,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.wait(lambda: self.head()[0] == len(self.kinds), "not ready", 60)
        self.pid = self.process.pid
        if init:
            self.pid = int(text(f"/proc/{self.pid}/task/{self.pid}/children"))
        self.quiet = "quiet" in self.kinds
        if self.quiet:
            time.sleep(0.3)

    def head(self):
        try:
            with open(self.path, "rb") as f:
                return self.HEAD.unpack(f.read(self.HEAD.size))
        except (OSError, struct.error):
            return (0, 0, 0, 0, b"")

    def error(self):
        head = self.head()
        if head[1]:
            # The sentence is written after the mark.
            time.sleep(0.01)
            return self.head()[4].split(b"\0")[0].decode()
        code = self.process.poll()
        return None if code is None else f"it ended: {code}"

    def beats(self):
        with open(self.path, "rb") as f:
            data = f.read()
        return [self.WORKER.unpack_from(
            data, self.HEAD.size + i * self.WORKER.size)[1]
            for i in range(len(self.kinds))]

    @staticmethod
    def wait(what, why, seconds=20):
        for _ in naps(seconds):
            if what():
                return
        raise Failure(why() if callable(why) else why)

    def goes_on(self):
        """Every worker has come around again, and found nothing."""
        before = self.beats()
        need = [k not in ("quiet", "reaper") for k in self.kinds]

        def on():
            return self.error() is not None or all(
                b > a or not n
                for a, b, n in zip(before, self.beats(), need))
        self.wait(on, lambda: "it does not go on: " + whereabouts(self.pid), 60)
        return self.error()

    def at_rest(self):
        """What it looks like when it has come to rest."""
        before = None
        while True:
            now = Footprint(self.pid, self.quiet)
            if before is not None and not before.differences(now):
                return now
            before = now
            time.sleep(0.1)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()


class Failure(Exception):
    pass


def naps(seconds):
    """Once, and after each nap, until so much was slept.  It is no clock:
    when we are stopped for a while, nobody else is late."""
    nap = 0.002
    yield 0
    for i in range(int(seconds / nap)):
        time.sleep(nap)
        yield i + 1


def whereabouts(pid):
    """What its threads are in, and its children, for a sentence."""
    said = []
    for tid in listing(f"/proc/{pid}/task"):
        there = f"/proc/{pid}/task/{tid}"
        said.append(f"{tid} {text(there + '/syscall').strip()} "
                    f"{text(there + '/wchan')}")
        for child in text(there + "/children").split():
            said.append(f"child {child}: {whereabouts(child)}")
    return "; ".join(said)


def in_our_code(pid):
    """Is a thread still in code of ours, on its way home?  One that goes on
    with its call in a stub (core/stubs.h) is not."""
    areas = []
    for line in text(f"/proc/{pid}/maps").splitlines():
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line)
        if m is None:
            continue
        start, end = int(m[1], 16), int(m[2], 16)
        if m[3] == "rwxs":
            areas.append((start, end))
        elif line.endswith("[vdso]"):
            areas.append((end - 2048, end))
    for tid in listing(f"/proc/{pid}/task"):
        f = text(f"/proc/{pid}/task/{tid}/syscall").split()
        if len(f) < 2 or not f[-1].startswith("0x"):
            continue
        pc = int(f[-1], 16)
        if int(f[0]) not in TIMED and any(a <= pc < b for a, b in areas):
            return True
    return False


def twins_of(pid):
    """Live ones, and dead ones that are children of the original.  (Other
    dead ones are for the init of this place to reap.)"""
    found = []
    for p in listing("/proc"):
        if not p.isdigit() or \
           text(f"/proc/{p}/comm").strip() != f"snapfs:{pid}":
            continue
        state, parent = text(f"/proc/{p}/stat").rpartition(")")[2].split()[:2]
        if state != "Z" or parent == str(pid):
            found.append(p)
    return found


class Way(typing.NamedTuple):
    """What happens, at which points; and one of how many passages are tried
    in a quick run, 0: none."""
    how: str
    what: str
    classes: int
    stride: int
    only: str = ""


WAYS = [Way("kill", "all but memory", ALL & ~MEMORY, 29),
        Way("kill", "memory", MEMORY, 97),
        Way("fail", "ptrace", PTRACE, 23),
        Way("fail", "calls in it", CALL, 41),
        Way("fail", "memory", MEMORY, 97),
        Way("fail", "files", IO | TASK, 41),
        Way("late", "interruptions", 0, 0),
        Way("too late", "interruptions", 0, 0)]

# What was seen to go wrong: a child of a thread that another one finds; one
# that has gone home by itself and ended; no memory to end a twin; one that
# stops on its way out; one taken home before it had reaped a child of ours.
RESUMED = "children", Way("kill", "resumptions", PTRACE, 1, "CONT")
WHOLE = [*[RESUMED] * 4,     # some of the time only
         ("pipe threads", Way("late", "interruptions", 0, 1)),
         ("quiet reaper", Way("fail", "calloc", MEMORY, 1, "calloc")),
         ("signal timer", Way("fail", "resumptions", PTRACE, 1, "CONT")),
         *[("children", Way("fail", "reads", IO, 1, "process_vm_readv"))] * 2]


class Series:
    """One subject, one way of failing."""

    def __init__(self, build, kinds, way, stride, scratch, points):
        self.build, self.how = build, way.how
        self.kinds = kinds.removesuffix(" delta")
        self.delta = " delta" if kinds.endswith(" delta") else ""
        self.way, self.stride, self.scratch = way, stride, scratch
        self.points = points
        self.passages = self.known = self.swept = self.slower = 0
        self.base = None
        self.where, self.n = "", 0
        self.taker = subprocess.Popen(
            [f"{build}/tests/fault/taker"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1,
            env=dict(os.environ, GLIBC_TUNABLES="glibc.malloc.tcache_count=0"))
        self.begin()

    def begin(self):
        self.subject = Subject(self.build, self.kinds, self.scratch)
        # The first checkpoint makes the vDSO's page its own; what is
        # compared with is from before it all the same.
        self.before = self.subject.at_rest()
        for _ in range(3):
            self.ask(f"fail 0 1 0 {self.subject.pid}")

    def ask(self, line):
        self.taker.stdin.write(line + "\n")
        answer = self.taker.stdout.readline().rstrip("\n")
        if not answer:
            raise Failure(f"the taker died of: {line}")
        return answer

    def run(self):
        n = random.randint(1, self.stride)
        try:
            while self.passage(n) or self.passages == 0 and n > 1:
                n = n + self.stride if self.passages else n // 2
        except Failure as e:
            raise Failure(f"{self.how} {n} {self.where}: {e}") from None
        finally:
            self.end()
        if self.passages == 0:
            raise Failure("no passage")

    def passage(self, n):
        if self.points and self.passages >= self.points:
            return False
        for _ in range(20):
            start = time.monotonic()
            answer = self.ask(self.line(n))
            took = time.monotonic() - start
            # Somebody else may have the process, on a busy machine.
            if answer != "again":
                break
            time.sleep(0.1)
        self.where, self.n = answer, n
        if took > TOO_LONG:
            raise Failure(f"it took {took:.0f} s")
        if answer.startswith("through "):
            return False
        self.passages += 1
        if self.how == "kill":
            self.after_kill(answer)
        else:
            self.after_failure(answer)
        return True

    def line(self, n):
        if self.how in LATE:
            return (f"late {n} {LATE_MS} {LATE[self.how]} "
                    f"{self.subject.pid}{self.delta}")
        error = "" if self.how == "kill" else "0 "
        return (f"{self.how} {self.way.classes} {n} {error}"
                f"{self.subject.pid} {self.way.only}{self.delta}")

    def same(self, seconds):
        """Differences that stay; [] as soon as there are none."""
        for _ in naps(seconds):
            now = Footprint(self.subject.pid, self.subject.quiet)
            diff = self.before.differences(now)
            diff += [f"twin {p}" for p in twins_of(self.subject.pid)]
            if not diff:
                break
        return diff

    def gone_home(self, seconds):
        pid = self.subject.pid
        self.subject.wait(
            lambda: not in_our_code(pid),
            lambda: "a thread stays in our code: " + whereabouts(pid), seconds)

    def check_subject(self, window=False):
        """It goes on; False if it saw the EINTR that cannot be hidden when we
        die in that window, and another one was started."""
        error = self.subject.goes_on()
        if error is None:
            return True
        if not window or not KERNEL_EINTR.match(error):
            raise Failure(error)
        self.known += 1
        self.subject.end()
        self.begin()
        return False

    def after_kill(self, answer):
        m = re.match(r"killed (.*) \| (.*)", answer)
        if m is None:
            raise Failure(answer)
        window = m[1] in STOPPING and m[2] in STOPPING
        self.gone_home(60)
        if window and self.subject.quiet:
            time.sleep(0.1)     # a thread may be about to say so
        if not self.check_subject(window):
            return
        diff = self.same(0)
        if not diff:
            return
        said = self.ask("sweep")
        if not self.check_subject(window):
            return
        diff = self.same(10)
        if diff and self.check_subject(window):
            raise Failure(f"{said}: {'; '.join(diff)}")

    def grown(self, heap):
        """What is made once, at first need, is not made again."""
        again = self.ask(self.line(self.n))
        m = re.match(r"(?:failed \d+|taken) \d+ (\d+) ", again)
        if m is None or int(m[1]) > heap:
            raise Failure(f"{heap} bytes allocated, {self.base[1]} before; "
                          f"then {again}")
        self.base = self.base[0], heap

    def after_failure(self, answer):
        m = re.match(r"failed (\d+) (\d+) (\d+) (.*?) \| (.*)", answer)
        if m is not None:
            if " " not in m[5]:
                raise Failure("no sentence")
            fds, heap = int(m[2]), int(m[3])
        else:
            m = re.match(r"taken (\d+) (\d+) (.*?) \| (.*)", answer)
            if m is None:
                raise Failure(answer)
            self.slower += 1
            fds, heap = int(m[1]), int(m[2])
        if self.base is None:
            self.base = fds, heap
        if fds != self.base[0]:
            raise Failure(f"{fds} open files, {self.base[0]} before")
        if heap > self.base[1]:
            self.grown(heap)
        diff = self.same(0.2)
        if diff:
            self.swept += 1
            if VERBOSE:
                print(f"  left: {answer}: {'; '.join(diff)[:200]}")
            self.gone_home(20)
            said = self.ask("sweep")
            self.check_subject()
            diff = self.same(10)
            if diff:
                raise Failure(f"{said}: {'; '.join(diff)}")
        self.check_subject()

    def end(self):
        self.subject.end()
        self.taker.stdin.close()
        self.taker.wait()

    def report(self):
        s = f"{self.passages} passages"
        if self.known:
            s += f", {self.known} with the kernel's EINTR"
        if self.how != "kill":
            s += f", {self.slower} succeeded all the same"
            if self.swept:
                s += f", {self.swept} left something for the sweep"
        return s


def result(how, what):
    try:
        os.write(3, f"{how} {what}\n".encode())
    except OSError:
        pass


def chosen(quick):
    """(subject, way, stride) of all series."""
    for kinds in SUBJECTS:
        for way in WAYS:
            if way.stride != 0 or not quick:
                yield kinds, way, way.stride if quick else 1
    for kinds, way in WHOLE if quick else []:
        yield kinds, way, 1


class Arguments:
    """Of these programs; and a seed, which is told."""

    def __init__(self):
        args = sys.argv[1:]
        self.quick = "--quick" in args
        self.only = args[args.index("--only") + 1] if "--only" in args else ""
        self.points = int(args[args.index("--points") + 1]) \
            if "--points" in args else 0
        self.last = args[-2:]   # the mount point, where there is one; the build
        self.build = args[-1]
        seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
        random.seed(seed)
        print(f"seed {seed}")


def live_apart(spaces):
    """Names, numbers and mounts of what we start are nobody else's."""
    if LIBC.unshare(spaces) != 0:
        sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
    if spaces & NEWNS:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if spaces & NEWNET:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def run_all(series, only):
    """Each (name, what does it), which gives its passages and what is to be
    said of them: whether one failed."""
    bad = total = 0
    for name, one in series:
        if only not in name:
            continue
        start = time.monotonic()
        try:
            passages, said = one()
        except Failure as e:
            bad += 1
            print(f"FAILED: {name}: {e}", flush=True)
            result("bad", f"{name} {e}")
            continue
        total += passages
        print(f"{name}: {said}, {time.monotonic() - start:.0f} s", flush=True)
        result("ok", name)
    print(f"{total} passages, {bad} series failed")
    return bad != 0


def run_series(args, make, kinds, way, stride):
    with tempfile.TemporaryDirectory() as scratch:
        s = make(args.build, kinds, way, stride, scratch, args.points)
        s.run()
        return s.passages, s.report()


def main():
    args = Arguments()
    # Semaphores outlive who made them.
    live_apart(NEWIPC)
    return run_all(
        ((f"{way.how}: {way.what}: {kinds}",
          functools.partial(run_series, args, Series, kinds, way, stride))
         for kinds, way, stride in chosen(args.quick)), args.only)


if __name__ == "__main__":
    sys.exit(main())
