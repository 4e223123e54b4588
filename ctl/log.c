/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines for people. Any thread may call; each line leaves in one write(),
 * so lines of two threads never mix. log_open() is called before threads are
 * started and again, once, when the daemon goes to the background or has
 * failed to start.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_LEN 1024 /* longer lines are cut */

static _Atomic int log_level = LOG_LVL_INFO;
static _Atomic int log_syslog;
static char log_ident[32] = "colofs";

#define PASSING_LEN 70 /* of a line that is shown in passing: it must not wrap */

static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static bool holding;
static bool passing; /* one is on the terminal */
static unsigned kept_count;
static struct {
	enum log_level level;
	char text[LINE_MAX_LEN];
} kept[LOG_KEPT];

void log_open(const char *ident, int to_syslog)
{
	if (log_syslog)
		closelog();
	/* openlog() keeps the pointer, so the name is copied to where it stays. */
	if (ident != log_ident)
		snprintf(log_ident, sizeof(log_ident), "%s", ident);
	if (to_syslog)
		openlog(log_ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	log_syslog = to_syslog;
}

void log_set_level(enum log_level level)
{
	log_level = level;
}

static void put(const char *line, int len)
{
	const char *at = line;
	ssize_t n;

	while (len > 0) {
		n = write(STDERR_FILENO, at, (size_t)len);
		if (n <= 0)
			return; /* nobody is left to tell */
		at += n;
		len -= (int)n;
	}
}

static void log_stderr(const char *text)
{
	char line[LINE_MAX_LEN + sizeof(log_ident) + 4];

	put(line, snprintf(line, sizeof(line), "%s: %s\n", log_ident, text));
}

static void leave(enum log_level level, const char *text)
{
	static const int priority[] = {
		[LOG_LVL_ERROR] = LOG_ERR,
		[LOG_LVL_WARN] = LOG_WARNING,
		[LOG_LVL_INFO] = LOG_INFO,
		[LOG_LVL_DEBUG] = LOG_DEBUG,
	};

	if (log_syslog)
		syslog(priority[level], "%s", text);
	else
		log_stderr(text);
}

static bool keep(enum log_level level, const char *text)
{
	bool held;

	pthread_mutex_lock(&hold_lock);
	held = holding;
	if (held) {
		kept[kept_count % LOG_KEPT].level = level;
		snprintf(kept[kept_count++ % LOG_KEPT].text, LINE_MAX_LEN, "%s", text);
	}
	if (held && isatty(STDERR_FILENO)) {
		char line[PASSING_LEN + sizeof(log_ident) + 16];

		passing = true;
		put(line, snprintf(line, sizeof(line), "\r%s: %.*s\033[K", log_ident, PASSING_LEN, text));
	}
	pthread_mutex_unlock(&hold_lock);
	return held;
}

void log_hold(void)
{
	pthread_mutex_lock(&hold_lock);
	holding = true;
	kept_count = 0;
	pthread_mutex_unlock(&hold_lock);
}

/* hold_lock is held. */
static void release(const char *why)
{
	if (passing)
		put("\r\033[K", 4);
	passing = false;
	if (holding && why) {
		log_stderr(why);
		log_open(log_ident, 1);
	} else if (why) {
		leave(LOG_LVL_ERROR, why);
	}
	for (unsigned i = kept_count > LOG_KEPT ? kept_count - LOG_KEPT : 0; i < kept_count; i++)
		leave(kept[i % LOG_KEPT].level, kept[i % LOG_KEPT].text);
	kept_count = 0;
	holding = false;
}

void log_release(void)
{
	pthread_mutex_lock(&hold_lock);
	release(NULL);
	pthread_mutex_unlock(&hold_lock);
}

/* What somebody typed may hold some. */
static void one_line(char *text)
{
	while ((text = strpbrk(text, "\r\n")))
		*text = ' ';
}

void log_refused(const char *why)
{
	char text[LINE_MAX_LEN];

	snprintf(text, sizeof(text), "%s", why);
	one_line(text);
	pthread_mutex_lock(&hold_lock);
	release(text);
	pthread_mutex_unlock(&hold_lock);
}

void log_vmsg(enum log_level level, const char *fmt, va_list ap)
{
	char text[LINE_MAX_LEN];

	if ((int)level > log_level)
		return;
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		return;
	one_line(text);
	if (!keep(level, text))
		leave(level, text);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vmsg(level, fmt, ap);
	va_end(ap);
}

char *log_clean(char *dst, size_t size, const char *src)
{
	size_t i = 0;

	if (size == 0)
		return dst;
	for (; src[i] && i + 1 < size; i++)
		dst[i] = src[i] >= ' ' && src[i] <= '~' ? src[i] : '?';
	dst[i] = '\0';
	return dst;
}
