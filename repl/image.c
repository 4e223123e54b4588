/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The node's images: their table, what is open, and when a gone one may be forgotten. Event-loop thread only. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

struct image *image_add(struct node *n, uint64_t id)
{
	struct image *img;

	if (n->image_count >= IMAGES_MAX)
		return NULL;
	img = calloc(1, sizeof(*img));
	if (!img)
		return NULL;
	img->node = n;
	img->id = id;
	if (n->arena)
		map_init(&img->overlay, n->arena);
	activity_image_init(n, img);
	img->next = n->images;
	n->images = img;
	n->image_count++;
	return img;
}

static void file_gone(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (io->op == IO_REMOVE) {
		*io = (struct io){ .op = IO_CLOSE, .kind = FILE_IMAGE, .file = io->file, .done = file_gone, .owner = n };
		submit(n, io);
		return;
	}
	free(io);
}

static void file_let_go(struct node *n, uint64_t id, bool remove)
{
	struct io *io = calloc(1, sizeof(*io));

	if (!io)
		return; /* a descriptor stays open until the daemon ends */
	*io = (struct io){ .op = remove ? IO_REMOVE : IO_CLOSE, .kind = FILE_IMAGE, .file = id, .done = file_gone,
		.owner = n };
	submit(n, io);
}

void image_drop(struct node *n, struct image *img)
{
	struct image **p = &n->images;

	while (*p != img)
		p = &(*p)->next;
	*p = img->next;
	n->image_count--;
	dirty_free(&img->miss);
	dirty_free(&img->cur);
	dirty_free(&img->com);
	dirty_free(&img->bad);
	dirty_free(&img->differ);
	if (img->overlay.arena)
		map_clear(&img->overlay);
	free(img);
}

/* First contact with overwrite=yes: what was here before makes room. */
void image_remove_foreign(struct node *n)
{
	struct image *next;

	for (struct image *i = n->images; i; i = next) {
		next = i->next;
		if (!i->foreign || i->capacity) /* a device is adopted, if the primary has an image of its name */
			continue;
		file_let_go(n, i->id, true);
		image_drop(n, i);
	}
}

/* Unlinked images go when nobody uses them any more. */
void images_collect(struct node *n)
{
	struct image *next;

	if (!n->collect || n->role == NODE_BACKUP)
		return;
	n->collect = false;
	for (struct image *i = n->images; i; i = next) {
		next = i->next;
		if (i->visible || i->next_visible || i->opens || i->direct || i->foreign || i->name[0])
			continue; /* image_close() asks again */
		if (i->claims.count || i->touched_com || i->background || n->com_syncs || n->demote_step || n->reads ||
		    sync_covers(n, i, 0, UINT64_MAX / 2) || verify_uses(n, i) ||
		    (n->have_journal && (epoch_references(n, i) || !destage_clean(n)))) {
			n->collect = true;
			continue;
		}
		file_let_go(n, i->id, false);
		image_drop(n, i);
	}
}

struct image *node_image(struct node *n, const char *name)
{
	for (struct image *i = n->images; i; i = i->next)
		if (i->visible && !strcmp(i->name, name))
			return i;
	return NULL;
}

struct image *node_image_by_id(struct node *n, uint64_t id)
{
	for (struct image *i = n->images; i; i = i->next)
		if (i->id == id)
			return i;
	return NULL;
}

struct image *node_image_next(struct node *n, struct image *prev)
{
	struct image *i = prev ? prev->next : n->images;

	while (i && !i->visible)
		i = i->next;
	return i;
}

const char *image_name(const struct image *img)
{
	return img->name;
}

uint64_t image_id(const struct image *img)
{
	return img->id;
}

uint64_t image_size(const struct image *img)
{
	return twin_size(img);
}

uint64_t image_mtime_ns(const struct image *img)
{
	return img->mtime_ns;
}

int image_open(struct node *n, struct image *img)
{
	if (n->failed)
		return -EIO;
	if (n->role == NODE_BACKUP && (!img->consistent || (n->st.rejoin && !MUTANT("rejoin-served"))))
		return -EAGAIN;
	if (n->com_ep && n->com_ep->part) /* none was open when it came, and none is served behind it */
		return -EAGAIN;
	img->opens++;
	return 0;
}

bool image_any_open(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->opens)
			return true;
	return false;
}

int image_open_write(struct node *n, struct image *img)
{
	if (n->switching)
		return -EBUSY; /* the guest is about to run on the other node */
	img->write_opens++;
	return 0;
}

void image_close_write(struct image *img)
{
	assert(img->write_opens);
	img->write_opens--;
}

void image_close(struct node *n, struct image *img)
{
	assert(img->opens);
	img->opens--;
	n->collect |= !img->visible;
}
