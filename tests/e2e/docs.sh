#!/bin/bash
# docs.sh - the manual and the documents: well-formed, and true where a script
# can tell: every option is described, every path that is named exists.
#
# Needs neither a mount nor root.

set -u

top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
bad=0

complain()
{
	echo "docs: $*"
	bad=1
}

for page in man/*.[1-8]; do
	out=$(groff -mdoc -ww -Tutf8 "$page" 2>&1 >/dev/null) ||
	    complain "$page: groff failed"
	[ -z "$out" ] || complain "$page: $out"
	out=$(mandoc -Tlint -W warning "$page" 2>&1)
	[ -z "$out" ] || complain "$out"
done

# Every page is installed.
for page in man/*.[1-8]; do
	grep -qw "${page#man/}" man/CMakeLists.txt ||
	    complain "$page is not installed by man/CMakeLists.txt"
done

# Links in the documents, and the files that HACKING.md names.
for doc in *.md; do
	for link in $(grep -o '](\([^):]*\))' "$doc" | tr -d ']()'); do
		[ -e "$link" ] || complain "$doc: $link does not exist"
	done
	for path in $(grep -oE '\b(core|snapfs|tests|man|mountscripts)/[][A-Za-z0-9_./{}*-]+' \
	    "$doc" | sed 's/[.:,]*$//' | sort -u); do
		case $path in
		*KIND* | *NAME*) continue ;;
		esac
		compgen -G "$path" >/dev/null ||
		    complain "$doc: there is no $path"
	done
done

exit $bad
