/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backup whose primary is the fuzzer: frames, first syncs, commits, and this node's own guest meanwhile. */
#include <string.h>

#include "peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hello(struct peer *p, uint8_t bits, uint8_t flags)
{
	struct hello h = { .proto_min = PROTO_MIN, .proto_max = PROTO_MAX, .role = NODE_PRIMARY, .have_pair = true };
	struct hello_image im[2] = { { .id = 16, .size = 65536, .consistent = true, .name = "disk" },
		{ .id = 17, .size = 4096, .name = "b" } };

	memset(h.node, bits & 1 ? 8 : 7, 16);
	memset(h.pair, bits & 2 ? 6 : 5, 16);
	h.lineage.generation = 0x6e6e;
	h.session_high = p->session_high;
	h.epoch_high = p->epoch_high;
	if (bits & 4)
		h.role = bits >> 3 & 3;
	if (bits & 32)
		h.have_pair = false;
	if (bits & 64) {
		h.images = im;
		h.image_count = 2;
	}
	peer_hello(p, &h, flags);
}

static void welcome(struct peer *p, uint8_t bits)
{
	uint8_t buf[2048];
	struct welcome w = { .first_contact = bits & 1, .keep = bits & 64, .lineage = { .generation = bits & 2 ? 0x7777 : 0x6e6e } };
	struct frame f = { .type = FRAME_WELCOME };

	memset(w.pair, bits & 4 ? 6 : 5, 16);
	p->epoch_high += 1 + (p->c->epoch > p->epoch_high ? p->c->epoch - p->epoch_high : 0);
	w.epoch = p->epoch_high;
	if (bits & 8)
		w.epoch = peer_number(p);
	if (bits & 16)
		w.lineage.past[w.lineage.count++] = (struct ancestor){ 0x6e6e, 3, 0 };
	f.session = ++p->session_high;
	if (bits & 32)
		f.session = peer_number(p);
	int len = welcome_encode(&w, buf, sizeof(buf));

	p->c->session = f.session;
	p->c->epoch = w.epoch;
	p->c->seq = p->c->count = p->c->first_seq = p->c->chain = 0;
	peer_send(p, &f, buf, (size_t)len, 0);
}

static void connect(struct peer *p, uint8_t bits)
{
	peer_open(p, false);
	hello(p, 0, 0);
	welcome(p, bits & (17 | 64));
	host_settle(&p->host);
	peer_absorb(p);
}

static void image(struct peer *p, uint64_t id, const char *name, size_t len, uint64_t size, uint8_t flags)
{
	struct frame f = { .type = FRAME_IMAGE, .image = id, .len = size, .flags = flags >> 7 };

	peer_send(p, &f, name, len, flags & 0x7f);
}

/* What a pair that is level has: an image of 64 KiB, committed. */
static void level(struct peer *p)
{
	connect(p, 1);
	image(p, 16, "disk", 4, 65536, 0);
	peer_data(p, 16, 0, 65536, 0);
	peer_commit(p, FRAME_COMMIT, 0);
	host_settle(&p->host);
	peer_absorb(p);
}

static void small_frame(struct peer *p, uint8_t type)
{
	uint8_t flags = get_u8(&p->in);
	struct frame f = { .type = type, .image = peer_image(p), .flags = flags >> 7 };
	const char *name = NULL;
	size_t len = 0;

	flags &= 0x1f;
	if (type == FRAME_ZERO)
		f.off = peer_number(p);
	if (type == FRAME_ZERO || type == FRAME_SIZE || type == FRAME_IMAGE)
		f.len = peer_number(p);
	if (type == FRAME_CREATE || type == FRAME_RENAME || type == FRAME_IMAGE)
		name = peer_name(p, &len);
	peer_send(p, &f, name, len, flags);
}

static void hash(struct peer *p)
{
	struct frame f = { .type = FRAME_HASHQ, .image = peer_image(p) };
	uint8_t digest[32] = { 1 };

	f.off = peer_number(p);
	f.len = 1 + peer_number(p) % IO_MAX_LEN;
	peer_send(p, &f, digest, sizeof(digest), 0);
}

static void data_frames(struct peer *p)
{
	uint8_t flags = get_u8(&p->in), times = flags & 0x20 ? 1 + get_u8(&p->in) % 64 : 1;
	uint64_t id = peer_image(p), off = peer_number(p), len = peer_number(p) % (FRAME_DATA_MAX + 2);

	for (uint8_t i = 0; i < times; i++)
		peer_data(p, id, off + i * len, len, flags & 0x1f);
}

static void commit(struct peer *p)
{
	uint8_t flags = get_u8(&p->in);
	struct frame f = { .type = FRAME_SETTLE, .off = flags >> 6 & 1, .session = p->c->session, .epoch = p->ordered };

	flags &= get_u8(&p->in);
	if (flags & 0x80)
		peer_send(p, &f, NULL, 0, 0);
	else
		peer_commit(p, flags & 0x20 ? FRAME_PREPARE : FRAME_COMMIT, flags & (0x1f | FLAG_PART));
}

static void own(struct peer *p, uint8_t op)
{
	static const uint8_t small[] = { FRAME_ZERO, FRAME_SIZE, FRAME_CREATE, FRAME_UNLINK, FRAME_RENAME, FRAME_IMAGE };

	switch (op % 16) {
	case 0: case 1: case 2: case 3:
		data_frames(p);
		break;
	case 4: case 5: case 6: case 7: case 8: case 9:
		small_frame(p, small[op % 16 - 4]);
		break;
	case 10:
		hash(p);
		break;
	case 11: case 12:
		commit(p);
		break;
	case 13:
		hello(p, get_u8(&p->in), 0);
		break;
	case 14:
		welcome(p, get_u8(&p->in));
		break;
	case 15:
		connect(p, get_u8(&p->in));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer p;
	char err[512];

	if (size < 2)
		return 0;
	peer_begin(&p, data, size, NODE_BACKUP);
	uint8_t bits = get_u8(&p.in);

	p.crash = bits & 64;
	p.stop = bits & 128;
	p.host.config.overwrite = bits & 1;
	p.host.config.can_dial = bits & 2;
	if (bits & 4 && !(bits & 32)) {
		struct host_file *f = host_file_new(&p.host, FILE_IMAGE, 99);

		strcpy(f->name, "old");
	}
	if (bits & 8)
		p.host.config.journal_size = 2u << 20;
	if (host_boot(&p.host, err, sizeof(err)))
		return 0;
	host_settle(&p.host);
	if (bits & 16)
		connect(&p, 1);
	else if (bits & 32)
		level(&p);
	peer_run(&p, own);
	return 0;
}
