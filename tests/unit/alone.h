/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pair in memory (../fuzz/pair.h) of which one node is away: what test_alone.c, test_fence.c and test_refused.c share. */
#ifndef COLOFS_TESTS_ALONE_H
#define COLOFS_TESTS_ALONE_H

#include <errno.h>
#include <string.h>

#include "../../repl/core.h"
#include "../fuzz/pair.h"
#include "check.h"

#define SIZE (40u * BLOCK)

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
	heal();
	return protected_now();
}

static inline int put(int at, uint32_t block, uint8_t value)
{
	static uint8_t buf[BLOCK];

	memset(buf, value, sizeof(buf));
	return guest(at, (struct guest_io){ .op = GUEST_WRITE, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");
}

static inline void read_done(struct guest_io *g)
{
	*(bool *)g->owner = true;
}

/* The byte that a block of node 1 begins with, its peer being dead; -errno. */
static inline int get_alone(uint32_t block)
{
	static uint8_t buf[BLOCK];
	struct host *h = &side[1].host;
	bool done = false;
	struct guest_io g = { .op = GUEST_READ, .off = block * BLOCK, .len = BLOCK, .buf = buf, .done = read_done,
		.owner = &done };

	g.image = node_image(h->node, "disk");
	if (!g.image || image_open(h->node, g.image))
		return -ENOENT;
	host_begin(h);
	node_guest(h->node, &g);
	host_end(h);
	host_settle(h);
	image_close(h->node, g.image);
	return !done ? -EAGAIN : g.error ? g.error : buf[0];
}

static inline void ignored(struct command_req *r)
{
	(void)r;
}

static inline void cut(void)
{
	host_link_cut(&side[0].host, side[0].link);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
}

/* What is not there does not answer: its dial fails, or nobody dials it. */
static inline void turn(int at, uint64_t ms)
{
	struct host *h = &side[at].host;

	for (uint64_t t = 0; t < ms; t += 50) {
		host_settle(h);
		if (h->dialling) {
			h->dialling = false;
			host_begin(h);
			node_dial_failed(h->node, "connection refused");
			host_end(h);
		}
		host_tick(h, 50);
	}
	host_settle(h);
}

/* Dies, and starts while its peer is not there. */
static inline bool restart(int at)
{
	cut();
	host_kill(&side[at].host);
	return !host_boot(&side[at].host, pair_reply, sizeof(pair_reply));
}

static inline bool waits(int at)
{
	return !side[at].host.ready && side[at].host.node->start_wait;
}

static inline bool started(int at)
{
	return side[at].host.ready && !side[at].host.ready_error;
}

/* Until the start of node 0 ends, with node 1 there; 5 s at most. */
static inline void meet(void)
{
	host_begin(&side[0].host);
	node_dial_failed(prim(), "connection refused"); /* what it tried before */
	host_end(&side[0].host);
	for (int i = 0; i < 100 && waits(0); i++) {
		pump();
		for (int s = 0; s < 2; s++)
			host_tick(&side[s].host, 50);
	}
}

static inline bool told(int at, const char *text)
{
	if (side[at].host.ready && strstr(side[at].host.ready_why, text))
		return true;
	printf("# ready %d, %s\n", side[at].host.ready, side[at].host.ready_why);
	return false;
}

#endif
