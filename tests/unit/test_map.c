/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extent maps against a model: an array with the position of each cell. Cells
 * are one byte, so that offsets, lengths and positions are of any alignment.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "../../repl/map.h"
#include "check.h"

#define HOLE UINT64_MAX
#define PAGE 4096u
#define MIB  (1ull << 20)

struct model {
	struct arena *arena;
	size_t arena_size;
	struct map map;
	uint64_t *cell;
	uint64_t cells, base; /* cell i is offset base + i */
};

static void model_create(struct model *t, size_t arena_size, uint64_t cells, uint64_t base)
{
	*t = (struct model){.arena_size = arena_size, .cells = cells, .base = base};
	t->arena = arena_create(arena_size);
	t->cell = malloc(cells * sizeof(*t->cell));
	if (!t->arena || !t->cell)
		abort();
	map_init(&t->map, t->arena);
	memset(t->cell, 0xff, cells * sizeof(*t->cell));
}

static void model_destroy(struct model *t)
{
	arena_destroy(t->arena);
	free(t->cell);
}

static void model_set(struct model *t, uint64_t i, uint64_t len, uint64_t pos)
{
	for (uint64_t k = 0; k < len; k++)
		t->cell[i + k] = pos == HOLE || pos == MAP_ZERO ? pos : pos + k;
}

/* What the model says that x, cut at cells, has to be. */
static bool matches(const struct model *t, const struct extent *x)
{
	CHECK(x->off >= t->base && x->len > 0 && x->off + x->len <= t->base + t->cells);
	for (uint64_t k = 0; k < x->len; k++)
		CHECK(t->cell[x->off - t->base + k] ==
		      (x->pos == MAP_ZERO ? MAP_ZERO : x->pos + k));
	return true;
}

static bool walk(const struct model *t)
{
	uint64_t off = t->base, bytes = 0, count = 0;
	const struct map *m = &t->map;
	struct extent x;
	bool more;

	do {
		more = map_find(m, off, &x);
		for (uint64_t o = off; o < (more ? x.off : t->base + t->cells); o++)
			CHECK(t->cell[o - t->base] == HOLE);
		if (more) {
			CHECK(matches(t, &x));
			off = x.off + x.len;
			bytes += x.len;
			count++;
		}
	} while (more);
	CHECK(bytes == m->bytes && count == m->extents);
	CHECK(!count == !m->root && !count == !m->page_count);
	CHECK(arena_free_bytes(t->arena) + (size_t)m->page_count * PAGE == t->arena_size);
	return true;
}

static bool find_one(const struct model *t, uint64_t i)
{
	struct extent x;
	uint64_t k = i;

	while (k < t->cells && t->cell[k] == HOLE)
		k++;
	if (!map_find(&t->map, t->base + i, &x))
		CHECK(k == t->cells);
	else
		CHECK(x.off == t->base + k && matches(t, &x));
	return true;
}

static bool step(struct model *t, uint64_t max_len, unsigned remove_percent)
{
	uint64_t i = below(t->cells), len = 1 + below(max_len), pos;

	if (len > t->cells - i)
		len = t->cells - i;
	if (below(100) < remove_percent) {
		CHECK(map_remove(&t->map, t->base + i, len) == 0);
		model_set(t, i, len, HOLE);
		return true;
	}
	switch (below(8)) {
	case 0:
		pos = MAP_ZERO;
		break;
	case 1: /* one that may join its neighbours */
		pos = (1ull << 40) + i;
		break;
	default:
		pos = below(MAP_ZERO - len + 1);
	}
	CHECK(map_insert(&t->map, t->base + i, len, pos) == 0);
	model_set(t, i, len, pos);
	return true;
}

static bool random_small(void)
{
	for (unsigned round = 0; round < 40; round++) {
		struct model t;

		model_create(&t, MIB, 300 + below(3000),
			     round & 1 ? MAP_OFF_MAX - 3300 : below(99));
		if (round & 1)
			t.base = MAP_OFF_MAX - t.cells;
		for (unsigned n = 0; n < 1000; n++) {
			CHECK(step(&t, round % 4 < 2 ? 4 : 200, round % 3 * 20));
			CHECK(find_one(&t, below(t.cells)));
			if (n % 10 == 0)
				CHECK(walk(&t));
		}
		CHECK(walk(&t));
		model_destroy(&t);
	}
	return true;
}

