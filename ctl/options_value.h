/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The values of options: one function a type. options.c's private header.
 * Each returns 0 or -EINVAL with the reason, a clause that fits behind
 * "NAME=VALUE: ", in *why (static text).
 */
#ifndef COLOFS_CTL_OPTIONS_VALUE_H
#define COLOFS_CTL_OPTIONS_VALUE_H

#include "options.h"

/* A number with K, M or G behind it, or none: bytes. */
int value_size(uint64_t *bytes, const char *text, const char **why);
/* A number with ms or s behind it, or none: milliseconds. */
int value_time(uint64_t *ms, const char *text, const char **why);
/* HOST, HOST:PORT, [V6] or [V6]:PORT. */
int value_hostport(struct hostport *hp, const char *text, const char **why);
/* sha256:HEX, 64 hex digits of either case. */
int value_pin(uint8_t pin[32], const char *text, const char **why);
int value_yesno(bool *yes, const char *text, const char **why);
/* One of two words, "first|second": is it the first? */
int value_choice(bool *first, const char *words, const char *text, const char **why);
int value_role(enum option_role *role, const char *text, const char **why);
/* A DNS name or an IP address, as it can stand in a certificate. */
int value_name(const char *text, const char **why);
/* Is this host, by its spelling alone, on this machine? */
bool host_is_loopback(const char *host);

#endif
