#!/usr/bin/python3
# hostile.py - images that an enemy made, restored one after the other
#
# usage: hostile.py MNT IMAGE WORK TEST
#
# IMAGE is a good one, which is not changed.  Every request must be refused
# with an errno and a sentence, within its time; or be carried out, where what
# was changed may be meant (its checksum was taken away): then the process,
# which is stopped, is killed.  Exit status 0 if so; what is wrong is printed.

import errno
import os
import random
import re
import shutil
import signal
import sys
import time

MNT, GOOD, WORK, TEST = sys.argv[1:5]
BAD = WORK + "/bad"
QUICK = os.environ.get("QUICK", "no") == "yes"
LIMIT = 30.0  # seconds for one request, on a machine that has other work
TEXTS = ["checkpoint", "maps", "pagemap", "status", "regs", "signals",
         "timers", "unsupported"]
random.seed(int(os.environ.get("SEED", "1")))
slowest = (0.0, "")
counts = {}


class Wrong(Exception):
    pass


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().split(") ")[1][0] not in "ZX"
    except OSError:
        return False


def restore(path, *options, running=False):
    """The name of the errno, or OK, and the answer."""
    global slowest
    options = ("pid=new",) + (() if running else ("stopped",)) + options
    text = "".join(o + "\n" for o in options)
    began = time.monotonic()
    f = os.open(MNT + "/.restore", os.O_RDWR)
    try:
        os.write(f, os.fsencode(text + path + "\n"))
        how = "OK"
    except OSError as e:
        how = errno.errorcode[e.errno]
    took = time.monotonic() - began
    try:
        said = os.pread(f, 4096, 0).decode().rstrip("\n")
    except UnicodeDecodeError as e:
        raise Wrong("not UTF-8: %r" % e.object) from None
    os.close(f)
    slowest = max(slowest, (took, how + " " + said[:80]))
    if took > 1 or os.environ.get("VERBOSE"):
        print("%.2f s: %s %s" % (took, how, said[:200]))
    counts[how] = counts.get(how, 0) + 1
    if how == "OK" and not running:
        os.kill(int(said.split("\n")[0]), signal.SIGKILL)
    if re.search("[\0-\t\v-\x1f\x7f-\x9f]", said) or (
            said.count("\n") > (how == "OK")):
        raise Wrong("not printable: %r" % said)
    if took > LIMIT:
        raise Wrong("it took %.1f s: %s %s" % (took, how, said))
    return how, said


def sentence(said):
    return re.search(r"[a-z]\S* \S*[a-z]", said) is not None


def refused(what, wanted, *options):
    how, said = restore(BAD, *options)
    if how not in wanted.split():
        raise Wrong("%s: %s %s, not %s" % (what, how, said, wanted))
    if not sentence(said):
        raise Wrong("%s: no sentence: %s %s" % (what, how, said))
    return said


def any_answer(what):
    how, said = restore(BAD)
    if how != "OK" and not sentence(said):
        raise Wrong("%s: no sentence: %s %s" % (what, how, said))
    return how, said


def fresh():
    shutil.rmtree(BAD, ignore_errors=True)
    shutil.copytree(GOOD, BAD, symlinks=True)
    for d, dirs, files in os.walk(BAD):
        os.chmod(d, 0o700)
        for f in files:
            if not os.path.islink(d + "/" + f):
                os.chmod(d + "/" + f, 0o600)


def files():
    out = []
    for d, _, names in os.walk(GOOD):
        for n in names:
            p = os.path.join(d, n)
            if not os.path.islink(p):
                out.append(os.path.relpath(p, GOOD))
    return sorted(out)


def get(name, base=None):
    with open((base or GOOD) + "/" + name, "rb") as f:
        return f.read()


def put(name, data):
    with open(BAD + "/" + name, "wb") as f:
        f.write(data)


def edited(*names):
    """As if it were meant: without the lines of these files."""
    lines = get("xxh128sums").split(b"\n")
    gone = [b"  " + os.fsencode(n) for n in names if n != "checkpoint"]
    put("xxh128sums", b"\n".join(
        x for x in lines if not any(x.endswith(g) for g in gone)))
    if "checkpoint" in names:  # its line must be there, and the last one
        reseal_checkpoint()


