/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon: options, the fork with its ready pipe, the event loop's life from the first
 * open to the end of the drain. One thread; what must be on the loop's thread comes after the fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "../ctl/options.h"
#include "../repl/shell.h"
#include "fs.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif
#define EXIT_USAGE 1 /* mount(8)'s codes */
#define EXIT_MOUNT 32
#define FILES_MAX  16384 /* descriptors: two for each image and segment */
#define LINE_LEN   1024

struct daemon {
	struct options options;
	struct shell shell;
	struct fs fs;
	struct fuse_session *se;
	struct ring_op signal_op;
	int signal_fd;
	struct ring_op parent_op;
	int ready_fd; /* the parent waits at its other end; -1 once told, or in the foreground */
	bool mounted, ready;  /* ready: the mount answers */
	bool stopping, ended; /* ended: the kernel has closed the session */
	int exit_code;
	char line[LINE_LEN]; /* why it failed */
};

/* libfuse complains to stderr by itself: kept for our one line instead. */
static char fuse_said[LINE_LEN];

static void fuse_log_line(enum fuse_log_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void fuse_log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	size_t len = strlen(fuse_said);

	(void)level;
	if (len && fuse_said[len - 1] == '\n')
		len = 0; /* the last message was whole */
	vsnprintf(fuse_said + len, sizeof(fuse_said) - len, fmt, ap);
}

/* What libfuse said, without its newline; or the other text. */
static const char *fuse_reason(const char *other)
{
	fuse_said[strcspn(fuse_said, "\n")] = '\0';
	return fuse_said[0] ? fuse_said : other;
}

