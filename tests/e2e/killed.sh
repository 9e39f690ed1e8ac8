#!/bin/bash
# killed.sh - the program that takes a checkpoint is killed, at each of the
# points named in core/ and at moments of chance: the process runs on with
# every register, mask and child as it was, and the next checkpoint clears
# away what was left.

. "$(dirname "$0")/lib.sh"
need_root

take=$TOOLS/snapcore-take
grep -q 'SNAPFS_FAULTS:BOOL=ON' "$BUILD/CMakeCache.txt" ||
    skip_all "built without -DSNAPFS_FAULTS=ON"

# What of our making is in the process.
leavings()
{
	echo "maps $(wc -l <"/proc/$PID/maps")"
	echo "children $(cat /proc/"$PID"/task/*/children)"
	grep -h '^SigBlk' /proc/"$PID"/task/*/status
}

# usage: killed_at POINT: the first, second, third and sixth time it comes by
killed_at()
{
	local n
	for n in 1 2 3 6; do
		SNAPFS_FAULT=$1:$n "$take" "$PID" - >/dev/null 2>&1
		gone "$PID" && { echo "process gone at $1:$n"; return 1; }
		# Whoever was in our code when we died has gone home by then.
		sleep 0.25
		"$take" "$PID" - || return
		[ "$(leavings)" = "$before" ] || {
			leavings
			echo "left at $1:$n"
			return 1
		}
	done
	expect_untouched "$PID"
}

by_chance()
{
	local i job
	for ((i = 0; i < rounds; i++)); do
		"$take" -n 50 "$PID" >/dev/null 2>&1 &
		job=$!
		sleep "0.00$((RANDOM % 10))$((RANDOM % 10))"
		kill -9 $job
		wait $job 2>/dev/null
		gone "$PID" && { echo "process gone in round $i"; return 1; }
	done
	sleep 0.25
	"$take" "$PID" - >/dev/null || return
	sleep 0.25
	"$take" "$PID" - || return
	[ "$(leavings)" = "$before" ] || {
		leavings
		echo "something is left"
		return 1
	}
}

points=$(cat "$top"/core/*.c | sed -n 's/.*FAULT("\([a-z-]*\)").*/\1/p' |
    sort -u)
rounds=${ROUNDS:-100}
for subject in thr_regs thr_many; do
	start_subject $subject || die "$subject does not start"
	# The vDSO's page becomes its own at the first; nothing else changes.
	"$take" "$PID" - || die "no checkpoint"
	before=$(leavings)
	if [ $subject = thr_regs ]; then
		for point in $points; do
			t "$point" killed_at "$point"
		done
	fi
	t "$subject by chance" by_chance
	t "$subject itself" check_subject survived
done
[ $TEST_FAILED = no ]
