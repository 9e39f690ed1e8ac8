/*
 * logcall - what a log call costs beside printing the same line at once.
 *
 * Prints three times in ns, the medians of many runs: snap_logf() into the ring
 * of the daemon; snprintf() of the line as .log has it (the time of day is not
 * printed, only asked for, as the ring does); and what of both is the question
 * for the time of day.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctx.h"
#include "log.h"

#define RUNS 2001
#define CALLS 100

static const char *volatile what = "descriptors read";
static volatile int pid = 4711;
static volatile size_t threads = 12;

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
log_calls(struct snap_ctx *cx)
{
	uint64_t begun = now_ns();

	for (unsigned i = 0; i < CALLS; i++)
		snap_logf(cx, SNAP_STEP, "process %d: %s: %zu threads, %llu us",
		    pid, what, threads, (unsigned long long)i);
	return (double)(now_ns() - begun) / CALLS;
}

static double
printed_lines(char *buf, size_t size)
{
	uint64_t begun = now_ns();
	struct timespec ts;

	for (unsigned i = 0; i < CALLS; i++) {
		clock_gettime(CLOCK_REALTIME, &ts);
		snprintf(buf, size, "process %d: %s: %zu threads, %llu us", pid,
		    what, threads, (unsigned long long)i);
		__asm__ volatile("" ::"r"(buf), "r"(&ts) : "memory");
	}
	return (double)(now_ns() - begun) / CALLS;
}

static double
clock_reads(void)
{
	uint64_t begun = now_ns();
	struct timespec ts;

	for (unsigned i = 0; i < CALLS; i++) {
		clock_gettime(CLOCK_REALTIME, &ts);
		__asm__ volatile("" ::"r"(&ts) : "memory");
	}
	return (double)(now_ns() - begun) / CALLS;
}

static double
median(double *v)
{
	qsort(v, RUNS, sizeof(*v), compare);
	return v[RUNS / 2];
}

int
main(void)
{
	struct log *log = log_new(SNAP_STEP, -1);
	struct log_job job = log_job(log, 0, RING_CHECKPOINT, 1);
	struct snap_options opt = {
		.log = log_sink,
		.log_arg = &job,
		.log_level = SNAP_STEP,
	};
	struct snap_ctx *cx = snap_ctx_new(&opt);
	static double ring[RUNS], text[RUNS], clock[RUNS];
	char buf[1024];

	if (log == NULL || cx == NULL)
		return 1;
	for (int i = 0; i < RUNS; i++) {
		ring[i] = log_calls(cx);
		text[i] = printed_lines(buf, sizeof(buf));
		clock[i] = clock_reads();
	}
	printf("%.1f %.1f %.1f\n", median(ring), median(text), median(clock));
	snap_ctx_free(cx);
	log_free(log);
	return 0;
}
