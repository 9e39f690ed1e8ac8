#!/bin/bash
# migrate.sh - snapfs-migrate between two hosts: network namespaces with a slow
# link between them; the second has processes, an sshd and a snapfs of its own.

. "$(dirname "$0")/lib.sh"
need_root
for tool in /usr/sbin/sshd ssh-keygen sshfs ip tc nft redis-server; do
	command -v $tool >/dev/null || skip_all "there is no $tool"
done
chmod 755 "$WORK"
MIGRATE=$top/mountscripts/snapfs-migrate
NS=snapfs$$
B=$WORK/b	# what is of the second host
export HOME=$WORK/home
mkdir -p "$B/snap" "$HOME"
mkdir -p /run/sshd
ln -sf "$MIGRATE" "$WORK/snapfs-migrate"

# ---- the hosts: here, $NS, and one for a client, all on a bridge ----

link_up()
{
	ip netns add "$NS" && ip netns add "${NS}c" &&
	    ip link add "${NS:6}r" type bridge &&
	    ip link add "${NS:6}a" type veth peer name b0 netns "$NS" &&
	    ip link add "${NS:6}c" type veth peer name c0 netns "${NS}c" &&
	    ip link set "${NS:6}a" master "${NS:6}r" up &&
	    ip link set "${NS:6}c" master "${NS:6}r" up &&
	    ip addr add 10.199.7.1/24 dev "${NS:6}r" &&
	    ip link set "${NS:6}r" up &&
	    ip -n "${NS}c" addr add 10.199.7.3/24 dev c0 &&
	    ip -n "${NS}c" link set c0 up &&
	    ip -n "$NS" addr add 10.199.7.2/24 dev b0 &&
	    ip -n "$NS" link set b0 up && ip -n "$NS" link set lo up
}

hosts_down()
{
	umount -l "$B/mnt" 2>/dev/null
	[ -z "${INIT-}" ] || kill -9 "$INIT" 2>/dev/null
	wait "$INIT" 2>/dev/null
	for x in a c r; do
		ip link del "${NS:6}$x" 2>/dev/null
	done
	ip netns del "$NS" 2>/dev/null
	ip netns del "${NS}c" 2>/dev/null
}
trap 'hosts_down; cleanup' EXIT

keys()
{
	ssh-keygen -q -t ed25519 -N '' -f "$B/host" &&
	    ssh-keygen -q -t ed25519 -N '' -f "$B/user" &&
	    cp "$B/user.pub" "$B/authorized" && chmod 600 "$B/authorized"
}

# Its first process: a snapfs and an sshd; it ends with all that is there.
cat >"$B/init" <<'END_OF'
#!/bin/bash
"$1" -f "$2/snap" </dev/null >"$2/daemon.log" 2>&1 &
echo $! >"$2/daemon"
/usr/sbin/sshd -D -e -f /dev/null -p 2222 -h "$2/host" \
    -o AuthorizedKeysFile="$2/authorized" -o StrictModes=no \
    -o PermitRootLogin=yes -o UsePAM=no -o PidFile=none \
    -o Subsystem='sftp internal-sftp' </dev/null >"$2/sshd.log" 2>&1 &
while :; do wait -n || sleep 0.1; done
END_OF

host_up()
{
	ip netns exec "$NS" unshare -pf --kill-child --mount-proc bash "$B/init" \
	    "$SNAPFS" "$B" </dev/null >"$B/init.log" 2>&1 3>&- 9>&- 8>&- &
	INIT=$!
	wait_for 10 there test -e "$B/snap/.status" || die "$(cat "$B"/*.log)"
}

SSH="ssh -p 2222 -i $B/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=$B/known -o LogLevel=ERROR"
there()
{
	$SSH -o BatchMode=yes root@10.199.7.2 "$(printf '%q ' "$@")" 2>/dev/null
}

# usage: migrate PID [OPTION...]; OUT, the exit status is its own
migrate()
{
	local pid=$1 rc
	shift
	timeout 60 "$MIGRATE" --mount "$MNT" --ssh "$SSH" "$@" "$pid" \
	    "root@10.199.7.2:$B/snap" >"$WORK/out" 2>&1 3>&- 9>&-
	rc=$?
	OUT=$(<"$WORK/out")
	echo "$OUT"
	return $rc
}

moved_to()
{
	sed -n 's/^moved: process \([0-9]*\) .*/\1/p' "$WORK/out"
}

# Nothing is left there, and it goes on here.
went_on()
{
	expect_untouched "$PID" && wait_for 5 counts || return
	wait_for 20 no_scratch || { ls /var/tmp; return 1; }
	wait_for 5 nothing_there || { there ps ax; return 1; }
}

no_scratch()
{
	! ls -d /var/tmp/snapfs-migrate.* >/dev/null 2>&1
}

