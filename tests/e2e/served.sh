#!/bin/bash
# served.sh - the daemon is killed at any point of a request, or a call of it
# fails: the originals are looked at, and another daemon clears away what was
# left.  A part of what tests/fault/run does; and short forms of tests/fault/soak.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
need_root
grep -q 'SNAPFS_FAULTS:BOOL=ON' "$BUILD/CMakeCache.txt" ||
    skip_all "built without -DSNAPFS_FAULTS=ON"
mkdir -p "$MNT"

# usage: soak NAME COUNT
soak()
{
	python3 "$top/tests/fault/soak.py" "$1" "$2" "$MNT" "$BUILD"
}
t "checkpoints in a row" soak soak 150
t "kill -9 of the daemon in a storm of checkpoints" soak storm 30
t "no footprints" soak footprints 10
t "nothing grows" soak growth 150

[ $TEST_FAILED = no ] || exit 1
[ -z "${ONLY-}" ] || exit 0
exec python3 "$top/tests/fault/served.py" --quick "$MNT" "$BUILD"
