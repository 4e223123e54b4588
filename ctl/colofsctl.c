/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * colofsctl COMMAND MNT ...: drives the control files of a mount and nothing
 * else, and makes certificates. main() and the table of sub-commands.
 */
#include <stdarg.h>
#include <string.h>

#include "colofsctl.h"

static const struct {
	const char *name, *args, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"status", "[--json] [--watch] MNT", "how the node is", ctl_status},
	{"flush", "MNT [NAME] [nowait]", "commit all images on both nodes", ctl_flush},
	{"failover", "[-y] MNT [epoch=N] [drop-overlay] [keep-prepared] [force]",
	 "make this backup the primary", ctl_failover},
	{"switchover", "MNT", "swap the roles, without loss", ctl_switchover},
	{"verify", "MNT [IMAGE]", "compare both copies while the guest runs", ctl_verify},
	{"resync", "MNT [full] [in-place]", "send the peer what it lacks", ctl_resync},
	{"events", "MNT", "what happens, as it happens", ctl_events},
	{"check", "MNT", "for cluster managers: exit 0, 7, 8, 9 as in OCF", ctl_check},
	{"drill", "MNT", "prove the pair: flush, then compare both copies", ctl_drill},
	{"certs", "DIR NAME[,ADDRESS...]...", "make a private CA and certificates", ctl_certs},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void say(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void say(const char *fmt, va_list ap)
{
	fputs("colofsctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int ctl_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return EXIT_FAILED;
}

int ctl_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return EXIT_USAGE;
}

static int help(FILE *out)
{
	size_t i;

	fprintf(out, "usage: colofsctl COMMAND MNT ...\n\n");
	for (i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-10s %-48s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	fprintf(out, "  %-10s %-48s this list\n  %-10s %-48s the version\n\nSee colofsctl(8).\n",
		"help", "", "--version", "");
	return out == stdout ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int code = -1;
	size_t i;

	if (!*name)
		return help(stderr);
	for (i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(name, commands[i].name) == 0)
			code = commands[i].run(argc - 1, argv + 1);
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		code = help(stdout);
	else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		code = printf("colofsctl %s\n", COLOFS_VERSION) < 0;
	if (code < 0)
		code = ctl_usage("unknown command \"%s\" (colofsctl help lists them)", name);
	/* What could not be printed was not done: a full disk, a closed pipe. */
	if (fflush(stdout) && code == EXIT_DONE)
		code = ctl_fail("stdout: %m");
	return code;
}
