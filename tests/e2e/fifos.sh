#!/bin/bash
# fifos.sh - a process with FIFOs of which another process, outside the tree,
# has the other end: the two are connected again, and nothing is lost or there
# twice.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs

is_in()
{
	[ "$(state_of "$PID")" = "$1" ]
}

# usage: begin COMMAND...: PID, with FIFOs `in', ours at 7, and `out', at 8;
# it has handed on `x', and is stopped with `a' before it.
begin()
{
	rm -rf "$WORK/in" "$WORK/out" "$WORK/image"
	mkfifo "$WORK/in" "$WORK/out"
	exec 7<>"$WORK/in" 8<>"$WORK/out"
	"$@" <"$WORK/in" >"$WORK/out" 2>/dev/null 3>&- 7>&- 8>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	echo x >&7
	wait_for 10 waits 8 || { echo "nothing is handed on"; return 1; }
	wait_for 10 is_in S && kill -STOP "$PID" && wait_for 10 is_in T || return
	echo a >&7
	cp -r "$MNT/$PID" "$WORK/image" || return
	[ ! -s "$WORK/image/unsupported" ] || {
		cat "$WORK/image/unsupported"
		return 1
	}
}

# Is there something to be read?
waits()
{
	read -r -t 0 -u "$1"
}

# usage: reads LINE...: that is what comes out, and nothing more
reads()
{
	local line want
	for want; do
		read -r -t 20 -u 8 line || { echo "no $want"; return 1; }
		[ "$line" = "$want" ] || { echo "$line, not $want"; return 1; }
	done
	! waits 8 || { echo "there is more"; return 1; }
}

connected()
{
	begin cat && kill9 "$PID" && restore "$PID" "$WORK/image" || return
	kill -CONT "$PID"
	echo b >&7
	reads x a b || return
	# It is the last that reads one, and the only one that writes the other.
	kill9 "$PID"
	exec 7>&- 8>&-
}
t "what waited, and what comes after" connected

again()
{
	begin cat && kill9 "$PID" && restore "$PID" "$WORK/image" || return
	rm -rf "$WORK/image"
	cp -r "$MNT/$PID" "$WORK/image" || return
	kill9 "$PID" && echo b >&7 && restore "$PID" "$WORK/image" || return
	kill -CONT "$PID"
	reads x a b || return
	kill9 "$PID"
	exec 7>&- 8>&-
}
t "from a checkpoint of the restored one" again

read_meanwhile()
{
	begin cat || return
	kill -CONT "$PID"
	reads x a && kill9 "$PID" || return
	echo b >&7
	refused ESTALE "$WORK/image" || return
	[[ $ANSWER == *"$WORK/in"* ]] || { echo "$ANSWER"; return 1; }
	gone "$PID" && waits 7 && exec 7>&- 8>&-
}
t "read meanwhile, and others wait" read_meanwhile

nobody()
{
	begin sh -c 'while read -r x; do echo "$x" >&2; echo "$x"; done' &&
	    kill9 "$PID" || return
	exec 7>&- 8>&-
	rm "$WORK/image/fd/2" && ln -s "$WORK/told" "$WORK/image/fd/2" || return
	: >"$WORK/told"
	restore "$PID" "$WORK/image" || return
	kill -CONT "$PID"
	wait_for 10 gone "$PID" || { echo "nobody reads, and it goes on"; return 1; }
	forget "$PID"
	[ "$(cat "$WORK/told")" = a ] || { cat "$WORK/told"; return 1; }
}
t "who had it open has gone" nobody

no_fifo()
{
	begin cat && kill9 "$PID" || return
	exec 7>&- 8>&-
	rm "$WORK/in" && refused ENOENT "$WORK/image" || return
	: >"$WORK/in"
	refused ESTALE "$WORK/image"
}
t "its name is gone, or another file's" no_fifo

# The tree has both ends, and so has somebody outside, who wrote: what waits is
# there once, and is not mixed with what was written since.
both_ends()
{
	rm -rf "$WORK/in" "$WORK/image"
	mkfifo "$WORK/in"
	exec 7<>"$WORK/in"
	sleep 1000 <>"$WORK/in" >/dev/null 2>&1 3>&- 7>&- 8>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 grep -qx sleep "/proc/$PID/comm" || return
	echo a >&7
	cp -r "$MNT/$PID" "$WORK/image" || return
	[ ! -s "$WORK/image/unsupported" ] || return
	kill9 "$PID" && restore "$PID" "$WORK/image" || return
	read -r -t 0 -u 7 && read -r -t 5 -u 7 line && [ "$line" = a ] || return
	read -r -t 0 -u 7 && { echo "it is there twice"; return 1; }
	kill9 "$PID" || return
	echo b >&7
	refused EBUSY "$WORK/image" || return
	[[ $ANSWER == *"another process uses"* ]] || { echo "$ANSWER"; return 1; }
	# Nobody has it open: it is filled again.
	exec 7>&-
	restore "$PID" "$WORK/image" || return
	read -r -t 5 line <"$WORK/in" && [ "$line" = a ] && kill9 "$PID"
}
t "both ends in the tree, and outside" both_ends

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
