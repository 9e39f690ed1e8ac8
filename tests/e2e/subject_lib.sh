# subject_lib.sh - how the programs in tests/subjects are begun and brought back,
# each as its first comment says (subject.h).  $name is the one at hand.
#
# shellcheck shell=bash

# What a subject's first comment says behind KEY.
# usage: trait NAME KEY
trait()
{
	sed -n "s/^ \* $2: //p; /\*\//q" "$top/tests/subjects/${1%%.*}.c"
}

# Start it, with what it needs, and see that it is as it says.
begin()
{
	local args=()
	[ "$needs" != tty ] || args=("${ttys[0]}")
	start_subject "$name" "${args[@]}" || return
	[ -e "$DIR/ready" ] || return
	[ -z "$state" ] || wait_for 5 is_state "$state"
}

is_state()
{
	[ "$(state_of "$PID")" = "$1" ]
}

revive()
{
	local opts=("${@:2}")
	[ "$needs" != tty ] || opts+=("tty=${ttys[1]}")
	restore "$PID" "$1" "${opts[@]}" || return
	[ -z "$state" ] || wait_for 2 is_state "$state" || {
		echo "restored in state $(state_of "$PID"), not $state"
		return 1
	}
}

# What $name says of itself: needs, state, clones.
traits()
{
	clones=$(trait "$name" clones)
	needs=$(trait "$name" needs)
	state=$(trait "$name" state)
}

# The two terminals that those get which need one.
start_ttys()
{
	"$TOOLS/pty" "$WORK/ttys" 2 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PIDS+=($!)
	wait_for 5 test -e "$WORK/ttys" || die "no terminals"
	mapfile -t ttys <"$WORK/ttys"
}

# Whatever a phase that failed has left; the first is the one with the terminals.
end_all()
{
	local p
	for p in "${PIDS[@]:1}"; do
		gone "$p" || kill9 "$p"
		forget "$p"
	done
}
