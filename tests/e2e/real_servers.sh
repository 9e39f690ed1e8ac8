#!/bin/bash
# real_servers.sh - servers in python (asyncio) and node, the latter also with
# workers, with clients connected and timers set, moved by `replace` in the
# middle of a conversation, twice.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root
mount_snapfs freeze_timeout=20

cat >"$WORK/server.py" <<'END'
import asyncio, sys

beats = 0

async def beat():
    global beats
    while True:
        await asyncio.sleep(0.02)
        beats += 1

async def serve(r, w):
    n = 0
    while True:
        line = await r.readline()
        if not line:
            break
        n += 1
        if line.startswith(b"beats"):
            w.write(b"%d\n" % beats)
        elif line.startswith(b"late"):
            await asyncio.sleep(4)
            w.write(b"%d late\n" % n)
        else:
            w.write(b"%d %s" % (n, line))
        await w.drain()
    w.close()

async def main():
    s = await asyncio.start_server(serve, "127.0.0.1", 0)
    asyncio.ensure_future(beat())
    print(s.sockets[0].getsockname()[1], flush=True)
    await s.serve_forever()

asyncio.run(main())
END

# The same words, over HTTP: a line is the path of a request.  With workers, the
# first process accepts connections and hands them over.
cat >"$WORK/server.js" <<'END'
const http = require('http');
const cluster = require('cluster');
const workers = Number(process.argv[2] || 0);
if (workers > 0 && cluster.isPrimary) {
	let said = false;
	for (let i = 0; i < workers; i++)
		cluster.fork();
	cluster.on('exit', () => cluster.fork());
	cluster.on('listening', (w, a) => {
		if (!said && Object.values(cluster.workers).every(
		    (v) => v === w || v.heard)) {
			said = true;
			console.log(a.port);
		}
		w.heard = true;
	});
} else {
let beats = 0;
setInterval(() => beats++, 20);
const counts = new WeakMap();
const s = http.createServer((q, a) => {
	const n = (counts.get(q.socket) || 0) + 1;
	counts.set(q.socket, n);
	const word = q.url.slice(1);
	const say = (text) => a.end(text + '\n');
	if (word === 'beats')
		say(beats);
	else if (word === 'late')
		setTimeout(() => say(n + ' late'), 4000);
	else
		say(n + ' ' + word);
});
s.keepAliveTimeout = 600000;
s.listen(0, '127.0.0.1', () => {
	if (workers === 0)
		console.log(s.address().port);
});
}
END

# usage: ask FD WORD; hear FD: LINE
ask()
{
	if [ "$http" = yes ]; then
		printf 'GET /%s HTTP/1.1\r\nHost: x\r\n\r\n' "$2" >&"$1"
	else
		echo "$2" >&"$1"
	fi
}

hear()
{
	local status=
	if [ "$http" = yes ]; then
		read -r -t 20 status <&"$1"
		[[ $status == *' 200 '* ]] || {
			echo "client $1: ${status:-no answer}"
			return 1
		}
		while read -r -t 20 LINE <&"$1" && [ "$LINE" != $'\r' ]; do
			:
		done
	fi
	read -r -t 20 LINE <&"$1" || { echo "client $1: no answer"; return 1; }
}

# usage: said FD WORD ANSWER
said()
{
	ask "$1" "$2" && hear "$1" || return
	[ "$LINE" = "$3" ] || { echo "answer to $2: $LINE"; return 1; }
}

talks()
{
	local beats before fd
	http=$1
	shift
	rm -f "$WORK/port"
	"$@" </dev/null >"$WORK/port" 2>"$WORK/err" 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 test -s "$WORK/port" || { cat "$WORK/err"; return 1; }
	for fd in 5 6 7; do
		eval "exec $fd<>/dev/tcp/127.0.0.1/$(<"$WORK/port")"
		said $fd hello '1 hello' || return
	done
	for i in 2 3; do
		# One has asked, and waits for an answer that a timer gives.
		ask 7 late
		sleep 0.3
		ask 5 beats && hear 5 || return
		before=$LINE
		copy_tree "$PID" "$WORK/image" || return
		restore "$PID" "$WORK/image" replace || return
		said 6 again "$i again" || return
		hear 7 && [ "$LINE" = "$i late" ] || { echo "late: $LINE"; return 1; }
		sleep 0.2
		ask 5 beats && hear 5 || return
		beats=$LINE
		[ "$beats" -gt "$before" ] || { echo "beats: $before, $beats"; return 1; }
	done
	eval "exec 8<>/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	said 8 new '1 new' || return
	exec 5>&- 6>&- 7>&- 8>&-
}

moved()
{
	talks "$@" && fell "$PID"
}

# A worker that ends is heard of, and another begins.
workers()
{
	local all old
	talks yes node "$WORK/server.js" 2 || return
	all=$(family "$PID")
	[ "$(wc -l <<<"$all")" = 3 ] || { echo "there are: $all"; return 1; }
	old=$(tail -n 1 <<<"$all")
	kill -9 "$old"
	wait_for 20 has_another "$old" || {
		echo "no new worker: $(family "$PID")"
		return 1
	}
	eval "exec 5<>/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	eval "exec 6<>/dev/tcp/127.0.0.1/$(<"$WORK/port")"
	said 5 new '1 new' && said 6 new '1 new' || return
	exec 5>&- 6>&-
	fell "$PID"
}

# usage: has_another OLD
has_another()
{
	local now
	now=$(family "$PID")
	[ "$(wc -l <<<"$now")" = 3 ] && ! grep -qx "$1" <<<"$now"
}

t "asyncio, with clients and timers" moved no /usr/bin/python3 "$WORK/server.py"
if command -v node >/dev/null; then
	t "node over HTTP, with clients and timers" moved yes node "$WORK/server.js"
	t "node with workers, with clients and timers" workers
else
	skip "node over HTTP, and with workers" "node is not installed"
fi
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
