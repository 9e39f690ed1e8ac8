#!/bin/bash
# taken.sh - what a process had is another's by now, or is gone: a port, an
# address, the other end of a socket, connections that nobody had accepted.

[ -n "${IN_NET-}" ] || IN_NET=yes exec unshare -n -- "$0" "$@"
. "$(dirname "$0")/lib.sh"
need_root
command -v python3 >/dev/null || skip_all "no python3"
command -v ip >/dev/null || skip_all "no ip"
ip link set lo up || skip_all "no network namespace"

mount_snapfs

# usage: serve PYTHON...: PID runs it, with s as what it keeps open
serve()
{
	rm -rf "$WORK/image" "$WORK/up"
	python3 -c "
import socket, sys, time
$1
open('$WORK/up', 'w').close()
while True: time.sleep(0.05)" </dev/null >"$WORK/serve.log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/up" || { cat "$WORK/serve.log"; return 1; }
}

listen()
{
	serve "s = socket.socket(); s.bind(('$1', 4711)); s.listen(3)"
}

runs_again()
{
	local pid=$1
	shift
	restore "$pid" "$WORK/image" "$@" || return
	sleep 0.1
	gone "$pid" && { echo "it does not run on"; return 1; }
	kill9 "$pid"
}

port_taken()
{
	local pid
	listen 127.0.0.1 && copy "$PID" "$WORK/image" && kill9 "$PID" || return
	pid=$PID
	mv "$WORK/image" "$WORK/kept"
	listen 127.0.0.1 || return
	mv "$WORK/kept" "$WORK/image"
	refused EADDRINUSE "$WORK/image" || return
	[[ $ANSWER == *fd\ *4711* ]] || { echo "it says: $ANSWER"; return 1; }
	free_pid "$pid" || { echo "something of it is left"; return 1; }
	gone "$PID" && { echo "who has it was harmed"; return 1; }
	kill9 "$PID" && runs_again "$pid"
}
t "a port that another has" port_taken

address_gone()
{
	ip addr add 192.0.2.77/32 dev lo || return
	listen 192.0.2.77 && copy "$PID" "$WORK/image" && kill9 "$PID" || return
	ip addr del 192.0.2.77/32 dev lo || return
	refused EADDRNOTAVAIL "$WORK/image" || return
	[[ $ANSWER == *fd\ *192.0.2.77* ]] || { echo "it says: $ANSWER"; return 1; }
	free_pid "$PID" || { echo "something of it is left"; return 1; }
	ip addr add 192.0.2.77/32 dev lo && runs_again "$PID"
}
t "an address that is gone" address_gone

# Of a pair that the process had, one is taken out of the image.
other_end()
{
	local fd
	serve "s = socket.socketpair(); s[0].send(b'abc')" &&
	    copy "$PID" "$WORK/image" && kill9 "$PID" || return
	chmod -R u+w "$WORK/image"
	fd=$(grep -l '^kind: unix' "$WORK/image/fdinfo/"* | head -n 1)
	fd=${fd##*/}
	rm "$WORK/image/fd/$fd" "$WORK/image/fdinfo/$fd"
	grep -v "  fdinfo/$fd\$" "$WORK/image/xxh128sums" >"$WORK/sums"
	cat "$WORK/sums" >"$WORK/image/xxh128sums"
	refused 'EBADMSG|EOPNOTSUPP' "$WORK/image" || return
	[[ $ANSWER == *"other end"* ]] || { echo "it says: $ANSWER"; return 1; }
	free_pid "$PID" || { echo "something of it is left"; return 1; }
}
t "a socket whose other end is missing" other_end

not_accepted()
{
	local client
	serve "s = socket.socket(socket.AF_UNIX); s.bind('$WORK/sock'); s.listen(3)" || return
	python3 -c "
import socket, time
s = socket.socket(socket.AF_UNIX); s.connect('$WORK/sock')
open('$WORK/client', 'w').close()
time.sleep(300)" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	client=$!
	PIDS+=("$client")
	wait_for 10 test -e "$WORK/client" || return
	cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q '^connections to fd [0-9]*: 1 of them' "$WORK/image/unsupported" || {
		echo "unsupported: $(<"$WORK/image/unsupported")"
		return 1
	}
	kill9 "$PID" && kill9 "$client" || return
	refused EOPNOTSUPP "$WORK/image" || return
	[[ $ANSWER == *"wait to be accepted"* ]] || { echo "it says: $ANSWER"; return 1; }
	runs_again "$PID" ignore=connections
}
t "connections that nobody has accepted" not_accepted

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
