#!/bin/bash
# tree_deltas.sh - increments of trees of processes: what each has written since,
# chains of them, restored and merged.
#
# By hand, for long: ROUNDS=1000 SEED=7 ONLY=random tests/e2e/tree_deltas.sh
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
. "$top/tests/e2e/tree_lib.sh"
need_root

merge=$BUILD/snapfs/snapfs-merge
chain=$WORK/chain
seed=${SEED:-$RANDOM}
options=freeze_timeout=20,linger=20

if [ "${QUICK-no}" = yes ]; then rounds=${ROUNDS:-8}; else rounds=${ROUNDS:-16}; fi

track()
{
	echo "$1" >"$MNT/$PID/.track"
}

# How many of its processes are tracked.
processes()
{
	sed -n 's/.* processes \([0-9]*\).*/\1/p' "$MNT/$PID/.track"
}

# usage: begin COMMAND...: it is tracked, with a full copy in a new chain.
begin()
{
	rm -rf "$chain" "$WORK/ready" "$WORK/go" "$WORK/gone"
	mkdir "$chain"
	"$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/ready" || return
	track on && copy "$PID" "$chain/d0" && counted "$chain/d0"
}

# usage: increment NAME
increment()
{
	cp -r "$MNT/$PID/delta" "$chain/$1" && counted "$chain/$1"
}

# The bytes that an image holds, of all its processes.
held()
{
	find "$1" -name pages -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'
}

# What each process of a tree has is that of a whole copy of the same instant.
# usage: same_tree INCREMENT WHOLE
same_tree()
{
	local f dir
	rm -rf "$WORK/m"
	"$merge" -o "$WORK/m" "$1" || return
	diff <(cd "$WORK/m" && find . -name checkpoint | sort) \
	    <(cd "$2" && find . -name checkpoint | sort) || return
	while read -r dir; do
		"$top/tests/tools/same-memory.py" "$WORK/m/$dir" "$2/$dir" || {
			echo "in $dir"
			return 1
		}
		for f in ${FILES-maps regs status signals timers}; do
			cmp "$WORK/m/$dir/$f" "$2/$dir/$f" || return
		done
	done < <(cd "$2" && find . -name checkpoint -printf '%h\n')
	(cd "$WORK/m" && xxhsum -c --quiet xxh128sums) || return
	rm -rf "$WORK/m"
}

# One process and two children that were forked from it, which write when told.
family_of_three()
{
	exec python3 -c '
import mmap, os, sys, time
work = sys.argv[1]
m = mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, len(m), 4096):
    m[at:at + 8] = at.to_bytes(8, "little")
def child(n):
    pid = os.fork()
    if pid:
        return pid
    done = 0
    while True:
        try:
            want = int(open(f"{work}/go").read() or 0)
        except OSError:
            want = 0
        while done < want:
            done += 1
            for k in range(8):
                at = (n * 100 + done * 16 + k) * 4096
                m[at:at + 8] = (at + n).to_bytes(8, "little")
            open(f"{work}/done.{n}.{done}", "w")
        time.sleep(0.01)
pids = [child(1), child(2)]
open(f"{work}/ready", "w").write(str(os.getpid()))
while True:
    time.sleep(0.01)
    if os.path.exists(f"{work}/more") and not os.path.exists(f"{work}/more.done"):
        pids.append(child(3))
        open(f"{work}/more.done", "w")
    if os.path.exists(f"{work}/less") and not os.path.exists(f"{work}/less.done"):
        os.kill(pids[0], 9)
        os.waitpid(pids[0], 0)
        del pids[0]
        open(f"{work}/less.done", "w")
' "$WORK"
}

# They write, once more each.
# usage: write_once ROUND CHILD...
write_once()
{
	local n=$1 c
	shift
	echo "$n" >"$WORK/go.new" && mv "$WORK/go.new" "$WORK/go"
	for c; do
		wait_for 10 test -e "$WORK/done.$c.$n" || return
	done
}

