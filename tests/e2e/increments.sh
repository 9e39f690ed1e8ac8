#!/bin/bash
# increments.sh - what changed since: .track, delta/, chains, snapfs-merge.
#
# By hand, for long: ROUNDS=1000 SEED=7 ONLY=random tests/e2e/increments.sh

. "$(dirname "$0")/lib.sh"
need_root

merge=$BUILD/snapfs/snapfs-merge
samemem=$top/tests/e2e/samemem.py
chain=$WORK/chain
rounds=${ROUNDS:-25}
seed=${SEED:-$RANDOM}
options=freeze_timeout=20,linger=20

start_mutator()
{
	rm -f "$WORK/ready"
	"$TOOLS/mutator" "$1" "$WORK/ready" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/ready"
}

# By another reader each time: one sees one instant.
has_delta()
{
	env stat "$MNT/$PID/delta/pages" >/dev/null 2>&1
}

no_delta()
{
	! has_delta
}

# It looks at its mappings itself, and would see that they are registered.
check_tracked()
{
	track off && check_subject "$1"
}

track()
{
	echo "$1" >"$MNT/$PID/.track"
}

# A tracked subject, and the directory of its chain, with a full copy in it.
begin()
{
	rm -rf "$chain"
	mkdir "$chain"
	start_subject "$@" || return
	track on || return
	copy "$PID" "$chain/d0" && counted "$chain/d0"
}

# usage: increment NAME: one more, whose parent is what was copied before.
increment()
{
	local want
	want=$(sed -n 's/.* parent \([0-9a-f]*\) .*/\1/p' "$MNT/$PID/.track")
	cp -r "$MNT/$PID/delta" "$chain/$1" || return
	[ "$(key "$chain/$1" parent)" = "$want" ] || {
		echo "$1: parent $(key "$chain/$1" parent), expected $want"
		return 1
	}
	counted "$chain/$1"
}

finish()
{
	kill9 "$PID"
}

# ---- .track ----

on_and_off()
{
	start_subject mem_private || return
	# shellcheck disable=SC2012
	! ls -a "$MNT/$PID" | grep -q -e track -e delta || return
	[ "$(<"$MNT/$PID/.track")" = off ] || return
	no_delta || { echo "a delta while off"; return 1; }
	track on && grep -q '^on ' "$MNT/$PID/.track" || return
	no_delta || { echo "a delta of nothing"; return 1; }
	copy "$PID" "$WORK/full" && counted "$WORK/full" || return
	has_delta || { echo "no delta"; return 1; }
	grep -q "^track: pid $PID parent $(key "$WORK/full" id) scans" \
	    "$MNT/.status" || return
	(cp -r "$MNT/$PID/delta" "$WORK/delta" &&
	    cd "$WORK/delta" && xxhsum -c xxh128sums >/dev/null) || return
	track off || return
	no_delta || { echo "still a delta"; return 1; }
	(echo maybe >"$MNT/$PID/.track") 2>/dev/null && return 1
	rm -rf "$WORK/full" "$WORK/delta"
	check_tracked survived
}

# What is left in the process: nothing but the registration, and not even that
# when the daemon is gone.
footprint()
{
	local before after
	start_subject mem_private || return
	cp -r "$MNT/$PID" "$WORK/before" || return
	before=$(ls "/proc/$PID/fd"; cat "/proc/$PID/maps")
	track on && cp -r "$MNT/$PID" "$WORK/after" || return
	after=$(ls "/proc/$PID/fd"; cat "/proc/$PID/maps")
	[ "$before" = "$after" ] || {
		diff <(echo "$before") <(echo "$after")
		return 1
	}
	# It is no state of the process either.
	diff <(grep ^vma "$WORK/before/pagemap") \
	    <(grep ^vma "$WORK/after/pagemap") || return
	grep -q '^VmFlags.* uw' "/proc/$PID/smaps" || {
		echo "it is not registered"
		return 1
	}
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	! grep -q '^VmFlags.* uw' "/proc/$PID/smaps" || {
		echo "it is still registered"
		return 1
	}
	mount_snapfs $options
	# Whoever comes after it begins anew, and says so.
	[ "$(<"$MNT/$PID/.track")" = off ] || return
	rm -rf "$WORK/before" "$WORK/after"
	check_subject survived
}

