/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The wire's decoders by themselves: headers, HELLO, WELCOME, names. What is taken must come out the same again. */
#include <stdlib.h>
#include <string.h>

#include "../../repl/bytes.h"
#include "../../repl/frame.h"
#include "../../repl/map.h"
#include "../../repl/sum.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
	if (!good)
		abort();
}

static void header(const uint8_t *data, size_t size)
{
	uint8_t buf[FRAME_HEADER] = { 0 }, again[FRAME_HEADER];
	struct putter p = putter_init(buf, 4), s = putter_init(buf + FRAME_HEADER - 8, 8);
	struct frame f, g;
	const char *why;

	memcpy(buf, data, size < sizeof(buf) ? size : sizeof(buf));
	(void)frame_decode(&f, buf, &why);
	/* Now with magic and sum put right. */
	put_u32(&p, FRAME_MAGIC);
	put_u64(&s, sum64(buf, FRAME_HEADER - 8));
	if (frame_decode(&f, buf, &why)) {
		demand(*why);
		return;
	}
	demand(f.payload_len <= HELLO_MAX && f.type && f.type < FRAME_TYPE_END && frame_name(f.type)[0] != '?');
	if (f.type == FRAME_DATA)
		demand(f.off + f.payload_len <= MAP_OFF_MAX && f.payload_len <= FRAME_DATA_MAX);
	if (f.type == FRAME_ZERO || f.type == FRAME_HASHQ)
		demand(f.off + f.len <= MAP_OFF_MAX && f.off + f.len > f.off);
	if (frame_numbered(f.type))
		demand(f.image >= IMAGE_ID_MIN && f.image <= IMAGE_ID_MAX);
	demand(frame_cost(&f) >= f.payload_len);
	frame_encode(again, &f);
	demand(!frame_decode(&g, again, &why) && g.type == f.type && g.off == f.off && g.sum == f.sum && g.len == f.len);
}

static void hello(const uint8_t *data, size_t size)
{
	static uint8_t buf[HELLO_MAX];
	struct hello h, g;

	if (hello_decode(&h, data, size))
		return;
	demand(h.image_count <= IMAGES_MAX && h.lineage.count <= HISTORY_MAX);
	for (uint32_t i = 0; i < h.image_count; i++)
		demand(name_valid(h.images[i].name, strlen(h.images[i].name)));
	int len = hello_encode(&h, buf, sizeof(buf));

	demand(len > 0 && !hello_decode(&g, buf, (size_t)len) && g.image_count == h.image_count &&
	       g.committed == h.committed && g.lineage.generation == h.lineage.generation);
	hello_free(&h);
	hello_free(&g);
}

static void welcome(const uint8_t *data, size_t size)
{
	uint8_t buf[4096];
	struct welcome w, v;

	if (welcome_decode(&w, data, size))
		return;
	int len = welcome_encode(&w, buf, sizeof(buf));

	demand(len > 0 && !welcome_decode(&v, buf, (size_t)len) && v.epoch == w.epoch &&
	       v.lineage.count == w.lineage.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	switch (data[0] & 3) {
	case 0:
		header(data + 1, size - 1);
		break;
	case 1:
		hello(data + 1, size - 1);
		break;
	case 2:
		welcome(data + 1, size - 1);
		break;
	case 3:
		if (name_valid((const char *)data + 1, size - 1))
			demand(size - 1 <= 255 && !memchr(data + 1, '/', size - 1) && !memchr(data + 1, 0, size - 1) &&
			       data[1] != '.');
		break;
	}
	return 0;
}
