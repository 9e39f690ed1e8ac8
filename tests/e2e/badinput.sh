#!/bin/bash
# badinput.sh - what must be refused: with the right errno, in a sentence, and
# leaving nothing behind.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs freeze_timeout=0.5,linger=1

# ---- images ----

# A process with a bit of everything, killed, and its image.
start_subject fd_deleted || die "no subject"
subject=$PID
copy "$subject" "$WORK/good" || die "no image"
kill9 "$subject"

# A fresh copy of the image, to be spoilt.
spoil()
{
	rm -rf "$WORK/bad"
	cp -r "$WORK/good" "$WORK/bad"
	chmod -R u+w "$WORK/bad"
}

missing() { refused ENOENT "$WORK/there-is-none"; }
empty() { mkdir -p "$WORK/empty" && refused ENOENT "$WORK/empty"; }
plain() { refused 'ENOTDIR' "$WORK/good/maps"; }
no_path() { refused 'EINVAL|ENOENT' ""; }
long_path() { refused 'ENAMETOOLONG|ENOENT|EINVAL' "$(printf 'x%.0s' {1..5000})"; }
bad_option() { refused EINVAL "$WORK/good" "colour=red"; }
t "a path that is missing" missing
t "an empty directory" empty
t "a plain file" plain
t "no path at all" no_path
t "a path that is too long" long_path
t "an option that is not known" bad_option

two_images()
{
	mkdir "$WORK/two" && cp -r "$WORK/good" "$WORK/two/a" &&
	    cp -r "$WORK/good" "$WORK/two/b" && refused 'ENOENT|EINVAL|ENOTUNIQ' "$WORK/two"
}
t "a directory with two images" two_images

truncated()
{
	spoil
	truncate -s $(($(stat -c %s "$WORK/bad/$1") / 2)) "$WORK/bad/$1"
	refused EBADMSG "$WORK/bad"
}

cut_last_byte()
{
	spoil
	truncate -s -1 "$WORK/bad/$1"
	refused EBADMSG "$WORK/bad"
}

absent()
{
	spoil
	rm "$WORK/bad/$1"
	case $1 in
	checkpoint) refused 'ENOENT|EBADMSG' "$WORK/bad" ;;
	*) refused 'EBADMSG|ENOENT' "$WORK/bad" ;;
	esac
}

while read -r f; do
	t "$f absent" absent "$f"
	[ -f "$WORK/good/$f" ] && [ ! -L "$WORK/good/$f" ] || continue
	[ -s "$WORK/good/$f" ] || continue
	t "$f truncated" truncated "$f"
	t "$f without its last byte" cut_last_byte "$f"
done < <(cd "$WORK/good" && find . \( -type f -o -type l \) -printf '%P\n' | sort)

dirs_absent()
{
	spoil
	rm -r "$WORK/bad/fdinfo"
	refused 'EBADMSG|ENOENT' "$WORK/bad"
}
t "fdinfo/ absent" dirs_absent

architecture()
{
	spoil
	grep -q '^arch: x86_64$' "$WORK/bad/checkpoint" || {
		grep arch "$WORK/bad/checkpoint"
		echo "how does an image say its architecture?"
		return 1
	}
	sed -i 's/^arch: .*/arch: aarch64/' "$WORK/bad/checkpoint"
	reseal "$WORK/bad" checkpoint
	refused EPROTO "$WORK/bad" && [[ $ANSWER == *aarch64* ]]
}
t "another architecture" architecture

version()
{
	spoil
	sed -i '1s/.*/snapfs checkpoint 99/' "$WORK/bad/checkpoint"
	reseal "$WORK/bad" checkpoint
	refused EPROTO "$WORK/bad"
}
t "a future version" version

features()
{
	spoil
	# Bit 62 is no state of any CPU.
	sed -i 's/^xfeatures: .*/xfeatures: 0x4000000000000000/' \
	    "$WORK/bad/checkpoint"
	reseal "$WORK/bad" checkpoint
	refused 'EPROTO|ENOTSUP|EBADMSG' "$WORK/bad"
}
t "CPU features that are not here" features

