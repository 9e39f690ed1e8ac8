#!/bin/bash
# stdio.sh - stdio=inherit: standard input, output, error and the working
# directory of the writer in place of the image's.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs
mkdir "$WORK/here"

# A program whose descriptors are pipes that another process holds: without
# new ones it could not be restored.
# usage: launch COMMAND...
launch()
{
	mkdir -p "$WORK/there"
	exec 7<> <(:) 8<> <(:)
	(cd "$WORK/there" && exec "$@" </dev/fd/7 >/dev/fd/8 2>&1 \
	    3>&- 7>&- 8>&- 9>&-) &
	PID=$!
	PIDS+=("$PID")
}

# A shell that waits for a line, its image.
# usage: prepare NAME
prepare()
{
	launch bash -c 'read -r x; echo "out $x"; echo "err $x" >&2'
	wait_for 10 waits "$PID" || { echo "it does not wait"; return 1; }
	cp -r "$MNT/$PID" "$WORK/$1" || return
	kill9 "$PID"
	exec 7>&- 8>&-
}

waits()
{
	[ "$(cut -d' ' -f1,2 "/proc/$1/syscall" 2>/dev/null)" = "0 0x0" ]
}

ended()
{
	gone "$PID"
}

# As `restore`, from the directory `here`, with these descriptors.
ask()
{
	ANSWER=$(cd "$WORK/here" && "$TOOLS/request" "$MNT/.restore" "$@") || {
		echo "restore: $ANSWER"
		return 1
	}
	PID=$(restored_pid)
	PIDS+=("$PID")
}

pipes_refused()
{
	prepare pipes || return
	grep -q '^fd 0' "$WORK/pipes/unsupported" || {
		cat "$WORK/pipes/unsupported"
		return 1
	}
	refused EOPNOTSUPP "$WORK/pipes" pid=new
}
t "a pipe to another process is refused without it" pipes_refused

# The request tool's output is a pipe of ours, so it has its own descriptors.
given()
{
	prepare given || return
	echo hello >"$WORK/in"
	(cd "$WORK/here" && exec "$TOOLS/request" "$MNT/.restore" "$WORK/given" \
	    pid=new stdio=inherit <"$WORK/in" >"$WORK/out" 2>"$WORK/err") || {
		cat "$WORK/out"
		return 1
	}
	ANSWER=$(grep "^OK " "$WORK/out")
	PID=$(restored_pid)
	PIDS+=("$PID")
	wait_for 10 ended || { echo "it does not end"; return 1; }
	forget "$PID"
	grep -qx "out hello" "$WORK/out" || { cat "$WORK/out"; return 1; }
	grep -qx "err hello" "$WORK/err" || { cat "$WORK/err"; return 1; }
}
t "input, output and error of the writer" given

directory()
{
	prepare directory || return
	rmdir "$WORK/there"
	(cd "$WORK/here" && exec "$TOOLS/request" "$MNT/.restore" \
	    "$WORK/directory" pid=new stdio=inherit stopped \
	    </dev/null >"$WORK/out" 2>&1) || { cat "$WORK/out"; return 1; }
	ANSWER=$(grep "^OK " "$WORK/out")
	PID=$(restored_pid)
	PIDS+=("$PID")
	[ "$(readlink "/proc/$PID/cwd")" = "$WORK/here" ] || {
		readlink "/proc/$PID/cwd"
		return 1
	}
	kill9 "$PID"
}
t "the working directory of the writer" directory

# echo makes standard output the request itself: standard error is meant.
builtin_echo()
{
	prepare echo || return
	echo again >"$WORK/in"
	printf 'pid=new\nstdio=inherit\n%s\n' "$WORK/echo" \
	    >"$MNT/.restore" <"$WORK/in" 2>"$WORK/err" || return
	PID=$(head -n 1 "$MNT/.restore")
	PIDS+=("$PID")
	wait_for 10 ended || { echo "it does not end"; return 1; }
	forget "$PID"
	grep -qx "out again" "$WORK/err" && grep -qx "err again" "$WORK/err" ||
	    { cat "$WORK/err"; return 1; }
}
t "a shell's echo" builtin_echo

all_request()
{
	python3 - "$MNT/.restore" "$WORK/echo" <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.dup2(fd, 1)
os.dup2(fd, 2)
try:
    os.write(fd, b'pid=new\nstdio=inherit\n%s\n' % sys.argv[2].encode())
except OSError:
    sys.exit(0 if b'.restore itself' in os.pread(fd, 999, 0) else 1)
sys.exit(1)
END
}
t "output and error that are both the request" all_request

# Where input is closed, .restore itself gets the number.
closed()
{
	prepare closed || return
	(cd "$WORK/here" && exec "$TOOLS/request" "$MNT/.restore" \
	    "$WORK/closed" pid=new stdio=inherit stopped \
	    <&- >"$WORK/out" 2>&1) || { cat "$WORK/out"; return 1; }
	ANSWER=$(grep "^OK " "$WORK/out")
	PID=$(restored_pid)
	PIDS+=("$PID")
	[ "$(readlink "/proc/$PID/fd/1")" = "$WORK/out" ] || return 1
	[ ! -e "/proc/$PID/fd/0" ] || { ls -l "/proc/$PID/fd"; return 1; }
	kill9 "$PID"
}
t "what the writer has closed" closed

# A duplicate of standard output goes along, and O_NONBLOCK is not shared.
duplicate()
{
	local job='import os,sys
os.dup2(1, 9); os.set_blocking(0, False); os.set_blocking(1, False)
import select
print("ready", file=sys.stderr, flush=True)
select.select([0], [], [])
os.write(9, b"nine\n"); os.write(1, os.read(0, 99)); sys.exit(0)'
	launch python3 -c "$job"
	read -r -t 10 <&8 || return
	sleep 0.2
	cp -r "$MNT/$PID" "$WORK/dup" || return
	kill9 "$PID"
	exec 7>&- 8>&-
	mkfifo "$WORK/b.fifo"
	exec 8<>"$WORK/b.fifo"
	"$TOOLS/request" "$MNT/.restore" "$WORK/dup" pid=new stdio=inherit \
	    <&8 >"$WORK/out" 2>/dev/null || { cat "$WORK/out"; return 1; }
	ANSWER=$(grep "^OK " "$WORK/out")
	PID=$(restored_pid)
	PIDS+=("$PID")
	grep -q 'flags:.*4...$' "/proc/$PID/fdinfo/0" || {
		cat "/proc/$PID/fdinfo/0"
		return 1
	}
	grep -q 'flags:.*4...$' "/proc/$$/fdinfo/8" && {
		echo "O_NONBLOCK on the writer's"
		return 1
	}
	echo line >&8
	wait_for 10 ended || { echo "it does not end"; return 1; }
	forget "$PID"
	exec 8>&-
	grep -qx nine "$WORK/out" && grep -qx line "$WORK/out" || {
		cat "$WORK/out"
		return 1
	}
}
t "duplicates, and O_NONBLOCK" duplicate

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
