#!/bin/bash
# real_increments.sh - real programs, killed, come back from an increment and
# its parents.

. "$(dirname "$0")/lib.sh"
need_root

chain=$WORK/chain

key()
{
	sed -n "s/^$2: //p" "$1/checkpoint"
}

parent_is()
{
	grep -q " parent $1 " "$MNT/$PID/.track"
}

# usage: keep WHAT NAME: copy it, and wait until it counts.
keep()
{
	cp -r "$MNT/$1" "$chain/$2" || return
	wait_for 10 parent_is "$(key "$chain/$2" id)" || {
		cat "$MNT/$PID/.track"
		return 1
	}
}

begin_chain()
{
	rm -rf "$chain"
	mkdir "$chain"
	echo on >"$MNT/$PID/.track" && keep "$PID" d0
}

# ---- python ----

cat >"$WORK/compute.py" <<'EOF'
import hashlib, os, sys
h, data = b"x", {}
for i in range(1500000):
    h = hashlib.sha256(h).digest()
    data[h[:2]] = h
    if i % 50000 == 0:
        open(sys.argv[1] + ".begun", "w").write(str(i))
sum = hashlib.sha256(b"".join(data[k] for k in sorted(data))).hexdigest()
open(sys.argv[1] + ".new", "w").write(sum)
os.rename(sys.argv[1] + ".new", sys.argv[1])
EOF

computation()
{
	local python k
	python=$(python3 -c 'import sys; print(sys.executable)')
	"$python" "$WORK/compute.py" "$WORK/want" || return
	"$python" "$WORK/compute.py" "$WORK/got" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/got.begun" || return
	begin_chain || return
	for k in 1 2 3; do
		sleep 0.1
		keep "$PID/delta" d$k || return
	done
	[ ! -e "$WORK/got" ] || { echo "it was done too early"; return 1; }
	kill9 "$PID" && restore "$PID" "$chain/d3" || return
	wait_for 120 test -e "$WORK/got" && cmp "$WORK/want" "$WORK/got" || return
	wait_for 10 gone "$PID" && forget "$PID"
}

# ---- redis ----

cli()
{
	redis-cli -s "$WORK/redis" "$@"
}

redis()
{
	local k i want
	redis-server --port 0 --unixsocket "$WORK/redis" --save "" \
	    --enable-debug-command yes --dir "$WORK" </dev/null >"$WORK/redis.log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 cli ping >/dev/null 2>&1 || return
	[ "$(cli debug populate 50000 key 100)" = OK ] || return
	begin_chain || return
	for k in 1 2 3 4 5; do
		for ((i = 0; i < 200; i++)); do
			echo "set key:$((RANDOM * 7 % 50000)) $k-$i"
		done | cli >/dev/null
		keep "$PID/delta" d$k || return
	done
	want=$(cli debug digest)
	[ "$(stat -c %s "$chain/d5/pages")" -lt \
	    $(($(stat -c %s "$chain/d0/pages") / 2)) ] || {
		ls -l "$chain"/d*/pages
		return 1
	}
	cli set after it >/dev/null
	kill9 "$PID" && restore "$PID" "$chain/d5" || return
	[ "$(cli debug digest)" = "$want" ] || {
		echo "it has other contents"
		return 1
	}
	[ "$(cli get after)" = "" ] && [ "$(cli set more x)" = OK ] || return
	kill9 "$PID"
}

mount_snapfs freeze_timeout=20,linger=20
t "python in a computation" computation
if command -v redis-server >/dev/null; then
	t "redis under writes" redis
else
	skip "redis under writes" "redis-server is not installed"
fi
t "unmount" unmount_snapfs
[ "$TEST_FAILED" = no ]
