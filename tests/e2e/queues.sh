#!/bin/bash
# queues.sh - System V message queues: a checkpoint takes nothing out of them; one
# is there still when a process is restored, or made again, with what waits in it;
# it is another's by now, or is used by others.

. "$(dirname "$0")/lib.sh"
need_root
[ -x /usr/bin/perl ] || skip_all "no perl"
mount_snapfs linger=1
chmod 755 "$WORK"
mkdir -m 777 "$WORK/dir"

key=$((0x5b000000 + $$))
user=65534
QUEUES=()

# Of the queue $id.
words='
use strict;
my $id;
sub put { msgsnd($id, pack("l! a*", @_), 04000) or die "$!\n" }
sub take {
	my ($type, $flags) = (@_, 04000);
	defined(msgrcv($id, my $m, 8900, $type, $flags)) or die "$!\n";
	my ($is, $text) = unpack("l! a*", $m);
	return "$is:" . unpack("H*", $text) . " ";
}
sub change {
	my ($at, $how, $value) = @_;
	msgctl($id, 2, my $ds) or die "$!\n";
	substr($ds, $at, length(pack($how, 0))) = pack($how, $value);
	msgctl($id, 1, $ds) or die "$!\n";
}
sub size { change(88, "L!", @_) }
sub mode { change(20, "I", @_) }
sub touch { open(my $f, ">", @_) or die "$!\n" }
'

# A process that has made a queue and done something to it; QUEUE, its id.
# usage: with_queue LINES
with_queue()
{
	rm -rf "$WORK/image" "$WORK/dir/"*
	touch "$WORK/serve.log"
	chmod 666 "$WORK/serve.log"
	/usr/bin/perl -e "$words
my \$user = ${QUEUE_USER-0};
\$( = \$) = \"\$user \$user\";
\$< = \$> = \$user;
\$id = msgget(${QUEUE_KEY-0}, 01640);
$1
open(my \$f, '>', '$WORK/dir/id') or die \"\$!\n\";
print \$f \$id;
close(\$f);
rename('$WORK/dir/id', '$WORK/dir/up');
sleep(1000)" </dev/null >"$WORK/serve.log" 2>&1 3>&- 9>&- &
	PID=$!
	PIDS+=("$PID")
	wait_for 10 test -e "$WORK/dir/up" || { cat "$WORK/serve.log"; return 1; }
	QUEUE=$(<"$WORK/dir/up")
	QUEUES+=("$QUEUE")
	WAS=$(messages)
}

# usage: in_queue LINES
in_queue()
{
	/usr/bin/perl -e "$words
\$id = $QUEUE;
$1"
}

# A queue of root, and for nobody else: its id.
# usage: new_queue KEY
new_queue()
{
	/usr/bin/perl -e "print msgget($1, 01600)"
}

# Which stay there.
messages()
{
	in_queue 'for (0 .. 9999) { print(eval { take($_, 044000) } || exit) }'
}

# Its line, up to its creator or more.
# usage: queue_line [COLUMNS]
queue_line()
{
	awk -v id="$QUEUE" -v n="${1-11}" '$2 == id {
		NF = n; print
	}' /proc/sysvipc/msg
}

# usage: is_queue LINE
is_queue()
{
	[ "$(queue_line)" = "$1" ] || { echo "$(queue_line), not $1"; return 1; }
	[ "$(messages)" = "$WAS" ] || { echo "$(messages), not $WAS"; return 1; }
}

some="put(5, 'one'); put(1, ''); put(9, 'x' x 8000); put(1, 'last'); take(5);"

# Its times are in seconds.
is_later()
{
	[ $EPOCHSECONDS -gt "$1" ]
}

# A checkpoint leaves it as it is, its times too; there still; made again.
queue_back()
{
	local line times
	with_queue "$1" && line=$(queue_line) && times=$(queue_line 14) &&
	    wait_for 5 is_later $EPOCHSECONDS || return
	copy "$PID" "$WORK/image" || return
	[ "$(queue_line 14)" = "$times" ] || { echo "$(queue_line 14), not $times"; return 1; }
	kill9 "$PID" && in_queue "${2:-put(7, 'later')}" || return
	restore "$PID" "$WORK/image" && is_queue "$line" || return
	[[ $ANSWER != *queue* ]] || { echo "it says: $ANSWER"; return 1; }
	kill9 "$PID" && ipcrm -q "$QUEUE" && restore "$PID" "$WORK/image" &&
	    is_queue "$line" || return
	[[ $ANSWER != *queue* ]] || { echo "it says: $ANSWER"; return 1; }
	kill9 "$PID" && ipcrm -q "$QUEUE"
}
t "a queue and its messages" queue_back "$some"
t "a queue in which nothing waits" queue_back "put(5, 'one'); take(5);"
t "a queue that is smaller than what waits in it" queue_back "$some size(3);" \
    "take(0)"

