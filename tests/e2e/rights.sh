#!/bin/bash
# rights.sh - with which rights the parts run, and that a restore gives none
# that its writer lacks.

. "$(dirname "$0")/lib.sh"
need_root
chmod 0755 "$WORK"
mount_snapfs linger=1
cd "$WORK" || exit 1

uid=65534
drop=(setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all)
mkdir user
gcc -static -nostdlib -O -o user/tick "$top/man/example/tick.c" || die "tick.c"
cp "$TOOLS/request" "$TOOLS/confine" user
chown -R $uid:$uid user
request=$WORK/user/request

# usage: tick NAME COMMAND...: PID, and its image user/NAME
tick()
{
	local name=$1
	shift
	"$@" "$WORK/user/tick" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -qx tick "/proc/$PID/comm" || return
	rm -rf "user/$name"
	copy "$PID" "$WORK/user/$name" || return
	chown -R -h $uid:$uid "user/$name"
	chmod -R u+w,a+rX "user/$name"
}
tick users "${drop[@]}" || die "no image"
users=$PID
tick roots env || die "no image"
kill9 "$PID"

# usage: bits NAME...: a mask of these capabilities, as in /proc
bits()
{
	local names=(chown dac_override dac_read_search fowner fsetid kill setgid
	    setuid setpcap linux_immutable net_bind_service net_broadcast
	    net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
	    sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource
	    sys_time sys_tty_config mknod lease audit_write audit_control setfcap
	    mac_override mac_admin syslog wake_alarm block_suspend audit_read
	    perfmon bpf checkpoint_restore)
	local i n mask=0
	for n; do
		for i in "${!names[@]}"; do
			[ "${names[i]}" != "$n" ] || mask=$((mask | 1 << i))
		done
	done
	printf '%016x\n' $mask
}

# usage: value_of PID KEY: a line of /proc/PID/status
value_of()
{
	sed -n "s/^$2:[ 	]*//p" "/proc/$1/status" 2>/dev/null
}

# ---- the parts ----

# What SECURITY.md and access.c say; no thread has more in effect.
daemon_caps()
{
	local want t have
	want=0x$(bits sys_ptrace dac_read_search dac_override sys_admin \
	    checkpoint_restore kill setuid setgid setpcap sys_resource \
	    ipc_owner net_admin sys_nice)
	for t in /proc/"$DAEMON"/task/*; do
		# One that sweeps, or drops a checkpoint, may have ended.
		have=0x$(value_of "${t#/proc/}" CapEff)
		[ "$have" != 0x ] || continue
		printf '%s %#x\n' "$t" $((have))
		((have != 0 && (have & ~want) == 0)) || return
	done
}
t "the daemon has in effect what it needs" daemon_caps

# While it reads an image of a million lines.
agent_rights()
{
	local child seen=no writer eff prm
	rm -rf user/long
	cp -r user/users user/long
	python3 -c 'for i in range(400000): print(f"fd {i+5000}: x")' >>user/long/unsupported
	grep -v '  unsupported$' user/users/xxh128sums >user/long/xxh128sums
	chown -R -h $uid:$uid user/long
	"${drop[@]}" "$request" "$MNT/.restore" user/long stopped >"$WORK/answer" &
	writer=$!
	while kill -0 $writer 2>/dev/null; do
		for child in $(cat /proc/"$DAEMON"/task/*/children); do
			[ "$(value_of "$child" Uid)" = "$uid	$uid	$uid	$uid" ] || continue
			[ "$(value_of "$child" Groups)" = '' ] || [ "$(value_of "$child" Groups)" = ' ' ] || continue
			eff=$(value_of "$child" CapEff)
			prm=$(value_of "$child" CapPrm)
			# Not while it is on the way of becoming the writer.
			[ "$prm" = "$(bits checkpoint_restore)" ] || continue
			[ "$eff" = "$(bits)" ] || [ "$eff" = "$prm" ] || {
				cat "/proc/$child/status"
				return 1
			}
			[ "$eff" = "$prm" ] || seen=yes
		done
	done
	wait $writer
	cat "$WORK/answer"
	[ $seen = yes ] || { echo "it was not seen at work"; return 1; }
	! [[ $(<"$WORK/answer") == OK* ]] || kill9 "$(sed -n '1s/OK //p' "$WORK/answer")"
}

# ---- the writer's rights, no more ----

# usage: restored_by NAME [COMMAND...]: user/NAME by this writer, as PID
restored_by()
{
	local name=$1
	shift
	ANSWER=$("$@" "$request" "$MNT/.restore" "user/$name" pid=new) || {
		echo "$ANSWER"
		return 1
	}
	PID=$(restored_pid)
	PIDS+=("$PID")
}

