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
from daemon import Daemon, Sizes  # noqa: E402
from faults import (KERNEL_EINTR, Failure, Subject, naps,  # noqa: E402
                    twins_of)
from footprint import Footprint, listing, text  # noqa: E402

EVERYTHING = "regs fp sleep epoll pipe signal timer children threads"


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


def few(refused, count):
    """Where a machine has other work a checkpoint may come too late, or be
    told that somebody else has the process: now and then."""
    bound = 5 + count // 50
    print(f"  {len(refused)} were refused, and asked for again; "
          f"{bound} may be")
    for sentence in refused[:10]:
        print(f"    {sentence}")
    if len(refused) > bound:
        raise Failure(f"{len(refused)} checkpoints were refused")


def soak(count, mnt, build, scratch):
    daemon = Daemon(build, mnt)
    subject = Subject(build, EVERYTHING, scratch)
    held = []
    try:
        for i in range(count):
            try:
                held.append(daemon.take(subject.pid))
            except Failure as e:
                raise Failure(f"{e}; {subject.error()}") from None
            error = subject.error()
            if error is not None:
                raise Failure(f"after {i + 1}: {error}")
        check(subject)
        histogram(held)
        few(daemon.refused, count)
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


# libfuse's workers, with the main thread (THREADS in snapfs/main.c); and
# ThreadSanitizer has a thread of its own, with the program's name.
WORKERS = 17 + (os.environ.get("PRESET") == "tsan")

# What the heap may settle by, in KiB.
SETTLING = 384
# So often is it measured, if it seems to grow.
QUARTERS = 12

# AddressSanitizer keeps what was freed for a while, and for ever what it knows of
# each thread (of each checkpoint, that is): its memory grows by itself.  What is
# lost then, LeakSanitizer tells when the daemon ends.
SANITIZED = os.environ.get("PRESET") in ("sanitize", "tsan")


def crowd(path):
    """Many at once, so that there are as many workers as there may be."""
    threads = [threading.Thread(target=lambda: [
        os.path.lexists(path) for _ in range(300)]) for _ in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def rss_grew(sizes):
    """In the second half, by KiB; 0 if that is nothing."""
    kib = sizes[-1].rss - sizes[len(sizes) // 2].rss
    return kib if kib > SETTLING and not SANITIZED else 0


def grew(sizes):
    """Beyond all before, in which one more may be open for a moment."""
    first, last = sizes[0], sizes[-1]
    if rss_grew(sizes):
        raise Failure(f"resident memory grew: {rss_grew(sizes)} KiB")
    if any(all(getattr(last, k) > getattr(s, k) for s in sizes[:-1])
           for k in ("fds", "threads", "children")):
        raise Failure("files, threads or children grew")
    if last.workers > WORKERS or last.queues > WORKERS:
        raise Failure("there are more workers than there may be")
    if first.inodes and last.inodes > first.inodes + 200:
        raise Failure("the kernel's inodes grew")


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
        for _ in naps(60):
            if "checkpoints-live: 0" in text(f"{mnt}/.status") and not \
               twins_of(subject.pid):
                break
        time.sleep(0.5)
        return Sizes(daemon)
    try:
        # The log's ring is to be full, and all workers there, before that.
        crowd(f"{mnt}/{subject.pid}")
        some(max(500, count // 10))
        sizes = [settled()]
        # What is full once, or was never needed before, grows no more; what is
        # lost is lost again and again.
        while len(sizes) <= 4 or (rss_grew(sizes) and len(sizes) <= QUARTERS):
            some(count // 4)
            sizes.append(settled())
        for s in sizes:
            print(f"  {s}")
        grew(sizes)
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
            readers = [threading.Thread(target=read_on, daemon=True,
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
    except SystemExit:
        print(f"  stopped in round {n}, {known} times with the kernel's EINTR")
        raise
    finally:
        for s in subjects:
            s.end()


def look_at_twin(daemon, pid):
    """While it lives: no file is open in it, it is named, and shown; and it
    does not wait for others."""
    twins = twins_of(pid)
    if len(twins) != 1:
        raise Failure(f"{len(twins)} twins named snapfs:{pid}")
    fds = listing(f"/proc/{twins[0]}/fd")
    if fds:
        raise Failure(f"the twin holds files: {fds}")
    # The subject is at 19: on a busy machine its reader would wait for long.
    nice = text(f"/proc/{twins[0]}/stat").rpartition(")")[2].split()[16]
    if nice != "0":
        raise Failure(f"the twin gives way to others: nice {nice}")
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
