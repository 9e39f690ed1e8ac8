#!/bin/bash
# time_left.sh - an image says what is left of a sleep, also where the program
# gave the kernel no place to write it to (nanosleep(ts, NULL), futex, poll),
# or where the kernel does not keep it (epoll_wait).  In the original that one
# ends when it would have, too.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs

# usage: sleeper C-LIKE-CALL: a process blocked for 1000 s.  PID
sleeper()
{
	python3 -c "
import ctypes, os
os.closerange(3, 256)
libc = ctypes.CDLL(None)
ts = (ctypes.c_long * 2)(1000, 0)
word = ctypes.c_int(0)
fds = (ctypes.c_int * 2)(-1, 0)
$1" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 asleep
}

asleep()
{
	local w
	w=$(cat "/proc/$PID/wchan")
	[[ $w == *nanosleep* || $w == *futex* || $w == *poll* ]] ||
	    [ "$(cut -d' ' -f1 "/proc/$PID/syscall")" = "$NR" ]
}

# It has slept for two seconds, of which the kernel may not know the first (a
# busy CPU notes later that it went to sleep); or more.  Where waking took so
# long that it may have been elsewhere, the image has the whole time: rare, and
# not five times in a row.
left()
{
	local ns i
	NR=$1
	sleeper "$2" || { echo "it does not sleep"; return 1; }
	for i in 1 2 3 4 5; do
		sleep 2
		ns=$(sed -n 's/^restart-left-ns: //p' "$MNT/$PID/regs")
		echo "left: $ns ns"
		[ "$ns" = 1000000000000 ] || break
	done
	kill9 "$PID"
	[ "$ns" -le 999500000000 ] && [ "$ns" -ge 980000000000 ]
}

t nanosleep left 35 'libc.syscall(35, ts, None)'
t futex left 202 'libc.syscall(202, ctypes.byref(word), 0, 0, ts, None, 0)'
t poll left 7 'libc.syscall(7, None, 0, 1000000)'
t epoll left 232 'libc.syscall(232, libc.epoll_create1(0), ctypes.create_string_buffer(16), 1, 1000000)'

# usage: timeouts THREADS MS: it runs, its threads asleep.  PID
timeouts()
{
	"$TOOLS/timeouts" "$@" </dev/null >"$WORK/timeouts" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	threads=$1
	wait_for 10 all_asleep
}

all_asleep()
{
	[ "$(cat "/proc/$PID"/task/*/syscall | grep -c '^232 ')" = "$threads" ]
}

# usage: checkpoints N: one each tenth of a second, as long as it lives
checkpoints()
{
	local i line
	for ((i = 0; i < $1; i++)); do
		gone "$PID" && return
		(read -r line <"$MNT/$PID/checkpoint") 2>"$WORK/err" ||
		    gone "$PID" || { cat "$WORK/err"; return 1; }
		sleep 0.1
	done
}

# It has ended, and each thread says that its call gave 0, in time; the first one,
# if there was a signal, EINTR.
# usage: in_time MS MOST [FIRST]
in_time()
{
	wait_for 20 gone "$PID" || { echo "it waits"; return 1; }
	wait "$PID" || { echo "exit status $?"; return 1; }
	forget "$PID"
	awk -v ms="$1" -v most="$2" -v n="$threads" -v first="${3-0}" '
	    $1 == 0 && first != 0 { bad = bad || $2 != first; next }
	    NF != 3 || $2 != 0 || $3 < ms || $3 > most { print; bad = 1 }
	    END { if (NR != n) print NR " threads"; exit bad || NR != n }' \
	    "$WORK/timeouts"
}

# With all of its time again after each, it would last as long as these do.
many()
{
	timeouts 3 2000 && checkpoints 80 && in_time 2000 6000
}
t "it ends in time, whatever checkpoints are taken" many

# The next daemon finds it where the killed one has left it.
killed()
{
	timeouts 3 2000 && checkpoints 5 || return
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	DAEMON=
	mount_snapfs
	checkpoints 80 && in_time 2000 6000
}
t "it ends in time, though the daemon is killed" killed

# While it runs the way home must stay; and there are more threads than places.
handler()
{
	timeouts 40 3000 && checkpoints 3 && kill -USR1 "$PID" &&
	    checkpoints 5 && in_time 3000 30000 -4
}
t "a handler comes back to it, more threads than places" handler
unmount_snapfs
