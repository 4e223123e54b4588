/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a backup reads: overlay over local writes over seals, newest first,
 * over the image file. A read is cut into pieces at one instant and keeps the
 * node's version of then: no segment that a piece lies in is recycled, and no
 * later epoch is written into the image, before it has ended.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

#define LAYERS_MAX 64u

struct piece {
	struct vread *read;
	bool journal;
	union {
		struct io io;
		struct jread jread;
	};
	struct piece *next;
};

struct vread {
	struct vread *next, *prev;
	struct node *node;
	uint64_t version;
	uint32_t pending;
	int error;
	struct image *image;
	struct piece *pieces;
	void (*done)(void *owner, int error);
	void *owner;
};

struct layers {
	const struct map *maps[LAYERS_MAX];
	uint32_t count;
};

static void layer_add(struct layers *l, const struct map *m)
{
	if (m && m->extents && l->count < LAYERS_MAX)
		l->maps[l->count++] = m;
}

static void layer_epoch(struct layers *l, const struct epoch *e, const struct image *img)
{
	for (const struct epimg *ei = e ? e->images : NULL; ei; ei = ei->next)
		if (ei->image == img)
			layer_add(l, &ei->map);
}

static void layers_of(struct node *n, const struct image *img, bool uncommitted, struct layers *l)
{
	l->count = 0;
	if (uncommitted) {
		layer_epoch(l, n->cur_ep, img);
		layer_epoch(l, n->com_ep, img);
		layer_epoch(l, n->prep_ep, img);
	} else {
		layer_add(l, &img->overlay);
		layer_epoch(l, n->local, img);
	}
	uint32_t first = l->count;

	for (const struct epoch *e = n->seals; e; e = e->older)
		if (!MUTANT("stale-after-commit") || uncommitted || e->version != n->version)
			layer_epoch(l, e, img);
	for (uint32_t i = first, k = l->count; MUTANT("old-seal-wins") && i + 1 < k; i++) {
		const struct map *m = l->maps[i];

		l->maps[i] = l->maps[--k];
		l->maps[k] = m;
	}
}

/* ---- pieces ---- */

static void piece_end(struct vread *v, int error)
{
	if (error && !v->error)
		v->error = error;
	v->pending--; /* view_pump() does the rest */
}

static void image_done(struct io *io)
{
	struct piece *p = io->owner;

	p->read->node->ios_busy--;
	piece_end(p->read, io->result);
}

static void journal_done(struct jread *r, int error)
{
	struct piece *p = r->owner;

	if (error)
		node_error(p->read->node, "image %s: a journal record cannot be read: %s", p->read->image->name,
		           strerror(-error));
	piece_end(p->read, error);
}

static void piece_add(struct vread *v, uint64_t off, uint64_t len, uint64_t pos, bool journal, void *dst)
{
	struct node *n = v->node;
	struct piece *p = malloc(sizeof(*p)); /* all of it is set below; a calloc() takes longer */

	if (!p) {
		v->error = -ENOMEM;
		return;
	}
	p->read = v;
	p->journal = journal;
	p->next = v->pieces;
	v->pieces = p;
	v->pending++;
	if (journal) {
		struct journal *j = pos & POS_OVERLAY ? &n->overlay : &n->journal;

		p->jread = (struct jread){ .pos = pos & ~POS_OVERLAY, .len = (uint32_t)len, .dst = dst,
			.done = journal_done, .owner = p };
		journal_read(j, &p->jread);
		return;
	}
	p->io = (struct io){ .op = IO_READ, .kind = FILE_IMAGE, .file = v->image->id, .off = off, .len = len, .buf = dst,
		.done = image_done, .owner = p };
	submit(n, &p->io);
}

