/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map on disk: a file of two slots, written in turn, each a row of 512-byte sectors that carry their own
 * checksum and a stamp. No I/O; activity.c decides when.
 *
 * Why two slots, and a stamp in each sector: a mark must be durable soon, so a map is one write in place and one fdatasync,
 * and a crash in between may leave any of its sectors new and the others old. The other slot then holds the last durable
 * map, and no write that needed more had begun. But a slot that was damaged later looks much the same, and going back to
 * the other one then would lose marks. So the two are told apart: a life writes the same number of sectors each time, both
 * slots before the state file names it. After a torn write each sector is sound, and of this life, and the newest one
 * names the other slot's map as its base. Whatever else is found is damage, and everything is compared. (A journal of
 * changes would spare some bytes of a map that has a few hundred of them.)
 *
 * A sector: XXH3 of what follows; life, seq, base; "cAm1"; index, count (16 bits each); length of the body (32); zero (32);
 * 464 bytes of the body. The body: pair, generation, epoch, number of images; for each its id, shift, number of words,
 * words of bits, the last one not zero. All little-endian. A life is a random number, made when a map is begun; the state
 * file names the one that counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "activity.h"
#include "bytes.h"
#include "sum.h"

#define MAGIC 0x316d4163u
#define BLOCK_SECTORS (BLOCK / ACTIVITY_SECTOR)

/* ---- writing ---- */

void activity_put_head(struct putter *p, const struct activity_map *m)
{
	put_bytes(p, m->pair, 16);
	put_u64(p, m->generation);
	put_u64(p, m->epoch);
	put_u32(p, m->image_count);
}

void activity_put_image(struct putter *p, uint64_t id, uint8_t shift, const uint64_t set[ACTIVITY_WORDS])
{
	uint8_t words = ACTIVITY_WORDS;

	while (words && !set[words - 1])
		words--;
	put_u64(p, id);
	put_u8(p, shift);
	put_u8(p, words);
	for (unsigned i = 0; i < words; i++)
		put_u64(p, set[i]);
}

uint32_t activity_sectors(size_t body_len)
{
	size_t sectors = (body_len + ACTIVITY_PART - 1) / ACTIVITY_PART;

	return (uint32_t)((sectors + BLOCK_SECTORS - 1) / BLOCK_SECTORS * BLOCK_SECTORS);
}

void activity_seal(void *slot, const void *body, const struct activity_stamp *s)
{
	uint32_t left = s->body_len;
	const uint8_t *from = body;

	for (uint16_t i = 0; i < s->count; i++) {
		uint8_t *at = (uint8_t *)slot + i * ACTIVITY_SECTOR;
		struct putter p = putter_init(at + 8, ACTIVITY_SECTOR - 8), sum = putter_init(at, 8);
		uint32_t part = left < ACTIVITY_PART ? left : ACTIVITY_PART;

		put_u64(&p, s->life);
		put_u64(&p, s->seq);
		put_u64(&p, s->base);
		put_u32(&p, MAGIC);
		put_u16(&p, i);
		put_u16(&p, s->count);
		put_u32(&p, s->body_len);
		put_u32(&p, 0);
		put_bytes(&p, from, part);
		put_zero(&p, ACTIVITY_PART - part);
		put_u64(&sum, sum64(at + 8, ACTIVITY_SECTOR - 8));
		from += part;
		left -= part;
	}
}

/* ---- judging a slot ---- */

/* A sound sector of this life? */
static bool sector_get(const uint8_t *sector, uint32_t index, uint64_t life, struct activity_stamp *s)
{
	struct getter g = getter_init(sector, ACTIVITY_HEAD);
	uint64_t sum = get_u64(&g);

	s->life = get_u64(&g);
	s->seq = get_u64(&g);
	s->base = get_u64(&g);
	uint32_t magic = get_u32(&g);
	uint16_t at = get_u16(&g);

	s->count = get_u16(&g);
	s->body_len = get_u32(&g);
	uint32_t zero = get_u32(&g);

	return sum == sum64(sector + 8, ACTIVITY_SECTOR - 8) && magic == MAGIC && s->life == life && !zero && at == index &&
	       s->count > index && s->count <= ACTIVITY_SECTORS && s->count % BLOCK_SECTORS == 0 && s->base < s->seq &&
	       s->body_len && s->body_len <= (uint32_t)s->count * ACTIVITY_PART && s->body_len <= ACTIVITY_BODY;
}

