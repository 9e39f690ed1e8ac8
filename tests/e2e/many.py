"""Have many descriptors, or watch many files.  usage: many.py WHAT DIR"""
import ctypes
import os
import resource
import signal
import sys

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


globals()[what]()
print("ready", flush=True)
while True:
    signal.pause()
