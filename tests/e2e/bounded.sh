#!/bin/bash
# bounded.sh - targets that will not stop, readers that will not go on, and no
# memory or processes left: an error in a sentence, or the slower way with a
# note, in time; and everybody goes on.
#
# runs: alone

. "$(dirname "$0")/lib.sh"
need_root
chmod 0755 "$WORK"
timeout=0.7
mount_snapfs freeze_timeout=$timeout,linger=1,max_checkpoints=8

# A reader that fails, with this in its message, in this time.
# usage: fails PID MESSAGE [MS]
fails()
{
	local began=${EPOCHREALTIME/./} took err
	err=$(cat "$MNT/$1/checkpoint" 2>&1) && { echo "it could"; return 1; }
	took=$(((${EPOCHREALTIME/./} - began) / 1000))
	[[ $err == *"$2"* ]] || { echo "$err"; return 1; }
	# Some for a machine that has other work.
	[ $took -lt "${3-10000}" ] || { echo "after $took ms"; return 1; }
	# The same in a sentence.
	grep -q "^error: .*process $1\|^error: .*$1:" "$MNT/.status" || {
		grep '^error' "$MNT/.status"
		echo "no sentence in .status"
		return 1
	}
}

# usage: works PID: a checkpoint of it is taken
works()
{
	local line
	{ read -r line <"$MNT/$1/checkpoint"; } 2>/dev/null || return
	[[ $line == 'snapfs checkpoint '* ]]
}

# One test, of which nothing stays.
alone()
{
	local p
	t "$@"
	for p in "${PIDS[@]}"; do
		kill9 "$p"
	done
	PIDS=()
}

# ---- targets ----

# In a request to a file system that does not answer, where no signal reaches.
unanswered()
{
	local server asker
	mkdir -p "$WORK/mute"
	"$TOOLS/mute" "$WORK/mute" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	server=$!
	PIDS+=("$server")
	wait_for 5 grep -q " $WORK/mute " /proc/mounts || return
	cat "$WORK/mute/file" </dev/null >/dev/null 2>"$WORK/asker.err" 3>&- 9>&- &
	asker=$!
	PIDS+=("$asker")
	wait_for 5 grep -q 'fuse\|request_wait' "/proc/$asker/wchan" || {
		cat "/proc/$asker/wchan"
		return 1
	}
	fails $asker 'timed out' || return
	fails $asker 'timed out' || return
	expect_untouched $asker || return
	# It goes on waiting, and hears when the server ends.
	gone $asker && return 1
	kill -9 $server
	wait $server 2>/dev/null
	forget $server
	wait_for 5 gone $asker || return
	wait $asker
	forget $asker
	umount "$WORK/mute"
	cat "$WORK/asker.err"
	grep -q 'not connected\|abort' "$WORK/asker.err"
}
alone "a target in a sleep that nothing interrupts" unanswered

vfork_parent()
{
	"$TOOLS/churn" vfork </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -q . "/proc/$PID/task/$PID/children" || return
	fails "$PID" 'timed out' || return
	expect_untouched "$PID" || return
	kill9_with_child "$PID"
}
alone "a target that waits for its vfork(2) child" vfork_parent

under_gdb()
{
	local gdb
	start_subject call_nanosleep || return
	mkfifo "$WORK/gdb.in"
	gdb -q -nx -p "$PID" <"$WORK/gdb.in" >"$WORK/gdb.out" 2>&1 3>&- 9>&- &
	gdb=$!
	exec 8>"$WORK/gdb.in"
	wait_for 20 grep -q '(gdb)' "$WORK/gdb.out" || { cat "$WORK/gdb.out"; return 1; }
	fails "$PID" 'busy' || return
	echo detach >&8
	echo quit >&8
	exec 8>&-
	wait $gdb
	wait_for 5 untraced "$PID" || return
	wait_for 5 works "$PID" || return
	# gdb itself may have cut the call short: nothing more is asked of it.
	kill9 "$PID"
}
alone "a target under gdb" under_gdb

# usage: freezer DIR FILE ON OFF: a cgroup that is frozen by this
freezer()
{
	local dir=$1 rc
	mkdir "$dir" || return 77
	start_subject mem_private || return
	echo "$PID" >"$dir/cgroup.procs" || return
	echo "$3" >"$dir/$2" || return
	sleep 0.2
	# Either the kernel lets it be held, or it does not.
	if works "$PID"; then
		echo "it could be held"
	else
		fails "$PID" 'timed out' || rc=1
	fi
	echo "$4" >"$dir/$2" || return
	[ "${rc-0}" = 0 ] || return
	expect_untouched "$PID" || return
	# What failed is not tried again for a second.
	wait_for 5 works "$PID" || return
	check_subject survived || return
	wait_for 2 rmdir "$dir"
}
frozen_v1()
{
	local d=/sys/fs/cgroup/freezer
	[ -d $d ] && grep -q " $d cgroup " /proc/mounts || { echo "no freezer"; return 77; }
	freezer $d/snapfs-test-$$ freezer.state FROZEN THAWED
}
frozen_v2()
{
	local d
	d=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$d" ] || { echo "no cgroup2"; return 77; }
	freezer "$d/snapfs-test-$$" cgroup.freeze 1 0
}
alone "a target in a frozen cgroup (version 1)" frozen_v1
alone "a target in a frozen cgroup (version 2)" frozen_v2