own_userfaultfd()
{
	local out
	python3 -c '
import ctypes, sys, time
fd = ctypes.CDLL(None).syscall(323, 1)
open(sys.argv[1], "w").write(str(fd))
time.sleep(1000)' "$WORK/uffd" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/uffd" || return
	out=$( (track on) 2>&1) && { echo "it was tracked"; return 1; }
	[[ $out == *'not supported'* ]] || { echo "$out"; return 1; }
	grep -q "process $PID uses userfaultfd itself" "$MNT/.log" || return
	finish
}

# One user has not all the places; those of what has ended are free again.
share()
{
	cat >"$WORK/share" <<'END_OF'
n=0
for i in $(seq 130); do
	sleep 1000 & pids="$pids $!"
	(echo on >"$1/$!/.track") 2>/dev/null && n=$((n + 1))
done
echo $n
kill -9 $pids
wait
sleep 1000 &
echo on >"$1/$!/.track" && echo again
kill -9 $!
END_OF
	chmod 755 "$WORK"
	setpriv --reuid 65534 --regid 65534 --clear-groups \
	    sh "$WORK/share" "$MNT" >"$WORK/out" 2>/dev/null
	[ "$(tr '\n' ' ' <"$WORK/out")" = "128 again " ] || { cat "$WORK/out"; return 1; }
	grep -q 'is not tracked: there are 128 that are for user 65534' "$MNT/.log"
}

# Of another user: no word of it.
not_others()
{
	start_subject mem_private || return
	! setpriv --reuid 65534 --regid 65534 --clear-groups \
	    sh -c "echo on >$MNT/$PID/.track" 2>/dev/null || return
	[ "$(<"$MNT/$PID/.track")" = off ] || return
	check_subject survived
}

mount_option()
{
	unmount_snapfs && mount_snapfs track,$options || return
	start_subject mem_private || return
	copy "$PID" "$WORK/full" && counted "$WORK/full" || return
	has_delta || { echo "no delta"; return 1; }
	rm -rf "$WORK/full"
	check_tracked survived || return
	unmount_snapfs && mount_snapfs $options
}

# ---- copies ----

# Read all but the last byte of one file, or all: as one reader.
read_but()
{
	python3 - "$MNT/$PID" "$1" <<'END'
import os, sys
top, but = sys.argv[1:]
for d, dirs, files in os.walk(top):
    for name in sorted(files + dirs):
        path = d + "/" + name
        if os.path.islink(path):
            os.readlink(path)
        elif os.path.isfile(path):
            with open(path, "rb", 0) as f:
                while True:
                    if name == but and f.tell() > 0:
                        break
                    # Not more than that: the kernel reads ahead
                    if not f.read(1 << 16):
                        break
END
}

# A copy that was broken off is no parent, and its pages are in the next one.
broken_off()
{
	local first
	begin mem_private || return
	first=$(key "$chain/d0" id)
	timeout -s KILL 5 head -c 4096 "$MNT/$PID/pages" >/dev/null || return
	(cat "$MNT/$PID/checkpoint" "$MNT/$PID/pagemap") >/dev/null || return
	grep -q " parent $first " "$MNT/$PID/.track" || {
		echo "a part was taken for a copy: $(<"$MNT/$PID/.track")"
		return 1
	}
	read_but xxh128sums.none || return
	wait_for 5 env sh -c "! grep -q ' parent $first ' '$MNT/$PID/.track'" || {
		echo "a whole reading was not taken for a copy"
		return 1
	}
	check_tracked survived
}

