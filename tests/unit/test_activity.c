/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map on disk: what a torn write leaves is told from damage, whichever sectors landed; the decoder takes
 * nothing but what the encoder makes. And what a restarted primary makes of it, in a pair in memory.
 */
#include <errno.h>
#include <string.h>

#include "../../repl/bytes.h"
#include "../../repl/core.h"

#define EXTENT 65536u /* as small as a dirty block */
#define SIZE (6u * EXTENT)
#include "paired.h"

#define LIFE 77u
#define IMAGES 12u /* of full bitmaps: 16 sectors */
#define SECTORS 16u
#define BYTES (SECTORS * ACTIVITY_SECTOR)

static uint8_t body[ACTIVITY_BODY], slots[3][BYTES];

static struct activity_stamp stamp(uint64_t seq, uint64_t base)
{
	return (struct activity_stamp){ .life = LIFE, .seq = seq, .base = base, .count = SECTORS };
}

static uint64_t word(uint64_t seq, uint32_t image, uint32_t i)
{
	return (seq * 1000003 + image * 101 + i) | 1;
}

/* Map number seq into a slot. */
static void slot_put(void *slot, struct activity_stamp s)
{
	struct putter p = putter_init(body, sizeof(body));
	struct activity_map m = { .generation = 5, .epoch = s.seq, .image_count = IMAGES };
	uint64_t set[ACTIVITY_WORDS];

	activity_put_head(&p, &m);
	for (uint32_t k = 0; k < IMAGES; k++) {
		for (uint32_t i = 0; i < ACTIVITY_WORDS; i++)
			set[i] = word(s.seq, k, i);
		activity_put_image(&p, 16 + k, ACTIVITY_SHIFT, set);
	}
	s.body_len = (uint32_t)(p.p - body);
	activity_seal(slot, body, &s);
}

static int choose(struct activity_view v[2])
{
	for (unsigned i = 0; i < 2; i++)
		activity_view(slots[i], activity_length(slots[i], LIFE), LIFE, &v[i]);
	return activity_choose(v);
}

/* The slot that holds, and its map's number; 0: nothing is believed. */
static uint64_t believed(void)
{
	struct activity_view v[2];
	struct activity_map m;
	int slot = choose(v);

	if (slot < 0 || activity_decode(&m, slots[slot], &v[slot].newest))
		return 0;
	uint64_t epoch = m.epoch;

	for (uint32_t k = 0; k < m.image_count; k++)
		for (uint32_t i = 0; i < ACTIVITY_WORDS; i++)
			if (m.images[k].set[i] != word(epoch, k, i) || m.images[k].id != 16 + k)
				epoch = 0;
	free(m.images);
	return epoch;
}

static bool fits(void)
{
	struct putter p = putter_init(body, sizeof(body));
	struct activity_map m = { .image_count = IMAGES_MAX };
	uint64_t set[ACTIVITY_WORDS];

	memset(set, 0xff, sizeof(set));
	activity_put_head(&p, &m);
	for (uint32_t i = 0; i < IMAGES_MAX; i++)
		activity_put_image(&p, 16 + i, ACTIVITY_SHIFT_MAX, set);
	CHECK(!p.bad && p.p == p.end);
	CHECK(activity_sectors(sizeof(body)) <= ACTIVITY_SECTORS);
	CHECK(activity_sectors(1) == 8 && activity_sectors(8 * ACTIVITY_PART) == 8);
	CHECK(activity_sectors(8 * ACTIVITY_PART + 1) == 16);
	return true;
}

static bool newer_of_two(void)
{
	slot_put(slots[0], stamp(1, 0));
	slot_put(slots[1], stamp(2, 1));
	CHECK(believed() == 2);
	slot_put(slots[0], stamp(3, 2));
	CHECK(believed() == 3);
	slot_put(slots[1], stamp(7, 3)); /* attempts in between failed */
	CHECK(believed() == 7);
	slot_put(slots[0], stamp(3, 2)); /* an older one, put back */
	slot_put(slots[1], stamp(6, 5));
	CHECK(!believed());
	return true;
}

/* Any sectors of map 4 over those of map 2: map 3 holds, or 4 if all landed. */
static bool torn(void)
{
	for (unsigned round = 0; round < 2000; round++) {
		uint64_t landed = rnd() & ((1u << SECTORS) - 1), newest = 0;

		slot_put(slots[0], stamp(2, 1));
		slot_put(slots[1], stamp(3, 2));
		slot_put(slots[2], stamp(4, 3));
		if (round < SECTORS)
			landed = 1ull << round;
		else if (round < 2 * SECTORS)
			landed = (1u << SECTORS) - 1 - (1ull << (round - SECTORS));
		else if (round == 100)
			landed = (1u << SECTORS) - 1;
		for (unsigned i = 0; i < SECTORS; i++)
			if (landed >> i & 1)
				memcpy(slots[0] + i * ACTIVITY_SECTOR, slots[2] + i * ACTIVITY_SECTOR, ACTIVITY_SECTOR);
		newest = landed == (1u << SECTORS) - 1 ? 4 : 3;
		CHECK(believed() == newest);
	}
	return true;
}

