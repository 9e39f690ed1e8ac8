#!/usr/bin/env python3
"""served.py - requests that the daemon does not survive, or in which a call of
the daemon fails.

usage: served.py [--quick] [--only TEXT] [--points N] MOUNTPOINT BUILD

A program that watches itself (steady) is read, through the mount, while the
daemon is killed, or a call of the daemon fails, at the Nth passage of a fault
point; N = 1, 2, 3, ... until a request gets through.  This is the daemon as it
is installed, whose calls include those of snapfs/.

After each kill another daemon is started, and then

  * the program has found nothing, and all of it goes on;
  * its /proc is what it was: no child, no mapping, no code of ours;
  * no twin is left, dead or alive;
  * what was being restored is whole, or is not there, and nobody makes it.

The program is also read by one daemon, again and again, while another one is
started, looks for what was left, finds nothing, and ends.

The processes in which the daemon restores are killed, and calls of theirs fail, in
the same way.

After each failure the daemon serves the next request as if nothing had been,
and holds no more than before; or it has ended, by exit(3).  What it failed to
restore is not there.

Prints a line for each series as faults.py does.
"""

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon, Sizes  # noqa: E402
from checked import Checked  # noqa: E402
from faults import (ALL, CALL, IO, KERNEL_EINTR, MEMORY,  # noqa: E402
                    PTRACE, STOPPING, TASK, Arguments, Failure, Subject,
                    in_our_code, naps, run_all, twins_of)
from footprint import Footprint, link, listing, text  # noqa: E402


class Plan(ctypes.Structure):
    """struct fault_plan of core/fault.h"""
    _fields_ = [("classes", ctypes.c_uint32), ("kill", ctypes.c_uint32),
                ("error", ctypes.c_int32), ("hit", ctypes.c_uint32),
                ("at", ctypes.c_uint64), ("passed", ctypes.c_uint64),
                ("what", ctypes.c_char * 48), ("before", ctypes.c_char * 48)]


# Each is done by a process of its own, which is a reader of its own.
REQUESTS = {
    # All of it: taken, looked at, read, dropped.
    "read": 'grep -rq "no such text" "$1/$2"; [ $? = 1 ]',
    # With a name: taken, renamed, read, dropped, however far it came.
    "name": 'mkdir "$1/$2@a" && mv "$1/$2@a" "$1/$2@b" && '
            'cat "$1/$2@b/regs" >/dev/null && rmdir "$1/$2@b"; rc=$?; '
            'for n in "$1/$2@a" "$1/$2@b"; do '
            '[ ! -e "$n" ] || rmdir "$n"; done; exit $rc',
    # What takes none.
    "list": 'ls -f "$1" >/dev/null && cat "$1/.status" "$1/.log" >/dev/null',
    # A clone beside it, which does not run.
    "restore": 'printf "pid=new\\nstopped\\ntemplate=no\\n%s\\n" "$3/image" '
               '>"$1/.restore"',
    # Two, of a template that is there, or is made.
    "instances": 'printf "instances=2\\nstopped\\n%s\\n" "$3/image" '
                 '>"$1/.restore"',
    # Of what has a terminal: the writer's is relayed, another one is given.
    "relayed": 'printf "pid=new\\nstopped\\ntemplate=no\\n%s\\n" "$3/image" '
               '>"$1/.restore"',
    "tty": 'printf "pid=new\\nstopped\\ntemplate=no\\ntty=%s\\n%s\\n" "$4" '
           '"$3/image" >"$1/.restore"',
}
# How many are restored.
MADE = {"restore": 1, "instances": 2, "relayed": 1, "tty": 1}
# What is done before, without faults.
COPY = 'rm -rf "$3/image" && cp -r "$1/$2" "$3/image"'
PREPARE = {
    "restore": COPY, "relayed": COPY, "tty": COPY,
    "instances": f'{COPY} && {REQUESTS["instances"]}',
}


def wait_swept(daemon):
    pid = daemon.process.pid
    for _ in naps(60):
        names = [text(f"/proc/{pid}/task/{t}/comm").strip()
                 for t in os.listdir(f"/proc/{pid}/task")]
        if "sweep" not in names:
            return
    raise Failure("the sweep does not end")


