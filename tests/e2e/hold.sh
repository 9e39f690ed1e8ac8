#!/bin/bash
# hold.sh - `.hold`: the original of a checkpoint stays frozen at its instant
# while the file is open; then it goes on as if nothing had been, or it was
# ended in silence.  Whoever dies, it goes on.

. "$(dirname "$0")/lib.sh"
need_root
chmod 755 "$WORK"
mount_snapfs freeze_timeout=10

# usage: says WORD...
says()
{
	[ "$(cut -d ' ' -f 1 "$MNT/$PID/.hold")" = "$1" ] || {
		echo ".hold says $(cat "$MNT/$PID/.hold"), not $1"
		return 1
	}
}

held()
{
	counter && says none && exec 8>"$MNT/$PID/.hold" && says waits || return
	counts || { echo "to open .hold holds nothing"; return 1; }
	cp -r "$MNT/$PID" "$WORK/image" 8>&- || return
	says held && stands || return
	grep -q "^hold: pid $PID holder $$ held processes 1 " "$MNT/.status" ||
	    { grep ^hold "$MNT/.status"; return 1; }
	# Others are told so; nothing is taken of it meanwhile.
	cat "$MNT/$PID/maps" 2>"$WORK/err" >/dev/null 8>&- &&
	    { echo "another checkpoint was taken"; return 1; }
	grep -q 'busy' "$WORK/err" || { cat "$WORK/err"; return 1; }
	tail -n 1 "$MNT/.log" | grep -q "$PID: it is held for somebody" ||
	    { tail -n 3 "$MNT/.log"; return 1; }
	mkdir "$MNT/$PID@x" 2>/dev/null && { echo "mkdir did"; return 1; }
	stands || return
	exec 8>&-
	wait_for 5 counts && expect_untouched "$PID" && says none || return
	# Its next checkpoint holds nothing.
	cat "$MNT/$PID/maps" >/dev/null && counts || return
	# The image is of the instant at which it stood.
	kill9 "$PID" && restore "$PID" "$WORK/image" && wait_for 5 counts &&
	    kill9 "$PID" && rm -rf "$WORK/image"
}
t "held, and goes on when .hold is closed" held

ended()
{
	counter && exec 8>"$MNT/$PID/.hold" || return
	cp -r "$MNT/$PID" "$WORK/image" 8>&- && stands || return
	echo end >&8 || { tail -n 3 "$MNT/.log"; return 1; }
	wait "$PID" 2>/dev/null
	wait_for 5 free_pid "$PID" || { echo "it is there"; return 1; }
	echo end >&8 2>/dev/null && { echo "ended twice"; return 1; }
	exec 8>&-
	restore "$PID" "$WORK/image" && wait_for 5 counts && kill9 "$PID" &&
	    rm -rf "$WORK/image"
}
t "ended while it is held, and lives again from the image" ended

# A held increment that has no twin: of the process as it stands, and a link.
increment_held()
{
	counter && echo on >"$MNT/$PID/.track" || return
	rm -rf "$WORK/chain"
	mkdir "$WORK/chain" && cp -r "$MNT/$PID" "$WORK/chain/d0" &&
	    counted "$WORK/chain/d0" || return
	exec 8>"$MNT/$PID/.hold"
	cp -r "$MNT/$PID/delta" "$WORK/chain/d1" 8>&- && says held && stands || return
	grep -q ' copied 1\b' "$MNT/$PID/.track" ||
	    { cat "$MNT/$PID/.track"; return 1; }
	[ "$1" = go ] || echo "$1" >&8 || return
	exec 8>&-
	if [ "$1" = end ]; then
		wait "$PID" 2>/dev/null
	else
		wait_for 5 counts && counted "$WORK/chain/d1" &&
		    cp -r "$MNT/$PID/delta" "$WORK/chain/d2" &&
		    kill9 "$PID" || return
	fi
	restore "$PID" "$WORK/chain/d$2" && wait_for 5 counts && kill9 "$PID" &&
	    rm -rf "$WORK/chain"
}
t "held for an increment that is copied, and goes on" increment_held go 2
t "ended after an increment that is copied, and lives again" increment_held end 1

