#!/bin/bash
# real_nginx.sh - nginx, as one process and as a master with its workers, under
# load from another: killed behind a filter and restored, twice.  No request is
# lost, none answered wrongly.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root
command -v nginx >/dev/null || skip_all "nginx is not installed"
command -v nft >/dev/null || skip_all "nft is not installed"
nft add table inet "snapfs_probe_$$" 2>/dev/null ||
    skip_all "nftables do not work in this kernel"
nft delete table inet "snapfs_probe_$$"
mount_snapfs freeze_timeout=20

port=$(/usr/bin/python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir -p "$WORK/www"
for i in {0..9}; do
	head -c $((i * 7000 + 100)) /dev/urandom | base64 >"$WORK/www/f$i"
done
chmod 755 "$WORK" "$WORK/www"
# usage: configure LINE...
configure()
{
	cat >"$WORK/nginx.conf" <<-END
	daemon off;
	$*
	user root;
	pid $WORK/nginx.pid;
	error_log $WORK/error.log;
	events { worker_connections 256; }
	http {
		access_log off;
		keepalive_requests 100000;
		client_body_temp_path $WORK/t1;
		proxy_temp_path $WORK/t2;
		fastcgi_temp_path $WORK/t3;
		uwsgi_temp_path $WORK/t4;
		scgi_temp_path $WORK/t5;
		server { listen 127.0.0.1:$port; root $WORK/www; }
	}
	END
}
cat >"$WORK/load.py" <<'END'
import http.client, os, sys, threading, time
port, www, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3]
files = [open(f"{www}/f{i}", "rb").read() for i in range(10)]
done, bad = [0] * 8, []

def run(k):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    n = k
    try:
        while not os.path.exists(stop):
            c.request("GET", f"/f{n % 10}")
            r = c.getresponse()
            body = r.read()
            if r.status != 200 or body != files[n % 10]:
                bad.append(f"{k}: answer {r.status}, {len(body)} bytes")
            done[k] += 1
            n += 1
    except Exception as e:
        bad.append(f"{k}: {e!r} after {done[k]}")

threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
for t in threads:
    t.start()
while any(t.is_alive() for t in threads):
    with open(stop + ".least.new", "w") as f:
        print(min(done), file=f)
    os.rename(stop + ".least.new", stop + ".least")
    time.sleep(0.05)
for t in threads:
    t.join()
for b in bad:
    print(b)
print("requests", sum(done), min(done))
END

is_up()
{
	(exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
}

filter()
{
	nft -f - <<-END
		table inet snapfs_nginx_$$ {
			chain in { type filter hook input priority -1;
				tcp dport $port drop; }
			chain out { type filter hook output priority -1;
				tcp sport $port drop; }
		}
	END
}

move()
{
	local rc
	filter || return
	copy_tree "$PID" "$WORK/image" && fell "$PID" &&
	    restore "$PID" "$WORK/image"
	rc=$?
	nft delete table inet "snapfs_nginx_$$"
	return $rc
}

# usage: every_client REQUESTS: so many have been answered
every_client()
{
	local least
	{ read -r least <"$WORK/stop.least"; } 2>/dev/null && [ "$least" -ge "$1" ]
}

# usage: under_load LINE...: of the configuration
under_load()
{
	local load i
	configure "$@"
	rm -f "$WORK"/stop*
	nginx -p "$WORK" -c "$WORK/nginx.conf" </dev/null >"$WORK/out" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 is_up || { cat "$WORK/out" "$WORK/error.log"; return 1; }
	/usr/bin/python3 "$WORK/load.py" "$port" "$WORK/www" "$WORK/stop" \
	    </dev/null >"$WORK/load.out" 2>&1 3>&- 9>&- &
	load=$!
	PIDS+=("$load")
	for i in 10 20 30; do
		wait_for 60 every_client $i || {
			echo "no client may wait for ever: $(<"$WORK/stop.least")"
			return 1
		}
		[ $i = 30 ] || move || { tail -n 5 "$WORK/error.log"; return 1; }
	done
	: >"$WORK/stop"
	wait_for 90 gone "$load" || { echo "the load does not end"; return 1; }
	forget "$load"
	cat "$WORK/load.out"
	[ "$(wc -l <"$WORK/load.out")" = 1 ] || return
}

alone()
{
	under_load "master_process off;" && fell "$PID"
}
t "under load, moved twice" alone

# Then the master does what a master does.
workers()
{
	local all
	under_load "worker_processes 3;" || return
	all=$(family "$PID")
	[ "$(wc -l <<<"$all")" = 4 ] || { echo "there are: $all"; return 1; }
	kill -HUP "$PID"
	wait_for 20 has_new_workers "$all" || {
		echo "no new workers: $(family "$PID")"
		return 1
	}
	is_up || { echo "nobody listens"; return 1; }
	kill -QUIT "$PID"
	wait_for 20 gone "$PID" || { echo "it does not end"; return 1; }
	forget "$PID"
}

# usage: has_new_workers OLD
has_new_workers()
{
	local now
	now=$(family "$PID")
	[ "$(wc -l <<<"$now")" = 4 ] &&
	    [ "$(sort <(echo "$1") <(echo "$now") | uniq -d)" = "$PID" ]
}
t "master and workers under load, moved twice" workers
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
