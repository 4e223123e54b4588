/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shows on stderr that a command is still running: a bar while images are
 * being synced, else a spinner. A thread of its own, because a timer signal
 * would interrupt the write to ctl, and an interrupted command has no verdict.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "colofsctl.h"

#define BAR_WIDTH   24
#define TICK_MS     250
#define QUIET_TICKS 4 /* nothing is shown in the first second */

struct progress {
	const char *mnt, *what;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
};

/* Sums over all images that are being synced; false if none is. */
static bool sync_state(const char *mnt, uint64_t *done, uint64_t *total)
{
	char path[4096];
	char *text = NULL;
	const char *at;
	uint64_t d, t;
	size_t used = 0, size = 4u << 20;
	ssize_t n;
	int fd;

	*done = *total = 0;
	/* Not mount_read(): this one must not print. */
	if ((size_t)snprintf(path, sizeof(path), "%s/.colo/status.json", mnt) >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	text = malloc(size);
	while (text && used < size - 1 && (n = read(fd, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	if (!text)
		return false;
	text[used] = '\0';
	for (at = text; json_number(&at, "done", &d) && json_number(&at, "total", &t);) {
		*done += d;
		*total += t;
	}
	free(text);
	return *total > 0;
}

static void draw(const struct progress *p, unsigned tick)
{
	uint64_t done, total;
	unsigned full, i;

	if (!sync_state(p->mnt, &done, &total)) {
		fprintf(stderr, "\r\033[K%c %.40s: %u s", "|/-\\"[tick % 4], p -> what,
			tick *TICK_MS / 1000);
		return;
	}
	if (done > total)
		done = total;
	full = (unsigned)((double)done / (double)total * BAR_WIDTH);
	fprintf(stderr, "\r\033[K%.40s: waits for a sync [", p->what);
	for (i = 0; i < BAR_WIDTH; i++)
		fputc(i < full ? '#' : '.', stderr);
	fprintf(stderr, "] %u %%", (unsigned)((double)done / (double)total * 100));
}

static void *run(void *arg)
{
	struct progress *p = arg;
	struct timespec until;
	bool drawn = false;
	unsigned tick = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		until.tv_nsec += TICK_MS * 1000000l;
		if (until.tv_nsec >= 1000000000l) {
			until.tv_nsec -= 1000000000l;
			until.tv_sec++;
		}
		while (!p->stop && pthread_cond_timedwait(&p->wake, &p->lock, &until) == 0)
			;
		if (p->stop || ++tick < QUIET_TICKS)
			continue;
		pthread_mutex_unlock(&p->lock);
		draw(p, tick);
		drawn = true;
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	if (drawn)
		fputs("\r\033[K", stderr);
	return NULL;
}

struct progress *progress_start(const char *mnt, const char *what)
{
	pthread_condattr_t attr;
	struct progress *p;

	if (!isatty(STDERR_FILENO))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL; /* then the command runs without a bar */
	p->mnt = mnt;
	p->what = what;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&p->thread, NULL, run, p) == 0)
		return p;
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}

void progress_stop(struct progress *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
