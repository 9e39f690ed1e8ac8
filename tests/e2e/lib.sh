# lib.sh - what the scripts in tests/e2e share; sourced by them.
#
# tests/run calls a script with these set, and `. lib.sh` gives them a value
# when it is run by hand:
#
#	BUILD	the build directory (build/ci)
#	WORK	an empty directory of its own, removed by the runner
#
# A script reports each of its tests on descriptor 3, by `ok NAME`, `bad NAME
# WHY`, `skip NAME WHY`, and `long NAME: N s` of one that took long.  One that
# reports none is a test itself: exit status 0, or 77 for "skipped", with the
# reason as the last line of its output.
#
# shellcheck shell=bash

set -u
export LC_ALL=C
# Debian's programs, whatever else there is.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-$top/build/ci}
if [ -z "${WORK-}" ]; then
	export WORK own_work
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/snapfs-test.XXXXXX")
	own_work=yes
	[ -e /dev/fd/3 ] || exec 3>&1
fi
SNAPFS=${SNAPFS:-$BUILD/snapfs/snapfs}
TOOLS=$BUILD/tests/tools
SUBJECTS=$BUILD/tests/subjects
MNT=$WORK/mnt
DAEMON=
PIDS=()		# what lives and was started or restored by this script
TEST_FAILED=no

# ---- results ----

ok()
{
	echo "ok $1" >&3
}

bad()
{
	echo "bad $*" >&3
	echo "FAILED: $*"
	TEST_FAILED=yes
}

skip()
{
	echo "skip $*" >&3
}

# The script cannot go on.
die()
{
	echo "$*"
	exit 1
}

skip_all()
{
	echo "$*"
	exit 77
}

need_root()
{
	[ "$(id -u)" = 0 ] || skip_all "needs root"
}

# One test: run a function; what it prints is shown if it fails.
# usage: t NAME FUNCTION [ARG...]
t()
{
	# Functions see this function's variables: let their names be odd.
	local t_name=$1 t_rc t_began=$SECONDS
	shift
	[ -z "${ONLY-}" ] || [[ $t_name == *$ONLY* ]] || return 0
	# Not in a subshell: it starts and restores processes.
	if "$@" >"$WORK/t.out" 2>&1; then
		ok "$t_name"
	else
		t_rc=$?
		if [ $t_rc = 77 ]; then
			skip "$t_name" "$(tail -n 1 "$WORK/t.out")"
		else
			bad "$t_name" "$(tail -n 1 "$WORK/t.out")"
			sed 's/^/    /' "$WORK/t.out"
		fi
	fi
	[ $((SECONDS - t_began)) -lt 15 ] ||
	    echo "long $t_name: $((SECONDS - t_began)) s" >&3
}

