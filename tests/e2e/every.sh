#!/bin/bash
# every.sh - snapfs-every: checkpoints at an interval, increments, rotation,
# and what is left when it dies anywhere.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root

dir=$WORK/kept
log=$WORK/every.log
EVERY=
export PATH="$top/mountscripts:$BUILD/snapfs:$PATH"

# usage: every ARG...: in the background.
every()
{
	snapfs-every -m "$MNT" "$@" </dev/null >>"$log" 2>&1 3>&- &
	EVERY=$!
	PIDS+=("$EVERY")
}

once()
{
	snapfs-every -1 -m "$MNT" "$@" 3>&-
}

begin()
{
	[ ! -d "$dir" ] || { chmod -R u+w "$dir" && rm -rf "$dir"; }
	: >"$log"
	start_subject "$@"
}

names()
{
	(cd "$dir" && echo [0-9]*)
}

parent()
{
	key "$dir/$1" parent
}

id()
{
	key "$dir/$1" id
}

# The daemon has noted that the newest copy was one.
noted()
{
	parent_is "$(id latest)"
}

# usage: rounds N [ARG...]: so many checkpoints, one by one.
rounds()
{
	local n=$1
	shift
	while [ $((n--)) -gt 0 ]; do
		once "$@" 1s "$PID" "$dir" || return
		wait_for 10 noted || { echo "not noted"; return 1; }
	done
}

# usage: has_line N: so many checkpoints have been told of.
has_lines()
{
	[ "$(grep -c ' KiB' "$log")" -ge "$1" ]
}

# Each of them comes back by itself; the last is left running.
all_restore()
{
	local n
	for n in $(names); do
		kill9 "$PID"
		restore "$PID" "$dir/$n" || { echo "$n does not restore"; return 1; }
	done
	check_subject restored
}

at_intervals()
{
	begin mem_private || return
	every 0.5 "$PID" "$dir"
	wait_for 60 has_lines 4 || { cat "$log"; return 1; }
	kill "$EVERY"
	wait "$EVERY" || { echo "status $?"; return 1; }
	[ ! -e "$dir/.new" ] || return
	[ "$(parent 0000000001)" = none ] || return
	grep -q increment "$log" || { cat "$log"; return 1; }
	[ "$(readlink "$dir/latest")" = "$(names | tr ' ' '\n' | tail -n 1)" ] ||
	    return
	kill9 "$PID"
	restore "$PID" "$dir/latest" && check_subject restored
}

# Increments to one another; never twice the number that is wanted.
rotated()
{
	begin mem_private || return
	rounds 2 --keep 3 && rounds 3 --keep=3 || return
	[ "$(parent 0000000005)" = "$(id 0000000004)" ] || return
	[ "$(names | wc -w)" = 5 ] || { names; return 1; }
	rounds 1 -k 3 || return
	[ "$(names)" = "0000000004 0000000005 0000000006" ] || { names; return 1; }
	[ "$(parent 0000000004)" = none ] || { echo "not whole"; return 1; }
	[ "$(parent 0000000005)" = "$(id 0000000004)" ] || return
	rounds 1 -k 3 || return
	[ "$(parent 0000000007)" = "$(id 0000000006)" ] || return
	all_restore
}

only_one()
{
	begin mem_private || return
	# Options after the interval, and after all.
	once 1s --keep 1 "$PID" "$dir" && wait_for 10 noted || return
	once 1s "$PID" "$dir" -k1 && wait_for 10 noted || return
	rounds 1 -k 1 || return
	[ "$(names)" = 0000000003 ] && [ "$(parent 0000000003)" = none ] ||
	    { names; return 1; }
	kill9 "$PID"
	restore "$PID" "$dir/latest" && check_subject restored
}

# Whoever copies it meanwhile makes the next one whole.
copied_by_others()
{
	begin mem_private || return
	rounds 2 || return
	copy "$PID" "$WORK/other" || return
	rm -rf "$WORK/other"
	wait_for 10 not_noted || return
	rounds 1 && [ "$(parent 0000000003)" = none ] || return
	check_survived
}

not_noted()
{
	! noted
}

# It looks at its mappings itself, and would see that they are registered.
check_survived()
{
	echo off >"$MNT/$PID/.track" && check_subject survived
}

daemon_anew()
{
	begin mem_private || return
	rounds 2 || return
	unmount_snapfs && mount_snapfs freeze_timeout=20 || return
	rounds 2 || return
	[ "$(parent 0000000003)" = none ] || return
	[ "$(parent 0000000004)" = "$(id 0000000003)" ] || return
	check_survived
}

# The newest is complete with all that it needs, and there are not too many.
# usage: usable KEEP
usable()
{
	local n
	n=$(names | tr ' ' '\n' | grep -cx '[0-9]*')
	[ "$n" -le $((2 * $1)) ] || { echo "$n of them: $(names)"; return 1; }
	[ "$(du -sk "$dir" | cut -f 1)" -le $((size * (2 * $1 + 2))) ] ||
	    { du -k "$dir"; return 1; }
	[ -e "$dir/latest/checkpoint" ] || { echo "no latest one"; return 1; }
	(cd "$dir/latest" && xxhsum -c --quiet xxh128sums) || return
	[ "$(key "$dir/latest" parent)" != none ] || return 0
	rm -rf "$WORK/merged"
	snapfs-merge -o "$WORK/merged" "$(realpath "$dir/latest")"
}

