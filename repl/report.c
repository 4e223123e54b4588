/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One snapshot of a node for status, status.json and metrics. Reads only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

static void hex(char *dst, const uint8_t id[16], bool have)
{
	dst[0] = 0;
	for (int i = 0; have && i < 16; i++)
		snprintf(dst + 2 * i, 3, "%02x", id[i]);
}

/* What the peer has not committed, or not at all. */
static uint64_t missing(const struct image *i)
{
	return dirty_bytes_of((const struct dirty *const[]){ &i->miss, &i->cur, &i->com, &i->bad, &i->differ }, 5, i->size);
}

static void image_status(const struct node *n, const struct image *i, struct status_image *s)
{
	const char *name = i->name[0] ? i->name : i->next_name;
	bool backup = n->role == NODE_BACKUP;

	snprintf(s->name, sizeof(s->name), "%s", name);
	s->size = backup ? (i->consistent ? twin_size(i) : i->next_size) : i->size;
	s->open = i->opens;
	s->sync_eta_s = -1;
	if (backup) {
		s->state = i->consistent && n->st.rejoin ? n->live >= 0 ? 1 : 2 : i->consistent ? 0 : i->direct && n->live >= 0 ? 1 : 2;
		return;
	}
	uint64_t size = i->size;

	s->dirty_bytes = n->st.have_pair ? missing(i) : 0;
	s->syncing = n->sync_state != SYNC_IDLE && primary_mirrors(n);
	s->state = s->syncing && (i->miss.blocks || i->miss.all) ? 1 : 0;
	if (!s->syncing)
		return;
	uint64_t left = dirty_bytes(&i->miss, size), ms = n->now_ms - n->sync_started_ms;

	s->sync_total = i->sync_total;
	s->sync_done = left < i->sync_total ? i->sync_total - left : 0;
	s->sync_rate = ms ? s->sync_done * 1000 / ms : 0;
	s->sync_eta_s = s->sync_rate ? (int64_t)((s->sync_total - s->sync_done) / s->sync_rate) : -1;
}

static void images_status(const struct node *n, struct status *s)
{
	s->images = calloc(n->image_count ? n->image_count : 1, sizeof(*s->images));
	for (const struct image *i = n->images; i && s->images; i = i->next)
		if (i->visible || i->direct)
			image_status(n, i, &s->images[s->image_count++]);
}

static enum status_link link_state(const struct node *n)
{
	if (n->live >= 0)
		return n->role == NODE_PRIMARY && (n->sync_state != SYNC_IDLE || !n->protected_) ? SL_SYNCING : SL_UP;
	for (int i = 0; i < LINKS_MAX; i++)
		if (n->links[i].state != PL_FREE && n->links[i].state != PL_PARKED)
			return SL_HANDSHAKE;
	if (n->apart || n->role == NODE_UNPROTECTED || (!n->config.can_dial && !n->config.can_accept))
		return SL_OFF;
	return SL_CONNECTING;
}

static bool differs(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->differ.blocks || i->differ.all)
			return true;
	return false;
}

static void advice(const struct node *n, struct status *s)
{
	const char *text = "";

	if (n->stale)
		text = "This copy is older than its peer's: stop its guest, then `discard-local` makes it the backup.";
	else if (n->role == NODE_BACKUP && n->st.rejoin == REJOIN_PART)
		text = "A resync in-place has not come to its end: this copy is no epoch of the primary's, is not served, and cannot "
		       "take over. The primary goes on with it by itself.";
	else if (n->role == NODE_BACKUP && n->st.rejoin)
		text = "This copy may hold writes of its own: it is brought level by the primary, and not served before.";
	else if (n->failed)
		text = "Mend the cause, umount and mount again; or `failover force` to take the committed state.";
	else if (n->journal_lost)
		text = "The journal that SOURCE names is not there: umount, and mount with the journal= it had; "
		       "if it is gone for good, the primary sends everything again.";
	else if (link_turns(n) || (n->turns && link_parked(n)))
		text = "Two nodes with the same id take turns: was SOURCE copied with its .colofs? Umount the copy, and remove .colofs "
		       "from it.";
	else if (n->live < 0 && link_parked(n))
		text = "The two nodes refuse each other, and no time will mend that: see the reason. It is tried again when one of "
		       "them is mounted anew or changes its role, or by `connect`.";
	else if (n->destage_full)
		text = "SOURCE's file system is full: make room, the journal waits for it.";
	else if (suspend_holds(n))
		text = "The guest's writes or fsyncs are held until a peer mirrors them: bring the backup back; `continue` goes on without one.";
	else if (n->role == NODE_PRIMARY && n->live < 0)
		text = "No peer holds the guest's writes. Check the backup and the network; it reconnects by itself.";
	else if (differs(n))
		text = "verify found blocks that differ; `resync` sends them again.";
	else if (n->role == NODE_PRIMARY && n->unfit)
		text = "What the peer lacks does not fit its journal: give that a larger journal-size (`set` there, or mount it anew); or "
		       "`resync in-place` here: then the peer is inconsistent, and cannot take over, until its end.";
	else if (n->role == NODE_BACKUP && n->live < 0 && n->committed)
		text = "If the primary's host is dead for certain, `failover` makes this node writable.";
	else if (n->role == NODE_PRIMARY && n->sync_state == SYNC_COMMIT && n->peer_overlay)
		text = "The sync is complete; the next `flush` commits it and drops the backup's overlay.";
	snprintf(s->advice, sizeof(s->advice), "%s", text);
}

