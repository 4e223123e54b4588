/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line and the conf= file: input is argv, a word a line; what follows a line "%%" is the file. HOST:PORT, SIZE,
 * times, pins and names come by the way.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdio.h>

#include "../../ctl/options.h"

#define WORDS 24

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sound(const struct options *o)
{
	if (o->show_help || o->show_version)
		return;
	if (!o->source || o->source[0] != '/' || !o->mountpoint || o->mountpoint[0] != '/')
		abort();
	if (o->journal_size < 16u << 20 || o->link_timeout_ms < 100 || o->send_buffer < 256u << 10)
		abort();
	if ((o->peer.host[0] && !o->peer.port) || (o->listen.host[0] && !o->tls && !o->insecure))
		abort();
	if (memchr(o->peer.host, 0, sizeof(o->peer.host)) == NULL)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char *text = malloc(size + 1), *argv[WORDS + 4], err[200], conf[64], *file;
	struct options o;
	int argc = 0;

	memcpy(text, data, size);
	text[size] = 0;
	if (fd < 0)
		fd = memfd_create("conf", 0);
	argv[argc++] = "colofs";
	file = memmem(text, size, "%%\n", 3);
	if (file) {
		size_t len = size - (size_t)(file + 3 - text);

		*file = 0;
		if (ftruncate(fd, 0) || pwrite(fd, file + 3, len, 0) != (ssize_t)len)
			abort();
		snprintf(conf, sizeof(conf), "conf=/proc/self/fd/%d", fd);
		argv[argc++] = "-o";
		argv[argc++] = conf;
	}
	for (char *word = strtok(text, "\n"); word && argc < WORDS; word = strtok(NULL, "\n"))
		argv[argc++] = word;
	argv[argc] = NULL;
	if (!options_parse(&o, argc, argv, err, sizeof(err))) {
		sound(&o);
		options_free(&o);
	} else if (!err[0] || strchr(err, '\n')) {
		abort();
	}
	free(text);
	return 0;
}
