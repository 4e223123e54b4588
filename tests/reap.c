/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reap [-f] COMMAND...: runs a functional test and is the parent of all that it leaves: the
 * daemons, which go to the background and whose exit codes nobody else would see. Says, and fails
 * for, a colofs daemon that ended with another code than 0 or by another signal than SIGKILL (not
 * with -f: then it is only said), and whatever is still alive when the test is over. That is ended.
 * Its exit code is the test's, or 98.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_S   5 /* for what is about to end as the test does */
#define EXIT_SELF 98

static volatile sig_atomic_t expired;

static void on_alarm(int sig)
{
	(void)sig;
	expired = 1;
}

static void comm_of(pid_t pid, char *buf, size_t size)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	buf[0] = '\0';
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(buf, (int)size, f))
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	fclose(f);
}

/* One process that has ended, by itself or as a stranger's child. Whether it was a daemon that failed. */
static bool ended_badly(const siginfo_t *si)
{
	char comm[32];

	comm_of(si->si_pid, comm, sizeof(comm)); /* it is a zombie still */
	if (strcmp(comm, "colofs") != 0)
		return false;
	if (si->si_code == CLD_EXITED && si->si_status == 0)
		return false;
	if (si->si_code != CLD_EXITED && si->si_status == SIGKILL)
		return false;
	printf("reap: the daemon %d ended with %s %d\n", (int)si->si_pid,
	       si->si_code == CLD_EXITED ? "exit code" : "signal", si->si_status);
	return true;
}

/* Those left, for all generations: what their deaths give us as children is ended too. */
static unsigned kill_rest(void)
{
	unsigned count = 0;
	char comm[32];
	int pid;
	FILE *f = fopen("/proc/thread-self/children", "re");

	if (!f)
		return 0;
	while (fscanf(f, "%d", &pid) == 1) {
		comm_of(pid, comm, sizeof(comm));
		printf("reap: the test left process %d behind: %s\n", pid, comm);
		kill(pid, SIGCONT);
		kill(pid, SIGKILL);
		count++;
	}
	fclose(f);
	return count;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	bool forgive = argc > 1 && !strcmp(argv[1], "-f"), running = true, bad = false;
	int code = EXIT_SELF;
	siginfo_t si;
	pid_t child;

	if (argc < 2 + forgive || prctl(PR_SET_CHILD_SUBREAPER, 1) || sigaction(SIGALRM, &sa, NULL))
		return EXIT_SELF;
	child = fork();
	if (child == 0) {
		execvp(argv[1 + forgive], argv + 1 + forgive);
		_exit(127);
	}
	/* The test gets these too, and comes to an end. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	while (child > 0) {
		if (waitid(P_ALL, 0, &si, WEXITED | WNOWAIT)) {
			if (errno != EINTR)
				break; /* nobody is left */
			if (expired)
				bad |= kill_rest() > 0;
			continue;
		}
		bad |= ended_badly(&si) && !forgive;
		(void)waitpid(si.si_pid, NULL, 0);
		if (si.si_pid == child) {
			running = false;
			code = si.si_code == CLD_EXITED ? si.si_status : 128 + si.si_status;
			alarm(GRACE_S);
		} else if (!running && expired) {
			bad |= kill_rest() > 0;
		}
	}
	fflush(stdout);
	return bad && (code == 0 || code == 77) ? EXIT_SELF : code;
}