# A holder of its own process: usage: hold_apart SECONDS
hold_apart()
{
	rm -f "$WORK/said"
	bash -c 'exec 8>"$1/.hold" && cat "$1/maps" >/dev/null 8>&- && echo held &&
	    exec sleep "$2"' - "$MNT/$PID" "$1" >"$WORK/said" 2>&1 3>&- 9>&- &
	HOLDER=$!
	PIDS+=("$HOLDER")
	wait_for 10 test -s "$WORK/said" && grep -q held "$WORK/said" ||
	    { cat "$WORK/said"; return 1; }
}

holder_killed()
{
	counter && hold_apart 60 && stands || return
	kill9 "$HOLDER" && wait_for 5 counts && expect_untouched "$PID" &&
	    kill9 "$PID"
}
t "its holder is killed: it goes on" holder_killed

# Nothing that was waited for is interrupted, and its threads are all there.
# usage: daemon_killed SUBJECT
daemon_killed()
{
	start_subject "$1" || return
	hold_apart 60 && [ "$(state_of "$PID")" = t ] ||
	    { echo "not held: $(state_of "$PID")"; return 1; }
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	kill9 "$HOLDER"
	wait_for 5 untraced "$PID" || return
	umount -l "$MNT"
	DAEMON=
	mount_snapfs freeze_timeout=10
	check_subject survived
}
t "the daemon is killed: it goes on (epoll_wait)" daemon_killed call_epoll
t "the daemon is killed: it goes on (sigtimedwait)" daemon_killed call_sigtimedwait
t "the daemon is killed: it goes on (threads)" daemon_killed thr_many

unmounted()
{
	local rc=0
	counter && hold_apart 60 && stands || return
	kill -TERM "$DAEMON"
	wait_for 10 gone "$DAEMON" || rc=1
	wait "$DAEMON"
	umount -l "$MNT" 2>/dev/null
	DAEMON=
	kill9 "$HOLDER"
	wait_for 5 counts || { echo "it stands"; rc=1; }
	kill9 "$PID"
	mount_snapfs freeze_timeout=10
	return $rc
}
t "the daemon ends: it goes on" unmounted

# It and all below it: either all go on, or all end.
tree()
{
	local p all
	start_subject tree_fork && exec 8>"$MNT/$PID/.hold" &&
	    cp -r "$MNT/$PID" "$WORK/image" 8>&- || return
	all=$(family "$PID")
	for p in $all; do
		[[ $(state_of "$p") = [tZ] ]] || [[ $(cat "/proc/$p/comm") = snapfs* ]] ||
		    { echo "$p is not held: $(state_of "$p")"; return 1; }
	done
	[ "$1" = end ] || {
		exec 8>&-
		check_subject survived && rm -rf "$WORK/image"
		return
	}
	echo end >&8 || return
	exec 8>&-
	wait "$PID" 2>/dev/null
	for p in $all; do
		wait_for 5 gone "$p" || { echo "$p is there"; return 1; }
	done
	restore "$PID" "$WORK/image" && check_subject restored &&
	    rm -rf "$WORK/image"
}
t "a tree is held, and goes on" tree release
t "a tree is ended, and lives again" tree end

# Whoever is below the process that he holds is left out of it.
from_below()
{
	bash -c 'bash -c '\''exec 8>"$0/$1/.hold" &&
	    cat "$0/$1/checkpoint" >"$2" 8>&- && cat "$0/$1/.hold" >"$3"
	    '\'' "$1" $$ "$2/image" "$2/said"; echo done >>"$2/said"' - "$MNT" \
	    "$WORK" 3>&- 9>&- || return
	grep -q '^held by' "$WORK/said" && grep -q done "$WORK/said" || {
		cat "$WORK/said"
		return 1
	}
	rm -f "$WORK/image"
	bash -c 'exec 8>"$1/$$/.hold"' - "$MNT" 2>"$WORK/err" &&
	    { echo "it holds itself"; return 1; }
	grep -q deadlock "$WORK/err" || { cat "$WORK/err"; return 1; }
}
t "held by a process below it; not by itself" from_below

# usage: fails SENTENCE COMMAND
fails()
{
	bash -c "$2" 2>"$WORK/err" && { echo "$2: done"; return 1; }
	grep -q "$1" "$WORK/err" || { cat "$WORK/err"; return 1; }
}

