/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoding and decoding of the state file. No I/O; the node decides when.
 * Format: "colofsST", version, length, XXH3 of what follows, then the fields
 * in the order of struct state, little-endian; `activity` last, where a bit says
 * that there is one.
 */
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "sum.h"

#define STATE_MAGIC 0x54536f666f6c6f63ull
#define STATE_VERSION 1
#define STATE_HEADER 24u

void lineage_put(struct putter *p, const struct lineage *l)
{
	put_u64(p, l->generation);
	put_u32(p, l->count);
	for (uint32_t i = 0; i < l->count; i++) {
		put_u64(p, l->past[i].generation);
		put_u64(p, l->past[i].epoch);
		put_u64(p, l->past[i].doubt);
	}
}

void lineage_get(struct getter *g, struct lineage *l)
{
	memset(l, 0, sizeof(*l));
	l->generation = get_u64(g);
	uint32_t count = get_u32(g);

	if (count > HISTORY_MAX) {
		g->bad = true;
		return;
	}
	l->count = count;
	for (uint32_t i = 0; i < count; i++) {
		l->past[i].generation = get_u64(g);
		l->past[i].epoch = get_u64(g);
		l->past[i].doubt = get_u64(g);
	}
}

void lineage_push(struct lineage *l, uint64_t generation, uint64_t epoch, uint64_t doubt)
{
	if (l->generation) {
		if (l->count == HISTORY_MAX) {
			memmove(&l->past[0], &l->past[1], sizeof(l->past) - sizeof(l->past[0]));
			l->count--;
		}
		l->past[l->count++] = (struct ancestor){ l->generation, epoch, doubt };
	}
	l->generation = generation;
}

const struct ancestor *lineage_find(const struct lineage *l, uint64_t generation)
{
	for (uint32_t i = l->count; generation && i-- > 0;)
		if (l->past[i].generation == generation)
			return &l->past[i];
	return NULL;
}

static void put_name(struct putter *p, const char *name, size_t max)
{
	size_t len = strnlen(name, max);

	put_u16(p, (uint16_t)len);
	put_bytes(p, name, len);
}

static void get_name(struct getter *g, char *name, size_t size)
{
	size_t len = get_u16(g);

	if (len >= size) {
		g->bad = true;
		len = 0;
	}
	get_bytes(g, name, len);
	name[len] = 0;
}

int state_encode(const struct state *s, void *buf, size_t size)
{
	if (size < STATE_HEADER)
		return -EMSGSIZE;
	uint8_t *body = (uint8_t *)buf + STATE_HEADER;
	struct putter p = { body, (uint8_t *)buf + size, false };

	put_u8(&p, (uint8_t)s->role);
	put_u8(&p, (uint8_t)(s->have_pair | s->clean << 1 | s->journal_used << 2 | s->promoted << 3 |
	                   (s->activity != 0) << 4 | (s->rejoin & 3) << 5 | s->had_peer << 7));
	put_u64(&p, s->rejoin_epoch | (uint64_t)s->demoted << 63);
	put_bytes(&p, s->pair, 16);
	put_u64(&p, s->session_high);
	put_u64(&p, s->epoch_high);
	lineage_put(&p, &s->lineage);
	put_u64(&p, s->shared_generation);
	lineage_put(&p, &s->adopting);
	put_u64(&p, s->epoch);
	put_u64(&p, s->epoch_wall_ms);
	put_name(&p, s->epoch_name, sizeof(s->epoch_name));
	put_bytes(&p, s->journal_id, 16);
	put_u64(&p, s->incarnation);
	put_u64(&p, s->tail_lsn);
	put_u64(&p, s->tail_sum);
	put_u32(&p, s->tail_slot);
	put_u32(&p, s->tail_off);
	put_u64(&p, s->overlay_first);
	put_u64(&p, s->overlay_last);
	put_u64(&p, s->overlay_incarnation);
	put_u64(&p, s->overlay_sum);
	put_u32(&p, s->overlay_slot);
	put_u32(&p, s->overlay_off);
	put_u32(&p, s->image_count);
	for (uint32_t i = 0; i < s->image_count; i++) {
		const struct state_image *im = &s->images[i];

		put_u64(&p, im->id);
		put_u64(&p, im->size);
		put_u64(&p, im->mtime_ns);
		put_u64(&p, im->ctime_ns);
		put_u8(&p, im->consistent);
		put_name(&p, im->name, sizeof(im->name));
	}
	if (s->activity)
		put_u64(&p, s->activity);
	if (p.bad)
		return -EMSGSIZE;
	size_t body_len = (size_t)(p.p - body);
	struct putter h = { buf, body, false };

	put_u64(&h, STATE_MAGIC);
	put_u32(&h, STATE_VERSION);
	put_u32(&h, (uint32_t)body_len);
	put_u64(&h, sum64(body, body_len));
	return (int)(STATE_HEADER + body_len);
}

