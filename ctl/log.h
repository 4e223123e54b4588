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

/* Where lines go: to stderr (with a "colofs: " prefix), or to syslog. */
void log_open(const char *ident, int to_syslog);
void log_set_level(enum log_level level);
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vmsg(enum log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Copies src to dst (size bytes, always terminated); what is not printable
 * ASCII becomes '?'. Returns dst. */
char *log_clean(char *dst, size_t size, const char *src);

#define log_error(...) log_msg(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LVL_DEBUG, __VA_ARGS__)

#endif
