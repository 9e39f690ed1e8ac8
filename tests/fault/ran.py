#!/usr/bin/env python3
"""ran.py - snapfs-run in which a call fails, or which is killed.

usage: ran.py [--quick] [--only TEXT] [--points N] [--from N] [--on] BUILD

snapfs-run(1) holds a program, or puts an instance of an image in its place, alone,
in a terminal, or by way of a template, where the call at the Nth passage of a fault
point fails, or whoever makes it is killed there: itself or the keeper.  Each
then

  * has ended with a sentence, or has done it all the same: what is held is
    stopped, untraced and can be killed; an instance finds nothing wrong with
    itself, and snapfs-run has ended as it;
  * has left nothing: no process, once what was made is killed.

Otherwise as restored.py.
"""

import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faults import ALL, MEMORY, Arguments, Failure, naps  # noqa: E402
from footprint import text  # noqa: E402
import restored  # noqa: E402
from restored import PLAN, SOCKET, kill_all, reap  # noqa: E402
from served import Terminals, field  # noqa: E402

RUN_FAILED, NOT_FOUND = 125, 127
KEEPER = "snapfs-run:keep\n"
DIFFERS = re.compile("it is [0-9]+; .")
HUNG_UP = re.compile("Input.output error")


class Series(restored.Series):
    terminals = None

    def one(self, n):
        with open(self.plan, "wb") as f:
            f.write(PLAN.pack(self.classes, self.how == "kill", 0, 0, n, 0,
                              b"", b"", 0, b""))
        self.prepare()
        with open(self.scene.path("said"), "w+", encoding="utf-8") as said, \
             open(self.scene.path("out"), "w+", encoding="utf-8") as out:
            p = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out,
                stderr=said, env=dict(os.environ, SNAPFS_FAULT_PLAN=self.plan),
                preexec_fn=self.first)
            self.code = self.wait(p)
        with open(self.plan, "rb") as f:
            plan = PLAN.unpack(f.read(PLAN.size))
        self.what = plan[6].split(b"\0")[0].decode()
        self.hit = plan[3] != 0
        said = text(self.scene.path("said")).splitlines()
        if restored.VERBOSE:
            print(n, self.what, self.code, said, flush=True)
        if self.code == "does not end":
            raise Failure("it does not end")
        # What is held says something, too.
        mine = [s for s in said if s.startswith("snapfs-run: ")]
        self.judge(self.code, (mine or [""])[-1])
        if self.terminals:
            self.terminals.put_back()
        return self.hit

    def first(self):
        if self.terminals:
            self.terminals.take(Terminals.WRITERS)
        else:
            os.setsid()

    @staticmethod
    def wait(p):
        """Its status.  That of others is for restored.reap()."""
        for _ in naps(60):
            code = p.poll()
            if code is not None:
                return code
        p.kill()
        p.wait()
        return "does not end"

    def refused(self, code, last):
        """A sentence, of the one that failed or was left."""
        killed = self.how == "kill" and code == -signal.SIGKILL
        if killed:
            return
        if code not in (RUN_FAILED, NOT_FOUND, -signal.SIGKILL):
            raise Failure(f"it ended with {code}: {last}")
        if " " not in last.split(": ", 1)[-1]:
            raise Failure(f"no sentence: {last}")

    def clear(self):
        kill_all(self.scene.keep)

    def end_keepers(self):
        """Those of templates stay as long as the session."""
        for p in self.scene.there():
            if text(f"/proc/{p}/comm") == KEEPER:
                try:
                    os.kill(int(p), signal.SIGTERM)
                except ProcessLookupError:
                    pass


