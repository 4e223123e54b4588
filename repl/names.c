/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A primary's names: create, unlink, rename. Each claims the whole image, is done here, and sent in its place of the
 * stream; without a link the next session's sync compares the tables.
 */
#include <string.h>

#include "core.h"

/* The image has no name any more; it goes when nobody uses it. */
static void nameless(struct node *n, struct image *img)
{
	primary_meta(n, FRAME_UNLINK, img, 0, 0, 0, NULL);
	img->visible = false;
	img->name[0] = 0;
	n->dir_touched = n->collect = true;
}

static void unlink_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct image *img = g->image;
	struct node *n = img->node;

	n->ios_busy--;
	if (!io->result)
		nameless(n, img);
	primary_end(n, g, io->result);
}

static void rename_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct image *img = g->image;
	struct node *n = img->node;

	n->ios_busy--;
	if (!io->result) {
		struct image *old = node_image(n, g->name);

		if (old && old != img)
			nameless(n, old);
		memcpy(img->name, g->name, sizeof(img->name));
		primary_meta(n, FRAME_RENAME, img, 0, 0, 0, img->name);
		n->dir_touched = true;
	}
	primary_end(n, g, io->result);
}

void primary_names(struct node *n, struct guest_io *g)
{
	bool unlink = g->op == GUEST_UNLINK;

	if (!g->image->visible || (!unlink && !strcmp(g->name, g->image->name))) {
		primary_counted(n, g);
		range_release(&g->image->claims, &g->claim);
		guest_finish(n, g, g->image->visible ? 0 : -ENOENT);
		return;
	}
	g->io = (struct io){ .op = unlink ? IO_REMOVE : IO_RENAME, .kind = FILE_IMAGE, .file = g->image->id,
		.name = unlink ? NULL : g->name, .done = unlink ? unlink_done : rename_done, .owner = g };
	submit(n, &g->io);
}

static void create_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct image *img = g->image;
	struct node *n = img->node;

	n->ios_busy--;
	img->opens--;
	primary_counted(n, g);
	if (io->result) {
		image_drop(n, img);
		g->image = NULL;
		guest_finish(n, g, io->result);
		return;
	}
	img->visible = img->file = img->consistent = true;
	memcpy(img->name, g->name, sizeof(img->name));
	img->mtime_ns = n->wall_ms * 1000000;
	n->dir_touched = true;
	primary_meta(n, FRAME_CREATE, img, 0, 0, 0, img->name);
	if (primary_mirrors(n))
		img->on_peer = img->consistent_on_peer = true;
	else
		dirty_mark(&img->miss, 0, DIRTY_BLOCK);
	primary_finish(n, g);
}

/* Image ids are never reused: random ones of 62 bits. */
void primary_create(struct node *n, struct guest_io *g)
{
	uint64_t id;

	if (node_image(n, g->name) || n->image_count >= IMAGES_MAX) {
		guest_finish(n, g, node_image(n, g->name) ? -EEXIST : -ENOSPC);
		return;
	}
	do
		id = random64(n) & IMAGE_ID_MAX;
	while (id < IMAGE_ID_MIN || node_image_by_id(n, id));
	g->image = image_add(n, id);
	if (!g->image) {
		guest_finish(n, g, -ENOMEM);
		return;
	}
	g->image->opens++; /* nobody may collect it before it has its file */
	g->epoch = n->cur.number;
	n->cur.inflight++;
	g->stage |= COUNTED;
	g->io = (struct io){ .op = IO_CREATE, .kind = FILE_IMAGE, .file = id, .name = g->name, .done = create_done,
		.owner = g };
	submit(n, &g->io);
}
