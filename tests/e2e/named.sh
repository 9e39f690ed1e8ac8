#!/bin/bash
# named.sh - PID@NAME: checkpoints that are kept until they are dropped.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs max_named=4,linger=0.3,freeze_timeout=15
cd "$WORK" || exit 1

# Run a command and expect this errno's words.
# usage: fails WORDS COMMAND...
fails()
{
	local words=$1
	shift
	if "$@" 2>err.out; then
		echo "$*: no error"
		return 1
	fi
	grep -q "$words" err.out || { echo "$*: $(<err.out); expected $words"; return 1; }
}

# What a test that failed has left does not spoil the next.
tn()
{
	local n
	t "$@"
	for n in "$MNT"/*@*; do
		[ ! -e "$n" ] || rmdir "$n"
	done
}

drop()
{
	rmdir "$MNT/$1" || return
	[ ! -e "$MNT/$1" ] || { echo "$1 is still there"; return 1; }
}

kept()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@one" || return
	[ "$(stat -c '%a %F' "$MNT/$PID@one")" = "500 directory" ] || return
	ls -1 "$MNT" | grep -qx "$PID@one" || { echo "not listed"; return 1; }
	# Processes one after the other see the same instant, long after the
	# linger time; and again.
	cp -r "$MNT/$PID@one" image && sleep 1 || return
	cp -r "$MNT/$PID@one" again && diff -r --no-dereference image again || return
	(cd again && xxhsum -c --quiet xxh128sums) || return
	[ "$(stat -c %Y "$MNT/$PID@one")" = "$(stat -c %Y "$MNT/$PID@one/pages")" ] || return
	expect_untouched "$PID" || return
	kill9 "$PID" || return
	# The original is gone: that is the point.
	tar -C "$MNT/$PID@one" -c . >one.tar || return
	rm -rf image again
	restore "$PID" "$MNT/$PID@one" || return
	check_subject restored || return
	drop "$PID@one"
}
tn "kept, listed, read, restored" kept

by_many()
{
	local i pids=() bad=no
	DIR=$WORK/inv && mkdir inv
	"$TOOLS/invariant" inv 16 </dev/null >inv/log 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e inv/ready || return
	mkdir "$MNT/$PID@i" || return
	for i in 1 2 3 4 5 6; do
		cp -r "$MNT/$PID@i" "many$i" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || bad=yes
	done
	[ $bad = no ] || { echo "a copy failed"; return 1; }
	for i in 2 3 4 5 6; do
		diff -r --no-dereference many1 "many$i" || return
	done
	(cd many1 && xxhsum -c --quiet xxh128sums) || return
	rm -rf many?
	drop "$PID@i" && kill9 "$PID"
}
tn "many readers, one instant" by_many

two_moments()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@a" && mkdir "$MNT/$PID@b" || return
	[ "$(sed -n 's/^id: //p' "$MNT/$PID@a/checkpoint")" != \
	    "$(sed -n 's/^id: //p' "$MNT/$PID@b/checkpoint")" ] || return
	diff -r --no-dereference "$MNT/$PID@a" "$MNT/$PID@b" >diff.out
	grep -q '^< id: ' diff.out && ! grep '^Only in' diff.out || return
	drop "$PID@a" && drop "$PID@b" && check_subject survived
}
tn "diff -r of two of them" two_moments

renamed()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@a" "$MNT/$PID@b" || return
	exec 7<"$MNT/$PID@a/maps"
	mv -T "$MNT/$PID@a" "$MNT/$PID@c" || return
	[ ! -e "$MNT/$PID@a" ] && [ -s "$MNT/$PID@c/maps" ] || return
	cmp - "$MNT/$PID@c/maps" <&7 || return
	exec 7<&-
	fails 'not empty' python3 -c 'import os, sys; os.rename(*sys.argv[1:])' \
	    "$MNT/$PID@b" "$MNT/$PID@c" || return
	fails 'File exists\|not permitted\|not empty' mv -nT "$MNT/$PID@b" "$MNT/$PID@c" ||
	    [ -s "$MNT/$PID@b/maps" ] || return
	fails 'not permitted' mv -T "$MNT/$PID@b" "$MNT/1@b" || return
	fails 'not permitted' mv -T "$MNT/$PID@b" "$MNT/other" || return
	fails 'Invalid argument\|itself' mv -T "$MNT/$PID@b" "$MNT/$PID@" || return
	fails 'not permitted' mv -T "$MNT/.log" "$MNT/$PID@l" || return
	fails 'not permitted' mv -T "$MNT/$PID" "$MNT/$PID@l" || return
	drop "$PID@b" && drop "$PID@c" && check_subject survived
}
tn "mv, and what rename(2) refuses" renamed

refusals()
{
	local long
	start_subject mem_private || return
	mkdir "$MNT/$PID@a" || return
	long=$(printf '%0300d' 0)
	fails 'File exists' mkdir "$MNT/$PID@a" || return
	fails 'Invalid argument' mkdir "$MNT/$PID@" || return
	fails 'Invalid argument' mkdir "$MNT/$PID@"$'a\nb' || return
	fails 'too long' mkdir "$MNT/$PID@$long" || return
	fails 'not permitted' mkdir "$MNT/name" || return
	fails 'not permitted' mkdir "$MNT/0$PID@a" || return
	fails 'not permitted' mkdir "$MNT/$PID/a" || return
	fails 'not permitted' mkdir "$MNT/$PID@a/b" || return
	fails 'not permitted' rmdir "$MNT/$PID" || return
	fails 'not permitted' rmdir "$MNT/$PID@a/fd" || return
	fails 'No such file' rmdir "$MNT/$PID@none" || return
	fails 'not permitted' rm -f "$MNT/$PID@a/maps" || return
	fails 'No such file' mkdir "$MNT/$(free_number)@a" || return
	fails 'deadlock' python3 -c 'import os, sys
os.mkdir("%s/%d@me" % (sys.argv[1], os.getpid()))' "$MNT" || return
	drop "$PID@a" && check_subject survived
}
free_number()
{
	local n=4000000
	while [ -e "/proc/$n" ]; do n=$((n - 1)); done
	echo $n
}
tn "what mkdir and rmdir refuse" refusals

bounded()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@"{1,2,3,4} || return
	fails 'quota' mkdir "$MNT/$PID@5" || return
	grep -q max_named "$MNT/.log" || return
	[ "$(sed -n 's/^named-live: //p' "$MNT/.status")" = 4 ] || return
	[ "$(grep -c "^named: pid $PID twin [1-9].* name $PID@[1-4]\$" "$MNT/.status")" = 4 ] || return
	drop "$PID@2" && mkdir "$MNT/$PID@5" || return
	rmdir "$MNT/$PID@"{1,3,4,5} || return
	grep -q '^named-memory: 0$' "$MNT/.status" || return
	check_subject survived
}
tn "how many, and what they cost" bounded

# The memory that the original changed since is what a name costs.
cost()
{
	local memory
	mkdir cost
	"$TOOLS/invariant" cost 64 </dev/null >cost/log 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e cost/ready || return
	mkdir "$MNT/$PID@c" || return
	kill9 "$PID" || return
	memory=$(sed -n 's/^named-memory: //p' "$MNT/.status")
	[ "$memory" -ge $((64 << 20)) ] || { echo "memory: $memory"; return 1; }
	drop "$PID@c"
}
tn "what one costs when the original is gone" cost

busy()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@a" || return
	exec 7<"$MNT/$PID@a/maps"
	fails 'busy' rmdir "$MNT/$PID@a" || return
	[ -s "$MNT/$PID@a/checkpoint" ] || return
	exec 7<&-
	drop "$PID@a" || return
	# Closed just now, by a process that has ended just now.
	for _ in $(seq 20); do
		mkdir "$MNT/$PID@a" || return
		cat "$MNT/$PID@a/"{maps,fdinfo/0} >/dev/null && ls "$MNT/$PID@a/fd" >/dev/null &&
		    rmdir "$MNT/$PID@a" || return
	done
	check_subject survived
}
tn "not dropped while something is open in it" busy

# The first time it is a child of this very shell, which cannot wait for it
# while its printf is blocked.
back_in_time()
{
	local mem
	mkdir back
	"$TOOLS/invariant" back 4 </dev/null >back/log 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e back/ready || return
	mkdir "$MNT/$PID@before" || return
	for _ in 1 2 3; do
		printf '%s\nreplace\n' "$MNT/$PID@before" >"$MNT/.restore" || return
		[ "$(head -n 1 "$MNT/.restore")" = "$PID" ] || { cat "$MNT/.restore"; return 1; }
		mem=$(xxhsum -H2 <"$MNT/$PID@before/pages") || return
		sleep 0.1
	done
	[ "$(xxhsum -H2 <"$MNT/$PID@before/pages")" = "$mem" ] || return
	# What it wrote since is undone, and it goes on.
	touch back/check
	wait_for 20 test -s back/result && [ "$(<back/result)" = ok ] || { cat back/result; return 1; }
	wait_for 5 gone "$PID" || return
	forget "$PID"
	drop "$PID@before"
}
tn "replace takes a process back in time" back_in_time

# A shell's jobs are of its process group: they go with it, though they were not
# there at the checkpoint.  Any other of the group is a reason to kill nobody.
shell_back()
{
	local shell orphan
	cat >loop.sh <<-'END'
	i=0
	while i=$((i + 1)); do
		echo $i >count
		[ ! -e orphan ] || [ -s orphan ] || (sleep 600 & echo $! >orphan)
		sleep 0.05
	done
	END
	setsid bash loop.sh </dev/null >/dev/null 2>&1 3>&- 9>&- &
	shell=$!
	PIDS+=("$shell")
	wait_for 20 test -s count || return
	mkdir "$MNT/$shell@before" || return
	for _ in 1 2 3; do
		sleep 0.3
		printf '%s\nreplace\n' "$MNT/$shell@before" >"$MNT/.restore" ||
		    { cat "$MNT/.restore"; return 1; }
		[ "$(head -n 1 "$MNT/.restore")" = "$shell" ] || return
		expect_untouched "$shell" || return
	done
	touch orphan
	wait_for 20 test -s orphan || return
	orphan=$(<orphan)
	PIDS+=("$orphan")
	fails 'File exists' bash -c 'printf "%s\nreplace\n" "$1" >"$2"' - \
	    "$MNT/$shell@before" "$MNT/.restore" || return
	grep -q "group or session of pid $orphan (sleep), which is not below" \
	    "$MNT/.restore" || { cat "$MNT/.restore"; return 1; }
	expect_untouched "$shell" || return
	: >count
	wait_for 20 test -s count || { echo "it does not go on"; return 1; }
	kill9 "$orphan" || return
	printf '%s\nreplace\n' "$MNT/$shell@before" >"$MNT/.restore" ||
	    { cat "$MNT/.restore"; return 1; }
	kill9 "$shell" || return
	drop "$shell@before"
}
tn "replace of a shell with jobs since" shell_back

# A parent that does not wait for its child hears why nothing came of it.
unwaited()
{
	python3 - "$MNT" <<-'END' || return
	import errno, os, subprocess, sys
	mnt = sys.argv[1]
	p = subprocess.Popen(["sleep", "600"], close_fds=True)
	name = "%s/%d@x" % (mnt, p.pid)
	while open("/proc/%d/comm" % p.pid).read() != "sleep\n": pass
	os.mkdir(name)
	with open(mnt + "/.restore", "r+b", buffering=0) as f:
	    f.write(b"%s\nreplace\n" % name.encode())
	    p.wait()
	    assert int(f.read().split()[0]) == p.pid
	os.kill(p.pid, 9)
	q = subprocess.Popen(["sleep", "600"])
	os.rmdir(name)
	name = "%s/%d@y" % (mnt, q.pid)
	while open("/proc/%d/comm" % q.pid).read() != "sleep\n": pass
	os.mkdir(name)
	f = open(mnt + "/.restore", "wb", buffering=0)
	f.write(b"%s\nreplace\n" % name.encode())
	try:
	    f.close()
	    sys.exit("no error")
	except OSError as e:
	    assert e.errno in (errno.EEXIST, errno.EINTR), e
	os.rmdir(name)
	assert q.wait() == -9
	END
	no_strays
}
tn "replace of a child of the writer's" unwaited

clones()
{
	local one
	start_subject call_futex || return
	mkdir "$MNT/$PID@x" || return
	one=$PID
	kill9 "$PID" || return
	for _ in 1 2 3; do
		ANSWER=$("$TOOLS/request" "$MNT/.restore" "$MNT/$one@x" pid=new) || return
		PID=$(restored_pid) && PIDS+=("$PID") || return
		expect_untouched "$PID" && kill9 "$PID" || return
	done
	drop "$one@x"
}
tn "pid=new clones from it" clones

# An old checkpoint of a pid and a new process with that pid do not mix.
pid_anew()
{
	local first
	start_subject mem_private || return
	first=$PID
	mkdir "$MNT/$first@old" || return
	rm -rf old new
	cp -r "$MNT/$first@old" old || return
	kill9 "$first" || return
	restore "$first" old || return
	fails 'File exists' mkdir "$MNT/$first@old" || return
	mkdir "$MNT/$first@new" && cp -r "$MNT/$first@old" new || return
	diff -r --no-dereference old new || return
	[ "$(sed -n 's/^id: //p' "$MNT/$first@new/checkpoint")" != \
	    "$(sed -n 's/^id: //p' old/checkpoint)" ] || return
	drop "$first@old" && drop "$first@new" && check_subject restored
}
tn "the pid is taken anew" pid_anew

as()
{
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all "$@"
}

is_napper()
{
	[ "$(<"/proc/$PID/comm")" = napper ]
}

rights()
{
	chmod 755 "$WORK" && cp /bin/sleep napper || return
	setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=-all \
	    ./napper 600 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 is_napper || return
	as 54321 mkdir "$MNT/$PID@mine" || return
	mkdir "$MNT/$PID@roots" || return
	as 54321 cat "$MNT/$PID@mine/maps" >/dev/null || return
	cat "$MNT/$PID@mine/maps" >/dev/null || return
	as 54321 ls "$MNT" | grep -qx "$PID@mine" || return
	as 54321 ls "$MNT" | grep -qx "$PID@roots" && { echo "root's is listed"; return 1; }
	as 54322 ls "$MNT" | grep -q "$PID@" && { echo "listed for another"; return 1; }
	fails 'denied' as 54322 cat "$MNT/$PID@mine/maps" || return
	fails 'denied' as 54321 cat "$MNT/$PID@roots/maps" || return
	fails 'denied' as 54322 rmdir "$MNT/$PID@mine" || return
	fails 'denied' as 54321 rmdir "$MNT/$PID@roots" || return
	fails 'denied' as 54322 mv -T "$MNT/$PID@mine" "$MNT/$PID@his" || return
	fails 'denied\|not permitted' as 54322 mkdir "$MNT/$PID@his" || return
	as 54322 cat "$MNT/.status" | grep "$PID@" && { echo "in .status"; return 1; }
	as 54321 cat "$MNT/.status" | grep -q " name $PID@mine\$" || return
	as 54321 rmdir "$MNT/$PID@mine" && drop "$PID@roots" || return
	kill9 "$PID"
}
tn "whose they are" rights

# Racing for one name: one wins, nothing else is left.
race()
{
	local i won=0 pids=()
	start_subject mem_private || return
	for i in 1 2 3 4 5 6 7 8; do
		mkdir "$MNT/$PID@r" 2>/dev/null 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" && won=$((won + 1))
	done
	[ $won = 1 ] || { echo "$won won"; return 1; }
	drop "$PID@r" && check_subject survived
}
tn "two want the same name" race

# A mkdir that is killed leaves no name, or the whole checkpoint.
killed_mkdir()
{
	local i p
	start_subject mem_private || return
	for i in $(seq 30); do
		mkdir "$MNT/$PID@k" 2>/dev/null 3>&- &
		p=$!
		sleep "0.00$((i % 10))"
		kill -9 $p 2>/dev/null
		wait $p 2>/dev/null
		if [ -e "$MNT/$PID@k" ]; then
			drop "$PID@k" || return
		fi
	done
	[ "$(sed -n 's/^named-live: //p' "$MNT/.status")" = 0 ] || return
	check_subject survived
}
tn "mkdir is killed" killed_mkdir

lost()
{
	local twin
	start_subject mem_private || return
	mkdir "$MNT/$PID@l" || return
	twin=$(sed -n "s/^named: pid $PID twin \([0-9]*\) .*/\1/p" "$MNT/.status")
	kill -9 "$twin" || return
	wait_for 5 grep -q '^named: .* memory lost ' "$MNT/.status" || return
	fails 'Input/output' cat "$MNT/$PID@l/pages" || return
	drop "$PID@l" && check_subject survived
}
tn "the twin is killed" lost

