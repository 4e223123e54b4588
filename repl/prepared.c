/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two-phase commit on a backup. A PREPARE makes the epoch durable as a COMMIT
 * does, but leaves it aside: unseen by the guest, behind no later commit, kept
 * through the link's loss and a crash. SETTLE, or a failover, takes it or
 * drops it. While the session that prepared it lives, a dropped one becomes
 * part of the epoch being received, as the primary counts it too.
 */
#include <string.h>

#include "core.h"
#include "mutant.h"

static void tell(struct node *n, uint8_t type, uint64_t epoch)
{
	struct frame f = { .type = type, .epoch = epoch };

	if (n->live >= 0)
		link_send(n, n->live, &f, NULL, 0);
}

/* The PREPARE record is durable. */
void prepared_synced(struct node *n)
{
	struct epoch *e = n->com_ep;

	n->com_ep = NULL;
	n->prep_ep = e;
	e->prepared = true;
	if (n->session == e->session)
		tell(n, FRAME_PREPARED, e->number);
	if (MUTANT("prepared-taken"))
		prepared_take(n);
}

/* Take it: from here on a commit like any other. */
void prepared_take(struct node *n)
{
	n->com_ep = n->prep_ep;
	n->prep_ep = NULL;
	n->com_rec = REC_COMMIT;
	if (n->live >= 0)
		n->com_ep->session = n->session; /* who asked is told */
	n->com_ep->end.lsn = 0;
	n->com_started_ms = n->now_ms;
	backup_commit_append(n);
}

static bool joins_current(const struct node *n, const struct epoch *e)
{
	return n->cur_ep && n->cur_ep->session == e->session && n->cur_ep->number == e->number + 1;
}

/* The ABORT record is durable. */
void prepared_aborted(struct node *n)
{
	struct epoch *e = n->com_ep;
	uint64_t number = e->number;
	bool join = joins_current(n, e);
	int err = 0;

	n->com_ep = NULL;
	if (join && !MUTANT("abort-not-merged"))
		err = epoch_merge(n->cur_ep, e);
	else
		n->lost_bytes += e->bytes;
	epoch_free(e);
	n->tail_wanted = true;
	tell(n, FRAME_ABORTED, number);
	if (err) { /* the arena is full: a full journal */
		uint64_t current = n->cur_ep->number;

		backup_refuse(n, current, ENOSPC);
		n->refused_epoch = current;
		backup_drop_current(n);
	} else if (!join) { /* its names and sizes are void */
		epoch_reset_views(n);
	}
}

static int drop(struct node *n)
{
	struct epoch *e = n->prep_ep;
	bool join = joins_current(n, e);
	struct record r = { .type = REC_ABORT, .flags = join ? REC_F_MERGE : 0, .image = e->number };
	void *payload;
	uint64_t pos;
	int err = journal_get(&n->journal, n->session, join ? n->cur_ep->number : e->number, 0, 0, &payload, &pos);

	if (err == -EAGAIN)
		return -ENOBUFS; /* the link is dropped; asked again by the next session */
	if (err) {
		node_fail(n, "the journal cannot be written: %s", strerror(-err));
		return 0;
	}
	journal_put(&n->journal, &r);
	n->com_ep = e;
	n->prep_ep = NULL;
	n->com_rec = REC_ABORT;
	backup_sync(n);
	return 0;
}

/* SETTLE: the primary's order. 0, or -errno: drop the link. */
int prepared_settle(struct node *n, const struct frame *f)
{
	bool take = f->off;

	if (n->com_ep)
		return -EPROTO;
	if (!n->prep_ep || n->prep_ep->number != f->epoch) {
		/* Settled before, and the answer was lost with its link. */
		if (take && f->epoch != n->committed)
			return -EPROTO;
		tell(n, take ? FRAME_DONE : FRAME_ABORTED, f->epoch);
		return 0;
	}
	if (!take)
		return drop(n);
	prepared_take(n);
	return 0;
}
