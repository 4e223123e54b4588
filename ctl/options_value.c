/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The values of options, one parser a type. What users type is checked here
 * and nowhere else. No state.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "options_value.h"

#define DNS_NAME_MAX 253 /* RFC 1035, as text */

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

/* Decimal digits at the start of text; *end is what follows. */
static int digits(uint64_t *n, const char *text, const char **end)
{
	uint64_t value = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return -ERANGE;
	if (at == text)
		return -EINVAL;
	*n = value;
	*end = at;
	return 0;
}

int value_size(uint64_t *bytes, const char *text, const char **why)
{
	static const char *const what = "not a size: a number with K, M or G behind it, or bytes";
	const char *end;
	uint64_t n, unit = 1;

	if (digits(&n, text, &end))
		return refuse(why, what);
	if (*end == 'K')
		unit = 1ull << 10;
	else if (*end == 'M')
		unit = 1ull << 20;
	else if (*end == 'G')
		unit = 1ull << 30;
	else if (*end)
		return refuse(why, what);
	if (*end && end[1])
		return refuse(why, what);
	if (__builtin_mul_overflow(n, unit, bytes))
		return refuse(why, "too large");
	return 0;
}

int value_time(uint64_t *ms, const char *text, const char **why)
{
	static const char *const what = "not a time: a number of milliseconds, or one with ms or s";
	const char *end;
	uint64_t n, unit = 1;

	if (digits(&n, text, &end))
		return refuse(why, what);
	if (strcmp(end, "s") == 0)
		unit = 1000;
	else if (*end && strcmp(end, "ms") != 0)
		return refuse(why, what);
	if (__builtin_mul_overflow(n, unit, ms))
		return refuse(why, "too large");
	return 0;
}

static int parse_port(uint16_t *port, const char *text, const char **why)
{
	const char *end;
	uint64_t n;

	if (digits(&n, text, &end) || *end || n < 1 || n > 65535)
		return refuse(why, "a port is a number from 1 to 65535");
	*port = (uint16_t)n;
	return 0;
}

static bool host_chars_ok(const char *host, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)host[i]) && !strchr("._-", host[i]))
			return false;
	return len > 0 && host[0] != '-';
}

static bool is_ipv6(const char *text)
{
	char plain[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%"); /* a zone may follow: fe80::1%eth0 */
	struct in6_addr a;

	if (len >= sizeof(plain))
		return false;
	memcpy(plain, text, len);
	plain[len] = '\0';
	if (text[len] && !host_chars_ok(text + len + 1, strlen(text + len + 1)))
		return false;
	return inet_pton(AF_INET6, plain, &a) == 1;
}

int value_hostport(struct hostport *hp, const char *text, const char **why)
{
	const char *host = text, *rest;
	struct hostport out = {.port = PORT_DEFAULT};
	size_t len;

	if (*text == '[') {
		host = text + 1;
		len = strcspn(host, "]");
		if (!host[len])
			return refuse(why, "the bracket is not closed");
		rest = host + len + 1;
	} else {
		len = strcspn(text, ":");
		rest = text + len;
		if (*rest && strchr(rest + 1, ':'))
			return refuse(why, "an IPv6 address needs brackets: [ADDRESS]:PORT");
		if (len == 0)
			return refuse(why, "the host is missing: HOST:PORT");
		if (!host_chars_ok(text, len))
			return refuse(why, "not a host name or address");
	}
	if (len >= sizeof(out.host))
		return refuse(why, "the host name is too long");
	memcpy(out.host, host, len);
	if (*text == '[' && !is_ipv6(out.host))
		return refuse(why, "what stands in the brackets is not an IPv6 address");
	if (*rest && *rest != ':')
		return refuse(why, "not HOST:PORT");
	if (*rest && parse_port(&out.port, rest + 1, why))
		return -EINVAL;
	*hp = out;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int value_pin(uint8_t pin[32], const char *text, const char **why)
{
	static const char *const what = "a pin is sha256: and 64 hex digits";
	uint8_t out[32];
	size_t i;

	if (strncmp(text, "sha256:", 7) != 0 || strlen(text + 7) != 2 * sizeof(out))
		return refuse(why, what);
	text += 7;
	for (i = 0; i < sizeof(out); i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return refuse(why, what);
		out[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(pin, out, sizeof(out));
	return 0;
}

int value_yesno(bool *yes, const char *text, const char **why)
{
	if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
		return refuse(why, "yes or no");
	*yes = text[0] == 'y';
	return 0;
}

int value_choice(bool *first, const char *words, const char *text, const char **why)
{
	size_t len = strcspn(words, "|");

	*first = strlen(text) == len && !strncmp(text, words, len);
	return *first || !strcmp(text, words + len + 1) ? 0 : refuse(why, words);
}

int value_role(enum option_role *role, const char *text, const char **why)
{
	static const struct {
		const char *name;
		enum option_role role;
	} roles[] = {
		{"primary", ROLE_PRIMARY},
		{"backup", ROLE_BACKUP},
		{"unprotected", ROLE_UNPROTECTED},
	};
	size_t i;

	for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (strcmp(text, roles[i].name))
			continue;
		*role = roles[i].role;
		return 0;
	}
	return refuse(why, "a role is primary, backup or unprotected");
}

int value_name(const char *text, const char **why)
{
	size_t len = strlen(text);

	if (len > DNS_NAME_MAX)
		return refuse(why, "the name is too long");
	if (is_ipv6(text) && !strchr(text, '%'))
		return 0;
	if (!host_chars_ok(text, len))
		return refuse(
			why,
			"not a DNS name or an address (an IPv6 address stands without brackets)");
	return 0;
}

bool host_is_loopback(const char *host)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &a4) == 1)
		return ntohl(a4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &a6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&a6);
	return false;
}
