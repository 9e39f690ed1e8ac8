#!/bin/bash
# waits.sh - the option `wait`: what was restored is complete, and runs when the
# writer says so; or it is killed, or stays stopped, when it is not said.

. "$(dirname "$0")/lib.sh"
need_root
chmod 755 "$WORK"
mount_snapfs freeze_timeout=10

# Copied and killed; then restored, and it waits, with .restore open as 8.
# usage: begin [OPTION...]
begin()
{
	local pid
	counter && cp -r "$MNT/$PID" "$WORK/image" && kill9 "$PID" || return
	exec 8>&-
	exec 8<>"$MNT/.restore"
	printf '%s\n' wait "$@" "$WORK/image" >&8 || { cat <&8; return 1; }
	read -r pid <&8 && [ "$pid" = "$PID" ] || { echo "pid: $pid"; return 1; }
	PIDS+=("$PID")
	[ "$(state_of "$PID")" = t ] && stands
}

finish()
{
	exec 8>&-
	kill9 "$PID" && rm -rf "$WORK/image"
}

gone_for_good()
{
	wait_for 10 free_pid "$PID" || { echo "it is there"; return 1; }
	forget "$PID"
	rm -rf "$WORK/image"
}

stays_stopped()
{
	wait_for 10 is_stopped || { echo "state $(state_of "$PID")"; return 1; }
	stands && kill -CONT "$PID" && wait_for 10 counts
}

is_stopped()
{
	[ "$(state_of "$PID")" = T ]
}

let_go()
{
	begin "$@" && echo go >&8 && wait_for 10 counts || return
	# The answer is there once more, and the file means nothing any more.
	[ "$(head -n 1 "$MNT/.restore")" = "$PID" ] || return
	echo go 2>/dev/null >&8 && { echo "twice"; return 1; }
	expect_untouched "$PID" && finish
}
t "it goes on when it is told to" let_go
t "with all its memory at once" let_go lazy=no

closed()
{
	begin || return
	exec 8>&-
	gone_for_good && no_strays || return
	tail -n 3 "$MNT/.log" | grep -q "it was called off" ||
	    { tail -n 3 "$MNT/.log"; return 1; }
}
t "the file is closed: it is killed" closed

kept()
{
	begin && echo keep >&8 && stands || return
	exec 8>&-
	stays_stopped && finish
}
t "kept, and the file is closed: it stays, stopped" kept

# `keep` is the word by which an original is ended: it is not given of what is
# no more.
killed_before()
{
	begin && kill -9 "$PID" || return
	wait_for 10 gone_or_zombie || return
	echo keep 2>/dev/null >&8 && { echo "kept"; return 1; }
	exec 8>&-
	gone_for_good && no_strays || return
	tail -n 3 "$MNT/.log" | grep -q "was killed" ||
	    { tail -n 3 "$MNT/.log"; return 1; }
}

gone_or_zombie()
{
	local state
	state=$(state_of "$PID")
	[ -z "$state" ] || [ "$state" = Z ]
}
t "it is killed while it waits: it is not kept" killed_before

kept_and_let_go()
{
	begin && echo keep >&8 && stands && echo go >&8 && wait_for 10 counts &&
	    finish
}
t "kept, and let go" kept_and_let_go

killed()
{
	begin || return
	# Its parent hears of it when the agent has.
	kill -9 "$PID"
	wait_for 10 gone "$PID" || { echo "it is there"; return 1; }
	echo go 2>/dev/null >&8 && { echo "a dead one goes"; return 1; }
	exec 8>&-
	gone_for_good && no_strays
}
t "it is killed while it waits" killed

# usage: daemon_killed SIGNAL
daemon_ends()
{
	kill -"$1" "$DAEMON"
	wait_for 10 gone "$DAEMON" || return
	wait "$DAEMON" 2>/dev/null
	exec 8>&-
	umount -l "$MNT" 2>/dev/null
	DAEMON=
	return 0
}

daemon_killed()
{
	local rc=0
	begin && daemon_ends "$1" && gone_for_good || rc=1
	mount_snapfs freeze_timeout=10
	return $rc
}
t "the daemon is killed: so is it" daemon_killed KILL
t "the daemon ends: it is killed" daemon_killed TERM

daemon_killed_kept()
{
	local rc=0
	begin && echo keep >&8 && daemon_ends "$1" && stays_stopped || rc=1
	mount_snapfs freeze_timeout=10
	finish && return $rc
}
t "the daemon is killed, it was kept: it stays, stopped" daemon_killed_kept KILL
t "the daemon ends, it was kept: it stays, stopped" daemon_killed_kept TERM

# Threads in calls: nothing has interrupted these.
# usage: unnoticed SUBJECT
unnoticed()
{
	local name=$1
	start_subject "$name" && copy "$PID" "$DIR/image" && fell "$PID" || return
	exec 8<>"$MNT/.restore"
	printf '%s\n' wait "$DIR/image" >&8 && PIDS+=("$PID") && sleep 0.3 &&
	    echo go >&8 || return
	exec 8>&-
	check_subject restored
}
for s in call_epoll call_futex sig_dispositions thr_many tree_fork; do
	t "nobody notices that it has waited: $s" unnoticed $s
done

refused_words()
{
	local word
	begin || return
	for word in gone '' 'go on' "$WORK/image"; do
		echo "$word" 2>"$WORK/err" >&8 && { echo "'$word' is one"; return 1; }
		grep -q 'Invalid argument' "$WORK/err" || { cat "$WORK/err"; return 1; }
	done
	stands && echo go >&8 && wait_for 10 counts && finish || return
	counter && cp -r "$MNT/$PID" "$WORK/image" || return
	refused EINVAL "$WORK/image" wait instances=2 || return
	kill9 "$PID" && rm -rf "$WORK/image"
}
t "what is refused" refused_words

# What waits takes a place for as long as its user likes: there are some left.
share()
{
	cat >"$WORK/share" <<'END_OF'
n=0
for ((i = 0; i < 18; i++)); do
	exec {fd}<>"$1/.restore"
	printf 'wait\npid=new\n%s\n' "$2" 2>/dev/null >&$fd && n=$((n + 1))
done
echo $n
read -r _
END_OF
	local as="setpriv --reuid 65534 --regid 65534 --clear-groups" got
	$as sleep 1000 </dev/null >/dev/null 2>&1 3>&- 8>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -q sleep "/proc/$PID/comm"
	cp -r "$MNT/$PID" "$WORK/image" && chown -R 65534 "$WORK/image" &&
	    mkfifo "$WORK/end" || return
	exec 7<>"$WORK/end"
	$as bash "$WORK/share" "$MNT" "$WORK/image" <"$WORK/end" \
	    >"$WORK/out" 2>&1 3>&- 7>&- 8>&- 9>&- &
	wait_for 30 test -s "$WORK/out"
	printf 'pid=new\nstopped\n%s\n' "$WORK/image" 2>&1 >"$MNT/.restore" ||
	    echo "root has no place" >>"$WORK/out"
	got=$(head -n 1 "$MNT/.restore")
	[[ $got != [1-9]* ]] || kill -9 "$got"
	echo >&7
	wait $!
	exec 7>&-
	rm -rf "$WORK/image"
	kill9 "$PID"
	[ "$(<"$WORK/out")" = 16 ] || { cat "$WORK/out"; tail -n 3 "$MNT/.log"; return 1; }
}
t "one user has not all the places" share

t "no stray process" no_strays
t "unmounted" unmount_snapfs
[ $TEST_FAILED = no ]
