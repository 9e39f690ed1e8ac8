#!/bin/bash
# trees.sh - a process and all below it: real programs in the middle of their
# work, and what can go wrong with a tree.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root

mount_snapfs

runs_on()
{
	! gone "$1" && [ "$(state_of "$1")" != Z ]
}

ended()
{
	! runs_on "$1"
}

# ---- real programs ----

# The script $WORK/job DIR makes DIR/middle, is not done before there is DIR/go,
# and leaves DIR/out.
undisturbed_and_restored()
{
	local pid
	rm -rf "$WORK/plain" "$WORK/again" "$WORK/image"
	mkdir "$WORK/plain" "$WORK/again"
	touch "$WORK/plain/go"
	bash "$WORK/job" "$WORK/plain" </dev/null >"$WORK/plain/log" 2>&1 3>&- 9>&- || {
		echo "without a restore: $(tail -n 5 "$WORK/plain/log")"
		return 1
	}
	bash "$WORK/job" "$WORK/again" </dev/null >"$WORK/again/log" 2>&1 3>&- 9>&- &
	pid=$!
	PIDS+=("$pid")
	wait_for 20 test -e "$WORK/again/middle" || { echo "it does not begin"; return 1; }
	copy_tree "$pid" "$WORK/image" || return
	[ -n "$(ls "$WORK/image/children")" ] || { echo "it has no children"; return 1; }
	fell "$pid" || return
	[ ! -e "$WORK/again/out" ] || { echo "it was done already"; return 1; }
	restore "$pid" "$WORK/image" || return
	touch "$WORK/again/go"
	wait_for 60 ended "$pid" || { echo "it does not end"; return 1; }
	forget "$pid"
	cmp "$WORK/plain/out" "$WORK/again/out" || {
		tail -n 5 "$WORK/again/log"
		return 1
	}
}

cat >"$WORK/job" <<'END'
cd "$1" || exit
seq 1 300000 | sed 's/^/line /' |
    awk 'NR == 20000 { system("touch middle; until [ -e go ]; do sleep 0.1; done") } 1' |
    (while read -r a b; do ((b % 3)) || echo "$b $a"; done) |
    sort -r | md5sum >part && mv part out
END
t "a pipeline in the middle of its data" undisturbed_and_restored

cat >"$WORK/job" <<'END'
cd "$1" || exit
for i in 1 2 3 4 5 6 7 8; do
	echo "int f$i(int x) { return x * $i; }" >"f$i.c"
done
{
	for i in 1 2 3 4 5 6 7 8; do echo "int f$i(int);"; done
	echo '#include <stdio.h>'
	echo 'int main(void) { printf("%d\n", f1(f2(f3(f4(f5(f6(f7(f8(1)))))))));'
	echo 'return 0; }'
} >main.c
printf '%s\n' 'OBJS = f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o main.o' \
    'out: prog' '	./prog >part && mv part out' \
    'prog: $(OBJS)' '	cc -o $@ $(OBJS)' \
    '%.o: %.c' '	@if [ $@ = f4.o ]; then touch middle; fi; sleep 0.4' \
    '	@if [ $@ = f6.o ]; then until [ -e go ]; do sleep 0.1; done; fi' \
    '	cc -c -o $@ $<' >Makefile
make -j2
END
t "make -j2 of a small project" undisturbed_and_restored

cat >"$WORK/job" <<'END'
cd "$1" || exit
cat >pool.py <<'PY'
import multiprocessing as mp, os, time
lock = mp.Lock()
total = mp.Value('q', 0)
def work(n):
    if n == 10:
        open('middle', 'w').close()
        while not os.path.exists('go'):
            time.sleep(0.01)
    time.sleep(0.02)
    with lock:
        total.value += n
    return n * n
if __name__ == '__main__':
    with mp.Pool(3) as pool:
        got = pool.map(work, range(120), chunksize=1)
    with open('part', 'w') as f:
        print(sum(got), total.value, file=f)
    os.rename('part', 'out')
