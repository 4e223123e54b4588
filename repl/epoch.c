/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Epochs on a backup: what each image became in one. Records are entered as
 * they come from the peer, from recovery, or from this node's own guest; a
 * commit makes the epoch visible and seals it until it is destaged.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"
#include "sum.h"

struct epoch *epoch_new(uint64_t number, uint64_t session)
{
	struct epoch *e = calloc(1, sizeof(*e));

	if (e) {
		e->number = number;
		e->session = session;
	}
	return e;
}

void epoch_free(struct epoch *e)
{
	while (e && e->images) {
		struct epimg *ei = e->images;

		e->images = ei->next;
		map_clear(&ei->map);
		free(ei);
	}
	free(e);
}

struct epimg *epoch_image(struct node *n, struct epoch *e, struct image *img)
{
	for (struct epimg *ei = e->images; ei; ei = ei->next)
		if (ei->image == img)
			return ei;
	struct epimg *ei = calloc(1, sizeof(*ei));

	if (!ei)
		return NULL;
	ei->image = img;
	map_init(&ei->map, n->arena);
	ei->next = e->images;
	e->images = ei;
	return ei;
}

static int resize(struct epimg *ei, uint64_t size)
{
	struct image *img = ei->image;

	/* What is cut off must read as zeroes if the image grows again. */
	if (size < img->next_size && !MUTANT("shrink-not-zeroed")) {
		int err = map_insert(&ei->map, size, MAP_OFF_MAX - size, MAP_ZERO);

		if (err)
			return err;
	}
	img->next_size = size;
	ei->sized = true;
	ei->size = size;
	return 0;
}

static int record_name(struct epimg *ei, const struct record *r, const void *payload)
{
	if (!name_valid(payload, r->payload_len))
		return -EPROTO;
	memcpy(ei->name, payload, r->payload_len);
	ei->name[r->payload_len] = 0;
	ei->renamed = true;
	memcpy(ei->image->next_name, ei->name, sizeof(ei->name));
	ei->image->next_visible = true;
	return 0;
}

static int record_image(struct epimg *ei, const struct record *r, const void *payload)
{
	int err;

	switch (r->type) {
	case REC_SIZE:
		return resize(ei, r->len);
	case REC_CREATE:
		ei->created = true;
		err = record_name(ei, r, payload);
		return err ? err : resize(ei, 0);
	case REC_RENAME:
		return record_name(ei, r, payload);
	case REC_IMAGE:
		ei->adopted = true;
		ei->sized = true;
		ei->size = ei->image->next_size = r->len;
		return record_name(ei, r, payload);
	case REC_UNLINK:
		ei->unlinked = true;
		ei->image->next_visible = false;
		ei->image->next_name[0] = 0;
		return 0;
	}
	return -EPROTO;
}

/* Enter one record into epoch e and the image's uncommitted view. pos: of its payload. 0; -ENOSPC, -ENOMEM; -EPROTO for
 * what no sound peer sends (an unknown image, a bad name). */
int record_apply(struct node *n, struct epoch *e, const struct record *r, uint64_t pos, const void *payload)
{
	struct image *img = node_image_by_id(n, r->image);
	struct epimg *ei;
	int err = 0;

	if (!img && (r->type == REC_CREATE || r->type == REC_IMAGE))
		img = image_add(n, r->image);
	if (!img)
		return r->type == REC_UNLINK ? 0 : -EPROTO;
	ei = epoch_image(n, e, img);
	if (!ei)
		return -ENOMEM;
	e->writes++;
	if (r->type == REC_DATA || r->type == REC_ZERO) {
		uint64_t len = r->type == REC_DATA ? r->payload_len : r->len;

		if (r->type == REC_ZERO && r->off + len > img->next_size)
			len = r->off < img->next_size ? img->next_size - r->off : 0;
		if (len)
			err = map_insert(&ei->map, r->off, len, r->type == REC_DATA ? pos : MAP_ZERO);
		if (!err && r->type == REC_DATA && r->off + len > img->next_size)
			err = resize(ei, r->off + len);
		e->bytes += r->type == REC_DATA ? len : 0;
		return err;
	}
	return record_image(ei, r, payload);
}

/* The commit: guests see it from here on. */
void epoch_apply(struct node *n, struct epoch *e)
{
	for (struct epimg *ei = e->images; ei; ei = ei->next) {
		struct image *img = ei->image;

		if (ei->sized)
			img->size = ei->size;
		if (ei->adopted) {
			img->direct = img->committing = img->foreign = false;
			img->consistent = img->file = true;
		}
		if (ei->created) {
			img->consistent = true;
			/* A destage cut short by a crash may have left its file: it is ours all the same. */
			img->direct = img->committing = img->foreign = false;
		}
		if (ei->renamed) {
			memcpy(img->name, ei->name, sizeof(img->name));
			img->visible = true;
		}
		if (ei->unlinked) {
			img->visible = img->consistent = false;
			img->name[0] = 0;
		}
		img->mtime_ns = n->wall_ms * 1000000;
	}
	n->version++;
	e->version = n->version;
}