static void fail(struct daemon *d, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The first failure is the one that is told; the loop ends. */
static void fail(struct daemon *d, int code, const char *fmt, ...)
{
	va_list ap;

	d->shell.ring.stop = true;
	if (d->exit_code)
		return;
	d->exit_code = code;
	va_start(ap, fmt);
	vsnprintf(d->line, sizeof(d->line), fmt, ap);
	va_end(ap);
}

/* ---- the end ---- */

static void on_stopped(void *ctx, int error, const char *why)
{
	struct daemon *d = ctx;

	if (error) {
		fail(d, EXIT_MOUNT, "not everything could be brought to the images: %s", why);
		store_note_failure(d->shell.store, d->line);
	}
	d->shell.ring.stop = true;
}

static void stop(struct daemon *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	if (d->ready)
		node_stop(d->shell.node, on_stopped, d);
	else
		fail(d, EXIT_MOUNT, "interrupted before the mount was ready");
}

static void on_session_end(void *ctx)
{
	struct daemon *d = ctx;

	d->ended = true;
	if (d->ready)
		log_info("unmounted: draining");
	stop(d);
}

static void signal_arm(struct daemon *d)
{
	io_uring_prep_poll_add(ring_sqe(&d->shell.ring, &d->signal_op), d->signal_fd, POLLIN);
}

static void on_signal(struct ring_op *op, int res, unsigned flags)
{
	struct daemon *d = (struct daemon *)((char *)op - offsetof(struct daemon, signal_op));
	struct signalfd_siginfo info;

	(void)res, (void)flags;
	if (read(d->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		log_info("signal %u: draining", info.ssi_signo);
		stop(d);
	}
	signal_arm(d);
}

/* Who waits for the mount may give up: what is not mounted then never will be. */
static void on_parent_gone(struct ring_op *op, int res, unsigned flags)
{
	struct daemon *d = (struct daemon *)((char *)op - offsetof(struct daemon, parent_op));

	(void)res, (void)flags;
	if (!d->ready)
		stop(d);
}

static void parent_watch(struct daemon *d)
{
	d->parent_op.fn = on_parent_gone;
	if (d->ready_fd >= 0) /* POLLERR, which is always told: nobody reads any more */
		io_uring_prep_poll_add(ring_sqe(&d->shell.ring, &d->parent_op), d->ready_fd, 0);
}

static int signals_open(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG says the same */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->signal_op.fn = on_signal;
	return d->signal_fd < 0 ? -errno : 0;
}

/* ---- the start ---- */

static void tell_parent(struct daemon *d, int code)
{
	unsigned char byte = (unsigned char)code;

	if (d->ready_fd < 0)
		return;
	/* If the parent is gone nobody waits for it. */
	(void)!write(d->ready_fd, &byte, 1);
	close(d->ready_fd);
	d->ready_fd = -1;
}

static void to_background(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_open("colofs", 1);
	if (null < 0)
		return;
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
}

/* The kernel's FUSE_INIT is answered: what comes now is guests. */
static void on_initialised(void *ctx)
{
	struct daemon *d = ctx;

	d->ready = true;
	log_release();
	if (!d->options.foreground)
		to_background();
	log_info("%s is mounted at %s", d->options.source, d->options.mountpoint);
	tell_parent(d, 0);
}

static void on_node_ready(void *ctx, int error, const char *why)
{
	struct daemon *d = ctx;
	int err;

	if (error) {
		fail(d, EXIT_MOUNT, "%s", why);
		return;
	}
	if (d->stopping)
		return;
	if (fuse_session_mount(d->se, d->options.mountpoint)) {
		fail(d, EXIT_MOUNT, "cannot mount at %s: %s", d->options.mountpoint,
		     fuse_reason(strerror(errno)));
		return;
	}
	d->mounted = true;
	err = lane_start(d->fs.lane);
	if (err)
		fail(d, EXIT_MOUNT, "cannot read from /dev/fuse: %s", strerror(-err));
}

/* For one -o argument: libfuse splits at commas. */
static void escape(char *dst, size_t size, const char *src)
{
	size_t n = 0;

	for (; *src && n + 3 < size; src++) {
		if (*src == ',' || *src == '\\')
			dst[n++] = '\\';
		dst[n++] = *src;
	}
	dst[n] = '\0';
}

static int session_open(struct daemon *d)
{
	char source[2 * 4096], own[2 * 4096 + 64];
	char *argv[] = { "colofs", "-o", own, "-o", d->options.fuse_opts, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(d->options.fuse_opts ? 5 : 3, argv);

	escape(source, sizeof(source), d->options.source);
	snprintf(own, sizeof(own), "default_permissions,subtype=colofs,fsname=%s", source);
	fuse_set_log_func(fuse_log_line);
	d->se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), &d->fs);
	fuse_opt_free_args(&args);
	if (d->se)
		return 0;
	fail(d, EXIT_USAGE, "%s; see colofs -h", fuse_reason("options refused"));
	return -EINVAL;
}

static int open_all(struct daemon *d)
{
	struct lane_handler handler = { fs_request, fs_interrupt, &d->fs, on_session_end, d };
	struct timespec ts;
	char err[512];
	int e;

	if (session_open(d))
		return -EINVAL;
	e = signals_open(d);
	if (e) {
		fail(d, EXIT_MOUNT, "signalfd: %s", strerror(-e));
		return e;
	}
	e = shell_open(&d->shell, &d->options, on_node_ready, d, err, sizeof(err));
	if (e) {
		fail(d, EXIT_MOUNT, "%s", err);
		return e;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	d->fs.started_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	d->fs.node = d->shell.node;
	d->fs.store = d->shell.store;
	d->fs.initialised = on_initialised;
	d->fs.ctx = d;
	d->fs.lane = lane_create(&d->shell.ring, d->se, &handler);
	if (!d->fs.lane) {
		fail(d, EXIT_MOUNT, "out of memory");
		return -ENOMEM;
	}
	signal_arm(d);
	parent_watch(d);
	return 0;
}

/* ---- the loop ---- */

static uint64_t deadline_ms(void *ctx)
{
	return shell_deadline_ms(&((struct daemon *)ctx)->shell);
}

static void before(void *ctx)
{
	shell_before(&((struct daemon *)ctx)->shell);
}

static void after(void *ctx)
{
	struct daemon *d = ctx;

	shell_after(&d->shell);
	d->fs.stopping = d->stopping;
	events_tell(&d->fs);
	lane_batch_end(d->fs.lane);
}

static void close_all(struct daemon *d)
{
	/* Detached if somebody is still in there: what they hold ends with our descriptor. When the
	 * kernel has ended the session libfuse sees that, and only frees its own. */
	if (d->mounted)
		fuse_session_unmount(d->se);
	shell_quiesce(&d->shell);
	while (d->fs.handles)
		handle_free(&d->fs, d->fs.handles);
	if (d->se)
		fuse_session_destroy(d->se);
	shell_close(&d->shell);
	ctl_end(&d->fs);
	lane_destroy(d->fs.lane);
}

/* Limits that are good to have; without them it works too. */
static void harden(void)
{
	struct rlimit core = { 0, 0 }, files = { FILES_MAX, FILES_MAX }, now;

	(void)setrlimit(RLIMIT_CORE, &core); /* guests' data is in there */
	(void)prctl(PR_SET_DUMPABLE, 0);
	if (!getrlimit(RLIMIT_NOFILE, &now) && now.rlim_cur < FILES_MAX) {
		if (files.rlim_max < now.rlim_max)
			files.rlim_max = now.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files)) {
			now.rlim_cur = now.rlim_max;
			(void)setrlimit(RLIMIT_NOFILE, &now);
		}
	}
	/* A loop device on our own mount writes back through us: never wait for that. */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	umask(077);
}

