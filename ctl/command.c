/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parses what users write to MNT/.colo/ctl. Called by fs/ for each write and
 * by colofsctl before it sends one. No state; any thread.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "log.h"

#define WORDS_MAX 8

struct words {
	char text[COMMAND_MAX + 1];
	char rest[COMMAND_MAX + 1]; /* all behind the first word, as typed */
	const char *word[WORDS_MAX];
	size_t count;
};

static int fail(char *err, size_t err_size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(char *err, size_t err_size, const char *fmt, ...)
{
	char raw[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	log_clean(err, err_size, raw);
	return -EINVAL;
}

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= NAME_MAX_LEN && strspn(name, NAME_SET) == len;
}

static int parse_epoch(uint64_t *epoch, const char *text)
{
	char *end;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*epoch = n;
	return 0;
}

static int parse_flush(struct command *c, const struct words *w, char *err, size_t err_size)
{
	size_t count = w->count;

	if (count > 1 && strcmp(w->word[count - 1], "nowait") == 0) {
		c->nowait = true;
		count--;
	}
	if (count > 2)
		return fail(err, err_size, "%s takes [NAME] [nowait], not \"%s\"", w->word[0], w->word[2]);
	if (count == 2) {
		if (!name_ok(w->word[1]))
			return fail(err, err_size, "a checkpoint name is 1 to %d of A-Za-z0-9._:-",
				    NAME_MAX_LEN);
		strcpy(c->name, w->word[1]); /* name_ok() measured it */
	}
	return 0;
}

static int parse_failover(struct command *c, const struct words *w, char *err, size_t err_size)
{
	size_t i;

	for (i = 1; i < w->count; i++) {
		const char *word = w->word[i];

		if (strcmp(word, "force") == 0) {
			c->force = true;
		} else if (strcmp(word, "drop-overlay") == 0) {
			c->drop_overlay = true;
		} else if (strcmp(word, "keep-prepared") == 0) {
			c->keep_prepared = true;
		} else if (strncmp(word, "epoch=", 6) == 0) {
			if (c->have_epoch || parse_epoch(&c->epoch, word + 6))
				return fail(err, err_size, "failover takes one epoch=NUMBER");
			c->have_epoch = true;
		} else {
			return fail(err, err_size,
				    "failover takes [epoch=N] [drop-overlay] [keep-prepared] [force], "
				    "not \"%s\"",
				    word);
		}
	}
	return 0;
}

static int parse_number(struct command *c, const struct words *w, char *err, size_t err_size)
{
	if (w->count != 2 || parse_epoch(&c->epoch, w->word[1]))
		return fail(err, err_size, "%s takes the number of an epoch", w->word[0]);
	c->have_epoch = true;
	return 0;
}

static int parse_set(struct command *c, const struct words *w, char *err, size_t err_size)
{
	if (w->count != 3)
		return fail(err, err_size, "set takes OPTION VALUE");
	if (strlen(w->word[1]) >= sizeof(c->option) || strlen(w->word[2]) >= sizeof(c->value))
		return fail(err, err_size, "no option is that long");
	strcpy(c->option, w->word[1]);
	strcpy(c->value, w->word[2]);
	return 0;
}

static int parse_resync(struct command *c, const struct words *w, char *err, size_t err_size)
{
	for (size_t i = 1; i < w->count; i++) {
		bool *flag = !strcmp(w->word[i], "full") ? &c->full : !strcmp(w->word[i], "in-place") ? &c->in_place : NULL;

		if (!flag || *flag)
			return fail(err, err_size, "resync takes [full] [in-place], not \"%s\"%s", w->word[i], flag ? " twice" : "");
		*flag = true;
	}
	return 0;
}

/* The name is all that follows: it may hold blanks. */
static int parse_verify(struct command *c, const struct words *w, char *err, size_t err_size)
{
	size_t len = w->count > 1 ? strlen(w->rest) : 0;

	if (len >= sizeof(c->image))
		return fail(err, err_size, "no image has so long a name");
	memcpy(c->image, w->count > 1 ? w->rest : "", len + 1);
	return 0;
}

static int parse_none(struct command *c, const struct words *w, char *err, size_t err_size)
{
	(void)c; /* the verb is all there is */
	if (w->count > 1)
		return fail(err, err_size, "%s takes no arguments", w->word[0]);
	return 0;
}

static void take_rest(struct words *w)
{
	const char *at = w->text + strspn(w->text, " ");
	size_t len;

	at += strcspn(at, " ");
	at += strspn(at, " ");
	len = strlen(at);
	while (len > 0 && at[len - 1] == ' ')
		len--;
	memcpy(w->rest, at, len);
	w->rest[len] = '\0';
}

/* Cuts text into words; the bytes are checked here and nowhere else. */
static int split(struct words *w, const char *text, size_t len, char *err, size_t err_size)
{
	size_t i;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\n')
			return fail(err, err_size,
				    "one command a write, please: this has several lines");
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return fail(err, err_size, "a command holds no control characters");
		w->text[i] = c == '\t' ? ' ' : (char)c;
	}
	w->text[len] = '\0';
	take_rest(w);

	w->count = 0;
	for (i = 0; i < len; i++) {
		if (w->text[i] == ' ')
			continue;
		if (w->count == WORDS_MAX)
			return fail(err, err_size, "too many words (help lists the commands)");
		w->word[w->count++] = &w->text[i];
		while (i < len && w->text[i] != ' ')
			i++;
		w->text[i] = '\0';
	}
	if (w->count == 0)
		return fail(err, err_size, "an empty command (help lists them)");
	return 0;
}

