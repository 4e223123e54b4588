/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sub-commands that speak to a mount: status, flush, failover. A command's
 * words are checked here by the daemon's own parser first, so that a slip of
 * the pen is a usage error (2) and not a refusal (1).
 */
#include <fcntl.h>
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

/* How many blocks verify has found unequal so far. */
static bool differences(const char *mnt, uint64_t *count)
{
	static const char *const key = "\ncolofs_verify_differences_total ";
	size_t len = 0;
	char *text = mount_read(mnt, "metrics", &len);
	const char *at = text ? strstr(text, key) : NULL;

	if (at)
		*count = strtoull(at + strlen(key), NULL, 10);
	free(text);
	return at;
}

int ctl_switchover(int argc, char **argv)
{
	return plain("switchover", "usage: colofsctl switchover MNT", argc, argv);
}

int ctl_verify(int argc, char **argv)
{
	return plain("verify", "usage: colofsctl verify MNT [IMAGE]", argc, argv);
}

int ctl_resync(int argc, char **argv)
{
	return plain("resync", "usage: colofsctl resync MNT [full] [in-place]", argc, argv);
}

int ctl_events(int argc, char **argv)
{
	char text[4096];
	ssize_t n;
	int fd;

	if (argc != 2 || argv[1][0] == '-')
		return ctl_usage("usage: colofsctl events MNT");
	fd = mount_open(argv[1], "events", O_RDONLY);
	if (fd < 0)
		return EXIT_FAILED;
	while ((n = read(fd, text, sizeof(text))) > 0)
		if (fwrite(text, 1, (size_t)n, stdout) != (size_t)n || fflush(stdout)) {
			close(fd);
			return ctl_fail("stdout: %m");
		}
	close(fd);
	return n < 0 ? ctl_fail("%s/.colo/events: %m", argv[1]) : EXIT_DONE;
}

/* The codes of OCF resource agents' `monitor`. */
int ctl_check(int argc, char **argv)
{
	enum { OCF_RUNNING = 0, OCF_NOT_RUNNING = 7, OCF_RUNNING_MASTER = 8, OCF_FAILED_MASTER = 9 };
	size_t len = 0;
	char *json;
	int code = OCF_RUNNING;

	if (argc != 2 || argv[1][0] == '-')
		return ctl_usage("usage: colofsctl check MNT");
	json = mount_read(argv[1], "status.json", &len);
	if (!json)
		return OCF_NOT_RUNNING;
	/* In a string the quotes have backslashes: these can only be keys. */
	if (strstr(json, "\"mode\": \"failed\""))
		code = OCF_FAILED_MASTER;
	else if (strstr(json, "\"role\": \"primary\""))
		code = OCF_RUNNING_MASTER;
	printf("%s\n", code == OCF_RUNNING ? "running" : code == OCF_FAILED_MASTER ? "failed" : "running as primary");
	free(json);
	return code;
}

/* Proves the pair: commit, then read all that was committed on the peer, and compare. */
int ctl_drill(int argc, char **argv)
{
	size_t len = 0;
	char *json;
	uint64_t before = 0, after = 0;
	const char *at;
	int code;

	if (argc != 2 || argv[1][0] == '-')
		return ctl_usage("usage: colofsctl drill MNT");
	code = mount_command(argv[1], "flush drill");
	if (code)
		return code;
	if (!differences(argv[1], &before))
		return EXIT_FAILED;
	code = mount_command(argv[1], "verify");
	if (code)
		return code;
	if (!differences(argv[1], &after))
		return EXIT_FAILED;
	if (after != before)
		return ctl_fail("%s: the copies differ: see the status, and `colofsctl resync`", argv[1]);
	json = mount_read(argv[1], "status.json", &len);
	if (!json)
		return EXIT_FAILED;
	at = strstr(json, "\"protected\": true");
	free(json);
	return at ? EXIT_DONE : ctl_fail("%s: the pair is not protected", argv[1]);
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
		"usage: colofsctl failover [-y | --yes] MNT [epoch=N] [drop-overlay] "
		"[keep-prepared] [force]";
	char text[COMMAND_MAX + 1];
	char *words[8];
	struct command c;
	bool yes = false;
	int i, code, count = 0;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--yes") == 0 || strcmp(argv[i], "-y") == 0)
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
