#!/bin/bash
# installed.sh - what `cmake --install` installs, used as a user would: mount(8)
# by type and from fstab, the command by hand, the manual, the quick start.
#
# Runs in a mount namespace of its own, in which /usr/local and /sbin are
# copies: nothing is installed on this machine.

if [ -z "${OWN_NAMESPACE-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
	OWN_NAMESPACE=yes exec unshare -m --propagation private "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"

sbin=$(realpath /sbin)
# mount(8) would take "snapfs" for the directory of that name in the sources.
cd "$WORK" || exit 1

own_directories()
{
	mkdir -p "$WORK/local" "$WORK/sbin" "$MNT" || return
	cp -a "$sbin/." "$WORK/sbin/" || return
	rm -f "$WORK/sbin/mount.snapfs" "$WORK/sbin/mount.fuse.snapfs"
	mount --bind "$WORK/local" /usr/local || return
	mount --bind "$WORK/sbin" "$sbin"
}

# The daemon of a mount that nobody but mount(8) started.
daemon_of()
{
	sed -n 's/^daemon: //p' "$1/.status"
}

unmount()
{
	local pid
	pid=$(daemon_of "$1")
	umount "$1" || return
	[ -n "$pid" ] || { echo "no daemon in .status"; return 1; }
	wait_for 10 gone "$pid" || { echo "the daemon lives on"; return 1; }
}

mounted_as()
{
	[ -e "$MNT/.status" ] || { echo "there is no .status"; return 1; }
	grep -q "^$1 $MNT fuse.snapfs " /proc/mounts || {
		grep "$MNT" /proc/mounts
		echo "not mounted as $1"
		return 1
	}
}

install_it()
{
	local f
	cmake --install "$BUILD" --prefix /usr/local || return
	for f in /usr/local/bin/snapfs /sbin/mount.snapfs \
	    /sbin/mount.fuse.snapfs /usr/local/share/man/man1/snapfs.1 \
	    /usr/local/share/man/man5/snapfs.5 \
	    /usr/local/share/man/man8/mount.snapfs.8; do
		[ -s "$f" ] || { echo "$f was not installed"; return 1; }
	done
}

by_type()
{
	local type
	for type in fuse.snapfs snapfs; do
		mount -t "$type" snapfs "$MNT" || return
		mounted_as snapfs || return
		[ -d "$MNT/$$" ] || { echo "$MNT/$$ is missing"; return 1; }
		unmount "$MNT" || return
	done
}

with_options()
{
	mount -t fuse.snapfs -o linger=1.5,freeze_timeout=3,max_checkpoints=7 \
	    here "$MNT" || return
	mounted_as here || return
	unmount "$MNT"
}

from_fstab()
{
	local line
	grep '^snapfs' "$top/mountscripts/fstab.example" | head -n 1 |
	    sed "s, /snap , $MNT ," >"$WORK/fstab"
	mount -T "$WORK/fstab" "$MNT" || return
	mounted_as snapfs || return
	unmount "$MNT" || return
	line="snapfs $MNT fuse.snapfs user,noauto,nofail,_netdev"
	echo "$line,x-systemd.automount,comment=no 0 0" >"$WORK/fstab"
	mount -T "$WORK/fstab" "$MNT" || return
	unmount "$MNT"
}

# What is mounted there by the time a daemon ends is not its own.
one_below()
{
	local first
	snapfs "$MNT" || return
	first=$(daemon_of "$MNT")
	snapfs "$MNT" || return
	unmount "$MNT" || return
	[ "$(daemon_of "$MNT")" = "$first" ] || {
		echo "the mount below has gone too"
		return 1
	}
	unmount "$MNT"
}

# usage: refused COMMAND...: fails, says why, mounts nothing.
refused()
{
	local out
	out=$("$@" 2>&1) && { echo "accepted: $*"; return 1; }
	[ -n "$out" ] || { echo "no word: $*"; return 1; }
	! is_mounted || { echo "mounted all the same: $*"; return 1; }
}

bad_requests()
{
	refused mount -t fuse.snapfs -o no_such_option snapfs "$MNT" || return
	refused mount -t fuse.snapfs -o linger=soon snapfs "$MNT" || return
	refused mount -t fuse.snapfs snapfs "$WORK/nowhere" || return
	refused snapfs || return
	refused snapfs "$MNT" -o linger=-1 || return
	refused snapfs "$WORK/nowhere"
}

helper_flags()
{
	/sbin/mount.snapfs snapfs "$MNT" -f -o rw || return
	! is_mounted || { echo "-f mounted"; return 1; }
	refused /sbin/mount.snapfs snapfs || return
	refused /sbin/mount.snapfs snapfs "$MNT" -s || return
	/sbin/mount.snapfs snapfs "$MNT" -n -v -t fuse.snapfs -o rw || return
	mounted_as snapfs || return
	unmount "$MNT"
}

by_hand()
{
	local pid
	snapfs "$MNT" || return
	mounted_as snapfs || return
	unmount "$MNT" || return
	snapfs -f "$MNT" 3>&- 9>&- &
	pid=$!
	wait_for 10 is_mounted || return
	umount "$MNT" || return
	wait "$pid" || { echo "-f: exit status $?"; return 1; }
	snapfs -h | grep -q freeze_timeout || return
	snapfs -V | grep -q '[0-9]\.[0-9]'
}

manual()
{
	local p
	for p in man1/snapfs.1 man5/snapfs.5 man8/mount.snapfs.8 \
	    man8/mount.fuse.snapfs.8; do
		groff -mdoc -ww -Tutf8 "/usr/local/share/man/$p" >/dev/null ||
		    return
	done
}

# Twice: the second time it is installed, mounted, and its files are there.
quickstart()
{
	local out
	rm -rf "$top/build/quickstart"
	"$top/mountscripts/quickstart" "$WORK/snap" || return
	mountpoint -q "$WORK/snap" || { echo "not mounted"; return 1; }
	out=$("$top/mountscripts/quickstart" "$WORK/snap") || {
		echo "$out"
		echo "the second run failed"
		return 1
	}
	[[ $out == *'mounted already'* ]] || {
		echo "$out"
		echo "the second run mounted again"
		return 1
	}
	unmount "$WORK/snap"
}

t directories own_directories
t install install_it
t by-type by_type
t options with_options
t fstab from_fstab
t bad-requests bad_requests
t helper helper_flags
t one-below one_below
t by-hand by_hand
t manual manual
t quickstart quickstart
exit 0
