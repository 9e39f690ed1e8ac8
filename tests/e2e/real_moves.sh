#!/bin/bash
# real_moves.sh - python and java in a computation, and redis between writes, move
# to another host: copied while they run (snapfs-migrate), and run there before
# their memory is there (sshfs).

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/hosts_lib.sh"
need_hosts
chmod 755 "$WORK"
export TMPDIR=$WORK

# usage: move precopy|postcopy: PID is then the number that it has here
move()
{
	local new
	case $1 in
	precopy) migrate "$PID" || return; new=$(moved_to) ;;
	postcopy) postcopy "$PID" || return; new=$OUT ;;
	esac
	arrived "$new"
}

has_ended()
{
	gone "$PID"
}

# A program that prints what it has computed, and is not done before the file that
# is its last argument is there.
# usage: computes HOW MS COMMAND...
computes()
{
	local how=$1 nap=$2
	shift 2
	set -- "$@" "$WORK/go"
	: >"$WORK/go"
	[ -e "$WORK/want" ] || "$@" >"$WORK/want" || return
	rm "$WORK/go"
	"$@" </dev/null >"$WORK/got" 2>"$WORK/err" 3>&- 9>&- 8>&- &
	PID=$!
	PIDS+=("$PID")
	sleep "$nap"
	move "$how" || return
	[ ! -s "$WORK/got" ] || { echo "it was done before it moved"; return 1; }
	: >"$WORK/go"
	wait_for 120 has_ended || { echo "it does not end"; return 1; }
	forget "$PID"
	[ ! -s "$WORK/err" ] || { cat "$WORK/err"; return 1; }
	cmp "$WORK/want" "$WORK/got"
}

# Both hosts have the same files, and so the same names of sockets.
cli()
{
	${at-} redis-cli -p 6399 "$@"
}

# usage: write_some N
write_some()
{
	local i
	for ((i = 0; i < 300; i++)); do
		echo "set key:$((RANDOM * 7 % 20000)) $1-$i"
	done | cli >/dev/null
}

redis()
{
	local want at=
	redis-server --port 6399 --save "" \
	    --enable-debug-command yes --dir "$WORK" </dev/null \
	    >"$WORK/redis.log" 2>&1 3>&- 9>&- 8>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 cli ping >/dev/null 2>&1 || return
	[ "$(cli debug populate 20000 key 100)" = OK ] && write_some 1 || return
	want=$(cli debug digest)
	move "$1" || return
	at=there
	wait_for 20 cli ping >/dev/null 2>&1 || return
	[ "$(cli debug digest)" = "$want" ] ||
	    { echo "it has other contents"; return 1; }
	write_some 2 && [ "$(cli set more x)" = OK ] || return
	kill9 "$PID"
}

mount_snapfs freeze_timeout=20
hosts_up
near_up || die "no sshfs: $(cat "$B/near.log")"
python=$(python3 -c 'import sys; print(sys.executable)')
for how in precopy postcopy; do
	t "python in a computation, $how" computes $how 0.4 "$python" -c '
import hashlib, os, sys
h, data = b"x", {}
for i in range(3000000):
    while i == 1500000 and not os.path.exists(sys.argv[1]):
        hashlib.sha256(h * 1000).digest()
    h = hashlib.sha256(h).digest()
    data[h[:2]] = h
print(hashlib.sha256(b"".join(data[k] for k in sorted(data))).hexdigest())'
done
rm -f "$WORK/want"
for how in precopy postcopy; do
	if command -v redis-server >/dev/null; then
		t "redis between writes, $how" redis $how
	else
		skip "redis between writes, $how" "redis-server is not installed"
	fi
done
if ! command -v javac >/dev/null; then
	skip "java in a computation" "javac is not installed"
else
	javac -d "$WORK" "$top/tests/e2e/Job.java" || die "javac fails"
	# On one CPU, so that there is one left to copy it with.
	for how in precopy postcopy; do
		t "java in a computation, $how" computes $how 1 \
		    taskset -c 0 java -Xmx160m -cp "$WORK" Job 800 alone
	done
fi
hosts_end
