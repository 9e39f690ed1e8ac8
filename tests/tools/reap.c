/*
 * reap - run a command under a time limit, and let nothing of it stay.
 *
 *	reap SECONDS COMMAND [ARG...]
 *
 * It is the subreaper of all that the command starts: what is orphaned comes
 * here and is waited for at once, so that no zombie keeps a pid in use.  When
 * the command has ended, what still lives of its descendants is named on
 * stderr and killed.  Exit status: the command's; 124 if the time was over;
 * 125 if something was left.  (An orphan's pid and end go to fd 9, if open.)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 4096
/* What was just told to end may still be at it when the command is gone. */
#define GRACE_MS 3000

static long
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool
read_stat(pid_t pid, pid_t *ppid, char *state, char comm[64])
{
	char path[64], buf[1024], *p, *q;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return false;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	p = strchr(buf, '(');
	q = strrchr(buf, ')');
	if (p == NULL || q == NULL || sscanf(q + 1, " %c %d", state, ppid) != 2)
		return false;
	snprintf(comm, 64, "%.*s", (int)(q - p - 1), p + 1);
	return true;
}

/* All live descendants of this process; how many. */
static size_t
descendants(pid_t *found, size_t max)
{
	static pid_t pids[65536], ppids[65536];
	size_t n = 0, count = 0, i, j;
	char state, comm[64];
	struct dirent *e;
	bool more = true;
	DIR *d;

	if ((d = opendir("/proc")) == NULL)
		return 0;
	while ((e = readdir(d)) != NULL && n < 65536) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		pids[n] = (pid_t)atoi(e->d_name);
		if (read_stat(pids[n], &ppids[n], &state, comm) && state != 'Z')
			n++;
	}
	closedir(d);
	while (more) {
		more = false;
		for (i = 0; i < n; i++) {
			bool ours = ppids[i] == getpid();

			for (j = 0; j < count && !ours; j++)
				ours = found[j] == ppids[i];
			if (!ours || ppids[i] == 0 || count == max)
				continue;
			found[count++] = pids[i];
			ppids[i] = 0;
			more = true;
		}
	}
	return count;
}

/* Wait for all that has ended.  Was `command` among it? */
static bool
reap_all(pid_t command, int *status)
{
	bool seen = false;
	int st;
	pid_t pid;

	while ((pid = waitpid(-1, &st, WNOHANG | __WALL)) > 0) {
		if (pid == command) {
			*status = st;
			seen = true;
		} else if (WIFSIGNALED(st)) {
			dprintf(9, "%d signal %d\n", (int)pid, WTERMSIG(st));
		} else {
			dprintf(9, "%d status %d\n", (int)pid, WEXITSTATUS(st));
		}
	}
	return seen;
}

static void
kill_all(bool name_them)
{
	pid_t found[MAX], ppid;
	char state, comm[64];
	size_t i, n;
	int round, st;

	/* Killing some may orphan others, or find them forking. */
	for (round = 0; round < 50; round++) {
		n = descendants(found, MAX);
		for (i = 0; i < n; i++) {
			if (name_them &&
			    read_stat(found[i], &ppid, &state, comm))
				fprintf(stderr, "left: process %d (%s), %c\n",
				    (int)found[i], comm, state);
			kill(found[i], SIGKILL);
		}
		if (n == 0)
			return;
		name_them = false;
		usleep(20000);
		reap_all(0, &st);
	}
}

int
main(int argc, char **argv)
{
	int status = 0, seconds;
	pid_t command, found[MAX];
	sigset_t set;
	struct pollfd pfd;
	char drop[sizeof(struct signalfd_siginfo) * 16];
	long end, left;
	bool gone = false;

	if (argc < 3 || (seconds = atoi(argv[1])) <= 0) {
		fprintf(stderr, "usage: reap SECONDS COMMAND [ARG...]\n");
		return 2;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pfd.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	pfd.events = POLLIN;

	if ((command = fork()) < 0) {
		perror("reap: fork");
		return 2;
	}
	if (command == 0) {
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		/* Whoever runs them in the background has these ignored. */
		signal(SIGINT, SIG_DFL);
		signal(SIGQUIT, SIG_DFL);
		setsid(); /* no terminal, whoever runs the tests */
		/* Nor what else he has open, save the runner's own. */
		close_range(4, 8, 0);
		close_range(10, ~0u, 0);
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	end = now_ms() + seconds * 1000l;
	while (!gone && (left = end - now_ms()) > 0) {
		struct signalfd_siginfo si;

		poll(&pfd, 1, (int)left);
		while (read(pfd.fd, &si, sizeof(si)) == sizeof(si))
			if (si.ssi_signo != SIGCHLD)
				end = 0; /* told to end: as if out of time */
		gone = reap_all(command, &status);
	}
	if (!gone) {
		fprintf(stderr, "reap: not done after %d seconds\n", seconds);
		kill_all(true);
		return 124;
	}
	for (end = now_ms() + GRACE_MS; now_ms() < end;) {
		reap_all(0, &seconds);
		if (descendants(found, MAX) == 0)
			break;
		poll(&pfd, 1, 10);
		(void)!read(pfd.fd, drop, sizeof(drop));
	}
	if (descendants(found, MAX) > 0) {
		kill_all(true);
		return 125;
	}
	reap_all(0, &seconds);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
