"""counter.py FILE - counts in FILE, for ever, and looks after 32 MiB.

What runs can be seen from outside by reading FILE, and a page that is not what
it was ends it with a sentence.
"""
import hashlib
import mmap
import struct
import sys
import time

f = open(sys.argv[1], "w+b")
f.truncate(4096)
m = mmap.mmap(f.fileno(), 4096)
big = bytearray(32 << 20)
for i in range(0, len(big), 4096):
    big[i:i + 32] = hashlib.sha256(b"%d" % i).digest()
n = 0
while True:
    n += 1
    m[0:8] = struct.pack("=Q", n)
    big[(n % 50) * 4096 + 4095] = n % 251
    if n % 20 == 0:
        for i in range(0, len(big), 4096):
            if big[i:i + 32] != hashlib.sha256(b"%d" % i).digest():
                sys.exit("page %d is wrong" % i)
    time.sleep(0.005)
