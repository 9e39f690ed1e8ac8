# hosts_lib.sh - two hosts, and one for a client: network namespaces on a
# bridge.  The second host has processes, System V memory, an sshd and a
# snapfs of its own; files it has in common with this one, but for /var/tmp,
# which is $B/var.
#
#	NS		the second host's namespace; "${NS}c" the client's
#	B		what is of it: $B/snap is its snapfs
#	FAR, FAR6	its address; NEAR is ours
#	SSH		what reaches it
#
# shellcheck shell=bash

NS=snapfs$$
B=$WORK/b
# Others may have hosts at the same time.
NET=10.$((130 + $$ / 250 % 100)).$(($$ % 250))
NET6=fd99:$(printf %x $(($$ % 65536))):
NEAR=$NET.1
NEAR6=$NET6:1
FAR=$NET.2
FAR6=$NET6:2
INIT=
MIGRATE=$top/mountscripts/snapfs-migrate
export HOME=$WORK/home
SSH="ssh -p 2222 -i $B/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=$B/known -o LogLevel=ERROR"

need_hosts()
{
	local tool
	need_root
	for tool in /usr/sbin/sshd ssh-keygen sshfs ip tc nft; do
		command -v $tool >/dev/null || skip_all "there is no $tool"
	done
}

# ---- the link ----

# An address of IPv6 is good at once without the search for another one.
link_up()
{
	ip netns add "$NS" && ip netns add "${NS}c" &&
	    ip link add "${NS:6}r" type bridge &&
	    ip link add "${NS:6}a" type veth peer name b0 netns "$NS" &&
	    ip link add "${NS:6}c" type veth peer name c0 netns "${NS}c" &&
	    ip link set "${NS:6}a" master "${NS:6}r" up &&
	    ip link set "${NS:6}c" master "${NS:6}r" up &&
	    ip addr add $NEAR/24 dev "${NS:6}r" &&
	    ip link set "${NS:6}r" up &&
	    ip -n "${NS}c" addr add $NET.3/24 dev c0 &&
	    ip -n "${NS}c" link set c0 up &&
	    ip -n "$NS" addr add $FAR/24 dev b0 &&
	    ip -n "$NS" link set b0 up && ip -n "$NS" link set lo up &&
	    { ip addr add $NEAR6/64 dev "${NS:6}r" nodad &&
		ip -n "${NS}c" addr add $NET6:3/64 dev c0 nodad &&
		ip -n "$NS" addr add $FAR6/64 dev b0 nodad || FAR6=; }
}

# It carries so little, in both directions, that a copy takes seconds.
# usage: slow [RATE]
slow()
{
	local rate=${1:-40mbit}
	tc qdisc replace dev "${NS:6}a" root tbf rate "$rate" burst 64kb \
	    latency 50ms 2>/dev/null &&
	    ip netns exec "$NS" tc qdisc replace dev b0 root tbf rate "$rate" \
		burst 64kb latency 50ms 2>/dev/null ||
	    { echo "the kernel has no tbf"; return 77; }
}

fast()
{
	tc qdisc del dev "${NS:6}a" root 2>/dev/null
	ip netns exec "$NS" tc qdisc del dev b0 root 2>/dev/null
	return 0
}

# Nobody is told of it: packets are lost.
cut_link()
{
	ip link set "${NS:6}a" down
}

mend_link()
{
	ip link set "${NS:6}a" up
}

# ---- the second host ----

make_keys()
{
	ssh-keygen -q -t ed25519 -N '' -f "$B/host" &&
	    ssh-keygen -q -t ed25519 -N '' -f "$B/user" &&
	    cp "$B/user.pub" "$B/authorized" && chmod 600 "$B/authorized"
}

# Its first process: a snapfs, which is started anew when it was killed and
# $B/again is there, and an sshd; it ends with all that is there.
make_init()
{
	cat >"$B/init" <<'END_OF'
#!/bin/bash
snapfs()
{
	umount -l "$2/snap" 2>/dev/null
	rm -f "$2/again"
	"$1" -f -o freeze_timeout=10 "$2/snap" </dev/null >>"$2/daemon.log" 2>&1 &
	echo $! >"$2/daemon"
}
# Mounts of others must not be kept from their end by our namespace.
while read -r _ point type _; do
	[[ $type != fuse.* ]] || umount -l "$point"
done </proc/mounts
# The numbers of what comes from there are seldom in use here.
echo $(($(</proc/sys/kernel/pid_max) / 2)) >/proc/sys/kernel/ns_last_pid
mkdir -p "$2/var"
mount --bind "$2/var" /var/tmp
# What the shell of whoever runs the tests does when it begins is not ours.
[ ! -e ~root/.bashrc ] || mount --bind /dev/null ~root/.bashrc
snapfs "$@"
/usr/sbin/sshd -D -e -f /dev/null -p 2222 -h "$2/host" \
    -o AuthorizedKeysFile="$2/authorized" -o StrictModes=no \
    -o PermitRootLogin=yes -o UsePAM=no -o PidFile=none \
    -o MaxStartups=50 -o Subsystem=sftp\ internal-sftp \
    </dev/null >"$2/sshd.log" 2>&1 &
while :; do
	[ ! -e "$2/again" ] || snapfs "$@"
	sleep 0.1
done
END_OF
}

# usage: hosts_up: both hosts, or the script is skipped
hosts_up()
{
	trap 'hosts_down; cleanup' EXIT
	mkdir -p "$B/snap" "$HOME" /run/sshd
	link_up ||
	    skip_all "the kernel has no bridge, veth or network namespaces"
	make_keys || die "no keys"
	make_init
	ip netns exec "$NS" unshare -ipf --kill-child --mount-proc bash "$B/init" \
	    "$SNAPFS" "$B" </dev/null >"$B/init.log" 2>&1 3>&- 9>&- 8>&- &
	INIT=$!
	wait_for 20 snapfs_there || die "$(cat "$B"/*.log)"
	PIDS_OF=$(there readlink /proc/self/ns/pid)
}

