/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery of a log that anybody may have written: the input is a program that lays segments, batches and records out with
 * sums and chain in order, and a state that names them. A node that takes it reads all of it, destages, stops and starts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/bytes.h"
#include "../../repl/core.h"
#include "../../repl/sum.h"
#include "host.h"

#define SEGMENTS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct log {
	struct getter in;
	struct host h;
	uint8_t id[16];
	uint64_t lsn, sum, incarnation, seq, session, epoch;
	uint32_t slot, off;
	unsigned kind;
};

static uint64_t number(struct log *l)
{
	uint8_t sort = get_u8(&l->in);
	uint64_t small = get_u8(&l->in);

	switch (sort % 8) {
	case 0: case 1:
		return small * 512;
	case 2:
		return small * 4096;
	case 3:
		return small;
	case 4:
		return MAP_OFF_MAX - small;
	case 5:
		return UINT64_MAX - small;
	case 6:
		return get_u16(&l->in);
	}
	return get_u64(&l->in);
}

static struct host_file *segment(struct log *l)
{
	struct host_file *f = host_file(&l->h, l->kind, l->slot);

	if (!f) {
		f = host_file_new(&l->h, l->kind, l->slot);
		f->size = l->h.config.segment_size;
	}
	return f;
}

static void begin_segment(struct log *l)
{
	uint8_t block[BLOCK], bits = get_u8(&l->in);
	struct segment_header h = { .incarnation = l->incarnation, .first_lsn = l->lsn, .slot = l->slot,
		.size = l->h.config.segment_size };

	l->slot = h.slot = bits & 7;
	if (bits & 8)
		h.first_lsn = number(l);
	if (bits & 16)
		h.synced_lsn = number(l);
	if (bits & 32)
		l->incarnation = h.incarnation = number(l);
	if (bits & 64)
		h.size = (uint32_t)number(l);
	segment_header_encode(block, l->id, &h);
	host_file_write(segment(l), 0, block, BLOCK);
	l->off = BLOCK;
}

static uint32_t record(struct log *l, struct record *r, uint8_t *batch, uint32_t used)
{
	static const uint64_t ids[8] = { 16, 17, 18, 16, 17, 0, IMAGE_ID_MAX + 1, 16 };
	static const char *const names[8] = { "disk", "b", "c", "", ".x", "a/b", "d", "disk" };
	uint8_t bits = get_u8(&l->in);
	uint8_t fill = get_u8(&l->in);

	*r = (struct record){ .type = bits % (REC_KEEP + 1), .image = ids[fill % 8] };
	if (r->type < REC_DROP)
		r->seq = ++l->seq;
	if (r->type == REC_DATA)
		r->payload_len = (uint32_t)number(l) % (RECORD_DATA_MAX + 1);
	if (r->type == REC_DATA || r->type == REC_ZERO)
		r->off = number(l);
	if (r->type == REC_ZERO || r->type == REC_SIZE || r->type == REC_IMAGE)
		r->len = number(l);
	if (used + r->payload_len > BATCH_BYTES - 2 * BLOCK)
		r->payload_len = 0;
	memset(batch + used, fill, r->payload_len);
	if (r->type == REC_CREATE || r->type == REC_RENAME || r->type == REC_IMAGE) {
		const char *name = names[fill >> 3 & 7];

		r->payload_len = (uint32_t)strlen(name);
		memcpy(batch + used, name, r->payload_len);
	}
	if (r->type == REC_ABORT) {
		r->image = l->epoch - fill % 4;
		r->flags = fill & 8 ? REC_F_MERGE : 0;
	}
	if (r->type == REC_KEEP) {
		r->image = l->epoch - fill % 4;
		r->off = l->session - (fill >> 2) % 4;
	}
	if (r->type == REC_COMMIT || r->type == REC_PREPARE) {
		r->payload_len = bits & 64 ? get_u8(&l->in) : 10;
		memset(batch + used, 'n', r->payload_len);
		r->image = 0x6e6e;
		r->flags = fill & 128 ? REC_F_PART : 0;
		r->off = bits & 32 ? number(l) : 1;
		r->len = bits & 32 ? number(l) : l->seq;
		r->seq = l->seq;
		l->seq = 0;
	}
	r->payload_off = r->payload_len ? used : 0;
	r->sum = sum64(batch + used, r->payload_len) ^ (bits == 255);
	if (bits & 128 && get_u8(&l->in) % 8 == 0) /* anywhere in what there is of the batch */
		r->payload_off = (uint32_t)number(l);
	return used + (r->payload_len + 511) / 512 * 512;
}

