#!/bin/bash
# cgroups.sh - a process comes back into the cgroups that it was in, where the
# writer may put it there; else it stays in the writer's, and the answer says so.

. "$(dirname "$0")/lib.sh"
need_root

v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)pids(,|$)/ { print $2; exit }' /proc/mounts)
[ -n "$v2$v1" ] || skip_all "no cgroups are mounted"
mount_snapfs

made=()
# usage: group MOUNT NAME: DIR
group()
{
	DIR=$1/snapfs-test-$$-$2
	mkdir -p "$DIR" || return
	made=("$DIR" "${made[@]}")
}

clear_groups()
{
	local d
	for d in "${made[@]}"; do
		wait_for 5 rmdir "$d" 2>/dev/null
	done
	made=()
}

# The cgroup of PID in the hierarchy that is mounted at MOUNT.
# usage: cgroup_of PID MOUNT
cgroup_of()
{
	if [ "$2" = "$v2" ]; then
		sed -n 's/^0:://p' "/proc/$1/cgroup"
	else
		sed -n 's/^[0-9]*:[^:]*\bpids\b[^:]*://p' "/proc/$1/cgroup"
	fi
}

# usage: is_in PID MOUNT NAME
is_in()
{
	[ "$(cgroup_of "$1" "$2")" = "/snapfs-test-$$-$3" ] || {
		echo "it is in $(cgroup_of "$1" "$2")"
		return 1
	}
}

# usage: start_in DIR...: PID
start_in()
{
	sleep 1000 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	for DIR; do
		echo "$PID" >"$DIR/cgroup.procs" || return
	done
	wait_for 5 is_sleeping "$PID"
}

is_sleeping()
{
	[ "$(cat "/proc/$1/comm")" = sleep ] && [ "$(state_of "$1")" = S ]
}

# usage: begin MOUNT NAME
begin()
{
	rm -rf "$WORK/image"
	group "$1" "$2" || return
	start_in "$DIR" || return
	cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q "^cgroup: .*:/snapfs-test-$$-$2\$" "$WORK/image/status" || {
		grep ^cgroup "$WORK/image/status"
		return 1
	}
	kill9 "$PID"
}

back()
{
	begin "$1" back || return
	restore "$PID" "$WORK/image" || return
	is_in "$PID" "$1" back || return
	[[ $ANSWER != *cgroup* ]] || { echo "$ANSWER"; return 1; }
	kill9 "$PID"
	clear_groups
}

writers()
{
	begin "$1" writers || return
	restore "$PID" "$WORK/image" cgroup=writer || return
	[ "$(cgroup_of "$PID" "$1")" = "$(cgroup_of $$ "$1")" ] || return
	[[ $ANSWER != *cgroup* ]] || { echo "$ANSWER"; return 1; }
	kill9 "$PID"
	clear_groups
}

# It is not there any more.
lost()
{
	begin "$1" lost || return
	clear_groups
	restore "$PID" "$WORK/image" || return
	[ "$(cgroup_of "$PID" "$1")" = "$(cgroup_of $$ "$1")" ] || return
	[[ $ANSWER == *"cgroup "*"snapfs-test-$$-lost not joined: No such file"* ]] ||
	    { echo "$ANSWER"; return 1; }
	kill9 "$PID"
}

# It would be kept there, and so would the restore.
frozen()
{
	begin "$v2" frozen || return
	echo 1 >"$DIR/cgroup.freeze" || return
	restore "$PID" "$WORK/image" || return
	[ "$(cgroup_of "$PID" "$v2")" = "$(cgroup_of $$ "$v2")" ] || return
	[[ $ANSWER == *"not joined: it is frozen"* ]] || { echo "$ANSWER"; return 1; }
	kill9 "$PID"
	clear_groups
}