int command_parse(struct command *c, const char *text, size_t len, char *err, size_t err_size)
{
	static const struct {
		enum verb verb;
		const char *word;
	} verbs[] = {
#define X(verb, word, args, help) {verb, word},
#include "commands.def"
#undef X
	};
	static int (*const parse[])(struct command *, const struct words *, char *, size_t) = {
		[CMD_FLUSH] = parse_flush,  [CMD_PREPARE] = parse_flush,
		[CMD_COMMIT] = parse_number, [CMD_ABORT] = parse_number,
		[CMD_WAIT] = parse_number,  [CMD_FAILOVER] = parse_failover,
		[CMD_CONNECT] = parse_none, [CMD_DISCONNECT] = parse_none,
		[CMD_HELP] = parse_none,    [CMD_CONTINUE] = parse_none,
		[CMD_SET] = parse_set,      [CMD_RESYNC] = parse_resync,
		[CMD_VERIFY] = parse_verify, [CMD_SWITCHOVER] = parse_none,
		[CMD_DISCARD_LOCAL] = parse_none,
	};
	struct words w;
	size_t i;
	int ret;

	memset(c, 0, sizeof(*c));
	if (len > COMMAND_MAX) {
		fail(err, err_size, "a command is at most %d bytes", COMMAND_MAX);
		return -E2BIG;
	}
	ret = split(&w, text, len, err, err_size);
	if (ret)
		return ret;
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(w.word[0], verbs[i].word))
			continue;
		c->verb = verbs[i].verb;
		return parse[c->verb](c, &w, err, err_size);
	}
	return fail(err, err_size, "unknown command \"%.64s\" (help lists them)", w.word[0]);
}

const char *command_help(void)
{
	return
#define X(verb, word, args, help) word " " args "\n\t" help "\n"
#include "commands.def"
#undef X
		;
}

const char *errno_name(int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
#define E(e) {e, #e}
		E(EINVAL), E(EPERM), E(ENOTCONN), E(ETIMEDOUT), E(EIO),   E(ENOSPC), E(EBUSY),
		E(ESTALE), E(EINTR), E(E2BIG),    E(EAGAIN),    E(EROFS), E(EILSEQ), E(EOPNOTSUPP),
#undef E
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].err == err || names[i].err == -err)
			return names[i].name;
	return "EIO";
}