# Wait until a command succeeds, at most SECONDS of a machine that has nothing
# else to do: one that has may take several times as long.
# usage: wait_for SECONDS COMMAND [ARG...]
wait_for()
{
	local end=$((SECONDS + $1 * ($1 < 5 ? 1 : 4) + 1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.01
	done
}

# ---- the mount ----

is_mounted()
{
	grep -q " $MNT fuse.snapfs " /proc/mounts
}

# usage: mount_snapfs [OPTION,...]
mount_snapfs()
{
	mkdir -p "$MNT"
	# Memory that is not set, or was freed, shall not look like anything.
	MALLOC_PERTURB_=165 "$SNAPFS" -f "$MNT" ${1:+-o "$1"} </dev/null >>"$WORK/daemon.log" 2>&1 \
	    3>&- 9>&- &
	DAEMON=$!
	wait_for 10 daemon_is_up || die "not mounted: $(tail "$WORK/daemon.log")"
	[ -e "$MNT/.status" ] || die "there is no $MNT/.status"
}

daemon_is_up()
{
	is_mounted || ! kill -0 "$DAEMON" 2>/dev/null
}

# Whoever has made a mount namespace meanwhile, say a test beside this one, has
# a copy of the mount: the daemon ends with the last.
unmount_copies()
{
	local f
	for f in $(grep -ls " $MNT " /proc/[0-9]*/mountinfo); do
		f=${f#/proc/}
		nsenter -m -t "${f%/*}" umount -l "$MNT" 2>/dev/null
	done
	gone "$DAEMON"
}

# Is it a sanitizer's build, with the memory that these want?
sanitized()
{
	[[ ${PRESET-} == sanitize || ${PRESET-} == tsan ]]
}

SANITIZER_SAYS='(Address|Leak|Thread)Sanitizer|runtime error:'

# Unmount, and expect the daemon to end well.
unmount_snapfs()
{
	local rc=0
	umount "$MNT" || rc=1
	wait_for 2 gone "$DAEMON" || wait_for 10 unmount_copies || {
		echo "the daemon does not end"
		timeout 20 gdb -q -batch -p "$DAEMON" -ex 'thread apply all bt' \
		    </dev/null 2>&1 | grep -E '^(#|Thread)'
		kill -9 "$DAEMON"
		rc=1
	}
	wait "$DAEMON" 2>/dev/null || { echo "daemon: exit status $?"; rc=1; }
	DAEMON=
	if grep -E "$SANITIZER_SAYS" "$WORK/daemon.log"; then
		grep -A40 -E "$SANITIZER_SAYS" "$WORK/daemon.log" | head -60
		rc=1
	fi
	return $rc
}

# ---- processes ----

# No process, or one that only its parent has not heard of.  (One whose main
# thread has ended while others run is a zombie with threads; one that is dead to
# all is a main thread whose number another one has just taken, by exec(2), or
# is not there at the next look.)
gone()
{
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	# shellcheck disable=SC2086  # into words
	set -- ${stat##*) }
	case $1 in
	Z) [ "${18}" = 1 ] ;;
	*) return 1 ;;
	esac
}

# Not even a zombie: the number is free.
free_pid()
{
	[ ! -e "/proc/$1" ]
}

forget()
{
	local p rest=()
	for p in "${PIDS[@]}"; do
		[ "$p" = "$1" ] || rest+=("$p")
	done
	PIDS=("${rest[@]}")
}

# SIGKILL, and wait until the number is free.
kill9()
{
	kill -9 "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	forget "$1"
	wait_for 5 free_pid "$1" || {
		echo "process $1 does not end: $(head -n 3 "/proc/$1/status")"
		return 1
	}
}

# A process and its child, after which it would make another one.
kill9_with_child()
{
	# shellcheck disable=SC2046  # pids
	kill -9 "$1" $(cat "/proc/$1"/task/*/children)
	kill9 "$1"
}

# The one-letter state of a process.
state_of()
{
	sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null
}

# It runs as if nobody had ever held it.
expect_untouched()
{
	gone "$1" && { echo "process $1 is gone"; return 1; }
	# The end of a checkpoint may hold it for a moment.
	wait_for 2 untraced "$1" || {
		echo "process $1 is still traced"
		return 1
	}
}

untraced()
{
	local status
	status=$(<"/proc/$1/status")
	[[ $status == *$'\nTracerPid:\t0\n'* ]]
}

# Start a subject in the background: PID, DIR.
# usage: start_subject NAME [ARG...]
start_subject()
{
	local name=$1
	shift
	DIR=$(mktemp -d "$WORK/$name.XXXXXX")
	"$SUBJECTS/$name" "$DIR" "$@" </dev/null >"${LOG:-$DIR/log}" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 subject_spoke || { echo "$name is not ready"; return 1; }
	if [ ! -e "$DIR/ready" ]; then
		wait "$PID" 2>/dev/null
		forget "$PID"
		subject_result
		return
	fi
	# It may have made another process of itself.
	if [ "$(<"$DIR/ready")" != "$PID" ]; then
		wait "$PID" 2>/dev/null
		forget "$PID"
		PID=$(<"$DIR/ready")
		PIDS+=("$PID")
	fi
}

subject_spoke()
{
	[ -e "$DIR/ready" ] || [ -e "$DIR/result" ]
}

# What it said of itself: 0, 1, or 77 with the reason.
subject_result()
{
	local text
	text=$(cat "$DIR/result" "$DIR/log" 2>/dev/null)
	case $text in
	ok) return 0 ;;
	skip*) echo "${text#skip }"; return 77 ;;
	esac
	echo "$text"
	return 1
}

# Have it check itself, and wait for its end.
# usage: check_subject alone|survived|restored
check_subject()
{
	local rc
	echo "$1" >"$DIR/check.new"
	mv "$DIR/check.new" "$DIR/check"
	[ "$(state_of "$PID")" != T ] || kill -CONT "$PID"
	wait_for 40 subject_checked || { echo "it does not answer"; return 1; }
	subject_result
	rc=$?
	[ -e "$DIR/result" ] || {
		echo "it ended without a word"
		rc=1
	}
	wait_for 5 gone "$PID" || kill -9 "$PID"
	wait "$PID" 2>/dev/null
	forget "$PID"
	return $rc
}

subject_checked()
{
	[ -e "$DIR/result" ] || gone "$PID"
}

# ---- a process that counts, and looks after its memory: counter.py ----

# usage: counter: PID
counter()
{
	rm -f "$WORK/count"
	/usr/bin/python3 "$top/tests/e2e/counter.py" "$WORK/count" </dev/null \
	    >"$WORK/count.out" 2>&1 3>&- 9>&- 8>&- 7>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 counts
}

count()
{
	od -An -tu8 -N8 "$WORK/count"
}

# It runs, and has found nothing.
counts()
{
	local a
	a=$(count 2>/dev/null) || return
	sleep 0.1
	[ "$(count)" != "$a" ] && [ ! -s "$WORK/count.out" ]
}

stands()
{
	local a
	a=$(count)
	sleep 0.3
	[ "$(count)" = "$a" ] || { echo "it runs"; return 1; }
}

# ---- trees ----

# All that are below a process, it first.
# usage: family PID
family()
{
	local child
	echo "$1"
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		family "$child"
	done
}

# Kill a whole tree, and wait until its ids are free.
# usage: fell PID
fell()
{
	local pid all
	kill -STOP "$1" 2>/dev/null
	all=$(family "$1")
	# shellcheck disable=SC2086  # pids
	kill -9 $all 2>/dev/null
	wait "$1" 2>/dev/null
	forget "$1"
	for pid in $all; do
		wait_for 10 free_pid "$pid" || {
			echo "process $pid does not end"
			return 1
		}
	done
}

# The memory of whole trees in KiB, each shared page counted once.
# usage: pss PID...
pss()
{
	local pid
	for pid in $(for pid; do family "$pid"; done); do
		cat "/proc/$pid/smaps_rollup"
	done | awk '$1 == "Pss:" { kb += $2 } END { print kb }'
}

# ---- checkpoint and restore ----

# usage: copy PID DIR
copy()
{
	cp -r "$MNT/$1" "$2" || { echo "cp -r failed"; return 1; }
	[ ! -s "$2/unsupported" ] || {
		cat "$2/unsupported"
		echo "unsupported: $(head -n 1 "$2/unsupported")"
		return 1
	}
}

# Restore, and expect the same pid.  ANSWER is what was said.
# usage: restore PID DIR [OPTION...]
restore()
{
	local pid=$1
	shift
	PIDS+=("$pid")
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$@") || {
		forget "$pid"
		echo "restore: $ANSWER"
		return 1
	}
	# What came back differently follows, on further lines.
	[[ $ANSWER == "OK $pid" || $ANSWER == "OK $pid"$'\n'* ]] || {
		echo "restored as: $ANSWER, not $pid"
		return 1
	}
}

# The pid that ANSWER tells.
restored_pid()
{
	sed -n '1s/^OK \([0-9]*\)$/\1/p' <<<"$ANSWER"
}

# Expect that a restore is refused with one of these errnos, in a sentence,
# and that nothing is left of it.
# usage: refused ERRNO|ERRNO... PATH [OPTION...]
refused()
{
	local want=$1
	shift
	if ANSWER=$("$TOOLS/request" "$MNT/.restore" "$@"); then
		PIDS+=("$(restored_pid)")
		echo "restored: $ANSWER"
		return 1
	fi
	case "|$want|" in
	*"|${ANSWER%% *}|"*) ;;
	*)
		echo "refused with: $ANSWER; expected $want"
		return 1
		;;
	esac
	# A sentence: more than a word, and not the errno's text alone.
	[[ ${ANSWER#* } == *[a-z]*' '*[a-z]* ]] || {
		echo "no sentence: $ANSWER"
		return 1
	}
	no_strays
}

# Children of the daemon, and orphans that came to this script's reaper, that
# are none of ours: agents, twins, half-made processes.  Twins of checkpoints
# that are still held are none: nothing may be held when this is called.
strays()
{
	local p q
	for p in $(cat /proc/"$PPID"/task/*/children ${DAEMON:+/proc/$DAEMON/task/*/children} \
	    2>/dev/null); do
		[ "$p" != $$ ] || continue
		for q in "${PIDS[@]}" "$DAEMON"; do
			[ "$p" != "$q" ] || continue 2
		done
		# Kept by the daemon as long as that lives.
		[ -z "$DAEMON" ] || [[ $(cat "/proc/$p/comm" 2>/dev/null) != \
		    snapfs-@(template|spare|standby) ]] || continue
		echo "$p $(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null)" \
		    "($(state_of "$p"))"
	done
}

no_strays_now()
{
	[ -z "$(strays)" ]
}

# What is on its way out gets a moment.
# usage: no_strays [SECONDS]
no_strays()
{
	wait_for "${1:-2}" no_strays_now || {
		echo "left: $(strays)"
		return 1
	}
}

# After an image's file was edited: renew its line in xxh128sums.
# usage: reseal IMAGE FILE...
reseal()
{
	local image=$1 f
	shift
	for f; do
		grep -v "  $f\$" "$image/xxh128sums" >"$WORK/sums"
		(cd "$image" && xxhsum -H2 "$f" 2>/dev/null) >>"$WORK/sums"
		chmod u+w "$image/xxh128sums"
		# checkpoint's line is the last one, always.
		{
			grep -v '  checkpoint$' "$WORK/sums"
			grep '  checkpoint$' "$WORK/sums"
		} >"$image/xxh128sums"
	done
}

# ---- increments ----

# The value of a key in the `checkpoint` of an image.
# usage: key IMAGE KEY
key()
{
	sed -n "s/^$2: //p" "$1/checkpoint"
}

# The next increment of PID is one to this checkpoint.
# usage: parent_is ID
parent_is()
{
	grep -q " parent $1 " "$MNT/$PID/.track"
}

# That the last byte was given to cp is noted when it has it, so a moment later.
# usage: counted IMAGE
counted()
{
	wait_for 10 parent_is "$(key "$1" id)" || {
		echo "$1 is no parent: $(<"$MNT/$PID/.track")"
		return 1
	}
}

# ---- the end ----

# A live mount in what is removed would be emptied, or be asked for all it has.
# usage: remove_all DIR
remove_all()
{
	local at
	while read -r at; do
		umount "$at" 2>/dev/null || umount -l "$at"
	done < <(awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' \
	    /proc/self/mountinfo | sort -r)
	rm -rf --one-file-system "$1"
}

cleanup()
{
	local p
	trap - EXIT
	for p in "${PIDS[@]}"; do
		kill -9 "$p" 2>/dev/null
		wait "$p" 2>/dev/null
	done
	if [ -n "$DAEMON" ]; then
		umount "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null
		wait_for 5 gone "$DAEMON" || kill -9 "$DAEMON"
		wait "$DAEMON" 2>/dev/null
	fi
	# With ONLY a script may mount once more without a test that unmounts.
	while is_mounted; do
		umount -l "$MNT" || break
	done
	[ "${own_work-no}" = no ] || remove_all "$WORK"
}

trap cleanup EXIT
trap 'exit 1' TERM INT HUP
