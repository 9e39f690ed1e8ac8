#!/bin/bash
# logging.sh - the log: its steps, the saved ring, and who may decode what.

. "$(dirname "$0")/lib.sh"
need_root

LOGBIN=$BUILD/snapfs/snapfs-log

# Something that is checkpointed and restored.
job()
{
	start_subject mem_private || return 1
	rm -rf "$WORK/image"
	copy "$PID" "$WORK/image" && kill9 "$PID" || return 1
	restore "$PID" "$WORK/image" && kill9 "$PID"
}

# Each of these occurs, and in this order.
in_order()
{
	local file=$1 last=0 n what
	shift
	for what; do
		n=$(grep -n -- "$what" "$file" | tail -n 1 | cut -d: -f1)
		[ -n "$n" ] || { echo "no \`$what' in the log"; return 1; }
		[ "$n" -gt $last ] || { echo "\`$what' comes too early"; return 1; }
		last=$n
	done
}

# Whichever of the processes of a restore found it.
once()
{
	local f n
	start_subject mem_private || return
	rm -rf "$WORK/image"
	copy "$PID" "$WORK/image" && chmod -R u+w "$WORK/image" || return
	refused EEXIST "$WORK/image" || return
	for f in .log .status; do
		n=$(grep -cF "${ANSWER#* }" "$MNT/$f")
		[ "$n" = 1 ] || { echo "$n times in $f: $ANSWER"; return 1; }
	done
	# The new process finds this one.
	kill9 "$PID" || return
	ln -sfT /nowhere "$WORK/image/fd/0"
	refused ENOENT "$WORK/image" || return
	n=$(grep -cF "${ANSWER#* }" "$MNT/.log")
	[ "$n" = 1 ] || { echo "$n times: $ANSWER"; return 1; }
}

steps()
{
	job || return 1
	cat "$MNT/.log" >"$WORK/text" || return 1
	in_order "$WORK/text" 'frozen:' 'seen from outside:' 'twin made:' \
	    'thawed:' 'is settled' 'complete: held [0-9]* us' \
	    'restore by [0-9]*: image of' 'operations planned' \
	    'restore by [0-9]*: process [0-9]* made' \
	    'memory and threads made' 'goes on' "restore of $WORK/image: it is"
}

# The time of each line is not before the one above.
times()
{
	cut -c1-26 "$WORK/text" | sort -c
}

levels()
{
	local out
	unmount_snapfs || return 1
	mount_snapfs log=notice
	job || return 1
	out=$(<"$MNT/.log")
	unmount_snapfs
	mount_snapfs
	[[ $out != *' step '* && $out == *' notice '* ]] || {
		echo "log=notice gave: $out"
		return 1
	}
}

not_listed()
{
	[ -e "$MNT/.log.raw" ] || return 1
	# shellcheck disable=SC2012
	! ls -a "$MNT" | grep -q raw
}

# Both ways of reading the ring, and its text, with nothing added meanwhile: the
# end of a checkpoint may be told when its reader has long gone.
in_one_moment()
{
	cat "$MNT/.log" >"$WORK/text"
	cp "$MNT/.log.raw" "$WORK/raw"
	[ -s "$WORK/raw" ] || cat "$MNT/.log.raw" >"$WORK/raw"
	"$LOGBIN" --binary "$SNAPFS" "$MNT/.log.raw" >"$WORK/direct"
	cat "$MNT/.log" | cmp -s - "$WORK/text"
}

saved()
{
	job && wait_for 10 in_one_moment || return 1
	"$LOGBIN" "$WORK/raw" >"$WORK/decoded" || return 1
	cmp "$WORK/decoded" "$WORK/text" && cmp "$WORK/direct" "$WORK/text"
}

# usage: fails_with TEXT COMMAND...: exit status 1, and a sentence with TEXT
fails_with()
{
	local text=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	[ $rc = 1 ] && [[ $out == *"$text"* ]] || {
		echo "$*: status $rc: $out"
		return 1
	}
}

other_build()
{
	fails_with 'made by the build' \
	    "$LOGBIN" -b "$BUILD/tests/tools/snapcore-take" "$WORK/raw" || return 1
	fails_with 'no formats' "$LOGBIN" -b /bin/true "$WORK/raw" || return 1
	fails_with 'no 64-bit program' "$LOGBIN" -b /etc/passwd "$WORK/raw" || return 1
	fails_with 'No such file' "$LOGBIN" -b "$WORK/none" "$WORK/raw" || return 1
	fails_with 'no ring' "$LOGBIN" /etc/passwd || return 1
	fails_with 'no ring' "$LOGBIN" /dev/null || return 1
	fails_with 'neither a ring nor a core' "$LOGBIN" "$SNAPFS" || return 1
	head -c 100000 "$WORK/raw" >"$WORK/cut"
	fails_with 'cut off' "$LOGBIN" "$WORK/cut"
}

# A program without its symbols is as good.
stripped()
{
	strip -o "$WORK/stripped" "$SNAPFS" || return 1
	"$LOGBIN" -b "$WORK/stripped" "$WORK/raw" | cmp - "$WORK/decoded"
}

in_a_core()
{
	case ${PRESET-}-$(which gcore) in
	sanitize-* | tsan-*) echo "a sanitizer's memory is no core to keep"; return 77 ;;
	*-) echo "there is no gcore"; return 77 ;;
	esac
	cat "$MNT/.log" >"$WORK/text"
	timeout 60 gcore -o "$WORK/core" "$DAEMON" </dev/null || return 1
	"$LOGBIN" "$WORK/core.$DAEMON" >"$WORK/decoded" || return 1
	cmp "$WORK/decoded" "$WORK/text" || return 1
	fails_with 'made by the build' "$LOGBIN" \
	    -b "$BUILD/tests/tools/snapcore-take" "$WORK/core.$DAEMON" || return 1
	truncate -s -300000 "$WORK/core.$DAEMON"
	truncate -s 5000 "$WORK/core.$DAEMON"
	fails_with 'core' "$LOGBIN" "$WORK/core.$DAEMON"
	local rc=$?
	rm -f "$WORK/core.$DAEMON"
	return $rc
}

# He sees what was done for him, in lines and in the ring.
of_users()
{
	local raw=$WORK/user.raw
	setpriv --reuid 65534 --regid 65534 --clear-groups \
	    cat "$MNT/.log.raw" >"$raw" || return 1
	[ "$("$LOGBIN" "$raw" | wc -l)" = 0 ] || {
		echo "another user sees:"
		"$LOGBIN" "$raw"
		return 1
	}
	! grep -qa "$WORK" "$raw"
}

chmod 0755 "$WORK"
mount_snapfs
t "every step of a checkpoint and a restore" steps
t "in the order of their times" times
t "levels" levels
t "the raw ring is not listed" not_listed
t "a saved ring gives the same lines" saved
t "what is no ring, or another build's" other_build
t "a stripped program decodes" stripped
t "the ring in a core file" in_a_core
t "each user's own" of_users
t "why a restore failed, once" once
t "unmount" unmount_snapfs
[ $TEST_FAILED = no ]
