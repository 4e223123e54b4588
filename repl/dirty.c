/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty sets. Owned by the core, used on the event loop's thread only. A bit
 * may be set for too long, never too short: whatever cannot be entered for want
 * of memory turns the set into "all".
 */
#include "dirty.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_WORDS 512u
#define PAGE_BITS  (PAGE_WORDS * 64ull)
#define OFF_MAX    (1ull << 48) /* what reaches beyond is not worth bits: all */

void dirty_init(struct dirty *d)
{
	*d = (struct dirty){0};
}

void dirty_free(struct dirty *d)
{
	for (uint64_t i = 0; i < d->page_count; i++)
		free(d->pages[i]);
	free(d->pages);
	dirty_init(d);
}

static void mark_all(struct dirty *d)
{
	dirty_free(d);
	d->all = true;
}

/* The page, made if need be; NULL: out of memory. */
static uint64_t *page_get(struct dirty *d, uint64_t index)
{
	if (index >= d->page_count) {
		uint64_t count = d->page_count ? d->page_count * 2 : 4;
		uint64_t **pages;

		if (count <= index)
			count = index + 1;
		pages = reallocarray(d->pages, count, sizeof(*pages));
		if (!pages)
			return NULL;
		memset(pages + d->page_count, 0, (count - d->page_count) * sizeof(*pages));
		d->pages = pages;
		d->page_count = count;
	}
	if (!d->pages[index])
		d->pages[index] = calloc(PAGE_WORDS, sizeof(uint64_t));
	return d->pages[index];
}

/* The bits [bit, end) of bit's word. */
static uint64_t word_mask(uint64_t bit, uint64_t end)
{
	uint64_t mask = ~0ull << (bit & 63);

	if (end < (bit | 63) + 1)
		mask &= ~(~0ull << (end & 63));
	return mask;
}

/* Set the bits [bit, end). False: out of memory, part of them set. */
static bool set_bits(struct dirty *d, uint64_t bit, uint64_t end)
{
	for (; bit < end; bit = (bit | 63) + 1) {
		uint64_t *page = page_get(d, bit / PAGE_BITS), mask = word_mask(bit, end), *word;

		if (!page)
			return false;
		word = &page[bit % PAGE_BITS / 64];
		d->blocks += (uint64_t)__builtin_popcountll(mask & ~*word);
		*word |= mask;
	}
	return true;
}

void dirty_mark(struct dirty *d, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (d->all || !len)
		return;
	if (len > OFF_MAX || off > OFF_MAX - len) {
		mark_all(d);
		return;
	}
	end = (off + len + DIRTY_BLOCK - 1) / DIRTY_BLOCK;
	if (!set_bits(d, off / DIRTY_BLOCK, end))
		mark_all(d);
}

void dirty_clear(struct dirty *d, uint64_t off, uint64_t len, uint64_t size)
{
	uint64_t limit, end, bit = off / DIRTY_BLOCK + (off % DIRTY_BLOCK != 0);

	if (!len)
		return;
	end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
	limit = end / DIRTY_BLOCK;
	if (end >= size && limit * DIRTY_BLOCK < size)
		limit++; /* the image's last block, cut short by its end */
	if (d->all) {
		struct dirty bits = {0};

		if (size > OFF_MAX || !set_bits(&bits, 0, (size + DIRTY_BLOCK - 1) / DIRTY_BLOCK)) {
			dirty_free(&bits);
			return;
		}
		*d = bits; /* "all" has no pages that were lost here */
	}
	if (limit > d->page_count * PAGE_BITS)
		limit = d->page_count * PAGE_BITS;
	while (bit < limit) {
		uint64_t *page = d->pages[bit / PAGE_BITS], mask = word_mask(bit, limit), *word;

		if (!page) {
			bit = (bit / PAGE_BITS + 1) * PAGE_BITS;
			continue;
		}
		word = &page[bit % PAGE_BITS / 64];
		d->blocks -= (uint64_t)__builtin_popcountll(mask & *word);
		*word &= ~mask;
		bit = (bit | 63) + 1;
	}
}

