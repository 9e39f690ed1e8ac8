#!/bin/bash
# attach.sh - the kernel's answer to ptrace attach is snapfs's answer: for every
# kind of caller and of target, and for every operation.

. "$(dirname "$0")/lib.sh"
need_root
chmod 0755 "$WORK"
mount_snapfs linger=1,freeze_timeout=30
cd "$WORK" || exit 1

# Two real users, for as long as this lasts.
users=()
remove_users()
{
	local u
	for u in "${users[@]}"; do
		userdel -f "$u" 2>/dev/null
	done
}
trap 'cleanup; remove_users' EXIT
for u in snapfs-a snapfs-b; do
	useradd --no-create-home --user-group --shell /bin/sh "$u" || die "no user $u"
	users+=("$u")
done
a=$(id -u snapfs-a)
b=$(id -u snapfs-b)

# The programs must be in reach for them, and some be set-user-ID.
cp "$TOOLS/may-attach" "$WORK/may-attach"
cp /bin/sleep "$WORK/plain"
cp /bin/sleep "$WORK/suid-root" && chmod 4755 "$WORK/suid-root"
cp /bin/sleep "$WORK/suid-b" && chown "$b:$b" "$WORK/suid-b" && chmod 4755 "$WORK/suid-b"
cp /bin/sleep "$WORK/sgid-b" && chown "0:$b" "$WORK/sgid-b" && chmod 2755 "$WORK/sgid-b"
cp /bin/sleep "$WORK/unreadable" && chmod 0711 "$WORK/unreadable"
cp "$TOOLS/may-attach" "$WORK/asks-as-b" && chown "$b:$b" "$WORK/asks-as-b" &&
    chmod 4755 "$WORK/asks-as-b"
mount | grep -q " on $(df --output=target "$WORK" | tail -n 1) .*nosuid" &&
    skip_all "set-user-ID programs do not work in $WORK"

as()
{
	local uid=$1
	shift
	setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all "$@"
}

# ---- the targets ----

# The number of the process that is asleep below $1, itself or a child.
sleeper()
{
	local p=$1 c
	while [ "$(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null)" != "$WORK/$2 1000 " ]; do
		c=$(cat "/proc/$p/task/$p/children" 2>/dev/null)
		c=${c%% *}
		[ -n "$c" ] || return
		p=$c
	done
	[ "$(state_of "$p")" = S ] && echo "$p"
}

targets=()	# PID, or PID=INNER
names=()
# usage: target NAME PROGRAM COMMAND...
target()
{
	local name=$1 program=$2 pid
	shift 2
	"$@" "$WORK/$program" 1000 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	wait_for 10 eval "[ -n \"\$(sleeper $! $program)\" ]" || die "no target: $name"
	pid=$(sleeper $! "$program")
	PIDS+=("$!")
	[ "$pid" = $! ] || PIDS+=("$pid")
	targets+=("$pid")
	names+=("$name")
}
drop="setpriv --clear-groups --inh-caps=-all"
# shellcheck disable=SC2086  # words
{
target "a's" plain $drop --reuid=$a --regid=$a
target "b's" plain $drop --reuid=$b --regid=$b
target "root's" plain env
target "root's with few capabilities" plain setpriv --bounding-set=-all,+chown --inh-caps=-all
target "root's without any" plain setpriv --bounding-set=-all --inh-caps=-all
target "a's set-user-ID root" suid-root $drop --reuid=$a --regid=$a
target "a's set-user-ID b" suid-b $drop --reuid=$a --regid=$a
target "a's set-group-ID b" sgid-b $drop --reuid=$a --regid=$a
target "a's that it cannot read" unreadable $drop --reuid=$a --regid=$a
target "a's with a capability" plain setpriv --clear-groups --reuid=$a --regid=$a \
    --inh-caps=+net_raw --ambient-caps=+net_raw
target "a's that may read all" plain setpriv --clear-groups --reuid=$a --regid=$a \
    --inh-caps=+dac_read_search --ambient-caps=+dac_read_search
target "a's with another gid" plain $drop --reuid=$a --regid=$b
target "a's with no_new_privs" plain $drop --reuid=$a --regid=$a --no-new-privs
target "a's in a user namespace" plain $drop --reuid=$a --regid=$a unshare -Ur
target "a's in user and pid namespaces" plain $drop --reuid=$a --regid=$a unshare -Urpf
target "root's in a pid namespace" plain unshare -pf
target "root's in a mount namespace" plain unshare -m
}
in_userns=${targets[13]}
in_pidns=${targets[14]}
roots_pidns=${targets[15]}