# Killed while it copies: what it would have had is in the next increment.
killed_copy()
{
	local job id
	start_mutator "$seed" || return
	rm -rf "$chain"
	mkdir "$chain"
	track on && cp -r "$MNT/$PID" "$chain/d0" && counted "$chain/d0" || return
	for i in 1 2 3 4 5 6; do
		mkfifo "$WORK/fifo"
		# It blocks when the pipe is full, in the middle of `pages`.
		tar -C "$MNT" -cf "$WORK/fifo" "$PID" 2>/dev/null 9>&- &
		job=$!
		head -c $((i * 40000)) "$WORK/fifo" >/dev/null
		kill -9 $job 2>/dev/null
		wait $job 2>/dev/null
		rm -f "$WORK/fifo"
	done
	id=$(key "$chain/d0" id)
	mkdir "$WORK/x"
	cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/x" || return
	mv "$WORK/x/delta" "$chain/d1"
	[ "$(key "$chain/d1" parent)" = "$id" ] || {
		echo "a broken off copy became a parent"
		return 1
	}
	same_as_full "$chain/d1" || return
	rm -rf "$WORK/x"
	finish
}

# With its parents it is the same as a whole copy, byte by byte.
# usage: same_as_full INCREMENT [WHOLE]
same_as_full()
{
	local f full=${2-$WORK/x}
	rm -rf "$WORK/m"
	"$merge" -o "$WORK/m" "$1" || return
	# Of a huge page zeros are not held; of what was one, they may be.
	"$top/tests/tools/same-memory.py" "$WORK/m" "$full" || return
	for f in maps regs status signals timers; do
		cmp "$WORK/m/$f" "$full/$f" || return
	done
	(cd "$WORK/m" && xxhsum -c xxh128sums >/dev/null) || return
	rm -rf "$WORK/m"
}

# The same, though it may be written otherwise.
same_memory()
{
	local f
	rm -rf "$WORK/m"
	"$merge" -o "$WORK/m" "$1" || return
	"$top/tests/tools/same-memory.py" "$WORK/m" "$WORK/x" || return
	for f in regs status signals timers; do
		cmp "$WORK/m/$f" "$WORK/x/$f" || return
	done
	(cd "$WORK/m" && xxhsum -c xxh128sums >/dev/null) || return
	rm -rf "$WORK/m"
}

begin_chain()
{
	cp -r "$MNT/$PID" "$chain/$1" && counted "$chain/$1"
}

# Full copies $WORK/full/K and increments $chain/dK of the same instants, one
# each 50 ms.
# usage: take_chain DEPTH
take_chain()
{
	local k next
	rm -rf "$chain" "$WORK/full"
	mkdir "$chain" "$WORK/full"
	begin_chain d0 || return
	next=$(date +%s%3N)
	for ((k = 1; k <= $1; k++)); do
		next=$((next + 50))
		sleep "$(awk -v a="$next" -v b="$(date +%s%3N)" \
		    'BEGIN { print (a > b) ? (a - b) / 1000 : 0 }')"
		mkdir "$WORK/full/$k"
		cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/full/$k" || return
		mv "$WORK/full/$k/delta" "$chain/d$k"
	done
}

# Restored from the increment, at once or page by page, beside the original.
# usage: restored_is_full K
restored_is_full()
{
	local lazy=no new rc
	[ $(($1 % 2)) = 0 ] || lazy=yes
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$chain/d$1" pid=new stopped \
	    lazy=$lazy template=no) || { echo "d$1: $ANSWER"; return 1; }
	new=$(restored_pid)
	PIDS+=("$new")
	wait_for 30 filled "$new" && "$samemem" "$WORK/full/$1" "$new" >"$WORK/bytes"
	rc=$?
	[ $rc = 0 ] || echo "restored from d$1, lazy=$lazy"
	kill9 "$new" && return $rc
}

filled()
{
	! grep -q "^pager: .* of $1 " "$MNT/.status"
}

