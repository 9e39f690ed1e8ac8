#!/bin/bash
# faults.sh - a part of tests/fault/run: whoever takes a checkpoint is killed,
# or a call fails, at any point; the process runs on as it was.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
need_root
grep -q 'SNAPFS_FAULTS:BOOL=ON' "$BUILD/CMakeCache.txt" ||
    skip_all "built without -DSNAPFS_FAULTS=ON"

exec python3 "$top/tests/fault/faults.py" --quick "$BUILD"