static bool random_large(void)
{
	struct model t;

	/* phases that fill (three levels), thin out, and make again */
	model_create(&t, 16 * MIB, 400000, 5);
	for (unsigned phase = 0; phase < 8; phase++) {
		bool thin = phase & 1;

		for (unsigned n = 0; n < (thin ? 3000 : 150000); n++) {
			CHECK(step(&t, thin ? 500 : 2, thin ? 90 : 10));
			if (n % 64 == 0)
				CHECK(find_one(&t, below(t.cells)));
		}
		CHECK(walk(&t));
		CHECK(thin || t.map.height == 3);
	}
	CHECK(map_remove(&t.map, 0, MAP_OFF_MAX) == 0);
	model_set(&t, 0, t.cells, HOLE);
	CHECK(walk(&t) && !t.map.root && !t.map.pages && !t.map.pages_tail);
	model_destroy(&t);
	return true;
}

/* Every way round: filled and emptied in ascending, descending and random order. */
static bool fill_and_drain(void)
{
	enum { N = 100000 };
	struct model t;

	model_create(&t, 8 * MIB, 3 * N, 0);
	for (unsigned way = 0; way < 9; way++) {
		for (unsigned pass = 0; pass < 2; pass++) {
			unsigned order = pass ? way / 3 : way % 3;

			for (uint64_t n = 0; n < N; n++) {
				uint64_t i = 3 * (order == 0   ? n
						  : order == 1 ? N - 1 - n
							       : n * 7919 % N);

				if (pass) {
					CHECK(map_remove(&t.map, i, 2) == 0);
					model_set(&t, i, 2, HOLE);
				} else {
					CHECK(map_insert(&t.map, i, 2, n * 2) == 0);
					model_set(&t, i, 2, n * 2);
				}
				if (n == N / 2)
					CHECK(walk(&t));
			}
			CHECK(walk(&t));
			CHECK(t.map.extents == (pass ? 0 : N));
			if (!pass)
				CHECK((double)t.map.page_count * PAGE / N <= 24);
		}
	}
	model_destroy(&t);
	return true;
}

static bool borders(void)
{
	struct arena *a = arena_create(MIB);
	struct extent x;
	struct map m;

	CHECK(a);
	map_init(&m, a);
	CHECK(!map_find(&m, 0, &x) && !map_find(&m, MAP_OFF_MAX, &x));
	CHECK(map_insert(&m, 0, 0, 0) == 0 && map_insert(&m, MAP_OFF_MAX, 0, 0) == 0 && !m.root);
	CHECK(map_remove(&m, 0, MAP_OFF_MAX) == 0);

	CHECK(map_insert(&m, 0, MAP_OFF_MAX, MAP_ZERO) == 0);
	CHECK(m.bytes == MAP_OFF_MAX && m.extents == 1);
	CHECK(map_find(&m, 0, &x) && x.off == 0 && x.len == MAP_OFF_MAX && x.pos == MAP_ZERO);
	CHECK(map_find(&m, 77, &x) && x.off == 77 && x.len == MAP_OFF_MAX - 77 &&
	      x.pos == MAP_ZERO);
	CHECK(map_find(&m, MAP_OFF_MAX - 1, &x) && x.len == 1);
	CHECK(!map_find(&m, MAP_OFF_MAX, &x) && !map_find(&m, UINT64_MAX, &x));

	/* an extent in its middle: three; the last byte; the first */
	CHECK(map_insert(&m, 1ull << 40, 4096, 0) == 0 && m.extents == 3);
	CHECK(map_insert(&m, MAP_OFF_MAX - 1, 1, MAP_ZERO - 1) == 0 && m.extents == 4);
	CHECK(map_insert(&m, 0, 1, 5) == 0 && m.extents == 5 && m.bytes == MAP_OFF_MAX);
	CHECK(map_find(&m, 0, &x) && x.len == 1 && x.pos == 5);
	CHECK(map_find(&m, 1, &x) && x.len == (1ull << 40) - 1 && x.pos == MAP_ZERO);
	CHECK(map_find(&m, (1ull << 40) + 1, &x) && x.len == 4095 && x.pos == 1);
	CHECK(map_find(&m, MAP_OFF_MAX - 1, &x) && x.len == 1 && x.pos == MAP_ZERO - 1);
	/* zeroes over it again: joined */
	CHECK(map_insert(&m, 1ull << 40, 4096, MAP_ZERO) == 0 && m.extents == 3);
	CHECK(map_insert(&m, 0, MAP_OFF_MAX, MAP_ZERO) == 0 && m.extents == 1);
	map_clear(&m);

	/* data longer than an extent may be, and than 2^32 */
	CHECK(map_insert(&m, 10, 3ull << 32, 1000) == 0 && m.extents == 4 && m.bytes == 3ull << 32);
	for (uint64_t off = 10; off < 10 + (3ull << 32); off = x.off + x.len)
		CHECK(map_find(&m, off, &x) && x.off == off && x.pos == off + 990 &&
		      x.len <= MAP_LEN_MAX);
	CHECK(map_remove(&m, 0, 1ull << 32) == 0 && m.bytes == (3ull << 32) - (1ull << 32) + 10);
	CHECK(map_find(&m, 0, &x) && x.off == 1ull << 32 && x.pos == (1ull << 32) + 990);
	/* data of MAP_LEN_MAX, exactly, and no join beyond */
	map_clear(&m);
	CHECK(map_insert(&m, 0, MAP_LEN_MAX, 0) == 0 && m.extents == 1);
	CHECK(map_insert(&m, MAP_LEN_MAX, 1, MAP_LEN_MAX) == 0 && m.extents == 2);
	arena_destroy(a);
	return true;
}

