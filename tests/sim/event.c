/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Virtual time, the queue of events (a binary heap), random numbers
 * (xoshiro256**, Blackman and Vigna) and pooled memory. Nothing here or above
 * looks at an address or a real clock, so a seed replays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

static uint64_t rotl(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

uint64_t rnd(struct sim *s)
{
	uint64_t *r = s->rng, result = rotl(r[1] * 5, 7) * 9, t = r[1] << 17;

	r[2] ^= r[0];
	r[3] ^= r[1];
	r[1] ^= r[2];
	r[0] ^= r[3];
	r[2] ^= t;
	r[3] = rotl(r[3], 45);
	return result;
}

uint64_t rnd_below(struct sim *s, uint64_t n)
{
	return rnd(s) % n;
}

bool one_in(struct sim *s, uint64_t n)
{
	return !rnd_below(s, n);
}

uint64_t rnd_delay(struct sim *s, uint64_t base)
{
	uint64_t r = rnd(s);

	if (!(r % 64)) /* a hiccup */
		return base * (4 + (r >> 8) % 30);
	return base / 2 + (r >> 8) % (base + 1);
}

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void *must(void *p)
{
	if (!p) {
		fputs("sim: out of memory\n", stderr);
		exit(2);
	}
	return p;
}

static void heap_put(struct sim *s, struct event *e)
{
	uint32_t i;

	for (i = s->heap_count++; i && before(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

struct event *event_add(struct sim *s, uint64_t delay_us, int host,
                        void (*fn)(struct sim *s, struct event *e))
{
	struct event *e = s->event_pool;

	if (e)
		s->event_pool = e->free_next;
	else
		e = must(malloc(sizeof(*e)));
	*e = (struct event){ .at = s->now + delay_us, .order = s->order++, .fn = fn, .host = host };
	if (host >= 0)
		e->life = s->hosts[host].life;
	if (s->heap_count == s->heap_cap) {
		s->heap_cap = s->heap_cap ? s->heap_cap * 2 : 256;
		s->heap = must(realloc(s->heap, s->heap_cap * sizeof(*s->heap)));
	}
	heap_put(s, e);
	return e;
}

void event_again(struct sim *s, struct event *e, uint64_t at)
{
	e->at = at;
	e->order = s->order++;
	heap_put(s, e);
}

struct event *event_pop(struct sim *s)
{
	struct event *top, *last;
	uint32_t i = 0, child;

	if (!s->heap_count)
		return NULL;
	top = s->heap[0];
	last = s->heap[--s->heap_count];
	while ((child = 2 * i + 1) < s->heap_count) {
		if (child + 1 < s->heap_count && before(s->heap[child + 1], s->heap[child]))
			child++;
		if (!before(s->heap[child], last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	if (s->heap_count)
		s->heap[i] = last;
	return top;
}

void event_free(struct sim *s, struct event *e)
{
	e->free_next = s->event_pool;
	s->event_pool = e;
}

void event_clear(struct sim *s)
{
	while (s->heap_count)
		event_free(s, s->heap[--s->heap_count]);
}

#define POOL_CHUNK ((size_t)16 << 20)

static unsigned pool_class(size_t size)
{
	unsigned c = 0;

	while (((size_t)64 << c) < size)
		c++;
	if (c >= POOL_CLASSES) {
		fprintf(stderr, "sim: %zu bytes are too many for the pool\n", size);
		exit(2);
	}
	return c;
}

/* From large pages: the pools are touched all over. */
void *pool_more(struct sim *s, size_t size)
{
	void *p;

	if (s->chunk_left < size) {
		struct pool_free *chunk = must(aligned_alloc(4096, POOL_CHUNK));

		(void)madvise(chunk, POOL_CHUNK, MADV_HUGEPAGE); /* only for speed */
		chunk->next = s->chunks;
		s->chunks = chunk;
		s->chunk = (uint8_t *)chunk + 64;
		s->chunk_left = POOL_CHUNK - 64;
	}
	p = s->chunk;
	s->chunk += size;
	s->chunk_left -= size;
	return p;
}

void *pool_get(struct sim *s, size_t size)
{
	unsigned c = pool_class(size);
	struct pool_free *p = s->pools[c];

	if (!p)
		return pool_more(s, (size_t)64 << c);
	s->pools[c] = p->next;
	return p;
}

void pool_put(struct sim *s, void *p, size_t size)
{
	unsigned c = pool_class(size);
	struct pool_free *f = p;

	if (!p)
		return;
	f->next = s->pools[c];
	s->pools[c] = f;
}

void pool_drain(struct sim *s)
{
	struct pool_free *chunk;
	struct event *e;

	while ((chunk = s->chunks)) {
		s->chunks = chunk->next;
		free(chunk);
	}
	while ((e = s->event_pool)) {
		s->event_pool = e->free_next;
		free(e);
	}
	free(s->heap);
	s->heap = NULL;
	s->heap_cap = 0;
}