static int images_get(struct getter *g, struct state *s)
{
	uint32_t count = get_u32(g);

	if (g->bad || count > IMAGES_MAX)
		return -EINVAL;
	s->images = calloc(count ? count : 1, sizeof(*s->images));
	if (!s->images)
		return -ENOMEM;
	s->image_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct state_image *im = &s->images[i];

		im->id = get_u64(g);
		im->size = get_u64(g);
		im->mtime_ns = get_u64(g);
		im->ctime_ns = get_u64(g);
		im->consistent = get_u8(g);
		get_name(g, im->name, sizeof(im->name));
	}
	return 0;
}

static int body_get(struct getter *g, struct state *s)
{
	s->role = get_u8(g);
	uint8_t bits = get_u8(g);

	s->have_pair = bits & 1;
	s->clean = bits >> 1 & 1;
	s->journal_used = bits >> 2 & 1;
	s->promoted = bits >> 3 & 1;
	s->rejoin = bits >> 5 & 3;
	s->had_peer = bits >> 7;
	s->rejoin_epoch = get_u64(g);
	s->demoted = s->rejoin_epoch >> 63;
	s->rejoin_epoch &= ~(1ull << 63);
	get_bytes(g, s->pair, 16);
	s->session_high = get_u64(g);
	s->epoch_high = get_u64(g);
	lineage_get(g, &s->lineage);
	s->shared_generation = get_u64(g);
	lineage_get(g, &s->adopting);
	s->epoch = get_u64(g);
	s->epoch_wall_ms = get_u64(g);
	get_name(g, s->epoch_name, sizeof(s->epoch_name));
	get_bytes(g, s->journal_id, 16);
	s->incarnation = get_u64(g);
	s->tail_lsn = get_u64(g);
	s->tail_sum = get_u64(g);
	s->tail_slot = get_u32(g);
	s->tail_off = get_u32(g);
	s->overlay_first = get_u64(g);
	s->overlay_last = get_u64(g);
	s->overlay_incarnation = get_u64(g);
	s->overlay_sum = get_u64(g);
	s->overlay_slot = get_u32(g);
	s->overlay_off = get_u32(g);
	int err = images_get(g, s);

	if (!err && bits >> 4 & 1)
		s->activity = get_u64(g);
	return err;
}

int state_decode(struct state *s, const void *buf, size_t len)
{
	struct getter h = { buf, (const uint8_t *)buf + len, false };

	memset(s, 0, sizeof(*s));
	uint64_t magic = get_u64(&h);
	uint32_t version = get_u32(&h);
	uint32_t body_len = get_u32(&h);
	uint64_t sum = get_u64(&h);

	if (h.bad || magic != STATE_MAGIC || version != STATE_VERSION || body_len != len - STATE_HEADER ||
	    sum != sum64(h.p, body_len))
		return -EINVAL;
	int err = body_get(&h, s);

	if (!err && (h.bad || h.p != h.end || s->role > 2))
		err = -EINVAL;
	if (err)
		state_free(s);
	return err;
}

void state_free(struct state *s)
{
	free(s->images);
	s->images = NULL;
	s->image_count = 0;
}
