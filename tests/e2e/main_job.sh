#!/bin/bash
# main_job.sh - the session at the head of the README: copy a running Python
# program with cp, kill it, bring it back with echo.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs

cd "$WORK" || exit 1
python3 "$top/mountscripts/count.py" count </dev/null >count.log 2>&1 3>&- 9>&- &
pid=$!
PIDS+=($pid)

lines()
{
	[ "$(wc -l <count)" -ge "$1" ]
}

# The number in the last line, or in line N.
number()
{
	sed -n "${1:-\$} s/.*\"count\": \([0-9]*\).*/\1/p" count
}

wait_for 20 test -s count || die "count.py does not count: $(cat count.log)"
wait_for 10 lines 5

is_listed()
{
	ls "$MNT" | grep -qx $pid
}
t "the process is a directory" is_listed

listing_is_harmless()
{
	local names
	names=$(ls "$MNT/$pid") || return
	for n in checkpoint maps pagemap pages regs status signals timers cmdline \
	    environ auxv cwd root exe fd fdinfo unsupported xxh128sums; do
		grep -qx $n <<<"$names" || { echo "$n is not listed"; return 1; }
	done
}
t "its files are listed" listing_is_harmless

copied()
{
	cp -r "$MNT/$pid" backup || return
	[ ! -s backup/unsupported ] || { cat backup/unsupported; return 1; }
	grep -q '^snapfs checkpoint 1$' backup/checkpoint || {
		head -n 3 backup/checkpoint
		return 1
	}
	[ "$(wc -l <backup/maps)" -gt 10 ]
}
first=$(number)
t "cp -r copies it" copied
t "it runs on" wait_for 5 lines $((first + 5))

sums()
{
	(cd backup && xxhsum -c --quiet xxh128sums)
}
t "xxhsum -c finds the copy whole" sums

kill9 $pid || exit
highest=$(number)
before=$(wc -l <count)
restored()
{
	PIDS+=($pid)
	echo backup >"$MNT/.restore" || { cat "$MNT/.restore"; return 1; }
	[ "$(head -n 1 "$MNT/.restore")" = $pid ] || { cat "$MNT/.restore"; return 1; }
	[ -d /proc/$pid ]
}
t "echo brings it back" restored
counts_on()
{
	local start
	wait_for 10 lines $((before + 10)) || { tail -n 3 count; return 1; }
	start=$(number $((before + 1)))
	[ "$start" -gt "$first" ] && [ "$start" -le $((highest + 1)) ] || {
		echo "copied at $first, killed at $highest, goes on at $start"
		return 1
	}
	[ "$(number $((before + 10)))" = $((start + 9)) ]
}
t "it counts on from where it was" counts_on
threads()
{
	[ "$(ls /proc/$pid/task | wc -l)" = 3 ]
}
t "it has its threads" threads

demo()
{
	"$top/mountscripts/quickstart" --demo "$MNT" "$WORK/demo"
}
kill9 $pid
t "quickstart --demo" demo
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
