#!/bin/bash
# postcopy.sh - a process is restored at another host from our mount, by sshfs:
# it runs there at once, while its memory comes over a slow link.  What the
# original does meanwhile, and what is left when the link is cut or our snapfs
# is killed.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/hosts_lib.sh"
need_hosts
chmod 755 "$WORK"
mount_snapfs freeze_timeout=10
hosts_up
near_up || die "no sshfs: $(cat "$B/near.log")"

# Beside the original: CLONE, with its pid there, and CLONE_HERE.
clone()
{
	CLONE=$(there bash -c 'exec 4<>"$1/.restore"
	    printf "%s\n" pid=new "$2" >&4; head -n 1 <&4' - \
	    "$B/snap" "$B/near/$PID")
	[[ $CLONE =~ ^[0-9]+$ ]] || { echo "not restored: $CLONE"; return 1; }
	CLONE_HERE=$(here_of "$CLONE")
	[ -n "$CLONE_HERE" ] || { echo "it is not there"; return 1; }
}

pager_works()
{
	there grep -q "^pager: .* of $CLONE " "$B/snap/.status"
}

pager_done()
{
	! pager_works
}

# The original is not there any more: who counts is the clone.
runs_alone()
{
	kill9 "$PID" && wait_for 10 counts || { cat "$WORK/count.out"; return 1; }
	gone "$CLONE_HERE" && { echo "it has ended"; return 1; }
	there kill -9 "$CLONE"
	wait_for 10 gone "$CLONE_HERE"
}

at_once()
{
	counter && slow && clone && pager_works ||
	    { fast; echo "all of it was there before it ran"; return 1; }
	expect_untouched "$PID" && counts || return
	fast
	wait_for 30 pager_done && runs_alone
}

# Nothing of it is kept by the kernel: with a size that is not the file's.
direct()
{
	near_down && wait_for 10 near_mounted direct_io || return
	counter && clone && wait_for 30 pager_done && runs_alone || return
	counter && [ "$(there cat "$B/near/$PID/.hold")" = none ] &&
	    kill9 "$PID" || return
	near_down && wait_for 10 near_mounted
}

# Each is of its own instant, whatever sshfs believes to know.
afresh()
{
	local a b
	counter || return
	a=$(there cat "$B/near/$PID/checkpoint") && there ls "$B/near/$PID" >/dev/null &&
	    b=$(there cat "$B/near/$PID/checkpoint") || return
	[ "$(grep ^id <<<"$a")" != "$(grep ^id <<<"$b")" ] ||
	    { echo "twice the same"; return 1; }
	clone && wait_for 30 pager_done && runs_alone
}

# It stands still here from the instant of the checkpoint to its end.
held()
{
	local begin after
	counter && begin=$(date +%s%3N) && postcopy "$PID" || return
	after=$(date +%s%3N)
	wait "$PID" 2>/dev/null
	forget "$PID"
	wait_for 10 free_pid "$PID" || { echo "it is here, too"; return 1; }
	wait_for 10 counts || { cat "$WORK/count.out"; return 1; }
	echo "all of it in $((after - begin)) ms"
	there kill -9 "$OUT"
}

dies_there()
{
	wait_for 30 gone "$CLONE_HERE" || { echo "it is still there"; return 1; }
}

# The kernel fills what a cut sshfs left out of a read with zeros: then it is
# the sum that tells.
# usage: said_why PID
said_why()
{
	there grep -q "^error: .*process $1 was killed, for its memory could not be brought: pages: \(at\|the piece at\) " \
	    "$B/snap/.status" || { there cat "$B/snap/.status"; return 1; }
}

link_cut()
{
	counter && slow 20mbit && clone && pager_works || return
	cut_link
	dies_there || return
	mend_link
	fast
	wait_for 20 snapfs_there && said_why "$CLONE" || return
	expect_untouched "$PID" && counts && kill9 "$PID" || return
	there umount -l "$B/near"
	wait_for 20 near_mounted
}

# As in the recipe, and it goes on as soon as our sshd knows.
link_cut_held()
{
	local job new
	counter && slow 20mbit || return
	rm -f "$WORK/out"
	postcopy "$PID" >/dev/null 3>&- &
	job=$!
	wait_for 20 test -s "$WORK/out" || { echo "not restored"; return 1; }
	new=$(<"$WORK/out")
	[ "$(cut -d ' ' -f 1 "$MNT/$PID/.hold")" = held ] && stands_still || return
	cut_link
	wait_for 30 untraced "$PID" && expect_untouched "$PID" &&
	    wait_for 10 counts || { cat "$MNT/$PID/.hold"; return 1; }
	wait_for 30 ended_there "$new" || { echo "two of them"; return 1; }
	mend_link
	fast
	wait $job && { echo "it says that it was moved"; return 1; }
	wait_for 20 snapfs_there && said_why "$new" && counts &&
	    kill9 "$PID" || return
	there umount -l "$B/near"
	wait_for 20 near_mounted
}

ended_there()
{
	[ -z "$(here_of "$1")" ]
}

stands_still()
{
	[ "$(state_of "$PID")" = t ]
}

daemon_killed()
{
	counter && slow 20mbit && clone && pager_works || return
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	dies_there && fast && said_why "$CLONE" || return
	expect_untouched "$PID" && counts || return
	umount -l "$MNT"
	DAEMON=
	mount_snapfs freeze_timeout=10
	kill9 "$PID"
}

t "it runs at once, and its memory comes; the original goes on" at_once
t "a file has a size that sshfs does not know: direct_io" direct
t "each is of its own instant" afresh
t "held, and ended when all of it is there" held
t "the link is cut: what runs there dies; the original goes on" link_cut
t "the link is cut: who is held goes on" link_cut_held
t "our snapfs is killed: what runs there dies; the original goes on" daemon_killed
hosts_end
