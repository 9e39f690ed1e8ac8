#!/bin/bash
# seccomp.sh - processes whose calls are filtered: never unconfined, never
# harmed by what a checkpoint calls in them.

. "$(dirname "$0")/lib.sh"
need_root

mount_snapfs
uid=65534

# usage: sandbox HOW CALL...: PID beats in $OUT
sandbox()
{
	OUT=$WORK/out
	rm -rf "$OUT" "$WORK/image"
	"$TOOLS/sandboxed" "$OUT" "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	[ "$1" = strict ] || wait_for 5 test -s "$OUT"
}

beats()
{
	[ "$(stat -c %s "$OUT")" -gt "$1" ]
}

# It goes on, as if nothing had been.
beats_on()
{
	wait_for 5 beats "$(stat -c %s "$OUT")" || {
		echo "it does not go on: $(state_of "$PID")"
		return 1
	}
}

# usage: not_taken PART: its checkpoint is refused with these words, and it
# has not felt it
not_taken()
{
	local i
	for i in 1 2 3; do
		cat "$MNT/$PID/maps" >/dev/null 2>&1 && { echo "it is taken"; return 1; }
	done
	grep -q "process $PID: .*$1" "$MNT/.log" || {
		tail -n 3 "$MNT/.log"
		return 1
	}
	expect_untouched "$PID" && no_strays
}

strict()
{
	mkfifo "$WORK/fifo" && sandbox strict "$WORK/fifo" || return
	echo a >"$WORK/fifo" && wait_for 5 test -s "$OUT" || return
	not_taken "strict mode" || return
	local n
	n=$(stat -c %s "$OUT")
	echo b >"$WORK/fifo"
	wait_for 5 beats "$n" && kill9 "$PID"
}
t "strict mode: refused by name" strict

forbidden()
{
	local call
	for call in munmap rt_sigprocmask sigaltstack clone; do
		sandbox kill "$call" || return
		not_taken "does not let $call pass" && beats_on && kill9 "$PID" || {
			echo "$call"
			return 1
		}
	done
}
t "a filter that kills for what we call: refused by name" forbidden

# Interrupted, it may not call restart_syscall(2).
restarts()
{
	local i
	sandbox kill restart_syscall || return
	for ((i = 0; i < 30; i++)); do
		cat "$MNT/$PID/checkpoint" >/dev/null || return
	done
	beats_on || return
	copy "$PID" "$WORK/image" && kill9 "$PID" || return
	restore "$PID" "$WORK/image" || return
	beats_on && kill9 "$PID"
}
t "a filter that kills for restart_syscall" restarts

comes_back()
{
	local before
	sandbox errno sync getppid || return
	before=$(grep -E '^(Seccomp|NoNewPrivs)' "/proc/$PID/status")
	copy "$PID" "$WORK/image" && kill9 "$PID" || return
	restore "$PID" "$WORK/image" "$@" || return
	[ "$(grep -E '^(Seccomp|NoNewPrivs)' "/proc/$PID/status")" = "$before" ] || {
		echo "was $before, is $(grep -E '^(Seccomp|NoNewPrivs)' "/proc/$PID/status")"
		return 1
	}
	beats_on && kill9 "$PID"
}
t "it is under its filters again" comes_back

without_privs()
{
	export SANDBOXED_FREE=yes
	comes_back
	local rc=$?
	unset SANDBOXED_FREE
	return $rc
}
t "the same without no_new_privs, by root" without_privs

# A user, for whom the kernel suspends no filter.
by_user()
{
	local rc=0
	cp -r "$WORK/image" "$WORK/user/image" && chown -R -h $uid "$WORK/user/image" || return
	ANSWER=$(setpriv --reuid $uid --regid $uid --clear-groups \
	    "$WORK/user/request" "$MNT/.restore" "$WORK/user/image" pid=new) || rc=$?
	rm -rf "$WORK/user/image"
	PID=$(restored_pid)
	[ -z "$PID" ] || PIDS+=("$PID")
	return $rc
}

prepare_user()
{
	mkdir -p "$WORK/user" && chmod 755 "$WORK" "$WORK/user" &&
	    cp "$TOOLS/request" "$TOOLS/sandboxed" "$WORK/user/" &&
	    : >"$OUT" && chown $uid "$OUT" "$WORK/user"
}

# usage: user_image HOW CALL...: an image of a process that a user may restore
user_image()
{
	OUT=$WORK/user/out
	rm -rf "$OUT" "$WORK/image"
	prepare_user || return
	setpriv --reuid $uid --regid $uid --clear-groups \
	    "$WORK/user/sandboxed" "$OUT" "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 test -s "$OUT" || return
	(cd "$WORK/user" && copy "$PID" "$WORK/image") && kill9 "$PID"
}

users_filters()
{
	user_image kill sync getppid || return
	by_user || { echo "$ANSWER"; return 1; }
	grep -q '^Seccomp:.2' "/proc/$PID/status" || { echo "it has no filter"; return 1; }
	beats_on && kill9 "$PID"
}
t "restored by a user, it is under its filters, too" users_filters

