/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a primary, or a single node, does on its own disk only: reads, fsyncs,
 * and the fdatasyncs in the background that leave a commit little to do.
 * Called by primary.c; event-loop thread only.
 */
#include <string.h>

#include "core.h"

/* ---- syncs ---- */

/*
 * The kernel says once that an fdatasync failed, takes what was not written for clean, and later ones succeed: they
 * must not pass for good. From here on the image's fsyncs, every commit and the stop fail. A node that is mounted
 * again sees what the disk has kept, and a full compare makes the peer equal.
 */
void image_sync_failed(struct image *img, int error)
{
	if (!img->visible && error == -ENOENT) /* its last name went in an earlier life, and the file with it */
		return;
	if (!img->sync_failed)
		node_error(img->node, "fdatasync of image %s failed: %s; what it holds on disk is uncertain: fsync and flush "
		           "fail until this node is mounted again", img->name, strerror(-error));
	img->sync_failed = error;
	activity_revoke(img->node);
}

static void background_synced(struct io *io)
{
	struct image *img = io->owner;

	img->node->ios_busy--;
	img->background = false;
	if (io->result)
		image_sync_failed(img, io->result);
}

/* So that the commit's fdatasync finds little to do, however much the epoch wrote. */
void local_background(struct node *n, struct image *img, uint64_t len)
{
	img->unsynced += len;
	if (img->unsynced < BACKGROUND_SYNC || img->background || !node_established(n))
		return;
	img->unsynced = 0;
	img->background = true;
	n->counters.image_fdatasyncs_total++;
	img->background_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = img->id, .done = background_synced,
		.owner = img };
	submit(n, &img->background_io);
}

static void plain_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct node *n = g->image->node;

	n->ios_busy--;
	g->hole = io->hole;
	if (g->op == GUEST_EXTENT)
		g->len = io->len;
	if (g->op == GUEST_SYNC && io->result)
		image_sync_failed(g->image, io->result);
	guest_finish(n, g, g->op == GUEST_SYNC ? g->image->sync_failed : io->result);
}

/* Durable on this node's disk. */
void local_sync(struct node *n, struct guest_io *g)
{
	struct image *img = g->image;

	if (img->sync_failed) {
		guest_finish(n, g, img->sync_failed);
		return;
	}
	g->io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = img->id, .done = plain_done, .owner = g };
	submit(n, &g->io);
}

/* ---- reads ---- */

/* And what is data, what a hole. */
void local_read(struct node *n, struct guest_io *g)
{
	static const uint8_t ops[] = { [GUEST_READ] = IO_READ, [GUEST_EXTENT] = IO_EXTENT };
	struct image *img = g->image;
	uint64_t left = g->off < img->size ? img->size - g->off : 0;

	if (g->len > left)
		g->len = left;
	if (!left && g->op == GUEST_EXTENT) {
		guest_finish(n, g, -ENXIO);
		return;
	}
	if (!g->len) {
		guest_finish(n, g, 0);
		return;
	}
	g->io = (struct io){ .op = ops[g->op], .kind = FILE_IMAGE, .file = img->id, .off = g->off, .len = g->len,
		.buf = g->buf, .done = plain_done, .owner = g };
	submit(n, &g->io);
}
