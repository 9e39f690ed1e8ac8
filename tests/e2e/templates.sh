#!/bin/bash
# templates.sh - many processes from one image, by way of a template.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs templates=3
cd "$WORK" || exit 1

cat >big.py <<'END'
import mmap, os, sys, time
m = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, 64 << 20, 4096):
    m[i:i + 8] = i.to_bytes(8, "little")
open(sys.argv[1] + "/ready", "w").close()
while not os.path.exists(sys.argv[1] + "/check"):
    time.sleep(0.02)
bad = sum(int.from_bytes(m[i:i + 8], "little") != i for i in range(0, 64 << 20, 4096))
m.madvise(mmap.MADV_DONTNEED)
bad += sum(m[i] != 0 for i in range(0, 64 << 20, 4096))
open("%s/done.%d" % (sys.argv[1], os.getpid()), "w").write("ok" if not bad else "%d bad pages" % bad)
END

# An image of a process with 64 MiB: IMAGE.
# usage: big NAME
big()
{
	mkdir "$1"
	python3 big.py "$PWD/$1" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 30 test -e "$1/ready" || return
	IMAGE=$1/image
	copy "$PID" "$IMAGE" && kill9 "$PID"
}

# Restore; NEW has the pids.
# usage: make OPTION...
make()
{
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$IMAGE" "$@") || {
		echo "restore: $ANSWER"
		return 1
	}
	mapfile -t NEW < <(sed -n 's/^OK //; /^[0-9]*$/p' <<<"$ANSWER")
	PIDS+=("${NEW[@]}")
}

# usage: status KEY
status()
{
	sed -n "s/^$1: //p" "$MNT/.status"
}

# A word's value in the line of the template of IMAGE.
template()
{
	sed -n "s,^template: .*\<$1 \([0-9]*\) .* path $IMAGE\$,\1,p" "$MNT/.status"
}

# The spare of the template of IMAGE is there: SPARE.
has_spare()
{
	SPARE=$(template spare)
	[ -n "$SPARE" ]
}

stopped()
{
	[ "$(state_of "$1")" = T ]
}

# They check themselves, and end.
all_right()
{
	local p
	touch "${IMAGE%/image}/check"
	for p; do
		wait_for 30 gone "$p" || return
		[ "$(cat "${IMAGE%/image}/done.$p")" = ok ] || {
			echo "$p: $(cat "${IMAGE%/image}/done.$p")"
			return 1
		}
		forget "$p"
	done
	rm "${IMAGE%/image}/check"
}

many()
{
	local one all
	big many || return
	make instances=1 || return
	[ "${#NEW[@]}" = 1 ] && [ "$(template instances)" = 1 ] || return
	one=("${NEW[0]}")
	make instances=6 || return
	[ "${#NEW[@]}" = 6 ] || { echo "$ANSWER"; return 1; }
	[ "$(printf '%s\n' "${NEW[@]}" | sort -u | wc -l)" = 6 ] || return
	[ "$(head -n 6 "$MNT/.restore")" = "$(printf '%s\n' "${NEW[@]}")" ] || return
	[ "$(template instances)" = 7 ] || return
	[ "$(template not-read)" -ge $((6 * (64 << 20))) ] || return
	[ "$(template memory)" -lt $((8 << 20)) ] || return
	# What they do not change is there once.
	all=$(pss "${one[0]}" "${NEW[@]}")
	[ "$all" -lt $((100 << 10)) ] || { echo "PSS of 7: $all kB"; return 1; }
	all_right "${one[0]}" "${NEW[@]}" || return
	# The memory of the template was not touched by any of that.
	make pid=new && all_right "${NEW[@]}"
}
t "instances share what they do not change" many

second()
{
	big second || return
	make pid=new || return
	[ -z "$(template pid)" ] || { echo "made at once"; return 1; }
	local first=("${NEW[@]}")
	make pid=new || return
	[ "$(template instances)" = 1 ] || { echo "none for the second"; return 1; }
	make pid=new template=no || return
	[ "$(template instances)" = 1 ] || return
	kill9 "${NEW[0]}" || return
	make pid=new || return
	[ "$(template instances)" = 2 ] || return
	touch second/check
	for p in "${PIDS[@]}"; do
		wait_for 20 gone "$p"
		forget "$p"
	done
	grep -L '^ok$' second/done.* | grep . && return 1
	[ -n "${first[0]}" ]
}
t "one is made when an image is restored again" second

