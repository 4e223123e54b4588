/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A resync in-place in a pair in memory (orders.h): to its middle, and to its end. */
#ifndef COLOFS_TESTS_PART_H
#define COLOFS_TESTS_PART_H

#define SIZE (256u * BLOCK)
#include "orders.h"

#define PART (64u << 10)
#define OLD 1 /* as hosts() has it */
#define NEW 9

static const struct command in_place = { .verb = CMD_RESYNC, .in_place = true };

static inline int put_all(int at, int value)
{
	int error = 0;

	for (uint32_t b = 0; b < SIZE / BLOCK && !error; b++)
		error = put(at, b, (uint8_t)value);
	return error;
}

static inline void slow_primary(void)
{
	prim()->config.part_bytes = PART;
	prim()->config.resync_rate = 1u << 20;
}

/* Everything was written while the link was cut; now it is there again, and is slow. */
static inline bool behind(void)
{
	if (!paired())
		return false;
	cut();
	if (put_all(0, NEW))
		return false;
	slow_primary();
	for (int i = 0; i < 400 && !primary_mirrors(prim()); i++)
		pass(5);
	return primary_mirrors(prim()) && !prim()->peer_part;
}

static inline bool parted(void)
{
	for (int i = 0; i < 1000 && !(prim()->peer_part && prim()->have_sets && !prim()->raised); i++)
		pass(5);
	return prim()->peer_part && back()->st.rejoin == REJOIN_PART;
}

/* ... and it was ordered, and a part is committed. */
static inline bool begun(void)
{
	if (!behind())
		return false;
	give(0, in_place);
	return parted() && !answered;
}

static inline bool opens(int at)
{
	struct image *img = node_image(side[at].host.node, "disk");

	if (!img || image_open(side[at].host.node, img))
		return false;
	image_close(side[at].host.node, img);
	return true;
}

/* ... and the backup was promoted by force. */
static inline bool forced(void)
{
	CHECK(begun());
	cut();
	host_settle(&side[0].host);
	host_settle(&side[1].host);
	side[0].host.config.role = side[1].host.config.role = -1;
	return !say(1, "failover force") && is_primary(1);
}

/* Both equal, and what the guest wrote. */
static inline bool level(void)
{
	for (int i = 0; i < 2000 && !prim()->protected_; i++)
		pass(50);
	for (uint32_t b = 0; b < SIZE / BLOCK; b += 13)
		CHECK(get(0, b) == NEW && get(1, b) == NEW);
	return prim()->protected_ && !prim()->in_place && !prim()->peer_part && !back()->st.rejoin && opens(1) && !wrong;
}

#endif