# With so much to say of its descriptors, or to copy, that it would be held too
# long.
# usage: too_much WHAT PART: what many.py does; of the sentence
too_much()
{
	unmount_snapfs && mount_snapfs freeze_timeout=0.02,linger=1 || return
	rm -rf "$WORK/much" "$WORK/much.said" && mkdir "$WORK/much"
	/usr/bin/python3 "$(dirname "$0")/many.py" "$1" "$WORK/much" \
	    </dev/null >"$WORK/much.said" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 grep -q . "$WORK/much.said" || return
	if grep ^skip "$WORK/much.said"; then
		return 77
	fi
	grep -qx ready "$WORK/much.said" || { cat "$WORK/much.said"; return 1; }
	# One that cannot be held in time on a busy machine says something else.
	wait_for 30 says_too_much "$2" || { tail -n 3 "$MNT/.log"; return 1; }
	expect_untouched "$PID" && kill9 "$PID" || return
	unmount_snapfs
	mount_snapfs freeze_timeout=$timeout,linger=1,max_checkpoints=8
}

says_too_much()
{
	works "$PID" && return 1
	grep -q "process $PID: .*$1 takes longer" "$MNT/.log"
}

alone "too many descriptors" too_much descriptors "to say of them"
alone "too many files that are watched" too_much watches \
    "to find than\\|to say of them"
alone "too much shared memory" too_much shared \
    "copying 256 MiB of /dev/zero (deleted)"
alone "too much in a memfd" too_much memfd "copying 256 MiB of /memfd:much (deleted)"
alone "too much memory of one that may not fork" too_much private \
    "copying [0-9]* MiB of private memory"

# ---- no processes, no memory ----

note_of()
{
	grep -q "process $1: it may not fork .*copied while it is frozen" "$MNT/.log"
}

# Its user may have no more processes.
no_processes()
{
	local uid=64321
	DIR=$(mktemp -d "$WORK/nproc.XXXXXX")
	chown $uid "$DIR"
	setpriv --reuid=$uid --clear-groups --inh-caps=-all prlimit --nproc=1:1 \
	    "$SUBJECTS/mem_private" "$DIR" </dev/null >"$DIR/log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 subject_spoke || return
	copy "$PID" "$WORK/nproc.image" || return
	note_of "$PID" || { grep "$PID" "$MNT/.log" | tail -n 5; return 1; }
	(cd "$WORK/nproc.image" && xxhsum -c --quiet xxh128sums) || return
	check_subject survived || return
	restore "$PID" "$WORK/nproc.image" && check_subject restored
}
alone "no process left for a twin (RLIMIT_NPROC)" no_processes

no_pids()
{
	local d=/sys/fs/cgroup/pids/snapfs-test-$$ rc=0
	[ -d /sys/fs/cgroup/pids ] || { echo "no pids cgroup"; return 77; }
	mkdir $d || return 77
	start_subject mem_private || return
	echo "$PID" >$d/cgroup.procs && echo 1 >$d/pids.max || return
	copy "$PID" "$WORK/pids.image" || rc=1
	note_of "$PID" || rc=1
	check_subject survived || rc=1
	wait_for 2 rmdir $d
	return $rc
}
alone "no process left for a twin (pids cgroup)" no_pids