# What was refused was not restored, and the next is not the second.
refused_first()
{
	big first || return
	chmod u+w "$IMAGE/regs" && cp "$IMAGE/regs" regs && echo garbage >>"$IMAGE/regs" || return
	refused EBADMSG "$IMAGE" pid=new && refused EBADMSG "$IMAGE" pid=new || return
	cp regs "$IMAGE/regs" && make pid=new && kill9 "${NEW[0]}" || return
	[ -z "$(template pid)" ] || { echo "made for the first"; return 1; }
	make pid=new && [ "$(template instances)" = 1 ] && kill9 "${NEW[0]}"
}
t "one that is refused does not count" refused_first

changed()
{
	local dropped pid
	big changed || return
	make instances=1 || return
	kill9 "${NEW[0]}" || return
	pid=$(template pid)
	dropped=$(status templates-dropped)
	# As it was, but for the time of the change.
	touch -r "$IMAGE/pages" stamp
	chmod u+w "$IMAGE/pages" && touch "$IMAGE/pages" && touch -r stamp "$IMAGE/pages" || return
	make instances=1 || return
	kill9 "${NEW[0]}" || return
	[ "$(template pid)" != "$pid" ] || { echo "the old one was used"; return 1; }
	[ "$(status templates-dropped)" = $((dropped + 1)) ] || return
	wait_for 5 gone "$pid" || return
	# Another descriptor is no change of memory.
	pid=$(template pid)
	ln -sf /dev/null "$IMAGE/fd/0" && sed -i '/  fd\/0$/d' "$IMAGE/xxh128sums"
	make instances=1 || return
	[ "$(template pid)" = "$pid" ] && [ "$(template instances)" = 2 ] || return
	all_right "${NEW[@]}" || return
	# What is damaged is refused, and none of them is left.
	chmod u+w "$IMAGE/regs" && echo garbage >>"$IMAGE/regs" || return
	refused EBADMSG "$IMAGE" instances=4
}
t "a changed image" changed

limits()
{
	local i
	[ "$(status templates)" = 3 ] || return
	for i in 1 2 3 4; do
		big "limit$i" || return
		make instances=1 && kill9 "${NEW[0]}" || return
	done
	[ "$(status templates-live)" = 3 ] || return
	[ -z "$(IMAGE=limit1/image template pid)" ] && [ -n "$(template pid)" ] || return
	# A number that is none.
	for i in 0 501 x '' -1 1x 99999; do
		refused EINVAL "$IMAGE" "instances=$i" || return
	done
	refused EINVAL "$IMAGE" instances=2 replace
}
t "how many are kept" limits

hidden()
{
	local pid
	pid=$(template pid)
	[ -d "/proc/$pid" ] && [ ! -e "$MNT/$pid" ] || return
	ls "$MNT" | grep -qx "$pid" && return 1
	return 0
}
t "a template is not shown as a process" hidden

killed()
{
	local pid
	pid=$(template pid)
	kill -9 "$pid" || return
	make instances=2 || return
	[ "$(template pid)" != "$pid" ] && [ "$(template instances)" = 2 ] || {
		grep '^template' "$MNT/.status"
		tail -n 5 "$MNT/.log"
		return 1
	}
	all_right "${NEW[@]}" || return
	# It is stopped, and thus deaf: the restore waits, and can be given up.
	pid=$(template pid)
	wait_for 10 has_spare && kill -STOP "$pid" "$SPARE" || return
	timeout 1 "$TOOLS/request" "$MNT/.restore" "$IMAGE" pid=new && return 1
	timeout 1 "$TOOLS/request" "$MNT/.restore" "$IMAGE" pid=new && return 1
	kill -CONT "$pid"
	make pid=new && all_right "${NEW[@]}" && no_strays 5
}
t "a template is killed, or stopped" killed

instance_killed()
{
	local pid
	big one_killed || return
	make instances=4 || return
	pid=$(template pid)
	kill9 "${NEW[0]}" && kill9 "${NEW[2]}" || return
	all_right "${NEW[1]}" "${NEW[3]}" || return
	make pid=new && [ "$(template pid)" = "$pid" ] && all_right "${NEW[@]}"
}
t "an instance is killed: the others go on" instance_killed

