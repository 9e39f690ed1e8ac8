#!/bin/bash
# real_node.sh - node: a JIT, garbage collection, worker threads, epoll.

. "$(dirname "$0")/real_lib.sh"
command -v node >/dev/null || skip_all "node is not installed"

cat >"$WORK/job.js" <<'END'
const crypto = require('crypto');
let sum = crypto.createHash('sha256');
let n = 0;
const keep = new Map();
function work() {
	for (let i = 0; i < 4000; i++, n++) {
		sum.update(String(n));
		keep.set(n % 5000, { n, text: 'x'.repeat(n % 50) });
	}
	if (n < 1200000)
		(n % 8000 ? setImmediate : setTimeout)(work, 1);
	else
		console.log(sum.digest('hex'), keep.size,
		    [...keep.values()].reduce((a, b) => a + b.text.length, 0));
}
work();
END
real "a computation with timers" node "$WORK/job.js"
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