PY
python3 pool.py
END
if command -v python3 >/dev/null; then
	t "a pool of python3 processes in the middle of a job" \
	    undisturbed_and_restored
else
	skip "a pool of python3 processes" "no python3"
fi

# ---- memory that a fork shares ----

# usage: start_forks OPTION...: PID, in $WORK/forks
start_forks()
{
	rm -rf "$WORK/forks" "$WORK/image"
	mkdir "$WORK/forks"
	"${START[@]}" "$TOOLS/forks" "$WORK/forks" "$@" \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 test -s "$WORK/forks/ready"
}

# All look at their memory, and find what they wrote.
# usage: all_right PROCESSES
all_right()
{
	: >"$WORK/forks/check"
	wait_for 60 test -s "$WORK/forks/result" || {
		echo "they do not answer"
		return 1
	}
	rm "$WORK/forks/check"
	[ "$(<"$WORK/forks/result")" = "$1 0" ] || {
		echo "right and wrong: $(<"$WORK/forks/result")"
		return 1
	}
}

no_pagers()
{
	! grep -q '^pager: ' "$MNT/.status"
}

# Restored, it takes hardly more memory than before, nor does it a second time.
# usage: shared_again MIB PROCESSES [OPTION...]
shared_again()
{
	local mib=$1 n=$2 before after held most i
	shift 2
	start_forks -m "$mib" -p "$n" "$@" || return
	before=$(pss "$PID")
	# Each process also has its own page tables, stack and so on.
	most=$((before + before / 20 + n * 200))
	for i in 1 2; do
		copy "$PID" "$WORK/image" || {
			tail -n 5 "$MNT/.log"
			return 1
		}
		held=$(find "$WORK/image" -name pages -printf '%s\n' |
		    awk '{ n += $1 } END { printf "%d", n / 1024 }')
		echo "held: $held KiB"
		[ "$held" -le "$most" ] || return
		fell "$PID" && restore "$PID" "$WORK/image" || return
		wait_for 20 no_pagers || { echo "its pager does not end"; return 1; }
		after=$(pss "$PID")
		echo "PSS before: $before KiB, after: $after KiB"
		[ "$after" -le "$most" ] || return
		rm -rf "$WORK/image"
	done
	all_right $((n + 1)) && fell "$PID"
	rm -rf "$WORK/forks"
}

# usage: looks NUMBER: it does, and finds what it wrote
looks()
{
	: >"$WORK/forks/check"
	wait_for 60 test -s "$WORK/forks/looked" || return
	rm "$WORK/forks/check"
	[ "$(<"$WORK/forks/looked")" = "$1 1" ] || {
		cat "$WORK/forks/looked"
		return 1
	}
	rm "$WORK/forks/looked"
}

# A child of which the others are missing, and the parent without any.
without_the_others()
{
	local child
	start_forks -m 16 -p 4 -r && copy "$PID" "$WORK/image" || return
	grep -q '^former ' "$WORK/image/pagemap" || return
	child=$(pgrep -P "$PID" | sed -n 3p)
	fell "$PID" || return
	restore "$child" "$WORK/image/children/$child" && looks 3 &&
	    fell "$child" || return
	rm -r "$WORK/image/children"
	sed -i '/  children\//d' "$WORK/image/xxh128sums"
	restore "$PID" "$WORK/image" && looks 0 && fell "$PID" || return
	rm -rf "$WORK/forks"
}
START=()
t "50 forks of 200 MiB are 200 MiB" shared_again 200 50
t "each the child of another" shared_again 64 20 -d -w 64
t "their parent has written since" shared_again 64 20 -r
t "that, without the others" without_the_others
if command -v setarch >/dev/null; then
	# Where the restore itself has its memory; see inherit.h.
	START=(setarch -R)
	t "at addresses that are in use" shared_again 64 8
	START=()