# At each depth: merged, and restored, it is what a whole copy of that instant is.
at_random()
{
	local k depth=25 done=0
	echo "seed $seed"
	[ "$rounds" -ge $depth ] || depth=$rounds
	start_mutator "$seed" && track on || return
	while [ $done -lt "$rounds" ]; do
		take_chain $depth || return
		for ((k = 1; k <= depth; k++)); do
			same_as_full "$chain/d$k" "$WORK/full/$k" &&
			    restored_is_full $k ||
			    { echo "seed $seed, round $((done + 1))"; return 1; }
			done=$((done + 1))
			rm -rf "$WORK/full/$k"
		done
	done
	echo "$done rounds"
	rm -rf "$WORK/full"
	finish
}

# How many increments were made without a twin.
copied()
{
	sed -n 's/.* copied \([0-9]*\).*/\1/p' "$MNT/$PID/.track"
}

is_stopped()
{
	[ "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$PID/status")" = T ]
}

# All that same_as_full looks at, of the next instant; that is no copy.
part_of_full()
{
	local f
	mkdir "$MNT/$PID@x" || return
	rm -rf "$WORK/x"
	mkdir "$WORK/x"
	for f in pages pagemap maps regs status signals timers; do
		cp "$MNT/$PID@x/$f" "$WORK/x" || return
	done
	rmdir "$MNT/$PID@x"
}

# One that has no twin has nothing to be compared with.  So the process is
# stopped, and a full one taken of the same memory; what was copied of it before,
# while it ran, is in that, too.  Now and then a copy is broken off before.
without_twin()
{
	local k n=0
	echo "seed $seed"
	start_mutator "$seed" || return
	rm -rf "$chain"
	mkdir "$chain"
	track on && begin_chain d0 || return
	# What is changed in the wrong moment has a twin, as have some after it.
	for ((k = 1; k <= rounds || (k <= 8 * rounds && n == 0); k++)); do
		sleep 0.0$((RANDOM % 10))
		[ $((RANDOM % 3)) != 0 ] ||
		    head -c 4096 "$MNT/$PID/delta/pages" >/dev/null 2>&1
		if [ $((RANDOM % 2)) = 0 ]; then
			cp -r "$MNT/$PID/delta" "$chain/d$k" &&
			    counted "$chain/d$k" || return
			continue
		fi
		kill -STOP "$PID"
		wait_for 5 is_stopped || return
		[ $((RANDOM % 3)) != 0 ] ||
		    head -c 4096 "$MNT/$PID/delta/pages" >/dev/null 2>&1
		cp -r "$MNT/$PID/delta" "$chain/d$k" &&
		    counted "$chain/d$k" && part_of_full &&
		    same_memory "$chain/d$k" || { echo "round $k"; return 1; }
		kill -CONT "$PID"
		n=$(copied)
	done
	echo "$n without a twin"
	[ "$n" -gt 0 ] || return
	rm -rf "$WORK/x"
	finish
}

# A process that goes on writing, giving back and mapping all the time: what was
# seen of it before it is frozen, and then, is of one instant.
goes_on()
{
	local k address length before
	rm -f "$WORK/ready"
	"$TOOLS/drip" "$WORK/ready" 128 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/ready" || return
	read -r _ address length <"$WORK/ready"
	rm -rf "$chain"
	mkdir "$chain"
	track on && begin_chain d0 || return
	before=$(copied)
	for ((k = 1; k <= 12; k++)); do
		increment d$k || return
	done
	[ "$(copied)" -gt "$before" ] || { echo "each has a twin"; return 1; }
	[[ $(<"$MNT/.log") == *"process $PID: "*" are copied before it is frozen"* ]] || {
		echo "all was copied while it was frozen"
		return 1
	}
	finish
	for k in 1 2 6 12; do
		rm -rf "$WORK/m"
		"$merge" -o "$WORK/m" "$chain/d$k" || return
		python3 "$top/tests/e2e/drip.py" "$WORK/m" "$address" "$length" ||
		    { echo "increment $k"; return 1; }
	done
	rm -rf "$WORK/m"
}