users_privs()
{
	user_image kill sync || return
	chmod -R u+w "$WORK/image"
	sed -i 's/^no-new-privs: yes/no-new-privs: no/' "$WORK/image/status"
	reseal "$WORK/image" status
	by_user || { echo "$ANSWER"; return 1; }
	[[ $ANSWER == *no_new_privs* ]] || { echo "it says: $ANSWER"; return 1; }
	grep -q '^NoNewPrivs:.1' "/proc/$PID/status" || return
	grep -q '^Seccomp:.2' "/proc/$PID/status" || return
	kill9 "$PID"
}
t "a user gets no filter without no_new_privs" users_privs

users_cannot()
{
	user_image kill sync || return
	chmod -R u+w "$WORK/image"
	# The same, but against munmap.
	sed -i 's/^op: 0x15 0 1 0x000000a2/op: 0x15 0 1 0x0000000b/' "$WORK/image/seccomp"
	grep -q 0x0000000b "$WORK/image/seccomp" || return
	reseal "$WORK/image" seccomp
	by_user && { echo "restored: $ANSWER"; return 1; }
	[[ $ANSWER == EPERM*munmap* ]] || { echo "it says: $ANSWER"; return 1; }
	no_strays || return
	# Root can.
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$WORK/image" pid=new) || {
		echo "root: $ANSWER"
		return 1
	}
	PID=$(restored_pid)
	PIDS+=("$PID")
	beats_on && kill9 "$PID"
}
t "a user cannot where the filter forbids what is left to do" users_cannot

supervised()
{
	sandbox notify sync || return
	cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q "^seccomp: a supervisor" "$WORK/image/unsupported" || return
	kill9 "$PID" || return
	refused EOPNOTSUPP "$WORK/image" || return
	restore "$PID" "$WORK/image" ignore=seccomp || return
	beats_on && kill9 "$PID"
}
t "a supervisor outside is named" supervised

# Whoever may not look at filters lets the process alone.
unprivileged()
{
	local err
	sandbox kill restart_syscall || return
	for _ in 1 2 3 4 5; do
		err=$(setpriv --bounding-set=-sys_admin --inh-caps=-all \
		    "$TOOLS/snapcore-take" "$PID" "$WORK/image" 2>&1) && {
			echo "it is taken"
			return 1
		}
		[[ $err == *"only root may see how"* ]] || { echo "it says: $err"; return 1; }
	done
	expect_untouched "$PID" && beats_on && kill9 "$PID"
}
t "by one who may not see filters" unprivileged

# Nor does he believe that a filter is the keeper's because of a name.
in_name_only()
{
	local err parent
	export SANDBOXED_KEEPER=yes
	sandbox kill restart_syscall
	local rc=$?
	unset SANDBOXED_KEEPER
	[ $rc = 0 ] || return
	parent=$PID
	PID=$(ps -o pid= --ppid "$parent") && PID=${PID// /} || return
	PIDS+=("$PID")
	err=$(setpriv --bounding-set=-sys_admin --inh-caps=-all \
	    "$TOOLS/snapcore-take" "$PID" "$WORK/image" 2>&1) && {
		echo "it is taken"
		return 1
	}
	[[ $err == *"only root may see how"* ]] || { echo "it says: $err"; return 1; }
	expect_untouched "$PID" && beats_on || return
	# Root sees what it is.
	copy "$PID" "$WORK/image" && grep -q "^thread: $PID 1$" "$WORK/image/seccomp" || {
		echo "no filter in the image"
		return 1
	}
	kill9 "$parent"
}
t "a keeper in name only: its filter is not lost" in_name_only

# Whenever the tracer dies: no filter is off, and none was met.
tracer_killed()
{
	local i n=25 before now reader
	[ "${QUICK-no}" = no ] || n=10
	sandbox kill sync getppid || return
	before=$(grep -E '^(Seccomp|NoNewPrivs)' "/proc/$PID/status")
	[[ $before == *Seccomp_filters:*1* ]] || { echo "$before"; return 1; }
	for ((i = 0; i < n; i++)); do
		cat "$MNT/$PID/maps" </dev/null >/dev/null 2>&1 3>&- 9>&- &
		reader=$!
		sleep "0.00$((RANDOM % 10))"
		kill -9 "$DAEMON"
		wait "$DAEMON" "$reader" 2>/dev/null
		now=$(grep -E '^(Seccomp|NoNewPrivs)' "/proc/$PID/status")
		[ "$now" = "$before" ] || { echo "was $before, is $now"; return 1; }
		expect_untouched "$PID" && beats_on || return
		umount "$MNT" || umount -l "$MNT" || return
		mount_snapfs
	done
	# And the next one has it whole.
	copy "$PID" "$WORK/image" && no_strays 5 && kill9 "$PID"
}
t "the daemon is killed in the middle: its filters stay" tracer_killed

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
