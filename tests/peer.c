/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests' own peer: see peer/peer.h.
 *
 *   peer [-t 1.3|1.2|none] [-c CERT -k KEY] [-a CA] connect HOST:PORT|listen HOST:PORT   commands on stdin, see script.c
 *   peer relay PORT HOST:PORT FILE          one connection passed on; what its opener sent is in FILE
 *   peer [-c ...] flood HOST:PORT N KIND    N connections that never come to an end: tcp, hello, slow
 *   peer disk STATE JOURNAL-DIR [OUT-DIR]   what a stopped node would recover
 *
 * Exit code 0, or 1 with a line on stderr.
 */
#include "peer/peer.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
	va_list ap;

	fputs("peer: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct peer p = { .tls = "1.3", .fd = -1 };
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt(argc, argv, "t:c:k:a:")) > 0) {
		if (opt == 't')
			p.tls = optarg;
		else if (opt == 'c')
			p.cert = optarg;
		else if (opt == 'k')
			p.key = optarg;
		else if (opt == 'a')
			p.ca = optarg;
		else
			return 1;
	}
	argc -= optind;
	argv += optind;
	if (argc == 2 && !strcmp(argv[0], "connect")) {
		net_connect(&p, argv[1]);
		return script(&p);
	}
	if (argc == 2 && !strcmp(argv[0], "listen")) {
		net_listen(&p, argv[1]);
		return script(&p);
	}
	if (argc == 4 && !strcmp(argv[0], "relay"))
		return relay(argv[1], argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[0], "flood"))
		return flood(argv[1], atoi(argv[2]), argv[3], &p);
	if ((argc == 3 || argc == 4) && !strcmp(argv[0], "disk"))
		return disk(argv[1], argv[2], argc == 4 ? argv[3] : NULL);
	die("see the head of tests/peer.c");
}
