#!/bin/bash
# options.sh - what .restore understands, and what it answers.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs
cd "$WORK" || exit 1

# Start mem_private, copy it into $1, kill it.
prepare()
{
	start_subject mem_private || return
	copy "$PID" "$1" || return
	kill9 "$PID"
}

relative()
{
	mkdir -p a/b && prepare a/b/image || return
	(cd a && echo b/image >"$MNT/.restore") || return
	PIDS+=("$PID")
	check_subject restored
}
t "a relative path" relative

dotted()
{
	prepare dotted || return
	(cd dotted && echo . >"$MNT/.restore") || return
	PIDS+=("$PID")
	check_subject restored
}
t "the current directory" dotted

inside()
{
	# cp -r into a directory that exists makes DIR/PID.
	mkdir into && prepare into || return
	[ -d "into/$PID" ] || return
	echo into >"$MNT/.restore" || return
	PIDS+=("$PID")
	check_subject restored
}
t "cp -r into a directory that exists" inside

spaces()
{
	prepare 'a name with  spaces, and ünïcode' || return
	echo 'a name with  spaces, and ünïcode' >"$MNT/.restore" || return
	PIDS+=("$PID")
	check_subject restored
}
t "a name with spaces" spaces

no_newline()
{
	prepare plain || return
	printf plain >"$MNT/.restore" || return
	PIDS+=("$PID")
	check_subject restored
}
t "without a newline" no_newline

answer_same_file()
{
	local answer
	prepare answer || return
	exec 7<>"$MNT/.restore"
	echo answer >&7 || return
	PIDS+=("$PID")
	read -r answer <&7
	[ "$answer" = "$PID" ] || { echo "answer: $answer"; return 1; }
	exec 7>&-
	[ "$(head -n 1 "$MNT/.restore")" = "$PID" ] || { cat "$MNT/.restore"; return 1; }
	check_subject restored || return
	# And of a failure.
	(echo "nowhere" >"$MNT/.restore") 2>/dev/null && return 1
	grep -q nowhere "$MNT/.restore" || { cat "$MNT/.restore"; return 1; }
}
t "the answer, read back" answer_same_file

new_pids()
{
	local old new i
	start_subject call_futex || return
	old=$PID
	copy "$old" many || return
	# The original lives.
	for i in 1 2 3; do
		ANSWER=$("$TOOLS/request" "$MNT/.restore" many pid=new) || {
			echo "$ANSWER"
			return 1
		}
		new=$(restored_pid)
		PIDS+=("$new")
		[ "$new" != "$old" ] && [ -d "/proc/$new/task" ] || return
		[ "$(ls "/proc/$new/task" | wc -l)" = \
		    "$(ls "/proc/$old/task" | wc -l)" ] || return
		[ "$(readlink "/proc/$new/exe")" = "$(readlink "/proc/$old/exe")" ] ||
		    return
	done
	for new in "${PIDS[@]}"; do
		[ "$new" = "$old" ] || kill9 "$new" || return
	done
	check_subject survived
}
t "pid=new, with the original alive" new_pids

cloned()
{
	local new
	start_subject mem_private || return
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$MNT/$PID" pid=new) || {
		echo "$ANSWER"
		return 1
	}
	new=$(restored_pid)
	PIDS+=("$new")
	[ "$new" != "$PID" ] || return
	expect_untouched "$PID" || return
	# Both look for the same order; each checks its own memory.
	echo cloned >"$DIR/check"
	wait_for 10 gone "$new" || return
	wait_for 10 gone "$PID" || return
	wait "$PID" 2>/dev/null
	forget "$PID"
	forget "$new"
	subject_result
}
t "a clone, straight from the mount" cloned

# As a shell does it: the builtin of bash writes each line by itself.
cloned_by_printf()
{
	local new
	start_subject mem_private || return
	printf '%s\npid=new\n' "$MNT/$PID" >"$MNT/.restore" || return
	new=$(head -n 1 "$MNT/.restore")
	PIDS+=("$new")
	[ "$new" != "$PID" ] && [ -d "/proc/$new" ] || return
	kill9 "$new" || return
	# Without an option it can only be refused, at the end.
	echo "$MNT/$PID" >"$MNT/.restore"
	grep -q "$PID" "$MNT/.restore" && [ "$(cat "$MNT/.restore")" != "$PID" ] || {
		cat "$MNT/.restore"
		return 1
	}
	check_subject survived
}
t "a clone, by the builtin printf" cloned_by_printf

# It tells of the last error only: that is the first, not what comes of it.
late_options()
{
	local err
	err=$( (printf '%s\npid=new\n' "$WORK/nothing" >"$MNT/.restore") 2>&1) &&
	    return 1
	[[ $err == *': No such file or directory' ]] &&
	    grep -q "^$WORK/nothing" "$MNT/.restore" || {
		echo "$err"
		cat "$MNT/.restore"
		return 1
	}
	prepare late || return
	err=$( (printf '%s\nstopped\n' late >"$MNT/.restore") 2>&1) && return 1
	[[ $err == *': Invalid argument' ]] &&
	    grep -q '^the options came' "$MNT/.restore" || { echo "$err"; return 1; }
	PIDS+=("$PID")
	check_subject restored
}
t "options after the path, by the builtin printf" late_options

