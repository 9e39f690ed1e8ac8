#!/bin/bash
# lazy_trees.sh - the processes of a tree run before their memory is there, but
# what they share: each sees the bytes that it had, or dies.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
. "$(dirname "$0")/lazy_lib.sh"
need_root
[ -c /dev/userfaultfd ] || skip_all "there is no /dev/userfaultfd"

# A shell, and children of it that start late: copy it, kill it: PID, and of each
# child DIRS and CHILDREN; $WORK/images/NAME.
# usage: prepare NAME ACTION...
prepare()
{
	local dir name=$1 action job=
	DIRS=() CHILDREN=()
	for action in "${@:2}"; do
		dir=$(mktemp -d "$WORK/late.XXXXXX")
		job+="$TOOLS/late $dir $mib $action >$dir/log 2>&1 & echo \$! >$dir/pid;"
		DIRS+=("$dir")
	done
	bash -c "$job wait" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	for dir in "${DIRS[@]}"; do
		wait_for 20 test -e "$dir/ready" || { echo "late is not ready"; return 1; }
		CHILDREN+=("$(<"$dir/pid")")
	done
	copy_tree "$PID" "$WORK/images/$name" && fell "$PID" || return
	for dir in "${DIRS[@]}"; do
		: >"$dir/go"
	done
}

end()
{
	local i=$1
	wait_for 40 said "$i" || { echo "child $i says nothing"; return 1; }
	[ "$(cat "${DIRS[i]}/result" 2>/dev/null)" = ok ] &&
	    [ ! -e "${DIRS[i]}/wrong" ] || {
		echo "child $i says: $(cat "${DIRS[i]}"/{result,wrong,log} 2>&1)"
		return 1
	}
}

said()
{
	[ -e "${DIRS[$1]}/result" ] || gone "${CHILDREN[$1]}"
}

# Those that wait for a word may end.
ask()
{
	local dir
	for dir in "${DIRS[@]}"; do
		: >"$dir/check"
	done
}

# All children have found what they had, and the shell has heard of it.
result()
{
	local i
	ask
	for i in "${!DIRS[@]}"; do
		end "$i" || return
	done
	over
}

over()
{
	wait_for 5 gone "$PID" || { echo "the shell does not end"; return 1; }
	forget "$PID"
	rm -rf "${DIRS[@]}"
	wait_for 5 no_pagers || { echo "left: $(pagers)"; return 1; }
}

# ---- what they do ----

does_at_once()
{
	prepare "$1" "$1" "$1" || return
	restore "$PID" "$WORK/images/$1" || return
	result
}

# One of a tree does this, the others that.
# usage: each_does ACTION...
each_does()
{
	local mib=8
	prepare each "$@" || return
	set_speed 4
	restore "$PID" "$slow/each" || return
	result
}

# Not all of its memory is there, or that of others.
is_missing()
{
	grep -q '^VmFlags:.* um' "/proc/$1/smaps"
}

returns_early()
{
	prepare early none none || return
	set_speed 0
	restore "$PID" "$slow/early" || return
	set_speed stop
	has_pager "$PID" || { echo "there is no pager"; return 1; }
	is_missing "${CHILDREN[0]}" && is_missing "${CHILDREN[1]}" || {
		echo "all is there"
		return 1
	}
	[ ! -e "${DIRS[0]}/result" ] || { echo "it is done already"; return 1; }
	! grep -q "not lazy: .* bytes" "$MNT/.log" || {
		echo "these share nothing: $(grep "not lazy" "$MNT/.log")"
		return 1
	}
	set_speed 0
	result
}

eager()
{
	prepare eager touch || return
	restore "$PID" "$WORK/images/eager" lazy=no || return
	! has_pager "$PID" || { echo "there is a pager"; return 1; }
	result
}