# An image with a template and a spare.
# usage: with_spare NAME
with_spare()
{
	big "$1" || return
	make instances=1 && kill9 "${NEW[0]}" || return
	wait_for 10 has_spare || { grep -a -E '^(template|spare)' "$MNT/.status"; return 1; }
}

spare()
{
	local used
	with_spare spare || return
	[ "$(status spares)" = 8 ] && [ "$(cat "/proc/$SPARE/comm")" = snapfs-spare ] || return
	[ "$(template page-tables)" -gt $((64 << 10)) ] || return
	# Not to be seen, as its template is not.
	[ ! -e "$MNT/$SPARE" ] || return
	ls "$MNT" | grep -qx "$SPARE" && return 1
	used=$(status spares-used)
	make pid=new && [ "${NEW[0]}" = "$SPARE" ] || { echo "not the spare: $ANSWER"; return 1; }
	[ "$(status spares-used)" = $((used + 1)) ] && all_right "${NEW[@]}" || return
	# The next is there in its time; one of many is it.
	wait_for 10 has_spare && make instances=3 || return
	[ "${NEW[0]}" = "$SPARE" ] && all_right "${NEW[@]}" || return
	# Its pid is its own, so it is not for whoever wants the one of the image.
	wait_for 10 has_spare && make && [ "${NEW[0]}" = "$PID" ] || return
	all_right "$PID" && [ "$(template spare)" = "$SPARE" ]
}
t "a spare is the next instance" spare

# What is there of whoever had it made, or of an earlier writer: nothing.
bare()
{
	local fd n=0 ns
	mkdir elsewhere || return
	with_spare bare || return
	(cd elsewhere && SECRET=xyzzy "$TOOLS/request" "$MNT/.restore" "$WORK/$IMAGE" pid=new \
	    {fd}<"$WORK/big.py") >answer || return
	NEW=("$(sed -n 's/^OK //p' answer)")
	kill9 "${NEW[0]}" && wait_for 10 has_spare || return
	for fd in /proc/"$SPARE"/fd/*; do
		n=$((n + 1))
		[[ $(readlink "$fd") =~ ^(socket:|anon_inode:\[?pidfd|pidfd:) ]] || {
			ls -l "/proc/$SPARE/fd"
			return 1
		}
	done
	[ $n = 2 ] && [ "$(readlink "/proc/$SPARE/cwd")" = / ] || return
	tr '\0' '\n' <"/proc/$SPARE/environ" | grep -q xyzzy && return 1
	cmp "/proc/$SPARE/environ" "$IMAGE/environ" || return
	for ns in cgroup ipc mnt net pid user uts; do
		[ "$(readlink "/proc/$SPARE/ns/$ns")" = "$(readlink "/proc/$DAEMON/ns/$ns")" ] || return
	done
	diff "/proc/$SPARE/cgroup" "/proc/$(template pid)/cgroup" || return
	untraced "$SPARE"
}
t "a spare has nothing of an earlier writer" bare

is_given()
{
	[ -z "$(template spare)" ]
}

as()
{
	setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=-all "$@"
}

# The daemon's child that waits for the next request: STANDBY.
has_standby()
{
	local p
	STANDBY=
	for p in $(cat /proc/"$DAEMON"/task/*/children); do
		[ "$(cat "/proc/$p/comm")" != snapfs-standby ] || STANDBY=$p
	done
	[ -n "$STANDBY" ]
}

standby()
{
	local old
	with_spare standby && wait_for 10 has_standby || return
	[ ! -e "$MNT/$STANDBY" ] || return
	old=$STANDBY
	make pid=new && all_right "${NEW[@]}" || return
	wait_for 10 gone "$old" && wait_for 10 has_standby || return
	# It is killed, and nobody notices.
	kill -9 "$STANDBY" || return
	make pid=new && all_right "${NEW[@]}" || return
	wait_for 10 has_standby && kill -STOP "$STANDBY" && wait_for 5 stopped "$STANDBY" || return
	make pid=new && all_right "${NEW[@]}" || return
	wait_for 5 gone "$STANDBY" || { echo "it stays, stopped"; return 1; }
	# For whoever writes: the next is of another user, who gets nothing of root's.
	wait_for 10 has_standby || return
	ANSWER=$(as "$TOOLS/request" "$MNT/.restore" "$PWD/$IMAGE" pid=new) && return 1
	[[ $ANSWER == EACCES* ]] || { echo "$ANSWER"; return 1; }
	wait_for 10 has_standby
}
t "the process of the next restore is begun ahead" standby

