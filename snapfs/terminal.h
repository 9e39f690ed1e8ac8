/*
 * terminal.h - the terminal that a restored process gets, and who stands
 * between it and that of the writer.
 *
 * A terminal that is nobody's controlling terminal is given as it is.  The
 * writer's belongs to his session; so the process gets a pseudo-terminal, and a
 * process of its own, the relay, carries what is typed and shown (relay.h).
 * The writer waits in his close(2) meanwhile, if he and the process are both in
 * the foreground: else his shell would read what is typed.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "snap.h"
#include "writer.h"

struct terminal {
	int fd;	       /* the one that was given, -1: none */
	bool named;    /* by tty= */
	bool writers;  /* it is the writer's controlling terminal */
	bool in_front; /* and he is in the foreground there */
	int slave;     /* of the relay's, -1 */
	int std[3];    /* in place of the writer's */
	int go;	       /* to the relay; -1: there is none */
	int ended;     /* at the end of file the terminal is his again, -1 */
};

/*
 * Look for a terminal as the writer: `ask` names one, or one that he has.  0, or
 * -errno with w->why.  terminal_close() in either case.
 */
int terminal_open(
    struct terminal *t, struct writer *w, const struct agent_request *ask);
void terminal_close(struct terminal *t);

/* snap_restore_options.terminal, with t for its argument. */
int terminal_give(void *t, const struct snap_terminal *want,
    struct snap_restore_options *opt);

/* The process runs: so does the relay from now on. */
void terminal_go(struct terminal *t, pid_t pid);

#endif