/* With e the copy is an epoch of the primary's; or, with a part of a resync in-place, is none until one that is no part. */
void epoch_levels(struct node *n, const struct epoch *e)
{
	n->st.rejoin = e->part ? REJOIN_PART : REJOIN_NONE;
	if (e->part)
		n->st.rejoin_epoch = e->number;
}

void epoch_seal(struct node *n, struct epoch *e)
{
	e->older = n->seals;
	n->seals = e;
}

/* The primary's view behind epoch e, which is whole and not yet committed. */
static void view_behind(const struct epoch *e)
{
	for (const struct epimg *ei = e ? e->images : NULL; ei; ei = ei->next) {
		struct image *img = ei->image;

		if (ei->sized)
			img->next_size = ei->size;
		if (ei->renamed) {
			img->next_visible = true;
			memcpy(img->next_name, ei->name, sizeof(img->next_name));
		}
		if (ei->unlinked) {
			img->next_visible = false;
			img->next_name[0] = 0;
		}
	}
}

/* The uncommitted view goes back to the committed one, and to what is prepared or being committed; images that only
 * the dropped epoch had are dropped with it. */
void epoch_reset_views(struct node *n)
{
	struct image *next;

	for (struct image *i = n->images; i; i = next) {
		next = i->next;
		if (i->direct || i->foreign)
			continue; /* what its file holds is compared by the next session; or it is none of the pair's */
		i->next_visible = i->visible;
		i->next_size = i->size;
		memcpy(i->next_name, i->name, sizeof(i->next_name));
		if (!i->visible && !i->consistent && !i->foreign && !i->opens && !i->claims.count &&
		    !epoch_references(n, i))
			image_drop(n, i);
	}
	view_behind(n->prep_ep);
	view_behind(n->com_ep);
	view_behind(n->cur_ep);
}

static int merge_image(struct epimg *to, struct epimg *older)
{
	uint64_t cursor = 0;
	int err = map_merge_some(&older->map, &to->map, &cursor, UINT_MAX);

	if (err < 0)
		return err;
	map_clear(&to->map);
	to->map = older->map;
	map_init(&older->map, to->map.arena);
	if (older->sized && !to->sized) {
		to->sized = true;
		to->size = older->size;
	}
	if (older->renamed && !to->renamed) {
		to->renamed = true;
		memcpy(to->name, older->name, sizeof(to->name));
	}
	to->created |= older->created;
	to->unlinked |= older->unlinked;
	to->adopted |= older->adopted;
	return 0;
}

/* An epoch that was aborted becomes part of the one behind it, which is newer. 0, or -ENOSPC with both unfit for use. */
int epoch_merge(struct epoch *to, struct epoch *older)
{
	while (older->images) {
		struct epimg *ei = older->images, *dst = to->images;

		while (dst && dst->image != ei->image)
			dst = dst->next;
		int err = dst ? merge_image(dst, ei) : 0;

		if (err)
			return err;
		older->images = ei->next;
		if (dst) {
			free(ei);
		} else {
			ei->next = to->images;
			to->images = ei;
		}
	}
	if (older->first.lsn)
		to->first = older->first;
	to->bytes += older->bytes;
	to->writes += older->writes;
	return 0;
}

static bool name_taken(const struct node *n, const struct image *img)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i != img && i->next_visible && !strcmp(i->next_name, img->next_name))
			return true;
	return false;
}

/* Whether an image that e names, or a first sync, bears the name of another: one file would take the other's place. */
bool epoch_names_clash(const struct node *n, const struct epoch *e)
{
	for (const struct epimg *ei = e->images; ei; ei = ei->next)
		if (ei->renamed && ei->image->next_visible && name_taken(n, ei->image))
			return true;
	for (const struct image *i = n->images; i; i = i->next)
		if (i->direct && i->next_visible && name_taken(n, i))
			return true;
	return false;
}

static bool references(const struct epoch *e, const struct image *img)
{
	for (const struct epimg *ei = e ? e->images : NULL; ei; ei = ei->next)
		if (ei->image == img)
			return true;
	return false;
}

bool epoch_references(const struct node *n, const struct image *img)
{
	for (const struct epoch *e = n->seals; e; e = e->older)
		if (references(e, img))
			return true;
	return references(n->cur_ep, img) || references(n->com_ep, img) || references(n->prep_ep, img) ||
	       references(n->kept_ep, img) || references(n->local, img);
}
