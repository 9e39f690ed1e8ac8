/*
 * relay.h - a pseudo-terminal that stands before a terminal.
 *
 * A process cannot enter the session that has a terminal.  So it gets a
 * pseudo-terminal for a session of its own, and what is typed on the terminal
 * is typed there, what is written there is shown on the terminal, and the one
 * has the size of the other: as script(1) and ssh(1) do it.
 */
#ifndef RELAY_H
#define RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <termios.h>

#define RELAY_FDS 2	  /* in what is polled */
#define RELAY_LOOK_MS 200 /* relay_look() is to be called so often */

struct relay_bytes {
	char v[4096];
	size_t n;
};

struct relay {
	int terminal; /* owned; opened anew where that is allowed */
	int master;   /* owned; the pseudo-terminal's */
	bool input;   /* what is typed is the program's */
	bool raw;     /* and so the terminal is in this mode */
	bool idle;    /* nobody has the other side open */
	struct termios mode;
	struct winsize size;
	struct relay_bytes typed, shown;
};

/*
 * Make the pair, of the terminal's mode and size; *slave is its other side, the
 * caller's.  0 or -errno; relay_close() in either case.
 */
int relay_open(struct relay *r, int terminal, int *slave);
void relay_close(struct relay *r);

/*
 * Take what is typed, and give the terminal the mode for that; or leave it to
 * others, in the mode that it had.
 */
void relay_take(struct relay *r);
void relay_leave(struct relay *r);

/* What to poll, and what to do then; false: the terminal is gone. */
void relay_poll(const struct relay *r, struct pollfd p[RELAY_FDS]);
bool relay_move(struct relay *r, const struct pollfd p[RELAY_FDS]);

/* Has its size changed?  Is there somebody again?  False as above. */
bool relay_look(struct relay *r);

/* The program has ended: show what it wrote before that. */
void relay_drain(struct relay *r);

#endif