/* One bit, one sector, one slot: never the older map instead. */
static bool damaged(void)
{
	slot_put(slots[0], stamp(4, 3));
	slot_put(slots[1], stamp(3, 2));
	CHECK(believed() == 4);
	for (unsigned slot = 0; slot < 2; slot++)
		for (unsigned i = 0; i < BYTES; i++) {
			uint8_t was = slots[slot][i];

			slots[slot][i] ^= (uint8_t)(1u << below(8));
			CHECK(!believed());
			slots[slot][i] = was;
		}
	for (unsigned i = 0; i < 2 * SECTORS; i++) {
		uint8_t *at = slots[i / SECTORS] + i % SECTORS * ACTIVITY_SECTOR;

		memcpy(slots[2], at, ACTIVITY_SECTOR);
		memset(at, 0, ACTIVITY_SECTOR);
		CHECK(!believed());
		memcpy(at, slots[2], ACTIVITY_SECTOR);
	}
	CHECK(believed() == 4);
	memcpy(slots[0], slots[1], BYTES);
	CHECK(!believed());
	return true;
}

static bool other_life(void)
{
	struct activity_stamp s = stamp(9, 4);

	slot_put(slots[0], stamp(4, 3));
	slot_put(slots[1], stamp(3, 2));
	s.life++;
	slot_put(slots[1], s);
	CHECK(!believed());
	CHECK(!activity_length(slots[1], LIFE));
	return true;
}

/* A sound slot whose body is something else. */
static bool strict(void)
{
	static uint8_t good[ACTIVITY_BODY];
	struct activity_view v;
	struct activity_map m;

	slot_put(slots[0], stamp(1, 0));
	activity_view(slots[0], BYTES, LIFE, &v);
	CHECK(v.kind == ACTIVITY_WHOLE);
	memcpy(good, body, sizeof(good));
	uint32_t len = v.newest.body_len;
	const struct {
		uint32_t at;
		uint8_t value;
		uint32_t len;
	} bad[] = {
		{ 16, 0, len },               /* no generation */
		{ 32, IMAGES + 1, len },      /* more images than there are */
		{ 32, IMAGES - 1, len },      /* fewer */
		{ 33, 0x10, len },            /* too many */
		{ 36, 15, len },              /* an id that none can have */
		{ 43, 0xff, len },
		{ 44, ACTIVITY_SHIFT_MIN - 1, len }, { 44, ACTIVITY_SHIFT_MAX + 1, len },
		{ 45, ACTIVITY_WORDS + 1, len }, { 45, ACTIVITY_WORDS - 1, len },
		{ 36 + 10 + 8 * ACTIVITY_WORDS, 16, len }, /* the same id twice */
		{ 0, 0, len - 1 }, { 0, 0, len + 1 }, { 0, 0, 35 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct activity_stamp s = stamp(1, 0);

		memcpy(body, good, sizeof(body));
		body[bad[i].at] = bad[i].value;
		if (bad[i].at == 16)
			memset(body + 16, 0, 8);
		s.body_len = bad[i].len;
		activity_seal(slots[0], body, &s);
		CHECK(activity_decode(&m, slots[0], &s) == -EINVAL && !m.images);
	}
	struct activity_stamp s = stamp(1, 0);

	s.body_len = len;
	memset(good + len - 8, 0, 8); /* a last word of zeroes has no place */
	activity_seal(slots[0], good, &s);
	CHECK(activity_decode(&m, slots[0], &s) == -EINVAL);
	return true;
}

/* ---- a pair ---- */

/* The pair, with its map on disk. */
static bool mapped(void)
{
	hosts();
	side[0].host.config.activity_shift = 16;
	side[0].host.config.activity_ms = 1000;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	pass(50);
	return protected_now() && prim()->st.activity;
}

static int put_at(uint64_t off, uint8_t value)
{
	static uint8_t buf[BLOCK];

	memset(buf, value, sizeof(buf));
	return guest(0, (struct guest_io){ .op = GUEST_WRITE, .off = off, .len = BLOCK, .buf = buf }, "disk");
}

static int get_at(int at, uint64_t off)
{
	static uint8_t buf[BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .off = off, .len = BLOCK, .buf = buf }, "disk");

	return error ? error : buf[0];
}

/* Killed, started again, protected: bytes that were compared then; UINT64_MAX if it came to nothing, or to other copies. */
static uint64_t compared(void)
{
	reboot(&side[0]);
	heal();
	if (!protected_now() || say(0, "flush") || wrong)
		return UINT64_MAX;
	for (uint64_t off = 0; off < SIZE; off += BLOCK)
		if (get_at(0, off) != get_at(1, off))
			return UINT64_MAX;
	return prim()->counters.sync_hashed_bytes_total;
}

