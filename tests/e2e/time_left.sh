#!/bin/bash
# time_left.sh - an image says what is left of a sleep, also where the program
# gave the kernel no place to write it to (nanosleep(ts, NULL), futex, poll).

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

left()
{
	local ns
	NR=$1
	sleeper "$2" || { echo "it does not sleep"; return 1; }
	sleep 2
	ns=$(sed -n 's/^restart-left-ns: //p' "$MNT/$PID/regs")
	echo "left: $ns ns"
	kill9 "$PID"
	# It has slept for two seconds, of which the kernel may not know the first
	# (a busy CPU notes later that it went to sleep); or more.
	[ "$ns" -le 999500000000 ] && [ "$ns" -ge 980000000000 ]
}

t nanosleep left 35 'libc.syscall(35, ts, None)'
t futex left 202 'libc.syscall(202, ctypes.byref(word), 0, 0, ts, None, 0)'
t poll left 7 'libc.syscall(7, None, 0, 1000000)'
unmount_snapfs
