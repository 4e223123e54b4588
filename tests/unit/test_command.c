/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands of MNT/.colo/ctl: words, names, limits, and their manual. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../ctl/command.h"
#include "check.h"

static struct command c;
static char err[256];

/* From a buffer of exactly that size, so that a read behind it is seen. */
static int parse_bytes(const char *text, size_t len)
{
	char *exact = malloc(len ? len : 1);
	int ret;

	if (!exact)
		abort();
	memcpy(exact, text, len);
	err[0] = '\0';
	ret = command_parse(&c, exact, len, err, sizeof(err));
	free(exact);
	return ret;
}

static int parse(const char *text)
{
	return parse_bytes(text, strlen(text));
}

static bool flush_words(void)
{
	CHECK(parse("flush") == 0 && c.verb == CMD_FLUSH && !c.name[0] && !c.nowait);
	CHECK(parse("flush\n") == 0);
	CHECK(parse("  flush \t a.B_9:-  \n") == 0 && strcmp(c.name, "a.B_9:-") == 0);
	CHECK(parse("flush nowait") == 0 && c.nowait && !c.name[0]);
	CHECK(parse("flush x nowait\n") == 0 && c.nowait && strcmp(c.name, "x") == 0);
	CHECK(parse("flush nowait nowait") == 0 && c.nowait && strcmp(c.name, "nowait") == 0);
	CHECK(parse("flush nowait x") == -EINVAL);
	CHECK(parse("flush a b") == -EINVAL);
	CHECK(parse("flush a/b") == -EINVAL && strstr(err, "checkpoint name"));
	CHECK(parse("flush \xc3\xa9") == -EINVAL);
	CHECK(parse("Flush") == -EINVAL);
	return true;
}

static bool names_have_a_limit(void)
{
	char text[80] = "flush ";

	memset(text + 6, 'n', 65);
	text[6 + 64] = '\0';
	CHECK(parse(text) == 0 && strlen(c.name) == 64);
	text[6 + 64] = 'n';
	text[6 + 65] = '\0';
	CHECK(parse(text) == -EINVAL);
	return true;
}

static bool failover_words(void)
{
	CHECK(parse("failover") == 0 && c.verb == CMD_FAILOVER);
	CHECK(!c.force && !c.drop_overlay && !c.have_epoch);
	CHECK(parse("failover force epoch=18446744073709551615 drop-overlay") == 0);
	CHECK(c.force && c.drop_overlay && c.have_epoch && c.epoch == UINT64_MAX);
	CHECK(parse("failover epoch=0") == 0 && c.have_epoch && c.epoch == 0);
	CHECK(parse("failover epoch=18446744073709551616") == -EINVAL);
	CHECK(parse("failover epoch=") == -EINVAL);
	CHECK(parse("failover epoch=-1") == -EINVAL);
	CHECK(parse("failover epoch=1x") == -EINVAL);
	CHECK(parse("failover epoch=1 epoch=2") == -EINVAL);
	CHECK(parse("failover keep-prepared") == 0 && c.keep_prepared && !c.force);
	CHECK(parse("failover keep prepared") == -EINVAL && strstr(err, "keep-prepared"));
	return true;
}

static bool two_phases(void)
{
	CHECK(parse("prepare a nowait") == 0 && c.verb == CMD_PREPARE && c.nowait && !strcmp(c.name, "a"));
	CHECK(parse("prepare a b") == -EINVAL && strstr(err, "prepare takes"));
	CHECK(parse("commit 7\n") == 0 && c.verb == CMD_COMMIT && c.epoch == 7);
	CHECK(parse("abort 7") == 0 && c.verb == CMD_ABORT && c.epoch == 7);
	CHECK(parse("wait 18446744073709551615") == 0 && c.verb == CMD_WAIT && c.epoch == UINT64_MAX);
	CHECK(parse("commit") == -EINVAL && strstr(err, "number"));
	CHECK(parse("commit x") == -EINVAL);
	CHECK(parse("abort -1") == -EINVAL);
	CHECK(parse("wait 1 2") == -EINVAL);
	return true;
}

static bool other_verbs(void)
{
	CHECK(parse("connect") == 0 && c.verb == CMD_CONNECT);
	CHECK(parse("disconnect\n") == 0 && c.verb == CMD_DISCONNECT);
	CHECK(parse("continue") == 0 && c.verb == CMD_CONTINUE);
	CHECK(parse("set commit 5s\n") == 0 && c.verb == CMD_SET);
	CHECK(!strcmp(c.option, "commit") && !strcmp(c.value, "5s"));
	CHECK(parse("set commit") == -EINVAL && parse("set commit 5 s") == -EINVAL);
	CHECK(parse("set a-word-that-is-longer-than-any-option 5") == -EINVAL);
	CHECK(parse("help") == 0 && c.verb == CMD_HELP);
	CHECK(parse("help me") == -EINVAL && strstr(err, "no arguments"));
	return true;
}

