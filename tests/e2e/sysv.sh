#!/bin/bash
# sysv.sh - System V shared memory: it is there still when a process is restored,
# or made again; it is another's by now, or is attached by others.  So are
# semaphores, with what is to be undone to them.

. "$(dirname "$0")/lib.sh"
need_root
command -v python3 >/dev/null || skip_all "no python3"
mount_snapfs linger=1
chmod 755 "$WORK"
mkdir -m 777 "$WORK/dir"

key=$((0x5a000000 + $$))
user=65534
IDS=()
SETS=()

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

# ---- semaphores ----

# A set of 60, in a process that has done something to them; SET, its id, and WAS,
# the values.
# usage: with_set LINES
with_set()
{
	rm -rf "$WORK/image" "$WORK/dir/"*
	become_python "
class op(ctypes.Structure):
	_fields_ = [('n', ctypes.c_ushort), ('by', ctypes.c_short), ('flags', ctypes.c_short)]
def do(n, by, undo=False):
	assert c.semop(id, ctypes.byref(op(n, by, 0x1000 if undo else 0)), 1) == 0
os.setresgid(${SET_USER-0}, ${SET_USER-0}, ${SET_USER-0})
os.setresuid(${SET_USER-0}, ${SET_USER-0}, ${SET_USER-0})
id = c.semget(${SET_KEY-0}, 60, 0o1640)
assert id >= 0
$1
open('$WORK/dir/id', 'w').write(str(id))
os.rename('$WORK/dir/id', '$WORK/dir/up')
time.sleep(1000)" </dev/null >"$WORK/serve.log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/dir/up" || { cat "$WORK/serve.log"; return 1; }
	SET=$(<"$WORK/dir/up")
	SETS+=("$SET")
	WAS=$(values)
}

values()
{
	ipcs -s -i "$SET" | awk '$1 ~ /^[0-9]+$/ && NF == 5 { printf "%s ", $2 }'
}

# What would be undone is so when the original ends, and when the restored process
# does, whether the set is there still or made again.
# usage: undo SEMAPHORE UNDO VALUE-THEN LINES
undo()
{
	local was
	with_set "$4" && was=$(set_line) && cp -r "$MNT/$PID" "$WORK/image" || return
	[ "$(values)" = "$WAS" ] || { echo "$(values), not $WAS"; return 1; }
	[ ! -s "$WORK/image/unsupported" ] || {
		cat "$WORK/image/unsupported"
		return 1
	}
	[ "$(grep ^undo "$WORK/image/sysvipc")" = "undo $SET $1 $2" ] || {
		grep ^undo "$WORK/image/sysvipc"
		return 1
	}
	kill9 "$PID" && undone "$1" "$3" || return
	restore "$PID" "$WORK/image" && is_set "$was" && kill9 "$PID" &&
	    undone "$1" "$3" && ipcrm -s "$SET" || return
	restore "$PID" "$WORK/image" && is_set "$was" && kill9 "$PID" &&
	    undone "$1" "$3" && ipcrm -s "$SET"
}

undone()
{
	local value
	value=$(values | cut -d ' ' -f $(($1 + 1)))
	[ "$value" = "$2" ] || { echo "the value is $value"; return 1; }
}

# Without when it was used last.
set_line()
{
	awk -v id="$SET" '$2 == id { print $1, $2, $3, $4, $5, $6, $7, $8 }' \
	    /proc/sysvipc/sem
}

# It is as it was.
# usage: is_set LINE
is_set()
{
	[ "$(set_line)" = "$1" ] || { echo "$(set_line), not $1"; return 1; }
	[ "$(values)" = "$WAS" ] || { echo "$(values), not $WAS"; return 1; }
}

t "SEM_UNDO of +1" undo 0 -1 3 "do(0, 3); do(0, 1, True)"
t "SEM_UNDO of -1, of the last" undo 59 1 7 "do(59, 7); do(59, -1, True)"
t "SEM_UNDO of all, and more" undo 31 -32768 0 \
    "do(31, 32767, True); do(31, -32767); do(31, 1, True)"
t "SEM_UNDO of all, down" undo 3 32767 32767 "do(3, 32767); do(3, -32767, True)"
t "SEM_UNDO, and others have changed it" undo 9 -300 0 \
    "do(9, 300, True); do(9, -200)"

no_undo()
{
	with_set "do(7, 5); do(8, 32767); do(9, 2, True); do(9, -2, True)" &&
	    cp -r "$MNT/$PID" "$WORK/image" || return
	! grep ^undo "$WORK/image/sysvipc" || return
	[ "$(values)" = "$WAS" ] || { echo "$(values), not $WAS"; return 1; }
	kill9 "$PID" && ipcrm -s "$SET"
}
t "SEM_UNDO, and all was undone" no_undo

# usage: last SEMAPHORE
last()
{
	ipcs -s -i "$SET" | awk -v n="$1" '$1 == n && NF == 5 { print $5 }'
}

