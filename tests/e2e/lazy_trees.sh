#!/bin/bash
# lazy_trees.sh - the processes of a tree run before their memory is there, but
# what they share: each sees the bytes that it had, or dies.

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
	[ "$(cat "${DIRS[i]}/result" 2>/dev/null)" = ok ] || {
		echo "child $i says: $(cat "${DIRS[i]}/result" "${DIRS[i]}/log" 2>&1)"
		return 1
	}
}

said()
{
	[ -e "${DIRS[$1]}/result" ] || gone "${CHILDREN[$1]}"
}

# All children have found what they had, and the shell has heard of it.
result()
{
	local i
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

# Bytes that are there of those that are not.
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

# They run, and their pager is at work, with not all there.
begin_watch()
{
	prepare "$1" "${@:2}" || return
	set_speed 10
	restore "$PID" "$slow/$1" || return
	set_speed stop
	pager=$(pager_of "$PID")
	[ -n "$pager" ] || { echo "there is no pager: $(cat "$MNT/.status")"; return 1; }
	guard=$(guard_of "$pager")
	[ -n "$guard" ] || { echo "there is no guard"; return 1; }
	set_speed 3
}

# The children died without having seen anything wrong, and .status says why.
died()
{
	local i
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
	begin_watch killed watch watch || return
	kill -9 "$pager"
	died "of process $PID and those below it, all were killed .*signal 9"
}

guard_killed()
{
	begin_watch guard watch watch || return
	kill -9 "$guard"
	died "${CHILDREN[0]}.*${CHILDREN[1]} were killed.*guard was killed"
}

both_killed()
{
	begin_watch both watch watch || return
	kill -9 "$pager" "$guard"
	died "killed"
}

image_truncated()
{
	local pages
	begin_watch truncated watch || return
	pages=$(find "$WORK/images/truncated/children/${CHILDREN[0]}" -name pages)
	chmod u+w "$pages"
	truncate -s 1M "$pages"
	died "${CHILDREN[0]} (was|were) killed.*shorter"
}

# The others have theirs all the same.
one_ends_early()
{
	begin_watch ends watch watch watch || return
	kill9 "${CHILDREN[1]}" || return
	has_pager "$PID" || { echo "its pager ended, too"; return 1; }
	: >"${DIRS[0]}/check"
	: >"${DIRS[2]}/check"
	end 0 && end 2 && over
}

killed_all()
{
	begin_watch dies watch watch || return
	fell "$PID" || return
	wait_for 5 gone "$pager" || { echo "its pager lives on"; return 1; }
	wait_for 5 no_guards || { echo "its guard lives on"; return 1; }
	rm -rf "${DIRS[@]}"
}

start_slowfs
mount_snapfs
t "the restore returns before all is there" returns_early
for action in touch fork mremap exec; do
	t "$action, slow" does $action 4
done
t "two with 64 threads that touch all, at once" does_at_once touch
t "lazy=no" eager
t "forked, which share memory" forked
t "each forked by another" forked -d
t "forked, and their parent has written since" forked -r
t "more than are served" many 70 4096 64
t "few descriptors" many 20 256 '[0-9]*'
t "the pager is killed" pager_killed
t "the guard is killed" guard_killed
t "both are killed" both_killed
t "the image is truncated" image_truncated
t "one of them ends early" one_ends_early
t "all are killed" killed_all
t "the daemon ends well" unmount_snapfs
t "slowfs ends well" stop_slowfs
[ $TEST_FAILED = no ]