def family(pid):
    """It and all below it."""
    pids = [str(pid)]
    for p in pids:
        for tid in listing(f"/proc/{p}/task"):
            children = text(f"/proc/{p}/task/{tid}/children")
            pids += [c for c in children.split() if c.isdigit()]
    return pids


def above(pid):
    """All above it, from its parent up."""
    pids = []
    while pid := field(pid, "PPid").removeprefix("0"):
        pids.append(pid)
    return pids


def field(pid, name):
    for line in text(f"/proc/{pid}/status").splitlines():
        if line.startswith(name + ":"):
            return line.split()[1]
    return ""


class Terminals:
    """The subject's, the writer's, and nobody's."""
    SUBJECTS, WRITERS, NOBODYS = range(3)

    def __init__(self):
        self.masters, self.slaves = zip(*(pty.openpty() for _ in range(3)))
        self.modes = [termios.tcgetattr(s) for s in self.slaves]

    def is_as_before(self):
        """That of the writer; nobody's is the mode of whoever gets it."""
        return termios.tcgetattr(self.slaves[self.WRITERS]) == \
            self.modes[self.WRITERS]

    def take(self, which):
        """Before execve(2): it is the controlling one of a session of ours."""
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(self.slaves[which], termios.TIOCSCTTY, 0)

    def put_back(self):
        """What a relay that was killed could not; what nobody has read."""
        for s, mode in zip(self.slaves, self.modes):
            termios.tcsetattr(s, termios.TCSANOW, mode)
            termios.tcflush(s, termios.TCIOFLUSH)

    def close(self):
        for fd in self.masters + self.slaves:
            os.close(fd)


