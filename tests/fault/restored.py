#!/usr/bin/env python3
"""restored.py - restores, and merges of increments, in which a call fails.

usage: restored.py [--quick] [--only TEXT] [--points N] [--from N] [--on]
           BUILD

Images of programs (tests/subjects) are restored by snapcore-restore, and made of
an increment and its parent by snapfs-merge, where the call at the Nth passage of
a fault point fails, or whoever makes it is killed there; N = 1, 2, 3, ... until
it gets through.  Each then

  * has ended with a sentence, which names memory if that was lacking, or has
    succeeded all the same, and what was restored finds nothing wrong with itself;
  * has left nothing: no process, no object of System V IPC, no mount, no
    IMAGE.part; if it was killed, what it made is whole, or ends.

A series ends at the first that goes wrong; with --on all are told of.

Prints a line for each series on descriptor 3 as tests/e2e/lib.sh does.
"""

import functools
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from daemon import Daemon  # noqa: E402
from faults import (ALL, CALL, IO, LIBC, MEMORY, NEWIPC,  # noqa: E402
                    NEWNET, NEWNS, PTRACE, TASK, Arguments, Failure,
                    live_apart, naps, run_all)
from footprint import listing, text  # noqa: E402

PLAN = struct.Struct("=IIiIQQ48s48sI20s")       # core/fault.h
SUBREAPER = 36
SOCKET = 32
ON = "--on" in sys.argv
FROM = int(sys.argv[sys.argv.index("--from") + 1]) \
    if "--from" in sys.argv else 0
VERBOSE = os.environ.get("VERBOSE")


