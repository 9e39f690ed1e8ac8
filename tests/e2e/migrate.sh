#!/bin/bash
# migrate.sh - snapfs-migrate between two hosts: network namespaces with a slow
# link between them; the second has processes, an sshd and a snapfs of its own.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/hosts_lib.sh"
need_hosts
command -v redis-server >/dev/null || skip_all "there is no redis-server"
chmod 755 "$WORK"

# Nothing is left there, and it goes on here.
went_on()
{
	expect_untouched "$PID" && wait_for 5 counts || return
	wait_for 20 no_scratch || { ls "$B/var"; return 1; }
	wait_for 5 nothing_there || { there ps ax; return 1; }
}

no_scratch()
{
	! ls -d "$B"/var/snapfs-migrate.* >/dev/null 2>&1
}

nothing_there()
{
	! there pgrep -f "counter.py $WORK/count" >/dev/null
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

mount_snapfs
hosts_up

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
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], 17007))
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
s = socket.create_connection((sys.argv[2], 17007))
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

MOVING=$NET.9	# the address that moves
MOVING6=$NET6:9

# At first: neighbours may believe that it is where the last test left it.
address_here()
{
	rm -f "$WORK/lines"
	if [ "$MOVING" = "$MOVING6" ]; then
		ip addr add "$MOVING/64" dev "${NS:6}r" nodad
	else
		ip addr add "$MOVING/24" dev "${NS:6}r"
	fi && ip -n "${NS}c" neigh flush all && ip -6 -n "${NS}c" neigh flush all
}

# usage: listens PORT
listens()
{
	ss -Hltn "sport = :$1" | grep -q .
}

talk()
{
	address_here || return
	/usr/bin/python3 "$WORK/server.py" "$MOVING" </dev/null >"$WORK/count.out" 2>&1 \
	    3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 listens 17007 || return
	ip netns exec "${NS}c" /usr/bin/python3 "$WORK/client.py" "$WORK/lines" \
	    "$MOVING" </dev/null >"$WORK/client.out" 2>&1 3>&- 9>&- &
	CLIENT=$!
	PIDS+=("$CLIENT")
	wait_for 10 talks || { cat "$WORK/client.out" "$WORK/count.out"; return 1; }
}

with_connection()
{
	talk && migrate "$PID" --address "$NET.9/24,${NS:6}r,b0" || return
	wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 15 talks || { cat "$WORK/client.out"; return 1; }
	there ip addr show dev b0 | grep -q $NET.9 || return
	ip addr show dev "${NS:6}r" | grep -q $NET.9 && return 1
	echo "the client waited for $(cut -d ' ' -f 2 "$WORK/lines") ms"
	kill9 "$CLIENT" || return
	there kill -9 "$(moved_to)"
	there ip addr del $NET.9/24 dev b0
}
t "a server with a connection, which moves with its address" with_connection

# usage: says TEXT: the last migration, once, and no program in its place
says()
{
	if [ "$(grep -c "$1" "$WORK/out")" != 1 ] ||
	    grep -q -e '^tar' -e '^sed' -e ': line [0-9]*:' "$WORK/out"; then
		cat "$WORK/out"
		return 1
	fi
}

# Nothing is copied before that is seen, and nothing is left there.
no_such_device()
{
	counter || return
	migrate "$PID" --address "$NET.9/24,nodev,b0" && return 1
	says "no device nodev here has $NET.9" || return
	ip addr add $NET.9/24 dev "${NS:6}r"
	migrate "$PID" --address "$NET.9/24,${NS:6}r,nodev" && return 1
	says "there is no network device nodev there" || return
	! grep -q '^round' "$WORK/out" && no_scratch || return
	ip addr del $NET.9/24 dev "${NS:6}r"
	went_on && kill9 "$PID"
}
t "a network device that is not there is told at once" no_such_device

# Its number is taken there.
take_pid()
{
	there bash -c 'echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
	    sleep 1000 </dev/null >/dev/null 2>&1 & echo $!' - "$PID" >"$WORK/taken"
	[ "$(<"$WORK/taken")" = "$PID" ] || { cat "$WORK/taken"; return 1; }
}

# Not restored there, so the address comes back.
address_comes_back()
{
	talk && take_pid || return
	migrate "$PID" --address "$NET.9/24,${NS:6}r,b0" &&
	    { echo "moved"; return 1; }
	there kill -9 "$PID"
	says "not restored: .*$PID" || return
	ip addr show dev "${NS:6}r" | grep -q $NET.9 || return
	wait_for 15 talks && expect_untouched "$PID" && kill9 "$CLIENT" &&
	    kill9 "$PID" && ip addr del $NET.9/24 dev "${NS:6}r"
}
t "refused there: the address comes back, the connection goes on" \
    address_comes_back

# usage: ask WORD...: the client asks the redis, wherever it is
ask()
{
	ip netns exec "${NS}c" timeout 20 redis-cli -h $NET.9 -p 6399 "$@"
}

