/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is in an image: units, the model's grains, each filled with the number
 * of the operation that wrote it. Every sector of the disk holds two of them,
 * one from its start up to an image's own, mostly odd, place, and one from there to
 * its end: so requests begin and end at any byte, and still no unit can tear,
 * since a disk writes sectors whole.
 */
#include <string.h>

#include "sim.h"

/* Length of the first unit in a sector, bytes. */
static uint64_t unit_skew(uint64_t image)
{
	uint64_t h = image * 0x9e3779b97f4a7c15ull >> 32;

	return h % 3 ? 9 + 2 * (h / 3 % 248) : SECTOR / 2;
}

uint64_t unit_off(uint64_t image, uint64_t index)
{
	return index / 2 * SECTOR + (index & 1 ? unit_skew(image) : 0);
}

bool unit_at(uint64_t image, uint64_t off, uint32_t *index)
{
	*index = (uint32_t)(off / SECTOR * 2) + (off % SECTOR != 0);
	return unit_off(image, *index) == off;
}

uint32_t unit_count(uint64_t image, uint64_t size)
{
	uint32_t index;

	return unit_at(image, size, &index) ? index : UINT32_MAX;
}

static uint64_t stamp_base(uint64_t op, uint64_t image, uint64_t index)
{
	return (op * 0xff51afd7ed558ccdull) ^ (image * 0x9e3779b97f4a7c15ull + index);
}

/* op, then base + 1, base + 2, ... */
static uint64_t fill_one(uint8_t *at, uint64_t len, uint64_t op, uint64_t base)
{
	uint64_t words = len / 8, w;

	memcpy(at, &op, 8);
	for (uint64_t i = 1; i < words; i++) {
		w = base + i;
		memcpy(at + 8 * i, &w, 8);
	}
	w = base + words;
	memcpy(at + 8 * words, &w, len % 8);
	return len;
}

void stamp_fill(uint8_t *buf, uint64_t op, uint64_t image, uint32_t first, uint32_t count)
{
	uint64_t skew = unit_skew(image);

	for (uint32_t i = first; i < first + count; i++)
		buf += fill_one(buf, i & 1 ? SECTOR - skew : skew, op, stamp_base(op, image, i));
}

bool stamp_read(const uint8_t *unit, uint64_t image, uint64_t index, version_t *v)
{
	uint64_t skew = unit_skew(image), len = index & 1 ? SECTOR - skew : skew, words = len / 8;
	uint64_t op, step, base, w, bad = 0;

	memcpy(&op, unit, 8);
	*v = VERSION(op, !op);
	step = op != 0;
	base = op ? stamp_base(op, image, index) : 0;
	for (uint64_t i = 1; i < words; i++) {
		memcpy(&w, unit + 8 * i, 8);
		bad |= w ^ (base + i * step);
	}
	w = base + words * step;
	return !bad && !memcmp(unit + 8 * words, &w, len % 8);
}
