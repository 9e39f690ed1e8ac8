#!/bin/bash
# access.sh - who may do what: the kernel's rules, asked with the caller's own
# credentials.

. "$(dirname "$0")/lib.sh"
need_root
chmod 0755 "$WORK"
# Where /dev/fuse is not for everybody, as udev would have it, make one that is,
# for this script alone.
if [ "$(stat -c %a /dev/fuse)" != 666 ] && [ -z "${OWN_DEV-}" ]; then
	mknod -m 0666 "$WORK/fuse" c 10 229
	trap - EXIT
	OWN_DEV=yes exec unshare -m --propagation private "$0" "$@"
elif [ -n "${OWN_DEV-}" ]; then
	mount --bind "$WORK/fuse" /dev/fuse || exit
fi
mount_snapfs
cd "$WORK" || exit 1

# Another user; fusermount3 wants one with a name.
uid=65534
as_user()
{
	setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all "$@"
}

# A directory of his own, and a process of his.
mkdir user
chown $uid:$uid user
start_of_user()
{
	DIR=$(mktemp -d user/"$1".XXXXXX)
	DIR=$WORK/$DIR
	chown $uid:$uid "$DIR"
	setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all \
	    "$SUBJECTS/$1" "$DIR" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 subject_spoke && [ -e "$DIR/ready" ]
}
# The program must be in reach for him.
as_user test -x "$SUBJECTS/mem_private" || {
	cp -r "$SUBJECTS" "$WORK/programs"
	SUBJECTS=$WORK/programs
}
as_user test -x "$TOOLS/request" || {
	cp -r "$TOOLS" "$WORK/tools"
	TOOLS=$WORK/tools
}

LOG=/dev/null start_subject mem_private || die "no subject"
roots=$PID
roots_dir=$DIR

sees_own_only()
{
	local names
	start_of_user mem_private || return
	names=$(as_user ls "$MNT") || return
	grep -qx "$PID" <<<"$names" || { echo "his own is not there"; return 1; }
	grep -qx "$roots" <<<"$names" && { echo "root's is there"; return 1; }
	[ "$(stat -c %u "$MNT/$PID")" = $uid ] || return
	kill9 "$PID"
}
t "a user sees his own processes only" sees_own_only

cannot_read_others()
{
	local f err
	for f in maps pages checkpoint ''; do
		err=$(as_user ls "$MNT/$roots/$f" 2>&1) && {
			echo "he can see $f"
			return 1
		}
		err=$(as_user cat "$MNT/$roots/$f" 2>&1) && {
			echo "he can read $f"
			return 1
		}
		case $err in
		*'Permission denied'* | *'No such file'* | *'not permitted'*) ;;
		*) echo "$err"; return 1 ;;
		esac
	done
	no_strays
}
t "a user cannot read another's" cannot_read_others

copies_own()
{
	start_of_user mem_private || return
	as_user cp -r "$MNT/$PID" user/image || return
	[ "$(stat -c %u user/image/maps)" = $uid ] || return
	kill9 "$PID" || return
	# Root brings it back as what it was.
	restore "$PID" user/image || return
	[ "$(stat -c %u "/proc/$PID")" = $uid ] || return
	check_subject restored
}
t "a user copies his own; root restores it" copies_own

restores_own()
{
	start_of_user mem_private || return
	rm -rf user/image
	as_user cp -r "$MNT/$PID" user/image || return
	kill9 "$PID" || return
	PIDS+=("$PID")
	ANSWER=$(as_user "$TOOLS/request" "$MNT/.restore" user/image) || {
		echo "$ANSWER"
		return 1
	}
	[ "$(restored_pid)" = "$PID" ] || { echo "$ANSWER"; return 1; }
	[ "$(stat -c %u "/proc/$PID")" = $uid ] || return
	grep -q '^CapPrm:.0000000000000000$' "/proc/$PID/status" || {
		grep Cap "/proc/$PID/status"
		return 1
	}
	check_subject restored
}
t "a user restores his own, with the same pid" restores_own

no_more_rights()
{
	copy "$roots" roots.image || return
	chmod -R a+rX roots.image
	kill9 "$roots" || return
	ANSWER=$(as_user "$TOOLS/request" "$MNT/.restore" roots.image) && {
		echo "he made a process of root's: $ANSWER"
		PIDS+=("$roots")
		return 1
	}
	[[ $ANSWER == EPERM' '*' '* ]] || { echo "$ANSWER"; return 1; }
	no_strays || return
	DIR=$roots_dir
	PID=$roots
	restore "$roots" roots.image || return
	check_subject restored
}
t "a user cannot make a process of root's" no_more_rights

# What he wrote is acted upon when it is closed, and that by then is done by a
# program with root's rights.
no_rights_by_exec()
{
	local program=$WORK/suid
	cp /bin/true "$program" && chmod 4755 "$program" || return
	start_of_user mem_private || return
	echo nothing >"$MNT/.restore" 2>/dev/null
	# shellcheck disable=SC2016
	as_user perl -e '$^F = 9; open(F, ">", $ARGV[0]) or die; syswrite(F, "$ARGV[1]\n") or die; exec($ARGV[2])' \
	    "$MNT/.restore" "$MNT/$PID" "$program" || return
	grep -q 'other rights' "$MNT/.restore" || {
		cat "$MNT/.restore"
		return 1
	}
	kill9 "$PID"
}
t "a request is not ended with more rights" no_rights_by_exec