# What madvise(2) changed since is seen, and then there is a twin.
changed_flags()
{
	local n
	rm -f "$WORK/advise" "$WORK/advised" "$WORK/ready"
	python3 -c '
import ctypes, mmap, os, sys, time
m = mmap.mmap(-1, 32 << 20)
m.write(b"x" * len(m))
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
libc = ctypes.CDLL(None)
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
open(sys.argv[3], "w").write("%x" % at)
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
assert libc.madvise(at, 1 << 20, mmap.MADV_DONTDUMP) == 0
open(sys.argv[2], "w")
time.sleep(1000)' "$WORK/advise" "$WORK/advised" "$WORK/ready" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -s "$WORK/ready" || return
	rm -rf "$chain"
	mkdir "$chain"
	track on && cp -r "$MNT/$PID" "$chain/d0" && counted "$chain/d0" || return
	increment d1 || return
	n=$(copied)
	[ "$n" = 1 ] || { echo "copied: $n"; return 1; }
	touch "$WORK/advise"
	wait_for 10 test -e "$WORK/advised" || return
	increment d2 || return
	[ "$(copied)" = 1 ] || { echo "it was copied"; return 1; }
	grep -q "process $PID: once more, with a twin: vma .*: its flags changed" \
	    "$MNT/.log" || return
	grep -q "^vma $(<"$WORK/ready")-.* .*dd" "$chain/d2/pagemap" ||
	    { grep ^vma "$chain/d2/pagemap"; return 1; }
	part_of_full && same_as_full "$chain/d2" || return
	finish
}

# Whoever reads delta and then more sees another instant, once he has closed what
# is of the first; he never sees a mixture.
then_more()
{
	begin mem_private || return
	python3 - "$MNT/$PID" <<'EOF' || return
import errno, os, sys
top = sys.argv[1]
def ident(path):
    with open(path + "/checkpoint") as f:
        return next(l for l in f if l.startswith("id: "))
for d, _, files in os.walk(top + "/delta"):
    for name in files:
        if not os.path.islink(d + "/" + name):
            open(d + "/" + name, "rb").read()
first = ident(top + "/delta")
with open(top + "/delta/maps") as f:
    for what in os.stat, os.readlink:
        try:
            what(top + "/cwd")
            sys.exit("a mixture")
        except OSError as e:
            assert e.errno == errno.EBUSY, e
    try:
        os.listdir(top + "/fd")
        sys.exit("a mixture")
    except OSError as e:
        assert e.errno == errno.EBUSY, e
    assert ident(top + "/delta") == first
    f.read()
more = ident(top)
assert more != first
assert ident(top + "/delta") == more
assert os.listdir(top + "/fd")
assert ident(top) == more
EOF
	grep -q "$PID: its reader has files of its delta open" "$MNT/.log" || return
	check_tracked survived
}

# exec(2) gives it another memory: nothing of the old one is its.
executes()
{
	local k
	rm -f "$WORK/exec" "$WORK/ready"
	python3 -c '
import os, sys, time
open(sys.argv[2], "w")
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
os.execlp("sleep", "sleep", "1000")' "$WORK/exec" "$WORK/ready" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/ready" || return
	rm -rf "$chain"
	mkdir "$chain"
	track on && cp -r "$MNT/$PID" "$chain/d0" && counted "$chain/d0" || return
	touch "$WORK/exec"
	wait_for 10 grep -q sleep "/proc/$PID/comm" || return
	for k in 1 2 3; do
		rm -rf "$WORK/x"
		mkdir "$WORK/x"
		cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/x" || return
		mv "$WORK/x/delta" "$chain/d$k"
		same_as_full "$chain/d$k" || { echo "round $k"; return 1; }
	done
	rm -rf "$WORK/x"
	finish
}

