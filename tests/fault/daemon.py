"""daemon.py - a daemon of its own for tests/fault: mounted, killed, measured."""

import errno
import os
import subprocess
import time

from faults import Failure, naps
from footprint import link, listing, text


class Daemon:
    def __init__(self, build, mnt, options=(), env=None):
        self.mnt = mnt
        self.refused = []       # in a sentence each
        args = [os.environ.get("SNAPFS", f"{build}/snapfs/snapfs"), "-f", mnt]
        if options:
            args += ["-o", ",".join(options)]
        self.process = subprocess.Popen(
            args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=dict(os.environ, **(env or {})))
        for _ in naps(60):
            if self.mounted() or self.process.poll() is not None:
                break
        if not self.mounted():
            raise Failure("not mounted")

    def mounted(self):
        return f" {self.mnt} fuse.snapfs " in text("/proc/mounts")

    def kill(self):
        self.process.kill()
        self.died()

    def died(self):
        """It was killed: nothing may keep it from its end."""
        try:
            self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            raise Failure("the daemon was killed and does not end") from None
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
                self.refused.append(self.errors())
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
        """The last that was said to have gone wrong."""
        lines = text(f"{self.mnt}/.status").splitlines()
        return ([s for s in lines if s.startswith("error:")] or ["?"])[-1]


class Sizes:
    """What the daemon, and the kernel for it, holds."""

    def __init__(self, daemon):
        pid = daemon.process.pid
        status = dict(line.split(":", 1) for line in
                      text(f"/proc/{pid}/status").splitlines())
        self.rss = int(status["VmRSS"].split()[0])
        self.size = int(status["VmData"].split()[0])
        # libfuse makes workers, each with a file, until as many as it may
        # have (THREADS in main.c) were once busy at a time; they stay.
        self.workers = sum(
            text(f"/proc/{pid}/task/{t}/comm").strip() == "snapfs"
            for t in listing(f"/proc/{pid}/task"))
        links = [link(f"/proc/{pid}/fd/{n}")
                 for n in listing(f"/proc/{pid}/fd")]
        self.queues = links.count("/dev/fuse")
        self.threads = int(status["Threads"]) - self.workers
        self.fds = len(links) - self.queues
        self.children = len(text(
            f"/proc/{pid}/task/{pid}/children").split())
        self.inodes = 0
        # Of all mounts together: told only where there is no other.
        mounts = [s for s in text("/proc/mounts").splitlines()
                  if s.split()[2].startswith("fuse.")]
        lines = text("/proc/slabinfo") if len(mounts) == 1 else ""
        for line in lines.splitlines():
            if line.startswith("fuse_inode"):
                self.inodes = int(line.split()[1])

    def __str__(self):
        return (f"rss {self.rss} KiB, data {self.size} KiB, "
                f"{self.fds} files, {self.threads} threads, "
                f"{self.workers} workers with {self.queues} files, "
                f"{self.inodes} inodes")
