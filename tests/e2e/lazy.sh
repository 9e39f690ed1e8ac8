#!/bin/bash
# lazy.sh - a restored process runs before its memory is there, and whatever it
# does, or is done to it, its pager, its image, or the daemon: it sees the bytes
# that it had, or dies.
#
# runs: beside others

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lazy_lib.sh"
need_root
[ -c /dev/userfaultfd ] || skip_all "there is no /dev/userfaultfd"

# Start late, copy it, kill it: PID, DIR, $WORK/images/NAME.
# usage: prepare NAME ACTION
prepare()
{
	name=$1
	DIR=$(mktemp -d "$WORK/late.XXXXXX")
	"$TOOLS/late" "$DIR" "$mib" "$2" </dev/null >"$DIR/log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$DIR/ready" || { echo "late is not ready"; return 1; }
	rm -rf "$WORK/images/$name"
	copy "$PID" "$WORK/images/$name" || return
	kill9 "$PID" || return
	: >"$DIR/go"
}

# What it said: at most 40 s.
result()
{
	wait_for 40 said || { echo "it says nothing"; return 1; }
	[ "$(cat "$DIR/result" 2>/dev/null)" = ok ] || {
		echo "it says: $(cat "$DIR/result" 2>/dev/null) $(cat "$DIR/log")"
		return 1
	}
	wait_for 5 gone "$PID" || { echo "it does not end"; return 1; }
	forget "$PID"
	rm -rf "$DIR"
	wait_for 5 no_pagers || { echo "left: $(pagers)"; return 1; }
}

# ---- what the process does ----

does_at_once()
{
	prepare "$1" "$1" || return
	restore "$PID" "$WORK/images/$1" || return
	result
}

# Each fork is a descriptor for the pager, until the child is gone.
crowd()
{
	prepare crowd crowd || return
	set_speed 100
	PIDS+=("$PID")
	ANSWER=$(ulimit -n 200
	    "$TOOLS/request" "$MNT/.restore" "$slow/crowd") || {
		forget "$PID"
		echo "restore: $ANSWER"
		return 1
	}
	has_pager "$PID" || { echo "there is no pager"; return 1; }
	result
}

eager()
{
	prepare eager touch || return
	restore "$PID" "$WORK/images/eager" lazy=no || return
	! has_pager "$PID" || { echo "there is a pager"; return 1; }
	result
}

returns_early()
{
	prepare early none || return
	set_speed 0
	restore "$PID" "$slow/early" || return
	set_speed stop
	has_pager "$PID" || { echo "there is no pager"; return 1; }
	[ ! -e "$DIR/result" ] || { echo "it is done already"; return 1; }
	set_speed 0
	result
}

two_pagers()
{
	local second one two
	prepare two touch || return
	set_speed 10
	restore "$PID" "$slow/two" || return
	set_speed 30
	ANSWER=$("$TOOLS/request" "$MNT/.restore" pid=new "$slow/two") || return
	set_speed stop
	second=$(restored_pid)
	PIDS+=("$second")
	one=$(pager_of "$PID") two=$(pager_of "$second")
	[ -n "$one" ] && [ -n "$two" ] && [ "$one" != "$two" ] || {
		echo "pagers: $(pagers)"
		return 1
	}
	set_speed 0
	wait_for 40 gone "$second" || { echo "the second does not end"; return 1; }
	forget "$second"
	result
}

# ---- what is done to it ----

# It is running, and its pager at work, with not all there.
begin_watch()
{
	prepare "$1" watch || return
	set_speed 10
	restore "$PID" "$slow/$1" || return
	# However slow the machine is, it is not done before we have looked.
	set_speed stop
	pager=$(pager_of "$PID")
	[ -n "$pager" ] || { echo "there is no pager: $(cat "$MNT/.status")"; return 1; }
	guard=$(guard_of "$pager")
	[ -n "$guard" ] || { echo "there is no guard"; return 1; }
	set_speed "${2-3}"
}

