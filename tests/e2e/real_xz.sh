#!/bin/bash
# real_xz.sh - xz compressing a file, with one thread and with two.

. "$(dirname "$0")/real_lib.sh"

# Compresses somewhat, and takes a second or two.
python3 - "$WORK/data" <<'END'
import random, sys
random.seed(1)
words = [bytes(random.choices(range(97, 123), k=random.randint(2, 9)))
         for _ in range(5000)]
with open(sys.argv[1], "wb") as f:
    for _ in range(60):
        f.write(b" ".join(random.choices(words, k=12000)))
END
compare()
{
	xz -dc "$WORK/hit/out" | cmp - "$WORK/data" &&
	    cmp "$WORK/calm/out" "$WORK/hit/out"
}
real "one thread" xz -6 -c "$WORK/data"
real "two threads" xz -6 -T2 --block-size=1MiB -c "$WORK/data"
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