class Series:
    def __init__(self, build, mnt, kinds, request, how, classes, scratch):
        self.build, self.mnt, self.request = build, mnt, request
        self.kinds, self.classes = kinds, classes
        self.scratch = scratch
        self.passages = self.known = self.served = self.ended = 0
        self.made = 0
        self.base = self.daemon = None
        path = os.path.join(scratch, "plan")
        with open(path, "wb") as f:
            f.truncate(ctypes.sizeof(Plan))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), ctypes.sizeof(Plan))
        self.plan = Plan.from_buffer(self.map)
        # Whose calls: its own, or those of the processes that restore.
        self.agent = how.startswith("agent ")
        self.how = how.removeprefix("agent ")
        self.env = {"SNAPFS_FAULT_AGENT" if self.agent else
                    "SNAPFS_FAULT_PLAN": path,
                    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
        self.subject = None
        self.want = MADE.get(request, 0)
        self.terminals = Terminals() if request in ("relayed", "tty") else None

    def start(self):
        self.mount()
        self.begin()

    def begin(self):
        # A relay that ends hangs up what it was for, which then goes on.
        self.subject = (Checked if self.terminals else Subject)(
            self.build, self.kinds, self.scratch)
        self.before = self.subject.at_rest()
        if self.request in PREPARE:
            error = self.run_shell(PREPARE[self.request])
            if error is not None:
                raise Failure(f"before the first: {error}")
            self.clear_clones()

    def mount(self):
        self.daemon = Daemon(self.build, self.mnt, ["linger=100"], self.env)
        wait_swept(self.daemon)
        # What the sweep tries in vain is no error.
        if self.daemon.errors() != "?":
            raise Failure(f"the sweep: {self.daemon.errors()}")

    def ask(self):
        """Do it; the error, or None."""
        return self.run_shell(REQUESTS[self.request])

    def run_shell(self, what):
        p = subprocess.run(
            ["sh", "-c", what, "sh", self.mnt,
             str(self.subject.pid), self.scratch,
             os.ttyname(self.terminals.slaves[Terminals.NOBODYS])
             if self.terminals else ""],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, check=False, timeout=300,
            preexec_fn=self.terminals and
            (lambda: self.terminals.take(Terminals.WRITERS)))
        return None if p.returncode == 0 else p.stderr.decode()[:200]

    def aim(self, n):
        ctypes.memset(ctypes.byref(self.plan), 0, ctypes.sizeof(Plan))
        self.plan.kill = self.how == "kill"
        self.plan.at = n
        self.plan.classes = self.classes

    def run(self, stride, points):
        n = random.randint(1, stride)
        try:
            self.start()
            while not points or self.passages < points:
                if not self.passage(n) and (self.passages or n == 1):
                    break
                n = n + stride if self.passages else n // 2
        except Failure as e:
            raise Failure(f"{self.how} {n} {self.where()}: {e}") from None
        finally:
            self.end()
        if self.passages == 0:
            raise Failure("no passage")

    def where(self):
        return (self.plan.what + b" | " + self.plan.before).decode()

    def passage(self, n):
        self.aim(n)
        error = self.ask()
        self.plan.classes = 0
        if not self.plan.hit:
            if error is not None:
                raise Failure(f"not hit, but {error}")
            self.clear_clones()
            return False
        self.passages += 1
        if self.agent:
            self.after_agent(error)
        elif self.how == "kill":
            self.daemon.died()
            self.mount()
            self.made += self.clear_clones()
        else:
            self.after_failure(error)
        self.check_subject()
        return True

    def after_agent(self, error):
        """What it could not say is that it was made: it may be there."""
        self.served += error is None
        n = self.clear_clones()
        if n != self.want and error is None or n not in (0, self.want):
            raise Failure(f"{n} were restored; {error}")
        self.made += n != 0 and error is not None
        if self.how == "fail" and n != 0 and error is not None:
            raise Failure(f"it was restored; {error}")
        self.serves_the_next()

    def after_failure(self, error):
        for _ in naps(0.1 if error else 0):
            if self.daemon.process.poll() is not None:
                break
        code = self.daemon.process.poll()
        if code is not None:
            if code < 0 or self.daemon.mounted():
                raise Failure(f"the daemon ended with {code}")
            self.ended += 1
            self.mount()
            return
        self.served += error is None
        self.expect_clones(error)
        self.serves_the_next()

    def serves_the_next(self):
        error = self.ask()
        if error is not None:
            raise Failure(f"the next request: {error}: "
                          f"{self.daemon.errors()}")
        self.expect_clones(error)
        self.holds_no_more()

    def expect_clones(self, error):
        n = self.clear_clones()
        if n != (self.want if error is None else 0):
            raise Failure(f"{n} were restored; {error}")

    def clones(self):
        """Those with the subject's arguments that are not of its family."""
        mine = family(self.subject.pid)
        args = text(f"/proc/{self.subject.pid}/cmdline")
        return [p for p in listing("/proc") if p.isdigit() and
                p not in mine and text(f"/proc/{p}/cmdline") == args and
                field(p, "State") != "Z"]

    def agents(self):
        """Orphans of a daemon of this mount; agents bear its program.  Those
        below the runner of a test beside this one are that test's."""
        exe = os.path.realpath(f"{self.build}/snapfs/snapfs")
        mine = above(os.getpid())
        return [p for p in listing("/proc") if p.isdigit() and
                link(f"/proc/{p}/exe") == exe and field(p, "State") != "Z" and
                text(f"/proc/{p}/cmdline").startswith(("snapfs: ", "snapfs-"))
                and not any(text(f"/proc/{q}/comm") == "reap\n"
                            for q in above(p) if q not in mine)]

    def clear_clones(self):
        """Kill what was restored, which must be whole: how many processes,
        not counting children."""
        if self.want == 0:
            return 0
        for _ in naps(20):
            agents = [p for p in self.agents()
                      if text(f"/proc/{p}/comm") != "snapfs-relay\n"]
            if not agents:
                break
        else:
            raise Failure(f"agents are left: {agents}")
        tops = [p for p in self.clones()
                if field(p, "PPid") not in self.clones()]
        want = field(self.subject.pid, "Threads")
        for p in list(tops):
            # It stops a moment after it was let go.
            for _ in naps(5):
                got = [field(p, k) for k in ("State", "TracerPid", "Threads")]
                if got == ["T", "0", want] or not os.path.exists(f"/proc/{p}"):
                    break
            is_gone = not os.path.exists(f"/proc/{p}")
            for q in family(p):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(q), signal.SIGKILL)
            # What was on its way out is not half made; nor is it that its relay
            # has hung it up, with a SIGCONT.
            if self.terminals and got[1] == "0" and not self.agents():
                pass
            elif is_gone:
                tops.remove(p)
            elif got != ["T", "0", want]:
                raise Failure(f"half made: {p} has state, tracer, threads "
                              f"{got}; {want} threads were to be")
        for _ in naps(20):
            if not self.clones():
                break
        if self.terminals:
            self.check_terminals()
        return len(tops)

    def check_terminals(self):
        """No relay is left, and the mode is as before, if none was killed."""
        for _ in naps(20):
            relays = self.agents()
            if not relays:
                break
        if relays:
            raise Failure(f"relays are left: {relays}")
        if not self.terminals.is_as_before() and self.how != "kill":
            raise Failure("the terminal has another mode")
        self.terminals.put_back()

    def holds_no_more(self):
        """Once it has dropped what nobody reads any more."""
        for _ in naps(20):
            now = Sizes(self.daemon)
            if "checkpoints-live: 0" not in text(f"{self.mnt}/.status"):
                continue
            if self.base is None:
                self.base = now
            if now.fds <= self.base.fds and \
               now.threads <= self.base.threads and \
               now.children <= self.base.children:
                return
        raise Failure(f"it holds {now}; {self.base} before")

    def check_subject(self):
        """It goes on, and is as it was.  If it saw the EINTR of a death in
        that window, another one is started."""
        before = self.plan.before.decode()
        window = self.how == "kill" and (
            before in ("INTERRUPT", "GETREGS") or
            before in STOPPING and self.plan.what.decode() in STOPPING or
            # Other threads of the daemon allocate meanwhile, and that window is
            # a long one.
            self.classes == MEMORY and os.environ.get("PRESET") == "tsan")
        self.subject.wait(lambda: not in_our_code(self.subject.pid),
                          "a thread stays in our code", 60)
        if window and self.subject.quiet:
            time.sleep(0.1)     # a thread may be about to say so
        error = self.subject.goes_on()
        diff = self.left() if error is None else []
        error = error or self.subject.error()
        if error is None:
            if diff:
                raise Failure("; ".join(diff)[:400])
            return
        if not window or not KERNEL_EINTR.match(error):
            raise Failure(error)
        self.known += 1
        self.subject.end()
        self.begin()

    def left(self):
        """What stays different."""
        for _ in naps(20):
            now = Footprint(self.subject.pid, self.subject.quiet)
            diff = self.before.differences(now)
            diff += [f"twin {p}" for p in twins_of(self.subject.pid)]
            if not diff or self.subject.error():
                break
        return diff

    def end(self):
        try:
            if self.subject is not None:
                self.clear_clones()
        finally:
            if self.subject is not None:
                self.subject.end()
            if self.daemon is not None:
                self.daemon.kill()
            if self.terminals:
                self.terminals.close()

    def report(self):
        s = f"{self.passages} passages"
        if self.known:
            s += f", {self.known} with the kernel's EINTR"
        if self.how == "fail" or self.agent:
            s += f", {self.served} served all the same"
        if self.made:
            s += f", {self.made} were restored all the same"
        if self.ended:
            s += f", {self.ended} times the daemon ended"
        return s