# A parent and those that it has forked: what they share comes before they run,
# and what they do not, later.
forked()
{
	local dir=$WORK/forks child
	mkdir "$dir"
	"$TOOLS/forks" "$dir" -m 32 -p 3 -w 8192 "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 test -s "$dir/ready" && copy_tree "$PID" "$WORK/images/forked" &&
	    fell "$PID" || return
	set_speed 0
	restore "$PID" "$slow/forked" || return
	set_speed stop
	has_pager "$PID" || { echo "there is no pager"; return 1; }
	for child in $(family "$PID" | tail -n +2); do
		is_missing "$child" || { echo "all of $child is there"; return 1; }
	done
	grep -q "not lazy: [0-9]* bytes that processes share" "$MNT/.log" || {
		echo ".log does not tell what they share"
		return 1
	}
	set_speed 4
	: >"$dir/check"
	wait_for 60 test -s "$dir/result" || { echo "they do not answer"; return 1; }
	[ "$(<"$dir/result")" = "4 0" ] || {
		echo "right and wrong: $(<"$dir/result")"
		return 1
	}
	fell "$PID" && wait_for 5 no_pagers || { echo "left: $(pagers)"; return 1; }
	rm -rf "$dir" "$WORK/images/forked"
}

# More processes than a pager serves: the rest have read theirs.
# usage: many PROCESSES LIMIT SERVED
many()
{
	local dir=$WORK/many
	mkdir "$dir"
	"$TOOLS/forks" "$dir" -m 4 -p "$1" -w 64 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 test -s "$dir/ready" && copy_tree "$PID" "$WORK/images/many" &&
	    fell "$PID" || return
	PIDS+=("$PID")
	ANSWER=$(ulimit -n "$2"
	    "$TOOLS/request" "$MNT/.restore" "$WORK/images/many") || {
		echo "restore: $ANSWER"
		return 1
	}
	grep -q "not lazy: [0-9]* bytes of other processes than the $3 " \
	    "$MNT/.log" || { echo ".log: $(grep 'not lazy' "$MNT/.log")"; return 1; }
	: >"$dir/check"
	wait_for 60 test -s "$dir/result" || { echo "they do not answer"; return 1; }
	[ "$(<"$dir/result")" = "$(($1 + 1)) 0" ] || {
		echo "right and wrong: $(<"$dir/result")"
		return 1
	}
	fell "$PID" && wait_for 5 no_pagers || { echo "left: $(pagers)"; return 1; }
	rm -rf "$dir" "$WORK/images/many"
}

# ---- what is done to them ----

# They run, and their pager reads, with not all there, until set_speed says how
# fast it goes on.
begin_watch()
{
	prepare "$1" "${@:2}" || return
	begin_again "$1"
}

# usage: begin_again NAME [OPTION...]
begin_again()
{
	local child
	set_speed 10
	restore "$PID" "$slow/$1" "${@:2}" || return
	set_speed stop
	pager=$(pager_of "$PID")
	[ -n "$pager" ] || { echo "there is no pager: $(cat "$MNT/.status")"; return 1; }
	guard=$(guard_of "$pager")
	[ -n "$guard" ] || { echo "there is no guard"; return 1; }
	for child in "${CHILDREN[@]}"; do
		is_missing "$child" || { echo "all of $child is there"; return 1; }
	done
}

# The children died without having seen anything wrong, and .status says why.
died()
{
	local i
	set_speed 3
	for i in "${!DIRS[@]}"; do
		wait_for 10 gone "${CHILDREN[i]}" || { echo "child $i lives"; return 1; }
		[ ! -e "${DIRS[i]}/result" ] || {
			echo "it saw: $(<"${DIRS[i]}/result")"
			return 1
		}
	done
	wait_for 5 grep -Eq "^error: .*$1" "$MNT/.status" || {
		echo ".status does not say why: $(grep '^error' "$MNT/.status")"
		return 1
	}
	over && { wait_for 5 no_guards || { echo "a guard is left"; return 1; }; }
}

pager_killed()
{
	begin_watch killed watch watch && set_speed 3 || return
	kill -9 "$pager"
	died "of process $PID and those below it, all were killed .*signal 9"
}

guard_killed()
{
	begin_watch guard watch watch && set_speed 3 || return
	kill -9 "$guard"
	died "${CHILDREN[0]}.*${CHILDREN[1]} were killed.*guard was killed"
}

both_killed()
{
	begin_watch both watch watch && set_speed 3 || return
	kill -9 "$pager" "$guard"
	died "killed"
}

# usage: pages_of NAME CHILD: its file, which can be written to
pages_of()
{
	local pages=$WORK/images/$1/children/${CHILDREN[$2]}/pages
	chmod u+w "$pages" && echo "$pages"
}

