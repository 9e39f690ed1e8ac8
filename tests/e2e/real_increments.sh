#!/bin/bash
# real_increments.sh - real programs, killed, come back from an increment and
# its parents.

. "$(dirname "$0")/lib.sh"
need_root

chain=$WORK/chain

# usage: keep WHAT NAME: copy it, and wait until it counts.
keep()
{
	cp -r "$MNT/$1" "$chain/$2" && counted "$chain/$2"
}

begin_chain()
{
	rm -rf "$chain"
	mkdir "$chain"
	echo on >"$MNT/$PID/.track" && keep "$PID" d0
}

# ---- python ----

computation()
{
	local python k
	python=$(python3 -c 'import sys; print(sys.executable)')
	"$python" "$top/tests/e2e/compute.py" "$WORK/want" || return
	"$python" "$top/tests/e2e/compute.py" "$WORK/got" </dev/null >/dev/null 2>&1 3>&- 9>&- &
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

# ---- java ----

java_ended()
{
	gone "$PID"
}

jvm()
{
	local k
	export TMPDIR=$WORK
	javac -d "$WORK" "$top/tests/e2e/Job.java" || return
	java -Xmx160m -cp "$WORK" Job 800 alone >"$WORK/want.java" || return
	java -Xmx160m -cp "$WORK" Job 800 alone </dev/null >"$WORK/got.java" \
	    2>"$WORK/err.java" 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	sleep 0.5
	begin_chain || return
	for k in 1 2 3; do
		sleep 0.1
		keep "$PID/delta" d$k || return
	done
	gone "$PID" && { echo "it was done too early"; return 1; }
	kill9 "$PID" && restore "$PID" "$chain/d3" || return
	wait_for 120 java_ended || return
	forget "$PID"
	[ ! -s "$WORK/err.java" ] && cmp "$WORK/want.java" "$WORK/got.java"
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
if command -v javac >/dev/null; then
	t "java in a computation" jvm
else
	skip "java in a computation" "javac is not installed"
fi
t "unmount" unmount_snapfs
[ "$TEST_FAILED" = no ]
