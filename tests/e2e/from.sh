#!/bin/bash
# from.sh - snapfs-run --from, again and again: instances that are clones of a
# template, and stand in the place of the program all the same.

. "$(dirname "$0")/lib.sh"
need_root
RUN=$(dirname "$SNAPFS")/snapfs-run
mount_snapfs
cd "$WORK" || exit 1
FDS=()

# usage: make_image NAME PROGRAM [ARG...]
make_image()
{
	local name=$1
	shift
	PID=$("$RUN" -- "$@" </dev/null 2>"$WORK/said" 3>&- 9>&-) || {
		cat "$WORK/said"
		return 1
	}
	PIDS+=("$PID")
	copy "$PID" "$name" && kill9 "$PID"
}

# usage: from [OPTION...] IMAGE
from()
{
	"$RUN" --mount "$MNT" "${@:1:$# - 1}" --from "${*: -1}" 3>&- 9>&-
}

# What snapfs-run in $run says that it has restored: PID, which runs.
# usage: started FILE
started()
{
	PID=$(sed -n 's/^snapfs-run: it is \([0-9]*\).*/\1/p' "$1")
	[ -n "$PID" ] && untraced "$PID"
}

# A word's value in the line of the template of an image.
# usage: template IMAGE KEY
template()
{
	sed -n "s,^template: .*\<$2 \([0-9]*\)\>.* path $WORK/$1\$,\1,p" "$MNT/.status"
}

stat_of()
{
	sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f"$2"
}

cat >big.py <<'END'
import mmap, os, sys
m = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, 64 << 20, 4096):
    m[i:i + 8] = i.to_bytes(8, "little")
x = sys.stdin.readline().strip()
bad = sum(int.from_bytes(m[i:i + 8], "little") != i for i in range(0, 64 << 20, 4096))
m[:4096] = x.encode() + bytes(4096 - len(x))
print(x, "here", os.getcwd(), os.urandom(4).hex(), flush=True)
y = sys.stdin.readline()
bad += not m[:4096].startswith(x.encode() + b"\0")
m.madvise(mmap.MADV_DONTNEED)
bad += sum(m[i] != 0 for i in range(0, 64 << 20, 4096))
sys.exit(100 if bad else int(x))
END

# Begin one, which reads from a FIFO: it is $run, and its process PID.
# usage: begin N [OPTION...] IMAGE
begin()
{
	local n=$1 fd
	shift
	rm -f "in.$n"
	mkfifo "in.$n"
	exec {fd}<>"in.$n"
	FDS[n]=$fd
	# Not in a subshell, which would be what gets our signals.
	"$RUN" --mount "$MNT" -v "${@:1:$# - 1}" --from "${*: -1}" <"in.$n" \
	    >"out.$n" 2>"err.$n" 3>&- 9>&- {fd}>&- &
	run=$!
	PIDS+=("$run")
	wait_for 30 started "err.$n" || { cat "err.$n"; return 1; }
	PIDS+=("$PID")
}

close_fds()
{
	local fd
	for fd in "${FDS[@]}"; do
		exec {fd}>&-
	done
	FDS=()
}

# usage: say N TEXT
say()
{
	local fd=${FDS[$1]}
	echo "$2" >&"$fd"
}

# usage: expect_status N
expect_status()
{
	local rc
	wait "$run" 2>/dev/null
	rc=$?
	forget "$run"
	close_fds
	[ $rc = "$1" ] || { echo "status $rc, not $1"; cat err.*; return 1; }
}

# ---- the request itself ----

requests()
{
	make_image small "$TOOLS/steps" || return
	refused EINVAL small broker=2 || return
	refused EINVAL small broker=x || return
	refused EBADF small broker=99 || return
	refused ENOTSOCK small broker=0003 || return
	from --template=maybe small 2>err
	[ $? = 125 ] && grep -q 'yes or no' err
}
t "requests that are none" requests

# ---- what is shared ----