static bool joins(void)
{
	struct arena *a = arena_create(MIB);
	struct extent x;
	struct map m;

	CHECK(a);
	map_init(&m, a);
	for (uint64_t i = 0; i < 1000; i++) /* written in order: one */
		CHECK(map_insert(&m, i * PAGE, PAGE, 8192 + i * PAGE) == 0);
	CHECK(m.extents == 1 && m.page_count == 1);
	for (uint64_t i = 2000; i-- > 1000;) /* in reverse: one more, joined to the first */
		CHECK(map_insert(&m, i * PAGE, PAGE, 8192 + i * PAGE) == 0);
	CHECK(m.extents == 1 && map_find(&m, 0, &x) && x.len == 2000 * PAGE && x.pos == 8192);
	CHECK(map_insert(&m, 5 * PAGE, PAGE, 1) == 0 && m.extents == 3);
	CHECK(map_insert(&m, 5 * PAGE, PAGE, 8192 + 5 * PAGE) == 0 && m.extents == 1);
	CHECK(map_insert(&m, 2000 * PAGE, PAGE, 7) == 0 && m.extents == 2); /* does not adjoin */
	arena_destroy(a);
	return true;
}

/* The arena runs full, in many sizes: each insert is whole or has not happened. */
static bool exhaustion(void)
{
	for (unsigned pages = 1; pages <= 60; pages++) {
		uint64_t failures = 0;
		struct model t;

		model_create(&t, (size_t)pages * PAGE, 60000, 0);
		for (unsigned n = 0; n < 20000 && failures < 20; n++) {
			uint64_t i = below(t.cells - 8), len = 1 + below(8),
				 pos = below(1ull << 40);
			size_t room = arena_free_bytes(t.arena);
			struct map before = t.map;
			int error = map_insert(&t.map, i, len, pos);

			if (error) {
				CHECK(error == -ENOSPC && room < map_insert_cost());
				CHECK(!memcmp(&before, &t.map, sizeof(before)) && walk(&t));
				failures++;
			} else {
				model_set(&t, i, len, pos);
			}
		}
		CHECK(walk(&t) && failures);
		/* a hole may or may not fit; taking all out always does */
		for (unsigned n = 0; n < 300; n++) {
			uint64_t i = below(t.cells - 8), len = 1 + below(3);
			int error = map_remove(&t.map, i, len);

			CHECK(!error || error == -ENOSPC);
			if (!error)
				model_set(&t, i, len, HOLE);
		}
		CHECK(walk(&t) && map_remove(&t.map, 0, t.cells) == 0 && t.map.bytes == 0);
		CHECK(arena_free_bytes(t.arena) == t.arena_size);
		model_destroy(&t);
	}
	return true;
}

