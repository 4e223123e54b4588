/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A primary whose backup is the fuzzer: its HELLO, its credit, its verdicts, and guests' writes meanwhile. */
#include <errno.h>
#include <string.h>

#include "peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hello(struct peer *p, uint8_t bits, uint8_t flags)
{
	struct hello h = { .proto_min = PROTO_MIN, .proto_max = PROTO_MAX, .role = NODE_BACKUP };
	static struct hello_image im[40];
	uint8_t sort = bits & 64 ? get_u8(&p->in) : 0;

	memset(h.node, bits & 1 ? 8 : 7, 16);
	if (bits & 4)
		h.role = bits >> 3 & 3;
	h.have_pair = bits & 2;
	memcpy(h.pair, p->host.node->st.pair, 16);
	h.lineage = p->host.node->st.lineage;
	h.committed = sort & 1 ? peer_number(p) : p->host.node->acked_epoch;
	if (sort & 2)
		h.lineage.generation = peer_number(p);
	if (sort & 4)
		h.epoch_high = peer_number(p);
	if (sort & 8)
		h.session_high = peer_number(p);
	h.prepared = sort & 32 ? p->ordered : 0;
	if (sort & 64) {
		h.rejoin = bits & 64 ? REJOIN_PART : REJOIN_OLDER;
		h.own = !(bits & 64);
		h.own_epoch = h.committed;
	}
	h.kept_session = sort & 128 ? p->host.node->st.session_high : 0;
	if (bits & 32)
		h.has_images = true, h.overwrite = sort & 16;
	h.images = im;
	h.image_count = bits & 128 ? get_u8(&p->in) % 40 : 0;
	for (uint32_t i = 0; i < h.image_count; i++) {
		size_t len;
		const char *name = peer_name(p, &len);

		memset(&im[i], 0, sizeof(im[i]));
		im[i].id = peer_image(p);
		im[i].size = peer_number(p);
		im[i].consistent = get_u8(&p->in) & 1;
		memcpy(im[i].name, name, len < 255 ? len : 255);
	}
	peer_hello(p, &h, flags);
}

static void ready(struct peer *p, uint64_t capacity)
{
	struct frame f = { .type = FRAME_READY, .session = p->c->session, .off = capacity };

	peer_send(p, &f, NULL, 0, 0);
}

static void credit(struct peer *p, uint64_t bytes)
{
	struct frame f = { .type = FRAME_CREDIT, .session = p->c->session, .off = bytes };

	peer_send(p, &f, NULL, 0, 0);
}

static void ranges(struct peer *p)
{
	uint64_t payload[8];
	uint8_t bits = get_u8(&p->in), count = bits % 8;
	struct frame f = { .type = FRAME_OWN, .session = p->c->session, .image = peer_image(p) };

	for (uint8_t i = 0; i < count; i++)
		payload[i] = peer_number(p);
	peer_send(p, &f, payload, count * 8u, 0);
}

static void dial_wait(struct peer *p)
{
	for (int i = 0; i < 200 && !p->host.dialling; i++)
		host_tick(&p->host, 50);
}

static void connect(struct peer *p, uint8_t bits)
{
	dial_wait(p);
	peer_open(p, true);
	hello(p, bits, 0);
	host_settle(&p->host);
	peer_absorb(p);
	ready(p, 1u << 20);
	credit(p, 1u << 30);
}

/* A pair that is level: the sync's end was confirmed. */
static void level(struct peer *p)
{
	p->automatic = true;
	connect(p, 0);
	for (int i = 0; i < 20; i++) {
		host_settle(&p->host);
		peer_absorb(p);
	}
	p->automatic = false;
}

static void verdict(struct peer *p, uint8_t type)
{
	static const uint64_t errors[] = { ENOSPC, EIO, 0, 5000, UINT64_MAX, 1u << 31, ENOSPC, ENOSPC };
	uint8_t bits = get_u8(&p->in);
	struct frame f = { .type = type, .session = p->c->session, .epoch = p->ordered + (bits & 1) };

	if (bits & 2)
		f.epoch = peer_number(p);
	f.off = errors[bits >> 5];
	peer_send(p, &f, NULL, 0, 0);
}

static void hash_reply(struct peer *p)
{
	uint8_t bits = get_u8(&p->in);
	struct frame f = { .type = FRAME_HASHR, .session = p->c->session, .off = p->asked[bits % 8], .len = bits >> 3 & 1 };

	if (bits & 0x80)
		f.off = peer_number(p);
	peer_send(p, &f, NULL, 0, 0);
}

static void own(struct peer *p, uint8_t op)
{
	switch (op % 16) {
	case 0:
		verdict(p, FRAME_DONE);
		break;
	case 1:
		verdict(p, FRAME_PREPARED);
		break;
	case 2:
		verdict(p, FRAME_ABORTED);
		break;
	case 3: case 4:
		verdict(p, FRAME_REFUSED);
		break;
	case 5: case 6:
		hash_reply(p);
		break;
	case 7: case 8:
		credit(p, peer_number(p));
		break;
	case 9:
		ready(p, peer_number(p));
		break;
	case 10: case 11:
		hello(p, get_u8(&p->in), get_u8(&p->in) & 3);
		break;
	case 12: case 13:
		connect(p, get_u8(&p->in));
		break;
	case 14:
		if (op & 16) {
			ranges(p);
			break;
		}
		dial_wait(p);
		peer_open(p, true);
		break;
	case 15:
		p->automatic = !p->automatic;
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer p;
	static uint8_t content[65536];
	struct host_file *f;
	char err[512];

	if (size < 2)
		return 0;
	peer_begin(&p, data, size, NODE_PRIMARY);
	uint8_t bits = get_u8(&p.in);

	p.crash = bits & 64;
	p.stop = bits & 128;
	memset(content, 'x', sizeof(content));
	f = host_file_new(&p.host, FILE_IMAGE, 16);
	strcpy(f->name, "disk");
	host_file_write(f, 0, content, sizeof(content));
	f = host_file_new(&p.host, FILE_IMAGE, 17);
	strcpy(f->name, "b");
	host_file_write(f, 0, content, 5000);
	f->size = bits & 1 ? 3u << 20 : 5000;
	p.host.config.commit_ms = bits & 2 ? 100 : 0;
	p.host.config.can_accept = bits & 4;
	p.host.config.send_buffer = bits & 8 ? 256u << 10 : 1u << 20;
	if (host_boot(&p.host, err, sizeof(err)))
		return 0;
	host_settle(&p.host);
	if (bits & 16)
		connect(&p, 0);
	else if (bits & 32)
		level(&p);
	peer_run(&p, own);
	return 0;
}
