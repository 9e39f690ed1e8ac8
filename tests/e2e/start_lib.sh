# start_lib.sh - programs that are slow to start: each reads a line when its
# start is over, prints what it computed with it, and ends.
#
# shellcheck shell=bash

# usage: make_programs DIR: PROGRAMS, their names; HOW, their commands
make_programs()
{
	local dir=$1 i py=/usr/bin/python3
	declare -gA HOW=()
	PROGRAMS=()
	mkdir -p "$dir"
	if $py -c 'import numpy' 2>/dev/null; then
		cat >"$dir/np.py" <<'END'
import numpy, numpy.linalg, json, decimal, asyncio, http.client, email
import unittest, xml.dom.minidom, sqlite3, ctypes, multiprocessing, logging
a = numpy.arange(1000000, dtype=float)
line = input()
print(line, int(a.sum()))
END
		add_program numpy "$py $dir/np.py"
	fi
	if command -v node >/dev/null; then
		for ((i = 0; i < 3000; i++)); do
			echo "m[$i] = (() => { const t = []; for (let i = 0; i < 400; i++)" \
			    "t.push({ k: 'key' + i, v: i * $i }); const o = {};" \
			    "for (const e of t) o[e.k] = e.v; return o; })();"
		done | {
			echo "const m = [];"
			cat
			echo "const rl = require('readline').createInterface({ input: process.stdin });"
			echo "rl.on('line', l => { console.log(l, m.length, m[2999].key399); process.exit(0); });"
		} >"$dir/bundle.js"
		add_program node "node $dir/bundle.js"
	fi
	if command -v javac >/dev/null; then
		cat >"$dir/Slow.java" <<'END'
import java.io.*;
import java.util.*;
import java.util.stream.*;
public class Slow {
	public static void main(String[] args) throws Exception {
		Map<String, Integer> m = new TreeMap<>();
		IntStream.range(0, 300000).forEach(i -> m.put("key" + i, i));
		String self = answer("line", m);
		if (self.length() > 0)
			System.out.println(answer(new BufferedReader(
			    new InputStreamReader(System.in)).readLine(), m));
	}
	// Called once before it is ready, as a server tries itself: linking a
	// concatenation of strings takes 15 ms and more the first time.
	static String answer(String line, Map<String, Integer> m) {
		return line + " " + m.size();
	}
}
END
		(cd "$dir" && javac Slow.java) && add_program java "java -XX:-UsePerfData -cp $dir Slow"
	fi
	if command -v g++ >/dev/null; then
		cat >"$dir/tables.cc" <<'END'
#include <iostream>
#include <map>
#include <string>
static std::map<std::string, int> make()
{
	std::map<std::string, int> m;
	for (int i = 0; i < 400000; i++)
		m["key" + std::to_string(i)] = i;
	return m;
}
static const std::map<std::string, int> table = make();
int main()
{
	std::string line;
	std::getline(std::cin, line);
	std::cout << line << " " << table.size() << std::endl;
}
END
		g++ -O2 -o "$dir/tables" "$dir/tables.cc" && add_program c++ "$dir/tables"
		g++ -O2 -static -o "$dir/tables.static" "$dir/tables.cc" &&
		    add_program c++-static "$dir/tables.static"
	fi
	if command -v musl-gcc >/dev/null; then
		cat >"$dir/small.c" <<'END'
#include <stdio.h>
int main(void)
{
	char line[99];
	return fgets(line, sizeof(line), stdin) == NULL || printf("%s", line) < 0;
}
END
		musl-gcc -static -o "$dir/small" "$dir/small.c" && add_program musl "$dir/small"
	fi
	cat >"$dir/script.sh" <<'END'
declare -A t
for ((i = 0; i < 30000; i++)); do t[k$i]=$i; done
read -r x
echo "$x ${#t[@]}"
END
	add_program bash "bash $dir/script.sh"
}

add_program()
{
	PROGRAMS+=("$1")
	HOW[$1]=$2
}
