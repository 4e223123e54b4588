/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Encoding and decoding of frames: headers, HELLO and WELCOME payloads. No
 * state. Everything a peer sends passes frame_decode() first.
 */
#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "map.h"
#include "sum.h"

static const struct {
	const char *name;
	bool numbered;
	uint32_t payload_max;
} types[FRAME_TYPE_END] = {
	[FRAME_HELLO] = { "HELLO", false, HELLO_MAX },
	[FRAME_WELCOME] = { "WELCOME", false, 4096 },
	[FRAME_READY] = { "READY", false, 0 },
	[FRAME_REFUSE] = { "REFUSE", false, 0 },
	[FRAME_PING] = { "PING", false, 0 },
	[FRAME_PONG] = { "PONG", false, 0 },
	[FRAME_CREDIT] = { "CREDIT", false, 0 },
	[FRAME_DATA] = { "DATA", true, FRAME_DATA_MAX },
	[FRAME_ZERO] = { "ZERO", true, 0 },
	[FRAME_SIZE] = { "SIZE", true, 0 },
	[FRAME_CREATE] = { "CREATE", true, 255 },
	[FRAME_UNLINK] = { "UNLINK", true, 0 },
	[FRAME_RENAME] = { "RENAME", true, 255 },
	[FRAME_IMAGE] = { "IMAGE", true, 255 },
	[FRAME_HASHQ] = { "HASHQ", true, 32 },
	[FRAME_HASHR] = { "HASHR", false, 0 },
	[FRAME_COMMIT] = { "COMMIT", false, 8 + 64 },
	[FRAME_DONE] = { "DONE", false, 0 },
	[FRAME_REFUSED] = { "REFUSED", false, 0 },
	[FRAME_FENCE] = { "FENCE", false, 0 },
	[FRAME_FENCED] = { "FENCED", false, 0 },
	[FRAME_BYE] = { "BYE", false, 0 },
	[FRAME_PREPARE] = { "PREPARE", false, 8 + 64 },
	[FRAME_PREPARED] = { "PREPARED", false, 0 },
	[FRAME_SETTLE] = { "SETTLE", false, 0 },
	[FRAME_ABORTED] = { "ABORTED", false, 0 },
	[FRAME_PROMOTE] = { "PROMOTE", false, 0 },
	[FRAME_OWN] = { "OWN", false, OWN_MAX },
};

static const char *const refusals[REFUSAL_END] = {
	[REFUSE_VERSION] = "the two nodes speak no common protocol version; bring both to the same release",
	[REFUSE_SELF] = "both nodes have the same node id: SOURCE was copied with its .colofs; "
			"remove .colofs from the copy",
	[REFUSE_PAIR] = "the other node belongs to another pair; to give it to this one, empty its SOURCE",
	[REFUSE_STALE] = "this copy is older: the peer was promoted (ESTALE)",
	[REFUSE_NEWER] = "the peer's copy is older: this node was promoted meanwhile (ESTALE)",
	[REFUSE_SPLIT] = "split brain: both copies were written alone since their last common epoch",
	[REFUSE_ROLES] = "the roles do not fit: a pair is one primary and one backup",
	[REFUSE_BACKUPS] = "both nodes are backups: `failover` on the one that is to be the primary",
	[REFUSE_NOT_EMPTY] = "the backup's SOURCE holds images that did not come from this pair; "
			     "mount it with overwrite=yes to replace them",
	[REFUSE_DUPLICATE] = "the other link of this pair stays",
	[REFUSE_BUSY] = "the peer is not ready yet",
	[REFUSE_LOST] = "the peer has a committed epoch that this primary never ordered",
	[REFUSE_DISCONNECTED] = "the peer was told to stay apart (`connect` there ends that)",
	[REFUSE_NOSPACE] = "no room in SOURCE's file system (ENOSPC) on the node that refuses; make room there",
	[REFUSE_DEVICE_SIZE] = "a block device of the backup's is not of the size of the primary's image: see the backup's status",
	[REFUSE_DEVICE] = "the backup has a block device that bears the name of an image of the primary's, and holds something "
			  "else: see the backup's status",
	[REFUSE_INTERNAL] = "a node cannot go on: its mode is failed, or its state file cannot be written; see its status and log",
};

const char *refusal_text(unsigned refusal)
{
	return refusal < REFUSAL_END && refusals[refusal] ? refusals[refusal] : "refused, reason unknown";
}

const char *frame_name(unsigned type)
{
	return type < FRAME_TYPE_END && types[type].name ? types[type].name : "?";
}