spare_killed()
{
	local pid old
	with_spare spare_killed || return
	pid=$(template pid)
	kill -9 "$SPARE" && wait_for 5 gone "$SPARE" || return
	make pid=new && [ "$(template pid)" = "$pid" ] && all_right "${NEW[@]}" || return
	# Stopped, and thus deaf: it is done without.
	wait_for 10 has_spare && kill -STOP "$SPARE" && wait_for 5 stopped "$SPARE" || return
	old=$(status spares-used)
	make pid=new && [ "${NEW[0]}" != "$SPARE" ] && all_right "${NEW[@]}" || return
	[ "$(template pid)" = "$pid" ] && [ "$(status spares-used)" = "$old" ] || return
	wait_for 5 gone "$SPARE" || { echo "it stays, stopped"; return 1; }
	# Its template's end is its end, and so is its being needed no more.
	wait_for 10 has_spare && kill -9 "$pid" || return
	wait_for 5 gone "$SPARE" || { echo "it outlives its template"; return 1; }
	make instances=1 && [ "$(template pid)" != "$pid" ] && all_right "${NEW[@]}" || return
	wait_for 10 has_spare && kill -STOP "$SPARE" || return
	chmod u+w "$IMAGE/pages" && touch "$IMAGE/pages" || return
	make pid=new && all_right "${NEW[@]}" || return
	wait_for 5 gone "$SPARE" || { echo "it outlives a change of its image"; return 1; }
	no_strays 5
}
t "a spare is killed, or its template" spare_killed

# The spare is frozen, and the daemon does not know of it: $dir is its cgroup.
freeze_spare()
{
	dir=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	[ -n "$dir" ] && mkdir "$dir/snapfs-test-$$" || { echo "no cgroup2"; return 77; }
	dir+=/snapfs-test-$$
	with_spare "$1" && echo "$SPARE" >"$dir/cgroup.procs" || return
	echo 1 >"$dir/cgroup.freeze" && wait_for 5 grep -qx "frozen 1" "$dir/cgroup.events"
}

# It is waited for, but not for long, and is not left behind.
spare_frozen()
{
	local dir
	freeze_spare spare_frozen || return
	timeout 20 "$TOOLS/request" "$MNT/.restore" "$IMAGE" pid=new >answer || {
		echo "no answer: $(cat answer)"
		kill -9 "$SPARE"
		wait_for 5 rmdir "$dir"
		return 1
	}
	NEW=("$(sed -n 's/^OK //p' answer)")
	PIDS+=("${NEW[0]}")
	[ "${NEW[0]}" != "$SPARE" ] && [ "$(template instances)" = 2 ] || return
	grep -q "the spare of the template does not answer" "$MNT/.log" || return
	wait_for 5 rmdir "$dir" || { echo "the spare stays"; return 1; }
	all_right "${NEW[@]}"
}
t "a spare is frozen when it is asked" spare_frozen

# Killed so late that the daemon does not know of it.
spare_killed_late()
{
	local dir old
	freeze_spare spare_late || return
	"$TOOLS/request" "$MNT/.restore" "$IMAGE" pid=new >answer 3>&- 9>&- &
	old=$!
	wait_for 10 is_given || return
	kill -9 "$SPARE"
	wait "$old" || { cat answer; return 1; }
	wait_for 5 rmdir "$dir" || return
	NEW=("$(sed -n 's/^OK //p' answer)")
	PIDS+=("${NEW[0]}")
	[ "${NEW[0]}" != "$SPARE" ] && [ "$(template instances)" = 2 ] || return
	grep -q "the spare of the template has ended" "$MNT/.log" || return
	all_right "${NEW[@]}"
}
t "a spare is killed when it is asked" spare_killed_late