class Held(Series):
    QUICK = 1       # of so many passages one is tried

    def prepare(self):
        pass

    def held(self):
        """What is held; [] when all have ended."""
        for _ in naps(10):
            reap()
            there = self.scene.there()
            found = [p for p in there
                     if text(f"/proc/{p}/comm") == "steps\n" and
                     field(p, "State") == "T" and
                     field(p, "TracerPid") == "0"]
            if found or not there:
                return found
        raise Failure("left: " + " ".join(
            f"{p}:{field(p, 'Name')}:{field(p, 'State')}:"
            f"{field(p, 'TracerPid')}" for p in there))

    def judge(self, code, last):
        found = self.held()
        if code == 0:
            self.succeeded += 1
            if text(self.scene.path("out")).split() != found:
                raise Failure(f"it told "
                              f"{text(self.scene.path('out')).strip()}, "
                              f"there is {found}")
        else:
            self.refused(code, last)
            if found and self.how != "kill":
                raise Failure(f"{found} is held, {last}")
        for p in found:
            os.kill(int(p), signal.SIGKILL)
        self.nothing_left()


class From(Series):
    QUICK = 151

    def prepare(self):
        """It is asked before it is there."""
        where = os.path.dirname(self.chain)
        for name in "check", "result":
            if os.path.exists(f"{where}/{name}"):
                os.unlink(f"{where}/{name}")
        with open(f"{where}/check", "w", encoding="ascii") as f:
            f.write("restored-cloned\n")

    def judge(self, code, last):
        self.end_keepers()
        self.nothing_left()
        said = text(f"{os.path.dirname(self.chain)}/result").strip()
        ok = said.split(" ")[0] in ("ok", "skip")
        if "killed, for memory" in last:
            return      # of a tree, those that had all of it go on
        if not ok and os.path.exists(
                f"{os.path.dirname(self.chain)}/result"):
            # What is not as it was is told; and to a relay, a terminal with
            # an I/O error is one that was hung up.
            if DIFFERS.search(last) or self.terminals and \
               self.what == "ioctl" and HUNG_UP.search(said):
                return
            raise Failure(f"the instance says: {said}")
        if code == 0:
            self.succeeded += 1
            if not ok:
                raise Failure(f"it ended well, and nothing was there: {last}")
        else:
            self.refused(code, last)
            if ok and self.how != "kill":
                raise Failure(f"an instance was there: {code} {last}")


FAILS = [("fail", "memory", MEMORY),
         ("fail", "all but memory", (ALL | SOCKET) & ~MEMORY)]
KILL = ("kill", "all but memory", (ALL | SOCKET) & ~MEMORY)
POINTS = {"read": [], "call": ["--until", "getpgid"],
          "symbol": ["--until-symbol", "steps_middle"]}
# An image, how it is started.
IMAGES = {"alone": ("mem_private", ["--template=no"]),
          "tree": ("tree_fork", ["--same-pid"]),
          "in a terminal": ("fd_tty", ["--template=no"]),
          "of a template": ("mem_private", ["--template=yes"])}


def series(scene, mnt, only, terminals):
    """(name, Series) of all."""
    run = f"{scene.build}/snapfs/snapfs-run"
    for point, args in POINTS.items():
        # On some virtual machines a breakpoint is never hit.
        if point == "symbol" and subprocess.run(
                [run, *args, "--", "/bin/true"], check=False,
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True).stderr.find("never hit") >= 0:
            continue
        for way in FAILS + [KILL]:
            name = f"run: {way[0]}: {way[1]}: until {point}"
            if only in name:
                yield name, Held(scene, way, [
                    run, *args, "--", f"{scene.build}/tests/tools/steps"])
    for what, (subject, args) in IMAGES.items():
        names = {way: f"run: {way[0]}: {way[1]}: from, {what}"
                 for way in FAILS + [KILL]}
        if not any(only in name for name in names.values()):
            continue
        chain = scene.images(mnt, subject, what.replace(" ", "-"),
                             [os.ttyname(terminals.slaves[Terminals.SUBJECTS])])
        for way, name in names.items():
            if only not in name:
                continue
            s = From(scene, way, [run, "-v", "--mount", mnt, *args, "--from",
                                  f"{chain}/d0"], chain)
            if what == "in a terminal":
                s.terminals = terminals
            yield name, s


def main():
    args = Arguments()
    terminals = Terminals()
    return restored.with_daemon(
        args, lambda scene, mnt: series(scene, mnt, args.only, terminals))


if __name__ == "__main__":
    sys.exit(main())