nothing_there()
{
	! there pgrep -f "$WORK/count.py" >/dev/null
}

cat >"$WORK/count.py" <<'END_OF'
import hashlib, mmap, struct, sys, time
f = open(sys.argv[1], "w+b")
f.truncate(4096)
m = mmap.mmap(f.fileno(), 4096)
big = bytearray(32 << 20)
for i in range(0, len(big), 4096):
    big[i:i + 32] = hashlib.sha256(b"%d" % i).digest()
sums = hashlib.sha256(big).digest()
n = 0
while True:
    n += 1
    m[0:8] = struct.pack("=Q", n)
    big[(n % 50) * 4096 + 4095] = n % 251
    if n % 20 == 0:
        for i in range(0, len(big), 4096):
            if big[i:i + 32] != hashlib.sha256(b"%d" % i).digest():
                sys.exit("page %d is wrong" % i)
    time.sleep(0.005)
END_OF

counter()
{
	rm -f "$WORK/count"
	/usr/bin/python3 "$WORK/count.py" "$WORK/count" </dev/null \
	    >"$WORK/count.out" 2>&1 3>&- 9>&- 8>&- 7>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 counts
}

count()
{
	od -An -tu8 -N8 "$WORK/count"
}

counts()
{
	local a
	a=$(count 2>/dev/null) || return
	sleep 0.1
	[ "$(count)" != "$a" ]
}

# It is gone here, and runs there: NEW.
runs_there()
{
	wait "$PID" 2>/dev/null
	forget "$PID"
	NEW=$(moved_to)
	wait_for 5 counts || { cat "$WORK/count.out"; return 1; }
	there kill -0 "$NEW" && wait_for 5 no_scratch
}

link_up || skip_all "the kernel has no bridge, veth or network namespaces"
keys && mount_snapfs && host_up

computing()
{
	counter && migrate "$PID" || return
	grep -q '^round 1: ' "$WORK/out" && runs_there && sleep 1 && counts &&
	    [ ! -s "$WORK/count.out" ] || { cat "$WORK/count.out"; return 1; }
	there kill -9 "$NEW"
}
t "python in a computation: copied while it runs, then moved" computing

untracked()
{
	counter && migrate "$PID" --rounds 0 --new-pid && runs_there &&
	    there kill -9 "$NEW"
}
t "without rounds, with a new pid" untracked

cat >"$WORK/server.py" <<'END_OF'
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("10.199.7.9", 17007))
s.listen(5)
c, _ = s.accept()
n = 0
while True:
    d = c.recv(65536)
    if not d:
        break
    n += 1
    c.sendall(d)
END_OF

# Says a line each 10 ms and wants it back.
cat >"$WORK/client.py" <<'END_OF'
import socket, sys, time
s = socket.create_connection(("10.199.7.9", 17007))
f = s.makefile("rb")
n = 0
longest = 0
while True:
    n += 1
    t = time.monotonic()
    s.sendall(b"%d\n" % n)
    if f.readline() != b"%d\n" % n:
        sys.exit("line %d is wrong" % n)
    longest = max(longest, time.monotonic() - t)
    with open(sys.argv[1], "w") as o:
        o.write("%d %d\n" % (n, longest * 1000))
    time.sleep(0.01)
END_OF

lines()
{
	cut -d ' ' -f 1 "$WORK/lines" 2>/dev/null
}

talks()
{
	local a
	a=$(lines)
	sleep 0.3
	[ -n "$(lines)" ] && [ "$(lines)" != "$a" ]
}

# At first: neighbours may believe that it is where the last test left it.
address_here()
{
	rm -f "$WORK/lines"
	ip addr add 10.199.7.9/24 dev "${NS:6}r" &&
	    ip -n "${NS}c" neigh flush all
}

talk()
{
	address_here || return
	/usr/bin/python3 "$WORK/server.py" </dev/null >"$WORK/count.out" 2>&1 \
	    3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	sleep 0.5
	ip netns exec "${NS}c" /usr/bin/python3 "$WORK/client.py" "$WORK/lines" \
	    </dev/null >"$WORK/client.out" 2>&1 3>&- 9>&- &
	CLIENT=$!
	PIDS+=("$CLIENT")
	wait_for 10 talks || { cat "$WORK/client.out" "$WORK/count.out"; return 1; }
}

with_connection()
{
	talk && migrate "$PID" --address "10.199.7.9/24,${NS:6}r,b0" || return
	wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 15 talks || { cat "$WORK/client.out"; return 1; }
	there ip addr show dev b0 | grep -q 10.199.7.9 || return
	ip addr show dev "${NS:6}r" | grep -q 10.199.7.9 && return 1
	echo "the client waited for $(cut -d ' ' -f 2 "$WORK/lines") ms"
	kill9 "$CLIENT" || return
	there kill -9 "$(moved_to)"
	there ip addr del 10.199.7.9/24 dev b0
}
t "a server with a connection, which moves with its address" with_connection

