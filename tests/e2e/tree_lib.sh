# tree_lib.sh - what the scripts share that copy, kill and restore whole trees
# of processes; sourced by them after lib.sh.
#
# shellcheck shell=bash

STOPPED=()

# All that are below a process, it first.
# usage: family PID
family()
{
	local child
	echo "$1"
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		family "$child"
	done
}

# All of a tree have stopped; those that have not are told to: STOPPED.
# usage: all_stopped PID
all_stopped()
{
	local pid rc=0
	for pid in $(family "$1"); do
		[[ $(state_of "$pid") != [^TZtX] ]] || {
			kill -STOP "$pid" 2>/dev/null && STOPPED+=("$pid")
			rc=1
		}
	done
	return $rc
}

# usage: go_on PID
go_on()
{
	# shellcheck disable=SC2046  # pids
	kill -CONT $(family "$1" | tac)
}

# Kill a whole tree, and wait until its ids are free.  None is to see another
# die, and clear up what both had: so all are stopped, and children first, since
# the kernel wakes a stopped group that is orphaned.
# usage: fell PID
fell()
{
	local pid all
	wait_for 10 all_stopped "$1" || { echo "process $1 does not stop"; return 1; }
	all=$(family "$1" | tac)
	# shellcheck disable=SC2086  # pids
	kill -9 $all 2>/dev/null
	wait "$1" 2>/dev/null
	forget "$1"
	for pid in $all; do
		wait_for 10 free_pid "$pid" || {
			echo "process $pid does not end"
			return 1
		}
	done
}

# Copy a tree; nothing of it may be unsupported, nor its sums wrong.
# usage: copy_tree PID DIR
copy_tree()
{
	local u
	rm -rf "$2"
	cp -r "$MNT/$1" "$2" || { tail -n 5 "$MNT/.log"; return 1; }
	for u in $(find "$2" -name unsupported -size +0); do
		echo "$u: $(<"$u")"
		return 1
	done
	(cd "$2" && xxhsum -c --quiet xxh128sums)
}
