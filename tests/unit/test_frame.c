/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header of the wire: its bytes are the same on every machine, a damaged or forged one is refused, and no length or
 * range in it can overflow anything that comes behind.
 */
#include <errno.h>
#include <string.h>

#include "../../repl/frame.h"
#include "../../repl/map.h"
#include "check.h"

static uint8_t buf[FRAME_HEADER];
static const char *why;

/* As a peer would send it that knows how to make a good checksum. */
static int sent(const struct frame *f)
{
	struct frame got;

	memset(&got, 0x55, sizeof(got));
	frame_encode(buf, f);
	return frame_decode(&got, buf, &why);
}

static bool there_and_back(void)
{
	for (int i = 0; i < 2000; i++) {
		struct frame f = { .type = FRAME_DATA, .flags = (uint8_t)rnd(), .session = rnd(), .epoch = rnd(),
			.seq = rnd(), .image = IMAGE_ID_MIN + below(1ull << 61), .off = below(MAP_OFF_MAX - FRAME_DATA_MAX), .len = rnd(),
			.sum = rnd(), .payload_len = (uint32_t)(1 + below(FRAME_DATA_MAX)) };
		struct frame got;

		frame_encode(buf, &f);
		CHECK(!frame_decode(&got, buf, &why) && !why);
		CHECK(got.type == f.type && got.flags == f.flags && got.payload_len == f.payload_len);
		CHECK(got.session == f.session && got.epoch == f.epoch && got.seq == f.seq && got.image == f.image);
		CHECK(got.off == f.off && got.len == f.len && got.sum == f.sum);
	}
	return true;
}

static bool bytes_are_little_endian(void)
{
	static const uint8_t want[] = {
		'L', 'O', 'F', 'S', FRAME_ZERO, FRAME_F_KEEP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
		20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0,
	};
	struct frame f = { .type = FRAME_ZERO, .flags = FRAME_F_KEEP, .session = 0x0102030405060708, .epoch = 2, .seq = 3,
		.image = 20, .off = 256, .len = 65536 };

	CHECK(!sent(&f) && !memcmp(buf, want, sizeof(want)));
	return true;
}

static bool every_flipped_bit_is_seen(void)
{
	struct frame f = { .type = FRAME_DATA, .payload_len = 512, .off = 4096, .image = 17 }, got;

	frame_encode(buf, &f);
	for (unsigned i = 0; i < FRAME_HEADER * 8; i++) {
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		CHECK(frame_decode(&got, buf, &why) == -EPROTO && why);
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	CHECK(!frame_decode(&got, buf, &why));
	return true;
}

static bool unknown_types(void)
{
	for (unsigned t = 0; t < 256; t++) {
		struct frame f = { .type = (uint8_t)t, .payload_len = UINT32_MAX };

		CHECK(sent(&f) == -EPROTO);
		CHECK(!(t && t < FRAME_TYPE_END) == !strcmp(why, "unknown frame type"));
	}
	return true;
}

/* The forged header: lengths and offsets that only together go wrong. */
static bool ranges(void)
{
	static const uint64_t far[] = { MAP_OFF_MAX, MAP_OFF_MAX + 1, 1ull << 63, UINT64_MAX - 65535, UINT64_MAX };

	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		struct frame data = { .type = FRAME_DATA, .image = 17, .payload_len = 4096, .off = far[i] };
		struct frame zero = { .type = FRAME_ZERO, .image = 17, .off = far[i], .len = 4096 };
		struct frame len = { .type = FRAME_ZERO, .image = 17, .off = 4096, .len = far[i] };
		struct frame hash = { .type = FRAME_HASHQ, .image = 17, .off = far[i], .len = 4096, .payload_len = 32 };
		struct frame size = { .type = FRAME_SIZE, .image = 17, .len = far[i] };
		struct frame image = { .type = FRAME_IMAGE, .image = 17, .len = far[i], .payload_len = 4 };

		CHECK(sent(&data) == -EPROTO && sent(&zero) == -EPROTO && sent(&len) == -EPROTO);
		CHECK(sent(&hash) == -EPROTO && sent(&size) == -EPROTO && sent(&image) == -EPROTO);
	}
	struct frame last = { .type = FRAME_DATA, .image = 17, .payload_len = 4096, .off = MAP_OFF_MAX - 4096 };

	CHECK(!sent(&last));
	last.off++;
	CHECK(sent(&last) == -EPROTO);
	return true;
}

static bool lengths(void)
{
	struct frame data = { .type = FRAME_DATA, .image = 17 };
	struct frame zero = { .type = FRAME_ZERO, .image = 17 };
	struct frame hash = { .type = FRAME_HASHQ, .image = 17, .len = 4096, .payload_len = 31 };
	struct frame commit = { .type = FRAME_COMMIT, .payload_len = 7 };
	struct frame name = { .type = FRAME_CREATE, .image = 17 };

	CHECK(sent(&data) == -EPROTO && sent(&zero) == -EPROTO && sent(&hash) == -EPROTO);
	CHECK(sent(&commit) == -EPROTO && sent(&name) == -EPROTO);
	data.payload_len = FRAME_DATA_MAX;
	CHECK(!sent(&data));
	data.payload_len++;
	CHECK(sent(&data) == -EPROTO);
	hash.payload_len = 32;
	CHECK(!sent(&hash));
	hash.len = IO_MAX_LEN + 1;
	CHECK(sent(&hash) == -EPROTO);
	name.payload_len = 256;
	CHECK(sent(&name) == -EPROTO);
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(there_and_back);
	RUN(bytes_are_little_endian);
	RUN(every_flipped_bit_is_seen);
	RUN(unknown_types);
	RUN(ranges);
	RUN(lengths);
	return check_end();
}