# usage: refused_by ERRNO NAME COMMAND...
refused_by()
{
	local want=$1 name=$2
	shift 2
	ANSWER=$("$@" "$request" "$MNT/.restore" "user/$name" pid=new) && {
		PIDS+=("$(restored_pid)")
		echo "it was restored: $ANSWER"
		return 1
	}
	[[ $ANSWER == $want' '*' '* ]] || { echo "$ANSWER"; return 1; }
	no_strays
}

expect_value()
{
	[ "$(value_of "$PID" "$1")" = "$2" ] || {
		echo "$1 is $(value_of "$PID" "$1"), not $2"
		return 1
	}
}

no_new_privs()
{
	restored_by users "${drop[@]}" --no-new-privs || return
	expect_value NoNewPrivs 1 && kill9 "$PID"
}
t "no_new_privs of the writer" no_new_privs

# A root with few rights, and an image of a root with all.
bounding()
{
	restored_by roots setpriv --bounding-set=-net_raw,-sys_time,-sys_ptrace || return
	for k in CapPrm CapEff CapBnd; do
		(((0x$(value_of "$PID" $k) & 0x$(bits net_raw sys_time sys_ptrace)) == 0)) || {
			echo "$k $(value_of "$PID" $k)"
			return 1
		}
	done
	[[ $ANSWER == *capabilities* ]] || { echo "$ANSWER"; return 1; }
	kill9 "$PID"
}
t "capabilities and the bounding set" bounding

# SECBIT_NOROOT is not seen by others: what it keeps from a root that gave up
# capabilities, a program that the restored process executes must not get.
noroot()
{
	local k
	restored_by roots python3 -c '
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(28, 0x2f, 0, 0, 0)
class H(ctypes.Structure): _fields_ = [("v", ctypes.c_uint32), ("p", ctypes.c_int)]
libc.capset(ctypes.byref(H(0x20080522, 0)), (ctypes.c_uint32 * 6)())
os.execv(sys.argv[1], sys.argv[1:])' || return
	for k in CapPrm CapEff CapBnd; do
		expect_value $k "$(bits)" || return
	done
	kill9 "$PID"
}
t "a root without capabilities that may not have them again" noroot

limits()
{
	local want got
	restored_by roots prlimit --core=0:0 --nofile=300:300 --memlock=65536:65536 \
	    --nproc=5000:5000 setpriv --bounding-set=-sys_resource || return
	want='Max core file size 0 0
Max processes 5000 5000
Max open files 300 300
Max locked memory 65536 65536'
	got=$(grep -E 'Max (core|processes|open|locked)' "/proc/$PID/limits" |
	    tr -s ' ' | sed 's/ [a-z]* $//')
	[ "$got" = "$want" ] || { echo "$got"; return 1; }
	kill9 "$PID"
}
t "hard limits" limits

# usage: edit KEY VALUE: a line of status in user/bad, made of user/users
edit()
{
	rm -rf user/bad
	cp -r user/users user/bad
	sed -i "s/^$1:.*/$1: $2/" user/bad/status
	grep -q "^$1: $2\$" user/bad/status || return
	grep -v '  status$' user/users/xxh128sums >user/bad/xxh128sums
	chown -R -h $uid:$uid user/bad
}

ids()
{
	local key
	for key in 'uid 0 0 0 0' "uid $uid 0 $uid $uid" "uid $uid $uid 0 $uid" \
	    "uid $uid $uid $uid 0" 'gid 0 0 0 0' "gid $uid $uid 0 $uid" \
	    "gid $uid $uid $uid 42"; do
		edit "${key%% *}" "${key#* }" || return
		# Of those of the file system the kernel only says what they are.
		refused_by 'E[PO]*' bad "${drop[@]}" || { echo "$key"; return 1; }
	done
	edit groups "0 42 $uid" && refused_by EPERM bad "${drop[@]}"
}
t "uids, gids and groups" ids

users_caps()
{
	local key
	for key in permitted effective inheritable ambient bounding; do
		edit "cap-$key" 0x000001ffffffffff || return
		restored_by bad "${drop[@]}" || return
		expect_value CapPrm "$(bits)" && expect_value CapEff "$(bits)" &&
		    expect_value CapInh "$(bits)" && expect_value CapAmb "$(bits)" || return
		kill9 "$PID" || return
	done
}
t "capabilities that a user asks for" users_caps

