#!/bin/bash
# real_java.sh - Java: a JIT, a collector with threads of its own, signals of its
# own, a file that it shares with those who look on; in the middle of a
# computation that makes garbage, with a child process that answers questions.

. "$(dirname "$0")/real_lib.sh"
command -v javac >/dev/null || skip_all "javac is not installed"

javac -d "$WORK" "$top/tests/e2e/Job.java" || die "javac fails"
# What others of the machine run is none of its business.
export TMPDIR=$WORK
java=(java -Xmx160m -XX:+UseG1GC -cp "$WORK" Job)

real "in the middle of a computation, with a child" "${java[@]}" 220 child

again()
{
	copy_tree "$PID" "$1" && fell "$PID" && restore "$PID" "$1" lazy=no
}
real "the same, with all memory there at once" "${java[@]}" 220 child

# It must not have asked for the number of a child.
again()
{
	local old=$PID
	copy_tree "$PID" "$1" && fell "$PID" || return
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$1" pid=new) || {
		echo "$ANSWER"
		return 1
	}
	PID=$(restored_pid)
	PIDS+=("$PID")
	[ "$PID" != "$old" ]
}
real "under other numbers" "${java[@]}" 220 alone
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
