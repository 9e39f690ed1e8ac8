#!/bin/bash
# run.sh - snapfs-run(1): a program run up to a point, held there, and
# instances of it that stand where the program stood.

. "$(dirname "$0")/lib.sh"
need_root
RUN=$(dirname "$SNAPFS")/snapfs-run
mount_snapfs
cd "$WORK" || exit 1

# Run up to the point: PID, and what the program says in $WORK/said.
# usage: hold [OPTION...] -- PROGRAM [ARG...]
hold()
{
	PID=$("$RUN" "$@" </dev/null 2>"$WORK/said" 3>&- 9>&-) || {
		if grep -q 'a breakpoint of the CPU is never hit here' "$WORK/said"; then
			cat "$WORK/said"
			return 77
		fi
		echo "snapfs-run: exit status $?"
		cat "$WORK/said"
		return 1
	}
	[[ $PID =~ ^[0-9]+$ ]] || { echo "printed: $PID"; return 1; }
	PIDS+=("$PID")
	[ "$(state_of "$PID")" = T ] || {
		echo "it is in state $(state_of "$PID")"
		return 1
	}
}

# The image of what is held, which is then ended.
# usage: image NAME
image()
{
	rm -rf "${WORK:?}/$1"
	copy "$PID" "$WORK/$1" || return
	kill9 "$PID"
}

# An instance; what it was given on standard input and wrote.
# usage: instance IMAGE INPUT STATUS OUTPUT
instance()
{
	local rc
	timeout 60 "$RUN" --from "$WORK/$1" <<<"$2" >"$WORK/out" 2>"$WORK/err" 3>&- 9>&-
	rc=$?
	[ $rc = "$3" ] || { echo "status $rc"; cat "$WORK/err"; return 1; }
	[ "$(<"$WORK/out")" = "$4" ] || { cat "$WORK/out"; return 1; }
}

call_of()
{
	cut -d' ' -f1 "/proc/$1/syscall"
}

# ---- held ----

default_read()
{
	hold -- "$TOOLS/steps" || return
	[ "$(<"$WORK/said")" = $'begin\nmiddle' ] || { cat "$WORK/said"; return 1; }
	[ "$(call_of "$PID")" = 0 ] || return
	copy "$PID" "$WORK/read" || return
	expect_untouched "$PID" || return
	[ "$(state_of "$PID")" = T ] || return
	grep -qx 'stopped: no' "$WORK/read/status" || return
	grep -qx 'parent-death-signal: 0' "$WORK/read/status" || return
	kill9 "$PID" || return
	instance read one 3 "end one" || return
	instance read two 3 "end two"
}
t "held where it first reads standard input" default_read

go_on()
{
	mkfifo in || return
	exec 7<>in
	PID=$("$RUN" -- "$TOOLS/steps" <in 2>"$WORK/said" 3>&- 7>&- 9>&-) || return
	PIDS+=("$PID")
	(read -r _ <"$MNT/$PID/checkpoint") || return
	expect_untouched "$PID" || return
	kill -CONT "$PID"
	echo three >&7
	wait_for 10 grep -qx "end three" "$WORK/said" || { cat "$WORK/said"; return 1; }
	wait_for 10 free_pid "$PID" || { echo "nobody waits for it"; return 1; }
	forget "$PID"
	exec 7>&-
}
t "SIGCONT lets it go on" go_on

keeper_killed()
{
	local keeper
	hold -- "$TOOLS/steps" || return
	keeper=$(sed -n 's/^PPid:\t//p' "/proc/$PID/status")
	kill -9 "$keeper"
	wait_for 10 gone "$PID" || { echo "it lives"; return 1; }
	forget "$PID"
}
t "a program without its keeper does not go on wrongly" keeper_killed

ends_before()
{
	local rc
	"$RUN" -- sh -c 'exit 5' </dev/null >out 2>err 3>&- 9>&-
	rc=$?
	[ $rc = 1 ] && grep -q 'ended before.* 5$' err && [ ! -s out ] || {
		echo "$rc: $(<err)"
		return 1
	}
	"$RUN" -- "$WORK/none" </dev/null 2>err 3>&- 9>&-
	[ $? = 127 ] || return
	"$RUN" -- /etc/passwd </dev/null 2>err 3>&- 9>&-
	[ $? = 126 ] || return
	"$RUN" --until no_such -- true 2>err
	[ $? = 125 ] && grep -q no_such err || return
	no_strays
}
t "a program that ends before, that is none" ends_before