# A restore that is refused before anything came of it leaves the one that is there
# as it is, and when and by whom it was used.
untouched()
{
	local line
	with_queue "$some open(\$main::other, '<', '/proc/self/ns/net');" || return
	cp -r "$MNT/$PID" "$WORK/image" && kill9 "$PID" || return
	line=$(queue_line 14)
	wait_for 5 is_later $EPOCHSECONDS || return
	refused EOPNOTSUPP "$WORK/image" || return
	[ "$(queue_line 14)" = "$line" ] || { echo "$(queue_line 14), not $line"; return 1; }
	[ "$(messages)" = "$WAS" ] && ipcrm -q "$QUEUE"
}
t "a queue, and the restore is refused" untouched

# May one be as large?
# usage: may_be_large BYTES
may_be_large()
{
	local rc
	QUEUE=$(new_queue 0)
	in_queue "size($1)" 2>/dev/null
	rc=$?
	ipcrm -q "$QUEUE"
	return $rc
}

queue_large()
{
	may_be_large 100000 || { echo "CAP_SYS_RESOURCE is missing"; return 77; }
	queue_back "size(100000); put(2, 'y' x 8000) for (1 .. 12);"
}
t "a queue that is larger than others may have" queue_large
QUEUE_USER=$user QUEUE_KEY=$key t "a user's queue with a key" queue_back "$some"

queue_in_tree()
{
	local child line f
	with_queue "
put(3, 'first');
if (!fork()) {
	take(3);
	put(4, 'second');
	touch('$WORK/dir/child');
	sleep(1000);
}
select(undef, undef, undef, 0.01) until (-e '$WORK/dir/child');
put(5, 'third');" && line=$(queue_line) && copy "$PID" "$WORK/image" || return
	child=$(pgrep -P "$PID")
	f=$WORK/image/children/$child
	grep -q "^queue $QUEUE .* $PID $child\$" "$WORK/image/sysvipc" || return
	[ ! -s "$f/sysvipc" ] || { echo "the child has it, too"; return 1; }
	kill -9 "$child"
	kill9 "$PID" && ipcrm -q "$QUEUE" && restore "$PID" "$WORK/image" &&
	    is_queue "$line" || return
	kill -9 "$child"
	kill9 "$PID" || return
	chmod -R u+w "$WORK/image"
	cp "$WORK/image/sysvipc" "$f/sysvipc"
	sed -i '/ sysvipc$/d' "$f/xxh128sums"
	sed -i "/ children\/$child\/sysvipc\$/d" "$WORK/image/xxh128sums"
	refused EBADMSG "$WORK/image" || return
	[[ $ANSWER == *"message queue $QUEUE: it is there twice"* ]] || {
		echo "it says: $ANSWER"
		return 1
	}
	ipcrm -q "$QUEUE"
}
t "a queue in a tree" queue_in_tree

# usage: queue_refused ERROR SENTENCE [OPTION...]
queue_refused()
{
	refused "$1" "$WORK/image" "${@:3}" || return
	[[ $ANSWER == *"message queue $QUEUE: "*"$2"* ]] || {
		echo "it says: $ANSWER"
		return 1
	}
}

queue_lives()
{
	local line
	with_queue "$some" && line=$(queue_line) && copy "$PID" "$WORK/image" &&
	    queue_refused EBUSY "process $PID uses it" pid=new &&
	    is_queue "$line" && kill9 "$PID" && ipcrm -q "$QUEUE"
}
t "a queue whose original lives" queue_lives

# Another process that does something to the queue, and lives: OTHER.
# usage: other LINES
other()
{
	/usr/bin/perl -e "$words
\$id = $QUEUE;
$1
touch('$WORK/dir/other');
sleep(1000)" </dev/null >/dev/null 2>&1 3>&- 9>&- &
	OTHER=$!
	PIDS+=("$OTHER")
}

queue_of_others()
{
	local rc=0
	with_queue "$some" && other "put(7, 'more');" &&
	    wait_for 10 test -e "$WORK/dir/other" &&
	    cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q "^queue $QUEUE: process $OTHER uses it, too" \
	    "$WORK/image/unsupported" && [ ! -s "$WORK/image/sysvipc" ] || rc=1
	WAS=$(messages)
	kill9 "$PID" && refused EOPNOTSUPP "$WORK/image" &&
	    restore "$PID" "$WORK/image" ignore=queue || rc=1
	[ "$(messages)" = "$WAS" ] || { messages; rc=1; }
	kill9 "$OTHER" && kill9 "$PID" && ipcrm -q "$QUEUE" && return $rc
}
t "a queue that a process outside uses, too" queue_of_others

in_msgrcv()
{
	[[ $(<"/proc/$1/syscall") == "70 "* ]]
}

