/*
 * broker.h - one restore's dealings about a template, on the daemon's side: the
 * agent says when it has become the writer and what image it has, and is told
 * to use a template, to make one, or to do without.
 *
 * The place is looked at before the agent has seen a byte of the image: from
 * then on it may be in the image's power, and what it says is no proof.
 *
 * For snapfs-run(1), which restores by itself, see lender.h; what it makes is for
 * its session.
 */
#ifndef BROKER_H
#define BROKER_H

#include "agent.h"

struct snapfs;

struct broker {
	struct snapfs *fs;
	uid_t uid;
	pid_t agent;
	const struct restore_request *ask;
	char *place; /* owned; NULL: there will be no template */
	bool looked; /* the image was asked about */
	struct identity image;
	bool first; /* it was not restored before */
	struct template *in_use;
	struct spare spare; /* of that, which the agent was given */

	pid_t session; /* of snapfs-run; 0: it is an agent */
	int keeper;    /* that it told of, owned; 0: none yet */
	struct template_making making;
};

/* One of its messages, with what descriptors came along, which it takes. */
void broker_message(struct broker *b, int sock, const struct agent_message *m,
    int fds[AGENT_FDS]);
/*
 * The restore has ended; `instances` were made, of what was in use if any, and
 * `first` is the one that may have been the spare; 0: that is not known.
 */
void broker_end(struct broker *b, unsigned instances, pid_t first);

#endif