static bool verify_and_resync(void)
{
	CHECK(parse("verify") == 0 && c.verb == CMD_VERIFY && !c.image[0]);
	CHECK(parse(" verify  a disk.img \n") == 0 && !strcmp(c.image, "a disk.img"));
	CHECK(parse("resync") == 0 && c.verb == CMD_RESYNC && !c.full);
	CHECK(parse("resync full") == 0 && c.full);
	CHECK(parse("resync fully") == -EINVAL && strstr(err, "fully"));
	CHECK(parse("resync full full") == -EINVAL);
	CHECK(parse("switchover") == 0 && c.verb == CMD_SWITCHOVER);
	CHECK(parse("switchover now") == -EINVAL && strstr(err, "no arguments"));
	CHECK(parse("discard-local") == 0 && c.verb == CMD_DISCARD_LOCAL);
	return true;
}

static bool verbs_that_are_near_are_unknown(void)
{
	static const char *const verbs[] = {"prepares",      "comit 1",
					    "switch-over",   "continu",      "resyncs", "verified",
					    "discard",       "sett commit 5", "flushx", "flus"};
	size_t i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		CHECK(parse(verbs[i]) == -EINVAL && strstr(err, "unknown command") &&
		      strstr(err, "help"));
	return true;
}

static bool bad_bytes(void)
{
	CHECK(parse("") == -EINVAL && strstr(err, "empty"));
	CHECK(parse("\n") == -EINVAL);
	CHECK(parse("  ") == -EINVAL);
	CHECK(parse("flush\n\n") == -EINVAL);
	CHECK(parse("flush\nfailover") == -EINVAL && strstr(err, "several lines"));
	CHECK(parse("flush\r\n") == -EINVAL);
	CHECK(parse_bytes("flush\0", 6) == -EINVAL);
	CHECK(parse_bytes("\0", 1) == -EINVAL);
	CHECK(parse("flush \x7f") == -EINVAL);
	CHECK(parse("a b c d e f g h i j") == -EINVAL);
	CHECK(parse("\xff\xfe") == -EINVAL);
	return true;
}

static bool errors_are_one_clean_line(void)
{
	const char *p;

	CHECK(parse("\xc3\xa9\"x") == -EINVAL);
	for (p = err; *p; p++)
		CHECK(*p >= ' ' && *p <= '~');
	return true;
}

static bool length_limit(void)
{
	char text[COMMAND_MAX + 2];

	memset(text, ' ', sizeof(text));
	memcpy(text, "flush", 5);
	CHECK(parse_bytes(text, COMMAND_MAX) == 0);
	CHECK(parse_bytes(text, COMMAND_MAX + 1) == -E2BIG);
	memset(text, 'x', sizeof(text));
	CHECK(parse_bytes(text, COMMAND_MAX) == -EINVAL && strlen(err) < sizeof(err));
	return true;
}

static bool names_of_errors(void)
{
	CHECK(strcmp(errno_name(EBUSY), "EBUSY") == 0);
	CHECK(strcmp(errno_name(-ENOTCONN), "ENOTCONN") == 0);
	CHECK(strcmp(errno_name(E2BIG), "E2BIG") == 0);
	CHECK(strcmp(errno_name(EXDEV), "EIO") == 0);
	return true;
}

static bool help_and_manual_name_every_command(void)
{
	static const char *const words[] = {
#define X(verb, word, args, help) word,
#include "../../ctl/commands.def"
#undef X
	};
	static char page[256 << 10];
	FILE *f = fopen("fs/colofs.8", "re");
	size_t i;

	CHECK(f != NULL); /* run from the top of the source tree */
	page[fread(page, 1, sizeof(page) - 1, f)] = '\0';
	fclose(f);
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char item[64];

		CHECK(strstr(command_help(), words[i]) != NULL);
		snprintf(item, sizeof(item), "\n.It Ic %s", words[i]);
		CHECK(strstr(page, item) != NULL);
	}
	CHECK(command_help()[strlen(command_help()) - 1] == '\n');
	return true;
}

int main(void)
{
	RUN(flush_words);
	RUN(names_have_a_limit);
	RUN(failover_words);
	RUN(two_phases);
	RUN(other_verbs);
	RUN(verify_and_resync);
	RUN(verbs_that_are_near_are_unknown);
	RUN(bad_bytes);
	RUN(errors_are_one_clean_line);
	RUN(length_limit);
	RUN(names_of_errors);
	RUN(help_and_manual_name_every_command);
	return check_end();
}