def children(pid):
    """All below it, without it."""
    found = []
    for tid in listing(f"/proc/{pid}/task"):
        for child in text(f"/proc/{pid}/task/{tid}/children").split():
            if child.isdigit():
                found += [child] + children(child)
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def kill_all(keep):
    """All that was restored; it comes to us when its parent ends."""
    for _ in naps(20):
        left = [p for p in children(os.getpid()) if p not in keep]
        if not left:
            return
        for p in left:
            try:
                os.kill(int(p), signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
    raise Failure(f"what was restored does not end: {left}")


def objects():
    """(kind, id) of all of System V IPC."""
    return [(kind, int(line.split()[1])) for kind in ("shm", "sem", "msg")
            for line in text(f"/proc/sysvipc/{kind}").splitlines()[1:]]


def remove_objects():
    for kind, number in objects():
        if kind == "shm":
            LIBC.shmctl(number, 0, None)
        elif kind == "sem":
            LIBC.semctl(number, 0, 0)
        else:
            LIBC.msgctl(number, 0, None)


class Scene:
    """Where the images are, and whoever may be there all the time."""

    def __init__(self, build, scratch):
        self.build, self.scratch = build, scratch
        self.keep = []          # pids of ours that stay

    def path(self, name):
        return os.path.join(self.scratch, name)

    def images(self, mnt, subject, name, args=()):
        """A whole copy of it, and an increment to that."""
        where = self.path(name)
        os.mkdir(where)
        p = subprocess.Popen(
            [f"{self.build}/tests/subjects/{subject}", where, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        for _ in naps(20):
            if os.path.exists(f"{where}/ready"):
                break
        pid = text(f"{where}/ready").strip() or str(p.pid)
        os.mkdir(f"{where}/chain")
        with open(f"{mnt}/{pid}/.track", "w", encoding="ascii") as f:
            f.write("on")
        for source, to in (pid, "d0"), (f"{pid}/delta", "d1"):
            subprocess.run(["cp", "-r", f"{mnt}/{source}",
                            f"{where}/chain/{to}"], check=True)
            time.sleep(0.2)     # that it was read to its end is noted
        with open(f"{mnt}/{pid}/.track", "w", encoding="ascii") as f:
            f.write("off")
        kill_all(self.keep)
        remove_objects()
        return f"{where}/chain"

    def is_whole(self, chain, by):
        """What came back says that it is as it was; None: it does not answer,
        and has ended."""
        where = os.path.dirname(chain)
        with open(f"{where}/check.new", "w", encoding="ascii") as f:
            f.write("restored\n")
        os.rename(f"{where}/check.new", f"{where}/check")
        try:
            for _ in naps(20):
                reap()
                if os.path.exists(f"{where}/result"):
                    break
                if not self.there():
                    return None
            said = text(f"{where}/result").strip()
        finally:
            for name in "check", "result":
                if os.path.exists(f"{where}/{name}"):
                    os.unlink(f"{where}/{name}")
        if said.split(" ")[0] not in ("ok", "skip"):
            raise Failure(f"what was restored says after {by}: {said}")
        return said

    def there(self):
        """Who is below us that is not to stay."""
        return [p for p in children(os.getpid()) if p not in self.keep]


class Series:
    QUICK = 61      # of so many passages one is tried

    def __init__(self, scene, way, command, chain=None, made=None):
        self.scene, self.command = scene, command
        self.how, _, self.classes = way
        self.chain = chain      # of the image that it restores
        self.made = made        # a directory that it makes
        self.plan = scene.path("plan")
        self.passages = self.succeeded = self.wrong = 0
        self.what, self.hit = "", False

    def one(self, n):
        """False if the Nth passage did not come."""
        with open(self.plan, "wb") as f:
            f.write(PLAN.pack(self.classes, self.how == "kill", 0, 0, n, 0,
                              b"", b"", 0, b""))
        with open(self.scene.path("said"), "w+", encoding="utf-8") as said:
            try:
                code = subprocess.run(
                    self.command, stdin=subprocess.DEVNULL, stdout=said,
                    stderr=said, timeout=60, check=False,
                    env=dict(os.environ, SNAPFS_FAULT_PLAN=self.plan)
                    ).returncode
            except subprocess.TimeoutExpired:
                code = "does not end"
        with open(self.plan, "rb") as f:
            plan = PLAN.unpack(f.read(PLAN.size))
        self.what = plan[6].split(b"\0")[0].decode()
        last = (text(self.scene.path("said")).splitlines() or [""])[-1]
        self.hit = plan[3] != 0
        if VERBOSE:
            print(n, self.what, code, text(self.scene.path("said")),
                  flush=True)
        if self.how == "kill" and code in (-signal.SIGKILL,
                                           128 + signal.SIGKILL):
            self.judge_killed()
        else:
            self.judge(code, last)
        return self.hit

    def judge_killed(self):
        if self.scene.there() and \
           self.scene.is_whole(self.chain, self.what) is not None:
            self.succeeded += 1
            kill_all(self.scene.keep)
        # Nobody was there to remove them.
        remove_objects()
        self.nothing_left()

    def judge(self, code, last):
        if code == 0:
            self.succeeded += 1
            if not self.made and \
               self.scene.is_whole(self.chain, self.what) is None:
                raise Failure(f"it succeeded, and is gone: {last}")
            self.clear()
        elif code != 1:
            raise Failure(f"it ended with {code}: {last}")
        elif " " not in last.split(": ", 1)[-1]:
            raise Failure(f"no sentence: {last}")
        elif self.classes == MEMORY and not re.search(
                "ENOMEM|Cannot allocate memory|no memory|out of memory", last):
            raise Failure(f"not for want of memory: {last}")
        elif "killed, for memory" in last:
            self.clear()    # those that had all of it go on
        self.nothing_left()

    def clear(self):
        kill_all(self.scene.keep)
        remove_objects()
        if self.made:
            for name in self.made, self.made + ".part":
                shutil.rmtree(name, ignore_errors=True)

    def nothing_left(self):
        for _ in naps(2):
            reap()
            left = self.scene.there()
            if not left:
                break
        if left:
            raise Failure("left: " + " ".join(
                text(f"/proc/{p}/comm").strip() + ":" + p for p in left))
        if objects():
            raise Failure(f"left: {objects()}")
        if self.made:
            for name in self.made, self.made + ".part":
                if os.path.exists(name):
                    raise Failure(f"left: {name}")

    def run(self, stride, points):
        n = FROM or random.randint(1, stride)
        while self.tried(n):
            self.passages += 1
            if self.passages == points:
                break
            n += stride
        if self.passages == 0 and stride == 1:
            raise Failure("no passage")
        if self.wrong:
            raise Failure(f"{self.wrong} of {self.passages} passages")

    def tried(self, n):
        """False if the Nth passage did not come."""
        try:
            return self.one(n)
        except Failure as e:
            self.clear()
            if not ON:
                raise Failure(f"{n} {self.what}: {e}") from None
            print(f"  {n} {self.what}: {e}", flush=True)
        self.wrong += 1
        return self.hit


# How, what, at which points.
FAILS = [("fail", "memory", MEMORY), ("fail", "files", IO),
         ("fail", "tasks", PTRACE | CALL | TASK | SOCKET)]
KILL = ("kill", "all but memory", ALL & ~MEMORY)
# Of each its whole copy is restored, and what else is done.
SUBJECTS = {"fd_unix": ["lazy", "merge"], "tree_fork": ["lazy", "merge"],
            "mem_private": ["instance"], "ipc_sem": [], "mem_sysv": [],
            "mem_secret": [], "fd_tcp": [], "tree_secret": [], "fd_pty": [],
            "fd_pipe": [], "fd_timerfd": [], "fd_inotify": [],
            "fd_fanotify": [], "fd_udp": [], "mem_shared_file": [],
            "sec_filter": [], "thr_rseq": [], "tree_tables": []}


def series(scene, mnt, only):
    """(name, Series) of all."""
    restore = f"{scene.build}/tests/tools/snapcore-restore"
    merge = f"{scene.build}/snapfs/snapfs-merge"
    out = scene.path("merged")
    for subject, more in SUBJECTS.items():
        names = {(what, way): f"{way[0]}: {what}: {way[1]}: {subject}"
                 for what in ["restore"] + more
                 for way in (FAILS[:2] if what == "merge"
                             else FAILS + [KILL])}
        if not any(only in name for name in names.values()):
            continue
        chain = scene.images(mnt, subject, subject)
        for (what, way), name in names.items():
            if only not in name:
                continue
            if what == "merge":
                yield name, Series(scene, way, [
                    merge, "-o", out, f"{chain}/d1"], made=out)
            elif what == "restore":
                yield name, Series(scene, way, [
                    restore, f"{chain}/d0"], chain)
            else:
                # What it has of messages without bytes is seen only once
                # (man/snapfs.1).
                one = ("d1" if what == "lazy" and subject != "fd_unix"
                       else "d0")
                yield name, Series(scene, way, [
                    restore, f"{chain}/{one}", what], chain)


def run_one(s, stride, points):
    mounts = text("/proc/self/mounts")
    s.run(stride, points)
    # Those of others may end meanwhile.
    if set(text("/proc/self/mounts").splitlines()) - set(mounts.splitlines()):
        raise Failure("a mount is left")
    return s.passages, (f"{s.passages} passages, "
                        f"{s.succeeded} succeeded all the same")


def with_daemon(args, series):
    """All that series(scene, mount point) gives: (name, Series), with a daemon
    for their images."""
    LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    live_apart(NEWNS | NEWIPC | NEWNET)
    with tempfile.TemporaryDirectory() as scratch:
        mnt = os.path.join(scratch, "mnt")
        os.mkdir(mnt)
        daemon = Daemon(args.build, mnt)
        scene = Scene(args.build, scratch)
        scene.keep = [str(daemon.process.pid)]
        try:
            return run_all(
                ((name, functools.partial(
                    run_one, s, s.QUICK if args.quick else 1, args.points))
                 for name, s in series(scene, mnt)), args.only)
        finally:
            daemon.end()


def main():
    args = Arguments()
    return with_daemon(args, lambda scene, mnt: series(scene, mnt, args.only))


if __name__ == "__main__":
    sys.exit(main())
