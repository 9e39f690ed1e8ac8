/*
 * proc_parse.h - the texts of /proc/PID files as structures.
 *
 * Pure functions of a text that believe nothing of it: what they do not find
 * or cannot read is -EPROTO.
 */
#ifndef PROC_PARSE_H
#define PROC_PARSE_H

#include "process.h"

/* ---- status ---- */

struct proc_status {
	char comm[16];
	char state; /* 'R', 'S', 'D', 'T', 't', 'Z', 'X', ... */
	uint32_t umask;
	pid_t tgid, pid, ppid, tracer;
	unsigned nspids;	  /* how many PID namespaces deep */
	pid_t nspid;		  /* its number in the innermost */
	unsigned threads;	  /* 0 in a zombie */
	unsigned seccomp;	  /* 0 none, 1 strict, 2 filter */
	unsigned seccomp_filters; /* how many; 0 if the kernel does not say */
	uint64_t vm_locked;	  /* bytes */
	uint64_t sigpnd, shdpnd, sigblk, sigign, sigcgt;
	struct creds creds; /* without securebits */
};

/* On success st->creds.groups is the caller's. */
int proc_parse_status(const char *text, struct proc_status *st);

/* ---- stat ---- */

struct proc_stat {
	char comm[64];
	char state;
	pid_t ppid, pgid, sid;
	uint32_t tty;	/* device number as the kernel encodes it */
	pid_t tty_pgid; /* the foreground there, -1: there is none */
	uint64_t flags;
	uint64_t starttime; /* clock ticks since boot */
	int exit_signal;
	int exit_code;	     /* of a zombie, as wait(2) has it */
	struct mm_layout mm; /* zeros where ptrace is not allowed; no brk */
};

#define PROC_PF_KTHREAD 0x00200000u

int proc_parse_stat(const char *text, struct proc_stat *st);

/* ---- limits ---- */

struct proc_limit {
	uint64_t cur, max; /* UINT64_MAX: unlimited */
};

int proc_parse_limits(
    const char *text, struct proc_limit limits[PROCESS_NRLIMITS]);

/* ---- timers ---- */

/* Ids, clocks and how they notify; to be freed.  Times are not in it. */
int proc_parse_timers(const char *text, struct posix_timer **timers, size_t *n);

#endif