# Subject, request, how, classes, and the stride of --quick.
REAPER, INIT = "quiet reaper", "init quiet"
SERIES = [
    ("quiet", "read", "kill", ALL & ~MEMORY, 61),
    (REAPER, "read", "kill", ALL & ~MEMORY, 61),
    (INIT, "read", "kill", ALL & ~MEMORY, 61),
    ("children threads", "read", "kill", ALL & ~MEMORY, 61),
    ("quiet", "read", "kill", MEMORY, 211),
    (REAPER, "name", "kill", ALL & ~MEMORY, 97),
    ("quiet", "list", "kill", ALL, 61),
    ("quiet", "read", "fail", MEMORY, 97),
    ("quiet", "read", "fail", IO | TASK, 97),
    (REAPER, "read", "fail", PTRACE | CALL, 97),
    (INIT, "name", "fail", MEMORY | TASK, 97),
    ("quiet", "list", "fail", ALL, 61),
    ("quiet", "restore", "kill", ALL, 3),
    ("quiet", "restore", "fail", ALL, 3),
    ("quiet", "restore", "agent kill", ALL & ~MEMORY, 151),
    ("quiet", "restore", "agent kill", MEMORY, 401),
    ("quiet", "restore", "agent fail", ALL & ~MEMORY, 151),
    ("quiet", "restore", "agent fail", MEMORY, 211),
    ("fd_tty", "relayed", "agent fail", ALL, 211),
    ("fd_tty", "relayed", "agent kill", ALL, 401),
    ("fd_tty", "tty", "agent fail", ALL, 401),
    ("quiet", "instances", "agent fail", ALL, 211),
    ("quiet", "instances", "agent kill", ALL, 401),
    ("quiet", "instances", "fail", ALL, 61),
    ("quiet", "instances", "kill", ALL, 61),
]
# The whole tries one of so many fewer: another one each time it is run.
WHOLE = 20
NAMES = {ALL: "all", ALL & ~MEMORY: "all but memory", MEMORY: "memory",
         IO | TASK: "files", PTRACE | CALL: "ptrace",
         MEMORY | TASK: "memory and tasks"}