size_t activity_length(const void *sector, uint64_t life)
{
	struct activity_stamp s;

	return sector_get(sector, 0, life, &s) ? (size_t)s.count * ACTIVITY_SECTOR : 0;
}

void activity_view(const void *slot, size_t len, uint64_t life, struct activity_view *v)
{
	uint32_t sectors = (uint32_t)(len / ACTIVITY_SECTOR);
	struct activity_stamp s;
	bool whole = true;

	*v = (struct activity_view){ .kind = ACTIVITY_DAMAGED };
	for (uint32_t i = 0; i < sectors; i++) {
		if (!sector_get((const uint8_t *)slot + i * ACTIVITY_SECTOR, i, life, &s) || s.count != sectors ||
		    (s.seq == v->newest.seq && (s.base != v->newest.base || s.body_len != v->newest.body_len)))
			return;
		whole &= !i || s.seq == v->newest.seq;
		if (s.seq > v->newest.seq)
			v->newest = s;
	}
	if (sectors)
		v->kind = whole ? ACTIVITY_WHOLE : ACTIVITY_TORN;
}

int activity_choose(const struct activity_view v[2])
{
	int newer = v[1].newest.seq > v[0].newest.seq;

	if (v[0].kind == ACTIVITY_DAMAGED || v[1].kind == ACTIVITY_DAMAGED || v[0].newest.count != v[1].newest.count ||
	    v[newer].newest.base != v[!newer].newest.seq)
		return -EBADMSG;
	if (v[newer].kind == ACTIVITY_TORN)
		newer = !newer;
	return v[newer].kind == ACTIVITY_WHOLE ? newer : -EBADMSG;
}

/* ---- the map ---- */

static bool image_get(struct getter *g, struct activity_map *m, uint32_t index)
{
	struct activity_image *im = &m->images[index];

	im->id = get_u64(g);
	im->shift = get_u8(g);
	im->words = get_u8(g);
	if (g->bad || im->id < IMAGE_ID_MIN || im->id > IMAGE_ID_MAX || im->shift < ACTIVITY_SHIFT_MIN ||
	    im->shift > ACTIVITY_SHIFT_MAX || im->words > ACTIVITY_WORDS)
		return false;
	for (uint32_t i = 0; i < im->words; i++)
		im->set[i] = get_u64(g);
	for (uint32_t i = 0; i < index; i++)
		if (m->images[i].id == im->id)
			return false;
	return !g->bad && (!im->words || im->set[im->words - 1]);
}

static int body_get(struct getter *g, struct activity_map *m)
{
	get_bytes(g, m->pair, 16);
	m->generation = get_u64(g);
	m->epoch = get_u64(g);
	m->image_count = get_u32(g);
	if (g->bad || !m->generation || m->image_count > IMAGES_MAX)
		return -EINVAL;
	m->images = calloc(m->image_count + 1, sizeof(*m->images));
	if (!m->images)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->image_count; i++)
		if (!image_get(g, m, i))
			return -EINVAL;
	return g->p == g->end ? 0 : -EINVAL;
}

int activity_decode(struct activity_map *m, const void *slot, const struct activity_stamp *s)
{
	uint8_t *body = malloc(s->body_len);
	int err = body ? 0 : -ENOMEM;

	memset(m, 0, sizeof(*m));
	for (uint32_t i = 0, at = 0; body && at < s->body_len; i++, at += ACTIVITY_PART)
		memcpy(body + at, (const uint8_t *)slot + i * ACTIVITY_SECTOR + ACTIVITY_HEAD,
		       s->body_len - at < ACTIVITY_PART ? s->body_len - at : ACTIVITY_PART);
	if (!err) {
		struct getter g = getter_init(body, s->body_len);

		err = body_get(&g, m);
	}
	free(body);
	if (err) {
		free(m->images);
		m->images = NULL;
		m->image_count = 0;
	}
	return err;
}
