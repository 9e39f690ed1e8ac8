#!/bin/bash
# sysv.sh - System V shared memory: it is there still when a process is restored,
# or made again; it is another's by now, or is attached by others.

. "$(dirname "$0")/lib.sh"
need_root
command -v python3 >/dev/null || skip_all "no python3"
mount_snapfs linger=1
chmod 755 "$WORK"
mkdir -m 777 "$WORK/dir"

key=$((0x5a000000 + $$))
user=65534
IDS=()

# In place of this shell: python, with c and a way to attach.
# usage: become_python LINES
become_python()
{
	exec python3 -c "
import ctypes, os, time
c = ctypes.CDLL(None, use_errno=True)
c.shmat.restype = ctypes.c_void_p
def attach(id):
	a = c.shmat(id, None, 0)
	assert a != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
	return a
$1"
}

with_segment()
{
	(become_python "$1")
}

# It has a segment, and answers what it says. PID and ID.
# usage: serve [UID [KEY]]
serve()
{
	rm -rf "$WORK/image" "$WORK/dir/"*
	become_python "
os.setresgid(${1-0}, ${1-0}, ${1-0}); os.setresuid(${1-0}, ${1-0}, ${1-0})
os.chdir('$WORK/dir')
id = c.shmget(${2-$key}, 10000, 0o1640)
assert id >= 0
a = attach(id)
ctypes.memmove(a, b'before', 6)
open('id', 'w').write(str(id))
os.rename('id', 'up')
while True:
	time.sleep(0.01)
	if os.path.exists('ask'):
		open('new', 'wb').write(ctypes.string_at(a, 6))
		os.remove('ask')
		os.rename('new', 'answer')
" </dev/null >"$WORK/serve.log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/dir/up" || { cat "$WORK/serve.log"; return 1; }
	ID=$(<"$WORK/dir/up")
	IDS+=("$ID")
}

# Its line, without who used it last and when.
segment()
{
	awk -v id="$ID" '$2 == id { print $1, $2, $3, $4, $7, $8, $9, $10, $11 }' \
	    /proc/sysvipc/shm
}

# It is the one that it was, and has what it had.
# usage: has LINE-OF-SEGMENT
has()
{
	rm -f "$WORK/dir/answer"
	touch "$WORK/dir/ask"
	wait_for 5 test -e "$WORK/dir/answer" || { echo "no answer"; return 1; }
	[ "$(<"$WORK/dir/answer")" = before ] || {
		echo "it has $(<"$WORK/dir/answer")"
		return 1
	}
	wait_for 5 is "$1" || { echo "$(segment), not $1"; return 1; }
}

is()
{
	[ "$(segment)" = "$1" ]
}

remove()
{
	ipcrm -m "$ID" && [ -z "$(segment)" ]
}

# usage: there_still [UID]
there_still()
{
	local was
	serve "$@" && was=$(segment) && copy "$PID" "$WORK/image" || return
	is "$was" || { echo "a checkpoint shows: $(segment)"; return 1; }
	kill9 "$PID" || return
	with_segment "ctypes.memmove(attach($ID), b'x' * 10000, 10000)" || return
	restore "$PID" "$WORK/image" && has "$was" || return
	kill9 "$PID" && remove
}
t "it is there still" there_still
t "it is there still, a user's" there_still $user

# usage: made_again [UID [KEY]]
made_again()
{
	local was
	serve "$@" && was=$(segment) && copy "$PID" "$WORK/image" &&
	    kill9 "$PID" && remove && restore "$PID" "$WORK/image" &&
	    has "$was" || return
	[[ $ANSWER != *segment* ]] || { echo "it says: $ANSWER"; return 1; }
	kill9 "$PID" && remove
}
t "it was removed: made again" made_again
t "it was removed: made again, a user's" made_again $user
t "it was removed: made again, without a key" made_again 0 0

# Moved in place: it is taken over while nobody has it.
replaced()
{
	local was
	serve && was=$(segment) && copy "$PID" "$WORK/image" || return
	with_segment "ctypes.memmove(attach($ID), b'after!', 6)" || return
	restore "$PID" "$WORK/image" replace && has "$was" || return
	kill9 "$PID" && remove
}
t "the process is replaced" replaced

original_lives()
{
	local was
	serve && was=$(segment) && copy "$PID" "$WORK/image" || return
	refused EBUSY "$WORK/image" pid=new || return
	[[ $ANSWER == *"segment $ID "* ]] || { echo "it says: $ANSWER"; return 1; }
	has "$was" && kill9 "$PID" && remove
}
t "the original lives" original_lives

other_has_key()
{
	local id
	serve && copy "$PID" "$WORK/image" && kill9 "$PID" && remove &&
	    with_segment "open('$WORK/other', 'w').write(str(c.shmget($key, 5000, 0o1600)))" ||
	    return
	id=$ID
	refused EEXIST "$WORK/image" || return
	[[ $ANSWER == *"segment $ID"* ]] || { echo "it says: $ANSWER"; return 1; }
	ID=$(<"$WORK/other")
	[[ $(segment) == *" 5000 0 "* ]] || { echo "the other: $(segment)"; return 1; }
	remove || return
	ID=$id
	[ -z "$(segment)" ] || { echo "left: $(segment)"; return 1; }
}
t "another has its key" other_has_key

# What is refused later leaves no segment.
broken()
{
	local f
	serve && copy "$PID" "$WORK/image" && kill9 "$PID" && remove || return
	f=$(echo "$WORK"/image/files/*)
	[ -f "$f" ] || { echo "$f"; return 1; }
	printf X | dd of="$f" bs=1 seek=9 conv=notrunc status=none
	refused EBADMSG "$WORK/image" || return
	[ -z "$(segment)" ] || { echo "left: $(segment)"; return 1; }
}
t "an image that is broken leaves none" broken

outsider()
{
	local other pid rc=0
	serve && pid=$PID || return
	become_python "
a = attach($ID)
open('$WORK/dir/attached', 'w')
time.sleep(1000)" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	other=$!
	PIDS+=("$other")
	wait_for 10 test -e "$WORK/dir/attached" || return
	cp -r "$MNT/$pid" "$WORK/image" || return
	grep -q "^vma .*: a System V .* that process $other has attached" \
	    "$WORK/image/unsupported" || { cat "$WORK/image/unsupported"; return 1; }
	kill9 "$pid" || return
	refused EOPNOTSUPP "$WORK/image" || return
	restore "$pid" "$WORK/image" ignore=vma || return
	kill9 "$other" || return
	# Its own, and not the segment.
	has "$(segment)" || rc=1
	[[ $(segment) == *" 10000 0 "* ]] || { segment; rc=1; }
	kill9 "$pid" && remove && return $rc
}
t "a process outside has it, too" outsider

# What tests that failed have left.
for id in "${IDS[@]}"; do
	ipcrm -m "$id" 2>/dev/null
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
