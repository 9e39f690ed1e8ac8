#!/bin/bash
# unmount.sh - the end of the daemon, friendly and not: no process that it
# holds may notice.

. "$(dirname "$0")/lib.sh"
need_root

rounds=30
[ "${QUICK-no}" = no ] || rounds=5

# Unmounting with a checkpoint open, by a reader that holds a file.
with_open_checkpoint()
{
	start_subject call_epoll || return
	mount_snapfs
	exec 8<"$MNT/$PID/pages" || return
	umount "$MNT" 2>/dev/null && { echo "it is not busy"; return 1; }
	umount -l "$MNT" || return
	exec 8<&-
	wait_for 5 gone "$DAEMON" || { echo "the daemon stays"; return 1; }
	wait "$DAEMON"
	DAEMON=
	expect_untouched "$PID" || return
	no_strays || return
	check_subject survived
}
t "umount with a checkpoint open" with_open_checkpoint

# A checkpoint that lingers, nothing open.
with_lingering_checkpoint()
{
	local line
	start_subject call_poll || return
	mount_snapfs linger=100
	# This very shell reads: it lives on.
	read -r line <"$MNT/$PID/checkpoint" || return
	unmount_snapfs || return
	expect_untouched "$PID" || return
	no_strays || return
	check_subject survived
}
t "umount with a checkpoint held" with_lingering_checkpoint

by_signal()
{
	local line
	start_subject call_futex || return
	mount_snapfs linger=100
	read -r line <"$MNT/$PID/checkpoint" || return
	kill -TERM "$DAEMON"
	wait_for 5 gone "$DAEMON" || { echo "the daemon stays"; return 1; }
	wait "$DAEMON"
	DAEMON=
	is_mounted && { echo "the mount stays"; umount -l "$MNT"; return 1; }
	expect_untouched "$PID" || return
	no_strays || return
	check_subject survived
}
t "SIGTERM" by_signal

# SIGKILL at any moment of checkpoints that are taken one after the other.
# usage: killed SUBJECT [ARG...]
killed()
{
	local i reader
	start_subject "$@" || return
	for ((i = 0; i < rounds; i++)); do
		mount_snapfs
		while :; do
			(read -r _ <"$MNT/$PID/checkpoint") || break
		done 2>/dev/null &
		reader=$!
		sleep "0.0$((RANDOM % 4 + 1))$((RANDOM % 10))"
		kill -9 "$DAEMON"
		wait "$DAEMON" 2>/dev/null
		DAEMON=
		umount -l "$MNT"
		wait $reader
		gone "$PID" && { echo "round $i: it died"; return 1; }
	done
	expect_untouched "$PID" || return
	no_strays 5 || return
	# What could not be put away goes once the daemon is back.
	mount_snapfs
	(read -r _ <"$MNT/$PID/checkpoint") || return
	unmount_snapfs || return
	check_subject survived
}
for s in call_futex call_poll thr_regs thr_fpu mem_private call_nanosleep \
    sig_pending 'call_wait plain' thr_rseq; do
	# shellcheck disable=SC2086  # with its argument
	t "kill -9 of the daemon: $s" killed $s
done

# One reader waits for a checkpoint that is long in coming, and meanwhile that
# of another one is dropped, of the same process: no thread of the daemon may
# wait for the first, or the kernel would not know that the daemon is dead.
killed_while_one_waits()
{
	local waits holds rc=0
	bash -c "trap 'exec $TOOLS/churn vfork' USR1; while :; do sleep 0.05; done" \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	mount_snapfs freeze_timeout=60
	bash -c "read -r _ <$MNT/$PID/checkpoint && echo read && read -r _" \
	    <><(:) >"$WORK/holds" &
	holds=$!
	wait_for 10 grep -q read "$WORK/holds" || return
	kill -USR1 "$PID"
	wait_for 10 vforked "$PID" || return
	# A name that the kernel does not know yet: it locks the directory.
	cat "$MNT/$PID/regs" </dev/null >/dev/null 2>"$WORK/waits" 3>&- 9>&- &
	waits=$!
	wait_for 10 grep -q request_wait "/proc/$waits/wchan" || return
	# Its reader is gone, so the first checkpoint ends.
	kill -9 $holds
	wait $holds 2>/dev/null
	sleep 0.5
	kill -9 "$DAEMON"
	wait_for 10 gone $waits || {
		echo "the reader waits on"
		umount -f "$MNT"
		rc=1
	}
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	umount -l "$MNT"
	wait $waits
	cat "$WORK/waits"
	grep -q 'not connected\|abort' "$WORK/waits" || return
	kill9_with_child "$PID" || return
	no_strays 5 && return $rc
}

vforked()
{
	[ "$(cat "/proc/$1/comm")" = churn ] &&
	    grep -q . "/proc/$1/task/$1/children"
}
t "kill -9 of the daemon while a reader waits" killed_while_one_waits

gone_or_stopped()
{
	gone "$PID" || [ "$(state_of "$PID")" = T ]
}

# The same in the middle of a restore: a process or none, but no half of one.
killed_in_restore()
{
	local i pid job
	SUBJECT_DEAF=1 start_subject mem_private || return
	mount_snapfs
	copy "$PID" "$WORK/image" || return
	kill9 "$PID" || return
	for ((i = 0; i < rounds; i++)); do
		"$TOOLS/request" "$MNT/.restore" "$WORK/image" stopped \
		    >"$WORK/answer" 2>&1 &
		job=$!
		sleep "0.00$((RANDOM % 10))"
		kill -9 "$DAEMON"
		wait "$DAEMON" 2>/dev/null
		DAEMON=
		umount -l "$MNT"
		wait $job
		# It was complete, and is stopped; or there is nothing.
		PIDS+=("$PID")
		wait_for 5 gone_or_stopped || {
			echo "round $i: state $(state_of "$PID")"
			return 1
		}
		if ! gone "$PID"; then
			kill -CONT "$PID"
			rm -f "$DIR/check" "$DIR/result"
			check_subject restored || { echo "round $i"; return 1; }
			kill9 "$PID"
		fi
		mount_snapfs
	done
	no_strays 5
}
t "kill -9 of the daemon in a restore" killed_in_restore
[ -z "$DAEMON" ] || t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