refused_requests()
{
	counter && exec 8>"$MNT/$PID/.hold" || return
	fails 'No such process' 'echo end >&8' &&
	    fails 'Invalid argument' 'echo en >&8' &&
	    fails 'Invalid argument' 'echo ending >&8' &&
	    fails 'busy' "exec 9>$MNT/$PID/.hold" &&
	    fails 'No such file' "exec 9>$MNT/999999/.hold" || return
	setpriv --reuid 65534 --regid 65534 --clear-groups \
	    bash -c ": >$MNT/$PID/.hold" 2>/dev/null &&
	    { echo "nobody may hold it"; return 1; }
	# Whoever has fewer rights than the reader does not get his checkpoint.
	counts || return
	exec 8>&-
	says none && kill9 "$PID" || return
	ls "$MNT/$$" | grep -q hold && { echo ".hold is listed"; return 1; }
	return 0
}
t "what is refused" refused_requests

# Of another user's holder nothing of root's is frozen.
lesser_holder()
{
	rm -f "$WORK/said"
	setpriv --reuid 65534 --regid 65534 --clear-groups sleep 60 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 test "$(stat -c %u /proc/$PID)" = 65534
	setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '
	    exec 8>"$1/.hold" && echo open && exec sleep 60' - "$MNT/$PID" \
	    >"$WORK/said" 2>&1 3>&- 9>&- &
	HOLDER=$!
	PIDS+=("$HOLDER")
	wait_for 10 test -s "$WORK/said" && grep -q open "$WORK/said" ||
	    { cat "$WORK/said"; return 1; }
	cat "$MNT/$PID/maps" >/dev/null && says waits && expect_untouched "$PID" ||
	    return
	kill9 "$HOLDER" && kill9 "$PID"
}
t "a holder with fewer rights than the reader has none of his" lesser_holder

killed_meanwhile()
{
	counter && exec 8>"$MNT/$PID/.hold" &&
	    cat "$MNT/$PID/maps" >/dev/null 8>&- || return
	kill -9 "$PID"
	exec 8>&-
	wait "$PID" 2>/dev/null
	wait_for 5 free_pid "$PID" || { echo "it does not end"; return 1; }
	forget "$PID"
}
t "killed by somebody else while it is held" killed_meanwhile

cat >"$WORK/server.py" <<'END_OF'
import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(5)
print(s.getsockname()[1], flush=True)
c, _ = s.accept()
n = 0
while True:
    d = c.recv(65536)
    if not d:
        break
    n += 1
    c.sendall(b"%d " % n + d)
END_OF

connect()
{
	rm -f "$WORK/port"
	/usr/bin/python3 "$WORK/server.py" </dev/null >"$WORK/port" 2>"$WORK/err" \
	    3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -s "$WORK/port" || { cat "$WORK/err"; return 1; }
	exec 7<>"/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	said one '1 one'
}

# usage: said WORD ANSWER
said()
{
	local line
	echo "$1" >&7
	read -r -t 10 line <&7 || { echo "no answer to $1"; return 1; }
	[ "$line" = "$2" ] || { echo "answer to $1: $line"; return 1; }
}

connection()
{
	connect && exec 8>"$MNT/$PID/.hold" || return
	cp -r "$MNT/$PID" "$WORK/image" 8>&- 7>&- && echo end >&8 || return
	exec 8>&-
	wait "$PID" 2>/dev/null
	restore "$PID" "$WORK/image" && said two '2 two' || return
	exec 7>&-
	kill9 "$PID" && rm -rf "$WORK/image"
}
t "ended with a connection: the peer notices nothing" connection

# What came since the instant would be lost: it goes on.
gone_on()
{
	connect && exec 8>"$MNT/$PID/.hold" || return
	cp -r "$MNT/$PID" "$WORK/image" 8>&- 7>&- || return
	echo two >&7
	fails 'Stale' 'echo end >&8' || return
	says held || return
	exec 8>&-
	read -r -t 10 line <&7 && [ "$line" = '2 two' ] && said three '3 three' ||
	    { echo "answer: $line"; return 1; }
	exec 7>&-
	kill9 "$PID" && rm -rf "$WORK/image"
}
t "a connection that has gone on: not ended" gone_on

t "no stray process" no_strays
t "unmounted" unmount_snapfs
[ $TEST_FAILED = no ]