# What is new, what was written, and what is not there any more.
members()
{
	local first second third
	rm -f "$WORK"/go "$WORK"/more* "$WORK"/less* "$WORK"/done.*
	begin family_of_three || return
	read -r first second < <(cat "/proc/$PID/task/$PID/children")
	[ "$(processes)" = 3 ] || { cat "$MNT/$PID/.track"; return 1; }
	grep -q "^track: pid $PID .* processes 3" "$MNT/.status" || return

	write_once 1 1 2 && increment d1 || return
	[ "$(key "$chain/d1/children/$first" parent)" = \
	    "$(key "$chain/d0/children/$first" id)" ] || return
	[ "$(held "$chain/d1")" -lt 3000000 ] || {
		echo "it holds $(held "$chain/d1") bytes"
		return 1
	}

	touch "$WORK/more"
	wait_for 10 test -e "$WORK/more.done" || return
	write_once 2 1 2 3 && increment d2 || return
	read -r _ _ third < <(cat "/proc/$PID/task/$PID/children")
	[ "$(key "$chain/d2/children/$third" parent)" = none ] || return
	[ "$(processes)" = 4 ] || { cat "$MNT/$PID/.track"; return 1; }

	touch "$WORK/less"
	wait_for 10 test -e "$WORK/less.done" || return
	increment d3 || return
	[ ! -e "$chain/d3/children/$first" ] && [ "$(processes)" = 3 ] &&
	    [ "$(key "$chain/d3/children/$third" parent)" = \
		"$(key "$chain/d2/children/$third" id)" ] || return
	write_once 3 2 3 && increment d4 || return

	# As it was: they write to the same memory, and go on.
	fell "$PID" && restore "$PID" "$chain/d4" || return
	for c in $second $third; do
		[ -d "/proc/$c" ] || { echo "process $c is not back"; return 1; }
	done
	write_once 4 2 3 || return
	# Nothing of it is tracked; as a whole it can be, again.
	[ "$(<"$MNT/$PID/.track")" = off ] && fell "$PID"
}

# A part of them is copied, then it is broken off: nothing is a parent.
broken_off()
{
	local id child
	rm -f "$WORK"/go "$WORK"/more* "$WORK"/less* "$WORK"/done.*
	begin family_of_three || return
	id=$(key "$chain/d0" id)
	read -r child _ < <(cat "/proc/$PID/task/$PID/children")
	write_once 1 1 2 || return
	# All of the first process, nothing of the others.
	env bash -c 'cat "$0"/{checkpoint,pages,xxh128sums,pagemap,maps,regs}' \
	    "$MNT/$PID/delta" >/dev/null || return
	env cp -r "$MNT/$PID/delta/children/$child" "$WORK/part" || return
	write_once 2 1 2 || return
	mkdir "$WORK/x"
	cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/x" || return
	mv "$WORK/x/delta" "$chain/d1"
	[ "$(key "$chain/d1" parent)" = "$id" ] || {
		echo "a broken off copy became a parent"
		return 1
	}
	same_tree "$chain/d1" "$WORK/x" || return
	rm -rf "$WORK/x" "$WORK/part"
	fell "$PID"
}

registered()
{
	grep -q '^VmFlags.* uw' "/proc/$1/smaps"
}

# Of each process: registered while it is tracked, and no more.
footprint()
{
	local pid
	rm -f "$WORK"/go "$WORK"/more* "$WORK"/less* "$WORK"/done.*
	begin family_of_three || return
	for pid in $(family "$PID"); do
		registered "$pid" || { echo "$pid is not registered"; return 1; }
	done
	! grep -rq "userfaultfd" "$chain/d0" || return
	track off || return
	for pid in $(family "$PID"); do
		! registered "$pid" || { echo "$pid is registered"; return 1; }
	done
	track on && cp -r "$MNT/$PID" "$WORK/x" || return
	registered "$pid" || return
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	for pid in $(family "$PID"); do
		! registered "$pid" || { echo "$pid is registered"; return 1; }
	done
	mount_snapfs $options || return
	rm -rf "$WORK/x"
	fell "$PID"
}

