/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty sets against one byte a block; and every allocation failed in turn: a
 * set may say too much then, never too little.
 */
#include <string.h>

#include "check.h"

#define BLOCKS        140000u /* some pages and a part of one */
#define SIZE_MAX_TEST (BLOCKS * (uint64_t)DIRTY_BLOCK)
#define GIB           (1ull << 30)

/* Once armed, allocations fail from the Nth on. */
static bool armed;
static long fail_after;

static bool fails(void)
{
	return armed && fail_after-- <= 0;
}

static void *test_calloc(size_t n, size_t size)
{
	return fails() ? NULL : calloc(n, size);
}

static void *test_reallocarray(void *p, size_t n, size_t size)
{
	return fails() ? NULL : reallocarray(p, n, size);
}

#define calloc       test_calloc
#define reallocarray test_reallocarray
#include "../../repl/dirty.c"
#undef calloc
#undef reallocarray

struct model {
	struct dirty d;
	uint8_t *block;
};

static bool model_create(struct model *t)
{
	dirty_init(&t->d);
	t->block = calloc(BLOCKS, 1);
	return t->block;
}

static void model_destroy(struct model *t)
{
	dirty_free(&t->d);
	free(t->block);
}

static void model_mark(struct model *t, uint64_t off, uint64_t len)
{
	if (len)
		for (uint64_t b = off / DIRTY_BLOCK; b <= (off + len - 1) / DIRTY_BLOCK; b++)
			t->block[b] = 1;
}

static void model_clear(struct model *t, uint64_t off, uint64_t len, uint64_t size)
{
	for (uint64_t b = 0; len && b < BLOCKS; b++) {
		uint64_t start = b * DIRTY_BLOCK, end = start + DIRTY_BLOCK;

		if (start < size && end > size && off + len >= size)
			end = size;
		if (start >= off && end <= off + len)
			t->block[b] = 0;
	}
}

/* Walk [off,size) in runs of at most max: together they are what the model says. */
static bool walk(const struct model *t, uint64_t off, uint64_t size, uint64_t max)
{
	uint64_t start, len, b = off / DIRTY_BLOCK;

	while (dirty_next(&t->d, off, size, max, &start, &len)) {
		CHECK(start >= off && len > 0 && len <= max && start + len <= size);
		for (; b < start / DIRTY_BLOCK; b++)
			CHECK(!t->block[b]);
		CHECK(start == off || start % DIRTY_BLOCK == 0);
		for (b = start / DIRTY_BLOCK; b <= (start + len - 1) / DIRTY_BLOCK; b++)
			CHECK(t->block[b]);
		off = start + len;
		CHECK(len == max || off == size || !t->block[off / DIRTY_BLOCK]);
		b = off / DIRTY_BLOCK;
	}
	for (; b * DIRTY_BLOCK < size && off < size; b++)
		CHECK(!t->block[b]);
	return true;
}

static bool count(const struct model *t)
{
	uint64_t n = 0;

	for (uint64_t b = 0; b < BLOCKS; b++)
		n += t->block[b];
	CHECK(t->d.blocks == n && dirty_any(&t->d) == (n > 0));
	CHECK(dirty_bytes(&t->d, SIZE_MAX_TEST) == n * DIRTY_BLOCK);
	CHECK(dirty_bytes(&t->d, 70000) == (n > 1 ? 70000 : n * DIRTY_BLOCK));
	return true;
}

static void random_place(uint64_t size, uint64_t *off, uint64_t *len)
{
	static const uint64_t scale[] = {4096, DIRTY_BLOCK, 100ull * DIRTY_BLOCK, 3 * GIB};

	*off = below(size);
	*len = below(scale[below(below(50) ? 3 : 4)]);
	if (below(2))
		*off &= ~(uint64_t)(DIRTY_BLOCK - 1);
	if (*len > size - *off)
		*len = size - *off;
}

static bool random_ops(void)
{
	struct model t;

	CHECK(model_create(&t));
	for (unsigned n = 0; n < 4000; n++) {
		uint64_t size = 1 + below(SIZE_MAX_TEST), off, len;

		if (below(3)) {
			random_place(SIZE_MAX_TEST, &off, &len);
			dirty_mark(&t.d, off, len);
			model_mark(&t, off, len);
		} else {
			random_place(size, &off, &len);
			dirty_clear(&t.d, off, len, size);
			model_clear(&t, off, len, size);
		}
		if (n % 20 == 0) {
			CHECK(count(&t));
			CHECK(walk(&t, below(size), size,
				   below(2) ? UINT64_MAX : 50001 + below(99) * 60000));
		}
	}
	CHECK(walk(&t, 0, SIZE_MAX_TEST, 1 << 20));
	model_destroy(&t);
	return true;
}

static bool random_merge(void)
{
	for (unsigned round = 0; round < 60; round++) {
		struct model a, b;
		uint64_t off, len;

		CHECK(model_create(&a) && model_create(&b));
		for (unsigned n = 0; n < 40; n++) {
			struct model *t = below(2) ? &a : &b;

			random_place(round % 3 ? SIZE_MAX_TEST
				     : t == &a ? GIB
					       : SIZE_MAX_TEST,
				     &off, &len);
			dirty_mark(&t->d, off, len);
			model_mark(t, off, len);
		}
		armed = true; /* no memory is needed */
		fail_after = 0;
		dirty_merge(&a.d, &b.d);
		armed = false;
		for (uint64_t i = 0; i < BLOCKS; i++)
			a.block[i] |= b.block[i];
		CHECK(!a.d.all && count(&a) && walk(&a, 0, SIZE_MAX_TEST, UINT64_MAX));
		CHECK(!dirty_any(&b.d) && !b.d.pages && !b.d.page_count);
		model_destroy(&a);
		model_destroy(&b);
	}
	return true;
}