# It died without having seen anything wrong, and .status says why.
died()
{
	wait_for 10 gone "$PID" || { echo "it lives"; return 1; }
	forget "$PID"
	[ ! -e "$DIR/result" ] || { echo "it saw: $(<"$DIR/result")"; return 1; }
	wait_for 5 no_pagers || { echo "left: $(pagers)"; return 1; }
	wait_for 5 says_why "$1" || {
		echo ".status does not say why: $(grep '^error' "$MNT/.status")"
		return 1
	}
	grep -q "$1" "$MNT/.log" || { echo ".log does not say why"; return 1; }
	wait_for 5 no_guards || { echo "a guard is left"; return 1; }
}

says_why()
{
	grep "^error: .*process $PID was killed" "$MNT/.status" | grep -q "$1"
}

pager_killed()
{
	begin_watch killed || return
	sleep "${1-0}"
	kill -9 "$pager"
	died "signal 9"
}

# At any moment: it dies, or all had come just before, and then it has all.
pager_killed_at_random()
{
	local i n=20 r lived=0
	[ "${QUICK-no}" = no ] || n=5
	for ((i = 0; i < n; i++)); do
		begin_watch random 2 || return
			r=$((RANDOM % 130))
		sleep "0.$(printf %03d $r)"
		kill -9 "$pager" 2>/dev/null
		if wait_for 1 gone "$PID"; then
			died "signal 9" || { echo "after $r ms"; return 1; }
		else
			lived=$((lived + 1))
			: >"$DIR/check"
			result || { echo "after $r ms"; return 1; }
		fi
	done
	[ $lived -lt $n ] || { echo "it was always too late"; return 1; }
}

guard_killed()
{
	begin_watch guard || return
	kill -9 "$guard"
	died "guard was killed"
}

both_killed()
{
	local i n=10
	[ "${QUICK-no}" = no ] || n=3
	for ((i = 0; i < n; i++)); do
		begin_watch both || return
			sleep 0.00$((RANDOM % 10))
		if [ $((i % 2)) = 0 ]; then
			kill -9 "$pager" "$guard"
		else
			kill -9 "$guard" "$pager"
		fi
		died "killed" || return
	done
}

process_killed()
{
	begin_watch dies || return
	kill9 "$PID" || return
	wait_for 5 gone "$pager" || { echo "its pager lives on"; return 1; }
	wait_for 5 no_guards || { echo "its guard lives on"; return 1; }
	! grep -q "process $PID was killed" <(grep '^error' "$MNT/.status") || {
		echo "an error is told"
		return 1
	}
	rm -rf "$DIR"
}

# Whoever may trace the pager may have it send what he likes: the daemon keeps
# nothing of that.
pager_sends()
{
	local before
	begin_watch sends || return
	before=$(daemon_fds)
	/usr/bin/python3 - "$pager" <<-'END' || return
		import array, ctypes, os, socket, sys
		libc = ctypes.CDLL(None, use_errno=True)
		pidfd = os.pidfd_open(int(sys.argv[1]))
		s = socket.socket(fileno=libc.syscall(438, pidfd, 3, 0))
		for n in 1, 2, 3:
		    for _ in range(20):
		        s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
		            array.array("i", [0] * n))])
	END
	wait_for 5 has_fds "$before" || {
		echo "the daemon had $before descriptors, and has $(daemon_fds)"
		return 1
	}
	: >"$DIR/check"
	result
}

daemon_fds()
{
	ls "/proc/$DAEMON/fd" | wc -l
}

has_fds()
{
	[ "$(daemon_fds)" -le "$1" ]
}

image_removed()
{
	begin_watch removed || return
	rm -rf "$WORK/images/removed"
	: >"$DIR/check"
	result
}

image_truncated()
{
	begin_watch truncated || return
	chmod u+w "$WORK/images/truncated/pages"
	truncate -s 1M "$WORK/images/truncated/pages"
	died "shorter"
}

image_changed()
{
	begin_watch changed || return
	chmod u+w "$WORK/images/changed/pages"
	# The last piece but one: the background comes to it last.
	dd if=/dev/urandom of="$WORK/images/changed/pages" bs=4096 count=4096 \
	    seek=100 conv=notrunc 2>/dev/null
	died "another checksum"
}

