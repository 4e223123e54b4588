/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests' own peer: see peer/peer.h.
 *
 *   peer [OPTIONS] connect HOST:PORT        the commands of script.c, from stdin
 *   peer [OPTIONS] listen HOST:PORT         the same with the first connection that comes
 *   peer [OPTIONS] -s FILE hold HOST:PORT   the same with each connection that comes, one at a time, until killed
 *   peer relay PORT HOST:PORT FILE          one connection passed on; what its opener sent is in FILE
 *   peer flood HOST:PORT N KIND RATE        N connections that never come to an end: tcp, hello, slow, all
 *   peer disk STATE JOURNAL-DIR [OUT-DIR]   what a stopped node would recover
 *
 * OPTIONS: -t 1.3|1.2|none (TLS), -c CERT -k KEY, -s FILE (commands). Exit code 0, or 1 with a line on stderr.
 */
#include "peer/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
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

static void input_from(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || dup2(fd, 0) < 0)
		die("%s: %s", file, strerror(errno));
	close(fd);
}

noreturn static void hold(struct peer *p, const char *addr, const char *commands)
{
	int fd = net_bind(addr);

	for (;;) {
		pid_t child = fork();

		if (child < 0)
			die("fork: %s", strerror(errno));
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			net_accept(p, fd);
			close(fd); /* who comes next waits for the next child */
			input_from(commands);
			exit(script(p));
		}
		(void)waitpid(child, NULL, 0);
	}
}

int main(int argc, char **argv)
{
	static struct peer p = { .tls = "1.3", .fd = -1 };
	const char *commands = NULL;
	int opt;

	signal(SIGPIPE, SIG_IGN);
	while ((opt = getopt(argc, argv, "t:c:k:s:")) > 0) {
		if (opt == 't')
			p.tls = optarg;
		else if (opt == 'c')
			p.cert = optarg;
		else if (opt == 'k')
			p.key = optarg;
		else if (opt == 's')
			commands = optarg;
		else
			return 1;
	}
	argc -= optind;
	argv += optind;
	if (commands && argc == 2 && !strcmp(argv[0], "hold"))
		hold(&p, argv[1], commands);
	if (commands)
		input_from(commands);
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
	if (argc == 5 && !strcmp(argv[0], "flood"))
		return flood(argv[1], atoi(argv[2]), argv[3], atoi(argv[4]), &p);
	if ((argc == 3 || argc == 4) && !strcmp(argv[0], "disk"))
		return disk(argv[1], argv[2], argc == 4 ? argv[3] : NULL);
	die("see the head of tests/peer.c");
}