else
	skip "at addresses that are in use" "no setarch"
fi

# No process with the name of a twin of one of these, unless it is dead.
# usage: no_twins PID...
no_twins()
{
	local pid twin
	for pid in "$@"; do
		for twin in $(pgrep -x "snapfs:$pid"); do
			[ "$(state_of "$twin")" = Z ] || gone "$twin" || {
				echo "twin $twin of $pid is left"
				return 1
			}
		done
	done
}

# Twins of several are made at the same time: whoever makes them is killed.
killed_meanwhile()
{
	local all i taker
	start_forks -m 16 -p 12 -t 2 || return
	all=$(family "$PID")
	for ((i = 0; i < 60; i++)); do
		"$TOOLS/snapcore-take" "$PID" - >/dev/null 2>&1 3>&- 9>&- &
		taker=$!
		sleep "0.0$((RANDOM % 3))$((RANDOM % 10))$((RANDOM % 10))"
		kill -9 "$taker" 2>/dev/null
		wait "$taker" 2>/dev/null
	done
	# shellcheck disable=SC2086  # pids
	wait_for 10 no_twins $all || return
	[ "$(family "$PID")" = "$all" ] || {
		echo "was $all, is $(family "$PID")"
		return 1
	}
	copy "$PID" "$WORK/image" || return
	all_right 13 && fell "$PID"
	rm -rf "$WORK/forks" "$WORK/image"
}
t "who takes the checkpoint is killed" killed_meanwhile

# ---- a shell that copies itself ----