# The same shell before and after: what a program has that it executes.
securebits()
{
	edit securebits 0x0000002f && restored_by bad "${drop[@]}" || return
	[[ $ANSWER == *securebits* || $ANSWER == *'privileges'* || $ANSWER == *$'\n'* ]] || {
		echo "not said: $ANSWER"
		return 1
	}
	kill9 "$PID"
}
t "securebits that a user asks for" securebits

namespaces()
{
	local ns writer
	for ns in uts ipc net; do
		"${drop[@]}" unshare -U --map-user=$uid --$ns sh -c 'readlink "$1" >"$2"
		    exec "$3" "$4" "$5" pid=new' sh /proc/self/ns/$ns user/ns \
		    "$request" "$MNT/.restore" user/users >"$WORK/answer" || {
			cat "$WORK/answer"
			return 1
		}
		ANSWER=$(<"$WORK/answer")
		PID=$(restored_pid)
		PIDS+=("$PID")
		[ "$(readlink "/proc/$PID/ns/$ns")" = "$(<user/ns)" ] || return
		[ "$(readlink "/proc/$PID/ns/user")" != "$(readlink /proc/self/ns/user)" ] || return
		expect_value CapPrm "$(bits)" || return
		kill9 "$PID" || return
	done
}
t "the writer's namespaces" namespaces

seccomp()
{
	refused_by EPERM users "${drop[@]}" "$WORK/user/confine" || return
	[[ $ANSWER == *seccomp* ]] || { echo "$ANSWER"; return 1; }
	refused_by EPERM roots "$WORK/user/confine"
}
t "a writer under a seccomp filter" seccomp

# A daemon under a filter, and a writer under as many, but another.
seccomp_both()
{
	local mnt=$WORK/confined rc=0
	mkdir -p "$mnt"
	"$WORK/user/confine" "$SNAPFS" -f "$mnt" </dev/null >"$WORK/confined.log" 2>&1 3>&- 9>&- &
	PIDS+=($!)
	wait_for 5 test -e "$mnt/.status" || { cat "$WORK/confined.log"; return 1; }
	(MNT=$mnt; refused_by EPERM roots "$WORK/user/confine") || rc=1
	umount "$mnt" || rc=1
	wait_for 5 gone $! || rc=1
	wait $!
	forget $!
	return $rc
}
t "a writer under another filter than the daemon" seccomp_both

# ---- what an image names ----

# usage: named LINK TARGET ERRNO...: refused, and not opened
named()
{
	local link=$1 to=$2 want=$3
	rm -rf user/bad
	cp -r user/users user/bad
	ln -sfn "$to" "user/bad/$link"
	chown -R -h $uid:$uid user/bad
	refused_by "$want" bad "${drop[@]}" || { echo "$link -> $to"; return 1; }
}

links()
{
	local secret=$WORK/secret range
	echo secret >"$secret" && chmod 600 "$secret"
	mkdir -p "$WORK/closed" && chmod 700 "$WORK/closed"
	ln -sfn "$secret" user/via
	named fd/0 "$secret" EACCES || return
	named fd/0 "$WORK/user/via" EACCES || return
	named fd/0 /proc/1/mem EACCES || return
	named fd/0 "/proc/$DAEMON/mem" EACCES || return
	named fd/0 "/proc/$DAEMON/fd/0" EACCES || return
	named cwd "$WORK/closed" EACCES || return
	named cwd /proc/1/root EACCES || return
	named cwd "/proc/$DAEMON/cwd" EACCES || return
	named root /proc/1/root 'E*' || return
	# Only with the capability that was lent.
	range=$(ls "/proc/$users/map_files" | head -n 1)
	"${drop[@]}" cat "/proc/$users/map_files/$range" >/dev/null 2>&1 && {
		echo "he may do that"
		return 1
	}
	named fd/0 "/proc/$users/map_files/$range" EPERM
}
t "links and /proc in an image" links

mapped()
{
	local range
	range=$(ls "/proc/$users/map_files" | head -n 1)
	rm -rf user/bad
	cp -r user/users user/bad
	sed -i "s|^\(file 0 .*\) /[^ ]*\$|\1 /proc/$users/map_files/$range|" user/bad/pagemap
	grep -q map_files user/bad/pagemap || return
	grep -v '  pagemap$' user/users/xxh128sums >user/bad/xxh128sums
	chown -R -h $uid:$uid user/bad
	refused_by EPERM bad "${drop[@]}"
}
t "a mapped file by way of /proc" mapped

kill9 "$users"
t "the reader of images has no more than the writer" agent_rights

t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
