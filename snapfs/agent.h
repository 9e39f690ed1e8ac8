/*
 * agent.h - the process that does a restore, and how the daemon talks to it.
 *
 * It is this same program, executed anew: single-threaded, with nothing of the
 * daemon's memory or descriptors but a socket.  It becomes the writer, calls
 * snap_restore(), says how that ended, and exits.
 */
#ifndef AGENT_H
#define AGENT_H

#include "control.h"
#include "snap.h"
#include "templates.h"
#include "view.h"

/* argv[0] of an agent, by which main() knows that it is one. */
#define AGENT_NAME "snapfs: restore"
/* And what ps(1) shows, until it has a request and from then on. */
#define AGENT_COMM_STANDBY "snapfs-standby"
#define AGENT_COMM "snapfs-restore"
#define AGENT_FD 3 /* a SOCK_SEQPACKET socket */

/* From the daemon: one. */
struct agent_request {
	pid_t tid;	       /* the writing thread, blocked in write(2) */
	struct proc_id writer; /* its process */
	uid_t uid;	       /* the ids that FUSE saw */
	gid_t gid;
	bool privileged;	  /* the daemon may become others */
	bool templates;		  /* there may be some */
	bool may_defer;		  /* -ECHILD is an answer: see snap.h, asker */
	bool terminal_busy;	  /* by what was restored before this */
	unsigned seccomp_filters; /* that all are under, the daemon too */
	unsigned freeze_timeout_ms;
	enum snap_level log_level;
	struct restore_request restore;
};

/*
 * From the agent: log records and requests, then one result.  If a descriptor
 * comes with that, the writer's terminal is the process's until the end of file
 * is read there; and if it is closed before, that terminal is lost to it.
 * Where the result says `paging`, the agent goes on as the pager of what it
 * restored, more records may come, and the last says why if the process had to
 * be killed.
 */
enum agent_type {
	AGENT_LOG,
	AGENT_UFFD,   /* with a userfaultfd: to shake hands with it; the answer
		       is an int, 0 or -errno */
	AGENT_BECAME, /* it is the writer, and has seen nothing of the image;
			   the answer is an offer */
	AGENT_IMAGE,  /* what image it has; the answer is an offer */
	AGENT_TEMPLATE, /* it made one: the socket, and a pidfd */
	AGENT_KEEPER,	/* before that, of snapfs-run: its keeper's socket */
	AGENT_PIDS,	/* of more instances than the first, one a line */
	AGENT_WAITS,	/* it is complete, and waits for words */
	AGENT_KEPT,	/* the answer to AGENT_KEEP: it outlives the daemon */
	AGENT_RESULT,

	AGENT_OFFER, /* from the daemon, with a template's socket if any,
			its keeper's, and its spare's if offer.spare */
};

/*
 * From the daemon after AGENT_WAITS, an int.  At the end of file what waits is
 * killed, or let go stopped if it was told to keep it.
 */
enum agent_word { AGENT_GO, AGENT_KEEP };

#define AGENT_FDS 2 /* that may come with a message */
#define OFFER_FDS 3 /* and with an offer */

/* About a template; what is meant depends on the type of the message. */
struct agent_offer {
	enum { OFFER_NONE, OFFER_MAKE, OFFER_USE } what;
	struct identity image;
	uint64_t start, end; /* as in struct snap_template */
	char note[512];
	bool spare;
};

#define AGENT_TEXT_MAX 1400u

struct agent_message {
	enum agent_type type;
	int err;     /* AGENT_RESULT: 0 or -errno */
	pid_t pid;   /* AGENT_WAITS; AGENT_RESULT, if 0 */
	bool paging; /* likewise */
	bool tree;   /* likewise: of more than one process */
	union {
		char text[AGENT_TEXT_MAX]; /* the sentence, or the note */
		uint64_t record[SNAP_LOG_PACKED_MAX / 8]; /* AGENT_LOG */
		struct agent_offer offer;
	};
};

/*
 * A second argument, which makes room for what /proc/PID/cmdline of a pager
 * shows: see pagers.h.
 */
#define AGENT_ROOM 100u

/* The agent's main; returns its exit status. */
int agent_main(char **argv);

#endif
