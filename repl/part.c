/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `resync in-place`: what the peer lacks is more than its journal can hold, so it is committed in parts. Each part is an
 * epoch of its own, whole and durable as any; but until the sync's own commit what they make of the peer's images was
 * never on this node's. The peer records that with the part, and says it in each HELLO: it serves nobody, and does not
 * take over unless forced. A sync that is cut goes on behind the last part, whoever restarts.
 *
 * Nothing waits for a part: flushes, fsyncs and timers wait for the sync's end. From the first one on the dirty sets, and
 * should this node crash the activity map, must tell all that the peer lacks, since it has this node's generation and an
 * epoch that was confirmed. Event-loop thread only.
 */
#include "core.h"

#define ROOM_MIN (4u * DIRTY_BLOCK)

/* What the peer's journal holds for a sync that is one epoch, bytes: as it says, or as it turned out. */
static uint64_t capacity(const struct node *n)
{
	uint64_t bytes = n->config.part_bytes ? 4 * n->config.part_bytes : n->peer_capacity;

	return n->part_room && n->part_room < bytes ? n->part_room : bytes;
}

/* `resync in-place`, or a peer that is in the middle of one. */
void part_order(struct node *n)
{
	n->in_place = true;
	n->unfit = n->unfit_told = false;
	n->unfit_until_ms = 0;
}

/*
 * Whether what was sent is to be committed now. The first time only if it must be: more is known to be missing than there
 * is room for, or the room is nearly used. Then by quarters: while one is destaged the next is received.
 */
bool part_wanted(const struct node *n)
{
	uint64_t room = capacity(n), sent = n->cur.journalled;

	if (!n->in_place || n->sync_state != SYNC_RUNNING || n->unfit || !n->peer_epoch)
		return false;
	if (!n->peer_part && sent + sync_journal_bytes(n, false) > room)
		return true;
	return sent >= room / 4 * (n->peer_part ? 1 : 3) && sent + sync_journal_bytes(n, true) > room;
}

/* Before the session's first one: what the peer lacks may be in no map yet. */
void part_note(struct node *n)
{
	uint64_t off, len;

	if (n->part_noted)
		return;
	n->part_noted = true;
	for (struct image *img = n->images; img; img = img->next)
		for (uint64_t at = 0; img->visible && dirty_next(&img->miss, at, img->size, UINT64_MAX, &off, &len); at = off + len)
			activity_note(n, img, off, len);
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		const struct sync_op *op = &n->sync_ops[i];

		if (op->busy && !op->dead) /* in no set */
			activity_note(n, op->image, op->off, op->len);
	}
}

/* The peer had room for so much, whatever it says: its disk is full, or its maps are. */
void part_no_room(struct node *n, uint64_t held)
{
	if (n->in_place && held)
		n->part_room = held / 2 > ROOM_MIN ? held / 2 : ROOM_MIN;
}

static void saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (!primary_mirrors(n) || !n->peer_part)
		return;
	if (error) {
		link_drop(n, n->live, "the state file cannot be written");
		return;
	}
	n->raised = false;
	n->have_sets = true;
}

/* What is kept from here on tells the difference to this epoch. */
void part_committed(struct node *n)
{
	node_log(n, n->peer_part ? LOG_LVL_DEBUG : LOG_LVL_WARN, "a part of a resync in-place is committed (%llu bytes); the peer is "
	         "inconsistent until its end", (unsigned long long)n->com.bytes);
	n->peer_part = true;
	n->sync_keep = false; /* what the peer kept is committed with the first one */
	n->st.epoch = n->acked_epoch;
	n->part_save.owner = n;
	node_save(n, &n->part_save, saved);
}

/* EBUSY: an image is open over there. */
void part_refused(struct node *n)
{
	n->in_place = false;
	commit_reply_all(n, &n->resyncs, -EBUSY, "an image is open on the peer, which a resync in-place leaves inconsistent for a "
	                 "while: stop its guest first");
}

/* A session begins. */
void part_session(struct node *n, const struct hello *peer)
{
	n->peer_part = peer->rejoin == REJOIN_PART;
	n->part_noted = false;
	n->part_room = 0;
	if (n->peer_part)
		part_order(n);
}
