# real_lib.sh - a program that computes something, alone or as a tree of
# processes, copied, killed and restored twice on its way, must print what an
# undisturbed run prints.
#
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/tree_lib.sh"

# The program runs in a directory of its own, with its output in files.
# usage: launch DIR COMMAND...
launch()
{
	local dir=$1
	shift
	mkdir -p "$dir"
	(cd "$dir" && exec "$@" </dev/null >out 2>err 3>&- 9>&-) &
	PID=$!
	PIDS+=("$PID")
}

ended()
{
	gone "$PID"
}

# The undisturbed run: out.
# usage: undisturbed COMMAND...
undisturbed()
{
	local began=$EPOCHREALTIME
	launch "$WORK/calm" "$@"
	wait "$PID" || { cat "$WORK/calm/err"; die "it fails on its own"; }
	forget "$PID"
	took_ms=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
	[ "$took_ms" -gt 700 ] || echo "only $took_ms ms: not much of a test"
}

# Copy, kill, restore, twice, on its way; then let it end.  The machine may be
# faster now than it was in the undisturbed run.
# usage: disturbed COMMAND...
disturbed()
{
	local ms
	for ms in $((took_ms / 4)) $((took_ms / 8)) $((took_ms / 20)); do
		rm -rf "$WORK/hit" "$WORK"/image?
		twice "$ms" "$@" && return
		[ "$early" = yes ] || return
	done
	echo "it always ended too early"
	return 1
}

# It was done before it could be copied; what it had was to be stopped, perhaps.
ended_well()
{
	gone "$PID" || return
	wait "$PID" 2>/dev/null
	forget "$PID"
	[ ${#STOPPED[@]} = 0 ] || kill -CONT "${STOPPED[@]}" 2>/dev/null
	compare 2>/dev/null
}

# usage: twice MS COMMAND...
twice()
{
	local i nap
	printf -v nap '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
	shift
	early=no
	launch "$WORK/hit" "$@"
	for i in 1 2; do
		STOPPED=()
		sleep "$nap"
		if gone "$PID"; then
			wait "$PID" 2>/dev/null
			forget "$PID"
			early=yes
			return 1
		fi
		again "$WORK/image$i" || { ended_well && early=yes; return 1; }
		rm -rf "${WORK:?}/image$i"
	done
	wait_for 60 ended || { echo "it does not end"; return 1; }
	forget "$PID"
	[ ! -s "$WORK/hit/err" ] || { cat "$WORK/hit/err"; return 1; }
	compare || return
}

# Copy, kill, restore: a script may have its own way.
# usage: again IMAGE
again()
{
	copy_tree "$PID" "$1" && fell "$PID" && restore "$PID" "$1"
}

compare()
{
	cmp "$WORK/calm/out" "$WORK/hit/out"
}

# usage: real NAME COMMAND...
real()
{
	local name=$1
	shift
	rm -rf "$WORK/calm" "$WORK/hit"
	undisturbed "$@"
	t "$name" disturbed "$@"
}

need_root
mount_snapfs
