#!/bin/bash
# real_python.sh - python3 with threads, in the middle of a computation.

. "$(dirname "$0")/real_lib.sh"

cat >"$WORK/job.py" <<'END'
import decimal, hashlib, json, queue, random, re, sys, threading, time

random.seed(7)
q, results = queue.Queue(), {}

def work():
    while True:
        n = q.get()
        if n is None:
            return
        h = hashlib.sha256()
        for i in range(3000):
            h.update(f"{n}:{i}".encode())
        results[n] = h.hexdigest()
        time.sleep(0.001)
        q.task_done()

threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads:
    t.start()
for n in range(400):
    q.put(n)

def pi(digits):
    decimal.getcontext().prec = digits + 5
    a, b = decimal.Decimal(1), 1 / decimal.Decimal(2).sqrt()
    t, p = decimal.Decimal("0.25"), decimal.Decimal(1)
    for _ in range(12):
        a, b, t, p = (a + b) / 2, (a * b).sqrt(), \
            t - p * ((a - b) / 2) ** 2, 2 * p
    return str((a + b) ** 2 / (4 * t))[:digits]

out = [pi(3000 + 10 * i)[-20:] for i in range(40)]
q.join()
for _ in threads:
    q.put(None)
for t in threads:
    t.join()
words = {w: random.random() for w in re.findall(r"\w+", sys.version)}
print(json.dumps([out, sorted(results.items()), sorted(words.items())]))
END
real "a computation with threads" python3 "$WORK/job.py"

cat >"$WORK/async.py" <<'END'
import asyncio, time

async def tick(n, log):
    for i in range(40):
        await asyncio.sleep(0.03 + n / 1000)
        log.append((n, i))

async def main():
    log = []
    await asyncio.gather(*(tick(n, log) for n in range(10)))
    print(sorted(log))

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
END
real "an event loop" python3 "$WORK/async.py"

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
