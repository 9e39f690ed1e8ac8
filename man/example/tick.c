/*
 * tick.c - the process whose image is the worked example of snapfs(5).
 *
 *	gcc -O2 -static -nostdlib -fno-stack-protector -o tick tick.c
 *	env -i ./tick </dev/null &
 *	cp -r /snap/$! image
 *
 * It puts a few bytes into a pipe of its own and sleeps: no library, so that
 * there is little to show.
 */
static long
call(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c)
			 : "rcx", "r11", "memory");
	return ret;
}

#define WRITE 1
#define PIPE 22
#define NANOSLEEP 35

static int ends[2]; /* of the pipe */

void
_start(void)
{
	static const long day[2] = { 86400, 0 };

	call(PIPE, (long)ends, 0, 0);
	call(WRITE, ends[1], (long)"tick\n", 5);
	for (;;)
		call(NANOSLEEP, (long)day, 0, 0);
}
