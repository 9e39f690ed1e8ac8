# lazy_lib.sh - what the scripts share that restore from a slow file system and
# look at pagers; sourced by them after lib.sh.
#
# shellcheck shell=bash

mib=24
slow=$WORK/slow		# $WORK/images, slowly
control=$WORK/control
mkdir -p "$WORK/images" "$slow"
SLOWFS=

set_speed()
{
	echo "$1" >"$control.new"
	mv "$control.new" "$control"
}

start_slowfs()
{
	set_speed 0
	"$TOOLS/slowfs" "$WORK/images" "$slow" "$control" </dev/null \
	    >"$WORK/slowfs.log" 2>&1 3>&- 9>&- &
	SLOWFS=$!
	PIDS+=("$SLOWFS")
	wait_for 10 slowfs_is_up || die "slowfs: $(cat "$WORK/slowfs.log")"
}

slowfs_is_up()
{
	grep -q " $slow fuse" /proc/mounts
}

stop_slowfs()
{
	[ -n "$SLOWFS" ] || return 0
	set_speed 0
	umount "$slow" || { echo "slowfs is busy"; umount -l "$slow"; return 1; }
	wait "$SLOWFS"
	forget "$SLOWFS"
	SLOWFS=
}

said()
{
	[ -e "$DIR/result" ] || gone "$PID"
}

# The pagers of this mount's daemon, or orphans of its.
pagers()
{
	sed -n 's/^pager: //p' "$MNT/.status"
}

pager_of()
{
	sed -n "s/^pager: \([0-9]*\) of $1 .*/\1/p" "$MNT/.status"
}

no_pagers()
{
	[ -z "$(pagers)" ]
}

has_pager()
{
	[ -n "$(pager_of "$1")" ]
}

guard_of()
{
	cat "/proc/$1/task/$1/children" | tr -d ' '
}

no_guards()
{
	! grep -l '^snapfs-guard$' /proc/[0-9]*/comm 2>/dev/null |
	    grep -q "/$guard/"
}

# Restored while it does what `prepare` has it do, at that speed of reading;
# prepare, restore and result are the script's own.
# usage: does WHAT SPEED
does()
{
	prepare "$1" "$1" || return
	set_speed "$2"
	restore "$PID" "$slow/$1" || return
	result
}