# Damage that the checksums do not show, because their lines are gone: it may
# be restored or refused, but with a sentence, and nothing is left.
flips()
{
	local f i size rounds=60
	[ "${QUICK-no}" = no ] || rounds=10
	for ((i = 0; i < rounds; i++)); do
		for f in maps pagemap regs status signals timers checkpoint fdinfo/3; do
			((RANDOM % 4 == 0)) || continue
			spoil
			size=$(stat -c %s "$WORK/bad/$f")
			printf "\\x$(printf %x $((RANDOM % 256)))" |
			    dd of="$WORK/bad/$f" bs=1 conv=notrunc status=none \
				seek=$(((RANDOM * 32768 + RANDOM) % size))
			reseal "$WORK/bad" "$f"
			if ANSWER=$(timeout 20 "$TOOLS/request" \
			    "$MNT/.restore" "$WORK/bad" pid=new stopped); then
				kill -9 "$(restored_pid)"
			elif [[ ${ANSWER#* } != *[a-z]*' '*[a-z]* ]]; then
				echo "$f: no sentence: $ANSWER"
				diff "$WORK/good/$f" "$WORK/bad/$f"
				return 1
			fi
			gone "$DAEMON" && { echo "the daemon died of $f"; return 1; }
		done
	done
	no_strays 5
}
t "flipped bytes" flips

odd_lines()
{
	local f
	for f in maps pagemap regs status signals timers checkpoint fdinfo/3; do
		spoil
		echo 'this is not a line of it' >>"$WORK/bad/$f"
		reseal "$WORK/bad" "$f"
		refused EBADMSG "$WORK/bad" || { echo "in $f"; return 1; }
		[[ ${ANSWER#* } == "$f:"[0-9]* ]] || {
			echo "not FILE:LINE: $ANSWER"
			return 1
		}
	done
}
t "odd lines are refused with FILE:LINE" odd_lines

# ---- the machine is not as it was ----

pid_in_use()
{
	start_subject mem_private || return
	copy "$PID" "$WORK/inuse" || return
	refused EEXIST "$WORK/inuse" || return
	expect_untouched "$PID" || return
	check_subject survived
}
t "a pid in use" pid_in_use

# A file that it only reads, in the subject's directory: gone, changed.
file_gone()
{
	start_subject fd_many || return
	copy "$PID" "$WORK/files" || return
	kill9 "$PID" || return
	mv "$DIR/file" "$DIR/aside"
	refused ENOENT "$WORK/files" || return
	[[ $ANSWER == *"$DIR/file"* ]] || { echo "which file? $ANSWER"; return 1; }
	cp "$DIR/aside" "$DIR/file"
	echo longer >>"$DIR/file"
	refused ESTALE "$WORK/files" || return
	[[ $ANSWER == *"$DIR/file"* ]] || { echo "which file? $ANSWER"; return 1; }
	rm "$DIR/file"
	mkdir "$DIR/file"
	refused 'ESTALE|EISDIR|ENOTDIR' "$WORK/files" || return
	rmdir "$DIR/file"
	mv "$DIR/aside" "$DIR/file"
	restore "$PID" "$WORK/files" || return
	check_subject restored
}
t "an open file gone or changed" file_gone

mapped_gone()
{
	start_subject mem_filemap || return
	copy "$PID" "$WORK/mapped" || return
	kill9 "$PID" || return
	mv "$DIR/file" "$DIR/aside"
	refused ENOENT "$WORK/mapped" || return
	head -c 5000 "$DIR/aside" >"$DIR/file"
	refused 'ESTALE|EBADMSG' "$WORK/mapped" || return
	mv "$DIR/aside" "$DIR/file"
	restore "$PID" "$WORK/mapped" || return
	check_subject restored
}
t "a mapped file gone or changed" mapped_gone

# ---- readers ----

reader_vanishes()
{
	local reader i
	mkdir -p "$WORK/big"
	"$TOOLS/invariant" "$WORK/big" 128 </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/big/ready" || return
	for i in 1 2 3 4 5 6; do
		cp -r "$MNT/$PID" "$WORK/half" 2>/dev/null &
		reader=$!
		sleep 0.0$((i * 3 / 2))
		kill -9 $reader
		wait $reader 2>/dev/null
		rm -rf "$WORK/half"
	done
	# Its checkpoint goes with it, not after `linger'.
	no_strays 3 || return
	expect_untouched "$PID" || return
	echo >"$WORK/big/check"
	wait_for 10 test -e "$WORK/big/result" || return
	grep -qx ok "$WORK/big/result" || { cat "$WORK/big/result"; return 1; }
	wait_for 5 gone "$PID"
	wait "$PID"
	forget "$PID"
}
t "a reader vanishes in the middle" reader_vanishes

reads_itself()
{
	python3 - "$MNT" <<-'END'
	import errno, os, sys
	try:
	    open(f"{sys.argv[1]}/{os.getpid()}/maps").read()
	except OSError as e:
	    sys.exit(0 if e.errno == errno.EDEADLK else str(e))
	sys.exit("it could")
	END
}
t "a process reads itself" reads_itself

reads_parent()
{
	cp -r "$MNT/$$" "$WORK/self" && [ -s "$WORK/self/maps" ] &&
	    grep -q 'bash' "$WORK/self/maps" && rm -rf "$WORK/self"
}
t "cp -r /snap/\$\$" reads_parent

write_refused()
{
	start_subject mem_private || return
	(echo x >"$MNT/$PID/maps") 2>/dev/null && return 1
	(rm -f "$MNT/$PID/maps") 2>/dev/null && return 1
	(touch "$MNT/$PID/new") 2>/dev/null && return 1
	(mkdir "$MNT/new") 2>/dev/null && return 1
	check_subject survived
}
t "a process's files cannot be written" write_refused

# ---- targets ----

exits_in_the_middle()
{
	local reader
	start_subject mem_many_vmas || return
	cp -r "$MNT/$PID" "$WORK/late" &
	reader=$!
	wait_for 5 test -e "$WORK/late/maps"
	kill9 "$PID" || return
	# Its twin is there still: the copy is whole.
	wait $reader || { echo "cp: exit status $?"; return 1; }
	(cd "$WORK/late" && xxhsum -c --quiet xxh128sums) || return
	restore "$PID" "$WORK/late" || return
	check_subject restored
	no_strays
}
t "the target is killed while it is copied" exits_in_the_middle

# Look at a process that changes all the time: a checkpoint or an errno, and
# it goes on as it was.
# usage: churns SECONDS MODE...
churns()
{
	local end got=0 line seconds=$1
	shift
	"$TOOLS/churn" "$@" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ]; do
		if (read -r line <"$MNT/$PID/checkpoint") 2>/dev/null; then
			got=$((got + 1))
		fi
		gone "$PID" && { echo "it died"; return 1; }
	done
	echo "$got checkpoints"
	[ $got -gt "${at_least:-5}" ] || return
	expect_untouched "$PID" || return
	kill9 "$PID" || return
	no_strays 3
}
t "threads come and go" churns 3 threads
t "children come and go" churns 2 fork
t "the program is replaced again and again" churns 2 exec
t "... by a thread that is not the first" churns 2 thread-exec

in_vfork()
{
	local end err began took
	"$TOOLS/churn" vfork </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 grep -q . "/proc/$PID/task/$PID/children" || return
	began=${EPOCHREALTIME/./}
	err=$(cat "$MNT/$PID/checkpoint" 2>&1) && { echo "it could"; return 1; }
	took=$(((${EPOCHREALTIME/./} - began) / 1000))
	[[ $err == *'timed out'* ]] || { echo "$err"; return 1; }
	# Some for a machine that has other work.
	[ $took -lt 10000 ] || { echo "after $took ms"; return 1; }
	expect_untouched "$PID" || return
	kill9_with_child "$PID" || return
	no_strays 3
}
t "a target that cannot be stopped" in_vfork

ends_in_the_middle()
{
	local i
	for ((i = 1; i < 30; i++)); do
		"$TOOLS/churn" exit $i </dev/null >/dev/null 2>&1 3>&- 9>&- &
		PID=$!
		PIDS+=("$PID")
		while ! gone "$PID"; do
			cat "$MNT/$PID/maps" >/dev/null 2>&1
		done
		wait "$PID" || { echo "exit status $?"; return 1; }
		forget "$PID"
	done
	no_strays 3
}
t "the target ends in the middle" ends_in_the_middle

leader_gone()
{
	start_subject thr_leader_gone || return
	cat "$MNT/$PID/checkpoint" 2>&1 && { echo "it could"; return 1; }
	check_subject survived
}
t "a process whose main thread has ended" leader_gone

no_such_process()
{
	local err
	err=$(cat "$MNT/4000000/maps" 2>&1) && return 1
	[[ $err == *'No such file'* || $err == *'No such process'* ]]
}
t "no such process" no_such_process

traced()
{
	local holder err
	start_subject thr_many || return
	rm -f "$WORK/held"
	"$TOOLS/hold" "$WORK/held" "$PID" 3>&- 9>&- &
	holder=$!
	wait_for 5 test -e "$WORK/held" || return
	err=$(cat "$MNT/$PID/checkpoint" 2>&1) && { echo "it could"; return 1; }
	[[ $err == *'busy'* ]] || { echo "$err"; return 1; }
	kill $holder
	wait $holder 2>/dev/null
	read -r err <"$MNT/$PID/checkpoint" || return
	check_subject survived
}
t "a target that another tracer holds" traced

straced()
{
	local tracer err
	start_subject call_poll || return
	strace -f -o "$WORK/strace.out" -p "$PID" 2>"$WORK/strace.err" 3>&- 9>&- &
	tracer=$!
	wait_for 5 grep -q attached "$WORK/strace.err" || return
	err=$(cat "$MNT/$PID/checkpoint" 2>&1) && { echo "it could"; return 1; }
	[[ $err == *'busy'* ]] || { echo "$err"; return 1; }
	kill $tracer
	wait $tracer 2>/dev/null
	expect_untouched "$PID" || return
	# strace itself may have cut calls short: nothing more is asked of it.
	kill9 "$PID"
}
t "a target under strace" straced

t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
