#!/bin/bash
# terminals.sh - programs in terminals are restored into other ones: what is on
# the screen, the mode, the foreground; terminals that are not there; relays.

. "$(dirname "$0")/lib.sh"
need_root
# Others may be at work on this machine.
mount_snapfs freeze_timeout=20

# usage: in_terminal TEST, see terminals.py
in_terminal()
{
	mkdir -p "$WORK/$1"
	timeout 300 python3 "$top/tests/e2e/terminals.py" "$1" "$MNT" \
	    "$WORK/$1" "$TOOLS" </dev/null 3>&- 9>&- || return
	no_strays
}

t "vim with a buffer that was not saved" in_terminal vim
t "less in the middle of a file" in_terminal less
t "top" in_terminal top
t "a shell with a job stopped, one in the background, one in front" in_terminal jobs
t "snapfs-run: a shell and its jobs" in_terminal run_jobs
t "snapfs-run: vim is a job of another shell" in_terminal run_vim
t "tmux: two windows, attached to afterwards" in_terminal tmux
t "no terminal: hung up, SIGHUP for those who handle it" in_terminal hangup
t "tty=: nobody's, another session's, none" in_terminal named_tty
t "a master whose other side is outside, or closed" in_terminal master
t "a writer in the background, a stopped process: nobody waits" in_terminal background
# usage: numbers N: N numbers below its own are free again, and are gone through
numbers()
{
	local holder
	coproc HOLDER { exec python3 -c '
import os, sys
fds = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY) for i in range(int(sys.argv[1]))]
print(len(fds), flush=True)
sys.stdin.read()' "$1" 3>&- 9>&-; }
	holder=$HOLDER_PID
	read -r -t 20 -u "${HOLDER[0]}" _ && start_subject fd_pty || return
	kill9 "$holder"
	rm -rf "$WORK/pty"
	cp -r "$MNT/$PID" "$WORK/pty" && kill9 "$PID" || return
	restore "$PID" "$WORK/pty" && check_subject restored
}

each_number()
{
	local n
	for ((n = 1; n <= 24; n++)); do
		numbers $n || { echo "$n numbers are free"; return 1; }
	done
}
t "a master's number, whatever others are free" each_number
t "the daemon ends well" unmount_snapfs
# This kills the daemon.
[ -n "$DAEMON" ] || mount_snapfs freeze_timeout=20
t "a writer who waits gets a signal; the daemon is killed" in_terminal interrupted
[ $TEST_FAILED = no ]