own_shell()
{
	local out
	out=$(bash -c "x=42; (sleep 50 | cat) &
	    until [ \"\$(cat /proc/\$!/task/*/children | wc -w)\" = 2 ]; do :; done
	    cp -r $MNT/\$\$ $WORK/own 3>&- 9>&-
	    rc=\$?; kill \$(jobs -p) \$(cat /proc/\$!/task/*/children)
	    echo \$rc \$x" 3>&- 9>&-) || return
	[ "$out" = "0 42" ] || { echo "it said: $out"; return 1; }
	[ -z "$(find "$WORK/own/children" -name exe -lname '*/cp')" ] || {
		echo "cp itself is part of it"
		return 1
	}
	[ "$(find "$WORK/own/children" -name checkpoint | wc -l)" = 3 ]
}
t "cp -r /snap/\$\$: the reader is left out" own_shell

# ---- a tree for what follows: a shell, and two that it waits for ----

start_tree()
{
	rm -rf "$WORK/image" "$WORK/alive"
	bash -c 'echo $$ >'"$WORK/alive"'; sleep 300 & sleep 301 & wait' \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 test -s "$WORK/alive" || return
	wait_for 5 has_two "$PID"
}

has_two()
{
	[ "$(family "$1" | wc -l)" = 3 ]
}

begin_tree()
{
	start_tree || return
	copy "$PID" "$WORK/image" || return
	chmod -R u+w "$WORK/image"
	FAMILY=$(family "$PID")
	CHILD=$(echo "$FAMILY" | tail -n 1)
}

# Nothing of it is left, and nothing was begun.
none_left()
{
	local pid
	for pid in $FAMILY; do
		free_pid "$pid" || {
			echo "process $pid is there: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
			return 1
		}
	done
}

comes_back()
{
	begin_tree && fell "$PID" && restore "$PID" "$WORK/image" || return
	[ "$(family "$PID")" = "$FAMILY" ] || {
		echo "was $FAMILY, is $(family "$PID")"
		return 1
	}
	# And once more.
	rm -rf "$WORK/image"
	copy "$PID" "$WORK/image" && fell "$PID" &&
	    restore "$PID" "$WORK/image" || return
	has_two "$PID" && fell "$PID"
}
t "the same processes, with the same ids, twice" comes_back

replaced()
{
	begin_tree && restore "$PID" "$WORK/image" replace || return
	[ "$(family "$PID")" = "$FAMILY" ] && fell "$PID"
}
t "replace kills the tree" replaced

# Nobody is killed for an image that is damaged.
kept()
{
	local pages pid
	begin_tree || return
	pages=$(find "$WORK/image/children" -name pages -size +0 | head -n 1)
	chmod u+w "$pages"
	printf XX | dd of="$pages" bs=1 seek=4095 conv=notrunc 2>/dev/null
	PIDS+=($FAMILY)
	refused EBADMSG "$WORK/image" replace || return
	for pid in $FAMILY; do [ "$pid" = "$PID" ] || forget "$pid"; done
	[ "$(family "$PID")" = "$FAMILY" ] && has_two "$PID" || {
		echo "was $FAMILY, is $(family "$PID")"
		return 1
	}
	fell "$PID"
}
t "replace with a damaged image kills nobody" kept

# None sees another die: what would be done then is not done.
at_once()
{
	local i
	rm -f "$WORK/saw"
	bash -c "sleep 300 | (cat; touch $WORK/saw); touch $WORK/saw" \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 has_four "$PID" || return
	copy_tree "$PID" "$WORK/image" || return
	for i in 1 2 3 4 5; do
		restore "$PID" "$WORK/image" replace || return
		has_four "$PID" || { echo "there are: $(family "$PID")"; return 1; }
	done
	fell "$PID"
	[ ! -e "$WORK/saw" ] || { echo "one saw the end of another"; return 1; }
}

# bash, sleep, bash, cat
has_four()
{
	[ "$(family "$1" | wc -l)" = 4 ]
}
t "replace kills all of a tree at once" at_once

cloned()
{
	local new
	begin_tree || return
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$WORK/image" pid=new) || {
		echo "$ANSWER"
		return 1
	}
	new=$(restored_pid)
	PIDS+=("$new")
	[ "$new" != "$PID" ] && has_two "$new" && has_two "$PID" || return
	fell "$new" && fell "$PID"
}
t "pid=new, beside the original" cloned

alone()
{
	begin_tree && fell "$PID" || return
	restore "$CHILD" "$WORK/image/children/$CHILD" || return
	runs_on "$CHILD" && fell "$CHILD" && none_left
}
t "a child alone, from its own directory" alone

# ---- what can go wrong ----

taken()
{
	local pid rest
	begin_tree && kill -9 "$PID" && wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 5 free_pid "$PID" || return
	# Orphans now, but no strays.
	mapfile -t rest < <(echo "$FAMILY" | grep -vx "$PID")
	PIDS+=("${rest[@]}")
	refused EEXIST "$WORK/image" || return
	[[ $ANSWER == *" pid "[0-9]* || $ANSWER == "EEXIST pid "* ]] || {
		echo "it says: $ANSWER"
		return 1
	}
	free_pid "$PID" || { echo "the first process is there"; return 1; }
	for pid in "${rest[@]}"; do kill9 "$pid" || return; done
}
t "a pid in the tree is taken" taken

damaged()
{
	local want=$1 part=$2
	shift 2
	begin_tree && fell "$PID" || return
	(cd "$WORK/image/children" && eval "$*") || return
	refused EBADMSG "$WORK/image" || return
	[[ $ANSWER == *"$part"* ]] || { echo "it says: $ANSWER"; return 1; }
	none_left
}
t "a child's directory is missing" damaged EBADMSG "missing" \
    'rm -r "$CHILD"'
t "one pid twice" damaged EBADMSG "it is of process" 'cp -r "$CHILD" 99999'
# Of two parents, each of which says that it is its own.
t "one process in two places" damaged EBADMSG "is there twice" \
    'other=$(ls | head -n 1); cp -r "$CHILD" "$other/children/"; sed -i "s/^ppid: .*/ppid: $other/" "$other/children/$CHILD/status"; sed -i "/  status\$/d" "$other/children/$CHILD/xxh128sums"'
t "a cycle of children" damaged EBADMSG "not a directory" \
    'ln -s .. "$CHILD/children/77777"'
t "a child that is a link to another" damaged EBADMSG "not a directory" \
    'mv "$CHILD" ../away && ln -s ../away "$CHILD"'
t "a child of another parent" damaged EBADMSG "its parent is" \
    'other=$(ls | head -n 1); mv "$CHILD" "$other/children/"; grep -v "children/$CHILD/" ../xxh128sums >../s; mv ../s ../xxh128sums'
traced()
{
	local holder err child
	start_tree || return
	child=$(family "$PID" | tail -n 1)
	rm -f "$WORK/held"
	"$TOOLS/hold" "$WORK/held" "$child" 3>&- 9>&- &
	holder=$!
	wait_for 5 test -e "$WORK/held" || return
	err=$(cat "$MNT/$PID/maps" 2>&1 >/dev/null)
	[[ $err == *busy* ]] || { echo "it says: $err"; return 1; }
	grep -q "process $child is traced by process $holder" "$MNT/.log" || {
		tail -n 3 "$MNT/.log"
		return 1
	}
	expect_untouched "$PID" || return
	kill "$holder"
	wait "$holder" 2>/dev/null
	fell "$PID"
}
t "a member that another tracer holds" traced

# Children come and go all the time.
restless()
{
	local i line ok=0
	bash -c 'while :; do /bin/true & /bin/true; (/bin/true &); done' \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	sleep 0.2
	for ((i = 0; i < 20; i++)); do
		(read -r line <"$MNT/$PID/checkpoint") 2>/dev/null && ok=$((ok + 1))
	done
	expect_untouched "$PID" || return
	[ $ok -ge 15 ] || { echo "only $ok of 20"; tail -n 5 "$MNT/.log"; return 1; }
	copy "$PID" "$WORK/restless" && fell "$PID" || return
	restore "$PID" "$WORK/restless" || return
	sleep 0.2
	runs_on "$PID" || { echo "it does not run on"; return 1; }
	fell "$PID"
	rm -rf "$WORK/restless"
}
t "a tree that forks, and loses processes, meanwhile" restless

# Two children share what threads do, and their parent has no part in it.
start_sharers()
{
	rm -rf "$WORK/there" "$WORK/image"
	"$TOOLS/sharer" "$WORK/there" "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 test -e "$WORK/there" || return
	copy_tree "$PID" "$WORK/image" || return
	chmod -R u+w "$WORK/image"
	mapfile -t pair < <(family "$PID" | tail -n +2)
	FAMILY=$(family "$PID")
}

# Do two processes have the same, for the kernel?  2: descriptors, 3: cwd
# usage: same KIND PID PID
same()
{
	python3 -c '
import ctypes, sys
kind, a, b = map(int, sys.argv[1:])
r = ctypes.CDLL(None, use_errno=True).syscall(312, a, b, kind, 0, 0)
sys.exit("kcmp failed" if r < 0 else r != 0)' "$@"
}

sharers()
{
	local what key pair
	start_sharers "$@" || return
	fell "$PID" && restore "$PID" "$WORK/image" || return
	for what in files:2:shares-descriptors fs:3:shares-cwd; do
		key=${what#*:}
		if [[ " $* " == *" ${what%%:*} "* ]]; then
			[ "$(cat "$WORK/image/children/"*/status |
			    grep "^${key#*:}:")" = "${key#*:}: ${pair[0]}" ] &&
			    same "${key%:*}" "${pair[@]}" || {
				echo "$what is not shared"
				return 1
			}
		else
			! same "${key%:*}" "${pair[@]}" || return
		fi
		! same "${key%:*}" "$PID" "${pair[0]}" || return
	done
	fell "$PID"
}
t "children that share a table of descriptors" sharers files
t "children that share a working directory" sharers fs files
t "children that share nothing" sharers

# It shares with nobody then, and does not need the one that it names.
sharer_alone()
{
	local pair
	start_sharers files fs && fell "$PID" || return
	restore "${pair[1]}" "$WORK/image/children/${pair[1]}" || return
	runs_on "${pair[1]}" && fell "${pair[1]}" && none_left
}
t "a child alone that shared its descriptors" sharer_alone

# What both have is edited in both, or in none.
sharers_edited()
{
	local pair
	start_sharers files fs && fell "$PID" || return
	ln -sf /dev/zero "$WORK/image/children/${pair[1]}/fd/0"
	refused EBADMSG "$WORK/image" || return
	[[ $ANSWER == *"edit it in both"* ]] && none_left || return
	ln -sf /dev/zero "$WORK/image/children/${pair[0]}/fd/0"
	ln -sfn /tmp "$WORK/image/children/${pair[0]}/cwd"
	refused EBADMSG "$WORK/image" || return
	[[ $ANSWER == *"cwd is not the same"* ]] && none_left || return
	ln -sfn /tmp "$WORK/image/children/${pair[1]}/cwd"
	restore "$PID" "$WORK/image" || return
	[ "$(readlink /proc/"${pair[1]}"/fd/0)" = /dev/zero ] &&
	    [ "$(readlink /proc/"${pair[1]}"/cwd)" = /tmp ] &&
	    same 2 "${pair[@]}" && same 3 "${pair[@]}" && fell "$PID"
}
t "descriptors that two share, edited" sharers_edited

# ---- a session that lives on outside ----

session_of()
{
	sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 4
}

# The tree's first has left it, but had a child before.
outer_session()
{
	local outer member session
	rm -rf "$WORK/first" "$WORK/image"
	python3 -c '
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.setsid()
if os.fork() == 0:
    member = os.fork()
    if member > 0:
        os.setsid()
        with open(sys.argv[1] + "-", "w") as f:
            print(os.getpid(), member, file=f)
        os.rename(sys.argv[1] + "-", sys.argv[1])
time.sleep(300)' "$WORK/first" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	outer=$!
	PIDS+=("$outer")
	wait_for 5 test -e "$WORK/first" || return
	read -r PID member <"$WORK/first"
	PIDS+=("$PID")
	copy_tree "$PID" "$WORK/image" && fell "$PID" || return
	restore "$PID" "$WORK/image" || return
	session=$(session_of "$member")
	[[ $ANSWER == *"session $outer is $session here, since $outer is in use"* ]] &&
	    [ "$session" != "$outer" ] && [ "$session" != "$PID" ] || {
		echo "its session is $session; $ANSWER"
		return 1
	}
	fell "$PID" && kill9 "$outer" || return
	# Nobody has that number now.
	restore "$PID" "$WORK/image" || return
	session=$(session_of "$member")
	[ "$session" = "$outer" ] || { echo "it is in $session"; return 1; }
	fell "$PID"
}
t "a session whose leader is outside" outer_session

# While it is held, as a part of its parent's checkpoint, it is there.
never_away()
{
	local i child reader rc=0
	sh -c 'sleep 1000 & wait' </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -q . "/proc/$PID/task/$PID/children" || return
	read -r child <"/proc/$PID/task/$PID/children"
	(while :; do cat "$MNT/$PID/checkpoint" >/dev/null; done) 3>&- 9>&- &
	reader=$!
	PIDS+=("$reader")
	python3 - "$MNT" "$child" <<-'END' || rc=1
	import os, sys, time
	end, n = time.monotonic() + 3, 0
	while time.monotonic() < end:
	    n += 1
	    os.stat("%s/%s" % (sys.argv[1], sys.argv[2]))
	    if n % 20 == 0 and sys.argv[2] not in os.listdir(sys.argv[1]):
	        sys.exit("not listed, the %dth time" % n)
	print(n, "times")
	END
	kill9 "$reader" && fell "$PID" && return $rc
}
t "a child that is held is not away" never_away

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