bool frame_numbered(unsigned type)
{
	return type < FRAME_TYPE_END && types[type].numbered;
}

uint64_t frame_cost(const struct frame *f)
{
	/* A batch of the journal has 70 entries and at most 512 KiB of payload: a frame
	 * takes its share of whichever is scarcer. */
	uint64_t cost = f->payload_len + 64 + 511;

	cost -= cost % 512;
	return cost < 7680 ? 7680 : cost;
}

void frame_encode(uint8_t *buf, const struct frame *f)
{
	struct putter p = { buf, buf + FRAME_HEADER, false };

	put_u32(&p, FRAME_MAGIC);
	put_u8(&p, f->type);
	put_u8(&p, f->flags);
	put_u16(&p, 0);
	put_u32(&p, f->payload_len);
	put_u32(&p, 0);
	put_u64(&p, f->session);
	put_u64(&p, f->epoch);
	put_u64(&p, f->seq);
	put_u64(&p, f->image);
	put_u64(&p, f->off);
	put_u64(&p, f->len);
	put_u64(&p, f->sum);
	put_u64(&p, 0);
	put_u64(&p, sum64(buf, FRAME_HEADER - 8));
}

static int frame_check(const struct frame *f, const char **why)
{
	*why = "frame too long";
	if (f->payload_len > types[f->type].payload_max)
		return -EPROTO;
	*why = "an id that no image can have";
	if (types[f->type].numbered && (f->image < IMAGE_ID_MIN || f->image > IMAGE_ID_MAX))
		return -EPROTO;
	*why = "range beyond any image";
	switch (f->type) {
	case FRAME_DATA:
		*why = "bad DATA frame";
		if (!f->payload_len || f->off >= MAP_OFF_MAX || f->payload_len > MAP_OFF_MAX - f->off)
			return -EPROTO;
		break;
	case FRAME_ZERO:
	case FRAME_HASHQ:
		if (!f->len || f->off >= MAP_OFF_MAX || f->len > MAP_OFF_MAX - f->off)
			return -EPROTO;
		if (f->type == FRAME_HASHQ && (f->payload_len != 32 || f->len > IO_MAX_LEN))
			return -EPROTO;
		break;
	case FRAME_SIZE:
	case FRAME_IMAGE:
		if (f->len >= MAP_OFF_MAX)
			return -EPROTO;
		break;
	case FRAME_COMMIT:
	case FRAME_PREPARE:
		*why = "bad COMMIT frame";
		if (f->payload_len < 8)
			return -EPROTO;
		break;
	}
	if ((f->type == FRAME_CREATE || f->type == FRAME_RENAME || f->type == FRAME_IMAGE) && !f->payload_len) {
		*why = "empty image name";
		return -EPROTO;
	}
	*why = NULL;
	return 0;
}

int frame_decode(struct frame *f, const uint8_t *buf, const char **why)
{
	struct getter g = { buf, buf + FRAME_HEADER, false };

	*why = "not a colofs frame";
	if (get_u32(&g) != FRAME_MAGIC)
		return -EPROTO;
	f->type = get_u8(&g);
	f->flags = get_u8(&g);
	(void)get_u16(&g); /* reserved */
	f->payload_len = get_u32(&g);
	(void)get_u32(&g); /* reserved */
	f->session = get_u64(&g);
	f->epoch = get_u64(&g);
	f->seq = get_u64(&g);
	f->image = get_u64(&g);
	f->off = get_u64(&g);
	f->len = get_u64(&g);
	f->sum = get_u64(&g);
	(void)get_u64(&g); /* reserved */
	*why = "damaged frame header";
	if (get_u64(&g) != sum64(buf, FRAME_HEADER - 8))
		return -EPROTO;
	*why = "unknown frame type";
	if (f->type >= FRAME_TYPE_END || !types[f->type].name)
		return -EPROTO;
	return frame_check(f, why);
}

/* Length of the UTF-8 sequence at s (bytes available: n), 0 if not valid. */
static size_t utf8_step(const uint8_t *s, size_t n)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		     s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

bool name_valid(const char *name, size_t len)
{
	const uint8_t *s = (const uint8_t *)name;

	if (!len || len > 255 || s[0] == '.')
		return false;
	for (size_t i = 0; i < len;) {
		size_t step = utf8_step(s + i, len - i);

		if (!step || s[i] == '/' || !s[i])
			return false;
		i += step;
	}
	return true;
}