def reseal_checkpoint():
    s = os.popen("xxhsum -H2 '%s/checkpoint' 2>/dev/null" % BAD).read()
    lines = get("xxh128sums", BAD).rstrip(b"\n").split(b"\n")
    lines[-1] = s.split()[0].encode() + b"  checkpoint"
    put("xxh128sums", b"\n".join(lines) + b"\n")


# ---- a flipped bit ----

def flips():
    """In any byte of any file: it is found before the process runs."""
    todo = [(n, i) for n in files() for i in range(len(get(n)))]
    room = 500 if QUICK else 2000
    # All of the small files, a sample of `pages`.
    few = [x for x in todo if x[0] != "pages"]
    many = [x for x in todo if x[0] == "pages"]
    todo = random.sample(few, min(len(few), room)) + \
        random.sample(many, min(len(many), room // 5))
    fresh()
    for name, at in todo:
        data = bytearray(get(name))
        data[at] ^= 1 << random.randrange(8)
        put(name, data)
        wanted = "EBADMSG"
        if name == "checkpoint":  # the version is looked at first
            wanted += " EPROTO ENOENT"
        refused("%s, byte %d" % (name, at), wanted, "lazy=no")
        put(name, get(name))
    return len(todo)


def lazy_flips():
    """In `pages`: found by the pager, and then the process is no more."""
    fresh()
    size = len(get("pages"))
    for _ in range(10 if QUICK else 40):
        data = bytearray(get("pages"))
        at = random.randrange(size)
        data[at] ^= 1 << random.randrange(8)
        put("pages", data)
        how, said = restore(BAD, running=True)
        if how == "OK":
            pid = int(said.split("\n")[0])
            end = time.monotonic() + LIMIT
            while alive(pid):
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    raise Wrong("pages, byte %d: it runs" % at)
                time.sleep(0.01)
        elif how != "EBADMSG":
            raise Wrong("pages, byte %d: %s %s" % (at, how, said))
    return 40


# ---- texts that were edited ----

HUGE = [b"18446744073709551615", b"9223372036854775807",
        b"9223372036854775808", b"4294967295", b"4294967296", b"2147483647",
        b"99999999999999999999999", b"-1", b"0", b"", b"0x", b"1e9",
        b"0xffffffffffffffff", b"ffffffffffffffff", b"7fffffffffff"]


def mutations(data):
    """Pairs of what was done and what came of it."""
    lines = data.split(b"\n")
    for i in range(len(lines)):
        yield "cut before line %d" % (i + 1), b"\n".join(lines[:i]) + \
            (b"\n" if i else b"")
        yield "cut in line %d" % (i + 1), b"\n".join(
            lines[:i] + [lines[i][:len(lines[i]) // 2]])
        yield "without line %d" % (i + 1), b"\n".join(
            lines[:i] + lines[i + 1:])
        yield "line %d twice" % (i + 1), b"\n".join(
            lines[:i + 1] + lines[i:])
        if i > 0:
            yield "line %d first" % (i + 1), b"\n".join(
                [lines[i]] + lines[:i] + lines[i + 1:])
    numbers = list(re.finditer(rb"[0-9a-f]*[0-9][0-9a-f]*", data))
    for m in numbers:
        h = random.choice(HUGE)
        yield "%s at byte %d" % (h.decode(), m.start()), \
            data[:m.start()] + h + data[m.end():]
    for i in range(0, len(data), 3):
        b = bytearray(data)
        b[i] = random.randrange(256)
        yield "byte %d is %#x" % (i, b[i]), bytes(b)
    yield "nothing", b""
    yield "a NUL", data[:10] + b"\0" + data[10:]
    yield "no end", data.rstrip(b"\n")
    yield "one long line", b"x" * 3000000
    yield "random bytes", bytes(random.randrange(256) for _ in range(3000))


def edits():
    """What is wrong is refused, with the file; what is not may be restored."""
    done = 0
    for name in TEXTS + sorted(
            n for n in files() if n.startswith("fdinfo/")) + [
            "cmdline", "environ", "auxv", "xxh128sums"]:
        todo = list(mutations(get(name)))
        room = 40 if QUICK else 150
        fresh()
        for what, data in random.sample(todo, min(len(todo), room)):
            put(name, data)
            if name != "xxh128sums":
                edited(name)
            what = "%s: %s" % (name, what)
            how, said = any_answer(what)
            if how == "EBADMSG" and not re.match(
                    r"[^:]+(:[0-9]+)?: ", said) and \
                    not said.startswith("no checkpoint"):
                raise Wrong("%s: which file? %s" % (what, said))
            done += 1
    return done


# ---- what is no plain file, or far too much of one ----

def odd_file(name, make, wanted="EBADMSG"):
    fresh()
    os.unlink(BAD + "/" + name)
    make(BAD + "/" + name)
    said = refused("%s is %s" % (name, make.__name__), wanted)
    if not said.startswith((name, "there is no", BAD)):
        raise Wrong("%s: which file? %s" % (name, said))


def directory(path):
    os.mkdir(path)


def fifo(path):
    os.mkfifo(path)


def link_to_itself(path):
    os.symlink(os.path.basename(path), path)


def link_to_good(path):
    os.symlink(os.path.join(GOOD, os.path.relpath(path, BAD)), path)


def link_to_memory(path):
    os.symlink("/proc/self/mem", path)


def link_to_zero(path):
    os.symlink("/dev/zero", path)


def link_to_mount(path):
    os.symlink(MNT + "/.restore", path)


def socket_file(path):
    import socket
    s = socket.socket(socket.AF_UNIX)
    os.chdir(os.path.dirname(path))
    s.bind(os.path.basename(path))
    s.close()
    os.chdir("/")


def plain_file(path):
    open(path, "w").close()


def odd_files():
    n = 0
    for name in files():
        for make in (directory, fifo, link_to_itself, link_to_good,
                     link_to_memory, link_to_zero, link_to_mount,
                     socket_file):
            wanted = "EBADMSG"
            if name == "checkpoint":
                wanted += " ENOENT"
            odd_file(name, make, wanted)
            n += 1
    for name in ("cwd", "root", "exe", "fd/0"):
        for make in (directory, fifo, plain_file, socket_file):
            odd_file(name, make)
            n += 1
    for name in ("fd", "fdinfo", "files"):
        for make in (fifo, link_to_itself, link_to_good, plain_file):
            fresh()
            shutil.rmtree(BAD + "/" + name)
            make(BAD + "/" + name)
            refused("%s is %s" % (name, make.__name__), "EBADMSG")
            n += 1
    return n


def odd_names():
    n = 0
    for name in (b"-1", b"01", b"1000000000", b"99999999999999999999", b"a",
                 b"\xff\xfe", b"x\ny", b" ", b"0 ", b"0x1", b"." * 200):
        for where in ("fd", "fdinfo"):
            fresh()
            path = os.fsencode(BAD + "/" + where) + b"/" + name
            if where == "fd":
                os.symlink(b"/dev/null", path)
            else:
                open(path, "wb").close()
            how, said = any_answer("%s/%r" % (where, name))
            n += 1
    fresh()
    for line in (b"../../../etc/passwd", b"/etc/passwd", b"a/../maps", b".",
                 b"", b"x" * 5000, b"files//1", b"./maps"):
        put("xxh128sums", b"0" * 32 + b"  " + line + b"\n" +
            get("xxh128sums"))
        refused("a sum of %r" % line[:30], "EBADMSG")
        n += 1
    return n


def sparse(name, size):
    with open(BAD + "/" + name, "wb") as f:
        f.truncate(size)


def line_of(name, key):
    for x in get(name).split(b"\n"):
        if x.startswith(key):
            return x
    raise Wrong("%s has no %s" % (name, key))


def large():
    """Terabytes, and a million lines: refused in no time, or in little."""
    n = 0
    for name in files():
        fresh()
        sparse(name, 1 << 40)
        refused("a terabyte of " + name,
                "EBADMSG" if name != "checkpoint" else "ENOENT")
        if name not in ("pages", "xxh128sums", "checkpoint"):
            edited(name)
            how, said = any_answer("an edited terabyte of " + name)
        n += 2
    many = {
        "maps": b"%x-%x rw-p 00000000 00:00 0 \n",
        "pagemap": b"vma %x-%x anon - 0 -\n",
        "checkpoint": b"content: %d %d\n",
        "signals": b"pending: %d %d\n",
        "timers": b"timer: %d %d\n",
        "unsupported": b"fd %d: %d\n",
        "fdinfo/0": b"key: %d %d\n",
        "status": b"\nthread: %d\nname: %d\n",
        "regs": b"thread: %d\nr15: %d\n",
        "environ": b"A%d=%d\0",
        "xxh128sums": b"%032d  file%d\n",
    }
    for name, form in many.items():
        count = 1000000 if name in ("maps", "unsupported") and not QUICK \
            else 100000
        fresh()
        lines = b"".join(form % (i * 0x2000 + 0x10000, i * 0x2000 + 0x11000)
                         for i in range(count))
        put(name, get(name) + lines if name != "xxh128sums"
            else lines + get(name))
        if name != "xxh128sums":
            edited(name)
        any_answer("%d lines of %s" % (count, name))
        n += 1
    return n


def insert_vmas(maps, page, start, lines):
    """Lists of lines of both, at the place for `start`."""
    m = get("maps").split(b"\n")
    p = get("pagemap").split(b"\n")
    at = next(i for i, x in enumerate(m)
              if x and int(x.split(b"-")[0], 16) >= start)
    vma = [i for i, x in enumerate(p) if x.startswith(b"vma ")][at]
    held = 0
    for x in p[:vma]:
        r = re.match(rb"run (\w+)-(\w+) held", x)
        if r:
            held += int(r.group(2), 16) - int(r.group(1), 16)
    put("maps", b"\n".join(m[:at] + maps + m[at:]))
    put("pagemap", b"\n".join(lines + p[:vma] + page + p[vma:]))
    return held


def many():
    """Images that are consistent, and have a hundred thousand of a thing."""
    count = 30000 if QUICK else 100000
    base = 0x200000000000
    n = 0

    # Mappings: more than a process may have.
    fresh()
    insert_vmas([b"%x-%x rw-p 00000000 00:00 0 " % (
        base + i * 0x2000, base + i * 0x2000 + 0x1000) for i in range(count)],
        [b"vma %x-%x anon - 0 -" % (
            base + i * 0x2000, base + i * 0x2000 + 0x1000)
         for i in range(count)], base, [])
    edited("maps", "pagemap")
    any_answer("%d mappings" % count)
    n += 1

    # Runs before an environment that has to be looked up word by word.
    fresh()
    size = 1 << 19
    env = base + count * 0x2000
    held = insert_vmas([b"%x-%x rw-p 00000000 00:00 0 " % (base, env + size)],
                       [b"vma %x-%x anon - 0 nr" % (base, env + size)] +
                       [b"run %x-%x guard" % (
                           base + i * 0x2000, base + i * 0x2000 + 0x1000)
                        for i in range(count)] + [b"run @"], base, [])
    page = get("pagemap", BAD)
    at = page.index(b"run @\n")
    put("pagemap", page[:at] + b"run %x-%x held %d\n" % (
        env, env + size, held) + re.sub(
        rb"( held )(\d+)", lambda m: m.group(1) + b"%d" % (
            int(m.group(2)) + size), page[at + 6:]))
    pages = get("pages")
    words = b"\0" * 16 + (env + 8).to_bytes(8, "little") * (size // 8 - 2)
    put("pages", pages[:held] + words + pages[held:])
    put("checkpoint", re.sub(rb"\npages: \d+", b"\npages: %d" % (
        len(pages) + size), get("checkpoint")))
    text = get("status")
    for key, value in (("start-stack", env), ("env-start", env),
                       ("env-end", env + size)):
        text = re.sub(b"mm-%s: .*" % key.encode(), b"mm-%s: 0x%016x" % (
            key.encode(), value), text)
    put("status", text)
    put("environ", b"A=b\0")
    edited("maps", "pagemap", "environ", "status", "pages", "checkpoint")
    any_answer("%d runs" % count)
    n += 1

    # Files, each mapped once.
    fresh()
    was = get("pagemap").split(b"\n")
    one = next(x for x in was if x.startswith(b"file 0 "))
    insert_vmas([b"%x-%x r--p 00000000 00:00 0 /x" % (
        base + i * 0x2000, base + i * 0x2000 + 0x1000) for i in range(count)],
        [b"vma %x-%x file %d 0 -" % (
            base + i * 0x2000, base + i * 0x2000 + 0x1000, i + 1)
         for i in range(count)], base,
        [])
    p = get("pagemap", BAD).split(b"\n")
    at = p.index(one) + 1
    put("pagemap", b"\n".join(p[:at] + [
        one.replace(b"file 0 ", b"file %d " % (i + 1))
        for i in range(count)] + p[at:]))
    edited("maps", "pagemap")
    any_answer("%d files" % count)
    n += 1

    # Threads.
    fresh()
    status, regs = get("status"), get("regs")
    at = status.index(b"\nthread: ")
    pid = int(re.search(rb"\nthread: (\d+)", status).group(1))
    threads = count // 30
    for name, text, first in (("status", status, at + 1), ("regs", regs, 0)):
        block = text[first:]
        put(name, text + b"".join(
            (b"\n" if name == "status" else b"") +
            block.replace(b"thread: %d" % pid, b"thread: %d" % (2000000 + i))
            for i in range(threads)))
    edited("status", "regs")
    any_answer("%d threads" % threads)
    n += 1

    # Descriptors, each a duplicate of another; epoll that watches them all.
    fresh()
    zero = get("fdinfo/0")
    fds = count // 30
    for i in range(2000, 2000 + fds):
        os.symlink(b"/dev/null", BAD + "/fd/%d" % i)
        put("fdinfo/%d" % i, zero)
    any_answer("%d descriptors" % fds)
    n += 1

    # Contents.
    fresh()
    put("checkpoint", get("checkpoint") + b"".join(
        b"content: %d 0\n" % i for i in range(100, 100 + count)))
    edited("checkpoint")
    any_answer("%d contents" % count)
    n += 1
    return n


def huge_memory():
    """More memory than there is: it is not taken from the others."""
    n = 0
    start = 0x200000000000
    for size in (1 << 40, 1 << 46):
        fresh()
        vma = b"%x-%x" % (start, start + size)
        held = insert_vmas([vma + b" rw-p 00000000 00:00 0 "],
                           [b"vma %s anon - 0 -" % vma], start, [])
        page = get("pagemap", BAD)
        at = page.index(b"vma " + vma)
        after = re.sub(rb"( held )(\d+)", lambda m: m.group(1) + b"%d" % (
            int(m.group(2)) + size), page[at:])
        eol = after.index(b"\n") + 1
        put("pagemap", page[:at] + after[:eol] +
            b"run %s held %d\n" % (vma, held) + after[eol:])
        total = len(get("pages")) + size
        put("checkpoint", re.sub(rb"\npages: \d+", b"\npages: %d" % total,
                                 get("checkpoint")))
        try:
            sparse("pages", total)
        except OSError:
            continue  # more than a file may have
        edited("maps", "pagemap", "pages", "checkpoint")
        said = refused("%d bytes of memory" % size, "ENOMEM")
        if "memory" not in said:
            raise Wrong(said)
        n += 1
    return n


# ---- an enemy who changes it meanwhile ----

def swapped():
    """Names are swapped for links while the image is read."""
    fresh()
    secret = WORK + "/secret"
    with open(secret, "wb") as f:
        f.write(b"swapped " * 2000)
    end = time.monotonic() + (2 if QUICK else 5)
    pid = os.fork()
    if pid == 0:
        names = ["maps", "status", "pages", "files/1", "fdinfo/0", "regs"]
        # Both forms of each lie ready; rename(2) puts them there.
        while time.monotonic() < end:
            for n in names:
                p = BAD + "/" + n
                try:
                    os.rename(p, p + ".aside")
                    os.symlink(secret, p)
                    os.rename(p + ".aside", p)
                except OSError:
                    pass
        os._exit(0)
    try:
        while time.monotonic() < end:
            how, said = any_answer("swapped")
            if "swapped" in said or secret in said:
                raise Wrong("it was followed: " + said)
            if how not in ("OK", "EBADMSG", "ENOENT"):
                raise Wrong("%s %s" % (how, said))
    finally:
        os.waitpid(pid, 0)
    return sum(counts.values())


def main():
    n = {"flips": flips, "lazy_flips": lazy_flips,
         "edits": edits, "odd_files": odd_files,
         "odd_names": odd_names, "large": large,
         "huge_memory": huge_memory, "many": many, "swapped": swapped}[TEST]()
    print("%s: %d images; %s; the slowest took %.2f s (%s)" % (
        TEST, n, " ".join("%s %d" % x for x in sorted(counts.items())),
        slowest[0], slowest[1]))


try:
    main()
except Wrong as e:
    sys.exit("hostile.py: %s" % e)