def one(series, mnt, build, quick, points):
    kinds, request, how, classes, stride = series
    with tempfile.TemporaryDirectory() as scratch:
        s = Series(build, mnt, kinds, request, how, classes, scratch)
        s.run(stride if quick else max(1, stride // WHOLE), points)
        return s.passages, s.report()


class Together:
    """A daemon that takes checkpoints in a row, beside others that come and go."""
    KINDS, ROUNDS = "pipe threads", 40

    def __init__(self, build, mnt, scratch):
        self.build, self.mnt, self.scratch = build, mnt, scratch
        self.other = os.path.join(scratch, "mnt")
        os.mkdir(self.other)
        self.taken, self.error, self.stop = 0, None, False

    def take(self, first, pid):
        try:
            while not self.stop:
                first.take(pid)
                self.taken += 1
        except Failure as e:
            self.error = e

    def run(self, rounds):
        subject = Subject(self.build, self.KINDS, self.scratch)
        first = Daemon(self.build, self.mnt, ["linger=50"])
        thread = threading.Thread(target=self.take, args=(first, subject.pid))
        try:
            before = subject.at_rest()
            thread.start()
            for _ in range(rounds):
                self.once(subject)
            self.stop = True
            thread.join()
            first.end()     # and with it the last twin
            self.judge(subject, before)
        finally:
            self.stop = True
            thread.join()
            if first.mounted():
                first.kill()
            subject.end()

    def once(self, subject):
        other = Daemon(self.build, self.other)
        try:
            wait_swept(other)
            for line in text(f"{self.other}/.log").splitlines():
                if f" {subject.pid}:" in line and "left" in line and \
                   "is gone" in line:
                    raise Failure(f"nothing was left: {line}")
        finally:
            other.end()
        if self.error:
            raise self.error
        if subject.error():
            raise Failure(subject.error())

    @staticmethod
    def judge(subject, before):
        error = subject.goes_on()
        if error:
            raise Failure(error)
        for _ in naps(20):
            diff = before.differences(Footprint(subject.pid, subject.quiet))
            diff += [f"twin {p}" for p in twins_of(subject.pid)]
            if not diff:
                return
        raise Failure("; ".join(diff)[:400])


def together(mnt, build, quick):
    with tempfile.TemporaryDirectory() as scratch:
        s = Together(build, mnt, scratch)
        s.run(s.ROUNDS if quick else 10 * s.ROUNDS)
        return 0, f"{s.taken} checkpoints"


def main():
    args = Arguments()
    mnt, build = args.last

    def all_of_them():
        for series in SERIES:
            kinds, request, how, classes, _ = series
            yield (f"daemon: {how}: {NAMES[classes]}: {request}: {kinds}",
                   functools.partial(one, series, mnt, build, args.quick,
                                     args.points))
        yield ("daemon: another one starts while a checkpoint is taken",
               functools.partial(together, mnt, build, args.quick))

    return run_all(all_of_them(), args.only)


if __name__ == "__main__":
    sys.exit(main())
