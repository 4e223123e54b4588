/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sub-commands that speak to a mount: status, flush, failover. A command's
 * words are checked here by the daemon's own parser first, so that a slip of
 * the pen is a usage error (2) and not a refusal (1).
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "colofsctl.h"
#include "command.h"

#define WATCH_S 1

static int show_once(const char *mnt, const char *file, bool clear)
{
	size_t len = 0;
	char *text = mount_read(mnt, file, &len);
	size_t put;

	if (!text)
		return EXIT_FAILED;
	if (clear)
		fputs("\033[H\033[J", stdout);
	put = fwrite(text, 1, len, stdout);
	free(text);
	if (put != len || fflush(stdout))
		return ctl_fail("stdout: %m");
	return EXIT_DONE;
}

int ctl_status(int argc, char **argv)
{
	static const char *const usage = "usage: colofsctl status [--json] [--watch] MNT";
	const struct timespec pause = {.tv_sec = WATCH_S};
	const char *mnt = NULL;
	bool json = false, watch = false, clear;
	int i, code;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--watch") == 0)
			watch = true;
		else if (mnt || argv[i][0] == '-' || !argv[i][0])
			return ctl_usage("%s", usage);
		else
			mnt = argv[i];
	}
	if (!mnt)
		return ctl_usage("%s", usage);
	clear = watch && !json && isatty(STDOUT_FILENO);
	do {
		code = show_once(mnt, json ? "status.json" : "status", clear);
		if (code == EXIT_DONE && watch)
			nanosleep(&pause, NULL); /* a signal only makes it shorter */
	} while (code == EXIT_DONE && watch);
	return code;
}

/* "VERB WORD WORD ..." into text (COMMAND_MAX + 1 bytes), parsed once: 0 or an exit code. */
static int join(char *text, struct command *c, const char *verb, int argc, char **argv)
{
	char err[256];
	size_t len = (size_t)snprintf(text, COMMAND_MAX + 1, "%s", verb);
	int i;

	for (i = 0; i < argc; i++) {
		if (len + 1 + strlen(argv[i]) > COMMAND_MAX)
			return ctl_usage("%s: too many words", verb);
		len += (size_t)sprintf(text + len, " %s", argv[i]);
	}
	if (command_parse(c, text, len, err, sizeof(err)))
		return ctl_usage("%s", err);
	return EXIT_DONE;
}

/* A verb and words that may follow. */
static int plain(const char *verb, const char *usage, int argc, char **argv)
{
	char text[COMMAND_MAX + 1];
	struct command c;
	int code;

	if (argc < 2 || argv[1][0] == '-')
		return ctl_usage("%s", usage);
	code = join(text, &c, verb, argc - 2, argv + 2);
	return code ? code : mount_command(argv[1], text);
}

int ctl_flush(int argc, char **argv)
{
	return plain("flush", "usage: colofsctl flush MNT [NAME] [nowait]", argc, argv);
}

int ctl_verify(int argc, char **argv)
{
	return plain("verify", "usage: colofsctl verify MNT [IMAGE]", argc, argv);
}

int ctl_resync(int argc, char **argv)
{
	return plain("resync", "usage: colofsctl resync MNT [full]", argc, argv);
}

/* Says what a failover would cost and waits for a yes. */
static int ask(const char *mnt, const struct command *c)
{
	size_t len = 0;
	char *json = mount_read(mnt, "status.json", &len);
	uint64_t epoch = 0, age_ms = 0, lost = 0;
	const char *at;
	char answer[16];
	bool aged;

	if (!json)
		return EXIT_FAILED;
	at = json;
	json_number(&at, "committed", &epoch);
	at = json;
	aged = json_number(&at, "committed_age_ms", &age_ms);
	at = json;
	json_number(&at, "lost_bytes", &lost);
	free(json);

	fprintf(stderr, "%s becomes writable for good at ", mnt);
	if (aged)
		fprintf(stderr, "epoch %llu, committed %llu.%llu s ago.\n",
			(unsigned long long)epoch, (unsigned long long)(age_ms / 1000),
			(unsigned long long)(age_ms % 1000 / 100));
	else
		fprintf(stderr, "its last committed epoch; none is known.\n");
	fprintf(stderr,
		"lost_bytes=%llu (received and not committed, at least) lost_ms=%llu: dropped.\n"
		"The local overlay is %s. The other node must not run its guest any more.\n"
		"Go on? [y/N] ",
		(unsigned long long)lost, (unsigned long long)age_ms,
		c->drop_overlay ? "dropped too" : "kept");
	if (!fgets(answer, sizeof(answer), stdin) ||
	    (strcmp(answer, "y\n") && strcmp(answer, "Y\n") && strcmp(answer, "yes\n")))
		return ctl_fail("nothing was done");
	return EXIT_DONE;
}

int ctl_failover(int argc, char **argv)
{
	static const char *const usage =
		"usage: colofsctl failover [--yes] MNT [epoch=N] [drop-overlay] "
		"[keep-prepared] [force]";
	char text[COMMAND_MAX + 1];
	char *words[8];
	struct command c;
	bool yes = false;
	int i, code, count = 0;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--yes") == 0)
			yes = true;
		else if (argv[i][0] == '-' || !argv[i][0] || count == 8)
			return ctl_usage("%s", usage);
		else
			words[count++] = argv[i];
	}
	if (count < 1)
		return ctl_usage("%s", usage);
	code = join(text, &c, "failover", count - 1, words + 1);
	if (!code && !yes && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
		code = ask(words[0], &c);
	return code ? code : mount_command(words[0], text);
}