/* The first bit at or after bit that has the value, or limit. */
static uint64_t next_bit(const struct dirty *d, uint64_t bit, uint64_t limit, bool value)
{
	while (bit < limit) {
		uint64_t index = bit / PAGE_BITS, word = 0;

		if (index < d->page_count && d->pages[index]) {
			word = d->pages[index][bit % PAGE_BITS / 64];
		} else if (value) {
			if (index >= d->page_count)
				return limit;
			bit = (index + 1) * PAGE_BITS;
			continue;
		}
		word = (value ? word : ~word) & ~0ull << (bit & 63);
		if (word) {
			bit = (bit & ~63ull) + (uint64_t)__builtin_ctzll(word);
			return bit < limit ? bit : limit;
		}
		bit = (bit | 63) + 1;
	}
	return limit;
}

bool dirty_next(const struct dirty *d, uint64_t off, uint64_t size, uint64_t max, uint64_t *roff,
		uint64_t *rlen)
{
	uint64_t first, limit, start, end, bits;

	assert(max > 0);
	if (off >= size || !dirty_any(d))
		return false;
	if (d->all) {
		*roff = off;
		*rlen = size - off < max ? size - off : max;
		return true;
	}
	limit = size / DIRTY_BLOCK + (size % DIRTY_BLOCK != 0);
	first = next_bit(d, off / DIRTY_BLOCK, limit, true);
	if (first == limit)
		return false;
	start = first * DIRTY_BLOCK < off ? off : first * DIRTY_BLOCK;
	bits = max / DIRTY_BLOCK + 2; /* more are cut off again: do not look at them */
	end = next_bit(d, first, limit - first > bits ? first + bits : limit, false);
	end = end == limit ? size : end * DIRTY_BLOCK;
	*roff = start;
	*rlen = end - start < max ? end - start : max;
	return true;
}

bool dirty_any(const struct dirty *d)
{
	return d->all || d->blocks > 0;
}

void dirty_merge(struct dirty *dst, struct dirty *src)
{
	assert(dst != src);
	if (dst->all || src->all) {
		mark_all(dst);
		dirty_free(src);
		return;
	}
	if (src->page_count > dst->page_count) { /* into the larger one: no memory is needed */
		struct dirty larger = *src;

		*src = *dst;
		*dst = larger;
	}
	for (uint64_t i = 0; i < src->page_count; i++) {
		uint64_t *from = src->pages[i], *to = dst->pages[i];

		if (!from)
			continue;
		for (unsigned w = 0; w < PAGE_WORDS; w++) {
			uint64_t fresh = from[w] & ~(to ? to[w] : 0);

			dst->blocks += (uint64_t)__builtin_popcountll(fresh);
			if (to)
				to[w] |= fresh;
		}
		if (!to) {
			dst->pages[i] = from;
			src->pages[i] = NULL;
		}
	}
	dirty_free(src);
}

uint64_t dirty_bytes(const struct dirty *d, uint64_t size)
{
	if (d->all || d->blocks >= size / DIRTY_BLOCK + 1)
		return size;
	return d->blocks * DIRTY_BLOCK < size ? d->blocks * DIRTY_BLOCK : size;
}

static uint64_t word_of(const struct dirty *const *sets, unsigned count, uint64_t page, uint32_t word)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < count; i++)
		if (page < sets[i]->page_count && sets[i]->pages[page])
			bits |= sets[i]->pages[page][word];
	return bits;
}

uint64_t dirty_bytes_of(const struct dirty *const *sets, unsigned count, uint64_t size)
{
	uint64_t blocks = size / DIRTY_BLOCK + (size % DIRTY_BLOCK != 0), bytes = 0;

	for (unsigned i = 0; i < count; i++)
		if (sets[i]->all)
			return size;
	for (uint64_t first = 0; first < blocks; first += 64) {
		uint64_t bits = word_of(sets, count, first / PAGE_BITS, (uint32_t)(first % PAGE_BITS / 64));

		if (blocks - first < 64)
			bits &= (1ull << (blocks - first)) - 1;
		bytes += (uint64_t)__builtin_popcountll(bits) * DIRTY_BLOCK;
		if (blocks - first <= 64 && bits >> (blocks - first - 1) & 1) /* the last block may be short */
			bytes -= blocks * DIRTY_BLOCK - size;
	}
	return bytes;
}
