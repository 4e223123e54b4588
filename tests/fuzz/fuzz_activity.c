/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map's file: input is a program that seals two bodies into its slots, with the stamps it likes and sums put
 * right, and then changes bytes of them. A primary whose state names that map must start with it, write, stop and start
 * again; what the decoder takes, the encoder makes the same of.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/activity.h"
#include "../../repl/bytes.h"
#include "../../repl/state.h"
#include "host.h"

#define LIFE 77u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bodies grow from small inputs: a byte of the input, repeated so often, at their end. */
static size_t body_get(struct getter *in, uint8_t *body)
{
	size_t len = get_u16(in) % 2048, more = get_u16(in), left = get_left(in);

	if (len > left)
		len = left;
	get_bytes(in, body, len);
	memset(body + len, get_u8(in), more);
	return len + more ? len + more : 1;
}

static void slot_fill(struct getter *in, uint8_t *slot)
{
	static uint8_t body[ACTIVITY_BODY + 65536 + 2048];
	struct activity_stamp s = { .life = LIFE + get_u8(in) / 250, .seq = get_u8(in), .base = get_u8(in) };
	uint32_t more = get_u8(in) % 4;

	s.body_len = (uint32_t)body_get(in, body);
	s.count = (uint16_t)(activity_sectors(s.body_len) + more * 8);
	activity_seal(slot, body, &s);
	for (unsigned edits = get_u8(in) % 16; edits; edits--) {
		uint32_t at = get_u16(in);

		slot[at] = get_u8(in);
	}
}

static void again(const struct activity_map *m, const uint8_t *slot, const struct activity_stamp *s)
{
	static uint8_t body[ACTIVITY_BODY], second[ACTIVITY_SLOT];
	struct putter p = putter_init(body, sizeof(body));

	activity_put_head(&p, m);
	for (uint32_t i = 0; i < m->image_count; i++)
		activity_put_image(&p, m->images[i].id, m->images[i].shift, m->images[i].set);
	if (p.bad || (size_t)(p.p - body) != s->body_len)
		abort();
	activity_seal(second, body, s);
	if (memcmp(second, slot, s->count * ACTIVITY_SECTOR))
		abort();
}

static void decode(const uint8_t *slots[2])
{
	struct activity_view v[2];
	struct activity_map m;
	int slot;

	for (int i = 0; i < 2; i++)
		activity_view(slots[i], activity_length(slots[i], LIFE), LIFE, &v[i]);
	slot = activity_choose(v);
	if (slot < 0 || activity_decode(&m, slots[slot], &v[slot].newest))
		return;
	again(&m, slots[slot], &v[slot].newest);
	free(m.images);
}

static void live(struct host *h)
{
	char err[512] = "";

	for (int life = 0; life < 2; life++) {
		if (host_boot(h, err, sizeof(err)))
			abort();
		host_settle(h);
		host_tick(h, 100);
		host_settle(h);
		if (!h->ready || h->ready_error || !host_stop(h))
			abort();
		host_kill(h);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t slot[2][ACTIVITY_SLOT];
	static struct host h;
	struct getter in = getter_init(data, size);
	struct state s = { .role = NODE_PRIMARY, .have_pair = true, .epoch_high = 100, .lineage = { .generation = 3 },
		.shared_generation = 3, .activity = LIFE };
	uint8_t buf[8192];

	host_init(&h, 3, NODE_PRIMARY);
	h.config.can_dial = false;
	for (uint64_t id = 16; id < 18; id++) {
		struct host_file *f = host_file_new(&h, FILE_IMAGE, id);

		strcpy(f->name, id == 16 ? "disk" : "b");
		f->size = id == 16 ? 300ull << 20 : 5000;
	}
	for (int i = 0; i < 2; i++) {
		memset(slot[i], 0, sizeof(slot[i]));
		slot_fill(&in, slot[i]);
	}
	decode((const uint8_t *[2]){ slot[0], slot[1] });
	int len = state_encode(&s, buf, sizeof(buf));

	h.state = malloc((size_t)len);
	memcpy(h.state, buf, (size_t)len);
	h.state_len = (size_t)len;
	struct host_file *f = host_file_new(&h, FILE_ACTIVITY, 0);

	host_file_write(f, 0, slot[0], ACTIVITY_SLOT);
	host_file_write(f, ACTIVITY_SLOT, slot[1], ACTIVITY_SLOT);
	live(&h);
	host_exit(&h);
	return 0;
}
