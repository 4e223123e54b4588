/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's command line. main() calls it once, before any thread. The
 * words come from -o and from conf=FILE, the table from options.def, the
 * values' parsers from options_value.c; what the words mean together is
 * checked at the end (cross_check()).
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "log.h"
#include "options.h"
#include "options_value.h"

#define CONF_MAX      (64u << 10) /* bytes in a conf= file */
#define FUSE_OPTS_MAX (16u << 10) /* bytes of words for libfuse */

enum option_type { ROLE, HOSTPORT, PATH, NAME, PIN, YESNO, FLAG, CHOICE, COMMIT, SIZE, TIME };

struct option_row {
	const char *name;
	enum option_type type;
	size_t field; /* offset in struct options */
	uint64_t min, max;
	const char *def, *unit, *help;
};

static const struct option_row table[] = {
#define X(name, type, field, min, max, def, unit, help) \
	{name, type, offsetof(struct options, field), min, max, def, unit, help},
#include "options.def"
#undef X
};

#define TABLE_COUNT (sizeof(table) / sizeof(table[0]))

struct parser {
	struct options *o;
	bool given[TABLE_COUNT]; /* on the command line: conf= does not override it */
	const char *file;        /* while conf= is read */
	unsigned line;
	char *err;
	size_t err_size;
};

static int fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct parser *p, const char *fmt, ...)
{
	char raw[1024];
	size_t len = 0;
	va_list ap;

	if (p->file)
		len = (size_t)snprintf(raw, sizeof(raw), "%.512s:%u: ", p->file, p->line);
	va_start(ap, fmt);
	vsnprintf(raw + len, sizeof(raw) - len, fmt, ap);
	va_end(ap);
	log_clean(p->err, p->err_size, raw);
	return -EINVAL;
}

/* ---- paths ---- */

/* Only the text is made absolute: links in it may be made to point elsewhere later. */
static int set_path(struct parser *p, char **field, const char *path)
{
	char *cwd = NULL, *full;
	int n;

	if (!*path)
		return fail(p, "an empty path");
	if (*path != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return fail(p,
				    "the current directory cannot be read (%s): use absolute paths",
				    strerror(errno));
		while (path[0] == '.' && path[1] == '/')
			path += path[2] == '/' ? 1 : 2;
		if (strcmp(path, ".") == 0)
			path = "";
	}
	n = asprintf(&full, "%s%s%s", cwd ? cwd : "", cwd && cwd[1] && *path ? "/" : "", path);
	free(cwd);
	if (n < 0)
		return fail(p, "out of memory");
	while (n > 1 && full[n - 1] == '/')
		full[--n] = '\0';
	free(*field);
	*field = full;
	return 0;
}

/* ---- one word ---- */

static int set_number(struct parser *p, const struct option_row *row, void *field,
		      const char *value)
{
	const char *why = NULL;
	uint64_t n = 0;
	int ret;

	if (row->type == COMMIT && strcmp(value, "manual") == 0) {
		*(uint32_t *)field = 0;
		return 0;
	}
	if (row->type == COMMIT && strcmp(value, "fsync") == 0) {
		*(uint32_t *)field = COMMIT_FSYNC;
		return 0;
	}
	ret = row->type == SIZE ? value_size(&n, value, &why) : value_time(&n, value, &why);
	if (ret && row->type == COMMIT)
		why = "manual, fsync, or a number of milliseconds";
	if (ret)
		return fail(p, "%s=%s: %s", row->name, value, why);
	if (n < row->min || n > row->max) {
		const char *unit = row->type == SIZE ? "K" : "ms";
		unsigned shift = row->type == SIZE ? 10 : 0;

		return fail(p, "%s=%s: out of bounds, %llu%s to %llu%s", row->name, value,
			    (unsigned long long)(row->min >> shift), unit,
			    (unsigned long long)(row->max >> shift), unit);
	}
	if (row->type == SIZE)
		*(uint64_t *)field = n;
	else
		*(uint32_t *)field = (uint32_t)n; /* max is below 2^32 */
	return 0;
}

static int set_name(struct parser *p, char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return fail(p, "out of memory");
	free(*field);
	*field = copy;
	return 0;
}