# It has never got anything, so the kernel names it nowhere.
queue_waited_for()
{
	local line rc=0
	with_queue "$some" && line=$(queue_line) && copy "$PID" "$WORK/image" &&
	    other "take(99, 0);" && wait_for 10 in_msgrcv "$OTHER" &&
	    cp -r "$MNT/$PID" "$WORK/named" || return
	grep -q "^queue $QUEUE: process $OTHER waits for it" \
	    "$WORK/named/unsupported" && [ ! -s "$WORK/named/sysvipc" ] || rc=1
	rm -rf "$WORK/named"
	kill9 "$PID" && queue_refused EBUSY "process $OTHER uses it" &&
	    is_queue "$line" || rc=1
	kill9 "$OTHER" && ipcrm -q "$QUEUE" && return $rc
}
t "a queue for which a process outside waits" queue_waited_for

queue_is_another()
{
	local line other
	QUEUE_KEY=$key with_queue "$some" && copy "$PID" "$WORK/image" &&
	    kill9 "$PID" && in_queue "mode(0600)" && line=$(queue_line) || return
	[[ $line == *" 600 "* ]] || { echo "$line"; return 1; }
	queue_refused EEXIST "it is another one here" && is_queue "$line" &&
	    ipcrm -q "$QUEUE" || return
	other=$(new_queue $key)
	queue_refused EEXIST "another one has its key" && ipcrm -q "$other" || return
	[ -z "$(queue_line)" ] || { echo "left: $(queue_line)"; return 1; }
}
t "a queue, and another has its place or key" queue_is_another

# What is refused later leaves no queue, and one that was there as it was.
queue_broken()
{
	with_queue "$some" && copy "$PID" "$WORK/image" && kill9 "$PID" || return
	chmod u+w "$WORK/image/pages"
	printf X | dd of="$WORK/image/pages" bs=1 seek=9 conv=notrunc status=none
	in_queue "put(8, 'new'); take(1); size(9);" && WAS=$(messages) || return
	refused EBADMSG "$WORK/image" || return
	[ "$(messages)" = "$WAS" ] || { echo "$(messages), not $WAS"; return 1; }
	ipcrm -q "$QUEUE" && refused EBADMSG "$WORK/image" || return
	[ -z "$(queue_line)" ] || { echo "left: $(queue_line)"; return 1; }
}
t "an image that is broken leaves no queue" queue_broken

queue_too_much()
{
	with_queue "put(1, '') for (1 .. 5000);" && cp -r "$MNT/$PID" "$WORK/image" || return
	grep -q "^queue $QUEUE: there are too many messages" \
	    "$WORK/image/unsupported" || { cat "$WORK/image/unsupported"; return 1; }
	kill9 "$PID" && ipcrm -q "$QUEUE"
}
t "a queue with more than is read" queue_too_much

# A restore by a user does what that user may do.
queue_rights()
{
	local user_request=(setpriv "--reuid=$user" "--regid=$user" "--groups=$user"
	    --inh-caps=-all "$WORK/request") line answer
	cp "$TOOLS/request" "$WORK/request"
	QUEUE_USER=$user with_queue "$some" && line=$(queue_line) &&
	    copy "$PID" "$WORK/image" && kill9 "$PID" && ipcrm -q "$QUEUE" || return
	chmod -R u+w,a+rX "$WORK/image"
	chown -R -h $user:$user "$WORK/image"
	PIDS+=("$PID")
	answer=$("${user_request[@]}" "$MNT/.restore" "$WORK/image") || {
		echo "it says: $answer"
		return 1
	}
	is_queue "$line" || return
	kill9 "$PID" && ipcrm -q "$QUEUE" || return
	# More in it than users may have.
	sed -i '/ sysvipc$/d' "$WORK/image/xxh128sums"
	sed -i 's/ 16384 / 163840000 /' "$WORK/image/sysvipc"
	answer=$("${user_request[@]}" "$MNT/.restore" "$WORK/image") && return 1
	[[ $answer == EPERM*"message queue $QUEUE: "*163840000* ]] || {
		echo "it says: $answer"
		return 1
	}
	[ -z "$(queue_line)" ] || { echo "left: $(queue_line)"; return 1; }
	# Of root, and for nobody else.
	QUEUE=$(new_queue 0)
	sed -i "s/^queue [0-9]* /queue $QUEUE /" "$WORK/image/sysvipc"
	QUEUES+=("$QUEUE")
	line=$(queue_line 14)
	answer=$("${user_request[@]}" "$MNT/.restore" "$WORK/image") && return 1
	[[ $answer == EACCES*"message queue $QUEUE: "* ]] || {
		echo "it says: $answer"
		return 1
	}
	[ "$(queue_line 14)" = "$line" ] && ipcrm -q "$QUEUE"
}
t "a queue that is restored by a user" queue_rights

# What tests that failed have left.
for id in "${QUEUES[@]}"; do
	ipcrm -q "$id" 2>/dev/null
done
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
