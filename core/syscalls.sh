#!/bin/sh
# syscalls.sh - the names and numbers of system calls, from the C headers
#
# usage: syscalls.sh COMPILER OUTPUT
set -eu
echo '#include <sys/syscall.h>' | "$1" -E -dM - |
    sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/{ "\1", __NR_\1 },/p' |
    sort >"$2.new"
test -s "$2.new"
mv "$2.new" "$2"
