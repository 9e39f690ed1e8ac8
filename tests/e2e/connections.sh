#!/bin/bash
# connections.sh - connections of TCP to other processes: the original notices
# nothing, `replace` moves them without their peers' hearing of it, one that
# has gone on is not lost, and a daemon that is killed leaves them whole.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs freeze_timeout=20

cat >"$WORK/server.py" <<'END'
import selectors, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(50)
print(s.getsockname()[1], flush=True)
sel = selectors.DefaultSelector()
sel.register(s, selectors.EVENT_READ)
n = 0
while True:
    for key, _ in sel.select():
        if key.fileobj is s:
            c, _ = s.accept()
            sel.register(c, selectors.EVENT_READ)
            continue
        try:
            d = key.fileobj.recv(65536)
        except ConnectionError:
            d = b""
        if not d:
            sel.unregister(key.fileobj)
            key.fileobj.close()
            continue
        n += 1
        key.fileobj.sendall(b"%d " % n + d)
END

# A client in this shell: descriptor 7.
begin()
{
	rm -f "$WORK/port"
	/usr/bin/python3 "$WORK/server.py" </dev/null >"$WORK/port" 2>"$WORK/err" 3>&- 9>&- &
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

finish()
{
	exec 7>&-
	kill9 "$PID"
	rm -rf "$WORK/image"
}

unharmed()
{
	local i
	begin || return
	for i in {2..20}; do
		cat "$MNT/$PID/status" >/dev/null || return
		said "w$i" "$i w$i" || return
	done
	finish
}
t "a connection is looked at, and goes on" unharmed

replaced()
{
	local i
	begin || return
	for i in 2 3; do
		copy "$PID" "$WORK/image" || return
		restore "$PID" "$WORK/image" replace || return
		said "w$i" "$i w$i" || return
		rm -rf "$WORK/image"
	done
	finish
}
t "replace: the peer notices nothing" replaced

gone_on()
{
	begin || return
	copy "$PID" "$WORK/image" || return
	said two '2 two' || return
	refused ESTALE "$WORK/image" replace || return
	[[ $ANSWER == *'has gone on since'* ]] || { echo "$ANSWER"; return 1; }
	said three '3 three' || return
	finish
}
t "one that has gone on: refused, and unharmed" gone_on

# usage: plan N [KILL]: kill whoever sets the Nth option of a socket
plan()
{
	/usr/bin/python3 -c 'import struct, sys
sys.stdout.buffer.write(struct.pack("=IIiIQQ48s48s", 32, int(sys.argv[2]), 0, 0,
    int(sys.argv[1]), 0, b"", b""))' "$1" "${2-1}" >"$WORK/plan"
}

# At every step until the old process is killed: it was never stopped, and no
# connection of it is mute.
replacer_killed()
{
	local i n=2
	begin || return
	for ((i = 1; i < 100; i++)); do
		copy "$PID" "$WORK/image" && plan $i || return
		SNAPFS_FAULT_PLAN=$WORK/plan "$TOOLS/snapcore-restore" \
		    "$WORK/image" replace >"$WORK/replacer" 2>&1 3>&- 9>&-
		! gone "$PID" || break
		no_strays 10 || return
		said "w$n" "$n w$n" || { echo "killed at $i"; return 1; }
		n=$((n + 1))
		rm -rf "$WORK/image"
	done
	[ $i -ge 8 ] && [ $i -lt 100 ] || { echo "$i steps"; cat "$WORK/replacer"; return 1; }
	finish
}
t "replace is killed before it kills" replacer_killed

# What arrives after the checkpoint, and nobody reads, is there; so is who
# connects.
arrived()
{
	local line
	begin || return
	kill -STOP "$PID"
	wait_for 5 is_stopped || return
	copy "$PID" "$WORK/image" || return
	echo two >&7
	exec 8<>"/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	echo three >&8
	restore "$PID" "$WORK/image" replace || return
	wait_for 5 is_stopped || return
	kill -CONT "$PID"
	read -r -t 10 line <&7 || { echo "no answer"; return 1; }
	[[ $line == [23]' two' ]] || { echo "answer: $line"; return 1; }
	read -r -t 10 line <&8 || { echo "no answer to whoever connected"; return 1; }
	[[ $line == [23]' three' ]] || { echo "answer: $line"; return 1; }
	said four '4 four' || return
	exec 8>&-
	finish
}

is_stopped()
{
	[ "$(state_of "$PID")" = T ]
}
t "replace: what has arrived since, and who has connected, is there" arrived

# What was sent while nobody was there comes when somebody is.
blocked()
{
	local port line
	command -v nft >/dev/null || { echo "nft is not installed"; return 77; }
	begin || return
	port=$(<"$WORK/port")
	nft -f - <<-END || { echo "nft does not work here"; return 77; }
		table inet snapfs_test_$$ {
			chain in { type filter hook input priority -1;
				tcp dport $port drop; }
			chain out { type filter hook output priority -1;
				tcp sport $port drop; }
		}
	END
	copy "$PID" "$WORK/image" && kill9 "$PID" &&
	    echo two >&7 && restore "$PID" "$WORK/image"
	local rc=$?
	nft delete table inet "snapfs_test_$$"
	[ $rc = 0 ] || return
	read -r -t 20 line <&7 || { echo "no answer"; return 1; }
	[ "$line" = '2 two' ] || { echo "answer: $line"; return 1; }
	said three '3 three' || return
	finish
}
t "killed behind a filter, and restored" blocked

# The peer heard of the end: the server goes on, and tells so to nobody.
reset()
{
	begin || return
	copy "$PID" "$WORK/image" || return
	kill9 "$PID" || return
	restore "$PID" "$WORK/image" || return
	exec 7>&-
	exec 7<>"/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	said two '2 two' || return
	finish
}
t "killed and restored: its clients come again" reset

# Kill the daemon in the middle of a hundred looks at the connection.
daemon_killed()
{
	local i n=2
	begin || return
	for ((i = 0; i < 8; i++)); do
		(while cat "$MNT/$PID/status" >/dev/null 2>&1; do :; done) 2>/dev/null 3>&- 9>&- &
		local reader=$!
		sleep "0.0$((i * 7 % 10))$((i * 3 % 10))"
		kill -9 "$DAEMON"
		wait "$DAEMON" 2>/dev/null
		umount -l "$MNT"
		wait "$reader" 2>/dev/null
		said "w$n" "$n w$n" || return
		n=$((n + 1))
		mount_snapfs freeze_timeout=20
	done
	finish
}
t "the daemon is killed while it looks" daemon_killed

halted_or_gone()
{
	[ "$(state_of "$1")" = T ] || gone "$1"
}

# Both who would put it right are killed, at every step: the next sweep does.
guard_killed_too()
{
	local i n=2 taker guard
	begin || return
	for ((i = 1; i < 40; i++)); do
		plan $i 2 || return
		SNAPFS_FAULT_PLAN=$WORK/plan "$TOOLS/snapcore-take" "$PID" - \
		    </dev/null >"$WORK/taker" 2>&1 3>&- 9>&- &
		taker=$!
		PIDS+=("$taker")
		wait_for 10 halted_or_gone "$taker" || { echo "it hangs"; return 1; }
		! gone "$taker" || break
		guard=$(pgrep -P "$taker" -x snapfs-guard)
		# shellcheck disable=SC2086  # pids
		kill -9 $guard "$taker"
		wait "$taker" 2>/dev/null
		forget "$taker"
		"$TOOLS/snapcore-take" -s || return
		said "w$n" "$n w$n" || { echo "killed at $i"; return 1; }
		n=$((n + 1))
	done
	wait "$taker" 2>/dev/null
	forget "$taker"
	[ $i -ge 5 ] && [ $i -lt 40 ] || { echo "$i steps"; cat "$WORK/taker"; return 1; }
	finish
}
t "its guard is killed with it" guard_killed_too

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
