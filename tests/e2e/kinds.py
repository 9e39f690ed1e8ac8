"""Have one kind of kernel state, say so, wait.  usage: kinds.py KIND DIR

Prints "ready FD" (-1: it is no descriptor) and sleeps; at SIGUSR1 it says
whether the state is still there, in DIR/result.
"""
import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
kind, where = sys.argv[1:]
keep = []
check = None


def call(nr, *args):
    libc.syscall.restype = ctypes.c_long
    got = libc.syscall(ctypes.c_long(nr), *[
        ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if got < 0:
        err = ctypes.get_errno()
        print("skip", os.strerror(err), flush=True)
        sys.exit(77)
    return got


def buffer(data):
    b = ctypes.create_string_buffer(data, len(data))
    keep.append(b)
    return b


def io_uring():
    return call(425, 4, buffer(bytes(120)))


def lease_wanted():
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    name = os.path.join(where, "leased")
    fd = os.open(name, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    if os.fork() == 0:
        try:
            os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        finally:
            os._exit(0)
    os.wait()
    return fd


def fan_mark(fd, flags, mask, path):
    call(301, fd, 1 | flags, mask, -100, buffer(path.encode() + b"\0"))


def fanotify_permission():
    """Whoever opens a file is to wait for its answer."""
    fd = call(300, 4, os.O_RDONLY)
    name = os.path.join(where, "watched")
    os.close(os.open(name, os.O_CREAT, 0o600))
    fan_mark(fd, 0, 0x10000, name)
    return fd


def fanotify_unread():
    fd = call(300, 0, os.O_RDONLY)
    fan_mark(fd, 0, 0x8000020, where)
    os.close(os.open(os.path.join(where, "new"), os.O_CREAT, 0o600))
    return fd


def fanotify_deleted():
    """A mark of a file that has no name any more."""
    fd = call(300, 0, os.O_RDONLY)
    name = os.path.join(where, "watched")
    keep.append(open(name, "w"))
    fan_mark(fd, 0, 2, name)
    os.unlink(name)
    return fd


def limited(which, value):
    """A user who may have no more of that."""
    os.setresgid(64321, 64321, 64321)
    os.setresuid(64321, 64321, 64321)
    libc.prctl(4, 1)
    resource.setrlimit(which, (value, value))


def secret_mapped():
    """Without a descriptor, so that only who has it mapped can read it."""
    fd = call(447, 0)
    os.ftruncate(fd, 4096)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(4096), 3, 1, fd, ctypes.c_long(0))
    ctypes.memset(at, 65, 16)
    os.close(fd)


def secret_alone():
    """Without a twin."""
    secret_mapped()
    limited(resource.RLIMIT_NPROC, 1)
    return -1


def secret_unlockable():
    secret_mapped()
    limited(resource.RLIMIT_MEMLOCK, 0)
    return -1


def bpf():
    attr = struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100)
    return call(321, 0, buffer(attr), len(attr))


def perf():
    attr = struct.pack("IIQ", 1, 112, 0) + bytes(96)
    return call(298, buffer(attr), 0, -1, -1, 0)


def userfaultfd():
    return call(323, os.O_CLOEXEC)


def landlock():
    return call(444, buffer(struct.pack("Q", 1)), 8, 0)


def namespace():
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def fscontext():
    return call(430, buffer(b"tmpfs\0"), 0)


def detached():
    """A mount that is nowhere."""
    return call(428, -100, buffer(b"/dev/shm\0"), 1)


def mqueue():
    lib = ctypes.CDLL("librt.so.1", use_errno=True)
    name = b"/snapfs-test-%d" % os.getpid()
    fd = lib.mq_open(name, os.O_RDWR | os.O_CREAT, 0o600, None)
    lib.mq_unlink(name)
    if fd < 0:
        print("skip no message queues", flush=True)
        sys.exit(77)
    return fd


def pidfd():
    return os.pidfd_open(1)


def packet():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).detach()


def crypto():
    try:
        return socket.socket(38, socket.SOCK_SEQPACKET, 0).detach()
    except OSError as e:
        print("skip", e, flush=True)
        sys.exit(77)


def device():
    return os.open("/dev/kmsg", os.O_RDONLY)