hosts_down()
{
	local x
	[ -z "$INIT" ] || kill -9 "$INIT" 2>/dev/null
	wait "$INIT" 2>/dev/null
	INIT=
	for x in a c r; do
		ip link del "${NS:6}$x" 2>/dev/null
	done
	ip netns del "$NS" 2>/dev/null
	ip netns del "${NS}c" 2>/dev/null
}

snapfs_there()
{
	there test -e "$B/snap/.status"
}

snapfs_there_anew()
{
	there kill -9 "$(<"$B/daemon")"
	touch "$B/again"
	wait_for 20 is_not "$B/again" && wait_for 20 snapfs_there
}

is_not()
{
	[ ! -e "$1" ]
}

# Run a command there.
there()
{
	$SSH -o BatchMode=yes root@$FAR "$(printf '%q ' "$@")" 2>/dev/null
}

# The number that a process has here whose own, there, is PID.
# usage: here_of PID
here_of()
{
	local p
	for p in $(grep -ls "^NSpid:.*[[:blank:]]$1\$" /proc/[0-9]*/status); do
		p=${p#/proc/}
		p=${p%/status}
		[ "$(readlink "/proc/$p/ns/pid")" != "$PIDS_OF" ] || echo "$p"
	done
}

# It is gone here, and PID is the number here of what is there.
# usage: arrived PID-THERE
arrived()
{
	wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 10 free_pid "$PID" || { echo "it is here, too"; return 1; }
	PID=$(here_of "$1")
	[ -n "$PID" ] || { echo "process $1 is not there"; return 1; }
	PIDS+=("$PID")
}

# The last line of a script.
hosts_end()
{
	local pid
	near_down
	hosts_down
	for pid in "${PIDS[@]}"; do
		kill9 "$pid"
	done
	t "no stray process" no_strays
	t "unmounted" unmount_snapfs
	[ $TEST_FAILED = no ]
}

# ---- moved there ----

# usage: migrate PID [OPTION...]; OUT, the exit status is its own
migrate()
{
	local pid=$1 rc
	shift
	timeout 60 "$MIGRATE" --mount "$MNT" --ssh "$SSH" "$@" "$pid" \
	    "root@${TO-$FAR}:$B/snap" >"$WORK/out" 2>&1 3>&- 9>&-
	rc=$?
	OUT=$(<"$WORK/out")
	echo "$OUT"
	return $rc
}

moved_to()
{
	sed -n 's/^moved: process \([0-9]*\) .*/\1/p' "$WORK/out"
}

# ---- post-copy: restored there from our mount, by sshfs ----

SSHFS_OPTIONS=dir_cache=no,sshfs_sync,ServerAliveInterval=2,ServerAliveCountMax=2
# Newer ones refuse links to absolute paths, if not told otherwise.
! sshfs -h 2>&1 | grep -q no_contain_symlinks ||
    SSHFS_OPTIONS+=,no_contain_symlinks

# An sshd of ours, and our mount there as $B/near.
near_up()
{
	/usr/sbin/sshd -D -e -f /dev/null -p 2222 -h "$B/host" \
	    -o ListenAddress=$NEAR -o AuthorizedKeysFile="$B/authorized" \
	    -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=no \
	    -o PidFile=none -o Subsystem='sftp internal-sftp' \
	    -o ClientAliveInterval=2 -o ClientAliveCountMax=2 \
	    </dev/null >"$B/near.log" 2>&1 3>&- 9>&- 8>&- &
	PIDS+=("$!")
	mkdir -p "$B/near" && make_postcopy && wait_for 20 near_mounted
}

# usage: near_mounted [OPTION,...]
near_mounted()
{
	there sshfs -o "$SSHFS_OPTIONS${1:+,$1}" -o ssh_command="$SSH" \
	    "root@$NEAR:$MNT" "$B/near"
}

near_down()
{
	[ ! -e "$B/near" ] || there umount -l "$B/near"
}

# As in snapfs-migrate(1).
make_postcopy()
{
	cat >"$B/postcopy" <<'END_OF'
#!/bin/bash
# usage: postcopy REMOTE LOCAL PID [OPTION...]: the new pid
exec 2>&1
remote=$1 mnt=$2 pid=$3
shift 3
exec 8>"$remote/$pid/.hold" || exit
exec 4<>"$mnt/.restore"
before=$(grep -c 'was killed, for its memory' "$mnt/.log")
if ! printf '%s\n' "$@" "$remote/$pid" >&4; then
	cat <&4
	exit 1
fi
read -r new <&4
exec 4>&-
echo "$new"
while grep -q "^pager: .* of $new " "$mnt/.status"; do
	sleep 0.05
done
# The ring may have dropped some; that of an earlier process is not meant.
if [ "$(grep -c 'was killed, for its memory' "$mnt/.log")" -gt "$before" ] &&
    grep "process $new was killed, for its memory" "$mnt/.log"; then
	exit 1
fi
echo end >&8 || exit
exec 8>&-
END_OF
}

# usage: postcopy PID [OPTION...]; OUT: the new pid, or why not
postcopy()
{
	local rc pid=$1
	shift
	# No empty line, if there are no options.
	there bash "$B/postcopy" "$B/near" "$B/snap" "$pid" "${@:-lazy=yes}" \
	    >"$WORK/out" 8>&-
	rc=$?
	OUT=$(<"$WORK/out")
	[ $rc = 0 ] || echo "$OUT"
	return $rc
}
