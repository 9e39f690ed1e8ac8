#!/bin/bash
# cutshort.sh - full disks, dying readers, dying writers: the original does not
# notice, a copy that ended early is no image, and nothing is left.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs linger=1
cd "$WORK" || exit 1

# Something with files/, descriptors and some megabytes.
start_subject fd_deleted || die "no subject"
subject=$PID
subject_dir=$DIR
copy "$subject" "$WORK/good" || die "no image"

full_disk()
{
	local size rc=0
	mkdir -p "$WORK/small"
	size=$(du -s --apparent-size -k "$WORK/good" | cut -f1)
	# Room for less and less of it.
	for part in 90 60 30 10 1; do
		mount -t tmpfs -o size=$((size * part / 100 + 4))k tmpfs "$WORK/small" || return
		cp -r "$MNT/$subject" "$WORK/small/image" 2>"$WORK/cp.err" && rc=2
		[ $rc = 0 ] && { grep -q 'No space left' "$WORK/cp.err" || rc=3; }
		expect_untouched "$subject" || rc=4
		[ $rc = 0 ] && { refused 'EBADMSG|ENOENT' "$WORK/small/image" pid=new || rc=5; }
		umount "$WORK/small"
		[ $rc = 0 ] || {
			echo "$part %: $rc"
			head -n 3 "$WORK/cp.err"
			return 1
		}
	done
	no_strays 5
}
t "a copy to a full disk" full_disk

full_disk_tar()
{
	local rc=0
	mkdir -p "$WORK/small"
	mount -t tmpfs -o size=64k tmpfs "$WORK/small" || return
	(cd "$MNT" && tar cf "$WORK/small/image.tar" "$subject") 2>/dev/null && rc=2
	mkdir "$WORK/untarred"
	tar xf "$WORK/small/image.tar" -C "$WORK/untarred" 2>/dev/null
	umount "$WORK/small"
	[ $rc = 0 ] || return
	expect_untouched "$subject" || return
	refused 'EBADMSG|ENOENT' "$WORK/untarred" pid=new
}
t "a tar archive on a full disk" full_disk_tar

# A copy that ended after each file, and in the middle of it: in the order in
# which cp reads, and by name, as rsync does.
# usage: cut_after LIST
cut_after()
{
	local f last=''
	rm -rf "$WORK/part"
	mkdir "$WORK/part"
	while read -r f; do
		mkdir -p "$WORK/part/$(dirname "$f")"
		if [ -f "$WORK/good/$f" ] && [ ! -L "$WORK/good/$f" ] && [ -s "$WORK/good/$f" ]; then
			head -c $(($(stat -c %s "$WORK/good/$f") / 2)) "$WORK/good/$f" >"$WORK/part/$f"
			refused 'EBADMSG|ENOENT' "$WORK/part" pid=new || { echo "in $f"; return 1; }
			rm -f "$WORK/part/$f"
		fi
		cp -a "$WORK/good/$f" "$WORK/part/$f" || return
		last=$f
		[ "$(find "$WORK/part" ! -type d | wc -l)" != "$total" ] || break
		refused 'EBADMSG|ENOENT' "$WORK/part" pid=new || { echo "after $f"; return 1; }
	done
	# The last one made it whole.
	echo "$last"
	"$TOOLS/image-check" "$WORK/part"
}
total=$(find "$WORK/good" ! -type d | wc -l)
in_reading_order()
{
	# As find and cp see them: by inode number.
	(cd "$MNT/$subject" && find . ! -type d -printf '%i %P\n' | sort -n | cut -d' ' -f2-) |
	    cut_after
}
by_name()
{
	(cd "$WORK/good" && find . ! -type d -printf '%P\n' | sort) | cut_after
}
t "a copy cut short after each file" in_reading_order
t "a copy by name cut short after each file" by_name

reader_killed()
{
	local reader i
	for i in 1 2 3 4 5 6 7 8 9 10; do
		rm -rf "$WORK/half"
		# Slow, so that it is in the middle: one file after the other.
		python3 -c '
import os, shutil, sys, time
for d, _, names in os.walk(sys.argv[1]):
    to = os.path.join(sys.argv[2], os.path.relpath(d, sys.argv[1]))
    os.makedirs(to, exist_ok=True)
    for n in names:
        shutil.copy(os.path.join(d, n), os.path.join(to, n), follow_symlinks=False)
        time.sleep(0.01)' "$MNT/$subject" "$WORK/half" &
		reader=$!
		sleep 0.$((i * 3 + 10))
		kill -9 $reader
		wait $reader 2>/dev/null
		sleep 0.05
		if [ -e "$WORK/half" ] && ! "$TOOLS/image-check" "$WORK/half" >/dev/null; then
			refused 'EBADMSG|ENOENT' "$WORK/half" pid=new || return
		fi
	done
	expect_untouched "$subject" && no_strays 5
}
t "a reader killed in the middle" reader_killed

t "the original" eval 'PID=$subject DIR=$subject_dir; check_subject survived'

# A large one, so that there is a middle to be killed in.
writer_killed()
{
	local writer i n
	mkdir -p "$WORK/big"
	"$TOOLS/invariant" "$WORK/big" 64 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e "$WORK/big/ready" || return
	copy "$PID" "$WORK/big.image" || return
	kill9 "$PID" || return
	for ((i = 0; i < 20; i++)); do
		PIDS+=("$PID")
		"$TOOLS/request" "$MNT/.restore" "$WORK/big.image" lazy=no >"$WORK/answer" &
		writer=$!
		sleep 0.0$((RANDOM % 90 + 10))
		kill -9 $writer
		wait $writer 2>/dev/null
		# All or nothing: it is there and whole, or it is not.
		wait_for 20 settled "$PID" || { echo "half of it: $(state_of "$PID")"; return 1; }
		kill9 "$PID" || return
	done
	no_strays 10 || return
	restore "$PID" "$WORK/big.image" || return
	echo >"$WORK/big/check"
	wait_for 20 test -e "$WORK/big/result" || return
	grep -qx ok "$WORK/big/result" || { cat "$WORK/big/result"; return 1; }
	wait_for 5 gone "$PID"
	forget "$PID"
}
# No agent is at it any more.
settled()
{
	! grep -qs . /proc/"$DAEMON"/task/*/children
}
t "a writer killed in the middle of a restore" writer_killed

t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
