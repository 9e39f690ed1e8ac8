#!/bin/bash
# faults.sh - a part of tests/fault/run: whoever takes a checkpoint is killed,
# or a call fails, at any point; the process runs on as it was.
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
exit $rc