static void backup_status(const struct node *n, struct status *s)
{
	s->not_level = n->st.rejoin;
	s->epoch_committed = n->committed;
	s->epoch_current = n->cur_ep ? n->cur_ep->number : n->committed + (n->committed > 0);
	uint64_t age_ms;

	failover_loss(n, false, &s->lost_bytes, &age_ms);
	s->committed_age_ms = n->committed && (n->committed_ms || n->committed_wall_ms) ? (int64_t)age_ms : -1;
	snprintf(s->epoch_name, sizeof(s->epoch_name), "%s", n->committed_name);
	if (n->cur_ep) {
		s->uncommitted_bytes = n->cur_ep->bytes;
		s->uncommitted_writes = n->cur_ep->writes;
	}
	s->epoch_prepared = n->prep_ep ? n->prep_ep->number : 0;
}

static void primary_status(const struct node *n, struct status *s)
{
	s->epoch_current = n->cur.number;
	s->not_level = n->peer_part;
	s->epoch_committed = n->acked_epoch;
	s->epoch_prepared = n->prep ? n->com.number : 0;
	s->committed_age_ms = n->acked_ms ? (int64_t)(n->now_ms - n->acked_ms) : -1;
	snprintf(s->epoch_name, sizeof(s->epoch_name), "%s", n->acked_name);
	s->uncommitted_bytes = n->cur.bytes + (n->com_active ? n->com.bytes : 0);
	s->uncommitted_writes = n->cur.writes + (n->com_active ? n->com.writes : 0);
	for (const struct image *i = n->images; i && n->st.have_pair; i = i->next)
		s->pending_bytes += dirty_bytes(&i->miss, i->size);
	for (const struct image *i = n->images; i && n->st.have_pair; i = i->next)
		s->lost_bytes += missing(i);
	s->pending_bytes += n->sendq_bytes;
	for (const struct guest_io *g = n->held; g; g = g->next)
		s->pending_writes++;
	for (const struct guest_io *g = n->sendq; g; g = g->next)
		s->pending_writes++;
}

void node_status(struct node *n, struct status *s)
{
	static const char *const roles[] = { "unprotected", "primary", "backup" };

	memset(s, 0, sizeof(*s));
	s->version = n->config.version;
	snprintf(s->source, sizeof(s->source), "%s", n->source);
	snprintf(s->mode, sizeof(s->mode), "%s", node_mode(n));
	snprintf(s->role, sizeof(s->role), "%s", roles[n->role]);
	s->is_protected = n->protected_;
	s->generation = n->st.lineage.generation;
	snprintf(s->reason, sizeof(s->reason), "%s", n->reason);
	hex(s->pair, n->st.pair, n->st.have_pair);
	hex(s->node, n->id, true);
	s->link = link_state(n);
	snprintf(s->peer_addr, sizeof(s->peer_addr), "%s", n->peer_text);
	snprintf(s->tls, sizeof(s->tls), "%s", n->live >= 0 ? n->peer_tls : "");
	s->rtt_us = n->rtt_us;
	s->since_ms = n->now_ms - n->link_since_ms;
	s->have_peer = n->peer_known;
	s->peer_generation = n->peer_generation;
	s->peer_epoch = n->peer_epoch;
	if (n->role == NODE_BACKUP)
		backup_status(n, s);
	else
		primary_status(n, s);
	if (n->env->ops->send_state)
		n->env->ops->send_state(n->env, n->live, &s->send_used, &s->send_limit, &s->send_drain_ms);
	s->buffered = n->env->ops->buffered && n->env->ops->buffered(n->env);
	if (n->have_journal) {
		s->journal_used = journal_used(&n->journal);
		s->journal_limit = (uint64_t)n->journal.slot_limit * n->journal.segment_size;
		for (const struct epoch *e = n->seals; e; e = e->older)
			s->journal_sealed++;
		s->overlay_bytes = n->overlay_bytes;
		s->overlay_limit = n->config.overlay_size;
	}
	if (n->config.can_fence)
		s->fence = fence_state(n, &s->fence_why);
	s->fence_runs = n->fence_runs;
	snprintf(s->fence_last, sizeof(s->fence_last), "%s", n->fence_last);
	s->start_alone = n->config.start_alone;
	s->verifying = n->verify.req;
	s->verify_done = n->verify.done;
	s->verify_total = n->verify.total;
	s->verify_differ = n->verify.differ;
	images_status(n, s);
	advice(n, s);
	snprintf(s->last_error, sizeof(s->last_error), "%s", n->last_error);
	s->last_error_age_ms = n->now_ms - n->last_error_ms;
	s->counters = n->counters;
}