# Not restored there, so the address comes back.
address_comes_back()
{
	talk || return
	migrate "$PID" --address "10.199.7.9/24,${NS:6}r,nodev" &&
	    { echo "moved"; return 1; }
	ip addr show dev "${NS:6}r" | grep -q 10.199.7.9 || return
	wait_for 15 talks && expect_untouched "$PID" && kill9 "$CLIENT" &&
	    kill9 "$PID" && ip addr del 10.199.7.9/24 dev "${NS:6}r"
}
t "refused there: the address comes back, the connection goes on" \
    address_comes_back

# usage: ask WORD...: the client asks the redis, wherever it is
ask()
{
	ip netns exec "${NS}c" timeout 20 redis-cli -h 10.199.7.9 -p 6399 "$@"
}

# Whatever it has said to have, it has when it was moved.
redis()
{
	local i n
	address_here && mkdir -p "$WORK/redis" || return
	redis-server --port 6399 --bind 10.199.7.9 --protected-mode no --enable-debug-command yes \
	    --save "" --daemonize no --dir "$WORK/redis" --logfile "$WORK/redis/log" \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 ask ping || return
	ask debug populate 50000 k 200 >/dev/null
	(for ((i = 1; i <= 1000000; i++)); do
		[ "$(ask set "n$i" $i)" = OK ] || break
		echo $i >"$WORK/redis/n"
	done) >/dev/null 2>&1 3>&- 9>&- &
	WRITER=$!
	wait_for 10 test -s "$WORK/redis/n"
	migrate "$PID" --address "10.199.7.9/24,${NS:6}r,b0"
	i=$?
	n=$(<"$WORK/redis/n")
	[ $i != 0 ] || wait_for 20 goes_beyond "$n" || i=1
	kill $WRITER 2>/dev/null
	wait $WRITER 2>/dev/null
	[ $i = 0 ] || { kill9 "$PID"; return 1; }
	wait "$PID" 2>/dev/null
	forget "$PID"
	n=$(<"$WORK/redis/n")
	[ "$(ask dbsize)" -ge $((50000 + n)) ] ||
	    { echo "of $((50000 + n)) keys there are $(ask dbsize)"; return 1; }
	[ "$(ask get "n$n")" = "$n" ] || { echo "n$n is lost"; return 1; }
	ask shutdown nosave >/dev/null 2>&1
	there ip addr del 10.199.7.9/24 dev b0
}

goes_beyond()
{
	[ "$(<"$WORK/redis/n")" -gt "$1" ] 2>/dev/null
}
t "redis under writes, from another host" redis

# Its disk is a small one.
disk_full()
{
	there mount -t tmpfs -o size=8m none /var/tmp || return
	counter || return
	migrate "$PID" && { echo "moved"; return 1; }
	grep -qi 'space' "$WORK/out" || return
	there umount /var/tmp || there umount -l /var/tmp
	went_on && kill9 "$PID"
}
t "the disk there is full: it goes on here" disk_full

# The link carries 40 Mbit/s, so that a copy takes seconds.
slow()
{
	tc qdisc add dev "${NS:6}a" root tbf rate 40mbit burst 64kb latency 50ms \
	    2>/dev/null || { echo "the kernel has no tbf"; return 77; }
}

fast()
{
	tc qdisc del dev "${NS:6}a" root 2>/dev/null
}

link_cut()
{
	slow || return
	counter || return
	(sleep 2; ip link set "${NS:6}a" down) 3>&- &
	migrate "$PID" && { echo "moved"; return 1; }
	fast
	ip link set "${NS:6}a" up
	went_on && kill9 "$PID"
}
t "the link is cut: it goes on here" link_cut

script_killed()
{
	slow || return
	counter || return
	"$MIGRATE" --mount "$MNT" --ssh "$SSH" "$PID" \
	    "root@10.199.7.2:$B/snap" >"$WORK/out" 2>&1 3>&- 9>&- &
	sleep 2
	kill -9 $!
	wait $! 2>/dev/null
	fast
	went_on && kill9 "$PID"
}
t "the script is killed: it goes on here" script_killed

daemon_there_killed()
{
	there kill -9 "$(<"$B/daemon")"
	counter || return
	migrate "$PID" && { echo "moved"; return 1; }
	went_on && kill9 "$PID"
}
t "the snapfs there is killed: it goes on here" daemon_there_killed

t "no stray process" no_strays
for pid in "${PIDS[@]}"; do
	kill9 "$pid"
done
hosts_down
INIT=
t "unmounted" unmount_snapfs
[ $TEST_FAILED = no ]