with_ipv6()
{
	[ -n "$FAR6" ] || { echo "the kernel has no IPv6"; return 77; }
	MOVING=$MOVING6
	talk || return
	SSH="$SSH -b $MOVING" TO="[$FAR6]" migrate "$PID" \
	    --address "$MOVING/64,${NS:6}r,b0" &&
	    { echo "moved with the address that it goes by"; return 1; }
	grep -q "which is to move" "$WORK/out" && talks || return
	SSH="$SSH -b $NEAR6" TO="[$FAR6]" migrate "$PID" \
	    --address "$MOVING/64,${NS:6}r,b0" || return
	wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 15 talks || { cat "$WORK/client.out"; return 1; }
	there ip addr show dev b0 | grep -q "$MOVING" || return
	ip addr show dev "${NS:6}r" | grep -q "$MOVING" && return 1
	echo "the client waited for $(cut -d ' ' -f 2 "$WORK/lines") ms"
	kill9 "$CLIENT" || return
	there kill -9 "$(moved_to)"
	there ip addr del "$MOVING/64" dev b0
}
t "the same by IPv6" with_ipv6
MOVING=$NET.9

# Whatever it has said to have, it has when it was moved.
redis()
{
	local i n
	address_here && mkdir -p "$WORK/redis" || return
	redis-server --port 6399 --bind $NET.9 --protected-mode no --enable-debug-command yes \
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
	migrate "$PID" --address "$NET.9/24,${NS:6}r,b0"
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
	there ip addr del $NET.9/24 dev b0
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
	says 'the copy failed: .*space' || return
	there umount /var/tmp || there umount -l /var/tmp
	went_on && kill9 "$PID"
}
t "the disk there is full: it goes on here" disk_full

# ---- whatever dies, at each of its steps ----

# In the background: JOB.
start_migrate()
{
	: >"$WORK/out"
	"$MIGRATE" --mount "$MNT" --ssh "$SSH" "$@" "$PID" \
	    "root@$FAR:$B/snap" >"$WORK/out" 2>&1 3>&- 9>&- &
	JOB=$!
}

# usage: reached STEP
reached()
{
	case $1 in
	copying) [ -e "$(echo "$B"/var/snapfs-migrate.*/0/checkpoint)" ] ;;
	rounds)	grep -q '^round 0' "$WORK/out" ;;
	held)	[[ $(cat "$MNT/$PID/.hold" 2>/dev/null) == held* ]] ;;
	esac || gone "$JOB"
}

keeper_there()
{
	there pgrep -f '^bash -c .*trap undo EXIT' | head -n 1
}

# One of them runs and has all its memory; the other is not there, or it is
# stopped, if neither could know of the other.
# usage: one_of_them STATUS-OF-SNAPFS-MIGRATE
one_of_them()
{
	local other
	wait_for 20 untraced_or_gone || { echo "it is held for ever"; return 1; }
	other=$(here_of "$PID")
	[ -z "$other" ] || wait_for 30 settled "$1" "$other" || {
		echo "status $1, here $(state_of "$PID"), there $(state_of "$other")"
		return 1
	}
	other=$(here_of "$PID")
	if gone "$PID"; then
		[ -n "$other" ] || { echo "it is nowhere"; return 1; }
		[ "$1" != 1 ] || { echo "not moved, but it is not here"; return 1; }
		[ "$(state_of "$other")" != T ] || kill -CONT "$other"
		wait "$PID" 2>/dev/null
		forget "$PID"
		PIDS+=("$other")
		wait_for 10 counts || { cat "$WORK/count.out"; return 1; }
	else
		[ "$1" != 0 ] && [ "$1" != 3 ] ||
		    { echo "status $1, and it is here"; return 1; }
		expect_untouched "$PID" && wait_for 10 counts || return
	fi
	[ -z "$other" ] || kill9 "$other"
	kill9 "$PID"
}

untraced_or_gone()
{
	gone "$PID" || [ "$(state_of "$PID")" != t ]
}

# What is there runs only if nobody is here, and waits no more.
# usage: settled STATUS OTHER
settled()
{
	gone "$2" && return
	[ "$(state_of "$2")" != t ] || return
	gone "$PID" || [ "$(state_of "$2")" = T ]
}

end_job()
{
	kill "$JOB"
	fast
	wait "$JOB"
}

# usage: hit STEP MS COMMAND...: when it has come there, and so much later
hit()
{
	local step=$1 ms=$2 rc
	shift 2
	# Another's images are not to be taken for those of this one.
	wait_for 30 no_scratch || { ls "$B/var"; echo "left there"; return 1; }
	counter && start_migrate || { echo "it does not begin"; return 1; }
	wait_for 40 reached "$step" ||
	    { end_job; cat "$WORK/out"; echo "it does not come to $step"; return 1; }
	sleep "$(printf 0.%03d "$ms")"
	"$@"
	wait "$JOB" 2>/dev/null
	rc=$?
	fast
	mend_link
	wait_for 30 snapfs_there || { echo "no snapfs there"; return 1; }
	one_of_them $rc && return
	echo "$step + $ms ms: status $rc"
	cat "$WORK/out"
	return 1
}

