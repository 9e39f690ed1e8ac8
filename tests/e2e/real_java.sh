#!/bin/bash
# real_java.sh - Java: a JIT, a collector with threads of its own, signals of its
# own, a file that it shares with those who look on; in the middle of a
# computation that makes garbage, with a child process that answers questions.

. "$(dirname "$0")/real_lib.sh"
command -v javac >/dev/null || skip_all "javac is not installed"

cat >"$WORK/Job.java" <<'END'
import java.io.*;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicLong;

public class Job {
	static final AtomicLong ticks = new AtomicLong();

	static String work(int n) throws Exception {
		MessageDigest d = MessageDigest.getInstance("SHA-256");
		Map<String, byte[]> m = new TreeMap<>();
		for (int i = 0; i < 12000; i++) {
			String k = "key" + (i * 31 + n) % 5003;
			d.update(k.getBytes());
			m.put(k, new byte[i % 300]);
			if (i % 7 == 0)
				m.remove("key" + i);
		}
		d.update(String.valueOf(m.size()).getBytes());
		return new java.math.BigInteger(1, d.digest()).toString(16);
	}

	static Process child;
	static BufferedReader from;
	static Writer to;

	static void begin() throws Exception {
		child = new ProcessBuilder("sed", "-u", "s/^/<&>/").start();
		from = new BufferedReader(
		    new InputStreamReader(child.getInputStream()));
		to = new OutputStreamWriter(child.getOutputStream());
	}

	static String ask(String s) throws Exception {
		if (child == null)
			return s;
		to.write(s + "\n");
		to.flush();
		return from.readLine();
	}

	static int end() throws Exception {
		if (child == null)
			return -1;
		to.close();
		return child.waitFor();
	}

	public static void main(String[] args) throws Exception {
		Thread beat = new Thread(() -> {
			try {
				for (;;) {
					Thread.sleep(5);
					ticks.incrementAndGet();
				}
			} catch (InterruptedException e) {
			}
		});
		beat.setDaemon(true);
		beat.start();
		if (args[1].equals("child"))
			begin();
		ExecutorService pool = Executors.newFixedThreadPool(4);
		List<Future<String>> all = new ArrayList<>();
		for (int n = 0; n < Integer.parseInt(args[0]); n++) {
			final int k = n;
			all.add(pool.submit(() -> work(k)));
		}
		StringBuilder out = new StringBuilder();
		for (Future<String> f : all)
			out.append(ask(f.get())).append('\n');
		pool.shutdown();
		out.append(end()).append('\n');
		out.append(ticks.get() > 10).append('\n');
		System.out.print(out);
	}
}
END
(cd "$WORK" && javac Job.java) || die "javac fails"
# What others of the machine run is none of its business.
export TMPDIR=$WORK
java=(java -Xmx160m -XX:+UseG1GC -cp "$WORK" Job)

real "in the middle of a computation, with a child" "${java[@]}" 220 child

again()
{
	copy_tree "$PID" "$1" && fell "$PID" && restore "$PID" "$1" lazy=no
}
real "the same, with all memory there at once" "${java[@]}" 220 child

# It must not have asked for the number of a child.
again()
{
	local old=$PID
	copy_tree "$PID" "$1" && fell "$PID" || return
	ANSWER=$("$TOOLS/request" "$MNT/.restore" "$1" pid=new) || {
		echo "$ANSWER"
		return 1
	}
	PID=$(restored_pid)
	PIDS+=("$PID")
	[ "$PID" != "$old" ]
}
real "under other numbers" "${java[@]}" 220 alone
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
