#!/bin/bash
# subjects.sh - every program in tests/subjects, through all that can happen
# to a process here:
#
#	survive		fifty checkpoints in a row, which it must not notice;
#			a tree of processes, fifteen
#	eager		copied, killed, restored with all its memory at once
#	twice		copied, killed, restored, and all that again
#	cloned		restored from the mount beside the original, with
#			another pid
#	instance	copied, killed, restored as a clone of a template, twice,
#			then as one with another pid that was made ahead
#	alone		if one of these failed: nothing happens (was it ours?)
#
# $PHASES: only these.
#
# Arguments, or $ONLY: names of subjects; all, if there are none.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/subject_lib.sh"
need_root

checkpoints=${CHECKPOINTS:-50}
[ "${QUICK-no}" = no ] || checkpoints=10

alone()
{
	begin || return
	check_subject alone
}

survive()
{
	local i line n=$checkpoints
	[[ $name != tree_* ]] || n=$((n < 15 ? n : 15))
	begin || return
	for ((i = 0; i < n; i++)); do
		# A new process each time, so a new checkpoint.
		(read -r line <"$MNT/$PID/checkpoint") || {
			echo "checkpoint $i failed"
			return 1
		}
	done
	expect_untouched "$PID" || return
	check_subject survived
}

eager()
{
	begin || return
	copy "$PID" "$DIR/image" || return
	fell "$PID" || return
	revive "$DIR/image" lazy=no || return
	check_subject restored
}

twice()
{
	begin || return
	copy "$PID" "$DIR/image1" || return
	expect_untouched "$PID" || return
	(cd "$DIR/image1" && xxhsum -c --quiet xxh128sums) || return
	fell "$PID" || return
	revive "$DIR/image1" || return
	sleep 0.03
	copy "$PID" "$DIR/image2" || return
	expect_untouched "$PID" || return
	fell "$PID" || return
	revive "$DIR/image2" || return
	check_subject restored
}

instance()
{
	local refused
	begin || return
	copy "$PID" "$DIR/image" || return
	kill9 "$PID" || return
	refused=$(refusals)
	revive "$DIR/image" template=yes || return
	kill9 "$PID" || return
	revive "$DIR/image" template=yes || return
	of_template "$refused" || return
	# Where it may have another pid.
	case $clones,$name in
	refused,* | none,* | glibc,*.*) ;;
	*) has_template && { of_spare && check_subject restored-cloned; return; } ;;
	esac
	check_subject restored
}

has_template()
{
	grep -q "^template: .* path $DIR/image\$" "$MNT/.status"
}

has_spare()
{
	grep -q "^template: .* spare .* path $DIR/image\$" "$MNT/.status"
}

# The last is a spare, made ahead by the one before.
of_spare()
{
	local i opts=(pid=new) spare=
	[ "$needs" != tty ] || opts+=("tty=${ttys[1]}")
	for i in 1 2; do
		kill9 "$PID" || return
		ANSWER=$("$TOOLS/request" "$MNT/.restore" "$DIR/image" "${opts[@]}") || {
			echo "restore: $ANSWER"
			return 1
		}
		PID=$(restored_pid)
		PIDS+=("$PID")
		[ -z "$state" ] || wait_for 2 is_state "$state" || return
		[ $i = 2 ] || wait_for 10 has_spare || { echo "no spare"; return 1; }
		[ -n "$spare" ] || spare=$(sed -n "s/^template: .* spare \([0-9]*\) .*/\1/p" "$MNT/.status")
	done
	[ "$PID" = "$spare" ] || { echo "it is $PID, not the spare $spare"; return 1; }
}

refusals()
{
	grep -Ec "no template: (maps:[0-9]*: instances would share|.* of one process only)" "$MNT/.log"
}

# Both came of the one template; or it was said, of each, why there is none.
# usage: of_template REFUSALS-BEFORE
of_template()
{
	grep -q "^template: .* instances 2 .* path $DIR/image\$" "$MNT/.status" ||
	    [ "$(refusals)" = $(($1 + 2)) ] || {
		grep '^template' "$MNT/.status"
		echo "there was no template"
		return 1
	}
}

# Both are checked: the original, which goes on, then its clone, which is
# stopped meanwhile.
cloned()
{
	SUBJECT_DEAF=yes begin || return
	case $clones in
	alone) clone_alone ;;
	refused) clone_refused ;;
	*) clone_beside ;;
	esac
}

# usage: clone [OPTION...]: CLONE
clone()
{
	[ "$needs" != tty ] || set -- "$@" "tty=${ttys[1]}"
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$MNT/$PID" pid=new "$@") || {
		echo "restore: $ANSWER"
		return 1
	}
	CLONE=$(restored_pid)
	PIDS+=("$CLONE")
	expect_untouched "$PID"
}

clone_beside()
{
	clone stopped || return
	check_subject survived || { echo "the original"; return 1; }
	rm "$DIR/check" "$DIR/result"
	PID=$CLONE
	wait_for 5 is_state T || { echo "it is not stopped"; return 1; }
	check_subject cloned
}

# What is checked is shared by the two, or is the time that passes.
clone_alone()
{
	clone || return
	kill9 "$PID" || return
	PID=$CLONE
	check_subject cloned
}

# There can be but one of what it has, so there is no second process.
clone_refused()
{
	clone && return 1
	[[ $ANSWER == E[A-Z]*' '@(fd|segment|semaphores|queue)' '* ]] || return
	check_subject survived
}

if [ $# = 0 ]; then
	# shellcheck disable=SC2086  # names, on purpose
	set -- ${ONLY-}
	unset ONLY
	[ $# != 0 ] ||
	    set -- $(cd "$SUBJECTS" && find . -maxdepth 1 -type f -printf '%P\n' | sort)
fi

start_ttys

daemon_again()
{
	bad "$name $phase" "the daemon is gone"
	umount -l "$MNT" 2>/dev/null
	wait "$DAEMON" 2>/dev/null
	tail -n 60 "$WORK/daemon.log"
	: >"$WORK/daemon.log"
	mount_snapfs templates=1
}

# usage: run_phase PHASE: none of it failed
run_phase()
{
	local phase=$1 before=$TEST_FAILED rc
	[[ " ${PHASES-$phase} " == *" $phase "* ]] || return 0
	PID=
	TEST_FAILED=no
	t "$name $phase" "$phase"
	end_all
	if ! is_mounted || gone "$DAEMON"; then daemon_again; fi
	rm -rf "${DIR:?}"
	rc=0
	[ $TEST_FAILED = no ] || rc=1
	[ "$before" = no ] || TEST_FAILED=yes
	return $rc
}

for name; do
	traits
	phases=$(trait "$name" phases)
	# Every instance phase leaves a template.
	[ -n "$DAEMON" ] || mount_snapfs templates=1
	phases=${phases:-survive eager twice cloned instance}
	case $clones,$name in
	none,* | glibc,*.*) phases=${phases/cloned/} ;;
	esac
	failed=no
	for phase in $phases; do
		run_phase "$phase" || failed=yes
	done
	[ $failed = no ] || run_phase alone
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