# Two daemons: whoever comes second is told, and neither has a wrong increment.
two_daemons()
{
	local mnt=$MNT daemon=$DAEMON
	begin mem_private || return
	mkdir "$WORK/second"
	MNT=$WORK/second
	mount_snapfs $options || return
	track on && cp -r "$MNT/$PID" "$WORK/x" || return
	grep -q 'failed: it is tracked already, .* or by another daemon' \
	    "$MNT/$PID/.track" && no_delta || { cat "$MNT/$PID/.track"; return 1; }
	unmount_snapfs || return
	MNT=$mnt DAEMON=$daemon
	rm -rf "$WORK/x" "$WORK/second"
	mkdir "$WORK/x"
	cp -r "$MNT/$PID/." "$MNT/$PID/delta" "$WORK/x" || return
	mv "$WORK/x/delta" "$chain/d1"
	same_as_full "$chain/d1" || return
	rm -rf "$WORK/x"
	check_tracked survived
}

# Whole checkpoints, and a sentence.
without_kernel()
{
	local snapfs=$SNAPFS
	printf '#!/bin/sh\nexec "%s" -u "%s" "$@"\n' "$TOOLS/confine" "$SNAPFS" \
	    >"$WORK/confined"
	chmod +x "$WORK/confined"
	unmount_snapfs || return
	SNAPFS=$WORK/confined
	mount_snapfs track,$options
	SNAPFS=$snapfs
	grep -q '^feature: write-protection .*all checkpoints are full' \
	    "$MNT/.status" || return
	start_subject mem_private || return
	track on 2>/dev/null && { echo "it is tracked"; return 1; }
	python3 - "$MNT/$PID/.track" <<'EOF' || return
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
try:
    os.write(fd, b"on\n")
except OSError as e:
    sys.exit(e.errno != errno.ENOTSUP)
sys.exit(1)
EOF
	grep -q 'no write-protection by userfaultfd' "$MNT/.log" || return
	copy "$PID" "$WORK/full" || return
	[ "$(key "$WORK/full" parent)" = none ] && no_delta || return
	rm -rf "$WORK/full"
	check_subject survived || return
	unmount_snapfs && mount_snapfs $options
}

# What was written meanwhile is not known: the next checkpoint is a whole one.
another_daemon()
{
	begin mem_private || return
	increment d1 || return
	unmount_snapfs && mount_snapfs track,$options || return
	copy "$PID" "$chain/d2" || return
	[ "$(key "$chain/d2" parent)" = none ] || return
	counted "$chain/d2" || return
	grep -q "process $PID: what it writes is tracked from here on" \
	    "$MNT/.log" || return
	increment d3 || return
	unmount_snapfs && mount_snapfs $options || return
	[ "$(<"$MNT/$PID/.track")" = off ] || return
	no_delta || return
	kill9 "$PID" && restore "$PID" "$chain/d3" || return
	check_subject restored
}

# ---- chains ----

deep()
{
	local k
	begin mem_private || return
	for ((k = 1; k <= 100; k++)); do
		increment d$k || return
	done
	"$merge" -o "$WORK/m" "$chain/d100" || return
	kill9 "$PID" || return
	restore "$PID" "$WORK/m" || return
	kill9 "$PID" || return
	restore "$PID" "$chain/d100" || return
	rm -rf "$WORK/m"
	check_subject restored
}

# A process of many kinds of memory, from an increment without a merge.
restored()
{
	begin "$1" || return
	increment d1 && increment d2 || return
	if [ "$2" = twin ]; then
		[ "$(copied)" = 0 ] || { echo "a copy"; return 1; }
	elif [ "$1" != thr_many ]; then
		# That one may well write more than is worth while.
		[ "$(copied)" != 0 ] || { echo "a twin"; return 1; }
	fi
	kill9 "$PID" || return
	restore "$PID" "$chain/d2" || return
	check_subject restored
}

# usage: mounted_with [OPTION]
mounted_with()
{
	unmount_snapfs && mount_snapfs "$options${1:+,$1}"
}

# ---- bad chains ----

