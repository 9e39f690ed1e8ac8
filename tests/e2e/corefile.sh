#!/bin/bash
# corefile.sh - /snap/PID/core: what gdb sees in it, and every byte of it.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs linger=1
cd "$WORK" || exit 1

# A program with its child in the background: PID, CHILD.
depths()
{
	"$BUILD/tests/tools/depths" "$WORK/there" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	PIDS+=($!)
	wait_for 20 test -e "$WORK/there" || { echo "it does not start"; return 1; }
	read -r PID CHILD <"$WORK/there"
	PIDS+=("$CHILD")
	rm "$WORK/there"
}

# usage: look CORE GDB-COMMAND...	(in the file seen)
look()
{
	local core=$1 args=() c
	shift
	for c; do
		args+=(-ex "$c")
	done
	gdb -batch -nx "${args[@]}" "$BUILD/tests/tools/depths" "$core" >seen 2>&1 ||
	    { cat seen; return 1; }
}

# usage: sees LINE...	(each in the file seen)
sees()
{
	local line
	for line; do
		grep -qF -- "$line" seen || { cat seen; echo "no: $line"; return 1; }
	done
}

values=("p answer" "p pi" "p constant" "p heap" "p shared" "p *list->next")

# Of the state of registers gdb 13 knows one layout, which not all CPUs have:
# there it says so of the kernel's core files, too.
the_same()
{
	sees '= 3.25' '= "in the file"' '"on the heap"' '"shared memory"' \
	    '= {value = 1, ' || return
	! grep -v "warning: Section .\.reg-xstate/.* too small" seen |
	    grep -q 'warning\|Cannot' || { cat seen; return 1; }
}

in_gdb()
{
	local n
	depths || return
	look "$MNT/$PID/core" "${values[@]}" bt "p excluded[0]" \
	    "thread apply all p \$xmm9.v2_int64[0]" || return
	the_same && sees '= 42' ' in bottom (depth=' ' in main (argc=' \
	    '= 1111' '= 2222' '$7 = 0 ' || return
	look "$MNT/$PID/core" "p written" && sees '"after the forks"' || return
	look "$MNT/$PID/core" bt || return
	n=$(grep -c ' in go_down ' seen)
	[ "$n" = 8 ] || { cat seen; echo "$n frames"; return 1; }
	# Its child, which has most from its parent.
	grep -q '^run .* former$' "$MNT/$PID/children/$CHILD/pagemap" ||
	    { echo "it has nothing in common with the other child"; return 1; }
	look "$MNT/$PID/children/$CHILD/core" "${values[@]}" "p written" bt || return
	the_same && sees '= 43' '"before the forks"' ' in go_down (depth=' || return
	look "$MNT/$CHILD/core" "${values[@]}" bt || return
	the_same && sees '= 43' || return
	expect_untouched "$PID" || return
	kill9 "$PID" && kill9 "$CHILD"
}
t "in gdb" in_gdb

# One that was copied is as good, when the process is long gone.
copied_away()
{
	local size
	depths || return
	mkdir "$MNT/$PID@crash" && size=$(stat -c %s "$MNT/$PID@crash/core") || return
	kill9 "$PID" && kill9 "$CHILD" || return
	cp "$MNT/$PID@crash/core" core.1 && cp "$MNT/$PID@crash/core" core.2 &&
	    cmp core.1 core.2 || return
	[ "$(stat -c %s core.1)" = "$size" ] || { echo "not $size bytes"; return 1; }
	rmdir "$MNT/$PID@crash" || return
	look core.1 "${values[@]}" bt && the_same && sees '= 42' || return
	rm -f core.1 core.2
}
t "copied, of a named checkpoint" copied_away

bytes_of()
{
	local ok
	start_subject "$1"
	case $? in
	0) ;;
	77) return 77 ;;
	*) return 1 ;;
	esac
	kill -STOP "$PID" && wait_for 5 stopped || return
	mkdir "$MNT/$PID@x" && cp -r "$MNT/$PID@x" image || return
	"$top/tests/e2e/corefile.py" "$MNT/$PID@x/core" image "$PID" >bytes
	ok=$?
	rmdir "$MNT/$PID@x"
	rm -rf image
	[ $ok = 0 ] || { cat bytes; return 1; }
	[ "$(<bytes)" -gt 65536 ] || { echo "only $(<bytes) bytes"; return 1; }
	kill9 "$PID"
}

stopped()
{
	[ "$(state_of "$PID")" = T ]
}

for s in mem_private mem_filemap mem_shared_anon mem_deleted_file mem_guard \
    mem_many_vmas mem_reserve_1t mem_sysv mem_exec mem_vdso thr_many thr_amx; do
	t "the bytes of $s" bytes_of $s
done

# It is not listed, is its owner's alone, and no part of an increment.
manners()
{
	start_subject mem_private || return
	! ls -a "$MNT/$PID" | grep -qx core || { echo "it is listed"; return 1; }
	[ "$(stat -c '%a %F' "$MNT/$PID/core")" = "400 regular file" ] || return
	[ ! -e "$MNT/$PID/fd/core" ] || { echo "one in fd/"; return 1; }
	echo on >"$MNT/$PID/.track" && cp -r "$MNT/$PID" d0 || return
	cp -r "$MNT/$PID/delta" d1 || return
	[ ! -e "$MNT/$PID/delta/core" ] || { echo "one in delta/"; return 1; }
	[ "$(head -c 4 "$MNT/$PID/core" | tail -c 3)" = ELF ] || return
	# To look at it is not to copy the checkpoint: the parent is d0 or d1.
	cat "$MNT/$PID/core" >/dev/null && cp -r "$MNT/$PID/delta" d2 || return
	grep -qx "parent: $(sed -n 's/^id: //p' d1/checkpoint)" d2/checkpoint ||
	    { grep parent d2/checkpoint; return 1; }
	rm -rf d0 d1 d2
	echo off >"$MNT/$PID/.track" || return
	check_subject survived
}
t "its manners" manners
no_strays
unmount_snapfs
