#!/bin/bash
# moves.sh - programs in tests/subjects, taken elsewhere:
#
#	chain		copied, twice what changed since, killed, restored from
#			the increment
#	precopy		moved to another host by snapfs-migrate
#	postcopy	restored at another host from our mount, by sshfs, while
#			it is held here; then ended here
#
# Some of them; all, if $ALL is yes.  Arguments, or $ONLY: names of subjects.
# $PHASES: only these.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/hosts_lib.sh"
. "$(dirname "$0")/subject_lib.sh"
need_hosts
chmod 755 "$WORK"

some="call_epoll call_futex_timeout fd_flock fd_pipe mem_filemap mem_private
mem_shared_anon sig_pending sig_stopped thr_many tmr_posix tree_shared"
[ "${QUICK-no}" = no ] || some="fd_pipe mem_private thr_many tree_fork"

chain()
{
	local c=$DIR/chain last=d0 n
	mkdir "$c"
	(echo on >"$MNT/$PID/.track") 2>"$DIR/why"
	copy "$PID" "$c/d0" || return
	for n in 1 2; do
		# Of a tree there is none.
		grep -q ' parent [0-9a-f]' "$MNT/$PID/.track" || break
		counted "$c/$last" || return
		last=d$n
		cp -r "$MNT/$PID/delta" "$c/$last" || return
	done
	[ $last != d0 ] || grep -q 'failed:' "$MNT/$PID/.track" ||
	    grep -q supported "$DIR/why" || {
		cat "$MNT/$PID/.track" "$DIR/why"
		echo "no increment, and not said why"
		return 1
	}
	fell "$PID" && revive "$c/$last"
}

precopy()
{
	migrate "$PID" || return
	arrived "$(moved_to)"
}

postcopy_subject()
{
	# Its descriptors may be those of another namespace.
	postcopy "$PID" || return
	arrived "$OUT"
}

# What cannot be: see snapfs(1).
# usage: impossible NAME HOW
impossible()
{
	case $1,$2 in
	fd_udp*,chain | fd_udp*,precopy | fd_unix,chain | fd_unix.*,chain)
		echo "an empty datagram is not seen by the second checkpoint" ;;
	fd_pty*,precopy | fd_pty*,postcopy)
		echo "the original has the number of its terminal still" ;;
	thr_leader_gone,*)
		echo "no checkpoint is taken of it" ;;
	*)
		return 1 ;;
	esac
}

# Of what only one can have, where both hosts have the same files, the one that
# is held has it still: then it goes on here.
# usage: phase HOW
phase()
{
	! impossible "$name" "${1%_subject}" || return 77
	begin || return
	if "$1" >"$DIR/said" 2>&1; then
		check_subject restored
		return
	fi
	cat "$DIR/said"
	case $clones,$name in
	refused,* | *,tree_locks | *,tree_tables) ;;
	*) return 1 ;;
	esac
	grep -Eq '^(snapfs-migrate: .* not restored: )?(fd |fdinfo/)[0-9]+: ' \
		"$DIR/said" && wait_for 20 untraced "$PID" && check_subject survived
}

if [ $# = 0 ]; then
	set -- ${ONLY-}
	unset ONLY
	[ "${ALL-no}" = no ] ||
	    some=$(cd "$SUBJECTS" && find . -maxdepth 1 -type f -printf '%P\n' | sort)
	# shellcheck disable=SC2086  # names, on purpose
	[ $# != 0 ] || set -- $some
fi

mount_snapfs freeze_timeout=10
start_ttys
hosts_up
near_up || die "no sshfs: $(cat "$B/near.log")"
for name; do
	traits
	for how in ${PHASES-chain precopy postcopy}; do
		PID='' DIR=''
		# Both are terminals of ours.
		[ "$needs" != tty ] || [ "$how" = chain ] || continue
		case $how in
		postcopy) t "$name $how" phase postcopy_subject ;;
		*) t "$name $how" phase $how ;;
		esac
		for PID in "${PIDS[@]:2}"; do
			fell "$PID"
		done
		[ -z "$DIR" ] || rm -rf "$DIR"
	done
done
hosts_end
