/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bounded getters and putters: byte order, and every cut of the buffer. */
#include "../../repl/bytes.h"
#include "check.h"

static bool order(void)
{
	static const uint8_t want[15] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8};
	uint8_t buf[15];
	struct putter p = putter_init(buf, sizeof(buf));
	struct getter g = getter_init(buf, sizeof(buf));

	put_u8(&p, 1);
	put_u16(&p, 0x0203);
	put_u32(&p, 0x04050607);
	put_u64(&p, 0x08090a0b0c0d0e0f);
	CHECK(!p.bad && put_left(&p) == 0 && !memcmp(buf, want, sizeof(want)));
	CHECK(get_u8(&g) == 1 && get_u16(&g) == 0x0203 && get_u32(&g) == 0x04050607);
	CHECK(get_u64(&g) == 0x08090a0b0c0d0e0f && !g.bad && get_left(&g) == 0);
	return true;
}

static bool cuts(void)
{
	/* u16 u64 bytes(5) zero(3) u8: 19 bytes */
	for (size_t n = 0; n <= 19; n++) {
		uint8_t *buf = malloc(n + !n),
			five[5] = {1, 2, 3, 4, 5}; /* exact: for the sanitizer */
		struct putter p = putter_init(buf, n);
		struct getter g = getter_init(buf, n);

		CHECK(buf);
		put_u16(&p, 0xffff);
		put_u64(&p, UINT64_MAX);
		put_bytes(&p, five, 5);
		put_zero(&p, 3);
		put_u8(&p, 9);
		CHECK(p.bad == (n < 19) && put_left(&p) == 0);
		CHECK(get_u16(&g) == (n < 2 ? 0 : 0xffff));
		CHECK(get_u64(&g) == (n < 10 ? 0 : UINT64_MAX));
		get_bytes(&g, five, 5);
		CHECK(five[4] == (n < 15 ? 0 : 5));
		CHECK(!get_skip(&g, 3) == (n < 18));
		CHECK(get_u8(&g) == (n < 19 ? 0 : 9));
		CHECK(g.bad == (n < 19) && get_left(&g) == 0);
		CHECK(!get_skip(&g, SIZE_MAX) && g.bad && !put_skip(&p, SIZE_MAX) && p.bad);
		free(buf);
	}
	return true;
}

static bool bad_stays(void)
{
	uint8_t buf[4] = {1, 2, 3, 4};
	struct getter g = getter_init(buf, 4);
	struct putter p = putter_init(buf, 4);

	CHECK(get_u64(&g) == 0 && g.bad && get_u8(&g) == 0 && get_left(&g) == 0);
	put_u64(&p, 0);
	put_u8(&p, 9);
	CHECK(p.bad && buf[0] == 1 && put_left(&p) == 0);
	g = getter_init(NULL, 0);
	CHECK(get_left(&g) == 0 && get_u8(&g) == 0 && g.bad);
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(order);
	RUN(cuts);
	RUN(bad_stays);
	return check_end();
}
