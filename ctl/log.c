/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines for people. Any thread may call; each line leaves in one write(),
 * so lines of two threads never mix. log_open() is called before threads are
 * started and again, once, when the daemon goes to the background.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_LEN 1024 /* longer lines are cut */

static _Atomic int log_level = LOG_LVL_INFO;
static _Atomic int log_syslog;
static char log_ident[32] = "colofs";

void log_open(const char *ident, int to_syslog)
{
	if (log_syslog)
		closelog();
	/* openlog() keeps the pointer, so the name is copied to where it stays. */
	snprintf(log_ident, sizeof(log_ident), "%s", ident);
	if (to_syslog)
		openlog(log_ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	log_syslog = to_syslog;
}

void log_set_level(enum log_level level)
{
	log_level = level;
}

static void log_stderr(const char *text)
{
	char line[LINE_MAX_LEN + sizeof(log_ident) + 4];
	int len = snprintf(line, sizeof(line), "%s: %s\n", log_ident, text);
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

void log_vmsg(enum log_level level, const char *fmt, va_list ap)
{
	static const int priority[] = {
		[LOG_LVL_ERROR] = LOG_ERR,
		[LOG_LVL_WARN] = LOG_WARNING,
		[LOG_LVL_INFO] = LOG_INFO,
		[LOG_LVL_DEBUG] = LOG_DEBUG,
	};
	char text[LINE_MAX_LEN];

	if ((int)level > log_level)
		return;
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		return;
	if (log_syslog)
		syslog(priority[level], "%s", text);
	else
		log_stderr(text);
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