shared()
{
	local i runs=() pids=() keeper
	make_image big python3 big.py || return
	mkdir -p elsewhere
	for i in 1 2 3 4 5; do
		begin $i --template=yes big || return
		runs+=("$run")
		pids+=("$PID")
		say $i $i
		wait_for 20 test -s "out.$i" || return
	done
	[ "$(template big instances)" = 5 ] || { grep template "$MNT/.status"; return 1; }
	[ "$(template big not-read)" -ge $((4 * (64 << 20))) ] || return
	[ "$(template big session)" = "$(stat_of $$ 4)" ] || return
	[ "$(pss "${pids[@]}")" -lt $((100 << 10)) ] || { pss "${pids[@]}"; return 1; }
	[ "$(awk '{ print $4 }' out.? | sort -u | wc -l)" = 5 ] || { cat out.?; return 1; }
	for i in 1 2 3 4 5; do
		[ "$(stat_of "${pids[i - 1]}" 3)" = "$(stat_of "${runs[i - 1]}" 3)" ] || return
		[ "$(stat_of "${pids[i - 1]}" 4)" = "$(stat_of "${runs[i - 1]}" 4)" ] || return
	done
	keeper=$(stat_of "$PID" 2)
	[ "$(<"/proc/$keeper/comm")" = snapfs-run:keep ] || return
	[ "$(find "/proc/$keeper/fd" "/proc/$(template big pid)/fd" -lname "$WORK/*" | wc -l)" = 0 ] || return
	for i in 1 2 3 4 5; do
		say $i end
	done
	for i in 1 2 3 4 5; do
		run=${runs[i - 1]}
		expect_status $i || return
		forget "${pids[i - 1]}"
	done
}
t "instances share what they do not change" shared

second()
{
	make_image second python3 big.py || return
	for i in 1 2 3; do
		printf '%s\n' $i end | from second >out 2>err
		[ $? = $i ] && grep -q "^$i here $WORK " out || { cat out err; return 1; }
	done
	[ "$(template second instances)" = 2 ] || { grep ^template "$MNT/.status"; return 1; }
	printf '%s\n' 4 end | from --template=no second >out 2>err
	[ $? = 4 ] && [ "$(template second instances)" = 2 ] || return
	printf '%s\n' 5 end | "$RUN" --mount "$WORK" --from second >out 2>err 3>&- 9>&-
	[ $? = 5 ] && [ "$(template second instances)" = 2 ] || { cat err; return 1; }
}
t "one is made when an image is run again" second

# The first does not wait for one, the second makes it, for the others, too.
at_once()
{
	local i pids=()
	make_image once python3 big.py || return
	for i in 1 2 3 4 5 6; do
		printf '%s\n' $i end | from once >"out.$i" 2>"err.$i" &
		pids+=($!)
	done
	for i in 1 2 3 4 5 6; do
		wait "${pids[i - 1]}"
		[ $? = $i ] || { cat "err.$i"; return 1; }
	done
	[ "$(template once instances)" = 5 ] || { grep ^template "$MNT/.status"; return 1; }
}
t "many at once wait for one that makes it" at_once

changed()
{
	local pid
	pid=$(template once pid)
	chmod u+w once/pages && touch once/pages || return
	printf '%s\n' 7 end | from --template=yes once >out 2>err
	[ $? = 7 ] && [ "$(template once instances)" = 1 ] || { cat err; return 1; }
	[ "$(template once pid)" != "$pid" ] && wait_for 5 gone "$pid"
}
t "a changed image has another" changed

has_child()
{
	[ -n "$(<"/proc/$1/task/$1/children")" ]
}

# What is not an image of one process is restored as before.
tree()
{
	mkfifo tree.in
	exec 7<>tree.in
	bash -c 'sleep 1000 & read -r x; kill -9 $(</proc/$BASHPID/task/$BASHPID/children); echo "$x"' \
	    <tree.in >/dev/null 2>&1 3>&- 7>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 has_child "$PID" && copy "$PID" tree || return
	exec 7>&-
	kill -9 "$(<"/proc/$PID/task/$PID/children")"
	kill9 "$PID" || return
	[ "$(from -v --template=yes tree <<<three 2>err)" = three ] || { cat err; return 1; }
	grep -q "no template: it is a tree" err
}
t "a tree of processes" tree

# ---- what stands in the place of the program ----

signals()
{
	local keeper
	make_image sig bash -c 'trap "echo term; exit 9" TERM; read -r x; [ "$x" = 11 ] && kill -SEGV $BASHPID; kill -9 $BASHPID' || return
	for x in 9 11; do
		from --template=yes sig <<<$x >out 2>err
		[ $? = $((128 + x)) ] || { cat err; return 1; }
	done
	begin 1 sig || return
	kill -TERM "$run"
	expect_status 9 && [ "$(<out.1)" = term ] || return
	forget "$PID"
	begin 1 sig || return
	kill -STOP "$PID"
	wait_for 10 is_state "$run" T || return
	kill -CONT "$run"
	wait_for 10 is_state "$PID" S || return
	kill -9 "$run"
	wait "$run" 2>/dev/null
	forget "$run"
	close_fds
	wait_for 10 gone "$PID" || { echo "it outlives snapfs-run"; return 1; }
	forget "$PID"
	[ "$(template sig instances)" = 4 ]
}

is_state()
{
	[ "$(state_of "$1")" = "$2" ]
}
t "signals and exit status" signals

stdio()
{
	make_image io bash -c 'read -r x; echo "out $x"; echo "err $x" >&2; exec >&-; read -r y; exit 3' || return
	from --template=yes io <<<zero >/dev/null 2>&1
	# Whoever reads sees the end when the program closes it, and it its own.
	mkfifo io.in
	"$RUN" --mount "$MNT" --from io <io.in 2>err 3>&- 9>&- |
	    { cat >out; echo end; } >ended &
	exec 7>io.in
	echo one >&7
	wait_for 20 test -s ended || { cat err; return 1; }
	[ "$(<out)" = "out one" ] && [ "$(<err)" = "err one" ] || { cat out err; return 1; }
	exec 7>&-
	wait $!
	from io <<<two >&- 2>err
	[ $? = 3 ] || { cat err; return 1; }
	[ "$(template io instances)" = 3 ]
}
t "standard input, output and error" stdio

# ---- in a terminal ----

cat >terminal.py <<'END'
import os, pty, re, select, sys, time
run, mnt, image = sys.argv[1:4]
pid, fd = pty.fork()
if pid == 0:
    os.environ['PS1'] = 'PROMPT$ '
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])
seen = ''
def more():
    global seen
    if select.select([fd], [], [], 1)[0]:
        seen += os.read(fd, 4096).decode(errors='replace')
def expect(what):
    global seen
    end = time.monotonic() + 30
    while not re.search(what, seen):
        assert time.monotonic() < end, (what, seen)
        more()
    seen = re.split(what, seen, maxsplit=1)[-1]
def type(s):
    os.write(fd, s.encode())
def instances():
    for line in open(mnt + '/.status'):
        if line.startswith('template: ') and line.endswith('/' + image + '\n'):
            return int(re.search(r'instances (\d+)', line).group(1))
def state(p):
    return open('/proc/%d/stat' % p).read().rpartition(') ')[2].split()
def wait_for(what):
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.01)
def begin(more=''):
    global seen
    seen = ''
    type('%s -v --mount %s %s --from %s\r' % (run, mnt, more, image))
    expect(r'it is ')
    expect(r'(?=\d+[^\d])')
    p = int(re.match(r'\d+', seen).group(0))
    wait_for(lambda: open('/proc/%d/syscall' % p).read().startswith('0 0x0 '))
    return p
expect('PROMPT')
p = begin('--template=yes')
type('one\r')
expect('got one')
expect('PROMPT')
for i in range(2):
    p = begin()
    assert state(p)[3] == str(pid) and state(p)[4] == state(pid)[4]
    type('\x1a')
    expect(r'(?s)Stopped.*PROMPT\$ ')
    assert state(p)[0] == 'T'
    type('fg\r')
    wait_for(lambda: state(p)[0] == 'S' and state(p)[5] == state(p)[2])
    if i == 0:
        type('two\r')
        expect('got two')
    else:
        type('\x03')
    expect('PROMPT')
    type('echo status $?=\r')
    expect(('status 4=', 'status 130=')[i])
assert instances() == 3, instances()
t = [int(re.search(r'template: pid (\d+)', l).group(1)) for l in open(mnt + '/.status')
     if l.startswith('template: ') and l.endswith('/' + image + '\n')][0]
type('exit\r')
os.waitpid(pid, 0)
# With its leader gone nobody is left whose instances could use it.
end = time.monotonic() + 60
while os.path.exists('/proc/%d' % t) and state(t)[0] != 'Z':
    assert time.monotonic() < end, 'the template stays'
    time.sleep(0.1)
END

terminal()
{
	make_image tty bash -c 'read -r x; echo "got $x"; exit 4' || return
	timeout 200 python3 terminal.py "$RUN" "$MNT" tty 3>&- 9>&-
}
t "a job of a shell in a terminal; the session ends" terminal

# ---- who ends ----

daemon_killed()
{
	local pid
	make_image kill python3 big.py || return
	begin 1 --template=yes kill || return
	pid=$(template kill pid)
	kill -9 "$DAEMON" && wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	DAEMON=
	wait_for 5 gone "$pid" || { echo "the template stays"; return 1; }
	say 1 42
	wait_for 20 test -s out.1 || return
	say 1 end
	expect_status 42 || return
	forget "$PID"
	printf '%s\n' 7 end | from kill >out 2>err
	[ $? = 7 ] || { cat err; return 1; }
	mount_snapfs
}
t "the daemon is killed: it goes on" daemon_killed

template_killed()
{
	local pid
	begin 1 --template=yes kill || return
	pid=$(template kill pid)
	kill -9 "$pid"
	printf '%s\n' 7 end | from --template=yes kill >out 2>err
	[ $? = 7 ] && [ "$(template kill pid)" != "$pid" ] || { cat err; return 1; }
	say 1 42
	say 1 end
	expect_status 42 || return
	forget "$PID"
}
t "its template is killed" template_killed

keeper_killed()
{
	local keeper pid
	begin 1 kill || return
	pid=$(template kill pid)
	keeper=$(stat_of "$PID" 2)
	kill -9 "$keeper"
	expect_status 125 && grep -q 'its keeper was killed' err.1 || { cat err.1; return 1; }
	wait_for 5 gone "$PID" && forget "$PID" && wait_for 5 gone "$pid" || return
	printf '%s\n' 7 end | from --template=yes kill >out 2>err
	[ $? = 7 ] || { cat err; return 1; }
	# One that is told to end takes the template with it, and no instance.
	begin 1 kill || return
	pid=$(template kill pid)
	keeper=$(stat_of "$PID" 2)
	kill -TERM "$keeper"
	wait_for 5 gone "$pid" || return
	say 1 43
	say 1 end
	expect_status 43 && forget "$PID" && wait_for 5 gone "$keeper"
}
t "its keeper is killed" keeper_killed

# A daemon that answers nobody is done without.
daemon_stopped()
{
	kill -STOP "$DAEMON" || return
	printf '%s\n' 7 end | timeout 60 "$RUN" -v --mount "$MNT" --from kill >out 2>err 3>&- 9>&-
	local rc=$?
	kill -CONT "$DAEMON"
	[ $rc = 7 ] && grep -q 'no template: .*timed out' err || { cat err; return 1; }
}
t "the daemon is stopped" daemon_stopped

# ---- whose it is ----

whose()
{
	local user="setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all"
	chmod 0755 "$WORK" && mkdir -m 0777 user || return
	PID=$($user "$RUN" -- "$TOOLS/steps" </dev/null 2>"$WORK/said" 3>&- 9>&-) || return
	PIDS+=("$PID")
	$user cp -r "$MNT/$PID" user/image || return
	kill9 "$PID" || return
	[ "$(from --template=yes user/image <<<one 2>err)" = "end one" ] || { cat err; return 1; }
	# Other rights, or another place: another one.
	[ "$(echo two | $user "$RUN" --template=yes --mount "$MNT" --from user/image 2>err 3>&- 9>&-)" = "end two" ] || {
		cat err
		return 1
	}
	(ulimit -S -n 500 && [ "$(from --template=yes user/image <<<three 2>err)" = "end three" ]) || return
	[ "$(setsid -w "$RUN" --template=yes --mount "$MNT" --from user/image <<<four 2>err 3>&- 9>&-)" = "end four" ] || return
	[ "$(template user/image instances | tr '\n' ' ')" = "1 1 1 1 " ] || {
		grep ^template "$MNT/.status"
		return 1
	}
	[ "$(from user/image <<<five 2>err)" = "end five" ] || return
	[ "$(template user/image instances | sort | tr '\n' ' ')" = "1 1 1 2 " ] || return
	$user cat "$MNT/.status" | grep -c '^template: ' | grep -qx 1
}
t "whose a template is" whose

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
