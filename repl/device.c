/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that are block devices. One of these has a size that nobody here can change, and a name that is its
 * administrator's: its guests can do neither. On a backup the device of an image has exactly the image's size. It is
 * never emptied or replaced; a device that did not come from this pair, but bears the name of one of the primary's
 * images, is offered: with overwrite=yes the image's first sync takes it (direct.c), else the primary is refused, and
 * before anything is written. Called by the handshake, the data path of both roles, and syncs.
 */
#include <inttypes.h>
#include <string.h>

#include "core.h"

bool device_any(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->capacity)
			return true;
	return false;
}

/* The device of that name that belongs to no image of the pair. */
struct image *device_offered(struct node *n, const char *name, size_t len)
{
	for (struct image *i = n->images; i; i = i->next)
		if (i->capacity && i->foreign && strlen(i->next_name) == len && !memcmp(i->next_name, name, len))
			return i;
	return NULL;
}

/* Bytes that the image's file can hold. */
uint64_t device_limit(const struct node *n, const struct image *img)
{
	return img->capacity ? img->capacity : n->size_max;
}

/* A device cannot say what it never held: a sync looks. */
bool device_zeroes(const struct image *img, const void *buf, uint64_t len)
{
	const uint8_t *p = buf;

	return img->capacity && !p[0] && !memcmp(p, p + 1, len - 1);
}

/* ---- guests ---- */

static bool refuse(struct node *n, struct guest_io *g, const struct image *img)
{
	node_error(n, "image %s is a block device: it cannot be resized, renamed, replaced or removed here", img->name);
	guest_finish(n, g, -EPERM);
	return true;
}

/* True: g is answered. */
bool device_guest(struct node *n, struct guest_io *g)
{
	const struct image *img = g->image, *target = g->op == GUEST_RENAME ? node_image(n, g->name) : NULL;

	if (target && target->capacity)
		return refuse(n, g, target);
	if (g->op == GUEST_CREATE || !img->capacity)
		return false;
	uint64_t size = image_size(img), end = g->off + g->len;
	bool beyond = end > size || end < g->off;

	switch (g->op) {
	case GUEST_UNLINK:
	case GUEST_RENAME:
		return refuse(n, g, img);
	case GUEST_TRUNC:
		if (g->len != size)
			return refuse(n, g, img);
		guest_finish(n, g, 0);
		return true;
	case GUEST_WRITE: /* as a disk does: up to its end */
		if (beyond && g->off < size)
			g->len = size - g->off;
		if (!g->len || g->off < size)
			return false;
		break;
	case GUEST_ALLOC: /* all of it is there */
		if (beyond && !g->keep_size)
			break;
		guest_finish(n, g, 0);
		return true;
	case GUEST_ZERO:
		if (beyond && !g->keep_size)
			break;
		g->keep_size = true;
		return false;
	default:
		return false;
	}
	guest_finish(n, g, -ENOSPC);
	return true;
}

/* ---- a backup's judgement ---- */

static unsigned wrong_size(struct node *n, const struct hello_image *p, uint64_t capacity)
{
	node_reason(n, "image %.64s: its block device here holds %" PRIu64 " bytes, the primary's image %" PRIu64
	            ": they must be equal", p->name, capacity, p->size);
	return REFUSE_DEVICE_SIZE;
}

static unsigned judge(struct node *n, const struct hello_image *p)
{
	struct image *img = node_image_by_id(n, p->id), *offered = device_offered(n, p->name, strlen(p->name));

	if (img && img->capacity && !img->foreign && p->size != img->capacity)
		return wrong_size(n, p, img->capacity);
	if (!offered)
		return 0;
	if (p->size != offered->capacity)
		return wrong_size(n, p, offered->capacity);
	if (n->config.overwrite && !(img && img->consistent))
		return 0;
	node_reason(n, "image %.64s: the block device of that name here did not come from this pair: %s", p->name,
	            img && img->consistent ? "remove its link" : "overwrite=yes lets the primary take it");
	return REFUSE_DEVICE;
}

static bool named(const struct hello *peer, uint64_t id)
{
	for (uint32_t i = 0; i < peer->image_count; i++)
		if (peer->images[i].id == id)
			return true;
	return false;
}

/* An image of the primary's is new, and a device of its name holds one that the primary has no more: to write the one
 * means to lose the other before a commit has. */
static bool taken(struct node *n, const struct hello *peer, const struct hello_image *p)
{
	const struct image *img = node_image(n, p->name);

	if (!img || !img->capacity || img->id == p->id || named(peer, img->id))
		return false;
	node_reason(n, "image %.64s is a new one, and the block device of that name here holds the old one: begin this backup "
	            "anew (without .colofs, with overwrite=yes)", p->name);
	return true;
}

/* Whether the primary's images fit the devices here: 0, or why it is refused. */
unsigned device_judge(struct node *n, const struct hello *peer)
{
	for (uint32_t i = 0; i < peer->image_count; i++) {
		unsigned refusal = judge(n, &peer->images[i]);

		if (refusal)
			return refusal;
		if (taken(n, peer, &peer->images[i]))
			return REFUSE_DEVICE;
	}
	return 0;
}

/* What no device here can follow ends the session; the next HELLO is judged by it. 0, -errno */
int device_frame(struct node *n, const struct frame *f, const struct image *img, const void *payload)
{
	const struct image *offered = NULL;

	if (img && img->capacity && (f->type == FRAME_SIZE || f->type == FRAME_IMAGE) && f->len != img->capacity) {
		node_error(n, "image %s: its block device here holds %" PRIu64 " bytes, the primary's image has %" PRIu64 " now",
		           img->name, img->capacity, f->len);
		return -EFBIG;
	}
	if (f->type == FRAME_CREATE || f->type == FRAME_RENAME || f->type == FRAME_IMAGE)
		offered = device_offered(n, payload, f->payload_len);
	if (!offered || (f->type == FRAME_IMAGE && n->config.overwrite && f->len == offered->capacity))
		return 0;
	node_error(n, "the primary has an image %s now, and here a block device bears that name", offered->next_name);
	return -EEXIST;
}
