#!/bin/bash
# real_postgres.sh - PostgreSQL, a cluster in the middle of pgbench: moved with
# its clients, which go on over the same connections, thrice, the last time from an
# increment; afterwards all that they did is there, once.
#
# What it writes to files goes on after the checkpoint, and is not taken back by
# a restore: so it is stopped before it is copied.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
[ -x "$bin/postgres" ] && command -v pgbench >/dev/null ||
    skip_all "postgresql is not installed"
getent passwd postgres >/dev/null || skip_all "there is no user postgres"
command -v nft >/dev/null || skip_all "nft is not installed"
nft add table inet "snapfs_probe_$$" 2>/dev/null ||
    skip_all "nftables do not work in this kernel"
nft delete table inet "snapfs_probe_$$"
mount_snapfs freeze_timeout=20

port=$(/usr/bin/python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
data=$WORK/pg
chmod 755 "$WORK"
mkdir "$data"
chown postgres "$data"

# As its user, in its directory; it does not get our descriptors.
become_postgres()
{
	cd "$data" && exec setpriv --reuid postgres --regid postgres \
	    --init-groups --reset-env "$@" </dev/null 3>&- 9>&-
}

as_postgres()
{
	(become_postgres "$@")
}

as_postgres "$bin/initdb" -D "$data/db" -A trust --no-sync -E UTF8 \
    --locale=C >"$WORK/initdb.out" 2>&1 || {
	cat "$WORK/initdb.out"
	die "initdb fails"
}
cat >>"$data/db/postgresql.conf" <<-END
	listen_addresses = '127.0.0.1'
	port = $port
	unix_socket_directories = '$data'
	max_connections = 20
	shared_buffers = 16MB
	fsync = off
	autovacuum_naptime = 2s
	log_min_messages = info
	# The kernel's clients notice nothing; these would not, either.
	tcp_keepalives_idle = 600
END

sql()
{
	as_postgres "$bin/psql" -X -q -At -h "${host-127.0.0.1}" -p "$port" \
	    -d postgres -c "$1"
}

is_up()
{
	as_postgres "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"
}

SEGMENTS=()	# of System V, which nobody removes who does not know of them

start()
{
	become_postgres "$bin/postgres" -D "$data/db" >"$WORK/pg.log" 2>&1 &
	PID=$!
	PIDS+=("$PID")
	wait_for 60 is_up || { tail "$WORK/pg.log"; return 1; }
	SEGMENTS+=("$(awk 'NR == 7 { print $2 }' "$data/db/postmaster.pid")")
}

filter()
{
	nft -f - <<-END
		table inet snapfs_pg_$$ {
			chain in { type filter hook input priority -1;
				tcp dport $port drop; }
			chain out { type filter hook output priority -1;
				tcp sport $port drop; }
		}
	END
}

# A small segment of System V says that the cluster is in use: it is there
# still, or made again, with its id.
has_segment()
{
	[ "$(awk -v id="${SEGMENTS[-1]}" '$2 == id { print ($7 > 0) }' \
	    /proc/sysvipc/shm)" = 1 ]
}

# usage: increment NAME: an increment of the whole tree.
increment()
{
	cp -r "$MNT/$PID/delta" "$WORK/chain/$1" && counted "$WORK/chain/$1"
}

# While it runs: a whole copy, and an increment to that.
copied_before()
{
	rm -rf "$WORK/chain"
	mkdir "$WORK/chain"
	echo on >"$MNT/$PID/.track" && copy "$PID" "$WORK/chain/whole" &&
	    counted "$WORK/chain/whole" && sleep 0.3 && increment running
}

# Behind a filter: killed, its segment removed or not, and restored; or from an
# increment to what was copied before.
# usage: moved yes|no|increment
moved()
{
	local rc image=$WORK/image
	if [ "$1" = increment ]; then
		copied_before || return
		image=$WORK/chain/stopped
	fi
	filter || return
	wait_for 20 all_stopped "$PID" && rm -rf "$WORK/image" &&
	    if [ "$1" = increment ]; then
		increment stopped
	    else
		copy "$PID" "$image"
	    fi && fell "$PID" &&
	    { [ "$1" != yes ] || ipcrm -m "${SEGMENTS[-1]}"; } &&
	    restore "$PID" "$image" && has_segment && go_on "$PID"
	rc=$?
	nft delete table inet "snapfs_pg_$$"
	return $rc
}

# All that the clients were told is done is there, and nothing else.
# usage: adds_up TRANSACTIONS
adds_up()
{
	local a t b h n
	a=$(sql 'SELECT sum(abalance) FROM pgbench_accounts') &&
	    t=$(sql 'SELECT sum(tbalance) FROM pgbench_tellers') &&
	    b=$(sql 'SELECT sum(bbalance) FROM pgbench_branches') &&
	    h=$(sql 'SELECT sum(delta) FROM pgbench_history') &&
	    n=$(sql 'SELECT count(*) FROM pgbench_history') || return
	echo "accounts $a, tellers $t, branches $b, history $h of $n; $1"
	[ "$a" = "$t" ] && [ "$a" = "$b" ] && [ "$a" = "$h" ] && [ "$n" = "$1" ]
}

bench()
{
	as_postgres pgbench -i -q -s 2 -h 127.0.0.1 -p "$port" postgres \
	    >"$WORK/init.out" 2>&1 || { cat "$WORK/init.out"; return 1; }
	become_postgres pgbench -n -c 4 -j 2 -T "$1" -h 127.0.0.1 -p "$port" postgres \
	    >"$WORK/bench.out" 2>&1 &
	BENCH=$!
	PIDS+=("$BENCH")
	sleep 1
}

bench_ends()
{
	local done
	wait_for 120 gone "$BENCH" || { echo "pgbench does not end"; return 1; }
	wait "$BENCH" || { cat "$WORK/bench.out"; return 1; }
	forget "$BENCH"
	! grep -i -E 'error|abort' "$WORK/bench.out" || return
	grep -q '^number of failed transactions: 0 ' "$WORK/bench.out" &&
	    done=$(sed -n 's/^number of transactions actually processed: //p' \
		"$WORK/bench.out")
	[ "${done:-0}" -gt 100 ] || { cat "$WORK/bench.out"; return 1; }
	adds_up "$done"
}

no_panic()
{
	! grep -E 'PANIC|FATAL|terminated by signal|crash' "$WORK/pg.log" |
	    grep -v -e 'due to administrator command' -e 'is starting up'
}

under_load()
{
	local i
	start && bench 14 || return
	for i in no yes increment; do
		moved $i || { tail -n 5 "$WORK/pg.log"; return 1; }
		sleep 1.5
	done
	bench_ends && no_panic || return
	# New clients, over both kinds of sockets; parallel workers; the end.
	host=$data sql 'VACUUM ANALYZE pgbench_accounts' || return
	sql 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	    SET min_parallel_table_scan_size = 0;
	    SELECT count(*) FROM pgbench_accounts' >"$WORK/count" || return
	[ "$(<"$WORK/count")" = 200000 ] || { cat "$WORK/count"; return 1; }
	sql 'CHECKPOINT' || return
	kill -INT "$PID"
	wait_for 30 gone "$PID" || { echo "it does not end"; return 1; }
	forget "$PID"
	no_panic && grep -q 'database system is shut down' "$WORK/pg.log" || {
		tail -n 5 "$WORK/pg.log"
		return 1
	}
	# Its files are in order.
	start && adds_up "$(sql 'SELECT count(*) FROM pgbench_history')" || return
	grep -q 'was shut down at' "$WORK/pg.log" || { cat "$WORK/pg.log"; return 1; }
	kill -INT "$PID"
	wait_for 30 gone "$PID" || { echo "it does not end"; return 1; }
	wait "$PID"
	forget "$PID"
}
# However it ends, nothing of it stays.
run()
{
	local rc=0 id
	under_load || rc=1
	if [ $rc != 0 ]; then
		[ -z "${BENCH-}" ] || kill9 "$BENCH"
		fell "$PID"
	fi
	for id in "${SEGMENTS[@]}"; do
		ipcrm -m "$id" 2>/dev/null
	done
	return $rc
}
t "in the middle of pgbench, moved thrice" run
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
