#!/bin/bash
# names.sh - no function is there twice in a program.  The linker takes nothing
# from an archive whose names it has already: a function of snapfs/ that is
# called like one of core/ is called in its place, without a word.

. "$(dirname "$0")/lib.sh"
core=$BUILD/core/libsnapcore.a
parts=$BUILD/snapfs/libsnapfsparts.a
bad=0

# usage: names OBJECT...: what they define, weak names not.
names()
{
	nm -g --defined-only "$@" | awk '$2 ~ /^[TDRBC]$/ { print $3 }' | sort
}

# usage: once WHAT OBJECT...
once()
{
	local what=$1 all clash

	shift
	all=$(names "$@") || exit 1
	[ -n "$all" ] || {
		echo "$what: no names found"
		exit 1
	}
	clash=$(uniq -d <<<"$all")
	[ -z "$clash" ] || {
		printf '%s: defined twice: %s\n' "$what" "${clash//$'\n'/ }"
		bad=1
	}
}

shopt -s nullglob
n=0
for dir in "$BUILD"/snapfs/CMakeFiles/snapfs*.dir; do
	program=$(basename "$dir" .dir)
	[ "$program" != snapfsparts ] || continue
	libraries=("$core")
	[ "$program" != snapfs ] || libraries+=("$parts")
	once "$program" "${libraries[@]}" "$dir"/*.o
	n=$((n + 1))
done
[ $n -ge 4 ] || {
	echo "only $n programs were found in $BUILD/snapfs"
	bad=1
}
exit $bad