static int serve(struct daemon *d)
{
	struct ring_hooks hooks = { deadline_ms, before, after, d };
	int err;

	harden();
	if (!open_all(d)) {
		err = ring_run(&d->shell.ring, &hooks);
		if (err)
			fail(d, EXIT_MOUNT, "the event loop ended: %s", strerror(-err));
	}
	if (d->exit_code)
		log_refused(d->line);
	close_all(d);
	tell_parent(d, d->exit_code ? d->exit_code : EXIT_MOUNT);
	return d->exit_code;
}

/* The parent's whole life: the child's verdict is its exit code. The child has printed why. */
static int wait_ready(int fd, pid_t child)
{
	unsigned char code;
	ssize_t n;

	do
		n = read(fd, &code, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1 && code == 0)
		return 0;
	if (n != 1)
		log_error("the daemon died before the mount was ready");
	(void)waitpid(child, NULL, 0); /* its locks are free when the caller tries again */
	return n == 1 ? code : EXIT_MOUNT;
}

static int run(struct daemon *d)
{
	int pipe_fds[2];
	pid_t child;

	if (d->options.foreground)
		return serve(d);
	if (pipe2(pipe_fds, O_CLOEXEC) || (child = fork()) < 0) {
		log_error("cannot fork: %s", strerror(errno));
		return EXIT_MOUNT;
	}
	if (child) {
		close(pipe_fds[1]);
		return wait_ready(pipe_fds[0], child);
	}
	close(pipe_fds[0]);
	d->ready_fd = pipe_fds[1];
	log_hold();
	(void)setsid();
	if (chdir("/"))
		log_warn("cannot change to /: %s", strerror(errno));
	return serve(d);
}

int main(int argc, char **argv)
{
	struct daemon *d = calloc(1, sizeof(*d));
	char err[LINE_LEN];
	int code = 0;

	log_open("colofs", 0);
	if (!d) {
		log_error("out of memory");
		return EXIT_MOUNT;
	}
	d->ready_fd = d->signal_fd = -1;
	if (options_parse(&d->options, argc, argv, err, sizeof(err))) {
		log_error("%s", err);
		free(d);
		return EXIT_USAGE;
	}
	if (d->options.debug)
		log_set_level(LOG_LVL_DEBUG);
	if (d->options.show_help)
		options_usage();
	else if (d->options.show_version)
		printf("colofs %s\n", COLOFS_VERSION);
	else
		code = run(d);
	options_free(&d->options);
	free(d);
	return code;
}