# usage: broken ERRNO TEXT [OPTION]: the chain cannot be restored nor merged
broken()
{
	local out
	refused "$1" "$chain/d3" "${@:3}" || return
	[[ $ANSWER == *"$2"* ]] || {
		echo "not \`$2' but: $ANSWER"
		return 1
	}
	out=$("$merge" -o "$WORK/m" "$chain/d3" 2>&1) && {
		echo "it was merged"
		return 1
	}
	[[ $out == *"$2"* && ! -e $WORK/m && ! -e $WORK/m.part ]] || {
		echo "snapfs-merge: $out"
		return 1
	}
}

# An edited image is meant; its sum is renewed.
edit()
{
	local sum
	chmod u+w "$1" "$1/checkpoint" "$1/xxh128sums"
	sed -i "$2" "$1/checkpoint"
	sum=$(cd "$1" && xxhsum -q -H2 checkpoint 2>/dev/null)
	sed -i "s/^.* checkpoint\$/$sum/" "$1/xxh128sums"
}

ended()
{
	! kill -0 "$1" 2>/dev/null
}

# A byte of each of its pages.
damage_all()
{
	python3 - "$1" <<'EOF'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for at in range(100, os.fstat(fd).st_size, 4096):
    os.pwrite(fd, bytes([os.pread(fd, 1, at)[0] ^ 1]), at)
EOF
}

good_chain()
{
	rm -rf "$chain"
	cp -r "$WORK/good" "$chain"
}

bad_chains()
{
	local id0 id1 id2 id3 good_pid
	begin mem_private || return
	good_pid=$PID
	increment d1 && increment d2 && increment d3 || return
	kill9 "$PID" || return
	rm -rf "$WORK/good"
	mv "$chain" "$WORK/good"
	id0=$(key "$WORK/good/d0" id)
	id1=$(key "$WORK/good/d1" id)
	id2=$(key "$WORK/good/d2" id)
	id3=$(key "$WORK/good/d3" id)

	good_chain && rm -rf "$chain/d1" && broken ENOENT "$id1, is not there" || return
	good_chain && rm -rf "$chain"/d[012] && broken ENOENT "$id2, is not there" || return
	good_chain && cp -r "$chain/d2" "$chain/again" && broken EINVAL "are both checkpoint" || return
	good_chain && rm -rf "$chain/d0" && edit "$chain/d1" "s/^parent: .*/parent: $id3/" &&
	    broken ELOOP 'parent of itself' || return
	good_chain && edit "$chain/d1" 's/^time: 20/time: 29/' &&
	    broken EBADMSG 'not older' || return
	good_chain && printf '\1' | dd of="$chain/d0/pages" bs=1 seek=5000 conv=notrunc 2>/dev/null &&
	    broken EBADMSG 'd0/' lazy=no || return
	good_chain && damage_all "$chain/d3/pages" &&
	    broken EBADMSG 'checksum' lazy=no || return
	# Pages of a link that are all written again are nobody's any more.
	good_chain && "$merge" -o "$WORK/m" "$chain/d3" || return
	damage_all "$chain/d2/pages" && "$merge" -o "$WORK/n" "$chain/d3" || return
	diff -r "$WORK/m" "$WORK/n" || return
	rm -rf "$WORK/m" "$WORK/n"
	good_chain && truncate -s 0 "$chain/d1/pagemap" && broken EBADMSG 'd1/' || return

	# Loaded late, it is found late, and the process is no more.
	good_chain && damage_all "$chain/d0/pages" || return
	if restore "$good_pid" "$chain/d3" >/dev/null; then
		wait_for 20 ended "$good_pid" || return
		forget "$good_pid"
	fi
	[[ $(<"$MNT/.log") == *'d0/pages: the piece at'* ]] || {
		echo "no word of d0 in the log"
		return 1
	}

	# Of another process.
	begin mem_private || return
	sed "s/^id: .*/id: $id0/" "$chain/d0/checkpoint" >"$WORK/edited"
	mv "$chain/d0" "$WORK/other"
	kill9 "$PID"
	good_chain && rm -rf "$chain/d0" && mv "$WORK/other" "$chain/d0" || return
	edit "$chain/d0" "s/^id: .*/id: $id0/"
	broken EBADMSG "of process $PID" || return
	rm -f "$WORK/edited"

	# And the good one is one.
	good_chain && "$merge" -o "$WORK/m" "$chain/d3" || return
	# A whole one that was broken off is none of them, nor are two.
	cp -r "$chain/d1" "$chain/d1.part" && chmod -R u+w "$chain/d1.part" || return
	sed -i 's/^parent: .*/parent: none/' "$chain/d1.part/checkpoint"
	rm -rf "$WORK/m" "$chain/d1.part/xxh128sums"
	"$merge" -o "$WORK/m" "$chain/d3" || return
	cp -r "$chain/d1.part" "$chain/d1.again" && rm -rf "$WORK/m" || return
	"$merge" -o "$WORK/m" "$chain/d3" || return
	rm -rf "$chain/d1.part" "$chain/d1.again"
	# Elsewhere, its parents are to be named.
	mkdir "$WORK/alone" && mv "$chain/d3" "$WORK/alone" && rm -rf "$WORK/m" || return
	! "$merge" -o "$WORK/m" "$WORK/alone/d3" 2>/dev/null || return
	"$merge" -p "$chain" -o "$WORK/m" "$WORK/alone/d3" || return
	! "$merge" -o "$WORK/m" "$WORK/alone/d3" 2>/dev/null || return
	! "$merge" -o "$WORK/n" "$WORK/m" 2>/dev/null || return
	refused ENOENT "$WORK/alone/d3" || return
	refused ENOENT "$WORK/alone/d3" "parent=$WORK/nowhere" || return
	refused ENOENT "$WORK/alone/d3" "parent=$chain/d2" || return
	restore "$good_pid" "$WORK/alone/d3" "parent=$chain/d2" \
	    "parent=$chain/d1" "parent=$chain/d0" || return
	kill9 "$good_pid" || return
	restore "$good_pid" "$WORK/alone/d3" "parent=$chain" || return
	kill9 "$good_pid" || return
	# Beside itself, and again: when a template would be made.
	beside "$WORK/alone/d3" "parent=$chain" && beside "$WORK/alone/d3" \
	    "parent=$chain" || return
	rm -rf "$WORK/m" "$WORK/alone" "$WORK/good"
}

