/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fence command as a process. No shell, no terminal, none of the daemon's
 * descriptors, an environment of its own; a process group, so that what it
 * starts ends with it. Its end comes through the ring (a pidfd), and nothing
 * here waits: what it is worth is for the core to say.
 */
#include "shell_fence.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#define ARGS_MAX 8
#define PATH_ENV "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int fence_check(const char *command, char *err, size_t err_size)
{
	struct stat st;
	int error = stat(command, &st) || access(command, X_OK) ? -errno : !S_ISREG(st.st_mode) ? -EACCES : 0;

	if (error)
		snprintf(err, err_size, "fence=%s cannot be run: %s; it is the path of a program, without arguments", command,
		         strerror(-error));
	return error;
}

void fence_init(struct fence_process *f, struct ring *ring, struct node *node, const char *command, const char *source)
{
	*f = (struct fence_process){ .ring = ring, .node = node, .command = command, .source = source, .pidfd = -1 };
}

static void arm(struct fence_process *f)
{
	io_uring_prep_poll_add(ring_sqe(f->ring, &f->op), f->pidfd, POLLIN);
}

static void forget(struct fence_process *f)
{
	close(f->pidfd);
	f->pidfd = -1;
	f->pid = 0;
}

static void ended(struct ring_op *op, int res, unsigned flags)
{
	struct fence_process *f = (struct fence_process *)((char *)op - offsetof(struct fence_process, op));
	int status, how;
	pid_t pid;

	(void)res, (void)flags;
	do
		pid = waitpid(f->pid, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (!pid) {
		arm(f);
		return;
	}
	how = pid < 0 ? -errno : WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
	forget(f);
	node_fence_ended(f->node, how);
}

/*
 * In the child, before exec: nothing of the daemon's is inherited but its user. It is a vfork()ed one: after a fork() pages
 * that a disk is just reading into would be copied on the next write, and what arrives be lost (open(2), O_DIRECT). The
 * loop stands still meanwhile, until the kernel has found and opened the program. 0 is never returned.
 */
static int child(const struct fence_process *f, char *const *argv, char *const *envp, const sigset_t *none)
{
	int null;

	setpgid(0, 0);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigprocmask(SIG_SETMASK, none, NULL);
	(void)prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
	umask(022);
	null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || chdir("/"))
		return -errno;
	(void)syscall(SYS_close_range, 3u, ~0u, 0u); /* all of them are close-on-exec besides */
	execve(f->command, argv, envp);
	return -errno;
}

int fence_start(struct fence_process *f, const char *const *args)
{
	const char *argv[ARGS_MAX + 2] = { f->command };
	char source[4096 + 32];
	char *envp[] = { PATH_ENV, "LC_ALL=C", source, NULL };
	volatile int error = 0; /* the child's to set: its memory is ours */
	sigset_t none;

	if (f->pid)
		return -EBUSY;
	for (int i = 0; args[i] && i < ARGS_MAX; i++)
		argv[i + 1] = args[i];
	snprintf(source, sizeof(source), "COLOFS_SOURCE=%s", f->source);
	sigemptyset(&none);
	pid_t pid = vfork();

	if (!pid) {
		error = child(f, (char *const *)argv, envp, &none);
		_exit(127);
	}
	if (pid < 0)
		return -errno;
	f->pidfd = error ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	if (f->pidfd < 0) {
		error = error ? error : -errno;
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0); /* it is dead: at once */
		return error;
	}
	f->pid = pid;
	f->op.fn = ended;
	arm(f);
	return 0;
}

void fence_kill(struct fence_process *f)
{
	if (f->pid)
		kill(-f->pid, SIGKILL);
}