/* [off, off+len) from layer `at` downwards. */
static void resolve(struct vread *v, const struct layers *l, uint32_t at, uint64_t off, uint64_t len, uint8_t *dst)
{
	while (len) {
		struct extent e;
		bool found = at < l->count && map_find(l->maps[at], off, &e) && e.off < off + len;
		uint64_t gap = found ? e.off - off : len;

		if (gap && at < l->count) {
			resolve(v, l, at + 1, off, gap, dst);
		} else if (gap) {
			if (v->image->file)
				piece_add(v, off, gap, 0, false, dst);
			else
				memset(dst, 0, gap);
		}
		off += gap;
		dst += gap;
		len -= gap;
		if (!found || !len)
			continue;
		uint64_t part = e.len < len ? e.len : len;

		if (e.pos == MAP_ZERO)
			memset(dst, 0, part);
		else
			piece_add(v, off, part, e.pos, true, dst);
		off += part;
		dst += part;
		len -= part;
	}
}

/*
 * Read [off, off+len), len at most IO_MAX_LEN, within the size. uncommitted: the primary's view at this place of
 * the stream (for hashes), else the guest's. done() from the loop.
 */
void view_read(struct node *n, struct image *img, bool uncommitted, uint64_t off, uint64_t len, void *buf,
               void (*done)(void *owner, int error), void *owner)
{
	struct vread *v = calloc(1, sizeof(*v));
	struct layers l;

	if (!v) {
		done(owner, -ENOMEM); /* only hash queries and guests' reads: both defer what follows */
		return;
	}
	v->node = n;
	v->image = img;
	v->version = n->version;
	v->done = done;
	v->owner = owner;
	v->prev = n->reads_tail;
	if (n->reads_tail)
		n->reads_tail->next = v;
	else
		n->reads = v;
	n->reads_tail = v;
	layers_of(n, img, uncommitted, &l);
	resolve(v, &l, 0, off, len, buf);
}

uint64_t view_oldest(const struct node *n)
{
	return n->reads ? n->reads->version : UINT64_MAX;
}

void view_pump(struct node *n)
{
	struct vread *v = n->reads, *next;

	for (; v; v = next) {
		next = v->next;
		if (v->pending)
			continue;
		if (v->prev)
			v->prev->next = v->next;
		else
			n->reads = v->next;
		if (v->next)
			v->next->prev = v->prev;
		else
			n->reads_tail = v->prev;
		while (v->pieces) {
			struct piece *p = v->pieces;

			v->pieces = p->next;
			free(p);
		}
		v->done(v->owner, v->error);
		free(v);
	}
}

bool view_ready(const struct node *n)
{
	for (const struct vread *v = n->reads; v; v = v->next)
		if (!v->pending)
			return true;
	return false;
}

void view_free(struct node *n)
{
	while (n->reads) {
		struct vread *v = n->reads;

		n->reads = v->next;
		while (v->pieces) {
			struct piece *p = v->pieces;

			v->pieces = p->next;
			free(p);
		}
		free(v);
	}
}

/* ---- data or hole ---- */

static void extent_done(struct io *io)
{
	struct guest_io *g = io->owner;

	g->image->node->ios_busy--;
	g->hole = io->hole;
	g->len = io->len;
	guest_finish(g->image->node, g, io->result);
}

static void extent_answer(struct node *n, struct guest_io *g, bool hole, uint64_t len)
{
	g->hole = hole;
	g->len = len;
	guest_finish(n, g, 0);
}

/* GUEST_EXTENT: the first layer that says anything about g->off decides. */
void view_extent(struct node *n, struct guest_io *g)
{
	struct image *img = g->image;
	uint64_t size = twin_size(img);
	struct layers l;

	if (g->off >= size) {
		guest_finish(n, g, -ENXIO);
		return;
	}
	uint64_t len = g->len < size - g->off ? g->len : size - g->off;

	layers_of(n, img, false, &l);
	for (uint32_t i = 0; i < l.count; i++) {
		struct extent e;

		if (!map_find(l.maps[i], g->off, &e) || e.off >= g->off + len)
			continue;
		if (e.off <= g->off) {
			extent_answer(n, g, e.pos == MAP_ZERO, e.len < len ? e.len : len);
			return;
		}
		len = e.off - g->off;
	}
	if (!img->file) {
		extent_answer(n, g, true, len);
		return;
	}
	g->io = (struct io){ .op = IO_EXTENT, .kind = FILE_IMAGE, .file = img->id, .off = g->off, .len = len,
		.done = extent_done, .owner = g };
	submit(n, &g->io);
}
