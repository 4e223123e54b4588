/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "peek.h"

#include "../../repl/core.h"

bool peek_failed(const struct node *n)
{
	return n->failed;
}

bool peek_local(const struct node *n)
{
	return n->local_path;
}

bool peek_had_peer(const struct node *n)
{
	return n->st.had_peer;
}

bool peek_established(const struct node *n)
{
	return node_established(n);
}

bool peek_primary(const struct node *n)
{
	return n->role == NODE_PRIMARY;
}

bool peek_fencing(const struct node *n)
{
	return n->fence_step != 0;
}

bool peek_rejoin(const struct node *n)
{
	return n->st.rejoin != REJOIN_NONE;
}

bool peek_part(const struct node *n)
{
	return n->st.rejoin == REJOIN_PART;
}

bool peek_parting(const struct node *n)
{
	return peek_part(n) || (n->com_ep && n->com_ep->part);
}

bool peek_live(const struct node *n)
{
	return n->live >= 0;
}

bool peek_split(const struct node *n)
{
	return strstr(n->last_error, "split brain");
}

bool peek_writers(const struct node *n)
{
	return node_open_for_writing(n);
}

void peek_epochs(const struct node *n, uint64_t *current, uint64_t *committed)
{
	*current = n->cur.number;
	/* A promoted node that started again with its journal drained has it from its state. */
	*committed = n->role == NODE_PRIMARY ? n->acked_epoch : n->committed;
}

const char *peek_error(const struct node *n)
{
	return n->last_error;
}

bool peek_protected(const struct node *n)
{
	return n->protected_;
}

bool peek_level(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (dirty_any(&i->miss) || dirty_any(&i->bad) || dirty_any(&i->differ))
			return false;
	return !n->sync_busy && !n->sendq && !n->held;
}

static bool covered(const struct epoch *e, const struct image *img, uint64_t off)
{
	struct extent x;

	for (const struct epimg *ei = e ? e->images : NULL; ei; ei = ei->next)
		if (ei->image == img && map_find(&ei->map, off, &x) && x.off <= off)
			return true;
	return false;
}

bool peek_plain(const struct node *n, uint64_t image, uint64_t off)
{
	const struct image *img = n->images;

	while (img && img->id != image)
		img = img->next;
	if (!img || !img->file || !img->consistent || img->direct || n->reads || n->hash_list)
		return false;
	for (const struct epoch *e = n->seals; e; e = e->older)
		if (covered(e, img, off))
			return false;
	return !covered(n->cur_ep, img, off) && !covered(n->com_ep, img, off) && !covered(n->prep_ep, img, off);
}

bool peek_arrived(const struct node *primary, const struct node *backup)
{
	return primary->seq == backup->last_seq;
}
