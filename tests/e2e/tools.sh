#!/bin/bash
# tools.sh - any tool that copies makes an image; equal things compare equal.

. "$(dirname "$0")/lib.sh"
need_root
mount_snapfs
cd "$WORK" || exit 1

# usage: with NAME COMMAND...	(the command copies $MNT/$PID into image)
with()
{
	start_subject fd_pipe || return
	rm -rf image
	"$@" || { echo "exit status $?"; return 1; }
	[ -s image/checkpoint ] || return
	(cd image && xxhsum -c --quiet xxh128sums) || return
	expect_untouched "$PID" || return
	kill9 "$PID" || return
	restore "$PID" image || return
	check_subject restored
}

by_cp_r() { cp -r "$MNT/$PID" image; }
by_cp_a() { cp -a "$MNT/$PID" image; }
by_tar() { tar -C "$MNT" -cf image.tar "$PID" && tar -xf image.tar && mv "$PID" image; }
by_tar_pipe() { mkdir image && tar -C "$MNT/$PID" -c . | tar -C image -x; }
by_rsync() { rsync -a "$MNT/$PID/" image; }
by_rsync_sparse() { rsync -aS --inplace "$MNT/$PID/" image; }
by_shutil() { python3 -c 'import shutil, sys; shutil.copytree(*sys.argv[1:], symlinks=True)' "$MNT/$PID" image; }
by_python_read()
{
	# One open file at a time, in small pieces.
	python3 - "$MNT/$PID" image <<-'END'
	import os, sys
	src, dst = sys.argv[1:]
	for d, dirs, files in os.walk(src):
	    to = os.path.join(dst, os.path.relpath(d, src))
	    os.makedirs(to)
	    for n in dirs + files:
	        p = os.path.join(d, n)
	        if os.path.islink(p):
	            os.symlink(os.readlink(p), os.path.join(to, n))
	        elif n in files:
	            with open(p, "rb") as f, open(os.path.join(to, n), "wb") as g:
	                while b := f.read(3001):
	                    g.write(b)
	END
}
for tool in cp_r cp_a tar tar_pipe rsync rsync_sparse shutil python_read; do
	t "$tool" with by_$tool
done

moved()
{
	# An image may go through a tar file, and lie elsewhere.
	start_subject mem_brk || return
	rm -rf image elsewhere
	cp -r "$MNT/$PID" image && tar -cf image.tar image && rm -rf image &&
	    mkdir elsewhere && tar -C elsewhere -xf image.tar || return
	kill9 "$PID" || return
	restore "$PID" elsewhere/image || return
	check_subject restored
}
t "an image that was moved" moved

