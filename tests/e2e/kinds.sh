#!/bin/bash
# kinds.sh - is `unsupported` right?  What it names of many kinds of kernel
# state is refused, and what may be missing is left out; of the others it says
# nothing, and they come back.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs freeze_timeout=20
kinds=$(dirname "$0")/kinds.py

# usage: begin KIND: PID, FD; 77: this kernel has it not
begin()
{
	rm -rf "$WORK/image" "$WORK/state" "$WORK/said"
	mkdir "$WORK/state"
	/usr/bin/python3 "$kinds" "$1" "$WORK/state" </dev/null \
	    >"$WORK/said" 2>"$WORK/state/err" 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/said" || { cat "$WORK/state/err"; return 1; }
	if grep ^skip "$WORK/said"; then
		wait "$PID"
		forget "$PID"
		return 77
	fi
	FD=$(sed -n 's/^ready //p' "$WORK/said")
	wait_for 20 is_asleep "$PID" || { echo "it does not sleep"; return 1; }
	cp -r "$MNT/$PID" "$WORK/image"
}

is_asleep()
{
	[ "$(state_of "$1")" = S ] &&
	    [ "$(readlink "/proc/$1/fd/1")" = /dev/null ]
}

# PID, and a child that ends with it.
end_both()
{
	local child
	child=$(pgrep -P "$PID")
	kill9 "$PID" || return
	[ -z "$child" ] || wait_for 10 free_pid "$child"
}

# usage: named KIND WHAT PART: `unsupported` has a line of WHAT (fd: its own
# number) with these words, and only with ignore= it is restored.
named()
{
	local what
	begin "$1" || return
	what=$2
	[ "$what" != fd ] || what="fd $FD"
	grep -Eq "^$what[^:]*: .*$3" "$WORK/image/unsupported" || {
		echo "unsupported has:"
		cat "$WORK/image/unsupported"
		return 1
	}
	end_both || return
	refused EOPNOTSUPP "$WORK/image" || return
	[[ $ANSWER == *ignore=* ]] || { echo "$ANSWER"; return 1; }
	restore "$PID" "$WORK/image" "ignore=${what%% *}" || return
	[[ $ANSWER != *ignore=* ]] || { echo "$ANSWER"; return 1; }
	end_both
}

# usage: not_taken KIND PART: there is no checkpoint, and it has not felt it
not_taken()
{
	begin "$1" && return 1
	grep -q "process $PID: .*$2" "$MNT/.log" || {
		tail -n 3 "$MNT/.log"
		return 1
	}
	expect_untouched "$PID" && kill9 "$PID"
}

# usage: nothing_said KIND: all of it can be told
nothing_said()
{
	begin "$1" || return
	[ ! -s "$WORK/image/unsupported" ] || {
		cat "$WORK/image/unsupported"
		return 1
	}
	kill9 "$PID"
}

# A signal that comes before it is asleep again would be seen after that only.
answered()
{
	[ -e "$WORK/state/result" ] || { kill -USR1 "$PID"; sleep 0.1; }
	[ -e "$WORK/state/result" ]
}

# usage: back KIND: it comes back, and nothing is said
back()
{
	begin "$1" || return
	[ ! -s "$WORK/image/unsupported" ] || {
		cat "$WORK/image/unsupported"
		return 1
	}
	kill -9 "$PID" $(pgrep -P "$PID")
	kill9 "$PID" || return
	restore "$PID" "$WORK/image" || return
	wait_for 20 answered || { echo "it does not answer"; return 1; }
	grep -qx ok "$WORK/state/result" || { cat "$WORK/state/result"; return 1; }
	kill -9 "$PID" $(pgrep -P "$PID")
	kill9 "$PID"
}

t "io_uring" named io_uring fd "an io_uring"
t "a lease that somebody waits for" named lease_wanted fd \
    "a lease that somebody waits for"
t "fanotify that decides" named fanotify_permission fd \
    "a fanotify group that decides"
t "fanotify with unread events" named fanotify_unread fd \
    "a fanotify group with .* unread"
t "fanotify of a deleted file" named fanotify_deleted fd \
    "a fanotify group whose mark of an inode has no path"
t "secret memory and no twin" named secret_alone vma \
    "secret memory .* could not be copied"
t "secret memory, and no more may be locked" named secret_unlockable vma \
    "secret memory .* could not be copied"
