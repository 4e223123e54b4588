/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the state file has to say before a commit is ordered: which epoch numbers may have been used, and which generation
 * the peer may have. A restarted primary then never orders a number again, nor takes for its own what its peer has too.
 * Event-loop thread only.
 */
#include "core.h"

static void bound_saved(struct save *s, int error)
{
	struct node *n = s->owner;

	n->bound_saving = false;
	if (!error)
		n->epoch_bound = n->st.epoch_high;
}

/* No number is ordered that the state does not know of: a restarted primary must not order it again. */
bool reserve_number(struct node *n)
{
	if (n->cur.number + EPOCH_AHEAD / 4 >= n->epoch_bound && !n->bound_saving) {
		n->bound_saving = true;
		n->st.epoch_high = n->cur.number + EPOCH_AHEAD;
		node_save(n, &n->bound_save, bound_saved);
	}
	return n->cur.number < n->epoch_bound;
}

static void offered(struct save *s, int error)
{
	struct node *n = s->owner;

	n->offering = false;
	if (!error)
		n->offered = n->offer;
	else if (n->live >= 0)
		link_drop(n, n->live, "the state file cannot be written");
}

/* With the commit that ends a sync, or a part of it, the peer takes this generation over. Should its answer be lost, with
 * the link or with this node, then what is written alone from there on belongs to another one. */
bool reserve_generation(struct node *n)
{
	if (n->offered == n->st.lineage.generation)
		return true;
	if (!n->offering) {
		n->offering = true;
		n->offer = n->st.shared_generation = n->st.lineage.generation;
		node_save(n, &n->offer_save, offered);
	}
	return false;
}
