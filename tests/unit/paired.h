/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pair in memory (../fuzz/pair.h) with one image, protected: where the tests of a pair's behaviour begin. */
#ifndef COLOFS_TESTS_PAIRED_H
#define COLOFS_TESTS_PAIRED_H

#include <errno.h>
#include <string.h>

#include "../../repl/core.h"
#include "../fuzz/pair.h"
#include "check.h"

#ifndef SIZE
#define SIZE (40u * BLOCK)
#endif

static inline struct node *prim(void)
{
	return side[0].host.node;
}

static inline struct node *back(void)
{
	return side[1].host.node;
}

static inline void hosts(void)
{
	static uint8_t content[SIZE];

	host_exit(&side[0].host);
	host_exit(&side[1].host);
	wrong = false;
	host_init(&side[0].host, 1, NODE_PRIMARY);
	host_init(&side[1].host, 2, NODE_BACKUP);
	memset(content, 1, sizeof(content));
	struct host_file *f = host_file_new(&side[0].host, FILE_IMAGE, 16);

	strcpy(f->name, "disk");
	host_file_write(f, 0, content, sizeof(content));
}

static inline bool paired(void)
{
	hosts();
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	node_events_open(prim());
	node_events_open(back());
	heal();
	return protected_now();
}

static inline int put(int at, uint32_t block, uint8_t value)
{
	static uint8_t buf[BLOCK];

	memset(buf, value, sizeof(buf));
	return guest(at, (struct guest_io){ .op = GUEST_WRITE, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");
}

#endif
