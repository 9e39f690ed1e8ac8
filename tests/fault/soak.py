#!/usr/bin/env python3
"""soak.py - programs that watch themselves, under very many checkpoints.

usage: soak.py soak|storm|growth|footprints COUNT MOUNTPOINT BUILD

  soak        one with every kind of work, COUNT checkpoints in a row; prints
              how long it was held, as a histogram
  growth      COUNT checkpoints and ten times as many look-ups: the daemon's
              memory, files and threads, and the kernel's inodes, do not grow
  storm       several, checkpointed all the time, while the daemon is killed
              with SIGKILL at moments of chance, COUNT times
  footprints  COUNT checkpoints: nothing in /proc of them is changed

It mounts and unmounts by itself, and exits with 0 if all was well.
"""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import KERNEL_EINTR, Failure, Subject, twins_of  # noqa: E402
from footprint import Footprint, listing, text  # noqa: E402

EVERYTHING = "regs fp sleep epoll pipe signal timer children threads"


class Daemon:
    def __init__(self, build, mnt, options=()):
        self.mnt = mnt
        self.refused = 0
        args = [os.environ.get("SNAPFS", f"{build}/snapfs/snapfs"), "-f", mnt]
        if options:
            args += ["-o", ",".join(options)]
        self.process = subprocess.Popen(
            args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self.mounted():
            if time.monotonic() > end or self.process.poll() is not None:
                raise Failure("not mounted")
            time.sleep(0.002)

    def mounted(self):
        return f" {self.mnt} fuse.snapfs " in text("/proc/mounts")

    def kill(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", "-l", self.mnt], check=False,
                       stderr=subprocess.DEVNULL)

    def end(self):
        subprocess.run(["umount", self.mnt], check=True)
        if self.process.wait(timeout=30) != 0:
            raise Failure(f"the daemon ended with {self.process.returncode}")

    def take(self, pid):
        """A checkpoint of our own, and a fresh one: how long it was held.
        On a busy machine it may be refused, because somebody else has the
        process or nothing gets done."""
        for _ in range(50):
            try:
                return self.try_take(f"{self.mnt}/{pid}")
            except OSError as e:
                if e.errno not in (errno.EBUSY, errno.ETIMEDOUT):
                    raise Failure(f"{e}: {self.errors()}") from None
                self.refused += 1
                time.sleep(1.1)     # an error stands for a second
        raise Failure(f"refused again and again: {self.errors()}")

    @staticmethod
    def try_take(base):
        os.listdir(base)
        with open(f"{base}/checkpoint", encoding="ascii") as f:
            for line in f:
                if line.startswith("frozen-us:"):
                    return int(line.split()[1])
        raise Failure("no frozen-us")

    def errors(self):
        lines = text(f"{self.mnt}/.status").splitlines()
        return "; ".join(s for s in lines if "error" in s)


def histogram(values):
    values = sorted(values)
    n = len(values)
    limit, shown = 64, 0
    print(f"{n} checkpoints; held for, in us:")
    while shown < n:
        upto = sum(1 for v in values if v < limit)
        if upto > shown:
            print(f"  < {limit:7d} {upto - shown:7d} "
                  + "#" * max(1, 60 * (upto - shown) // n))
        shown, limit = upto, limit * 2
    print(f"  median {values[n // 2]}, 99 % {values[n * 99 // 100]}, "
          f"longest {values[-1]}")


def check(subject):
    error = subject.goes_on()
    if error is not None:
        raise Failure(f"{' '.join(subject.kinds)}: {error}")


def soak(count, mnt, build, scratch):
    daemon = Daemon(build, mnt)
    subject = Subject(build, EVERYTHING, scratch)
    held = []
    try:
        for i in range(count):
            held.append(daemon.take(subject.pid))
            error = subject.error()
            if error is not None:
                raise Failure(f"after {i + 1}: {error}")
        check(subject)
        histogram(held)
        if daemon.refused:
            print(f"  {daemon.refused} were refused, and asked for again")
        with open(subject.path, "rb") as f:
            data = f.read()
        for i, kind in enumerate(subject.kinds):
            name, beats, late = subject.WORKER.unpack_from(
                data, subject.HEAD.size + i * subject.WORKER.size)
            print(f"  {kind}: {beats} rounds" +
                  (f", overslept by {late} us at most" if late else ""))
        daemon.end()
    finally:
        subject.end()
        daemon.kill()


class Sizes:
    """What the daemon, and the kernel for it, holds."""

    def __init__(self, daemon):
        pid = daemon.process.pid
        status = dict(line.split(":", 1) for line in
                      text(f"/proc/{pid}/status").splitlines())
        self.rss = int(status["VmRSS"].split()[0])
        self.size = int(status["VmData"].split()[0])
        self.threads = int(status["Threads"])
        self.fds = len(listing(f"/proc/{pid}/fd"))
        self.children = len(text(
            f"/proc/{pid}/task/{pid}/children").split())
        self.inodes = 0
        for line in text("/proc/slabinfo").splitlines():
            if line.startswith("fuse_inode"):
                self.inodes = int(line.split()[1])

    def __str__(self):
        return (f"rss {self.rss} KiB, data {self.size} KiB, "
                f"{self.fds} files, {self.threads} threads, "
                f"{self.inodes} inodes")


def growth(count, mnt, build, scratch):
    daemon = Daemon(build, mnt)
    subject = Subject(build, "sleep", scratch)

    def some(n):
        for i in range(n):
            daemon.take(subject.pid)
            for k in range(10):
                name = ("", "/maps", "/fd/0", "/nothing", "/regs")[k % 5]
                os.path.lexists(f"{mnt}/{subject.pid}{name}")
            os.path.lexists(f"{mnt}/{i + 1}")

    def settled():
        """When the last checkpoint of ours has gone."""
        os.listdir(f"{mnt}/{subject.pid}")
        time.sleep(1.5)
        return Sizes(daemon)
    try:
        some(max(200, count // 10))
        before = settled()
        print(f"  {before}")
        some(count)
        after = settled()
        print(f"  {after}")
        # The heap may settle by some pages, not by some bytes a checkpoint.
        room = 1024 + count // 16
        if after.rss > before.rss + min(room, 2048):
            raise Failure("resident memory grew")
        if after.fds > before.fds or after.threads > before.threads + 1:
            raise Failure("files or threads grew")
        if after.inodes > before.inodes + 200:
            raise Failure("the kernel's inodes grew")
        daemon.end()
    finally:
        subject.end()
        daemon.kill()


def read_on(mnt, pids, stop):
    while not stop.is_set():
        pid = random.choice(pids)
        try:
            os.listdir(f"{mnt}/{pid}")
            for name in "checkpoint", "maps", "regs":
                with open(f"{mnt}/{pid}/{name}", "rb") as f:
                    f.read()
        except OSError:
            time.sleep(0.001)


def storm(count, mnt, build, scratch):
    kinds = ["quiet", EVERYTHING, "epoll children", "threads signal timer",
             "quiet reaper"]
    known = 0

    def start(i):
        path = os.path.join(scratch, str(i))
        os.makedirs(path, exist_ok=True)
        subject = Subject(build, kinds[i], path)
        if subject.quiet:
            subject.before = subject.at_rest()
        return subject
    subjects = [start(i) for i in range(len(kinds))]
    try:
        for n in range(count):
            stop = threading.Event()
            daemon = Daemon(build, mnt)
            pids = [s.pid for s in subjects]
            readers = [threading.Thread(target=read_on,
                                        args=(mnt, pids, stop))
                       for _ in range(3)]
            for r in readers:
                r.start()
            time.sleep(random.random() * 0.08)
            daemon.kill()
            stop.set()
            for r in readers:
                r.join()
            for i, s in enumerate(subjects):
                error = s.error()
                if error is None:
                    continue
                if not KERNEL_EINTR.match(error):
                    raise Failure(f"round {n}: {kinds[i]}: {error}")
                known += 1
                s.end()
                subjects[i] = start(i)
        daemon = Daemon(build, mnt)
        for i, s in enumerate(subjects):
            if not s.quiet:
                check(s)
                continue
            end = time.monotonic() + 20
            while diff := s.before.differences(Footprint(s.pid)):
                if time.monotonic() > end:
                    raise Failure(f"{kinds[i]}: {'; '.join(diff)}")
                time.sleep(0.1)
        daemon.end()
        print(f"  killed {count} times, {known} times with the kernel's EINTR")
    finally:
        for s in subjects:
            s.end()


def look_at_twin(daemon, pid):
    """While it lives: no file is open in it, it is named, and shown."""
    twins = twins_of(pid)
    if len(twins) != 1:
        raise Failure(f"{len(twins)} twins named snapfs:{pid}")
    fds = listing(f"/proc/{twins[0]}/fd")
    if fds:
        raise Failure(f"the twin holds files: {fds}")
    status = text(f"{daemon.mnt}/.status")
    want = f"checkpoint: pid {pid} "
    lines = [s for s in status.splitlines() if s.startswith(want)]
    if not any(f" twin {twins[0]} " in s and " memory " in s for s in lines):
        raise Failure(f".status does not show the twin: {lines}")
    if not any(s.startswith("twins: ") for s in status.splitlines()):
        raise Failure(".status does not count the twins")


def footprints(count, mnt, build, scratch):
    daemon = Daemon(build, mnt)
    for kinds in "quiet", "quiet reaper":
        subject = Subject(build, kinds, scratch)
        try:
            before = subject.at_rest()
            for i in range(count):
                daemon.take(subject.pid)
                if i == 0 and "reaper" not in kinds:
                    look_at_twin(daemon, subject.pid)
                end = time.monotonic() + 5
                while diff := before.differences(Footprint(subject.pid)):
                    if time.monotonic() > end:
                        raise Failure(f"{kinds}: {'; '.join(diff)}")
                    time.sleep(0.01)
            if subject.error() is not None:
                raise Failure(subject.error())
            # Whatever was held of it is let go.
            os.listdir(f"{mnt}/{subject.pid}")
        finally:
            subject.end()
    daemon.end()


def main():
    what, count, mnt, build = sys.argv[1:]
    run = {"soak": soak, "storm": storm, "growth": growth,
           "footprints": footprints}[what]
    seed = int(os.environ.get("SEED", time.time_ns() % 1000000))
    random.seed(seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run(int(count), mnt, build, scratch)
        except Failure as e:
            print(f"{what}: {e} (seed {seed})")
            return 1
    print(f"{what}: ok, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
