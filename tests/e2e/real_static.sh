#!/bin/bash
# real_static.sh - static programs, of musl and of glibc, without a dynamic
# linker, with threads.

. "$(dirname "$0")/real_lib.sh"

cat >"$WORK/job.c" <<'END'
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *work(void *arg)
{
	uint64_t *sum = arg, x = *sum;
	char *p = malloc(1 << 20);
	for (int i = 0; i < 900000000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		p[x >> 44] ^= (char)x;
	}
	for (int i = 0; i < 1 << 20; i++)
		x = x * 31 + (unsigned char)p[i];
	*sum = x;
	return NULL;
}

int main(void)
{
	uint64_t sum[2] = { 1, 2 };
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, work, &sum[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	printf("%llx %llx\n", (unsigned long long)sum[0],
	    (unsigned long long)sum[1]);
}
END
gcc -O1 -pthread -static -o "$WORK/glibc" "$WORK/job.c" || exit
real "glibc" "$WORK/glibc"
gcc -O1 -pthread -static-pie -fPIE -o "$WORK/pie" "$WORK/job.c" || exit
real "glibc, position-independent" "$WORK/pie"
if command -v musl-gcc >/dev/null; then
	musl-gcc -O1 -pthread -static -o "$WORK/musl" "$WORK/job.c" || exit
	real "musl" "$WORK/musl"
else
	skip "musl" "musl-gcc is not installed"
fi
t "the daemon ends well" unmount_snapfs
[ $TEST_FAILED = no ]