# One of them is tracked by itself: then it is whole in the tree's, and each chain
# is right.
twice()
{
	local child all
	rm -f "$WORK"/go "$WORK"/more* "$WORK"/less* "$WORK"/done.*
	rm -rf "$chain" "$WORK/ready"
	mkdir "$chain"
	family_of_three </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$! all=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/ready" || return
	read -r child _ < <(cat "/proc/$PID/task/$PID/children")
	PID=$child
	track on && copy "$child" "$WORK/c0" && counted "$WORK/c0" || return
	PID=$all
	track on && copy "$PID" "$chain/d0" && counted "$chain/d0" || return
	[ "$(processes)" = 2 ] || { cat "$MNT/$PID/.track"; return 1; }
	grep -q "process $child: .*tracked already, by itself" "$MNT/.log" || return
	write_once 1 1 2 || return
	mkdir "$WORK/x"
	cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/x" || return
	mv "$WORK/x/delta" "$chain/d1"
	[ "$(key "$chain/d1/children/$child" parent)" = none ] || return
	same_tree "$chain/d1" "$WORK/x" || return
	cp -r "$MNT/$child/delta" "$WORK/c1" || return
	[ "$(key "$WORK/c1" parent)" = "$(key "$WORK/c0" id)" ] || return
	rm -rf "$WORK/x" "$WORK"/c?
	fell "$PID"
}

# Processes that come and go, and change all that memory can be.
# usage: at_random DEPTH
at_random()
{
	local k n=0 depth=$1 tree
	echo "seed $seed"
	rm -rf "$chain" "$WORK/full" "$WORK/ready"
	"$TOOLS/mutator" "$seed" "$WORK/ready" 4 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/ready" && track on || return
	while [ $n -lt "$rounds" ]; do
		rm -rf "$chain" "$WORK/full"
		mkdir "$chain" "$WORK/full"
		cp -r "$MNT/$PID" "$chain/d0" && counted "$chain/d0" || return
		for ((k = 1; k <= depth; k++)); do
			sleep 0.0$((RANDOM % 10))
			mkdir "$WORK/full/$k"
			cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/full/$k" || return
			mv "$WORK/full/$k/delta" "$chain/d$k" && counted "$chain/d$k" || return
		done
		for ((k = 1; k <= depth; k++)); do
			same_tree "$chain/d$k" "$WORK/full/$k" || {
				echo "seed $seed, increment $k"
				return 1
			}
			tree=$(find "$chain/d$k" -name checkpoint | wc -l)
			largest=$((tree > largest ? tree : largest))
			n=$((n + 1))
		done
	done
	echo "$n rounds, $largest processes at most"
	[ "$largest" -gt 2 ] || return
	for k in "$depth" $((depth / 2)) 1; do
		stopped_tree "$k" || return
	done
	rm -rf "$WORK/full"
}

filled()
{
	! grep -q "^pager: .* $1 " "$MNT/.status"
}

# The last one, restored in its place: each process has its memory, at once or
# page by page.
# usage: stopped_tree K
stopped_tree()
{
	local dir pid lazy
	fell "$PID" || return
	for lazy in no yes; do
		restore "$PID" "$chain/d$1" stopped lazy=$lazy || return
		wait_for 30 filled "$PID" || return
		while read -r dir; do
			pid=$(key "$dir" pid)
			"$top/tests/e2e/samemem.py" "$dir" "$pid" >/dev/null || {
				echo "process $pid, lazy=$lazy"
				return 1
			}
		done < <(find "$WORK/full/$1" -name checkpoint -printf '%h\n')
		fell "$PID" || return
	done
}

# What a family shares is read at once, beside pages that come later: in memory
# that may be of huge pages.
huge_family()
{
	rm -rf "$chain" "$WORK/full" "$WORK"/huge?
	mkdir "$chain" "$WORK/full"
	python3 -c '
import mmap, os, sys, time
m = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.madvise(mmap.MADV_HUGEPAGE)
def write(first, step, value):
    for i in range(first, len(m), step):
        m[i] = value
write(8, 4096, 1)
pid = os.fork()
write(4112, 8192, 2 if pid else 3)
open(sys.argv[1] + ("/huge1" if pid else "/huge2"), "w").write("x")
time.sleep(1000)
' "$WORK" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/huge1" && wait_for 20 test -s "$WORK/huge2" &&
	    copy "$PID" "$chain/d1" && cp -r "$chain/d1" "$WORK/full/1" &&
	    stopped_tree 1
}

# How many increments, of any of its processes, had no twin.
copied()
{
	sed -n 's/.* copied \([0-9]*\).*/\1/p' "$MNT/$PID/.track"
}