image_unreadable()
{
	begin_watch unreadable || return
	set_speed error
	died "Input/output error"
}

# Damaged from the start: found before it is used.
damaged()
{
	local at
	prepare damaged touch || return
	chmod u+w "$WORK/images/damaged/pages"
	at=$(($(stat -c %s "$WORK/images/damaged/pages") / 2))
	printf X | dd of="$WORK/images/damaged/pages" bs=1 seek=$at conv=notrunc \
	    2>/dev/null
	if restore "$PID" "$WORK/images/damaged" >/dev/null; then
		guard=0
		died "another checksum" || return
	fi
	refused EBADMSG "$WORK/images/damaged" lazy=no || return
	# Taken as meant, once its line is gone: then it sees it.
	chmod u+w "$WORK/images/damaged/xxh128sums"
	sed -i '/  pages$/d' "$WORK/images/damaged/xxh128sums"
	restore "$PID" "$WORK/images/damaged" || return
	wait_for 40 said
	grep -q "page" "$DIR/result" || { echo "$(<"$DIR/result")"; return 1; }
	forget "$PID"
	rm -rf "$DIR"
}

daemon_killed()
{
	begin_watch outlives || return
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	mount_snapfs
	! gone "$PID" || { echo "it died with the daemon"; return 1; }
	[ "$(pager_of "$PID")" = "$pager" ] || {
		echo "the new daemon does not know of its pager: $(pagers)"
		return 1
	}
	: >"$DIR/check"
	result
}

unmounted()
{
	begin_watch unmounts || return
	unmount_snapfs || return
	mount_snapfs
	! gone "$PID" || { echo "it died with the daemon"; return 1; }
	: >"$DIR/check"
	result
}

# It waits for what is missing, but not for long.
copied_again()
{
	rm -rf "$WORK/images/again"
	copy "$PID" "$WORK/images/again"
}

# All of it, not what was there: so both lives see the same.
half_filled()
{
	begin_watch half 10 || return
	wait_for 40 copied_again || return
	! gone "$PID" || { echo "it died of it"; return 1; }
	cmp "$WORK/images/half/pagemap" "$WORK/images/again/pagemap" >/dev/null || {
		[ "$(stat -c %s "$WORK/images/again/pages")" -ge $((mib << 20)) ] || {
			echo "pages are missing from the copy"
			return 1
		}
	}
	kill9 "$PID" || return
	: >"$DIR/check"
	restore "$PID" "$WORK/images/again" || return
	result
}

# Its pager does nothing: readers are told so, and soon, and it is as it was.
stuck()
{
	local said
	begin_watch stuck stop || return
	said=$(timeout 30 cp -r "$MNT/$PID" "$WORK/images/never" 2>&1) && {
		echo "it was copied"
		return 1
	}
	[[ $said == *"Connection timed out"* ]] || { echo "cp: $said"; return 1; }
	rm -rf "$WORK/images/never"
	grep -q "^error: .* process $PID: .* memory is still being brought" \
	    "$MNT/.status" || {
		echo "no sentence: $(grep '^error' "$MNT/.status")"
		return 1
	}
	timeout 30 du -a "$MNT/$PID" >/dev/null 2>&1
	[ $? != 124 ] || { echo "du does not end"; return 1; }
	expect_untouched "$PID" || return
	set_speed 0
	: >"$DIR/check"
	result
}

# ---- huge pages ----

# KiB of process $1 that are in transparent huge pages.
huge_of()
{
	awk '/^AnonHugePages:/ { n += $2 } END { print n + 0 }' \
	    "/proc/$1/smaps_rollup"
}

has_huge()
{
	[ "$(huge_of "$1")" -ge $((56 << 10)) ]
}