/* No page at all is left: what needs none goes on, a hole in an extent is refused. */
static bool remove_when_full(void)
{
	struct map other[600];
	bool refused = false;
	struct model t;
	unsigned n;

	model_create(&t, 600 * PAGE, 300000, 0);
	while (map_insert(&t.map, below(100000) * 3, 3, below(1ull << 40)) == 0 &&
	       t.map.extents < 70000)
		;
	CHECK(t.map.height >= 2);
	for (n = 0; n < 600; n++) {
		map_init(&other[n], t.arena);
		if (map_insert(&other[n], 0, 3, 0))
			break;
	}
	CHECK(arena_free_bytes(t.arena) <= 6 * PAGE);
	for (uint64_t off = 0; off < 300000; off += 3) {
		uint64_t bytes = t.map.bytes;
		struct extent x;
		int error;

		if (!map_find(&t.map, off, &x) || x.off != off)
			continue;
		error = map_remove(&t.map, off + 1, 1);
		CHECK(!error || (error == -ENOSPC && t.map.bytes == bytes));
		if (error) { /* the same without a tail */
			CHECK(map_remove(&t.map, off + 1, 2) == 0 && t.map.bytes == bytes - 2);
			refused = true;
			break;
		}
		CHECK(t.map.bytes == bytes - 1);
	}
	CHECK(refused);
	while (n-- > 0)
		map_clear(&other[n]);
	map_clear(&t.map);
	CHECK(arena_free_bytes(t.arena) == t.arena_size);
	model_destroy(&t);
	return true;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* n inserts of 4 KiB into an image of `blocks` blocks; at most 24 bytes an extent, once
 * there are enough of them for an average. */
static bool fill(const char *name, uint64_t blocks, unsigned streams)
{
	enum { N = 1000000 };
	struct arena *a = arena_create(64 * MIB);
	double t0, t1, t2, worst = 0, now;
	uint64_t *at, found = 0;
	struct extent x;
	struct map m;

	at = malloc(N * sizeof(*at));
	CHECK(a && at);
	for (uint64_t i = 0; i < N; i++)
		at[i] = streams ? i % streams * (blocks / streams) + i / streams : below(blocks);
	map_init(&m, a);
	t0 = seconds();
	for (uint64_t i = 0; i < N; i++) {
		CHECK(map_insert(&m, at[i] * PAGE, PAGE, (2 * i) * PAGE) == 0);
		now = (double)m.page_count * PAGE / (double)m.extents;
		if (m.extents > 20000 && now > worst)
			worst = now;
	}
	t1 = seconds();
	for (uint64_t i = 0; i < N; i++)
		found += map_find(&m, at[i * 7919 % N] * PAGE, &x);
	t2 = seconds();
	CHECK(found == N);
	printf("# %s: %llu extents, %.2f bytes each, %.2f at worst; insert %.0f ns, find %.0f ns\n",
	       name, (unsigned long long)m.extents, (double)m.page_count * PAGE / (double)m.extents,
	       worst, (t1 - t0) / N * 1e9, (t2 - t1) / N * 1e9);
	CHECK(worst <= 24);
	free(at);
	arena_destroy(a);
	return true;
}

static bool fill_random(void)
{
	return fill("random", 1ull << 26, 0);
}

static bool fill_rewritten(void)
{
	return fill("random, half rewritten", 700000, 0);
}

static bool fill_sequential(void)
{
	return fill("sequential", 1ull << 26, 1);
}

static bool fill_streams(void)
{
	return fill("16 sequential streams", 1ull << 26, 16);
}

/* Pages are protected; the handler counts those that map_clear() touches. */
static volatile sig_atomic_t touched;
static long touch_failed;

static void on_touch(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

	(void)sig;
	(void)context;
	touched++;
	touch_failed |= mprotect((void *)at, PAGE, PROT_READ | PROT_WRITE);
	if (touch_failed)
		_Exit(99); /* not one of ours: would be here for ever */
}

static bool clear_is_constant(void)
{
	struct sigaction act = {.sa_sigaction = on_touch, .sa_flags = SA_SIGINFO}, old;
	struct arena *a = arena_create(8 * MIB);
	struct map m, other;
	void *base;

	CHECK(a);
	map_init(&m, a);
	map_init(&other, a);
	map_clear(&m); /* empty: nothing happens */
	CHECK(map_insert(&m, 0, 1, 0) == 0);
	base = m.root; /* the arena's first page */
	for (unsigned i = 0; i < 200000; i++)
		CHECK(map_insert(&m, below(MAP_OFF_MAX - 1), 1, 2) == 0);
	CHECK(m.page_count > 700);
	CHECK(map_insert(&other, 5, 5, 5) == 0);
	CHECK(sigaction(SIGSEGV, &act, &old) == 0);
	CHECK(mprotect(base, 8 * MIB, PROT_NONE) == 0);
	map_clear(&m);
	CHECK(mprotect(base, 8 * MIB, PROT_READ | PROT_WRITE) == 0);
	CHECK(sigaction(SIGSEGV, &old, NULL) == 0);
	CHECK(touched <= 1);
	CHECK(!m.root && !m.extents && !m.bytes && !m.page_count && !m.pages && m.arena == a);
	CHECK(arena_free_bytes(a) == 8 * MIB - PAGE && other.extents == 1);
	/* the pages are good again */
	for (unsigned i = 0; i < 200000; i++)
		CHECK(map_insert(&m, below(MAP_OFF_MAX - 1), 1, 2) == 0);
	map_clear(&other);
	map_clear(&m);
	CHECK(arena_free_bytes(a) == 8 * MIB);
	arena_destroy(a);
	return true;
}

static bool same(const struct map *a, const struct map *b)
{
	struct extent x, y;
	uint64_t off = 0;

	/* joined or not may differ: compare over the shorter of both */
	CHECK(a->bytes == b->bytes);
	for (;;) {
		bool more = map_find(a, off, &x);

		CHECK(map_find(b, off, &y) == more);
		if (!more)
			return true;
		CHECK(x.off == y.off && x.pos == y.pos);
		off = x.off + (x.len < y.len ? x.len : y.len);
	}
}

static bool merge_in_slices(void)
{
	for (unsigned round = 0; round < 20; round++) {
		struct arena *a = arena_create(16 * MIB);
		uint64_t span = 1000 + below(200000), cursor = 0, extents;
		struct map old, young, direct;
		unsigned slice = round ? 1 + (unsigned)below(500) : 1;
		int more;

		CHECK(a);
		map_init(&old, a);
		map_init(&young, a);
		map_init(&direct, a);
		for (unsigned n = 0; n < 30000; n++) {
			uint64_t off = below(span), len = 1 + below(20), pos = below(1ull << 40);

			if (below(10) == 0)
				pos = MAP_ZERO;
			if (below(2000) == 0)
				len = MAP_OFF_MAX - off, pos = MAP_ZERO;
			CHECK(map_insert(n < 15000 ? &old : &young, off, len, pos) == 0);
			CHECK(map_insert(&direct, off, len, pos) == 0);
		}
		extents = young.extents;
		while ((more = map_merge_some(&old, &young, &cursor, slice)) == 0)
			;
		CHECK(more == 1 && young.extents == extents);
		CHECK(map_merge_some(&old, &young, &cursor, slice) == 1); /* stays done */
		CHECK(same(&old, &direct));
		arena_destroy(a);
	}
	return true;
}

static bool merge_without_room(void)
{
	struct arena *small = arena_create(8 * PAGE), *a = arena_create(MIB);
	struct map dst, src;
	uint64_t cursor = 0, at;
	int error;

	CHECK(small && a);
	map_init(&dst, small);
	map_init(&src, a);
	for (uint64_t i = 0; i < 5000; i++)
		CHECK(map_insert(&src, i * 3, 2, i * 5) == 0);
	while ((error = map_merge_some(&dst, &src, &cursor, 7)) == 0)
		;
	CHECK(error == -ENOSPC && cursor == dst.extents * 3 - 1);
	at = cursor;
	CHECK(map_merge_some(&dst, &src, &cursor, 7) == -ENOSPC && cursor == at);
	map_clear(&dst); /* room again: goes on from there */
	CHECK(map_merge_some(&dst, &src, &cursor, 1) == 0 && cursor > at);
	arena_destroy(small);
	arena_destroy(a);
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(borders);
	RUN(joins);
	RUN(random_small);
	RUN(random_large);
	RUN(fill_and_drain);
	RUN(exhaustion);
	RUN(remove_when_full);
	RUN(clear_is_constant);
	RUN(merge_in_slices);
	RUN(merge_without_room);
	RUN(fill_random);
	RUN(fill_rewritten);
	RUN(fill_sequential);
	RUN(fill_streams);
	return check_end();
}
