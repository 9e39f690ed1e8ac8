#!/bin/bash
# real_start.sh - real programs, held where their start is over: two instances
# of each, at once, say what the program says.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/start_lib.sh"
need_root
RUN=$(dirname "$SNAPFS")/snapfs-run
mount_snapfs
make_programs "$WORK/programs"

both()
{
	local how=${HOW[$1]} want pid other
	want=$(echo "line" | $how 3>&- 9>&-) || { echo "it fails on its own"; return 1; }
	pid=$("$RUN" -- $how </dev/null 2>"$WORK/said" 3>&- 9>&-) || {
		cat "$WORK/said"
		return 1
	}
	PIDS+=("$pid")
	copy "$pid" "$WORK/$1" || return
	kill9 "$pid" || return
	echo "line" | timeout 60 "$RUN" --from "$WORK/$1" >"$WORK/one" 2>&1 3>&- 9>&- &
	other=$!
	echo "line" | timeout 60 "$RUN" --from "$WORK/$1" >"$WORK/two" 2>&1 3>&- 9>&-
	[ $? = 0 ] && wait $other || { cat "$WORK/one" "$WORK/two"; return 1; }
	[ "$(<"$WORK/one")" = "$want" ] && [ "$(<"$WORK/two")" = "$want" ] || {
		cat "$WORK/one" "$WORK/two"
		echo "not: $want"
		return 1
	}
	rm -rf "${WORK:?}/$1"
}

for name in "${PROGRAMS[@]}"; do
	t "$name" both "$name"
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