link_cut()
{
	slow && hit copying 500 cut_link && slow && hit rounds 0 cut_link
}
t "the link is cut while it is copied: it goes on here" link_cut

# So many times, at other moments of the last step.
# usage: at_the_end TIMES COMMAND...
at_the_end()
{
	local n=$1 i
	shift
	for ((i = 0; i < n; i++)); do
		hit held $((i * 60 / n + RANDOM % 5)) "$@" || return
	done
}

# By hand: STEPS=30 ONLY="at the end" tests/e2e/migrate.sh
few=${STEPS:-1}
many=${STEPS:-3}
t "the link is cut at the end: one runs, and has all" at_the_end $few cut_link

# The connection of the keeper ends, at this end and then there, when a line
# would go over it, or when it has gone: no moment has to be met.
cat >"$WORK/ssh" <<'END_OF'
#!/bin/bash
case $* in
*'bash -c'*) exec "${@:3}" < <(exec sed -u "/^$2\$/$1") ;;
*) exec "${@:3}" ;;
esac
END_OF
chmod 755 "$WORK/ssh"

# usage: cut_at BEFORE-OR-AFTER WORD STATUS
cut_at()
{
	local how=Q rc
	[ "$1" = before ] || how=q
	wait_for 30 no_scratch || { ls "$B/var"; return 1; }
	counter || return
	migrate "$PID" --ssh "$WORK/ssh $how $2 $SSH"
	rc=$?
	[ $rc = "$3" ] || { echo "status $rc"; return 1; }
	one_of_them $rc
}
t "the link is cut before it is to stay there: it goes on here" \
    cut_at before commit 1
t "the link is cut before it is let go there: it is there, stopped" \
    cut_at before go 3
t "the link is cut when it was let go there: it runs there" cut_at after go 0

script_killed()
{
	kill -"$1" "$JOB"
}

killed_early()
{
	slow && hit copying 500 script_killed KILL && slow &&
	    hit rounds 0 script_killed TERM
}
t "the script is killed while it copies: it goes on here" killed_early
t "the script is killed at the end: one runs, and has all" \
    at_the_end $many script_killed KILL
t "the script is ended at the end: one runs, and has all" \
    at_the_end $many script_killed TERM

# Nobody is left who could clear away; the directory stays.
keeper_killed()
{
	there kill -9 "$(keeper_there)"
	wait "$JOB"
	rm -rf "$B"/var/snapfs-migrate.*
	return 0
}

killed_keeper()
{
	slow && hit copying 500 keeper_killed && slow && hit rounds 0 keeper_killed
}
t "who waits there is killed: it goes on here" killed_keeper

# The copy goes on without it; there is none to restore it.
snapfs_killed()
{
	fast
	there kill -9 "$(<"$B/daemon")"
	wait_for 40 gone "$JOB" || HUNG=yes
	[ $HUNG = no ] || end_job
	touch "$B/again"
	wait_for 20 is_not "$B/again"
}

killed_snapfs()
{
	HUNG=no
	slow && hit copying 500 snapfs_killed || return
	[ $HUNG = no ] || { echo "it did not end"; return 1; }
	grep -q 'not restored: .* is no longer a mounted snapfs' "$WORK/out" ||
	    { cat "$WORK/out"; return 1; }
}
t "the snapfs there is killed while it is copied: it goes on here" killed_snapfs
t "the snapfs there is killed at the end: one runs, and has all" \
    at_the_end $few snapfs_there_anew

# Held here by somebody else, or copied in the last moment.
pid_taken()
{
	counter && take_pid || return
	migrate "$PID" && { echo "moved"; return 1; }
	says "not restored: .*$PID.*--new-pid" || return
	went_on || return
	migrate "$PID" --new-pid && runs_there && [ "$NEW" != "$PID" ] || return
	there kill -9 "$NEW" "$PID"
}
t "the pid is taken there: it goes on here, or has another there" pid_taken

no_snapfs_there()
{
	there kill -9 "$(<"$B/daemon")"
	counter || return
	migrate "$PID" && { echo "moved"; return 1; }
	went_on && kill9 "$PID" || return
	touch "$B/again"
	wait_for 20 snapfs_there
}
t "no snapfs there: it goes on here" no_snapfs_there

# Who ends while it is copied is moved nowhere.
ends_meanwhile()
{
	slow && counter && start_migrate || return
	wait_for 40 reached rounds || { cat "$WORK/out"; return 1; }
	kill9 "$PID"
	wait_for 40 gone "$JOB" || { end_job; echo "it goes on for ever"; return 1; }
	fast
	wait "$JOB" && return 1
	says "process $PID has ended here"
}
t "the process ends while it is copied" ends_meanwhile

# All of it, or nothing.
tree()
{
	start_subject tree_fork || return
	there mount -t tmpfs -o size=1m none /var/tmp || return
	migrate "$PID" && { echo "moved"; return 1; }
	there umount -l /var/tmp
	check_subject survived || return
	start_subject tree_fork && migrate "$PID" && arrived "$(moved_to)" &&
	    check_subject restored
}
t "a tree of processes" tree

hosts_end