cannot_open_for_him()
{
	# Root's image, readable; the file that the process has open is not.
	echo secret >secret
	chmod 0600 secret
	start_of_user fd_regular || return
	rm -rf user/image
	as_user cp -r "$MNT/$PID" user/image || return
	kill9 "$PID" || return
	chmod -R u+w user/image
	ln -sfn "$WORK/secret" user/image/fd/0
	grep -v '  fd\(info\)\?/0$' user/image/xxh128sums >sums
	cat sums >user/image/xxh128sums
	ANSWER=$(as_user "$TOOLS/request" "$MNT/.restore" user/image) && {
		PIDS+=("$PID")
		kill9 "$PID"
		echo "the file was opened: $ANSWER"
		return 1
	}
	[[ $ANSWER == EACCES' '*' '* || $ANSWER == EPERM' '*' '* ]] || {
		echo "$ANSWER"
		return 1
	}
	no_strays
}
t "files are opened with the writer's rights" cannot_open_for_him

answers_are_private()
{
	(echo /root/very-secret-name >"$MNT/.restore") 2>/dev/null
	as_user cat "$MNT/.restore" | grep very-secret-name &&
	    { echo "he reads root's answer"; return 1; }
	grep -q very-secret-name "$MNT/.log" || return
	as_user cat "$MNT/.log" "$MNT/.status" | grep very-secret-name &&
	    { echo "he reads root's lines of the log"; return 1; }
	as_user cat "$MNT/.status" >/dev/null
}
t "answers and the log are private" answers_are_private

unreadable_image()
{
	start_of_user mem_private || return
	cp -r "$MNT/$PID" private.image || return
	kill9 "$PID" || return
	chmod 0700 private.image
	ANSWER=$(as_user "$TOOLS/request" "$MNT/.restore" private.image) && {
		PIDS+=("$PID")
		return 1
	}
	[[ $ANSWER == EACCES' '*' '* ]] || { echo "$ANSWER"; return 1; }
}
t "an image that the writer may not read" unreadable_image

not_dumpable()
{
	# A process that may not be traced by its own user, because it dropped
	# from root.
	start_subject id_nobody || return
	kill -0 "$PID" || return
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
	    cat "$MNT/$PID/maps" >/dev/null 2>&1 && {
		echo "he reads what may not be dumped"
		return 1
	}
	check_subject survived
}
t "a process that is not dumpable" not_dumpable

other_namespace()
{
	# A path is the writer's, in his mount namespace and root.
	start_subject mem_brk || return
	copy "$PID" ns.image || return
	kill9 "$PID" || return
	mkdir -p hidden
	PIDS+=("$PID")
	unshare -m bash -c "mount --bind ns.image hidden &&
	    '$TOOLS/request' '$MNT/.restore' '$WORK/hidden'" || return
	check_subject restored
}
t "a path in the writer's mount namespace" other_namespace

# A mount of his own, without root's help.
own_mount()
{
	local daemon mnt=user/mnt new
	[ -u "$(command -v fusermount3)" ] || { echo "fusermount3 is not setuid"; return 77; }
	as_user mkdir $mnt
	as_user "$SNAPFS" -f $mnt </dev/null >"$WORK/own.log" 2>&1 3>&- 9>&- &
	daemon=$!
	PIDS+=("$daemon")
	wait_for 5 as_user test -e $mnt/.status || { cat "$WORK/own.log"; return 1; }
	# It says what it cannot do.
	[ "$(as_user grep -c '^unprivileged: ' $mnt/.status)" -ge 3 ] || {
		as_user cat $mnt/.status
		return 1
	}
	start_of_user mem_private || return
	rm -rf user/image
	as_user cp -r $mnt/"$PID" user/image || return
	as_user cat $mnt/1/maps 2>/dev/null && { echo "he reads init"; return 1; }
	expect_untouched "$PID" || return
	# The old pid wants a capability: that is said, and pid=new works.
	ANSWER=$(as_user "$TOOLS/request" $mnt/.restore user/image pid=new) || {
		echo "$ANSWER"
		return 1
	}
	new=$(restored_pid)
	PIDS+=("$new")
	[ "$(stat -c %u "/proc/$new")" = $uid ] || return
	echo cloned >"$DIR/check"
	wait_for 10 gone "$new" || return
	forget "$new"
	wait_for 10 gone "$PID" || return
	wait "$PID"
	forget "$PID"
	subject_result || return
	as_user fusermount3 -u $mnt || return
	wait_for 5 gone $daemon || return
	wait $daemon || { echo "exit status $?"; cat "$WORK/own.log"; return 1; }
	forget $daemon
}
t "a user's own mount" own_mount

t "nothing is left" no_strays
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