static int set_option(struct parser *p, const struct option_row *row, const char *value)
{
	void *field = (char *)p->o + row->field;
	const char *why = NULL;
	int ret = 0;

	if (!*value)
		return fail(p, "%s= needs a value: %s", row->name, row->type == FLAG ? "yes or no" : row->unit);
	switch (row->type) {
	case COMMIT:
	case SIZE:
	case TIME:
		return set_number(p, row, field, value);
	case PATH:
		return set_path(p, field, value);
	case ROLE:
		ret = value_role(field, value, &why);
		break;
	case HOSTPORT:
		ret = value_hostport(field, value, &why);
		break;
	case CHOICE:
		ret = value_choice(field, row->unit, value, &why);
		break;
	case YESNO:
	case FLAG:
		ret = value_yesno(field, value, &why);
		break;
	case PIN:
		ret = value_pin(field, value, &why);
		p->o->have_peer_pin = ret == 0;
		break;
	case NAME:
		ret = value_name(value, &why);
		if (!ret)
			return set_name(p, field, value);
		break;
	}
	return ret ? fail(p, "%s=%s: %s", row->name, value, why) : 0;
}

static bool word_is(const char *word, const char *const *list)
{
	size_t len = strcspn(word, "=");

	for (; *list; list++)
		if (strlen(*list) == len && strncmp(word, *list, len) == 0)
			return true;
	return false;
}

/* Words for mount(8), fstab and init systems, which mean nothing to a file system. */
static bool word_is_mounts(const char *word)
{
	static const char *const list[] = {
		"defaults", "auto",     "noauto",     "nofail",   "_netdev",    "user",
		"nouser",   "users",    "nousers",    "owner",    "noowner",    "group",
		"nogroup",  "comment",  "uhelper",    "helper",   "relatime",   "strictatime",
		"diratime", "lazytime", "nolazytime", "iversion", "noiversion", "mand",
		"nomand",   "silent",   "loud",       NULL,
	};

	return strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0 || word_is(word, list);
}

/*
 * libfuse's words have no dash, so one with a dash is a slip of the pen. The
 * others are words of mirrors, not of FUSE: whoever writes one counts on this
 * program, and shall hear from it, not from libfuse, that it has no such option.
 */
static bool word_is_refused(const char *word)
{
	static const char *const list[] = {"fencing", NULL};
	size_t len = strcspn(word, "=");

	return memchr(word, '-', len) || word_is(word, list);
}

/* word: as typed, backslashes in place, which is also what libfuse takes. */
static int add_fuse_word(struct parser *p, const char *word)
{
	const char *old = p->o->fuse_opts;
	char *all;

	if (strlen(word) + (old ? strlen(old) : 0) > FUSE_OPTS_MAX)
		return fail(p, "too many options");
	if (asprintf(&all, "%s%s%s", old ? old : "", old ? "," : "", word) < 0)
		return fail(p, "out of memory");
	free(p->o->fuse_opts);
	p->o->fuse_opts = all;
	return 0;
}

/* raw: NAME=VALUE as typed; plain: the same without escapes. */
static int take_word(struct parser *p, const char *raw, const char *plain)
{
	size_t i, len = strcspn(plain, "=");

	for (i = 0; i < TABLE_COUNT; i++) {
		const struct option_row *row = &table[i];

		if (strlen(row->name) != len || strncmp(row->name, plain, len))
			continue;
		if (!plain[len] && row->type != FLAG)
			return fail(p, "%s needs a value: %s=%s", row->name, row->name, row->unit);
		if (p->file && strcmp(row->name, "conf") == 0)
			return fail(p, "conf= cannot stand in a conf= file");
		if (p->file && p->given[i])
			return 0;
		if (!p->file)
			p->given[i] = true;
		return set_option(p, row, plain[len] ? plain + len + 1 : "yes");
	}
	if (word_is_mounts(plain))
		return 0;
	if (strcmp(plain, "remount") == 0)
		return fail(p, "remount is not possible: umount, then mount with the new options");
	if (len == 0 || word_is_refused(plain))
		return fail(p, "unknown option \"%s\" (colofs -h lists them)", plain);
	return add_fuse_word(p, raw);
}

/* A list as -o takes it: words between commas; \, is a comma and \\ a backslash. */
static int take_list(struct parser *p, const char *list)
{
	size_t size = strlen(list) + 1;
	char *raw = malloc(size), *plain = malloc(size);
	int ret = 0;

	if (!raw || !plain)
		ret = fail(p, "out of memory");
	while (!ret && *list) {
		size_t r = 0, n = 0;

		for (; *list && *list != ','; list++) {
			raw[r++] = *list;
			if (*list == '\\' && (list[1] == ',' || list[1] == '\\'))
				raw[r++] = *++list;
			plain[n++] = *list;
		}
		raw[r] = plain[n] = '\0';
		if (*list)
			list++;
		if (n)
			ret = take_word(p, raw, plain);
	}
	free(raw);
	free(plain);
	return ret;
}

/* ---- conf=FILE ---- */

