/*
 * Job.java - hashes and garbage by four threads, and one that ticks; with a child
 * that answers questions, if it is told to have one.  Prints what it has computed.
 *
 *	java Job COUNT alone|child [FILE]
 *
 * In the middle it computes more, which nobody hears of, until FILE is there.
 */
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

	static void busyUntil(ExecutorService pool, File go) throws Exception {
		while (!go.exists()) {
			List<Future<String>> more = new ArrayList<>();
			for (int n = 0; n < 8; n++) {
				final int k = n;
				more.add(pool.submit(() -> work(k)));
			}
			for (Future<String> f : more)
				f.get();
		}
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
		int count = Integer.parseInt(args[0]);
		for (int n = 0; n < count; n++) {
			final int k = n;
			if (n == count / 2 && args.length > 2)
				busyUntil(pool, new File(args[2]));
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