# The first process of a pid namespace ends when all others there have, the
# twins too: nobody may have to wait for the end of a checkpoint.
# usage: container COMMAND...: PID is the first one's, OUTER who waits for it
container()
{
	local i
	unshare --pid --fork --mount-proc "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	OUTER=$!
	PIDS+=("$OUTER")
	for ((i = 0; i < 100; i++)); do
		read -r PID _ <"/proc/$OUTER/task/$OUTER/children"
		[ -z "$PID" ] || [ "$(readlink "/proc/$PID/exe")" = "$(readlink /proc/$OUTER/exe)" ] || break
		sleep 0.05
	done
	PIDS+=("$PID")
}

# usage: ends_at_once PID
ends_at_once()
{
	kill -9 "$1"
	wait_for 5 gone "$OUTER" || { echo "its end is waited for"; return 1; }
	wait "$OUTER" 2>/dev/null
	forget "$OUTER" && forget "$PID"
}

first_of_namespace()
{
	container sleep 1000
	mkdir "$MNT/$PID@c" && ends_at_once "$PID" || return
	fails 'Input/output' cat "$MNT/$PID@c/pages" || return
	grep -q "^pid: $PID" "$MNT/$PID@c/checkpoint" && drop "$PID@c"
}
tn "the first of a pid namespace ends" first_of_namespace

has_child()
{
	CHILD=
	read -r CHILD _ <"/proc/$PID/task/$PID/children"
	[ -n "$CHILD" ] && [ "$(<"/proc/$CHILD/comm")" = sleep ]
}

other_of_namespace()
{
	container bash -c 'sleep 1000 & wait'
	wait_for 5 has_child || { echo "it has no child"; return 1; }
	mkdir "$MNT/$CHILD@c" && ends_at_once "$PID" || return
	drop "$CHILD@c"
}
tn "one ends with a pid namespace" other_of_namespace

umounted()
{
	start_subject mem_private || return
	mkdir "$MNT/$PID@u" || return
	unmount_snapfs || return
	no_strays || return
	mount_snapfs max_named=4,linger=0.3,freeze_timeout=15
	[ ! -e "$MNT/$PID@u" ] || return
	mkdir "$MNT/$PID@u" || return
	# The daemon is killed: the twin goes, the original stays.
	kill -9 "$DAEMON" && wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	DAEMON=
	no_strays || return
	check_subject survived
}
tn "umount, and the end of the daemon" umounted

[ "$TEST_FAILED" = no ]
