/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Promotion. One durable step, the state file, says all of it: new generation,
 * the epoch it builds on, the overlay's records taken. Until the journal is
 * drained this node's own writes go through it (twin.c), since a crash would
 * replay it over them; only then do they go straight into the images.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

#define JOURNAL_FAILED "the journal failed; umount, mend its disk, mount again, then fail over"

enum { F_NONE, F_FENCE, F_COMMIT, F_OVERLAY, F_SAVE };

static void taken(struct save *s, int error);

/* The epoch that this failover would take. */
static uint64_t epoch_wanted(const struct node *n, const struct command *c)
{
	return c->keep_prepared && n->prep_ep ? n->prep_ep->number : n->committed;
}

/* What a failover now would drop, as far as it was received here; and the age of what it would take: by this node's own
 * clock, if it saw the commit. */
void failover_loss(const struct node *n, bool keep_prepared, uint64_t *bytes, uint64_t *ms)
{
	*bytes = n->lost_bytes + (n->cur_ep ? n->cur_ep->bytes : 0);
	if (n->prep_ep && !keep_prepared)
		*bytes += n->prep_ep->bytes;
	*ms = n->committed_ms ? n->now_ms - n->committed_ms :
		n->wall_ms > n->committed_wall_ms ? n->wall_ms - n->committed_wall_ms : 0;
}

void failover_command(struct node *n, struct command_req *r)
{
	const struct command *c = &r->cmd;

	if (n->role != NODE_BACKUP)
		command_reply(n, r, -EPERM, "failover is a backup's; this node is %s", node_mode(n));
	else if (n->failover)
		command_reply(n, r, -EBUSY, "a failover is under way");
	else if (!n->committed)
		command_reply(n, r, -EAGAIN, "no epoch was ever committed here: there is nothing to fail over to");
	else if (n->failed && !c->force)
		command_reply(n, r, -EIO, "this node is in mode failed (%s); `failover force` takes the committed state",
		              n->reason);
	else if (n->live >= 0 && !c->force)
		command_reply(n, r, -EBUSY, "the link to the primary is up; stop the primary first, or `failover force`");
	else if (c->have_epoch && c->epoch != epoch_wanted(n, c) && !n->com_ep)
		command_reply(n, r, -ESTALE, "epoch %" PRIu64 " is not the one here: epoch=%" PRIu64, c->epoch,
		              epoch_wanted(n, c));
	else if (n->com_ep && n->com_ep->part) /* what it would be given by force was not that when the order came */
		command_reply(n, r, -EBUSY, "a part of a resync in-place is becoming durable; try again");
	else if (n->st.rejoin == REJOIN_PART && !c->force)
		command_reply(n, r, -ESTALE, "a resync in-place has not come to its end: this copy is no epoch of its primary's; "
		              "`failover force` takes it as it is");
	else if (n->st.rejoin && !c->force)
		command_reply(n, r, -ESTALE, "this copy is older than its peer's until a sync from it is committed; `failover force` "
		              "takes it as it is");
	else if (n->journal.failed)
		command_reply(n, r, -EIO, JOURNAL_FAILED);
	else {
		n->failover = r;
		n->failover_took = false;
		r->started_ms = n->now_ms;
		n->failover_deadline_ms = n->now_ms + n->config.link_timeout_ms;
		n->failover_step = n->live >= 0 ? F_FENCE : F_COMMIT;
		if (n->live >= 0) {
			struct frame f = { .type = FRAME_FENCE };

			/* The primary is told first: it serves no more. */
			link_send(n, n->live, &f, NULL, 0);
		}
	}
}

static void promoted(struct command_req *r)
{
	struct node *n = r->owner;

	if (r->error)
		node_error(n, "the planned swap failed here: %s", r->reply);
}

/* PROMOTE: the primary is one no more, and says so durably; this copy is exactly its last epoch. */
int failover_promote(struct node *n, uint64_t epoch)
{
	if (epoch != n->committed || n->com_ep || n->prep_ep || n->failover || n->failed || n->st.rejoin)
		return -EPROTO;
	n->promote_req = (struct command_req){ .cmd = { .verb = CMD_FAILOVER, .drop_overlay = true }, .done = promoted,
		.owner = n };
	n->failover = &n->promote_req;
	n->failover_step = F_COMMIT;
	n->failover_took = false;
	return 0;
}

void failover_fenced(struct node *n)
{
	if (n->failover_step == F_FENCE)
		n->failover_step = F_COMMIT;
}

