/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pair (paired.h) of which one node is away: what test_alone.c, test_fence.c and test_refused.c share. */
#ifndef COLOFS_TESTS_ALONE_H
#define COLOFS_TESTS_ALONE_H

#include "paired.h"

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
