#!/bin/bash
# ignore.sh - what `unsupported` names is refused, unless ignore= names it.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs freeze_timeout=20

# Its peer is another process; it says what becomes of the connection.
cat >"$WORK/client.py" <<'END'
import os, select, socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print("ready", s.fileno(), flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
try:
    got = "end" if s.recv(1) == b"" else "bytes"
except OSError as e:
    got = type(e).__name__
try:
    s.send(b"x")
    sent = "sent"
except OSError as e:
    sent = type(e).__name__
p = select.poll()
p.register(s)
hup = bool(p.poll(0)[0][1] & select.POLLHUP)
print(got, sent, hup, flush=True)
END
/usr/bin/python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(9)
keep = []
while True:
    keep.append(s.accept())' "$WORK/peer" </dev/null 3>&- 9>&- &
PIDS+=($!)
wait_for 10 test -S "$WORK/peer" || die "no peer"

begin()
{
	rm -rf "$WORK/image" "$WORK/go" "$WORK/out"
	/usr/bin/python3 "$WORK/client.py" "$WORK/peer" "$WORK/go" </dev/null \
	    >"$WORK/out" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 grep -q ready "$WORK/out" || return
	fd=$(sed -n 's/^ready //p' "$WORK/out")
	cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q "^fd $fd: .*another process" "$WORK/image/unsupported" || {
		cat "$WORK/image/unsupported"
		return 1
	}
	[ "$(wc -l <"$WORK/image/unsupported")" = 1 ] || return
	kill9 "$PID"
}

# It is told that its partner has left.
is_dead()
{
	[[ $ANSWER == *"without fd $fd"* && $ANSWER != *ignore=* ]] ||
	    { echo "$ANSWER"; return 1; }
	: >"$WORK/go"
	wait_for 10 gone "$PID" || return
	forget "$PID"
	[ "$(tail -n 1 "$WORK/out")" = "end BrokenPipeError True" ] || {
		cat "$WORK/out"
		return 1
	}
}

named()
{
	begin || return
	refused EOPNOTSUPP "$WORK/image" || return
	[[ $ANSWER == *"fd $fd: "*"ignore=fd $fd"* ]] || { echo "$ANSWER"; return 1; }
	refused EOPNOTSUPP "$WORK/image" "ignore=fd $((fd + 1))" || return
	refused EOPNOTSUPP "$WORK/image" "ignore=vma" || return
	refused EOPNOTSUPP "$WORK/image" "ignore=fd ${fd}0" || return
	restore "$PID" "$WORK/image" "ignore=vma" "ignore=fd $fd" || return
	is_dead
}
t "a descriptor by its number" named

kind()
{
	begin || return
	restore "$PID" "$WORK/image" ignore=fd || return
	is_dead
}
t "all descriptors" kind

# What can be opened again is, whether or not it may be missing.
needless()
{
	local line
	begin || return
	ln -sf /dev/null "$WORK/image/fd/$fd"
	restore "$PID" "$WORK/image" ignore=fd || return
	[[ $ANSWER != *without* ]] || { echo "$ANSWER"; return 1; }
	readlink "/proc/$PID/fd/$fd" | grep -qx /dev/null || return
	kill9 "$PID"
}
t "nothing that could be opened" needless

# A line that is no descriptor's.
line()
{
	begin || return
	chmod -R u+w "$WORK/image"
	echo "weather: it rains" >"$WORK/image/unsupported"
	reseal "$WORK/image" unsupported
	ln -sf /dev/null "$WORK/image/fd/$fd"
	refused EOPNOTSUPP "$WORK/image" || return
	[[ $ANSWER == *"weather: it rains"*ignore=weather* ]] || return
	restore "$PID" "$WORK/image" ignore=weather || return
	[[ $ANSWER == *"without weather"* ]] || { echo "$ANSWER"; return 1; }
	kill9 "$PID"
}
t "whatever the image says is missing" line

forged()
{
	begin || return
	chmod -R u+w "$WORK/image"
	echo "ignored: 1" >>"$WORK/image/fdinfo/$fd"
	reseal "$WORK/image" "fdinfo/$fd"
	refused EBADMSG "$WORK/image"
}
t "an image that wants to be ignored" forged

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
