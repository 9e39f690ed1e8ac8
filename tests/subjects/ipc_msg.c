/*
 * ipc_msg - message queues: what waits in one, in its order; threads that wait
 * for a message, and for room; who was the last to send and to receive.
 *
 * clones: refused
 */
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "call.h"

enum { LARGE = 8000, NEVER = 99, ROOM = 10 };

struct message {
	long type;
	char bytes[LARGE];
};

static int plain, full, quiet;
static struct message got;

static void
put(int id, long type, size_t size)
{
	struct message m = { .type = type };

	subject_fill(m.bytes, size, (unsigned)type);
	must(msgsnd(id, &m, size, IPC_NOWAIT) == 0);
}

static void
is_next(int id, long type, long size)
{
	long n = msgrcv(id, &got, LARGE, 0, IPC_NOWAIT);

	expect(n == size && got.type == type,
	    "message of type %ld, %ld bytes: type %ld, %ld bytes", type, size,
	    got.type, n);
	if (n == size)
		subject_filled("message", got.bytes, (size_t)n, (unsigned)type);
}

static long
receives(void *arg)
{
	(void)arg;
	return call_errno(msgrcv(plain, &got, LARGE, NEVER, 0));
}

static long
sends(void *arg)
{
	struct message m = { .type = 5 };

	(void)arg;
	subject_fill(m.bytes, ROOM, 5);
	return call_errno(msgsnd(full, &m, ROOM, 0));
}

/* The last to send into a queue in which nothing waits, and it lives. */
static pid_t
make_child(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		put(quiet, 1, 0);
		while (msgrcv(quiet, &got, LARGE, 2, 0) < 0 && errno == EINTR)
			;
		_exit(42);
	}
	must(msgrcv(quiet, &got, LARGE, 1, 0) == 0);
	return pid;
}

static void
look(int id, struct msqid_ds *ds)
{
	memset(ds, 0, sizeof(*ds));
	expect(msgctl(id, IPC_STAT, ds) == 0, "queue %d is gone", id);
}

static void
is_same(const char *what, const struct msqid_ds *was, int id, bool restored)
{
	struct msqid_ds is;

	look(id, &is);
	expect(is.msg_perm.mode == was->msg_perm.mode &&
		   is.msg_perm.uid == was->msg_perm.uid &&
		   is.msg_perm.cuid == was->msg_perm.cuid,
	    "%s: it is another", what);
	expect(is.msg_qbytes == was->msg_qbytes &&
		   is.msg_qnum == was->msg_qnum &&
		   is.__msg_cbytes == was->__msg_cbytes,
	    "%s: %lu messages, %lu of %lu bytes", what, is.msg_qnum,
	    is.__msg_cbytes, is.msg_qbytes);
	expect(is.msg_lspid == was->msg_lspid, "%s: %d sent last, not %d", what,
	    is.msg_lspid, was->msg_lspid);
	/* Nobody: then who emptied it to fill it again, if it was there. */
	expect(
	    is.msg_lrpid == was->msg_lrpid || (restored && was->msg_lrpid == 0),
	    "%s: %d received last, not %d", what, is.msg_lrpid, was->msg_lrpid);
	expect(restored || (is.msg_stime == was->msg_stime &&
			       is.msg_rtime == was->msg_rtime &&
			       is.msg_ctime == was->msg_ctime),
	    "%s: its times", what);
}

int
main(int argc, char **argv)
{
	struct call receiver = { .make = receives, .nr = SYS_msgrcv },
		    sender = { .make = sends, .nr = SYS_msgsnd };
	struct msqid_ds was_plain, was_full, was_quiet;
	bool restored;
	pid_t pid;
	int st;

	subject_init(argc, argv);
	subject_allow(SUBJECT_SIGNALS);
	must((plain = msgget(IPC_PRIVATE, 0640)) >= 0);
	must((full = msgget(IPC_PRIVATE, 0600)) >= 0);
	must((quiet = msgget(IPC_PRIVATE, 0600)) >= 0);
	put(plain, 3, LARGE);
	put(plain, 1, 0);
	put(plain, 0x7fffffffffffffff, 5);
	put(plain, 3, 1);
	put(full, 1, 2 * ROOM);
	must(msgctl(full, IPC_STAT, &was_full) == 0);
	was_full.msg_qbytes = 2 * ROOM - 1;
	must(msgctl(full, IPC_SET, &was_full) == 0);
	pid = make_child();
	call_begin(&receiver);
	call_begin(&sender);
	look(plain, &was_plain);
	look(full, &was_full);
	look(quiet, &was_quiet);
	must(was_quiet.msg_lspid == pid && was_quiet.msg_lrpid == getpid());

	subject_wait();

	restored = subject_restored();
	expect(!call_finished(&receiver), "msgrcv: %ld", receiver.result);
	expect(!call_finished(&sender), "msgsnd: %ld", sender.result);
	is_same("plain", &was_plain, plain, restored);
	is_same("full", &was_full, full, restored);
	is_same("quiet", &was_quiet, quiet, restored);
	put(plain, NEVER, 7);
	call_end("msgrcv", &receiver, 7);
	subject_filled("what was waited for", got.bytes, 7, NEVER);
	is_next(plain, 3, LARGE);
	is_next(plain, 1, 0);
	is_next(plain, 0x7fffffffffffffff, 5);
	is_next(plain, 3, 1);
	is_next(full, 1, 2 * ROOM);
	call_end("msgsnd", &sender, 0);
	is_next(full, 5, ROOM);
	subject_forget();
	put(quiet, 2, 0);
	expect(waitpid(pid, &st, 0) == pid && WIFEXITED(st) &&
		   WEXITSTATUS(st) == 42,
	    "the child");
	must(msgctl(plain, IPC_RMID, NULL) == 0);
	must(msgctl(full, IPC_RMID, NULL) == 0);
	must(msgctl(quiet, IPC_RMID, NULL) == 0);
	return subject_done();
}