# Two copies of a process that does nothing are equal, but for who and when.
equal()
{
	start_subject sig_stopped || return
	wait_for 5 is_stopped || return
	rm -rf a b
	cp -r "$MNT/$PID" a && cp -r "$MNT/$PID" b || return
	diff -r a b >diff.out
	# Only lines of these files, and only these lines.
	grep '^[<>]' diff.out | grep -vE \
	    '^[<>] (id|parent|time|frozen-us): |^[<>] [0-9a-f]{32}  checkpoint$' &&
	    { echo "more differs than id and time"; return 1; }
	grep -E '^(Binary|Only)' diff.out && return 1
	grep -q '^[<>] id: ' diff.out || { echo "two checkpoints, one id"; return 1; }
	check_subject survived
}
# Every thread of it.
is_stopped()
{
	! grep -hv '^[0-9]* (.*) T ' /proc/"$PID"/task/*/stat
}
t "diff -r of two copies of a stopped process" equal

# A reader sees one moment; the next reader a new one.
one_moment()
{
	local ids
	start_subject tmr_itimer || return
	ids=$(python3 - "$MNT/$PID" <<-'END'
	import sys, time
	def id():
	    return open(sys.argv[1] + "/checkpoint").read().split("id: ")[1].split()[0]
	first = id()
	time.sleep(0.2)
	print(first == id())
	END
	)
	[ "$ids" = True ] || { echo "same reader, two checkpoints"; return 1; }
	[ "$(grep '^id:' "$MNT/$PID/checkpoint")" != \
	    "$(grep '^id:' "$MNT/$PID/checkpoint")" ] || {
		echo "two readers, one checkpoint"
		return 1
	}
	check_subject survived
}
t "a checkpoint a reader" one_moment

# A program that lists the directory again gets a fresh one.
fresh_by_listing()
{
	start_subject mem_private || return
	python3 - "$MNT/$PID" <<-'END' || return
	import os, sys
	def id():
	    return open(sys.argv[1] + "/checkpoint").read().split("id: ")[1].split()[0]
	# On a busy machine it may be heard too late that the last one was closed.
	for tries in range(5):
	    ids = []
	    for i in range(3):
	        os.listdir(sys.argv[1])
	        ids.append(id())
	        if id() != ids[-1]:
	            sys.exit("it changed without a listing")
	    if len(set(ids)) == 3:
	        sys.exit(0)
	sys.exit(f"listed again, but: {ids}")
	END
	check_subject survived
}
t "fresh after listing the directory again" fresh_by_listing

names_stop_nothing()
{
	local before after
	start_subject mem_private || return
	before=$(grep -c . "$MNT/.log")
	# Others end meanwhile, of which these two complain.
	find "$MNT" -maxdepth 1 >names 2>&1
	ls -l "$MNT" >>names 2>&1
	[ "$(grep -c "\(/\| \)$PID\$" names)" = 2 ] || { cat names; return 1; }
	stat "$MNT/$PID" >/dev/null && ls "$MNT/$PID" >/dev/null || return
	after=$(grep -c . "$MNT/.log")
	no_strays_now || { echo "there is a twin"; strays; return 1; }
	echo "log: $before lines, then $after"
	check_subject survived
}
t "listing names stops nothing" names_stop_nothing

modes()
{
	start_subject mem_private || return
	[ "$(stat -c '%a %u' "$MNT/$PID")" = '500 0' ] || return
	[ "$(find "$MNT/$PID" -type f -not -perm 0400)" = '' ] || return
	[ "$(find "$MNT/$PID" -type d -not -perm 0500)" = '' ] || return
	python3 - "$MNT/$PID" <<-'END' || return
	import os, sys
	times = set()
	for d, dirs, files in os.walk(sys.argv[1]):
	    for n in files:
	        times.add(os.lstat(os.path.join(d, n)).st_mtime_ns)
	if len(times) != 1:
	    sys.exit(f"mtimes: {times}")
	END
	check_subject survived
}
t "modes and times" modes

# What du and wc say is what cp writes.
sizes()
{
	start_subject mem_private || return
	python3 - "$MNT/$PID" <<-'END' || return
	import os, sys
	bad = []
	for d, dirs, files in os.walk(sys.argv[1]):
	    for n in files:
	        p = os.path.join(d, n)
	        if os.path.islink(p):
	            if len(os.readlink(p)) != os.lstat(p).st_size:
	                bad.append(p)
	        elif len(open(p, "rb").read()) != os.stat(p).st_size:
	            bad.append(p)
	sys.exit(f"size is not what is read: {bad}" if bad else 0)
	END
	check_subject survived
}
t "sizes" sizes

# maps has the format of /proc/PID/maps, to the letter.
maps_as_proc()
{
	start_subject thr_many || return
	cat "$MNT/$PID/maps" >maps.snap && cat "/proc/$PID/maps" >maps.proc || return
	diff maps.proc maps.snap || return
	cat "$MNT/$PID/cmdline" | cmp - "/proc/$PID/cmdline" || return
	cat "$MNT/$PID/auxv" | cmp - "/proc/$PID/auxv" || return
	[ "$(readlink "$MNT/$PID/exe")" = "$(readlink "/proc/$PID/exe")" ] || return
	[ "$(readlink "$MNT/$PID/cwd")" = "$(readlink "/proc/$PID/cwd")" ] || return
	[ "$(readlink "$MNT/$PID/fd/1")" = "$(readlink "/proc/$PID/fd/1")" ] || return
	check_subject survived
}
t "maps, cmdline, auxv and links as in /proc" maps_as_proc

mapped_pages()
{
	start_subject mem_private || return
	rm -rf image
	python3 - "$MNT/$PID" <<-'END' || return
	import hashlib, mmap, sys
	d = sys.argv[1]
	with open(d + "/pages", "rb") as f:
	    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
	    a = hashlib.md5(m).digest()
	    f.seek(0)
	    if a != hashlib.md5(f.read()).digest():
	        sys.exit("mmap and read differ")
	    f.seek(-4096, 2)
	    if f.read() != m[-4096:]:
	        sys.exit("seek")
	END
	check_subject survived
}
t "pages can be mapped and sought in" mapped_pages

t "nothing is left" no_strays
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