static void batch(struct log *l)
{
	static uint8_t buf[BATCH_BYTES + BLOCK];
	uint8_t bits = get_u8(&l->in), count = 1 + get_u8(&l->in) % 8;
	uint32_t used = BLOCK, at = 0;
	bool commit = false;

	memset(buf, 0, BLOCK);
	for (; at < count && used < BATCH_PAYLOAD - RECORD_DATA_MAX && !commit && get_left(&l->in); at++) {
		struct record r;

		used = record(l, &r, buf, used);
		batch_record_encode(buf, at, &r);
		commit = r.type == REC_COMMIT || r.type == REC_PREPARE;
	}
	if (!at)
		return;
	uint32_t len = (used + BLOCK - 1) / BLOCK * BLOCK;

	memset(buf + used, 0, len - used);
	struct batch_header h = { .count = (uint16_t)at, .flags = bits & 1, .payload_len = len - BLOCK,
		.incarnation = l->incarnation, .lsn = l->lsn, .prev_sum = l->sum, .session = l->session,
		.epoch = l->epoch };

	if (bits & 2)
		h.lsn = number(l);
	if (bits & 4)
		h.synced_lsn = number(l);
	if (bits & 8)
		h.epoch = number(l);
	if (bits & 16)
		h.session++;
	if (bits & 32)
		h.incarnation = number(l);
	batch_header_encode(buf, l->id, &h);
	if (bits & 64)
		buf[get_u16(&l->in) % len] ^= 1;
	host_file_write(segment(l), l->off, buf, len);
	segment(l)->size = l->h.config.segment_size;
	l->off += len;
	l->sum = h.sum;
	l->lsn++;
	l->epoch += commit;
}

static void state(struct log *l, uint8_t bits)
{
	static uint8_t buf[STATE_MAX];
	static struct state_image im[2] = { { .id = 16, .size = 65536, .consistent = true, .name = "disk" },
		{ .id = 17, .size = 5000, .consistent = true, .name = "b" } };
	struct state s = { .role = NODE_BACKUP, .have_pair = true, .journal_used = true, .session_high = 9,
		.epoch_high = 30, .incarnation = 2, .tail_lsn = 5, .tail_sum = 77, .tail_slot = 0, .tail_off = BLOCK,
		.images = im, .image_count = 2, .epoch = 2 };

	s.lineage.generation = 0x6d6d;
	s.adopting.generation = 0x6e6e;
	memcpy(s.journal_id, l->id, 16);
	if (bits & 1) {
		s.promoted = true;
		s.role = NODE_PRIMARY;
		s.overlay_first = (2ull << 32) + 1;
		s.overlay_last = s.overlay_first + (bits >> 4 & 3);
		s.overlay_incarnation = 2;
		s.overlay_off = BLOCK;
	}
	if (bits & 2)
		s.tail_lsn = number(l);
	if (bits & 4)
		s.tail_off = (uint32_t)number(l);
	if (bits & 8)
		s.tail_slot = (uint32_t)number(l);
	int len = state_encode(&s, buf, sizeof(buf));

	l->h.state = malloc((size_t)len);
	memcpy(l->h.state, buf, (size_t)len);
	l->h.state_len = (size_t)len;
}

static void read_done(struct guest_io *g)
{
	*(bool *)g->owner = true;
}

/* Every image, all of it that is not a hole too far away. */
static void read_all(struct log *l)
{
	static uint8_t buf[256u << 10];

	for (struct image *i = node_image_next(l->h.node, NULL), *next; i; i = next) {
		bool done = false;
		struct guest_io g = { .op = GUEST_READ, .image = i, .len = sizeof(buf), .buf = buf, .done = read_done,
			.owner = &done };

		next = node_image_next(l->h.node, i);
		if (image_open(l->h.node, i))
			continue;
		node_guest(l->h.node, &g);
		host_end(&l->h);
		for (int tries = 0; tries < 100 && !done; tries++) {
			host_settle(&l->h);
			host_tick(&l->h, 50);
		}
		if (!done) {
			fprintf(stderr, "a read hangs\n");
			abort();
		}
		image_close(l->h.node, i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct log l;
	char err[512] = "";

	if (size < 4)
		return 0;
	memset(&l, 0, sizeof(l));
	l.in = getter_init(data, size);
	host_init(&l.h, 3, -1);
	l.h.loud = getenv("FUZZ_LOUD") != NULL;
	memset(l.id, 0x4a, 16);
	l.kind = FILE_JOURNAL;
	l.lsn = 5;
	l.sum = 77;
	l.incarnation = 2;
	l.session = 9;
	l.epoch = 3;
	for (uint64_t id = 16; id < 18; id++) {
		struct host_file *f = host_file_new(&l.h, FILE_IMAGE, id);

		strcpy(f->name, id == 16 ? "disk" : "b");
		f->size = id == 16 ? 65536 : 5000;
	}
	state(&l, get_u8(&l.in));
	while (get_left(&l.in)) {
		uint8_t op = get_u8(&l.in);

		if (op % 8 == 0) {
			begin_segment(&l);
		} else if (op % 8 == 1) {
			l.kind = FILE_OVERLAY;
			l.lsn = (2ull << 32) + 1;
			l.sum = l.slot = 0;
		} else if (l.off && l.off + 2 * BATCH_BYTES < l.h.config.segment_size * 3) {
			batch(&l);
		}
	}
	for (int life = 0; life < 2; life++) {
		if (host_boot(&l.h, err, sizeof(err))) {
			if (!err[0])
				abort();
			break;
		}
		host_io(&l.h, 8);
		read_all(&l);
		host_settle(&l.h);
		if (!host_stop(&l.h))
			abort();
		host_kill(&l.h);
	}
	host_exit(&l.h);
	return 0;
}
