#!/bin/bash
# real_bash.sh - bash running a script: the script file, its offset in it,
# traps, arrays.

. "$(dirname "$0")/real_lib.sh"

cat >"$WORK/job.sh" <<'END'
trap 'echo ended' EXIT
declare -A seen
x=1
for ((i = 0; i < 150000; i++)); do
	x=$(( (x * 1103515245 + 12345) % 2147483648 ))
	seen[$((x % 100))]=$((seen[$((x % 100))] + 1))
	((i % 10000)) || echo "$i $x"
done
# The rest of the file is read after the loop, at the offset that was kept.
for k in {0..99}; do
	printf '%s=%s ' "$k" "${seen[$k]}"
done
echo
END
real "a script" bash "$WORK/job.sh"
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