beside()
{
	local answer pid
	answer=$("$TOOLS/request" "$MNT/.restore" "$@" pid=new) ||
	    { echo "$answer"; return 1; }
	read -r _ pid _ <<<"$answer"
	PIDS+=("$pid")
	kill9 "$pid"
}

chmod 0755 "$WORK"
mount_snapfs $options
t "on and off" on_and_off
t "nothing is left in the process" footprint
t "a process with a userfaultfd of its own" own_userfaultfd
t "a user has his share of what is tracked" share
t "another user's" not_others
t "-o track" mount_option
t "what was not read to its end is no copy" broken_off
t "a copy that is killed" killed_copy
t "at random, as a full copy of the same instant" at_random
t "at random, without a twin" without_twin
t "of a process that goes on" goes_on
t "flags that changed" changed_flags
t "delta, and then more" then_more
t "after an exec" executes
t "two daemons" two_daemons
t "another daemon" another_daemon
t "a kernel that cannot" without_kernel
t "a hundred increments" deep
# By hand, CHAINS has others.
for s in ${CHAINS:-mem_private mem_filemap mem_shared_anon mem_many_vmas thr_many}; do
	t "a chain of $s" restored $s copied
done
t "mounted with copy_max=0" mounted_with copy_max=0
for s in ${CHAINS:-mem_private mem_filemap mem_shared_anon mem_many_vmas thr_many}; do
	t "a chain of $s, with twins" restored $s twin
done
t "mounted as before" mounted_with
t "chains that are none" bad_chains
t "unmount" unmount_snapfs
[ $TEST_FAILED = no ]