# Of a tree, who has it: the second of three, and not its twin.
tree_undo()
{
	local child line rc=0
	with_set "
def child(then):
	if os.fork() == 0:
		then()
		open('$WORK/dir/%d' % os.getpid(), 'w')
		time.sleep(1000)
do(4, 7)
child(lambda: do(5, 1, True))
child(lambda: None)
while len(os.listdir('$WORK/dir')) < 2:
	time.sleep(0.01)" && line=$(set_line) &&
	    cp -r "$MNT/$PID" "$WORK/image" || return
	child=$(pgrep -P "$PID" -o)
	[ "$(cd "$WORK/image" && grep -rl "^undo $SET 5 -1" --include sysvipc .)" = \
	    "./children/$child/sysvipc" ] || rc=1
	[ "$(cd "$WORK/image" && grep -rl "^semaphores $SET " .)" = ./sysvipc ] ||
		rc=1
	kill -9 $(pgrep -P "$PID")
	kill9 "$PID" && ipcrm -s "$SET" && restore "$PID" "$WORK/image" &&
	    is_set "$line" || rc=1
	[ "$(last 5)" = "$child" ] || { echo "the last: $(last 5)"; rc=1; }
	kill -9 $(pgrep -P "$PID")
	kill9 "$PID" && undone 5 0 && undone 4 7 && ipcrm -s "$SET" && return $rc
}

t "SEM_UNDO in a tree" tree_undo

# Two that have it in common: the first has it alone, and that is told.
shared_undo()
{
	local child rc=0
	with_set "
do(5, 1, True)
if c.syscall(56, 0x40000 | 17, 0, 0, 0, 0) == 0: # clone, CLONE_SYSVSEM | SIGCHLD
	time.sleep(1000)" && cp -r "$MNT/$PID" "$WORK/image" || return
	child=$(pgrep -P "$PID")
	grep -q "^semaphores to be undone: shared with process $PID (CLONE_SYSVSEM)" \
	    "$WORK/image/children/$child/unsupported" &&
	    [ "$(cd "$WORK/image" && grep -rl ^undo --include sysvipc .)" = ./sysvipc ] || rc=1
	kill -9 "$child" && kill9 "$PID" && undone 5 0 &&
	    restore "$PID" "$WORK/image" ignore=semaphores &&
	    undone 5 1 || rc=1
	kill -9 "$child"
	undone 5 1 && kill9 "$PID" && undone 5 0 && ipcrm -s "$SET" && return $rc
}
t "SEM_UNDO that two share" shared_undo

# Of a user, with a key, and the values by then are others.
user_set()
{
	local line
	SET_KEY=$key SET_USER=$user with_set "do(1, 5)" && line=$(set_line) &&
	    copy "$PID" "$WORK/image" && kill9 "$PID" || return
	with_segment "
class op(ctypes.Structure):
	_fields_ = [('n', ctypes.c_ushort), ('by', ctypes.c_short), ('flags', ctypes.c_short)]
assert c.semop($SET, ctypes.byref(op(1, 7, 0)), 1) == 0" || return
	restore "$PID" "$WORK/image" && is_set "$line" || return
	kill9 "$PID" && ipcrm -s "$SET" && restore "$PID" "$WORK/image" &&
	    is_set "$line" && kill9 "$PID" && ipcrm -s "$SET" || return
	[[ $ANSWER != *semaphores* ]] || { echo "it says: $ANSWER"; return 1; }
}
t "a user's set with a key" user_set

set_lives()
{
	local line
	with_set "do(1, 5)" && line=$(set_line) &&
	    copy "$PID" "$WORK/image" || return
	refused EBUSY "$WORK/image" pid=new || return
	[[ $ANSWER == *"semaphores $SET: "* ]] || { echo "it says: $ANSWER"; return 1; }
	is_set "$line" && kill9 "$PID" && ipcrm -s "$SET"
}
t "a set whose original lives" set_lives

# What is refused later leaves no set, and one that was there as it was.
set_broken()
{
	with_set "do(1, 5)" && copy "$PID" "$WORK/image" && kill9 "$PID" || return
	printf X | dd of="$WORK/image/pages" bs=1 seek=9 conv=notrunc status=none
	with_segment "c.semctl($SET, 0, 17, (ctypes.c_ushort * 60)(*range(60)))" &&
	    WAS=$(values) || return
	refused EBADMSG "$WORK/image" || return
	[ "$(values)" = "$WAS" ] || { echo "$(values), not $WAS"; return 1; }
	ipcrm -s "$SET" && refused EBADMSG "$WORK/image" || return
	[ -z "$(set_line)" ] || { echo "left: $(set_line)"; return 1; }
}
t "an image that is broken leaves no set" set_broken

set_of_others()
{
	local other pid rc=0
	with_set "do(1, 5); do(2, 1, True)" && pid=$PID || return
	become_python "
class op(ctypes.Structure):
	_fields_ = [('n', ctypes.c_ushort), ('by', ctypes.c_short), ('flags', ctypes.c_short)]
assert c.semop($SET, ctypes.byref(op(1, 7, 0)), 1) == 0
open('$WORK/dir/used', 'w')
time.sleep(1000)" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	other=$!
	PIDS+=("$other")
	wait_for 10 test -e "$WORK/dir/used" || return
	cp -r "$MNT/$pid" "$WORK/image" || return
	grep -q "^semaphores $SET: process $other uses it, too.*SEM_UNDO" \
	    "$WORK/image/unsupported" && [ ! -s "$WORK/image/sysvipc" ] || rc=1
	kill9 "$pid" && refused EOPNOTSUPP "$WORK/image" &&
	    restore "$pid" "$WORK/image" ignore=semaphores || rc=1
	undone 1 12 && undone 2 0 || rc=1
	kill9 "$other" && kill9 "$pid" && ipcrm -s "$SET" && return $rc
}
t "a set that a process outside uses, too" set_of_others

# What tests that failed have left.
for id in "${SETS[@]}"; do
	ipcrm -s "$id" 2>/dev/null
done
for id in "${IDS[@]}"; do
	ipcrm -m "$id" 2>/dev/null
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