static int take_conf_line(struct parser *p, char *line)
{
	char raw[2 * 4096], *out = raw;
	const char *in;
	size_t len;

	line += strspn(line, " \t");
	len = strlen(line);
	while (len > 0 && strchr(" \t\r", line[len - 1]))
		line[--len] = '\0';
	if (len == 0 || *line == '#')
		return 0;
	if (len >= sizeof(raw) / 2)
		return fail(p, "the line is too long");
	for (in = line; *in; *out++ = *in++)
		if (*in == ',' || *in == '\\')
			*out++ = '\\';
	*out = '\0';
	return take_word(p, raw, line);
}

/* The whole file, terminated; NULL after fail(). */
static char *read_conf(struct parser *p)
{
	char *text = malloc(CONF_MAX + 2);
	FILE *f = fopen(p->o->conf, "re");
	size_t len = 0;

	if (!f || !text) {
		fail(p, "conf=%s: %s", p->o->conf, strerror(errno));
		goto bad;
	}
	len = fread(text, 1, CONF_MAX + 1, f);
	if (ferror(f)) {
		fail(p, "conf=%s: %s", p->o->conf, strerror(errno));
		goto bad;
	}
	if (len > CONF_MAX || memchr(text, '\0', len)) {
		fail(p, "conf=%s: not a text of at most %u bytes", p->o->conf, CONF_MAX);
		goto bad;
	}
	fclose(f);
	text[len] = '\0';
	return text;
bad:
	if (f)
		fclose(f);
	free(text);
	return NULL;
}

static int take_conf(struct parser *p)
{
	char *text = read_conf(p), *at, *next;
	int ret = 0;

	if (!text)
		return -EINVAL;
	p->file = p->o->conf;
	p->line = 1;
	for (at = text; at && !ret; at = next, p->line++) {
		next = strchr(at, '\n');
		if (next)
			*next++ = '\0';
		ret = take_conf_line(p, at);
	}
	p->file = NULL;
	free(text);
	return ret;
}

/* ---- what the words mean together ---- */

static int check_insecure(struct parser *p)
{
	const struct hostport *hp[] = {&p->o->peer, &p->o->listen};
	const char *const name[] = {"peer", "listen"};
	size_t i;

	if (p->o->tls)
		return fail(p, "insecure=yes and tls= exclude each other");
	for (i = 0; i < 2; i++)
		if (hp[i]->host[0] && !host_is_loopback(hp[i]->host))
			return fail(p,
				    "insecure=yes is for loopback addresses only, and %s=%s is "
				    "none: use tls=DIR",
				    name[i], hp[i]->host);
	return 0;
}

static int cross_check(struct parser *p)
{
	struct options *o = p->o;
	bool linked = o->peer.host[0] || o->listen.host[0];

	if (!linked && (o->role == ROLE_PRIMARY || o->role == ROLE_BACKUP))
		return fail(p, "role=%s needs peer=HOST:PORT or listen=HOST:PORT",
			    o->role == ROLE_PRIMARY ? "primary" : "backup");
	if (o->overwrite && o->role != ROLE_BACKUP && o->role != ROLE_REMEMBERED)
		return fail(p, "overwrite=yes is for role=backup only");
	if (o->peer_loss_failover && !o->fence)
		return fail(p, "on-peer-loss=failover needs fence=COMMAND: without it nobody makes sure that the peer is off");
	if (o->insecure)
		return check_insecure(p);
	if (linked && !o->tls)
		return fail(
			p,
			"peer= and listen= need tls=DIR (colofsctl certs makes the certificates)");
	if (o->listen.host[0] && !o->peer_name && !o->have_peer_pin)
		return fail(p, "listen= needs peer-name=NAME (what the peer's certificate says) or "
			       "peer-pin=");
	if (o->peer.host[0] && !o->peer_name) {
		char host[sizeof(o->peer.host)];

		/* A certificate knows nothing of this machine's interfaces. */
		snprintf(host, sizeof(host), "%.*s", (int)strcspn(o->peer.host, "%"), o->peer.host);
		return set_name(p, &o->peer_name, host);
	}
	return 0;
}

/* ---- argv ---- */

static int take_flag(struct parser *p, char flag)
{
	switch (flag) {
	case 'f':
		p->o->foreground = true;
		return 0;
	case 'd':
		p->o->debug = p->o->foreground = true;
		return 0;
	case 'V':
		p->o->show_version = true;
		return 0;
	case 'h':
		p->o->show_help = true;
		return 0;
	case 's':
		return 0; /* single-threaded, in every FUSE program: this one is anyway */
	}
	return fail(p, "unknown flag -%c (colofs -h lists them)", flag);
}

