/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * colofsctl's progress display, a thread beside the one that waits for a verdict, under ThreadSanitizer: begun and
 * ended at every moment of its life, with a sync to show and without. A tick is a millisecond here.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../unit/check.h"

static int soon(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);
#define pthread_cond_timedwait soon
#define isatty(fd) ((fd) == STDERR_FILENO)
#include "../../ctl/colofsctl_progress.c"
#undef pthread_cond_timedwait
#include "../../ctl/colofsctl_mount.c"

#define ROUNDS 200

static char dir[64];
static int shown; /* read end of what stderr is meanwhile */

int ctl_fail(const char *fmt, ...)
{
	(void)fmt;
	return EXIT_FAILED;
}

static int soon(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
	struct timespec ts;

	(void)until;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return pthread_cond_timedwait(cond, lock, &ts);
}

static void put_status(const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/.colo/status.json", dir);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		abort();
}

/* Reads what is shown until these words come. */
static bool shows(const char *words)
{
	char buf[4096];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(buf) - 1 && (n = read(shown, buf + len, sizeof(buf) - 1 - len)) > 0) {
		len += (size_t)n;
		buf[len] = '\0';
		if (strstr(buf, words))
			return true;
	}
	return false;
}

static bool drain(void)
{
	char buf[4096];

	(void)fcntl(shown, F_SETFL, O_NONBLOCK);
	while (read(shown, buf, sizeof(buf)) > 0)
		;
	return fcntl(shown, F_SETFL, 0) == 0;
}

static bool bar_and_spinner(void)
{
	struct progress *p;

	put_status("{\"images\": [{\"sync\": {\"done\": 30, \"total\": 100}}, {\"sync\": {\"done\": 20, \"total\": 100}}]}");
	p = progress_start(dir, "flush");
	CHECK(p && shows("waits for a sync [######..................] 25 %"));
	put_status("{\"images\": [{\"sync\": null}]}");
	CHECK(shows("flush: "));
	progress_stop(p);
	return drain();
}

static bool ended_at_any_moment(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct progress *p = progress_start(dir, "flush");

		CHECK(p);
		for (uint64_t n = below(i % 10 == 9 ? 20000 : 200); n; n--)
			sched_yield();
		progress_stop(p);
		CHECK(drain());
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	int ends[2], real, code;
	char path[128];

	check_begin(argc, argv);
	snprintf(dir, sizeof(dir), "%.40s/test_progress.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir) || pipe(ends))
		return 1;
	snprintf(path, sizeof(path), "%s/.colo", dir);
	if (mkdir(path, 0700))
		return 1;
	shown = ends[0];
	real = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	RUN(bar_and_spinner);
	RUN(ended_at_any_moment);
	dup2(real, STDERR_FILENO);
	strcat(path, "/status.json");
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(dir);
	code = check_end();
	return code;
}