static void overlay_synced(struct journal_sync *s, int error)
{
	struct node *n = s->owner;
	struct state *st = &n->st;

	if (error) {
		struct command_req *r = n->failover;

		n->failover = NULL;
		n->failover_step = F_NONE;
		command_reply(n, r, -EIO, "the overlay cannot be made durable: %s; `failover drop-overlay` goes without it",
		              strerror(-error));
		return;
	}
	bool overlay = false;

	for (struct image *i = n->images; i; i = i->next)
		overlay |= i->overlay.extents || i->overlay_sized;
	st->overlay_first = overlay ? n->overlay_mark.lsn : 0;
	st->overlay_last = overlay ? n->overlay.next_lsn - 1 : 0;
	st->overlay_sum = n->overlay_mark.sum;
	st->overlay_slot = n->overlay_mark.slot;
	st->overlay_off = n->overlay_mark.off;
	st->overlay_incarnation = n->overlay.incarnation;
	if (st->overlay_first > st->overlay_last)
		st->overlay_first = st->overlay_last = 0;
	/* By force, from the middle of a resync in-place: an epoch of nobody's. The old primary's copy is not the older one. */
	uint64_t base = st->rejoin == REJOIN_PART ? 0 : n->committed;

	lineage_push(&st->lineage, random64(n), base, base);
	st->promoted = true;
	st->role = NODE_PRIMARY;
	st->had_peer = n->failover == &n->promote_req; /* a failover: nobody has this generation; a swap: the peer is level, and may be promoted */
	n->have_sets = !st->rejoin; /* from here on it is known what a peer at this epoch lacks */
	if (st->rejoin)
		own_forget(n);
	st->rejoin = REJOIN_NONE;
	st->demoted = false;
	st->epoch_high = st->epoch_high + EPOCH_AHEAD;
	n->failover_step = F_SAVE;
	n->failover_save.owner = n;
	/* One durable step: with it all of the failover is true, before it none. */
	node_save(n, &n->failover_save, taken);
}

static void overlay_step(struct node *n)
{
	if (MUTANT("failover-uncommitted") && n->cur_ep) {
		n->cur_ep->end = journal_mark(&n->journal);
		epoch_apply(n, n->cur_ep);
		epoch_seal(n, n->cur_ep);
		n->cur_ep = NULL;
	}
	if (n->failover->cmd.drop_overlay)
		twin_drop_overlay(n);
	n->failover_sync.owner = n;
	n->failover_sync.done = overlay_synced;
	n->failover_step = F_SAVE;
	if (n->overlay.failed || MUTANT("failover-no-fdatasync"))
		overlay_synced(&n->failover_sync, n->failover->cmd.drop_overlay ? 0 : n->overlay.failed);
	else
		journal_sync(&n->overlay, &n->failover_sync);
}

/* The peer lacks it. */
static void mark_overlay(struct image *img)
{
	struct extent e;

	for (uint64_t at = 0; map_find(&img->overlay, at, &e); at = e.off + e.len)
		dirty_mark(&img->miss, e.off, e.off < img->size ? e.len < img->size - e.off ? e.len : img->size - e.off : 1);
	if (img->overlay_sized && img->overlay_size > img->size)
		dirty_mark(&img->miss, img->size, img->overlay_size - img->size);
}

/* The overlay becomes the newest seal: no data is copied. */
static int seal_overlay(struct node *n)
{
	struct epoch *e = epoch_new(n->committed, n->st.session_high);
	bool any = false;

	if (!e)
		return -ENOMEM;
	for (struct image *i = n->images; i; i = i->next)
		if ((i->overlay.extents || i->overlay_sized) && !epoch_image(n, e, i)) {
			epoch_free(e);
			return -ENOMEM;
		}
	for (struct image *i = n->images; i; i = i->next) {
		if (!i->overlay.extents && !i->overlay_sized)
			continue;
		struct epimg *ei = epoch_image(n, e, i);

		mark_overlay(i);
		ei->map = i->overlay;
		map_init(&i->overlay, n->arena);
		if (i->overlay_sized) {
			ei->sized = true;
			ei->size = i->size = i->next_size = i->overlay_size;
			i->overlay_sized = false;
		}
		any = true;
	}
	if (!any) {
		epoch_free(e);
		return 0;
	}
	e->has_overlay = true;
	e->version = ++n->version;
	epoch_seal(n, e);
	n->overlay_bytes = 0;
	return 0;
}

