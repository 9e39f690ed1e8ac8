#!/bin/bash
# faults.sh - a part of tests/fault/run: whoever takes a checkpoint, restores a tree
# or runs snapfs-run is killed, or a call fails, at any point; the process runs on
# as it was, and nothing is left.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
need_root
grep -q 'SNAPFS_FAULTS:BOOL=ON' "$BUILD/CMakeCache.txt" ||
    skip_all "built without -DSNAPFS_FAULTS=ON"

rc=0
for series in faults checked ran; do
	python3 "$top/tests/fault/$series.py" --quick "$BUILD" || rc=1
done
python3 "$top/tests/fault/restored.py" --quick --only tree_fork "$BUILD" || rc=1
exit $rc