int hello_encode(const struct hello *h, uint8_t *buf, size_t size)
{
	struct putter p = { buf, buf + size, false };

	put_u16(&p, h->proto_min);
	put_u16(&p, h->proto_max);
	put_bytes(&p, h->node, 16);
	put_bytes(&p, h->pair, 16);
	put_u8(&p, (uint8_t)(h->have_pair | h->overwrite << 1 | h->has_images << 2 | h->devices << 3 | (h->rejoin & 3) << 4 |
	                   h->own << 6));
	put_u8(&p, (uint8_t)h->role);
	lineage_put(&p, &h->lineage);
	put_u64(&p, h->committed);
	put_u64(&p, h->prepared);
	put_u64(&p, h->epoch_high);
	put_u64(&p, h->session_high);
	put_u64(&p, h->own_epoch);
	put_u64(&p, h->kept_session);
	put_u32(&p, h->image_count);
	for (uint32_t i = 0; i < h->image_count; i++) {
		const struct hello_image *im = &h->images[i];
		size_t len = strlen(im->name);

		put_u64(&p, im->id);
		put_u64(&p, im->size);
		put_u8(&p, im->consistent);
		put_u16(&p, (uint16_t)len);
		put_bytes(&p, im->name, len);
	}
	return p.bad ? -EMSGSIZE : (int)(p.p - buf);
}

static bool hello_image_get(struct getter *g, struct hello_image *im)
{
	im->id = get_u64(g);
	im->size = get_u64(g);
	im->consistent = get_u8(g);
	size_t len = get_u16(g);

	if (g->bad || len > 255 || im->id < IMAGE_ID_MIN || im->id > IMAGE_ID_MAX || im->size >= MAP_OFF_MAX)
		return false;
	get_bytes(g, im->name, len);
	im->name[len] = 0;
	return !g->bad && name_valid(im->name, len);
}

int hello_decode(struct hello *h, const uint8_t *buf, size_t len)
{
	struct getter g = { buf, buf + len, false };

	memset(h, 0, sizeof(*h));
	h->proto_min = get_u16(&g);
	h->proto_max = get_u16(&g);
	get_bytes(&g, h->node, 16);
	get_bytes(&g, h->pair, 16);
	uint8_t bits = get_u8(&g);

	h->have_pair = bits & 1;
	h->overwrite = bits >> 1 & 1;
	h->has_images = bits >> 2 & 1;
	h->devices = bits >> 3 & 1;
	h->rejoin = bits >> 4 & 3;
	h->own = bits >> 6 & 1;
	h->role = get_u8(&g);
	lineage_get(&g, &h->lineage);
	h->committed = get_u64(&g);
	h->prepared = get_u64(&g);
	h->epoch_high = get_u64(&g);
	h->session_high = get_u64(&g);
	h->own_epoch = get_u64(&g);
	h->kept_session = get_u64(&g);
	uint32_t count = get_u32(&g);

	if (g.bad || count > IMAGES_MAX || h->role > 2 || h->prepared > UINT64_MAX / 2 || h->epoch_high > UINT64_MAX / 2 ||
	    h->session_high > UINT64_MAX / 2)
		return -EPROTO;
	h->images = calloc(count ? count : 1, sizeof(*h->images));
	if (!h->images)
		return -ENOMEM;
	h->image_count = count;
	for (uint32_t i = 0; i < count; i++)
		if (!hello_image_get(&g, &h->images[i])) {
			hello_free(h);
			return -EPROTO;
		}
	if (g.p != g.end) {
		hello_free(h);
		return -EPROTO;
	}
	return 0;
}

void hello_free(struct hello *h)
{
	free(h->images);
	h->images = NULL;
	h->image_count = 0;
}

int welcome_encode(const struct welcome *w, uint8_t *buf, size_t size)
{
	struct putter p = { buf, buf + size, false };

	put_bytes(&p, w->pair, 16);
	put_u8(&p, (uint8_t)(w->first_contact | w->keep << 1));
	put_u64(&p, w->epoch);
	lineage_put(&p, &w->lineage);
	return p.bad ? -EMSGSIZE : (int)(p.p - buf);
}

int welcome_decode(struct welcome *w, const uint8_t *buf, size_t len)
{
	struct getter g = { buf, buf + len, false };

	get_bytes(&g, w->pair, 16);
	uint8_t bits = get_u8(&g);

	w->first_contact = bits & 1;
	w->keep = bits >> 1 & 1;
	w->epoch = get_u64(&g);
	lineage_get(&g, &w->lineage);
	return g.bad || g.p != g.end || !w->lineage.generation || w->epoch > UINT64_MAX / 2 ? -EPROTO : 0;
}