# Memory runs out in its cgroup, and what is there of it twice is the twin's: it
# is the twin that goes.
no_memory()
{
	local d=/sys/fs/cgroup/memory/snapfs-test-$$ twin reader
	[ -d /sys/fs/cgroup/memory ] || { echo "no memory cgroup"; return 77; }
	mkdir $d && echo $((160 << 20)) >$d/memory.limit_in_bytes || return 77
	mkdir -p "$WORK/full"
	# Born there, so that all that it has is counted there.
	sh -c 'echo $$ >"$1"; exec "$2" "$3" 64' sh $d/cgroup.procs \
	    "$TOOLS/invariant" "$WORK/full" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/full/ready" || return
	sh -c 'exec 7<"$1"; exec sleep 1000' sh "$MNT/$PID/maps" </dev/null 3>&- 9>&- &
	reader=$!
	PIDS+=("$reader")
	wait_for 5 grep -q "^checkpoint: pid $PID" "$MNT/.status" || return
	twin=$(sed -n "s/^checkpoint: pid $PID .*twin \([0-9]*\) .*/\1/p" "$MNT/.status")
	[ "$(<"/proc/$twin/oom_score_adj")" = 1000 ] || return
	[ "$(<"/proc/$PID/oom_score_adj")" != 1000 ] || return
	sh -c 'echo $$ >"$1"; exec python3 -c "x = bytearray(80 << 20); print(len(x))"' sh \
	    $d/cgroup.procs || { echo "another was killed"; return 1; }
	wait_for 5 gone "$twin" || { echo "the twin lives"; return 1; }
	kill9 $reader
	gone "$PID" && { echo "the original was killed"; return 1; }
	expect_untouched "$PID" || return
	echo >"$WORK/full/check"
	wait_for 20 test -e "$WORK/full/result" || return
	grep -qx ok "$WORK/full/result" || { cat "$WORK/full/result"; return 1; }
	wait_for 5 gone "$PID"
	wait "$PID"
	forget "$PID"
	wait_for 2 rmdir $d
}
alone "no memory left for a twin" no_memory

# ---- readers ----

# As many that hold on to a checkpoint as there may be.
never_reads_on()
{
	local readers=() i err
	start_subject mem_private || return
	for i in 1 2 3 4 5 6 7 8; do
		sh -c 'exec 7<"$1"; read -r line <&7; echo "$line" >"$2"; exec sleep 1000' sh \
		    "$MNT/$PID/maps" "$WORK/reader.$i" </dev/null 3>&- 9>&- &
		readers+=($!)
		PIDS+=($!)
	done
	for i in 1 2 3 4 5 6 7 8; do
		wait_for 20 test -s "$WORK/reader.$i" || return
	done
	[ "$(grep -c "^checkpoint: pid $PID" "$MNT/.status")" = 8 ] || return
	fails "$PID" 'unavailable' || return
	grep -q 'max_checkpoints' "$MNT/.status" || return
	# Listing and looking is for everybody, and for another process the same.
	ls "$MNT/$PID" >/dev/null || return
	kill9 "${readers[0]}" || return
	wait_for 5 works "$PID" || return
	for i in "${readers[@]:1}"; do
		kill9 "$i" || return
	done
	expect_untouched "$PID" && check_subject survived && no_strays 5
}
alone "readers that never read on" never_reads_on

# The one that was not used for the longest time makes room.
oldest_goes()
{
	local readers=() i
	start_subject mem_private || return
	for i in 1 2 3 4 5 6 7 8; do
		# Without a file open: an idle checkpoint.
		sh -c 'read -r line <"$1"; echo "$line" >"$2"; exec sleep 1000' sh \
		    "$MNT/$PID/checkpoint" "$WORK/idle.$i" </dev/null 3>&- 9>&- &
		readers+=($!)
		PIDS+=($!)
		wait_for 10 test -s "$WORK/idle.$i" || return
	done
	wait_for 10 works "$PID" || return
	grep "^checkpoint: pid $PID" "$MNT/.status" >"$WORK/held"
	grep -q "reader ${readers[0]} " "$WORK/held" && {
		cat "$WORK/held"
		echo "the oldest is still there"
		return 1
	}
	for i in "${readers[@]}"; do
		kill9 "$i" || return
	done
	check_subject survived
}