others()
{
	local roots
	chmod 755 "$WORK" && mkdir -m 777 user || return
	cp /bin/sleep user/napper || return
	setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=-all \
	    user/napper 600 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 5 grep -qx napper "/proc/$PID/comm" || return
	IMAGE=user/image
	as cp -r "$MNT/$PID" "$IMAGE" && kill9 "$PID" || return
	make instances=1 || return
	roots=$(template pid)
	kill9 "${NEW[0]}" && wait_for 10 has_spare || return
	# The same image, other rights: a template of his own.
	ANSWER=$(as "$TOOLS/request" "$MNT/.restore" "$IMAGE" instances=2) || { echo "$ANSWER"; return 1; }
	NEW=($(sed -n 's/^OK //; /^[0-9]*$/p' <<<"$ANSWER"))
	PIDS+=("${NEW[@]}")
	# And not the spare of another.
	kill -0 "$SPARE" || return
	printf '%s\n' "${NEW[@]}" | grep -qx "$SPARE" && return 1
	as kill -0 "$SPARE" 2>/dev/null && return 1
	[ "$(sed -n 's/^CapEff:\t//p' "/proc/${NEW[0]}/status")" = 0000000000000000 ] || return
	[ "$(template instances | sort | tr '\n' ' ')" = "1 2 " ] || { grep ^template "$MNT/.status"; return 1; }
	# Not its user, nor anyone else, can touch it.
	as kill -0 "$roots" 2>/dev/null && return 1
	as cat "$MNT/.status" | grep -q "^template: pid $roots " && return 1
	# Less, and then a limit, is other rights, too.
	ANSWER=$(setpriv --bounding-set=-sys_chroot "$TOOLS/request" "$MNT/.restore" "$IMAGE" instances=1) || return
	PIDS+=("$(restored_pid)")
	[ "$(template instances | sort | tr '\n' ' ')" = "1 1 2 " ] || { grep ^template "$MNT/.status"; return 1; }
	NEW+=("$(restored_pid)")
	for p in "${NEW[@]}"; do
		kill9 "$p" || return
	done
}
t "whose a template is" others

named()
{
	big named || return
	rm named/ready
	python3 big.py "$PWD/named" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 30 test -e named/ready || return
	mkdir "$MNT/$PID@x" || return
	IMAGE=$MNT/$PID@x
	make instances=3 || return
	kill9 "$PID" || return
	rmdir "$IMAGE" || return
	IMAGE=named/image
	all_right "${NEW[@]}"
}
t "of a named checkpoint" named

# usage: all_of PID: itself and its children
all_of()
{
	# shellcheck disable=SC2046  # pids
	echo "$1" $(cat "/proc/$1/task/"*/children)
}

# usage: end_all PID...
end_all()
{
	local p
	kill -9 "$@"
	for p; do
		wait_for 5 gone "$p" || return
		forget "$p"
	done
}