# For the file of one both die.
image_truncated()
{
	begin_watch truncated watch watch || return
	truncate -s 1M "$(pages_of truncated 0)" || return
	died "${CHILDREN[0]}, ${CHILDREN[1]} were killed.*children/${CHILDREN[0]}/pages: at .*shorter"
}

# From a place on that is not there yet.
image_changed()
{
	begin_watch changed watch watch || return
	dd if=/dev/urandom of="$(pages_of changed 1)" bs=4096 count=4096 seek=100 \
	    conv=notrunc 2>/dev/null || return
	died "${CHILDREN[0]}, ${CHILDREN[1]} were killed.*children/${CHILDREN[1]}/pages: .*another checksum"
}

image_unreadable()
{
	begin_watch unreadable watch watch || return
	set_speed error
	wait_for 10 gone "${CHILDREN[0]}" || { echo "it lives"; return 1; }
	died "${CHILDREN[0]}, ${CHILDREN[1]} were killed.*children/[0-9]*/pages: at .*Input/output error"
}

image_removed()
{
	begin_watch removed watch watch || return
	rm -rf "$WORK/images/removed"
	set_speed 3
	result
}

# Damaged from the start: it is refused, or all die before one sees it.
damaged()
{
	local at pages pid
	prepare damaged touch watch || return
	pages=$(pages_of damaged 0) && at=$(($(stat -c %s "$pages") / 2)) || return
	printf X | dd of="$pages" bs=1 seek=$at conv=notrunc 2>/dev/null
	set_speed 4
	if restore "$PID" "$slow/damaged" >/dev/null; then
		guard=0
		died "children/${CHILDREN[0]}/pages: .*another checksum" || return
	fi
	for pid in "$PID" "${CHILDREN[@]}"; do
		wait_for 5 free_pid "$pid" || { echo "$pid is left"; return 1; }
	done
	refused EBADMSG "$WORK/images/damaged" lazy=no
}

# usage: has_family PID COUNT: so many, or more
has_family()
{
	[ "$(family "$1" | wc -l)" -ge "$2" ]
}

# Nobody knows the pids of those that were forked meanwhile: they, too, die, those
# of the child whose file is as it was as well.
orphans()
{
	local all pid
	begin_watch orphans fork fork || return
	# They may wait for what they need to fork at all.
	set_speed 10
	wait_for 10 has_family "$PID" 5 || { echo "they do not fork"; return 1; }
	set_speed stop
	is_missing "${CHILDREN[0]}" || { echo "all is there"; return 1; }
	all=$(family "$PID")
	truncate -s 1M "$(pages_of orphans 0)" || return
	died "shorter" || return
	for pid in $all; do
		wait_for 10 gone "$pid" || { echo "process $pid lives"; return 1; }
	done
}

# ---- what else happens meanwhile ----

daemon_killed()
{
	begin_watch outlives watch watch || return
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	mount_snapfs
	goes_on
}

unmounted()
{
	begin_watch unmounts watch watch || return
	unmount_snapfs || return
	mount_snapfs
	goes_on
}

# Their pager, which another daemon has started, brings the rest.
goes_on()
{
	local child
	for child in "${CHILDREN[@]}"; do
		is_missing "$child" || { echo "$child died, or has all"; return 1; }
	done
	[ "$(pager_of "$PID")" = "$pager" ] || { echo "pagers: $(pagers)"; return 1; }
	set_speed 3
	result
}

# A checkpoint waits for what is missing, of any of them, and has it.
half_filled()
{
	local copying i again=$WORK/images/again
	begin_watch half watch watch || return
	rm -rf "$again"
	cp -r "$MNT/$PID" "$again" 3>&- 9>&- &
	copying=$!
	wait_for 10 grep -Eq "process ($PID|${CHILDREN[0]}): waiting for its memory" \
	    "$MNT/.log" || { echo "it does not wait"; return 1; }
	set_speed 0
	wait "$copying" || copy_tree "$PID" "$again" || return
	for i in 0 1; do
		[ "$(stat -c %s "$again/children/${CHILDREN[i]}/pages")" -ge \
		    $((mib << 20)) ] || { echo "pages are missing of child $i"; return 1; }
	done
	fell "$PID" && restore "$PID" "$again" || return
	result
}