/* One argument that starts with a dash; *i moves on if it took the next too. */
static int take_dash(struct parser *p, int argc, char **argv, int *i)
{
	const char *arg = argv[*i];

	if (strcmp(arg, "--help") == 0)
		return take_flag(p, 'h');
	if (strcmp(arg, "--version") == 0)
		return take_flag(p, 'V');
	if (arg[1] == '-')
		return fail(p, "unknown flag %s (colofs -h lists them)", arg);
	for (arg++; *arg; arg++) {
		int ret;

		if (*arg == 'o') {
			if (arg[1])
				return take_list(p, arg + 1);
			if (*i + 1 >= argc)
				return fail(p, "-o needs options behind it");
			return take_list(p, argv[++*i]);
		}
		ret = take_flag(p, *arg);
		if (ret)
			return ret;
	}
	return 0;
}

static int take_argv(struct parser *p, int argc, char **argv)
{
	const char *place[2] = {NULL, NULL};
	bool dashes = true;
	int i, ret = 0, count = 0;

	for (i = 1; i < argc && !ret; i++) {
		if (dashes && strcmp(argv[i], "--") == 0)
			dashes = false;
		else if (dashes && argv[i][0] == '-' && argv[i][1])
			ret = take_dash(p, argc, argv, &i);
		else if (count == 2)
			ret = fail(p,
				   "one SOURCE and one mount point, and then \"%s\"? (colofs -h)",
				   argv[i]);
		else
			place[count++] = argv[i];
	}
	if (ret || p->o->show_help || p->o->show_version)
		return ret;
	if (count < 2)
		return fail(
			p, "usage: colofs SOURCE MNT [-o OPTIONS] [-f] [-d] (colofs -h says more)");
	ret = set_path(p, &p->o->source, place[0]);
	return ret ? ret : set_path(p, &p->o->mountpoint, place[1]);
}

int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_size)
{
	struct parser p = {.o = o, .err = err, .err_size = err_size};
	size_t i;
	int ret;

	assert(err_size > 0);
	memset(o, 0, sizeof(*o));
	err[0] = '\0';
	for (i = 0; i < TABLE_COUNT; i++) {
		ret = *table[i].def ? set_option(&p, &table[i], table[i].def) : 0;
		assert(ret == 0);
	}
	ret = take_argv(&p, argc, argv);
	if (!ret && (o->show_help || o->show_version))
		return 0;
	if (!ret && o->conf)
		ret = take_conf(&p);
	if (!ret)
		ret = cross_check(&p);
	if (ret)
		options_free(o);
	return ret;
}

int options_set(struct options *o, const char *name, const char *value, char *err, size_t err_size)
{
	static const char *const live[] = {"commit",       "overlay",       "journal-size", "resync-rate",
					   "link-timeout", "flush-timeout", "congestion",   "on-link-loss", "on-peer-loss", NULL};
	struct parser p = {.o = o, .err = err, .err_size = err_size};
	size_t i;

	for (i = 0; i < TABLE_COUNT; i++)
		if (!strcmp(table[i].name, name) && word_is(name, live))
			return set_option(&p, &table[i], value);
	for (i = 0; i < TABLE_COUNT; i++)
		if (!strcmp(table[i].name, name))
			return fail(&p, "%s cannot be changed while mounted: umount, then mount with it", name);
	return fail(&p, "unknown option \"%s\" (colofs -h lists them)", name);
}

void options_free(struct options *o)
{
	char **const owned[] = {&o->source,  &o->mountpoint, &o->tls,      &o->peer_name,
				&o->journal, &o->conf,       &o->fuse_opts, &o->fence};
	size_t i;

	for (i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
		free(*owned[i]);
		*owned[i] = NULL;
	}
}

void options_usage(void)
{
	size_t i;

	printf("usage: colofs SOURCE MNT [-o OPTION,...] [-f] [-d] [-V] [-h]\n"
	       "       mount -t fuse.colofs SOURCE MNT [-o OPTION,...]\n\n"
	       "Shows the images in the directory SOURCE at MNT and mirrors them to a second "
	       "node.\n\n"
	       "  -f  stay in the foreground     -V  print the version\n"
	       "  -d  the same, with debug lines -h  print this\n\n");
	for (i = 0; i < TABLE_COUNT; i++) {
		char left[64];

		bool flag = table[i].type == FLAG;

		snprintf(left, sizeof(left), "%s%s%s", table[i].name, flag ? "" : "=", table[i].unit);
		printf("  %-34s %s", left, table[i].help);
		if (*table[i].def && !flag)
			printf(" (%s)", table[i].def);
		printf("\n");
	}
	printf("\nSIZE takes K, M or G; MS takes ms or s; the port defaults to %d; a comma in a "
	       "value\n"
	       "is \\,. Other words go to libfuse: allow_other ... See colofs(8).\n",
	       PORT_DEFAULT);
}