static bool everything(void)
{
	uint64_t off, len, size = 5 * GIB + 100;
	struct dirty d, other;

	dirty_init(&d);
	dirty_init(&other);
	CHECK(!dirty_any(&d) && !dirty_next(&d, 0, size, 1, &off, &len) &&
	      dirty_bytes(&d, size) == 0);
	dirty_mark(&d, 0, 0);
	dirty_clear(&d, 0, size, size);
	CHECK(!dirty_any(&d));
	dirty_mark(&d, 3, UINT64_MAX - 3); /* beyond all images */
	CHECK(d.all && dirty_any(&d) && dirty_bytes(&d, size) == size && dirty_bytes(&d, 0) == 0);
	dirty_mark(&d, 5, 5);
	CHECK(dirty_next(&d, 10, size, 7, &off, &len) && off == 10 && len == 7);
	CHECK(dirty_next(&d, size - 3, size, 7, &off, &len) && off == size - 3 && len == 3);
	CHECK(!dirty_next(&d, size, size, 7, &off, &len));
	/* into bits */
	dirty_clear(&d, GIB + 1, GIB, size);
	CHECK(!d.all && d.blocks == 5 * GIB / DIRTY_BLOCK + 1 - GIB / DIRTY_BLOCK + 1);
	CHECK(dirty_next(&d, 0, size, UINT64_MAX, &off, &len) && off == 0 &&
	      len == GIB + DIRTY_BLOCK);
	CHECK(dirty_next(&d, off + len, size, UINT64_MAX, &off, &len) && off == 2 * GIB);
	CHECK(off + len == size);
	/* the block that the image's end cuts short */
	dirty_clear(&d, 5 * GIB, 99, size);
	CHECK(dirty_next(&d, 5 * GIB, size, UINT64_MAX, &off, &len) && len == 100);
	dirty_clear(&d, 5 * GIB, 100, size);
	CHECK(!dirty_next(&d, 5 * GIB, size, UINT64_MAX, &off, &len));
	dirty_clear(&d, 0, UINT64_MAX, size);
	CHECK(!dirty_any(&d));
	/* merges */
	dirty_mark(&d, 0, 1);
	dirty_mark(&other, 1ull << 48, 1);
	CHECK(other.all);
	dirty_merge(&d, &other);
	CHECK(d.all && !dirty_any(&other));
	dirty_mark(&other, 0, 1);
	dirty_merge(&d, &other);
	CHECK(d.all && !dirty_any(&other));
	dirty_free(&d);
	CHECK(!dirty_any(&d));
	/* the last block there is */
	dirty_mark(&d, (1ull << 48) - 1, 1);
	CHECK(!d.all && d.blocks == 1);
	CHECK(dirty_next(&d, 0, 1ull << 48, 1, &off, &len) && off == (1ull << 48) - DIRTY_BLOCK);
	CHECK(!dirty_next(&d, 0, off, 1, &off, &len));
	dirty_free(&d);
	return true;
}

static bool no_memory(void)
{
	bool failed = true;

	for (long n = 0; failed; n++) {
		uint64_t off, len, size = 9 * GIB;
		struct dirty d;

		dirty_init(&d);
		armed = true;
		fail_after = n;
		dirty_mark(&d, 0, 1);
		dirty_mark(&d, 7 * GIB, 1);
		dirty_mark(&d, 40 * GIB, 1);
		failed = fail_after < 0;
		CHECK(d.all == failed);
		CHECK(dirty_next(&d, 0, size, 1, &off, &len) && off == 0);
		CHECK(dirty_next(&d, 7 * GIB, size, 1, &off, &len) && off == 7 * GIB);
		armed = false;

		dirty_free(&d);
		d.all = true;
		armed = true;
		fail_after = n;
		dirty_clear(&d, 0, GIB, size);
		armed = false;
		CHECK(d.all == (fail_after < 0));
		failed |= fail_after < 0;
		CHECK(dirty_next(&d, 0, size, 1, &off, &len) && off == (d.all ? 0 : GIB));
		dirty_free(&d);
	}
	return true;
}

/* What two sets have in common counts once; the end of an image that is no whole block, as what it is. */
static bool bytes_of_several(void)
{
	for (int round = 0; round < 200; round++) {
		struct dirty a, b, both;
		uint64_t size = 1 + below(3 * GIB), sum;

		dirty_init(&a);
		dirty_init(&b);
		dirty_init(&both);
		for (int i = 0; i < 20; i++) {
			uint64_t off = below(4 * GIB), len = 1 + below(64 * DIRTY_BLOCK);

			dirty_mark(i % 2 ? &a : &b, off, len);
			dirty_mark(&both, off, len);
		}
		dirty_mark(&a, size - 1, 1);
		dirty_mark(&b, size - 1, 1);
		dirty_mark(&both, size - 1, 1);
		sum = 0;
		for (uint64_t off = 0, len; dirty_next(&both, off, size, UINT64_MAX, &off, &len); off += len)
			sum += len;
		CHECK(dirty_bytes_of((const struct dirty *const[]){ &a, &b }, 2, size) == sum);
		CHECK(dirty_bytes_of((const struct dirty *const[]){ &both }, 1, size) == sum && sum <= size);
		dirty_free(&a);
		dirty_free(&b);
		dirty_free(&both);
	}
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(everything);
	RUN(random_ops);
	RUN(random_merge);
	RUN(bytes_of_several);
	RUN(no_memory);
	return check_end();
}