# 64 MiB in huge pages, of which nothing is changed.
start_huge()
{
	DIR=$(mktemp -d "$WORK/huge.XXXXXX")
	cat >"$DIR/huge.py" <<-'END'
		import mmap, os, sys, time
		dir, n = sys.argv[1], 64 << 20
		m = mmap.mmap(-1, n + (2 << 20), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
		m.madvise(mmap.MADV_HUGEPAGE)
		word = lambda i: (i * 2654435761 & 0xffffffff).to_bytes(4, "little")
		for i in range(0, len(m), 4096):
		    m[i:i + 4096] = word(i) * 1024
		open(dir + "/ready", "w")
		while not os.path.exists(dir + "/go"):
		    time.sleep(0.01)
		ok = all(m[i:i + 4096] == word(i) * 1024 for i in range(0, len(m), 4096))
		open(dir + "/result.new", "w").write("ok\n" if ok else "other bytes\n")
		os.rename(dir + "/result.new", dir + "/result")
	END
	/usr/bin/python3 "$DIR/huge.py" "$DIR" </dev/null >"$DIR/log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 30 test -e "$DIR/ready" || { cat "$DIR/log"; return 1; }
	has_huge "$PID" || {
		echo "the kernel gives it no huge pages: $(huge_of "$PID") KiB"
		return 77
	}
}

# usage: huge_pages OPTION...
huge_pages()
{
	start_huge || return
	rm -rf "$WORK/images/huge"
	copy "$PID" "$WORK/images/huge" || return
	grep -q '^huge ' "$WORK/images/huge/pagemap" || {
		echo "the image does not know of huge pages"
		return 1
	}
	kill9 "$PID" || return
	if [[ $* = *instances* ]]; then
		ANSWER=$("$TOOLS/request" "$MNT/.restore" "$@" "$WORK/images/huge") ||
		    { echo "$ANSWER"; return 1; }
		PID=$(restored_pid)
		PIDS+=("$PID")
	else
		restore "$PID" "$WORK/images/huge" "$@" || return
	fi
	wait_for 20 no_pagers || { echo "its pager does not end"; return 1; }
	has_huge "$PID" || {
		echo "$(huge_of "$PID") KiB of huge pages came back"
		return 1
	}
	: >"$DIR/go"
	result
}

# Its program cannot be mapped, when the pager has begun: that is told.
on_noexec()
{
	local said i
	cp "$TOOLS/late" "$WORK/noexec/" &&
	    TOOLS=$WORK/noexec prepare noexec none || return
	mount -o remount,noexec "$WORK/noexec" || return
	for ((i = 0; i < 5; i++)); do
		said=$("$TOOLS/request" "$MNT/.restore" "$WORK/images/noexec") &&
		    { echo "it was restored"; return 1; }
		[[ $said == *"maps:"*": mmap: Operation not permitted"* ]] ||
		    { echo "it says: $said"; return 1; }
	done
	no_strays 5
}

not_mapped()
{
	local err=0
	mkdir "$WORK/noexec" && mount -t tmpfs none "$WORK/noexec" || return
	on_noexec || err=1
	umount "$WORK/noexec" && return $err
}

start_slowfs
mount_snapfs
t "huge pages" huge_pages
t "huge pages, lazy=no" huge_pages lazy=no
t "huge pages, an instance" huge_pages instances=1
for action in none touch madvise free guard mremap munmap mprotect fork forks spawn exec \
    syscalls; do
	t "$action, slow" does $action 4
	t "$action, at once" does_at_once $action
done
t "more forks than descriptors" crowd
t "lazy=no" eager
t "what cannot be mapped while the pager is at work" not_mapped
t "the restore returns before all is there" returns_early
t "two pagers, one image" two_pagers
t "the pager is killed at once" pager_killed
t "the pager is killed" pager_killed 0.05
t "the pager is killed at random" pager_killed_at_random
t "the guard is killed" guard_killed
t "both are killed" both_killed
t "the process is killed" process_killed
t "the pager sends descriptors" pager_sends
t "the image is removed" image_removed
t "the image is truncated" image_truncated
t "the image is changed" image_changed
t "the image cannot be read" image_unreadable
t "a damaged image" damaged
t "the daemon is killed" daemon_killed
t "the file system is unmounted" unmounted
t "a half-filled process is copied" half_filled
t "a process that is filled by nobody" stuck
t "the daemon ends well" unmount_snapfs
t "slowfs ends well" stop_slowfs
[ $TEST_FAILED = no ]
