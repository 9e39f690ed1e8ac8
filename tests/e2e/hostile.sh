#!/bin/bash
# hostile.sh - images that an enemy made: no crash, no hang, nothing started,
# and a reason.  He restores them as a user; hostile.py makes them.

. "$(dirname "$0")/lib.sh"
need_root
chmod 0755 "$WORK"
mount_snapfs linger=1

uid=65534
as_user()
{
	setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all "$@"
}

# The smallest program that there is: each byte of its image is looked at.
mkdir "$WORK/user"
gcc -static -nostdlib -O -o "$WORK/user/tick" "$top/man/example/tick.c" ||
    die "tick.c is not compiled"
chown -R $uid:$uid "$WORK/user"
setpriv --reuid=$uid --regid=$uid --clear-groups --inh-caps=-all \
    "$WORK/user/tick" </dev/null >/dev/null 2>&1 3>&- 9>&- &
tick=$!
PIDS+=("$tick")
wait_for 5 grep -q tick "/proc/$tick/comm"
as_user cp -r "$MNT/$tick" "$WORK/user/image" || die "no image"
[ ! -s "$WORK/user/image/unsupported" ] || die "$(cat "$WORK/user/image/unsupported")"
kill9 "$tick"

# It may not take more memory than this, whatever an image says; a sanitizer
# reserves terabytes of addresses.
limit=2000000
! sanitized || limit=unlimited

hostile()
{
	as_user sh -c "ulimit -v $limit; exec python3 '$top/tests/e2e/hostile.py' \
	    '$MNT' '$WORK/user/image' '$WORK/user' $1" || return
	gone "$DAEMON" && { echo "the daemon died"; return 1; }
	no_strays 5
}

t "a flipped bit anywhere" hostile flips
t "a flipped bit in pages that are loaded late" hostile lazy_flips
t "texts that were edited" hostile edits
t "what is no plain file" hostile odd_files
t "odd names" hostile odd_names
t "terabytes, and a million lines" hostile large
t "very many of a thing" hostile many
t "more memory than there is" hostile huge_memory
t "files swapped for links meanwhile" hostile swapped

t "nothing is left" no_strays 5
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