t "BPF" named bpf fd "a BPF object"
t "perf events" named perf fd "a perf event"
t "userfaultfd" named userfaultfd fd "a userfaultfd"
t "a Landlock rule set" named landlock fd "a Landlock rule set"
t "a namespace" named namespace fd "a namespace"
t "fsopen" named fscontext fd "a file system context"
t "a mount that is nowhere" named detached fd ""
t "a message queue" named mqueue fd "a message queue"
t "a pidfd of another process" named pidfd fd "not of the tree"
t "a packet socket" named packet fd ""
t "a socket of the kernel's cryptography" named crypto fd ""
t "a device" named device fd "device"
t "a removed directory" named directory fd ""
t "a removed FIFO" named fifo fd ""
t "a seccomp listener" named listener fd "a seccomp listener"
t "a ring of io_setup" named aio vma "io_setup"
t "huge pages" named huge vma "huge pages"
t "segments" named ldt ldt "modify_ldt"
t "ports" named ports thread "ioperm"
t "keys of the process" named keyring "keyring process" "keys of its own"
t "keys of a thread" named thread_keyring "keyring thread" "keys of its own"
t "confined by Landlock" named confined landlock "confined"
t "confined by Landlock, with other ids" named confined_user landlock "confined"
t "no new privileges, with other ids" nothing_said privileges_user
t "no new privileges, root without rights" nothing_said privileges_root

for kind in net user ipc uts cgroup pid; do
	t "another $kind namespace" named "${kind}_namespace" \
	    "namespace $kind" "comes back in that of the restoring process"
done

# The name of a file is that of another file there, or of none.
in_mounts()
{
	begin mount_namespace || return
	grep -q "^namespace mnt: .*comes back in that of" \
	    "$WORK/image/unsupported" || return
	kill9 "$PID" || return
	refused EOPNOTSUPP "$WORK/image" || return
	refused ENOENT "$WORK/image" ignore=namespace || return
	[[ $ANSWER == *"$WORK/state/there"* ]] || { echo "$ANSWER"; return 1; }
	: >"$WORK/state/there"
	restore "$PID" "$WORK/image" ignore=namespace && kill9 "$PID"
}
t "another mount namespace, and a file of it" in_mounts

t "all its calls redirected" not_taken dispatch "syscall user dispatch"
t "no memory that can be written and run" not_taken unwritable PR_SET_MDWE

t "a file of /proc" back proc_file
t "a file of its own in /proc" back proc_self
t "its own directory in /proc" back proc_dir
t "a file of /sys" back sys_file
t "O_PATH" back path
t "O_TMPFILE" back tmpfile
t "a sealed memfd" back sealed
t "fanotify of a mount" back fanotify_mount
t "fanotify of a user without privileges" back fanotify_user

# A mark of what is in place of a mount would be of more; and who may not watch a
# mount does not by a restore.
no_mount()
{
	begin fanotify_mount || return
	kill9 "$PID" || return
	setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin \
	    sh -c "echo '$WORK/image' >'$MNT/.restore'" 2>/dev/null && return 1
	grep "fd $FD: fanotify: .*: whoever made it had CAP_SYS_ADMIN" \
	    "$MNT/.log" >/dev/null || { tail -n 3 "$MNT/.log"; return 1; }
	free_pid "$PID" || return
	sed -i '/^mark: mount/s,/dev$,/etc,' "$WORK/image/fdinfo/$FD"
	sed -i "/ fdinfo.$FD\$/d" "$WORK/image/xxh128sums"
	refused ESTALE "$WORK/image" || return
	[[ $ANSWER == *"nothing is mounted there"* ]] || {
		echo "$ANSWER"
		return 1
	}
}
t "fanotify where no mount is, and without the right" no_mount
t "secret memory" back secret
t "secret memory in a socket" back secret_sent

# Its bytes are in the image, for nobody but its owner; and where the kernel has
# no such memory, that is said.
secret_image()
{
	local f
	begin secret || return
	f=$(grep -l ABCDEFGHIJKLMNOP "$WORK"/image/files/*) || return
	[ "$(stat -c %a "$MNT/$PID/files/${f##*/}")" = 400 ] || return
	grep -q ABCDEFGHIJKLMNOP "$WORK/image/pages" && return 1
	kill9 "$PID" || return
	"$TOOLS/confine" -s "$TOOLS/snapcore-restore" "$WORK/image" \
	    >"$WORK/said" 2>&1 && return 1
	grep "memfd_secret(2) is not there" "$WORK/said" || {
		cat "$WORK/said"
		return 1
	}
	free_pid "$PID"
}
t "secret memory and a kernel without" secret_image
t "a POSIX semaphore in shared memory" back semaphore

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
