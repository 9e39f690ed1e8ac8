#!/bin/bash
# real_redis.sh - redis-server with data, a subscriber, a client that blocks, a
# transaction under way: moved by `replace`, of which the clients notice
# nothing; and killed and restored, whereupon they come again.  The same while a
# child of it writes all data to a file.

. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/tree_lib.sh"
need_root
command -v redis-server >/dev/null || skip_all "redis-server is not installed"
mount_snapfs freeze_timeout=20

# A port that nobody has.
port=$(/usr/bin/python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

is_up()
{
	(exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
}

# usage: say FD COMMAND
say()
{
	printf '%s\r\n' "$2" >&"$1"
}

# The next lines from a client.
# usage: hear FD LINE...
hear()
{
	local fd=$1 want line
	shift
	for want; do
		read -r -t 20 line <&"$fd" || {
			echo "client $fd: no answer, expected $want"
			return 1
		}
		[ "$line" = "$want"$'\r' ] || {
			echo "client $fd: $line, expected $want"
			return 1
		}
	done
}

begin()
{
	(cd "$WORK" && exec redis-server --port "$port" --bind 127.0.0.1 \
	    --save '' --appendonly no --timeout 0 --enable-debug-command yes \
	    </dev/null >"$WORK/redis.log" 2>&1 3>&- 9>&-) &
	PID=$!
	PIDS+=("$PID")
	wait_for 20 is_up || { tail "$WORK/redis.log"; return 1; }
	# 5 publishes, 6 subscribes, 7 has a transaction, 8 blocks.
	for fd in 5 6 7 8; do
		eval "exec $fd<>/dev/tcp/127.0.0.1/$port"
	done
	for ((i = 0; i < 500; i++)); do
		echo "SET key$i value$i"
	done >&5
	for ((i = 0; i < 500; i++)); do
		hear 5 +OK || return
	done
	say 6 'SUBSCRIBE news'
	hear 6 '*3' '$9' subscribe '$4' news :1 || return
	say 7 MULTI
	hear 7 +OK || return
	say 7 'SET inside 1'
	hear 7 +QUEUED || return
	say 8 'BLPOP list 0'
	sleep 0.2
}

has_data()
{
	say 5 DBSIZE
	hear 5 ":$1" || return
	say 5 'GET key321'
	hear 5 '$8' value321
}

end_clients()
{
	exec 5>&- 6>&- 7>&- 8>&-
}

# One life: all that was begun before it goes on in it.
go_on()
{
	has_data "$1" || return
	say 7 'INCR inside'
	hear 7 +QUEUED || return
	say 5 "PUBLISH news hello$1"
	hear 5 :1 || return
	hear 6 '*3' '$7' message '$4' news "\$$((5 + ${#1}))" "hello$1"
}

moved()
{
	local i
	begin || return
	for i in 1 2; do
		rm -rf "$WORK/image"
		copy "$PID" "$WORK/image" || return
		restore "$PID" "$WORK/image" replace || return
		go_on 500 || return
	done
	say 7 EXEC
	hear 7 '*3' +OK :2 :3 || return
	say 5 'RPUSH list a'
	hear 5 :1 || return
	hear 8 '*2' '$4' list '$1' a || return
	has_data 501 || return
	end_clients
	kill9 "$PID"
}
t "moved with its clients, twice" moved

again()
{
	begin || return
	rm -rf "$WORK/image"
	copy "$PID" "$WORK/image" || return
	kill9 "$PID" || return
	end_clients
	restore "$PID" "$WORK/image" || return
	exec 5<>"/dev/tcp/127.0.0.1/$port"
	has_data 500 || return
	say 5 'SET inside 1'
	hear 5 +OK || return
	exec 5>&-
	kill9 "$PID"
}
t "killed and restored: its clients come again" again

# ---- with a child that saves ----

# The value of a line of INFO.
# usage: info NAME
info()
{
	local line got=
	exec 9<>"/dev/tcp/127.0.0.1/$port"
	printf 'INFO everything\r\nQUIT\r\n' >&9
	while read -r -t 20 line <&9; do
		[[ $line != "$1:"* ]] || got=${line#*:}
	done
	exec 9>&-
	echo "${got%$'\r'}"
}

saves()
{
	[ "$(info rdb_bgsave_in_progress)" = 1 ]
}

saved()
{
	[ "$(info rdb_bgsave_in_progress)" = 0 ]
}

saving()
{
	local i all
	rm -f "$WORK/dump.rdb"
	begin || return
	say 5 'DEBUG POPULATE 40000 more 200'
	hear 5 +OK || return
	# So that it takes some seconds.
	say 5 'CONFIG SET rdb-key-save-delay 150'
	hear 5 +OK || return
	say 5 BGSAVE
	hear 5 '+Background saving started' || return
	for i in 1 2; do
		sleep 0.7
		saves || { echo "it has saved already"; return 1; }
		copy_tree "$PID" "$WORK/image" || return
		all=$(family "$PID")
		[ "$(wc -l <<<"$all")" = 2 ] || { echo "no child: $all"; return 1; }
		restore "$PID" "$WORK/image" replace || return
		[ "$(family "$PID")" = "$all" ] || { family "$PID"; return 1; }
		go_on 40500 || return
	done
	# What is written now is not in the file.
	say 5 'SET late 1'
	hear 5 +OK || return
	saves || { echo "it has saved already"; return 1; }
	wait_for 60 saved || { echo "it does not end"; return 1; }
	[ "$(info rdb_last_bgsave_status)" = ok ] || {
		tail "$WORK/redis.log"
		return 1
	}
	end_clients
	kill9 "$PID" || return
	redis-check-rdb "$WORK/dump.rdb" >"$WORK/check.out" || {
		cat "$WORK/check.out"
		return 1
	}
	grep -q ' 40500 keys read' "$WORK/check.out" || {
		cat "$WORK/check.out"
		return 1
	}
}
t "with a child that saves, moved twice" saving

t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
