/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log lines for people: to stderr in the foreground and during start-up, to
 * syslog afterwards. Thread-safe. Text that came from a peer, a file or a
 * user is made printable by the caller (log_clean()).
 */
#ifndef COLOFS_CTL_LOG_H
#define COLOFS_CTL_LOG_H

#include <stdarg.h>
#include <stddef.h>

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

/* Where lines go from now on: to stderr (with a "colofs: " prefix), or to syslog. */
void log_open(const char *ident, int to_syslog);
void log_set_level(enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vmsg(enum log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/*
 * A start that is refused says one line. After log_hold() the last LOG_KEPT lines are kept, and on a terminal the newest
 * is shown in passing. log_release(): it succeeded, they leave after all. log_refused(): it did not; why goes to stderr,
 * they and all that follow to syslog. Without log_hold() why is a line like others.
 */
#define LOG_KEPT 32
void log_hold(void);
void log_release(void);
void log_refused(const char *why);

/* Copies src to dst (size bytes, always terminated); what is not printable
 * ASCII becomes '?'. Returns dst. */
char *log_clean(char *dst, size_t size, const char *src);

#define log_error(...) log_msg(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LVL_DEBUG, __VA_ARGS__)

#endif
