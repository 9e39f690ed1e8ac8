"""Have many descriptors, watch many files, have much that is copied: memory that
is shared or in a file, or of one who may not fork.  usage: many.py WHAT DIR"""
import ctypes
import mmap
import os
import resource
import signal
import sys

MUCH = 256 << 20
what, where = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)


def descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(hard - 100, 50000)
    if n < 10000:
        print("skip no more than %d descriptors" % hard, flush=True)
        sys.exit()
    fd = os.open("/dev/null", os.O_RDONLY)
    for _ in range(n):
        os.dup(fd)


def watches():
    fd = libc.inotify_init()
    for i in range(20000):
        name = os.path.join(where, "%d" % i)
        os.close(os.open(name, os.O_CREAT, 0o600))
        if libc.inotify_add_watch(fd, name.encode(), 2) < 0:
            print("skip", os.strerror(ctypes.get_errno()), flush=True)
            sys.exit()


def fill(memory):
    for i in range(0, len(memory), 4096):
        memory[i] = 1
    globals()["kept"] = memory


def shared():
    fill(mmap.mmap(-1, MUCH))


def memfd():
    fd = os.memfd_create("much")
    os.ftruncate(fd, MUCH)
    fill(mmap.mmap(fd, MUCH))
    kept.close()


def private():
    fill(mmap.mmap(-1, MUCH, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    os.setgroups([])
    os.setresgid(64322, 64322, 64322)
    os.setresuid(64322, 64322, 64322)


globals()[what]()
print("ready", flush=True)
while True:
    signal.pause()
