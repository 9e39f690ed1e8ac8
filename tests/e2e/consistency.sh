#!/bin/bash
# consistency.sh - a process whose four threads keep an invariant over 256 MiB
# is copied while it runs: every copy keeps it, and so does the process.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
need_root

copies=30
mib=256
[ "${QUICK-no}" = no ] || { copies=5; mib=64; }

# Copies are read once: they need no disk.
images=$(mktemp -d /dev/shm/snapfs-test.XXXXXX)
trap 'cleanup; rm -rf "$images"' EXIT
mount_snapfs

mkdir "$WORK/run"
"$TOOLS/invariant" "$WORK/run" $mib </dev/null >/dev/null 2>&1 3>&- 9>&- &
pid=$!
PIDS+=("$pid")
wait_for 20 test -e "$WORK/run/ready" || die "it does not start"
read -r _ address length <"$WORK/run/ready"

check()
{
	python3 "$top/tests/e2e/invariant.py" "$1" "$address" "$length"
}

one_by_one()
{
	local i rounds seen= same=0
	for ((i = 0; i < copies; i++)); do
		cp -r "$MNT/$pid" "$images/a" || return
		rounds=$(check "$images/a") || { echo "copy $i"; return 1; }
		# It may have had no time for a whole round since the last one.
		if [ "$rounds" = "$seen" ]; then same=$((same + 1)); else same=0; fi
		[ $same -lt 4 ] || { echo "copy $i is the one four before"; return 1; }
		seen=$rounds
		rm -rf "$images/a"
	done
	expect_untouched "$pid"
}
t "$copies copies, one by one" one_by_one

both_at_once()
{
	local i a b
	for ((i = 0; i < copies / 10 + 1; i++)); do
		cp -r "$MNT/$pid" "$images/a" & a=$!
		cp -r "$MNT/$pid" "$images/b" & b=$!
		wait $a && wait $b || return
		check "$images/a" && check "$images/b" || return
		cmp -s "$images/a/checkpoint" "$images/b/checkpoint" &&
		    { echo "two readers, one checkpoint"; return 1; }
		rm -rf "$images/a" "$images/b"
	done
	expect_untouched "$pid"
}
t "two readers at the same moment" both_at_once

# While one reads slowly, the process and other readers go on.
slow_reader()
{
	local rounds
	rounds=$(python3 - "$MNT/$pid" "$images/slow" <<-'END'
	import os, shutil, subprocess, sys, time
	src, dst = sys.argv[1:]
	os.mkdir(dst)
	for n in "maps", "pagemap":
	    shutil.copy(f"{src}/{n}", dst)
	with open(f"{src}/pages", "rb") as f, open(f"{dst}/pages", "wb") as g:
	    n = 0
	    while b := f.read(1 << 20):
	        g.write(b)
	        n += 1
	        if n % 32 == 0:
	            time.sleep(0.1)
	            subprocess.run(["cat", f"{src}/checkpoint"], check=True,
	                           stdout=subprocess.DEVNULL)
	END
	) || return
	check "$images/slow" && rm -rf "$images/slow"
}
t "a slow reader, and others meanwhile" slow_reader

keeps_small()
{
	local kib
	kib=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON/status")
	echo "$kib KiB"
	sanitized || [ "$kib" -lt 65536 ]
}
t "the daemon stays small" keeps_small

# Of trees there is much that is small, and more than one lies between what the
# other has.
gives_back()
{
	local n peak tree small rc=0
	bash -c 'for ((n = 0; n < 24; n++)); do sleep 1000 & done; wait' \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	tree=$!
	wait_for 5 grep -q . "/proc/$tree/task/$tree/children" || return
	small=$(sed -n 's/^\([0-9]*\).*/\1/p' "/proc/$tree/task/$tree/children")
	PIDS+=("$tree")
	for ((n = 0; n < 10; n++)); do
		mkdir "$MNT/$tree@$n" || return
		[ $((n % 3)) != 0 ] || mkdir "$MNT/$small@$n" || return
	done
	peak=$(resident_kib)
	rmdir "$MNT/$tree@"*
	echo "$peak KiB"
	wait_for 10 given_back || { echo "$(resident_kib) KiB stay"; rc=1; }
	rmdir "$MNT/$small@"* && fell "$tree" || return
	# Or it shows nothing.
	[ "$peak" -gt 49152 ] && return $rc
}

resident_kib()
{
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$DAEMON/status"
}

given_back()
{
	sanitized || [ "$(resident_kib)" -lt 32768 ]
}
t "what many checkpoints had goes back" gives_back

itself()
{
	: >"$WORK/run/check"
	wait_for 20 test -e "$WORK/run/result" || return
	cat "$WORK/run/result"
	wait "$pid" || return
	forget "$pid"
	[ "$(cat "$WORK/run/result")" = ok ]
}
t "the process itself finds nothing" itself

t "nothing is left" no_strays
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