def directory():
    """One that was removed."""
    d = os.path.join(where, "gone")
    os.mkdir(d)
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(d)
    return fd


def fifo():
    """One that was removed, with both its ends."""
    d = os.path.join(where, "fifo")
    os.mkfifo(d)
    fd = os.open(d, os.O_RDWR)
    os.unlink(d)
    return fd


def own_namespace(flags):
    call(272, flags)
    return -1


def mount_namespace():
    """With a file that is open in a mount of its own."""
    own_namespace(0x20000)
    libc.mount(b"none", b"/", None, 0x44000, None)
    if libc.mount(b"snapfs-test", where.encode(), b"tmpfs", 0, None) != 0:
        print("skip no mount", flush=True)
        sys.exit(77)
    return os.open(where + "/there", os.O_RDWR | os.O_CREAT)


def net_namespace():
    return own_namespace(0x40000000)


def user_namespace():
    return own_namespace(0x10000000)


def ipc_namespace():
    return own_namespace(0x08000000)


def uts_namespace():
    return own_namespace(0x04000000)


def cgroup_namespace():
    return own_namespace(0x02000000)


def pid_namespace():
    """With a child that is the first there."""
    own_namespace(0x20000000)
    if os.fork() == 0:
        libc.prctl(1, signal.SIGKILL)
        os.close(1)
        while True:
            time.sleep(100)
    return -1


def aio():
    call(206, 8, ctypes.byref(ctypes.c_ulong()))
    return -1


def huge():
    try:
        keep.append(mmap.mmap(-1, 2 << 20, mmap.MAP_PRIVATE |
                              mmap.MAP_ANONYMOUS | 0x40000 | 0x4000))
    except OSError as e:
        print("skip", e, flush=True)
        sys.exit(77)
    return -1


def listener():
    """What a supervisor of filtered calls has (it is under the filter, too)."""
    call(157, 38, 1, 0, 0, 0)
    prog = buffer(struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000))
    fprog = struct.pack("HxxxxxxQ", 1, ctypes.addressof(prog))
    return call(317, 1, 8, buffer(fprog))


def ldt():
    """modify_ldt(2): a segment of its own."""
    call(154, 1, buffer(struct.pack("IIII", 3, 0x1000, 0xfff, 0x51)), 16)
    return -1


def ports():
    """ioperm(2)"""
    call(173, 0x80, 1, 1)
    return -1


def all_ports():
    """iopl(2)"""
    call(172, 3)
    return -1


def keyring():
    """A keyring of the process's own, with a key."""
    call(248, buffer(b"user\0"), buffer(b"snapfs\0"), buffer(b"x"), 1, -2)
    return -1


def thread_keyring():
    call(248, buffer(b"user\0"), buffer(b"snapfs\0"), buffer(b"x"), 1, -1)
    return -1


def confined():
    """Under Landlock."""
    fd = landlock()
    call(157, 38, 1, 0, 0, 0)
    call(446, fd, 0)
    os.close(fd)
    return -1


def confined_user():
    os.chmod(where, 0o777)
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    return confined()


def privileges_user():
    """What might be confined, and is not."""
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    call(157, 38, 1, 0, 0, 0)
    return -1


def privileges_root():
    call(157, 38, 1, 0, 0, 0)
    call(126, buffer(struct.pack("II", 0x20080522, 0)), buffer(bytes(24)))
    return -1


def dispatch():
    sel = buffer(bytes(1))
    call(157, 59, 1, 0, 0, sel)
    return -1


def unwritable():
    """PR_SET_MDWE: nothing that can be written can be run."""
    call(157, 65, 1, 0, 0, 0)
    return -1


# ---- what comes back ----

def proc_file():
    global check
    fd = os.open("/proc/meminfo", os.O_RDONLY)
    check = lambda: b"MemTotal" in os.pread(fd, 100, 0)
    return fd


def proc_self():
    global check
    fd = os.open("/proc/self/status", os.O_RDONLY)
    check = lambda: (b"\nPid:\t%d\n" % os.getpid()) in os.pread(fd, 500, 0)
    return fd


def proc_dir():
    global check
    fd = os.open("/proc/self", os.O_RDONLY)
    check = lambda: os.readlink("exe", dir_fd=fd) == os.readlink(
        "/proc/self/exe")
    return fd


