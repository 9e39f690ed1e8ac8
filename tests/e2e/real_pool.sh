#!/bin/bash
# real_pool.sh - python3 multiprocessing: a pool of workers, a manager that they
# talk to through a socket with a name, memory that they share, queues, locks
# and a tracker, in the middle of a job.

. "$(dirname "$0")/real_lib.sh"
export TMPDIR=$WORK	# what is left there by who is killed goes with it
command -v python3 >/dev/null || skip_all "python3 is not installed"

cat >"$WORK/job.py" <<'END'
import hashlib, multiprocessing as mp, os, struct, sys, threading, time
from multiprocessing import shared_memory

JOBS, SLOTS = 300, 64

def begin(name, the_lock, the_table, the_total, the_events):
    global shm, lock, table, total, events
    shm = shared_memory.SharedMemory(name)
    lock, table, total, events = the_lock, the_table, the_total, the_events

def work(n):
    h = hashlib.sha256()
    for i in range(30000):
        h.update(b"%d:%d" % (n, i))
    with lock:
        at = n % SLOTS * 8
        v, = struct.unpack_from("q", shm.buf, at)
        time.sleep(0.0005)
        struct.pack_into("q", shm.buf, at, v + n)
        total.value += n
    table[n] = h.hexdigest()
    events.put(n)
    return n * n

def listen(events, seen):
    while True:
        n = events.get()
        if n is None:
            return
        seen.append(n)

def main():
    shm = shared_memory.SharedMemory(create=True, size=SLOTS * 8)
    lock, total = mp.Lock(), mp.Value("q", 0)
    events, seen = mp.Queue(), []
    ear = threading.Thread(target=listen, args=(events, seen))
    ear.start()
    with mp.Manager() as manager:
        table = manager.dict()
        with mp.Pool(3, begin,
            (shm.name, lock, table, total, events)) as pool:
            squares = pool.map(work, range(JOBS), chunksize=1)
            pool.close()
            pool.join()
        events.put(None)
        ear.join()
        all = hashlib.sha256(repr(sorted(table.items())).encode())
        print(all.hexdigest(), sum(squares), total.value, len(table))
    print(struct.unpack("64q", bytes(shm.buf[:SLOTS * 8])))
    print(sorted(seen) == list(range(JOBS)))
    shm.close()
    shm.unlink()

if __name__ == "__main__":
    # A tracker of what is shared, too, and clean processes.
    mp.set_start_method(sys.argv[1])
    main()
END
# What has a name in /dev/shm, the original would remove when it is done: so it is
# stopped before it is copied.
again()
{
	wait_for 10 all_stopped "$PID" && copy_tree "$PID" "$1" && fell "$PID" &&
	    restore "$PID" "$1" && go_on "$PID"
}

for how in fork forkserver; do
	real "pool, manager, shared memory: $how" \
	    /usr/bin/python3 "$WORK/job.py" $how
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