# A whole one of the next instant, at which nothing has changed; that is no copy.
# usage: whole DIR
whole()
{
	mkdir "$MNT/$PID@x" "$1" || return
	tar -C "$MNT/$PID@x" --exclude=xxh128sums --exclude=core --exclude=./delta \
	    -cf - . | tar -C "$1" -xf - || return
	rmdir "$MNT/$PID@x"
}

# Increments without twins, of which nothing whole is of the same instant: so all
# are stopped, and a whole one is taken of the same memory.  (Who is registered in
# between may have two mappings as one.)
without_twins()
{
	local k n FILES="regs status signals timers"
	echo "seed $seed"
	rm -rf "$chain" "$WORK/full" "$WORK/ready"
	mkdir "$chain" "$WORK/full"
	"$TOOLS/mutator" "$seed" "$WORK/ready" 4 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/ready" && track on || return
	copy "$PID" "$chain/d0" && counted "$chain/d0" || return
	for ((k = 1; k <= rounds || (k <= 4 * rounds && n == 0); k++)); do
		sleep 0.0$((RANDOM % 10))
		[ $((RANDOM % 3)) != 0 ] ||
		    head -c 4096 "$MNT/$PID/delta/pages" >/dev/null 2>&1
		if [ $((RANDOM % 2)) = 0 ] && [ "$k" -lt "$rounds" ]; then
			increment "d$k" || return
			continue
		fi
		wait_for 10 all_stopped "$PID" || { echo "they do not stop"; return 1; }
		rm -rf "$WORK/full/$k"
		increment "d$k" && whole "$WORK/full/$k" &&
		    same_tree "$chain/d$k" "$WORK/full/$k" ||
		    { echo "round $k"; return 1; }
		n=$(copied)
		[ "$k" -ge "$rounds" ] || rm -rf "$WORK/full/$k"
		go_on "$PID"
	done
	echo "$n without a twin"
	[ "$n" -gt 0 ] || return
	stopped_tree $((k - 1)) || return
	rm -rf "$WORK/full"
}

# A tree of which little is written has no twin at all, but where there is a child
# that is new; and it comes back as it was, what it shares in one copy.
quiet_tree()
{
	local first second n before
	rm -f "$WORK"/go "$WORK"/more* "$WORK"/less* "$WORK"/done.*
	begin family_of_three || return
	read -r first second < <(cat "/proc/$PID/task/$PID/children")
	before=$(pss "$PID")
	write_once 1 1 2 && increment d1 || return
	[ "$(copied)" = 3 ] || { cat "$MNT/$PID/.track"; return 1; }
	write_once 2 1 2 && increment d2 || return
	[ "$(copied)" = 6 ] && [ "$(held "$chain/d2")" -lt 3000000 ] || {
		cat "$MNT/$PID/.track"
		return 1
	}
	touch "$WORK/more"
	wait_for 10 test -e "$WORK/more.done" || return
	write_once 3 1 2 3 && increment d3 || return
	# The new one shares what it has not written.
	[ "$(copied)" = 8 ] && [ "$(held "$chain/d3")" -lt 6000000 ] || {
		echo "it holds $(held "$chain/d3") bytes: $(<"$MNT/$PID/.track")"
		return 1
	}
	# What they have open must not change before they are back.
	write_once 4 1 2 3 && increment d4 || return
	fell "$PID" && restore "$PID" "$chain/d4" || return
	for n in $first $second; do
		[ -d "/proc/$n" ] || { echo "process $n is not back"; return 1; }
	done
	wait_for 20 filled "$PID" && write_once 5 1 2 3 || return
	[ "$(pss "$PID")" -lt $((before + 12288)) ] || {
		echo "$(pss "$PID") KiB; it had $before KiB"
		return 1
	}
	fell "$PID"
}

largest=0
chmod 0755 "$WORK"
mount_snapfs $options
t "what is new, was written, or is gone" members
t "a copy of a part" broken_off
t "nothing is left in any process" footprint
t "one that is tracked by itself" twice
t "a tree that writes little has no twin" quiet_tree
t "at random, some without twins" without_twins
t "at random, as a full copy of the same instant" at_random 8
t "shared memory of huge pages, page by page" huge_family
t "unmount" unmount_snapfs
[ $TEST_FAILED = no ]