# ---- the callers ----

asked=0
# usage: asks WHO PROGRAM COMMAND...: what they answer must be the same
asks()
{
	local program=$1 out rc i
	shift
	out=$("$@" $program $strict "$MNT" "${list[@]}" 2>&1)
	rc=$?
	if [ $rc != 0 ]; then
		for i in "${!targets[@]}"; do
			echo "${targets[i]} is ${names[i]}"
		done
		echo "$out"
		return 1
	fi
	# Each was asked, and it was not all one answer by some mistake.
	[ "$(grep -c kernel <<<"$out")" = ${#targets[@]} ] || { echo "$out"; return 1; }
	echo "$(grep -c 'kernel yes' <<<"$out") of ${#targets[@]}"
	[ -z "$expect" ] || [ "$(grep -c 'kernel yes' <<<"$out")" = "$expect" ]
}

list=("${targets[@]}")
strict=
expect=
q="$WORK/may-attach"
# shellcheck disable=SC2086
callers()
{
	expect=${#targets[@]}
	t "asked by root" asks $q env
	expect=
	t "by root in a mount namespace" asks $q unshare -m
	t "by root without CAP_SYS_PTRACE" asks $q setpriv --bounding-set=-sys_ptrace
	t "by root without any capability" asks $q setpriv --bounding-set=-all
	t "by user a" asks $q as $a
	t "by user b" asks $q as $b
	t "by user a with CAP_SYS_PTRACE" asks $q setpriv --reuid=$a --regid=$a \
	    --clear-groups --inh-caps=+sys_ptrace --ambient-caps=+sys_ptrace
	t "by user a with CAP_NET_RAW" asks $q setpriv --reuid=$a --regid=$a \
	    --clear-groups --inh-caps=+net_raw --ambient-caps=+net_raw
	t "by user a with no_new_privs" asks $q as $a setpriv --no-new-privs
	t "by user a with another gid" asks $q $drop --reuid=$a --regid=$b
	t "by user a in a user namespace of his" asks $q as $a unshare -Ur
	t "by user a in it without capabilities" asks $q as $a unshare -U --map-user=$a
	t "by root in a user namespace" asks $q unshare -Ur
	t "by user a, in the target's user namespace" asks $q as $a nsenter \
	    -t $in_userns -U --preserve-credentials
	strict=-s
	t "by a program that is set-user-ID b, of user a" asks "$WORK/asks-as-b" as $a
	strict=
}
callers

# In a pid namespace others have other numbers, or none.
# usage: numbers PID: `list` as it is seen from the pid namespace of PID
numbers()
{
	local p ns inner
	list=()
	ns=$(stat -L -c %i "/proc/$1/ns/pid")
	for p in "${targets[@]}"; do
		inner=0
		if [ "$(stat -L -c %i "/proc/$p/ns/pid")" = "$ns" ]; then
			inner=$(awk '/^NSpid:/ { print $NF }' "/proc/$p/status")
		fi
		list+=("$p=$inner")
	done
}
numbers "$roots_pidns"
expect=1
t "by root in a pid namespace" asks $q nsenter -t "$roots_pidns" -p
expect=
t "by root in a pid namespace without capabilities" asks $q nsenter -t "$roots_pidns" -p \
    setpriv --bounding-set=-all
t "by user a in root's pid namespace" asks $q nsenter -t "$roots_pidns" -p \
    setpriv --reuid="$a" --regid="$a" --clear-groups --inh-caps=-all
numbers "$in_pidns"
expect=1
t "by user a in user and pid namespaces of his" asks $q as "$a" nsenter \
    -t "$in_pidns" -U -p --preserve-credentials
expect=
list=("${targets[@]}")

# Yama, where the kernel has it.
yama()
{
	local level was
	[ -e /proc/sys/kernel/yama/ptrace_scope ] || {
		echo "this kernel has no Yama"
		return 77
	}
	was=$(cat /proc/sys/kernel/yama/ptrace_scope)
	for level in 0 1 2; do
		[ "$level" -ge "$was" ] || continue
		echo $level >/proc/sys/kernel/yama/ptrace_scope
		strict=-s
		asks $q as "$a" && asks $q env || return
	done
	echo "$was" >/proc/sys/kernel/yama/ptrace_scope
}
t "with Yama" yama
strict=

untouched()
{
	local p
	for p in "${targets[@]}"; do
		expect_untouched "$p" || return
	done
}
t "all go on" untouched
for p in "${PIDS[@]}"; do
	kill9 "$p"
done
t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