def sys_file():
    global check
    fd = os.open("/sys/kernel/mm/transparent_hugepage/enabled", os.O_RDONLY)
    check = lambda: b"always" in os.pread(fd, 100, 0)
    return fd


def path():
    global check
    fd = os.open(where, os.O_PATH)
    check = lambda: os.stat(".", dir_fd=fd).st_ino == os.stat(where).st_ino
    return fd


def tmpfile():
    global check
    fd = os.open(where, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"without a name")
    check = lambda: (os.pread(fd, 99, 0) == b"without a name" and
                     os.fstat(fd).st_nlink == 0)
    return fd


def sealed():
    global check
    fd = os.memfd_create("sealed", 2)
    os.write(fd, b"for good")
    fcntl.fcntl(fd, 1033, 0xf)
    check = lambda: (fcntl.fcntl(fd, 1034) == 0xf and
                     os.pread(fd, 99, 0) == b"for good")
    return fd


def secret():
    """Mapped, and open; what is in it is in no other memory."""
    global check
    fd = call(447, os.O_CLOEXEC)
    os.ftruncate(fd, 3 * 4096)
    m = mmap.mmap(fd, 2 * 4096)
    for i in range(16):
        m[4096 + i] = 65 + i
    m[4096 + 16] = 10
    check = lambda: (m[4096:4096 + 17] == bytes(range(65, 81)) + b"\n" and
                     mmap.mmap(fd, 3 * 4096)[4096] == 65 and
                     not os.get_inheritable(fd))
    keep.append(m)
    return fd


def secret_sent():
    """On its way in a socket, and nowhere else."""
    global check
    fd = call(447, 0)
    os.ftruncate(fd, 4096)
    with mmap.mmap(fd, 4096) as m:
        m[7] = 42
    a, b = socket.socketpair()
    socket.send_fds(a, [b"x"], [fd])
    os.close(fd)
    keep.extend([a, b])
    check = lambda: mmap.mmap(socket.recv_fds(b, 1, 1)[1][0], 4096)[7] == 42
    return -1


def fanotify_mount():
    global check
    fd = call(300, 0x6, os.O_RDONLY)
    fan_mark(fd, 0x10, 0x1000, "/dev")
    check = lambda: "mnt_id" in open("/proc/self/fdinfo/%d" % fd).read(
        ).split("fanotify", 1)[1]
    return fd


def fanotify_user():
    """One without privileges is not told who else did something."""
    global check, where
    os.chmod(where, 0o777)
    os.chdir(where)
    where = "."
    limited(resource.RLIMIT_CORE, 0)
    fd = call(300, 0x202, os.O_RDONLY)
    fan_mark(fd, 0, 0x8000020, where)

    def asked():
        if os.fork() == 0:
            os.open("err", os.O_RDONLY)
            os._exit(0)
        os.wait()
        event = os.read(fd, 4096)
        return struct.unpack("IBBHQii", event[:24])[6] == 0
    check = asked
    return fd


def semaphore():
    """POSIX, in memory that a child has, too, who waits for it."""
    global check
    rt = ctypes.CDLL("libpthread.so.0", use_errno=True)
    m = mmap.mmap(-1, 4096)
    sem = ctypes.c_char.from_buffer(m)
    keep.extend([m, sem])
    rt.sem_init(ctypes.byref(sem), 1, 0)
    r, w = os.pipe()
    if os.fork() == 0:
        rt.sem_wait(ctypes.byref(sem))
        os.write(w, b"w")
        os._exit(0)

    def woken():
        rt.sem_post(ctypes.byref(sem))
        return os.read(r, 1) == b"w"
    check = woken
    return -1


def told(*_):
    """Once: whoever asks may ask again before the answer is there."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        text = "ok" if check is not None and check() else "lost"
    except OSError as e:
        text = str(e)
    with open(where + "/result.new", "w") as f:
        f.write(text + "\n")
    os.rename(where + "/result.new", where + "/result")


signal.signal(signal.SIGUSR1, told)
fd = globals()[kind]()
print("ready", fd, flush=True)
sys.stdout.close()
os.close(1)
os.open("/dev/null", os.O_WRONLY)
while True:
    time.sleep(100)