# It and all that it has started are killed, at any moment, again and again:
# what has a name is whole each time, and the next one goes on.
killed()
{
	local i size progress=0 rounds=${ROUNDS:-15}
	[ "${QUICK-no}" = no ] || rounds=8
	begin mem_private || return
	rounds 1 -k 2 || return
	size=$(du -sk "$dir" | cut -f 1)
	# On a slow machine it may take a while until one comes through.
	for ((i = 0; i < rounds || (i < 60 && progress == 0); i++)); do
		setsid "$top/mountscripts/snapfs-every" -m "$MNT" -k 2 0.05 "$PID" \
		    "$dir" </dev/null >>"$log" 2>&1 3>&- &
		EVERY=$!
		sleep "$((i / rounds)).$(printf %03d $((RANDOM % 700)))"
		kill -9 -- "-$EVERY" 2>/dev/null || kill -9 "$EVERY"
		wait "$EVERY" 2>/dev/null
		wait_for 20 flock -n "$dir/.lock" true || return
		usable 2 || { echo "round $i"; return 1; }
		[ "$(names)" = 0000000001 ] || progress=1
	done
	[ $progress = 1 ] || { echo "no progress"; return 1; }
	rounds 1 -k 2 || return
	[ ! -e "$dir/.new" ] && [ ! -e "$dir/.trash" ] || return
	[ -z "$(find "$dir" -name '*.whole' -o -name '*.part')" ] || return
	[ "$(names | wc -w)" -lt 5 ] || { names; return 1; }
	rm -rf "$WORK/merged"
	all_restore
}

# What the timer of systemd has called, with a systemctl that knows our process.
timer()
{
	local unit=$BUILD/mountscripts/snapfs-every@.service i command
	begin mem_private || return
	! command -v systemd-analyze >/dev/null || (
	    cp "$unit" "$top/mountscripts/snapfs-every@.timer" "$WORK" &&
		systemd-analyze --man=no verify "$WORK"/snapfs-every@.*
	) || return
	mkdir -p "$WORK/bin"
	# shellcheck disable=SC2016 # the script's own
	printf '#!/bin/sh\n[ "$5" = job.service ] && echo %s\n' "$PID" \
	    >"$WORK/bin/systemctl"
	chmod +x "$WORK/bin/systemctl"
	command=$(sed -n 's/^ExecStart=//p' "$unit" | sed 's/\$\$/$/g; s/%i/job/')
	for i in 1 2 3; do
		mkdir -p "$dir"
		env PATH="$WORK/bin:$PATH" KEEP=2 MOUNTPOINT="$MNT" \
		    STATE_DIRECTORY="$dir" sh -c "$command" 3>&- || return
		wait_for 10 noted || { echo "not noted"; return 1; }
	done
	[ "$(parent 0000000003)" = "$(id 0000000002)" ] || return
	# Nothing to do where the service does not run.
	printf '#!/bin/sh\necho 0\n' >"$WORK/bin/systemctl"
	env PATH="$WORK/bin:$PATH" sh -c "$command" || return
	check_survived
}

# The newest is complete, and the older ones are there still.
disk_full()
{
	local out
	mkdir -p "$WORK/small"
	mount -t tmpfs -o size=8m tmpfs "$WORK/small" || return
	begin mem_private
	dir=$WORK/small/kept
	rounds 1 || return
	head -c 8m /dev/zero >"$WORK/small/filler" 2>/dev/null
	out=$(once 1s "$PID" "$dir" 2>&1) && { echo "no room, no error"; return 1; }
	[[ $out == *"no checkpoint this time"* ]] || { echo "$out"; return 1; }
	[ "$(names)" = 0000000001 ] && [ ! -e "$dir/.new" ] || return
	goes_on || return
	kill9 "$PID"
	restore "$PID" "$dir/latest" && check_subject restored
}

# As an increment, once there is room again.
goes_on()
{
	every 0.2 "$PID" "$dir"
	wait_for 60 grep -q "no checkpoint this time" "$log" ||
	    { cat "$log"; return 1; }
	rm "$WORK/small/filler"
	wait_for 60 has_lines 1 || { cat "$log"; return 1; }
	kill "$EVERY" && wait "$EVERY" || return
	[ "$(parent 0000000002)" = "$(id 0000000001)" ] || { cat "$log"; return 1; }
}

