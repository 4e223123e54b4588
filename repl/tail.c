/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a pass leaves in the state file: where recovery begins from then on, and
 * the table of images. Called by destage.c; event-loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

static void mark_min(struct journal_mark *m, const struct journal_mark *other)
{
	if (other->lsn && other->lsn < m->lsn)
		*m = *other;
}

/* Where recovery must begin, once the pass is in the images. */
struct journal_mark tail_of(struct node *n)
{
	struct journal_mark m = n->pass && n->pass->end.lsn ? n->pass->end : journal_mark(&n->journal);

	for (struct epoch *e = n->seals; e; e = e->older)
		if (e != n->pass)
			mark_min(&m, &e->first);
	if (n->com_ep)
		mark_min(&m, &n->com_ep->first);
	if (n->prep_ep)
		mark_min(&m, &n->prep_ep->first);
	if (n->cur_ep)
		mark_min(&m, &n->cur_ep->first);
	if (n->kept_ep)
		mark_min(&m, &n->kept_ep->first);
	if (n->local)
		mark_min(&m, &n->local->first);
	twin_mark_min(n, &m);
	return m;
}

static struct state_image *table_entry(struct node *n, uint64_t id)
{
	struct state *st = &n->st;

	for (uint32_t i = 0; i < st->image_count; i++)
		if (st->images[i].id == id)
			return &st->images[i];
	if (st->image_count == IMAGES_MAX)
		return NULL;
	struct state_image *p = realloc(st->images, (st->image_count + 1) * sizeof(*p));

	if (!p)
		return NULL;
	st->images = p;
	p = &st->images[st->image_count++];
	memset(p, 0, sizeof(*p));
	p->id = id;
	return p;
}

/* What the state says of the images, once e is in them. 0, -ENOMEM. */
int tail_table(struct node *n, const struct epoch *e)
{
	for (const struct epimg *ei = e->images; ei; ei = ei->next) {
		struct state_image *im = table_entry(n, ei->image->id);

		if (!im)
			return -ENOMEM;
		if (ei->unlinked) {
			*im = n->st.images[--n->st.image_count];
			continue;
		}
		if (ei->sized)
			im->size = ei->size;
		if (ei->renamed)
			memcpy(im->name, ei->name, sizeof(im->name));
		im->consistent = true;
		im->mtime_ns = im->ctime_ns = 0;
	}
	return 0;
}