until_call()
{
	hold --until uname -- uname -r || return
	[ "$(call_of "$PID")" = 63 ] || { call_of "$PID"; return 1; }
	image call || return
	instance call "" 0 "$(uname -r)"
}
t "--until CALL" until_call

until_fd()
{
	echo text >file
	hold --until-fd-read 3 -- bash -c 'exec 3<file; read -r x <&3; echo "$x"' || return
	[ "$(cut -d' ' -f1,2 "/proc/$PID/syscall")" = "0 0x3" ] || return
	image fd || return
	instance fd "" 0 text
}
t "--until-fd-read N" until_fd

until_listen()
{
	local port
	hold --until-listen -- python3 -c '
import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(5)
c, _ = s.accept()
c.sendall(b"hello")' || return
	[ "$(call_of "$PID")" = 50 ] || return
	port=$(sed -n 's/.* 0100007F:\([0-9A-F]*\) 00000000:0000 0A .*/\1/p' "/proc/$PID/net/tcp" |
	    while read -r p; do echo $((16#$p)); done)
	[ -n "$port" ] || { echo "nothing listens"; return 1; }
	kill9 "$PID"
}
t "--until-listen" until_listen

until_symbol()
{
	hold --until-symbol steps_middle -- "$TOOLS/steps" 3 || return
	[ "$(<"$WORK/said")" = begin ] || { cat "$WORK/said"; return 1; }
	grep -qx $'Seccomp:\t0' "/proc/$PID/status" || return
	expect_untouched "$PID" || return
	image symbol || return
	instance symbol four 3 $'middle\nend four'
}
t "--until-symbol, threads" until_symbol

until_library()
{
	hold --until-symbol fgets -- "$TOOLS/steps" || return
	[ "$(<"$WORK/said")" = $'begin\nmiddle' ] || return
	image library || return
	instance library five 3 "end five"
}
t "--until-symbol of a library" until_library

until_loaded()
{
	hold --until-symbol PyInit_pyexpat -- python3 -c '
import sys; print("a", file=sys.stderr)
import pyexpat; print("b")' || return
	[ "$(<"$WORK/said")" = a ] || { cat "$WORK/said"; return 1; }
	image loaded || return
	instance loaded "" 0 b
}
python3 -c 'import pyexpat; open(pyexpat.__file__)' 2>/dev/null &&
t "--until-symbol of a library that is loaded later" until_loaded

# A thread that is at work when another gets to the point finishes it, so that
# no lock is taken in the image.  usage: comes_to_rest POINT...
comes_to_rest()
{
	hold "$@" -- "$TOOLS/steps" 1 0.3 || return
	[ "$(<"$WORK/said")" = $'begin\nworked' ] || {
		echo "held while a thread was at work: $(<"$WORK/said")"
		kill9 "$PID"
		return 1
	}
	image rest || return
	instance rest ten 3 $'middle\nend ten'
}
t "others come to rest: --until CALL" comes_to_rest --until getpgid
t "others come to rest: --until-symbol" comes_to_rest --until-symbol steps_middle

# One that never does is held all the same.
always_busy()
{
	hold "$@" -- "$TOOLS/steps" 1 1000 || return
	image busy || return
	instance busy eleven 3 $'middle\nend eleven'
}
t "a thread that is always busy: --until CALL" always_busy --until getpgid
t "a thread that is always busy: --until-symbol" always_busy --until-symbol steps_middle

# ---- what waiting is ----

# A helper polls from the start; the main thread is woken through a pipe by
# another that computes: neither is the outside.
inner_waits()
{
	cat >inner.py <<'END'
import os, select, sys, threading, time
r, w = os.pipe()
r2, w2 = os.pipe()
threading.Thread(target=select.select, args=([r2], [], []), daemon=True).start()
def work():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        pass
    os.write(w, b"x")
threading.Thread(target=work).start()
p = select.poll()
p.register(r, select.POLLIN)
p.poll()
print("woken", file=sys.stderr, flush=True)
p.register(0, select.POLLIN)
p.unregister(r)
p.poll()
print(sys.stdin.readline().strip())
END
	mkfifo in2 || return
	exec 7<>in2
	PID=$("$RUN" -- python3 inner.py <in2 2>"$WORK/said" 3>&- 7>&- 9>&-) || return
	PIDS+=("$PID")
	exec 7>&-
	[ "$(<"$WORK/said")" = woken ] || { echo "held too early"; return 1; }
	cp -r "$MNT/$PID" inner || return
	kill9 "$PID" || return
	instance inner six 0 six
}
t "threads that wake one another are not the outside" inner_waits

children()
{
	hold -- bash -c 'x=$(sleep 0.3; echo seven); read -r y; echo "$x $y"' || return
	image children || return
	instance children eight 0 "seven eight"
}
t "children are not the outside" children

# ---- instances ----

signals()
{
	hold -- bash -c 'trap "echo term; exit 9" TERM; read -r x; kill -9 $BASHPID' || return
	image signals || return
	instance signals "" 137 "" || return
	mkfifo in3
	exec 7<>in3
	"$RUN" --from signals <in3 >out 2>err 3>&- 7>&- 9>&- &
	local run=$!
	PIDS+=("$run")
	wait_for 10 has_child "$run" || return
	kill -TERM "$run"
	wait "$run"
	[ $? = 9 ] && [ "$(<out)" = term ] || { cat out err; return 1; }
	forget "$run"
	"$RUN" --from signals <in3 >out 2>err 3>&- 7>&- 9>&- &
	run=$!
	PIDS+=("$run")
	wait_for 10 has_child "$run" || return
	PID=$CHILD
	PIDS+=("$PID")
	kill -STOP "$PID"
	wait_for 10 is_state "$run" T || return
	kill -CONT "$run"
	wait_for 10 is_state "$PID" S || return
	kill -9 "$run"
	wait "$run" 2>/dev/null
	forget "$run"
	wait_for 10 gone "$PID" || { echo "it outlives snapfs-run"; return 1; }
	forget "$PID"
	exec 7>&-
}

is_state()
{
	[ "$(state_of "$1")" = "$2" ]
}

has_child()
{
	CHILD=$(<"/proc/$1/task/$1/children")
	CHILD=${CHILD% }
	# Of the image's program, not of us: it is complete.
	[ -n "$CHILD" ] && [ "$(<"/proc/$CHILD/comm")" = bash ] &&
	    untraced "$CHILD"
}
t "signals and exit status" signals

terminal()
{
	cat >terminal.py <<'END'
import os, pty, signal, sys, time
run, image, key = sys.argv[1:4]
pid, fd = pty.fork()
if pid == 0:
    os.execv(run, [run, '--from', image])
def text(name):
    try:
        return open(name).read()
    except OSError:
        return ''
def state(p):
    return text('/proc/%d/stat' % p).rpartition(') ')[2][:1]
def wait_for(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.01)
def child():
    c = text('/proc/%d/task/%d/children' % (pid, pid)).split()
    return int(c[0]) if c and text('/proc/%s/comm' % c[0]) == 'bash\n' \
        and 'TracerPid:\t0' in text('/proc/%s/status' % c[0]) else 0
wait_for(child)
c = child()
# What comes before it reads again may be lost with the restore.
wait_for(lambda: text('/proc/%d/syscall' % c).startswith('0 0x0 '))
assert os.getpgid(c) == os.getpgid(pid) and os.getsid(c) == os.getsid(pid)
if key == 'int':
    os.write(fd, b'\x03')
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, status
    sys.exit(0)
os.killpg(os.getpgid(pid), signal.SIGTSTP if key == 'tstp' else signal.SIGSTOP)
wait_for(lambda: state(c) == 'T' and state(pid) == 'T')
os.killpg(os.getpgid(pid), signal.SIGCONT)
wait_for(lambda: state(c) == 'S' and state(pid) == 'S')
os.write(fd, b'nine\n')
_, status = os.waitpid(pid, 0)
assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 4, status
assert b'got nine' in os.read(fd, 999)
END
	hold -- bash -c 'read -r x; echo "got $x"; exit 4' || return
	image terminal || return
	local key
	for key in int stop; do
		timeout 60 python3 terminal.py "$RUN" terminal $key 3>&- 9>&- || {
			echo "key $key"
			return 1
		}
	done
}
t "a terminal: interrupt, stop, continue" terminal

many()
{
	local i pids=()
	hold -- python3 -c 'import sys, os
x = sys.stdin.readline()
sys.stdout.write(x.strip() + " " + os.urandom(8).hex() + "\n")' || return
	image many || return
	for i in 1 2 3 4 5; do
		"$RUN" --from many <<<"$i" >"out.$i" 2>"err.$i" 3>&- 9>&- &
		pids+=($!)
	done
	for i in 1 2 3 4 5; do
		wait "${pids[i - 1]}" || { cat "err.$i"; return 1; }
		grep -q "^$i " "out.$i" || { cat "out.$i"; return 1; }
	done
	[ "$(cut -d' ' -f2 out.? | sort -u | wc -l)" = 5 ] || {
		echo "their random numbers are the same"
		return 1
	}
}
t "five at once, with random numbers of their own" many

# What an instance touches first, for the next ones; a hint and no more.
learn()
{
	hold -- /usr/bin/python3 -c '
import sys
b = bytearray(i % 251 for i in range(1 << 22))
line = input()
print(line, sum(b[::4096]), flush=True)' || return
	image learned || return
	chmod u+w learned
	instance learned one 0 "$(learned_answer one)" || return
	[ ! -e learned/prefetch ] || { echo "it learned unasked"; return 1; }
	"$RUN" --learn --from learned <<<two >out 2>err 3>&- 9>&- || {
		cat err
		return 1
	}
	[ "$(<out)" = "$(learned_answer two)" ] || { cat out; return 1; }
	[ -s learned/prefetch ] && [ ! -e learned/prefetch.new ] || {
		ls -l learned
		return 1
	}
	# The array is 4 MiB of it.
	[ "$(touched learned/prefetch)" -ge 4194304 ] || {
		echo "too little: $(touched learned/prefetch)"
		return 1
	}
	instance learned three 0 "$(learned_answer three)" || return
	bad_hints || return
	rm learned/prefetch
	instance learned four 0 "$(learned_answer four)"
}

learned_answer()
{
	echo "$1 $(python3 -c 'print(sum(i % 251 for i in range(0, 1 << 22, 4096)))')"
}

touched()
{
	local from to n=0
	while IFS=- read -r from to; do
		n=$((n + 0x$to - 0x$from))
	done <"$1"
	echo $n
}

# A wrong one is refused with its line; one of other pages does no harm.
bad_hints()
{
	local size
	chmod u+w learned/prefetch
	size=$(printf %x "$(stat -c %s learned/pages)")
	echo "0-$size" >learned/prefetch
	instance learned five 0 "$(learned_answer five)" || return
	printf '0-1000\n%s-ffffffff000\n' "$size" >learned/prefetch
	"$RUN" --from learned <<<x >out 2>err 3>&- 9>&-
	[ $? = 125 ] && grep -q 'prefetch:2: beyond' err || {
		cat out err
		return 1
	}
	ln -sf /etc/passwd learned/prefetch
	"$RUN" --from learned <<<x >out 2>err 3>&- 9>&-
	[ $? = 125 ] && grep -q 'prefetch: not a plain file' err || {
		cat out err
		return 1
	}
}
t "--learn: what is touched first comes first" learn

# It has told nothing, and has not taken the place of what is there.
learn_refused()
{
	mkdir -p learned2 && cp -r learned learned2/image || return
	chmod u+w learned2/image
	echo "0-1000" >learned2/image/prefetch
	truncate -s 4096 learned2/image/pages
	"$RUN" --learn --from learned2 <<<x >out 2>err 3>&- 9>&-
	[ $? = 125 ] || { cat out err; return 1; }
	[ "$(<learned2/image/prefetch)" = 0-1000 ] &&
	    [ ! -e learned2/image/prefetch.new ]
}
t "--learn, where there is no instance" learn_refused

pipeline()
{
	[ "$(echo ten | "$RUN" --from read 3>&- 9>&- | tr a-z A-Z)" = "END TEN" ]
}
t "in a pipeline" pipeline

not_there()
{
	"$RUN" --from "$WORK/nowhere" 2>err
	[ $? = 127 ] && grep -q nowhere err || { cat err; return 1; }
	cp -r read broken && chmod -R u+w broken
	printf 'x' | dd of=broken/pages bs=1 seek=5000 conv=notrunc 2>/dev/null
	"$RUN" --from broken </dev/null 2>err 3>&- 9>&-
	[ $? = 125 ] && grep -q pages err || { cat err; return 1; }
	no_strays
}
t "an image that is none, that is damaged" not_there

# ---- without root ----

# His program, held; his copy of it; his instance.
as_user()
{
	local user="setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all"
	chmod 0755 "$WORK" && mkdir -m 0777 user || return
	PID=$($user "$RUN" -- "$TOOLS/steps" </dev/null 2>user.said 3>&- 9>&-) || {
		cat user.said
		return 1
	}
	PIDS+=("$PID")
	[ "$(stat -c %u "/proc/$PID")" = 65534 ] || return
	$user cp -r "$MNT/$PID" user/image || return
	[ ! -s user/image/unsupported ] || { cat user/image/unsupported; return 1; }
	kill9 "$PID" || return
	[ "$(echo eleven | $user "$RUN" --from user/image 2>err 3>&- 9>&-)" = "end eleven" ] || {
		cat err
		return 1
	}
}
t "a user's program" as_user

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