# All was read, but it did not come to the disk.
not_on_disk()
{
	local out
	begin mem_private || return
	rounds 2 || return
	mkdir -p "$WORK/full"
	printf '#!/bin/sh\necho "sync: no space" >&2; exit 1\n' >"$WORK/full/sync"
	chmod +x "$WORK/full/sync"
	out=$(PATH=$WORK/full:$PATH once 1s "$PID" "$dir" 2>&1) &&
	    { echo "not on the disk, no error"; return 1; }
	[[ $out == *"sync: no space"* ]] || { echo "$out"; return 1; }
	once 1s "$PID" "$dir" || return
	[ "$(names)" = "0000000001 0000000002 0000000003" ] || { names; return 1; }
	[ "$(parent 0000000003)" = "$(id 0000000002)" ] ||
	    { echo "no increment to the one before"; return 1; }
	all_restore
}

full_and_clean()
{
	local rc=0
	disk_full || rc=1
	dir=$WORK/kept
	umount "$WORK/small" && return $rc
}

the_end()
{
	begin mem_private || return
	every 0.3 "$PID" "$dir"
	wait_for 60 has_lines 1 || return
	kill9 "$PID"
	wait_for 30 gone "$EVERY" || { echo "it goes on"; return 1; }
	wait "$EVERY" || return
	grep -q "process $PID has ended; its last checkpoint is 0" "$log" ||
	    { cat "$log"; return 1; }
}

one_at_a_time()
{
	local out
	begin mem_private || return
	every 10 "$PID" "$dir"
	wait_for 60 has_lines 1 || return
	out=$(once 1s "$PID" "$dir" 2>&1) && return 1
	[[ $out == *"another one is at work"* ]] || { echo "$out"; return 1; }
	kill "$EVERY" && wait "$EVERY" && check_survived
}

# As a user, of a process of his own.
as_user()
{
	begin mem_private || return
	kill9 "$PID"
	mkdir "$WORK/user" && chown nobody "$WORK/user" && chmod 711 "$WORK" || return
	setpriv --reuid nobody --clear-groups sleep 1000 </dev/null 3>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 grep -qx sleep "/proc/$PID/comm" || return
	for _ in 1 2 3 4; do
		setpriv --reuid nobody --clear-groups env "PATH=$PATH" \
		    snapfs-every -1 -k 2 -m "$MNT" 1s "$PID" "$WORK/user/kept" \
		    3>&- || return
	done
	[ "$(cd "$WORK/user/kept" && echo 0*)" = "0000000003 0000000004" ] || {
		ls "$WORK/user/kept"
		return 1
	}
	kill9 "$PID"
}

bad_usage()
{
	local a rc
	for a in "--keep 5 $$ x" "5 $$ x --keep=" "5 $$ x --none" "0 $$ x" "5x $$ x" "-1 $$ x" "5 0 x" "5 abc x" "5 $$" \
	    "-k 0 5 $$ x" "-k x 5 $$ x" "-z 5 $$ x" ". $$ x"; do
		# shellcheck disable=SC2086 # words
		snapfs-every -m "$MNT" $a >/dev/null 2>&1
		rc=$?
		[ $rc = 2 ] || { echo "$a: $rc"; return 1; }
	done
	! once 1s 4194303 "$WORK/none" 2>/dev/null || return
	[ ! -e "$WORK/none" ] || return
	! snapfs-every -1 -m "$WORK" 1s $$ "$WORK/none" 2>/dev/null
}

# A process and three that were forked from it: increments, the oldest merged,
# and the memory that they share is there once.
of_a_tree()
{
	local forks=$WORK/forks
	[ ! -d "$dir" ] || { chmod -R u+w "$dir" && rm -rf "$dir"; }
	mkdir "$forks"
	"$TOOLS/forks" "$forks" -m 8 -p 3 -w 64 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 test -s "$forks/ready" || return
	rounds 4 -k 2 || return
	[ "$(names)" = "0000000003 0000000004" ] || { names; return 1; }
	[ "$(parent 0000000003)" = none ] &&
	    [ "$(parent 0000000004)" = "$(id 0000000003)" ] || return
	[ "$(du -sk "$dir/0000000003" | cut -f 1)" -lt 20000 ] &&
	    [ "$(du -sk "$dir/0000000004" | cut -f 1)" -lt 4000 ] || {
		du -sk "$dir"/0*
		return 1
	}
	fell "$PID" && restore "$PID" "$dir/latest" || return
	: >"$forks/check"
	wait_for 60 test -s "$forks/result" || { echo "they do not answer"; return 1; }
	[ "$(<"$forks/result")" = "4 0" ] || { cat "$forks/result"; return 1; }
	fell "$PID"
}

mount_snapfs freeze_timeout=20
t "checkpoints come at an interval" at_intervals
t "the oldest are merged into one" rotated
t "one alone is kept" only_one
t "after another copy the next is whole" copied_by_others
t "after a restart of the daemon the next is whole" daemon_anew
t "a tree of processes" of_a_tree
t "killed anywhere, all that is there restores" killed
t "the timer of systemd" timer
t "a full disk costs nothing that is there" full_and_clean
t "what does not come to the disk is in the next increment" not_on_disk
t "it ends with the process" the_end
t "two do not share a directory" one_at_a_time
t "a user has it for his own process" as_user
t "wrong usage is told" bad_usage
unmount_snapfs
[ $TEST_FAILED = no ]
