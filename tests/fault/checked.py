#!/usr/bin/env python3
"""checked.py - checkpoints that we do not survive, or in which a call fails, of
the programs that check themselves once, at the end.

usage: checked.py [--quick] [--only TEXT] [--points N] BUILD

As faults.py, of programs of tests/subjects: they have what steady has not, as
connections of TCP, terminals, secret memory.  After each passage the program is
there, as it was in /proc, with no twin; after some, and at the end of a series,
it is asked whether it finds anything wrong with itself, and another one is
started.
"""

import contextlib
import functools
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import tty

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402
from faults import (ALL, CALL, IO, LIBC, MEMORY, NEWIPC,  # noqa: E402
                    NEWNET, PTRACE, TASK, Arguments, Failure, Subject, Way,
                    live_apart, run_all, run_series)
from footprint import text  # noqa: E402
from restored import (SOCKET, SUBREAPER, children,  # noqa: E402
                      reap, remove_objects)

EINTR = re.compile("semop.*Interrupted system call", re.DOTALL)
EACH = 20       # after so many passages it is asked

SUBJECTS = ["fd_tcp", "mem_secret", "tree_secret", "fd_tty", "fd_pty",
            "ipc_msg", "ipc_sem", "mem_sysv", "fd_unix", "fd_pipe",
            "fd_timerfd", "fd_inotify", "fd_fanotify", "fd_udp", "fd_epoll",
            "fd_eventfd", "fd_posixlock", "tree_tables", "tree_fork",
            "tree_sessions", "sec_filter", "mem_many_vmas", "fd_many"]

WAYS = [Way("kill", "all but memory", (ALL | SOCKET) & ~MEMORY, 89),
        Way("fail", "ptrace", PTRACE, 89),
        Way("fail", "calls in it", CALL, 41),
        Way("fail", "memory", MEMORY, 293),
        Way("fail", "files", IO | TASK | SOCKET, 89)]
# Those that are in a quick run.
QUICK = {"fd_tcp", "tree_secret", "fd_tty", "ipc_msg"}


class Checked:
    """One of tests/subjects, and a terminal for it."""
    quiet = False
    wait = staticmethod(Subject.wait)
    at_rest = Subject.at_rest

    def __init__(self, build, name, scratch):
        self.dir = tempfile.mkdtemp(dir=scratch)
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.process = subprocess.Popen(
            [f"{build}/tests/subjects/{name}", self.dir,
             os.ttyname(self.slave)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait(lambda: os.path.exists(f"{self.dir}/ready"), "not ready", 60)
        self.pid = int(text(f"{self.dir}/ready"))

    def error(self):
        if os.path.exists(f"{self.dir}/result"):
            return f"it was not asked, but says: {text(self.dir + '/result')}"
        code = self.process.poll()
        return None if code is None else f"it ended: {code}"

    goes_on = error

    def check(self, window):
        """It says that it is as it was; False if it saw the EINTR of a death in
        that window."""
        with open(f"{self.dir}/check.new", "w", encoding="ascii") as f:
            f.write("survived\n")
        os.rename(f"{self.dir}/check.new", f"{self.dir}/check")
        self.wait(lambda: os.path.exists(f"{self.dir}/result") or
                  self.process.poll() is not None, "it does not answer", 60)
        said = text(f"{self.dir}/result").strip()
        if said.split(" ")[0] in ("ok", "skip"):
            return True
        # As in faults.py: it is started anew, whatever was seen.
        if window and EINTR.search(said):
            return False
        raise Failure(f"it says: {said}; {self.process.poll()}")

    def end(self):
        for p in [str(self.pid)] + children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(p), signal.SIGKILL)
        self.process.wait()
        reap()
        remove_objects()
        os.close(self.master)
        os.close(self.slave)


class Series(faults.Series):
    def begin(self):
        self.subject = Checked(self.build, self.kinds, self.scratch)
        self.asked = self.passages
        self.window = False     # was it killed where that can be seen?
        self.before = self.subject.at_rest()
        for _ in range(3):
            self.ask(f"fail 0 1 0 {self.subject.pid}")

    def passage(self, n):
        if not super().passage(n):
            self.known += not self.subject.check(self.window)
            return False
        self.window |= self.how == "kill" and any(s in self.where for s in faults.STOPPING)
        if self.passages - self.asked >= EACH or \
           self.passages == self.points:
            self.known += not self.subject.check(self.window)
            self.subject.end()
            self.begin()
        return True



def main():
    args = Arguments()
    LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    live_apart(NEWIPC | NEWNET)
    return run_all(
        ((f"{way.how}: {way.what}: {name}", functools.partial(
            run_series, args, Series, name, way,
            way.stride if args.quick else 1))
         for name in SUBJECTS for way in WAYS
         if name in QUICK or not args.quick), args.only)


if __name__ == "__main__":
    sys.exit(main())
