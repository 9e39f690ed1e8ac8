#include "standby.h"

#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Nothing of ours is for the agent; but a sanitizer's report is to be seen. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TELLS_OF_ITSELF true
#else
#define TELLS_OF_ITSELF false
#endif

#define FAULT_ROOM 256

/* In tests it may be made to fail, too: core/fault.h. */
static char **
environment(char plan[FAULT_ROOM], char sites[FAULT_ROOM], char *v[3])
{
	size_t n = 0;
#ifdef SNAPFS_FAULTS
	const char *agent = getenv("SNAPFS_FAULT_AGENT");
	const char *dir = getenv("SNAPFS_FAULT_SITES");

	if (agent != NULL) {
		snprintf(plan, FAULT_ROOM, "SNAPFS_FAULT_PLAN=%s", agent);
		v[n++] = plan;
	}
	if (dir != NULL) {
		snprintf(sites, FAULT_ROOM, "SNAPFS_FAULT_SITES=%s", dir);
		v[n++] = sites;
	}
#else
	(void)plan;
	(void)sites;
#endif
	v[n] = NULL;
	return v;
}

static int
spawn(int sock, pid_t *pid)
{
	char plan[FAULT_ROOM], sites[FAULT_ROOM];
	char room[AGENT_ROOM + 1];
	char *argv[] = { (char[]){ AGENT_NAME }, room, NULL };
	char *nothing[3];
	char **envp =
	    TELLS_OF_ITSELF ? environ : environment(plan, sites, nothing);
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int err;

	memset(room, ' ', AGENT_ROOM);
	room[AGENT_ROOM] = '\0';
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(
	    &attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&fa);
	err = posix_spawn_file_actions_adddup2(&fa, sock, AGENT_FD);
	if (err == 0)
		err = posix_spawn_file_actions_addopen(
		    &fa, 0, "/dev/null", O_RDWR, 0);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, 0, 1);
	if (err == 0 && !TELLS_OF_ITSELF)
		err = posix_spawn_file_actions_adddup2(&fa, 0, 2);
	if (err == 0)
		err =
		    posix_spawn_file_actions_addclosefrom_np(&fa, AGENT_FD + 1);
	if (err == 0)
		err =
		    posix_spawn(pid, "/proc/self/exe", &fa, &attr, argv, envp);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&attr);
	return -err;
}

int
standby_begin(struct standby *s)
{
	int sv[2], moved, err;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	/* dup2() onto itself would leave close-on-exec set. */
	moved = fcntl(sv[1], F_DUPFD_CLOEXEC, AGENT_FD + 1);
	close(sv[1]);
	if (moved < 0) {
		close(sv[0]);
		return -EMFILE;
	}
	s->sock = sv[0];
	err = spawn(moved, &s->pid);
	close(moved);
	if (err == 0)
		return 0;
	close(sv[0]);
	*s = (struct standby){ 0 };
	return err;
}

struct standby
standby_take(struct standby *s)
{
	struct standby taken = *s;

	*s = (struct standby){ 0 };
	return taken;
}

void
standby_end(struct standby *s)
{
	if (s->pid <= 0)
		return;
	close(s->sock);
	kill(s->pid, SIGKILL);
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*s = (struct standby){ 0 };
}