# As restored, twice from one image, the second with new pids.
two_pagers()
{
	local second one two
	begin_watch two watch watch || return
	set_speed 20
	ANSWER=$("$TOOLS/request" "$MNT/.restore" pid=new "$slow/two") || {
		echo "restore: $ANSWER"
		return 1
	}
	set_speed stop
	second=$(restored_pid)
	PIDS+=("$second")
	one=$(pager_of "$PID") two=$(pager_of "$second")
	[ -n "$one" ] && [ -n "$two" ] && [ "$one" != "$two" ] || {
		echo "pagers: $(pagers)"
		return 1
	}
	has_family "$second" 3 || { echo "not all of the second live"; return 1; }
	set_speed 3
	ask
	wait_for 40 gone "$second" || { echo "the second does not end"; return 1; }
	forget "$second"
	result
}

# Who is killed for it misses memory, too.
replaced()
{
	local before
	begin_watch replaced watch watch || return
	before=$pager
	begin_again replaced replace || return
	set_speed 3
	wait_for 5 gone "$before" || { echo "the first pager lives on"; return 1; }
	! grep "^error: .*${CHILDREN[0]}.* killed" "$MNT/.status" || return
	result
}

# What the writer gave belongs to them, and not to their pager.
inherits()
{
	local dir=$WORK/given child
	prepare inherits watch watch && mkdir "$dir" || return
	set_speed 10
	PIDS+=("$PID")
	"$TOOLS/request" "$MNT/.restore" "$slow/inherits" stdio=inherit \
	    </dev/null >"$dir/out" 2>"$dir/err" || { cat "$dir/out"; return 1; }
	set_speed stop
	pager=$(pager_of "$PID")
	for child in "${CHILDREN[@]}"; do
		is_missing "$child" || { echo "all of $child is there"; return 1; }
	done
	[ "$(readlink "/proc/$PID/fd/1")" = "$dir/out" ] || {
		echo "its output is $(readlink "/proc/$PID/fd/1")"
		return 1
	}
	! find "/proc/$pager/fd" -lname "$dir/*" | grep . || return
	set_speed 3
	result
}

# The others have theirs all the same.
one_ends_early()
{
	begin_watch ends watch watch watch || return
	kill9 "${CHILDREN[1]}" || return
	has_pager "$PID" || { echo "its pager ended, too"; return 1; }
	set_speed 3
	ask
	end 0 && end 2 && over
}

killed_all()
{
	begin_watch dies watch watch && set_speed 3 || return
	fell "$PID" || return
	wait_for 5 gone "$pager" || { echo "its pager lives on"; return 1; }
	wait_for 5 no_guards || { echo "its guard lives on"; return 1; }
	rm -rf "${DIRS[@]}"
}

start_slowfs
mount_snapfs
t "the restore returns before all is there" returns_early
t "each does something else, slow" each_does touch madvise free guard mremap munmap \
    mprotect fork forks exec spawn syscalls
t "two that free their memory, at once" does_at_once free
t "two with 64 threads that touch all, at once" does_at_once touch
t "lazy=no" eager
t "forked, which share memory" forked
t "each forked by another" forked -d
t "forked, and their parent has written since" forked -r
t "more than are served" many 70 4096 64
t "few descriptors" many 20 320 '[0-9]*'
t "the pager is killed" pager_killed
t "the guard is killed" guard_killed
t "both are killed" both_killed
t "the image is removed" image_removed
t "the image is truncated" image_truncated
t "the image is changed" image_changed
t "the image cannot be read" image_unreadable
t "a damaged image" damaged
t "the image is truncated, and they have forked" orphans
t "the daemon is killed" daemon_killed
t "the file system is unmounted" unmounted
t "a half-filled tree is copied" half_filled
t "two pagers, one image" two_pagers
t "a half-filled tree is replaced" replaced
t "stdio=inherit" inherits
t "one of them ends early" one_ends_early
t "all are killed" killed_all
t "the daemon ends well" unmount_snapfs
t "slowfs ends well" stop_slowfs
[ $TEST_FAILED = no ]