# A close(2) of one descriptor beside a write(2) to another of the same file.
ended_while_written()
{
	start_subject mem_private || return
	python3 - "$MNT/.restore" "$MNT/$PID" <<-'END' || return
	import os, sys, threading, time
	fd = os.open(sys.argv[1], os.O_WRONLY)
	path = sys.argv[2].encode() + b"\n"
	end = time.monotonic() + 3
	def closes():
	    while time.monotonic() < end:
	        try:
	            os.close(os.dup(fd))
	        except FileExistsError:
	            pass
	threads = [threading.Thread(target=closes) for i in range(4)]
	for t in threads:
	    t.start()
	while time.monotonic() < end:
	    try:
	        os.write(fd, path)
	        os.write(fd, b"nonsense\n")
	    except OSError:
	        pass
	for t in threads:
	    t.join()
	END
	kill -0 "$DAEMON" || { echo "the daemon is gone"; return 1; }
	check_subject survived
}
t "written and closed at once" ended_while_written

stopped()
{
	# SIGCONT is no surprise.
	SUBJECT_DEAF=1 prepare halted || return
	restore "$PID" halted stopped || return
	wait_for 5 is_stopped || { echo "state $(state_of "$PID")"; return 1; }
	sleep 0.1
	[ "$(state_of "$PID")" = T ] || return
	kill -CONT "$PID"
	check_subject restored
}
is_stopped()
{
	[ "$(state_of "$PID")" = T ]
}
t "stopped" stopped

replace()
{
	start_subject mem_private || return
	copy "$PID" again || return
	refused EEXIST again || return
	restore "$PID" again replace || return
	# This shell's child was killed; the new one is not its child.
	check_subject restored
}
t "replace" replace

# It has a file open, of which something becomes.
# usage: replace_refused ERRNO CHANGE [OPTION...]
replace_refused()
{
	rm -rf kept held
	echo text >held
	sleep 1000 <held >/dev/null 2>&1 8</proc/self/ns/net 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 grep -qx sleep "/proc/$PID/comm" || return
	cp -r "$MNT/$PID" kept || return
	"$2"
	refused "$1" kept replace "${@:3}" || return
	expect_untouched "$PID" || return
	kill9 "$PID"
}

is_as_it_was() { :; }
is_removed() { rm held; }
is_longer() { echo more >>held; }
is_a_directory() { rm held && mkdir held; }

replace_kills_for_what_can_be()
{
	replace_refused EOPNOTSUPP is_as_it_was || return
	replace_refused ENOENT is_removed "ignore=fd 8" || return
	replace_refused ESTALE is_longer "ignore=fd 8" || return
	replace_refused ESTALE is_a_directory "ignore=fd 8"
}
t "replace kills nothing for an image that would be refused" \
    replace_kills_for_what_can_be

replace_nothing()
{
	prepare nobody || return
	restore "$PID" nobody replace || return
	check_subject restored
}
t "replace, with nobody there" replace_nothing

edited()
{
	prepare edited || return
	chmod -R u+w edited
	ln -sfn "$WORK/elsewhere" edited/fd/1
	ln -sfn "$WORK/elsewhere" edited/fd/2
	: >elsewhere
	grep -v '  fd\(info\)\?/[12]$' edited/xxh128sums >sums
	cat sums >edited/xxh128sums
	restore "$PID" edited || return
	[ "$(readlink "/proc/$PID/fd/1")" = "$WORK/elsewhere" ] || {
		readlink "/proc/$PID/fd/1"
		return 1
	}
	kill9 "$PID"
}
t "an edited image" edited

twice_written()
{
	prepare first || return
	exec 7<>"$MNT/.restore"
	(echo nonsense >&7) 2>/dev/null && return 1
	echo first >&7 || return
	exec 7>&-
	PIDS+=("$PID")
	check_subject restored
}
t "a second request on the same file" twice_written

status_and_log()
{
	local n
	n=$(wc -l <"$MNT/.status") && [ "$n" -gt 3 ] || return
	grep -q ': ' "$MNT/.status" || return
	[ "$(wc -l <"$MNT/.log")" -gt 3 ]
}
t ".status and .log" status_and_log

# A lock of its starter would be held for as long as it runs.
inherited()
{
	local mnt=$WORK/other daemon rc
	mkdir "$mnt" && : >"$WORK/lock" || return
	"$SNAPFS" "$mnt" 8<"$WORK/lock" </dev/null >/dev/null 2>&1 3>&- 9>&- || return
	daemon=$(sed -n 's/^daemon: //p' "$mnt/.status")
	! readlink /proc/"$daemon"/fd/* | grep -qx "$WORK/lock"
	rc=$?
	umount "$mnt" && wait_for 10 gone "$daemon" && rmdir "$mnt" && return $rc
}
t "descriptors of its starter are closed" inherited

# Linux before 6.2 lets whoever closes a duplicate wait for the write(2) that
# is served: for ever, were it we.
only_its_writer_closes()
{
	local mnt=$WORK/other daemon writer
	mkdir "$mnt" || return
	"$SNAPFS" -d "$mnt" </dev/null >"$WORK/calls" 2>&1 3>&- 9>&- &
	daemon=$!
	PIDS+=("$daemon")
	wait_for 10 test -e "$mnt/.restore" || return
	(echo /nowhere >"$mnt/.restore") 2>/dev/null
	umount "$mnt" && wait_for 10 gone "$daemon" && rmdir "$mnt" || return
	writer=$(sed -n 's/.*opcode: WRITE .*pid: //p' "$WORK/calls")
	[ -n "$writer" ] || { echo "no write"; return 1; }
	! grep 'opcode: FLUSH' "$WORK/calls" | grep -v "pid: $writer\$"
}
t "only its writer closes .restore" only_its_writer_closes

t "nothing is left" no_strays
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