static void taken(struct save *s, int error)
{
	struct node *n = s->owner;
	struct command_req *r = n->failover;
	char left_out[256] = "";

	n->failover = NULL;
	n->failover_step = F_NONE;
	if (error) {
		/* What the disk holds is unknown: neither role may be served. */
		node_fail(n, "failover: the state file cannot be written: %s", strerror(-error));
		command_reply(n, r, -EIO, "the state file cannot be written: %s; mount again to see which role it holds",
		              strerror(-error));
		return;
	}
	if (n->prep_ep) { /* the state says promoted: recovery drops it too */
		epoch_free(n->prep_ep);
		n->prep_ep = NULL;
		epoch_reset_views(n);
	}
	if (seal_overlay(n)) { /* the disk knows of it; to serve without the overlay would be a wrong answer */
		node_fail(n, "failover: out of memory");
		command_reply(n, r, -EIO, "promoted, but out of memory here: umount, and mount again");
		return;
	}
	if (n->journal.failed) { /* meanwhile; guests' writes have to go through it */
		node_fail(n, "promoted, but the journal failed: umount, mend its disk, and mount again");
		command_reply(n, r, -EIO, "%s", n->reason);
		return;
	}
	n->local_path = true;
	n->role = NODE_PRIMARY;
	n->failed = false; /* `force` from mode failed: the committed state is what is served */
	n->raised = true;
	n->acked_epoch = n->committed;
	n->acked_ms = n->committed_ms;
	n->cur.number = n->st.epoch_high;
	n->epoch_bound = n->st.epoch_high;
	for (struct image *i = n->images; i; i = i->next)
		if (i->direct && strlen(left_out) + strlen(i->next_name) + 2 < sizeof(left_out)) {
			strcat(left_out, *left_out ? "," : " left_out=");
			strcat(left_out, i->next_name[0] ? i->next_name : "?");
		}
	event(n, "failover", "\"epoch\": %" PRIu64 ", \"lost_bytes\": %" PRIu64 ", \"lost_ms\": %" PRIu64, n->committed,
	      n->failover_lost_bytes, n->failover_lost_ms);
	node_reason(n, "promoted by failover to epoch %" PRIu64, n->committed);
	node_log(n, LOG_LVL_WARN, "failover: epoch %" PRIu64 ", generation %016" PRIx64, n->committed,
	         n->st.lineage.generation);
	command_reply(n, r, 0, "done epoch=%" PRIu64 " lost_bytes=%" PRIu64 " lost_ms=%" PRIu64 " generation=%016" PRIx64 "%s",
	              n->committed, n->failover_lost_bytes, n->failover_lost_ms, n->st.lineage.generation, left_out);
}

void failover_pump(struct node *n)
{
	struct command_req *r = n->failover;

	if (!r)
		return;
	if (n->failover_step == F_FENCE && (n->live < 0 || n->now_ms >= n->failover_deadline_ms))
		n->failover_step = F_COMMIT;
	if (n->failover_step != F_COMMIT)
		return;
	failover_loss(n, true, &n->failover_lost_bytes, &n->failover_lost_ms);
	links_close(n, r == &n->promote_req ? 0 : REFUSE_BUSY);
	if (n->com_ep || n->twin_inflight)
		return; /* a commit in progress is let finish first */
	if (r->cmd.have_epoch && r->cmd.epoch != epoch_wanted(n, &r->cmd)) {
		n->failover = NULL;
		n->failover_step = F_NONE;
		command_reply(n, r, -ESTALE, "epoch %" PRIu64 " is not the one here: epoch=%" PRIu64, r->cmd.epoch,
		              epoch_wanted(n, &r->cmd));
		return;
	}
	if (r->cmd.keep_prepared && n->prep_ep && n->failover_took) {
		n->failover = NULL;
		n->failover_step = F_NONE;
		command_reply(n, r, -EIO, "the prepared epoch %" PRIu64 " cannot be taken: its journal has no room, or failed",
		              n->prep_ep->number);
		return;
	}
	if (r->cmd.keep_prepared && n->prep_ep) {
		n->failover_took = true; /* a commit of its own: the overlay, which belongs to the older state, goes */
		prepared_take(n);
		return;
	}
	if (n->journal.failed) { /* meanwhile: what guests write next would have to go through it */
		n->failover = NULL;
		n->failover_step = F_NONE;
		command_reply(n, r, -EIO, JOURNAL_FAILED);
		return;
	}
	failover_loss(n, false, &n->failover_lost_bytes, &n->failover_lost_ms);
	backup_drop_kept(n);
	n->failover_step = F_OVERLAY;
	overlay_step(n);
}

/* ---- drained ---- */

static void drained(struct save *s, int error)
{
	struct node *n = s->owner;

	n->drain_saving = false;
	if (error) {
		node_fail(n, "the state file cannot be written: %s", strerror(-error));
		return;
	}
	/* Durable: recovery will not replay the journal over what is written into the images from now on. */
	n->hold_local = n->local_path = false;
	journal_release(&n->journal, n->st.tail_lsn);
	node_log(n, LOG_LVL_INFO, "the journal is drained; writes go straight to the images");
}

void failover_drained_pump(struct node *n)
{
	if (n->role != NODE_PRIMARY || !n->local_path || n->drain_saving || n->seals || n->local || n->twin_inflight ||
	    !destage_clean(n) || n->reads || n->failed)
		return;
	if (!n->hold_local) {
		n->hold_local = true; /* none may begin between here and the record */
		return;
	}
	struct journal_mark m = journal_mark(&n->journal);

	n->st.tail_lsn = m.lsn;
	n->st.tail_sum = m.sum;
	n->st.tail_slot = m.slot;
	n->st.tail_off = m.off;
	n->st.promoted = false;
	n->drain_saving = true;
	n->drain_save.owner = n;
	node_save(n, &n->drain_save, drained);
}
