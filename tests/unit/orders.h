/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Orders to a pair in memory (alone.h) that are given without waiting for what becomes of them. */
#ifndef COLOFS_TESTS_ORDERS_H
#define COLOFS_TESTS_ORDERS_H

#include "alone.h"

static struct command_req order; /* the last one given by give() */
static bool answered;

static inline void reply_came(struct command_req *r)
{
	answered |= r == &order;
}

static inline void give_to(struct command_req *r, int at, struct command c)
{
	*r = (struct command_req){ .cmd = c, .done = reply_came };
	answered &= r != &order;
	host_begin(&side[at].host);
	node_command(side[at].host.node, r);
	host_end(&side[at].host);
}

static inline void give(int at, struct command c)
{
	give_to(&order, at, c);
}

/* Who gave it is gone. */
static inline void interrupt(int at)
{
	host_begin(&side[at].host);
	node_command_cancel(side[at].host.node, &order);
	host_end(&side[at].host);
}

static inline bool said(const char *text)
{
	if (answered && strstr(order.reply, text))
		return true;
	printf("# reply: %s\n", answered ? order.reply : "none");
	return false;
}

/* To a command that was waited for: say(). */
static inline bool replied(const char *text)
{
	if (strstr(pair_reply, text))
		return true;
	printf("# reply: %s\n", pair_reply);
	return false;
}

/* One request of each disk, what lies on the wire, a millisecond. Whether the order is still without an answer. */
static inline bool step(void)
{
	pair_step(1);
	for (int s = 0; s < 2; s++)
		host_tick(&side[s].host, 1);
	return !answered;
}

/* Until it has one; a node that fails stays as it is. */
static inline void see(void)
{
	for (int i = 0; i < 10000 && step(); i++)
		;
}

/* The byte that a block begins with, or -errno. */
static inline int get(int at, uint32_t block)
{
	static uint8_t buf[BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	return error ? error : buf[0];
}

static inline bool is_primary(int at)
{
	return side[at].host.node->role == NODE_PRIMARY;
}

#endif