# A tree of which each has its own; what is left out of it is the parent's.
tree()
{
	rm -rf "$WORK/image"
	group "$1" parent && group "$1" child || return
	sh -c 'sleep 1000 & sleep 1001 & wait' </dev/null >/dev/null 2>&1 \
	    3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 has_children "$PID" 2 || return
	child=$(pgrep -P "$PID" -f 'sleep 1000') || return
	other=$(pgrep -P "$PID" -f 'sleep 1001') || return
	PIDS+=("$child" "$other")
	echo "$PID" >"$1/snapfs-test-$$-parent/cgroup.procs" || return
	echo "$other" >"$1/snapfs-test-$$-parent/cgroup.procs" || return
	echo "$child" >"$1/snapfs-test-$$-child/cgroup.procs" || return
	cp -r "$MNT/$PID" "$WORK/image" || return
	kill_tree || return
	restore "$PID" "$WORK/image" || return
	is_in "$PID" "$1" parent && is_in "$child" "$1" child &&
	    is_in "$other" "$1" parent || return
	kill_tree
	clear_groups
}

kill_tree()
{
	kill9 "$child" && kill9 "$other" && kill9 "$PID"
}

has_children()
{
	[ "$(pgrep -c -P "$1")" = "$2" ]
}

# Clones of a template are put there, too.
instances()
{
	local p
	begin "$1" instances || return
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$WORK/image" instances=2) || {
		echo "$ANSWER"
		return 1
	}
	for p in $(sed -n 's/^OK //; /^[0-9][0-9 ]*$/p' <<<"$ANSWER"); do
		PIDS+=("$p")
		is_in "$p" "$1" instances || return
		kill9 "$p"
	done
	clear_groups
}

# A user who may not write there.
forbidden()
{
	id nobody >/dev/null 2>&1 || return 77
	begin "$1" forbidden || return
	chmod -R a+rX,u+w "$WORK/image" && chmod a+x "$WORK" || return
	sed -i '/^uid:/s/: .*/: 65534 65534 65534 65534/
	    /^gid:/s/: .*/: 65534 65534 65534 65534/
	    /^groups:/s/:.*/:/; /^cap-/s/0x.*/0x0000000000000000/' \
	    "$WORK/image/status"
	reseal "$WORK/image" status
	setpriv --reuid 65534 --regid 65534 --clear-groups \
	    "$TOOLS/request" "$MNT/.restore" "$WORK/image" pid=new \
	    stdio=inherit </dev/null >"$WORK/answer" 3>&- 9>&- || {
		cat "$WORK/answer"
		return 1
	}
	ANSWER=$(<"$WORK/answer")
	PID=$(restored_pid)
	PIDS+=("$PID")
	[ "$(cgroup_of "$PID" "$1")" = "$(cgroup_of $$ "$1")" ] || return
	[[ $ANSWER == *"not joined: Permission denied"* ]] ||
	    { echo "$ANSWER"; return 1; }
	kill9 "$PID"
	clear_groups
}

hostile()
{
	local line
	begin "$1" hostile || return
	chmod -R u+w "$WORK/image"
	cp "$WORK/image/status" "$WORK/status"
	for line in 'cgroup: 0::/../../tmp' 'cgroup: 0::x' 'cgroup: ::/' \
	    'cgroup: 0::/a/..' 'cgroup: nonsense'; do
		sed "0,/^cgroup:/s|^cgroup:.*|$line|" "$WORK/status" \
		    >"$WORK/image/status"
		reseal "$WORK/image" status
		refused EBADMSG "$WORK/image" || return
		[[ $ANSWER == *status:*cgroup* ]] || { echo "$ANSWER"; return 1; }
	done
	clear_groups
}

for m in $v2 $v1; do
	t "back into its own ($m)" back "$m"
	t "cgroup=writer ($m)" writers "$m"
	t "one that is gone ($m)" lost "$m"
	t "a tree, each in its own ($m)" tree "$m"
	t "instances ($m)" instances "$m"
	t "where the writer may not ($m)" forbidden "$m"
	t "a bad line ($m)" hostile "$m"
done
[ -z "$v2" ] || t "one that is frozen" frozen
clear_groups
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
