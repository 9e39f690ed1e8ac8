#!/bin/bash
# docs.sh - the manual and the documents: well-formed, and true where a script
# can tell.  Every option is described, every path that is named exists, what
# the worked example shows is what its files say, and they are a good image.

. "$(dirname "$0")/lib.sh"
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

# usage: described WORD PAGE: as a macro's argument, so not by chance.
described()
{
	grep -qE "^\.(It|Cm|Fl|Op).*(^|[ |])$1([ ,.]|\$)" "man/$2" ||
	    complain "man/$2 does not describe $1"
}

# Options of the command line, and the words of .restore.
for word in $("$SNAPFS" -h | grep -oE -- '-o [a-z_]+' | cut -c4- | sort -u); do
	described "$word" snapfs.1
done
for word in $("$SNAPFS" -h | grep -oE -- '(^| )-[a-zA-Z]\b' | tr -d ' -'); do
	described "$word" snapfs.1
done
for word in $(sed -n '/^parse_option/,/^}/p' snapfs/control.c |
    grep -oE '"[a-z]+[="]' | tr -d '"='); do
	described "$word" snapfs.1
done

# Options of the other programs.
for word in $(grep -hoE '^[[:space:]]*\{ "[a-z-]+"' snapfs/run*.c snapfs/snapfs-*.c |
    tr -d ' \t{"'); do
	grep -qE "^\.(It|Pq) .*(-|Fl )$word( |\$)" man/snapfs-*.1 ||
	    complain "no page of man/ describes --$word"
done
for script in snapfs-every snapfs-migrate; do
	for word in $(sed -nE '/=\*/d; s/^[[:space:]]+(-[-a-z1|]+)\).*/\1/p' \
	    "mountscripts/$script" | tr '|' ' '); do
		grep -qE "^\.It .*Fl ([a-z1] , )?(${word#-})( |\$)|^\.It .* , ${word#-}( |\$)" \
		    "man/$script.1" ||
		    complain "man/$script.1 does not describe $word"
	done
done

# Every kind of descriptor, and every key of an image.
for word in $(sed -n 's/.*\.name = "\([^"]*\)".*/\1/p' core/res_*.c); do
	described "$word" snapfs.5
done
for word in $(cat core/img_*.c core/res_*.c core/fd*.c | tr -s '\t\n ' ' ' |
    grep -oE '(openfile_put\([^"(]*|[PTF]\(|[{] )"[a-z0-9-]+"' |
    sed 's/.*"\(.*\)"/\1/' | sort -u); do
	grep -qw -e "$word" man/snapfs.5 ||
	    complain "man/snapfs.5 does not mention the key $word"
done

# A block that begins with "$ COMMAND" shows what COMMAND prints.
block=
while IFS= read -r line; do
	case $line in
	.Bd*) block=begin ;;
	.Ed)
		if [ -n "$command" ]; then
			want=$(cd man/example && sh -c "$command")
			[ "$want" = "${text%$'\n'}" ] || complain \
			    "man/snapfs.5: \`$command' prints something else"
		fi
		block=
		;;
	*)
		case $block in
		begin)
			command=
			text=
			[[ $line != '$ '* ]] || command=${line#\$ }
			block=inside
			;;
		# A blank at the end stands before \&.
		inside)
			line=${line%\\&}
			text+=${line//\\e/\\}$'\n'
			;;
		esac
		;;
	esac
done < <(sed -n '/^\.Sh EXAMPLES/,$p' man/snapfs.5)

out=$("$TOOLS/image-check" man/example/image)
case $? in
0) ;;
77) echo "man/example/image is of another CPU: $out" ;;
*) complain "$out" ;;
esac

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