thousand()
{
	local i bad=0 n=1000 began=$SECONDS
	[ "${QUICK-no}" = no ] || n=200
	start_subject thr_many || return
	rm -rf "$WORK/many"
	mkdir "$WORK/many"
	for ((i = 0; i < n; i++)); do
		cat "$MNT/$PID/checkpoint" >"$WORK/many/$i" 2>"$WORK/many/$i.err" 3>&- 9>&- &
		readers[i]=$!
	done
	for ((i = 0; i < n; i++)); do
		if wait "${readers[i]}"; then
			grep -q '^snapfs checkpoint' "$WORK/many/$i" || bad=1
		else
			# Too many, or others were at it all the time.
			grep -q 'unavailable\|timed out\|busy' "$WORK/many/$i.err" || {
				cat "$WORK/many/$i.err"
				bad=1
			}
		fi
	done
	echo "$(grep -l '^snapfs' "$WORK"/many/* | wc -l) of $n in $((SECONDS - began)) s"
	[ $bad = 0 ] && grep -q '^snapfs checkpoint' "$WORK"/many/* || return
	expect_untouched "$PID" && wait_for 5 works "$PID" && check_subject survived && no_strays 10
}
alone "a thousand readers at once" thousand

# ---- all of the machine ----

# As a user who has hundreds: whatever else runs here is not to be touched.
all_of_it()
{
	local i n=300 crowd=() p uid=64322
	local as=(setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all)
	[ "${QUICK-no}" = no ] || n=100
	for ((i = 0; i < n; i++)); do
		"${as[@]}" sleep 1000 </dev/null >/dev/null 2>&1 3>&- 9>&- &
		crowd+=($!)
		PIDS+=($!)
	done
	for p in "${crowd[@]}"; do
		wait_for 10 grep -qx sleep "/proc/$p/comm" || return
	done
	timeout 250 "${as[@]}" du -a "$MNT" >"$WORK/du" 2>"$WORK/du.err"
	[ $? != 124 ] || { tail -n 3 "$WORK/du" "$WORK/du.err"; echo "it does not end"; return 1; }
	for p in "${crowd[@]}"; do
		# One that could not be held in time is named.
		grep -q "/$p/maps\$" "$WORK/du" ||
		    grep -q "/$p/maps': Connection timed out" "$WORK/du.err" || {
			grep "/$p/" "$WORK/du.err"
			echo "not seen: $p"
			return 1
		}
		expect_untouched "$p" || return
		[ "$(state_of "$p")" = S ] || return
	done
	wc -l "$WORK/du" "$WORK/du.err"
	[ "$(wc -l <"$WORK/du")" -gt $((n * 15)) ] || return
	kill -9 "${crowd[@]}"
	for p in "${crowd[@]}"; do
		wait "$p" 2>/dev/null
		forget "$p"
	done
	no_strays 10
}
alone "du -a of a mount over hundreds of processes" all_of_it

# A tree with a program that serves a file system, and one that has files of that
# open: whoever is frozen answers nothing.
server_below()
{
	local rc below=$WORK/below server
	mkdir -p "$below"
	bash -c '"$1" -f "$2" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	    echo $! >"$3.server"
	    until [ -e "$2/.status" ]; do sleep 0.05; done
	    exec 8<>"$2/.restore" 7<"$2/.status" 6<"$2"
	    echo >"$3"
	    wait' - "$SNAPFS" "$below" "$WORK/opened" </dev/null >/dev/null 2>&1 \
	    3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/opened" || return
	server=$(<"$WORK/opened.server")
	timeout 20 cat "$MNT/$PID/checkpoint" >/dev/null 2>"$WORK/err"
	rc=$?
	wait_for 5 untraced "$PID" || { echo "it is held for ever"; rc=124; }
	umount -l "$below"
	kill -9 "$server"
	kill9 "$PID"
	[ $rc != 124 ] || { cat "$WORK/err"; return 1; }
}
t "a program that serves a file system is frozen with who uses it" server_below

t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs

# ---- the options ----

mount_snapfs max_checkpoints=8,linger=600
alone "the least recently used idle checkpoint goes first" oldest_goes
t "the daemon ends well after that" unmount_snapfs

mount_snapfs
defaults()
{
	grep -qx 'linger: 5' "$MNT/.status" &&
	    grep -qx 'freeze_timeout: 2' "$MNT/.status" &&
	    grep -qx 'max_checkpoints: 64' "$MNT/.status" || return
	# As the manual has it.
	local word value
	while read -r word value; do
		sed -n "/^\.It Cm $word Ns/,/^\.It/p" "$top/man/snapfs.1" |
		    grep -q "The default is $value\." || { echo "$word"; return 1; }
	done <<-END
	linger 5
	freeze_timeout 2
	max_checkpoints 64
	END
}
alone "the defaults, and the manual" defaults
t "and ends well" unmount_snapfs

# ---- a kernel that lacks a call ----

# ENOSYS of a request says to the kernel that there is no such request: it
# would go on without opendir(2), and the daemon would be told of no handle.
printf '#!/bin/sh\nexec "%s" -p "%s" "$@"\n' "$TOOLS/confine" "$SNAPFS" \
    >"$WORK/confined"
chmod +x "$WORK/confined"
SNAPFS=$WORK/confined
mount_snapfs
without_a_call()
{
	local i
	sleep 1000 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -qx sleep "/proc/$PID/comm" || return
	for i in 1 2 3; do
		cp -r "$MNT/$PID" "$WORK/no.$i" 2>"$WORK/no.err" && return 1
		grep -q 'not supported' "$WORK/no.err" || {
			cat "$WORK/no.err"
			return 1
		}
		ls -R "$MNT/$PID" >/dev/null 2>&1
	done
	grep "^error: .*$PID: pidfd_open" "$MNT/.status" || return
	kill -0 "$DAEMON" || return
	expect_untouched "$PID"
}
alone "a kernel without a call that it needs" without_a_call
t "after which it ends well" unmount_snapfs
[ $TEST_FAILED = no ]