static bool marked_is_compared(void)
{
	CHECK(mapped() && !put_at(2 * EXTENT, 7));
	CHECK(compared() == EXTENT && get_at(1, 2 * EXTENT) == 7);
	CHECK(!put_at(2 * EXTENT, 8) && !put_at(5 * EXTENT, 9));
	CHECK(compared() == 2 * EXTENT);
	return get_at(1, 2 * EXTENT) == 8 && get_at(1, 5 * EXTENT) == 9;
}

static bool range_requests_are_marked(void)
{
	CHECK(mapped());
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_PUNCH, .off = EXTENT - BLOCK, .len = 2 * BLOCK }, "disk"));
	CHECK(compared() == 2 * EXTENT);
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_TRUNC, .len = 4 * EXTENT }, "disk"));
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_TRUNC, .len = SIZE }, "disk"));
	CHECK(compared() == 2 * EXTENT); /* not what lies between */
	return get_at(1, 5 * EXTENT) == 0 && get_at(1, EXTENT) == 0;
}

/* One map for a working set; none of it is left when the guest rests. */
static bool marks_go(void)
{
	CHECK(mapped() && !put_at(0, 2) && !put_at(3 * EXTENT, 2) && !say(0, "flush"));
	uint64_t writes = prim()->counters.activity_writes_total, waits = prim()->counters.activity_waits_total;

	for (unsigned i = 0; i < 200; i++)
		CHECK(!put_at(i % 2 * 3 * EXTENT + i % 8 * BLOCK, (uint8_t)i) && !say(0, "flush"));
	CHECK(prim()->counters.activity_writes_total == writes && prim()->counters.activity_waits_total == waits);
	CHECK(prim()->counters.activity_extents == 2);
	for (int i = 0; i < 60; i++)
		pass(50);
	CHECK(prim()->counters.activity_extents == 0);
	CHECK(prim()->counters.activity_writes_total <= writes + 2);
	return compared() == 0;
}

/* What is not committed keeps its mark, however long ago it was written. */
static bool marks_stay(void)
{
	CHECK(mapped() && !put_at(0, 2));
	for (int i = 0; i < 60; i++)
		pass(50);
	CHECK(prim()->counters.activity_extents == 1);
	return compared() == EXTENT;
}

/* The peer lost an epoch that the map takes for granted. */
static bool peer_lost_an_epoch(void)
{
	struct host_disk old;

	CHECK(mapped() && !put_at(0, 2) && !say(0, "flush"));
	host_disk_copy(&old, &side[1].host);
	CHECK(!put_at(4 * EXTENT, 5) && !say(0, "flush"));
	for (int i = 0; i < 60; i++)
		pass(50);
	CHECK(prim()->counters.activity_extents == 0);
	host_kill(&side[0].host);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
	host_kill(&side[1].host);
	host_disk_use(&side[1].host, &old);
	CHECK(boot(&side[1]) && boot(&side[0]));
	CHECK(compared() == SIZE);
	return get_at(1, 4 * EXTENT) == 5;
}

static bool fails(uint32_t requests, int error)
{
	CHECK(mapped() && !put_at(0, 2));
	side[0].host.fail_error = -EIO;
	side[0].host.fail_next = requests;
	CHECK(put_at(4 * EXTENT, 3) == error);
	side[0].host.fail_next = 0;
	CHECK(get_at(0, 4 * EXTENT) == (error ? 1 : 3));
	CHECK(!prim()->st.activity);
	return true;
}

/* The map cannot be written: the state says so, and everything is compared. */
static bool map_fails(void)
{
	CHECK(fails(1, 0));
	CHECK(compared() == SIZE);
	pass(50);
	CHECK(prim()->st.activity);
	return compared() <= EXTENT; /* kept again */
}

/* Nor can the state: the write fails, and begins not before its mark is there. */
static bool map_and_state_fail(void)
{
	CHECK(fails(2, -EIO));
	for (int i = 0; i < 30; i++)
		pass(50);
	CHECK(!put_at(4 * EXTENT, 4) && prim()->st.activity);
	return compared() == 2 * EXTENT;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	pair_context = "";
	RUN(fits);
	RUN(newer_of_two);
	RUN(torn);
	RUN(damaged);
	RUN(other_life);
	RUN(strict);
	RUN(marked_is_compared);
	RUN(range_requests_are_marked);
	RUN(marks_go);
	RUN(marks_stay);
	RUN(peer_lost_an_epoch);
	RUN(map_fails);
	RUN(map_and_state_fail);
	host_exit(&side[0].host);
	host_exit(&side[1].host);
	return check_end();
}
