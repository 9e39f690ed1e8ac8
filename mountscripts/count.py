#!/usr/bin/env python3
"""count.py FILE: a program to try snapfs on; mountscripts/quickstart runs it.

Two threads.  One counts, and appends a line to FILE ten times a second; the
other looks for primes.  All that either knows is in its memory: started anew,
it begins at 1.
"""
import hashlib
import json
import os
import sys
import threading
import time

primes = [2, 3]
seal = hashlib.sha256()


def search():
    n = primes[-1]
    while True:
        n += 2
        if all(n % p for p in primes if p * p <= n):
            primes.append(n)
            time.sleep(0.001)


def count(out):
    n = 0
    while True:
        n += 1
        seal.update(str(n).encode())
        line = {"count": n, "pid": os.getpid(), "primes": len(primes),
                "seal": seal.hexdigest()[:8]}
        out.write(json.dumps(line) + "\n")
        time.sleep(0.1)


if len(sys.argv) != 2:
    sys.exit(__doc__)
# Descriptors that some parent left open, ends of its pipes maybe, are not ours.
os.closerange(3, 1024)
with open(sys.argv[1], "a", buffering=1) as out:
    threads = [threading.Thread(target=search, daemon=True),
               threading.Thread(target=count, args=(out,), daemon=True)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