# Without a template: a process with a child, and one that got a child since.
tree()
{
	local all
	python3 -c 'import os, signal; os.fork() and open("there", "w"); signal.pause()' \
	    </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -e there || return
	IMAGE=tree
	all=$(all_of "$PID")
	copy "$PID" tree || return
	kill -9 $all && wait "$PID" 2>/dev/null
	forget "$PID"
	make instances=2 || return
	[ "$(template pid)" = "" ] || { echo "there is a template"; return 1; }
	grep -q "no template: .* this is a tree of them" "$MNT/.log" || return
	all=$(all_of "${NEW[0]}" && all_of "${NEW[1]}")
	[ "$(wc -w <<<"$all")" = 4 ] || { echo "they are: $all"; return 1; }
	end_all $all || return
	# The child by itself: what it has of its parent's is in that one's image.
	IMAGE=$(echo tree/children/*)
	make instances=2 || return
	grep -q "no template: .* is in the image of its parent" "$MNT/.log" || return
	[ "${#NEW[@]}" = 2 ] && [ "$(template pid)" = "" ] || return
	end_all "${NEW[@]}" || return
	IMAGE=tree
	chmod -R u+w tree && mv tree/children away || return
	cp tree/xxh128sums sums && sed -i '\,children/,d' tree/xxh128sums || return
	make instances=2 || return
	[ "$(template instances)" = 2 ] || return
	for p in "${NEW[@]}"; do
		[ "$(wc -w <<<"$(all_of "$p")")" = 1 ] || return
	done
	end_all "${NEW[@]}" || return
	mv away tree/children && cp sums tree/xxh128sums || return
	make pid=new || return
	all=$(all_of "${NEW[0]}")
	[ "$(wc -w <<<"$all")" = 2 ] || { echo "its child is missing"; return 1; }
	end_all $all
}
t "a tree of processes" tree

cat >listen.py <<'END'
import os, select, socket, sys
s = socket.socket()
if sys.argv[2] == "shared":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("127.0.0.1", 0))
s.listen()
p = select.poll()
p.register(s, select.POLLIN)
with open(sys.argv[1] + "/port", "w") as f:
    f.write(str(s.getsockname()[1]))
open(sys.argv[1] + "/ready", "w").close()
while True:
    p.poll()
    c = s.accept()[0]
    c.sendall(b"%d\n" % os.getpid())
    c.close()
END

# An image of a process that listens: IMAGE, PORT.
# usage: listener NAME alone|shared
listener()
{
	mkdir "$1"
	python3 listen.py "$PWD/$1" "$2" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 30 test -e "$1/ready" || return
	PORT=$(<"$1/port")
	IMAGE=$1/image
	copy "$PID" "$IMAGE"
}

# Who answers there.
answers()
{
	local line
	read -r line <"/dev/tcp/127.0.0.1/$PORT" && echo "$line"
}

# A port belongs to one, unless they said that they share it.
listening()
{
	local i one
	listener alone alone || return
	refused EADDRINUSE "$IMAGE" instances=1 || return
	kill9 "$PID" || return
	refused EADDRINUSE "$IMAGE" instances=2 || return
	[[ $ANSWER == *' fd '* ]] || return
	make instances=1 || return
	[ "$(answers)" = "${NEW[0]}" ] || return
	one=${NEW[0]}
	refused EADDRINUSE "$IMAGE" instances=1 || return
	[ "$(answers)" = "$one" ] && kill9 "$one" || return
	make instances=1 && [ "$(answers)" = "${NEW[0]}" ] && kill9 "${NEW[0]}" || return

	listener shared shared && kill9 "$PID" || return
	make instances=3 || return
	[ -n "$(template pid)" ] || return
	for ((i = 0; i < 300; i++)); do
		answers
	done | sort -un >who
	printf '%s\n' "${NEW[@]}" | sort -n | diff - who || return
	end_all "${NEW[@]}"
}
t "a socket that listens" listening

survives()
{
	local pid
	big survive || return
	make instances=3 && wait_for 10 has_spare || return
	pid=$(template pid)
	kill -9 "$DAEMON" && wait "$DAEMON" 2>/dev/null
	umount -l "$MNT"
	DAEMON=
	wait_for 5 gone "$pid" || { echo "the template stays"; return 1; }
	wait_for 5 gone "$SPARE" || { echo "the spare stays"; return 1; }
	mount_snapfs
	all_right "${NEW[@]}" || return
	make instances=2 && wait_for 10 has_spare || return
	pid=$(template pid)
	unmount_snapfs || return
	wait_for 5 gone "$pid" || { echo "the template stays"; return 1; }
	wait_for 5 gone "$SPARE" || { echo "the spare stays"; return 1; }
	all_right "${NEW[@]}" && no_strays
}
t "the daemon is killed, or unmounted: instances run on" survives

without()
{
	local i
	mount_snapfs templates=0
	make instances=2 || return
	[ "$(status templates-live)" = 0 ] || return
	has_standby && return 1
	all_right "${NEW[@]}" && unmount_snapfs || return
	mount_snapfs template_memory=1M
	make instances=2 || return
	[ "$(status templates-live)" = 0 ] || return
	all_right "${NEW[@]}" && unmount_snapfs || return
	# Room for a template, and none for a spare; and none is wanted.
	for i in "template_memory=$(($(stat -c %s "$IMAGE/pages") + 65536))" spares=0; do
		mount_snapfs "$i"
		make instances=1 && all_right "${NEW[@]}" || return
		# When it has looked for room it has not made one.
		sleep 1.2
		[ "$(status templates-live) $(status spares-live)" = "1 0" ] || {
			grep -a -E '^(template|spare)' "$MNT/.status"
			return 1
		}
		make pid=new && all_right "${NEW[@]}" && unmount_snapfs || return
	done
}
t "without templates" without

[ $TEST_FAILED = no ]
