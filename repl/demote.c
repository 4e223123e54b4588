/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From primary to backup, in place: an ex-primary whose peer was promoted, a
 * copy that lost a split brain, a planned swap. Guests' requests are parked,
 * what is under way ends, the image files are made durable, and one save of
 * the state makes this node a backup; only then it behaves as one. A copy that
 * may hold writes of its own is `rejoin`ing: it is not served, and not
 * promoted without force, until a commit has brought it level.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

enum { D_NONE, D_QUIESCE, D_SYNC, D_SAVE };

void demote_park(struct node *n, struct guest_io *g)
{
	g->next = NULL;
	*n->parked_tail = g;
	n->parked_tail = &g->next;
	n->parked_count++;
}

/* Those that waited go the way of the role that is now. */
static void unpark(struct node *n)
{
	struct guest_io *list = n->parked;

	n->parked = NULL;
	n->parked_tail = &n->parked;
	n->parked_count = 0;
	while (list) {
		struct guest_io *g = list;

		list = g->next;
		n->guests_busy--; /* counted again */
		node_guest(n, g);
	}
}

bool node_open_for_writing(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->write_opens)
			return true;
	return false;
}

static void demote_begin(struct node *n, enum rejoin rejoin, void (*done)(struct node *n, int error))
{
	n->demote_step = D_QUIESCE;
	n->demote_rejoin = (uint8_t)rejoin;
	n->demote_done = done;
}

static void primary_retire(struct node *n)
{
	commit_reply_all(n, &n->flushes, -EPERM, "this node is a backup now");
	commit_reply_all(n, &n->resyncs, -EPERM, "this node is a backup now");
	commit_reply_all(n, &n->settlers, -ETIMEDOUT, "this node is a backup now; what became of the epoch its peer decided");
	commit_reply_all(n, &n->waiters, -ETIMEDOUT, "this node is a backup now; what became of the epoch its peer decided");
	n->unfit_until_ms = n->refused_wait_ms = 0;
	n->sync_work = n->sync_turn = n->peer_wants = n->want_cut = n->written_since_cut = n->alone = false;
	n->protected_ = n->com_active = n->doubt_valid = n->settling = false;
	n->prep = PREP_NONE;
	n->sync_state = SYNC_IDLE;
	n->in_place = n->peer_part = n->com_part = false;
	n->unfit = n->unfit_told = n->catching_up = n->have_sets = n->go_on = false;
	n->raised = n->stale = n->failed = false;
	if (n->own)
		own_keep(n);
	n->activity.stands_in = false;
	n->peer_met = n->peer_left = n->level = false; /* no failover by itself before a primary was met */
	n->dir_touched = n->dir_touched_com = false;
	for (struct image *i = n->images; i; i = i->next) {
		if (!n->own)
			dirty_free(&i->miss);
		dirty_free(&i->cur);
		dirty_free(&i->com);
		dirty_free(&i->bad);
		dirty_free(&i->differ);
		i->touched = i->touched_com = i->hash = i->fresh = false;
		i->sync_failed = 0;
		i->unsynced = 0;
		i->next_visible = i->visible;
		i->next_size = i->size;
		memcpy(i->next_name, i->name, sizeof(i->next_name));
		i->direct = i->committing = i->foreign = false;
		i->consistent = i->visible;
		if (!i->overlay.arena)
			map_init(&i->overlay, n->arena);
	}
}

static void end(struct node *n, int error)
{
	void (*done)(struct node *n, int error) = n->demote_done;

	/* Not yet: of a planned swap nothing was done; a copy that is older, or discarded, is served no more. */
	bool harmless = n->demote_step == D_QUIESCE || (n->demote_step == D_SYNC && n->switching);

	n->demote_step = D_NONE;
	if (error && !harmless)
		node_fail(n, "cannot become a backup: %s; umount and mount again to see which role SOURCE has",
		          strerror(-error));
	n->demote_done = NULL;
	if (done)
		done(n, error);
	unpark(n);
}

static void saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (error) {
		end(n, error);
		return;
	}
	n->role = NODE_BACKUP;
	n->committed = n->st.epoch;
	n->committed_ms = n->acked_ms;
	n->committed_wall_ms = n->st.epoch_wall_ms;
	memcpy(n->committed_name, n->acked_name, sizeof(n->committed_name));
	primary_retire(n);
	restore_start_empty(n);
	node_reason(n, n->st.rejoin ? "the peer was promoted: this copy joins it as backup" :
	            "demoted by switchover: waiting for the new primary");
	node_log(n, LOG_LVL_WARN, "this node is a backup now, at epoch %" PRIu64, n->committed);
	end(n, 0);
}

/* PROMOTE: the peer ends the link, and comes back as primary. */
static void tell_peer(struct node *n, uint64_t epoch)
{
	struct frame f = { .type = FRAME_PROMOTE, .epoch = epoch, .session = n->session };

	link_send(n, n->live, &f, NULL, 0);
}

static void save(struct node *n)
{
	struct state *st = &n->st;
	int err = n->destage ? 0 : restore_open_empty(n); /* open already: it was a backup, or a save failed */

	if (!err && n->switching && n->live < 0)
		err = -ENOTCONN;
	if (err) {
		end(n, err);
		return;
	}
	n->demote_step = D_SAVE;
	st->role = NODE_BACKUP;
	st->demoted = true;
	st->rejoin = n->demote_rejoin;
	st->epoch = st->rejoin_epoch = n->acked_epoch > st->epoch ? n->acked_epoch : st->epoch;
	memcpy(st->epoch_name, n->acked_name, sizeof(st->epoch_name));
	st->epoch_wall_ms = n->acked_ms ? n->wall_ms - (n->now_ms - n->acked_ms) : st->epoch_wall_ms;
	st->shared_generation = n->offered = 0;
	n->own = st->rejoin && own_known(n, &n->own_epoch);
	if (!own_mapped(n)) /* a backup's writes pass it by; an ex-primary's are in it */
		st->activity = 0;
	memset(&st->adopting, 0, sizeof(st->adopting));
	if (MUTANT("switch-told-early") && n->switching)
		tell_peer(n, st->epoch);
	/* One durable step: with it this node is a backup. */
	node_save(n, &n->demote_save, saved);
}

static void one_synced(struct node *n, int error)
{
	n->ios_busy--;
	if (error && !n->demote_error)
		n->demote_error = error;
	if (--n->demote_syncs)
		return;
	if (n->demote_error)
		end(n, n->demote_error);
	else
		save(n);
}

/* Whatever the role will be: a later fdatasync that succeeds proves nothing any more. */
static void image_synced(struct io *io)
{
	struct image *img = io->owner;

	if (io->result)
		image_sync_failed(img, io->result);
	one_synced(img->node, img->sync_failed);
}

static void dir_synced(struct io *io)
{
	one_synced(io->owner, io->result);
}

/* What the state will say of the files is durable in them first. */
static void sync_files(struct node *n)
{
	n->demote_step = D_SYNC;
	n->demote_error = 0;
	n->demote_syncs = 1;
	for (struct image *i = n->images; i; i = i->next) {
		if (!i->file)
			continue;
		n->demote_syncs++;
		i->sync_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = i->id, .done = image_synced, .owner = i };
		submit(n, &i->sync_io);
	}
	n->dir_io = (struct io){ .op = IO_DIRSYNC, .kind = FILE_IMAGE, .done = dir_synced, .owner = n };
	submit(n, &n->dir_io);
}

void demote_pump(struct node *n)
{
	if (n->demote_step == D_QUIESCE && n->switching && n->live < 0) {
		end(n, -ENOTCONN); /* nobody would take over */
		return;
	}
	if (n->demote_step != D_QUIESCE || n->com_active || n->activity.busy || n->activity.revoking ||
	    n->guests_busy > n->parked_count || n->ios_busy || n->saving || n->com_syncs || n->sync_busy || n->verify.busy || n->local_path || n->reads)
		return;
	sync_files(n);
}

/* ---- the peer was promoted ---- */

static void rejoined(struct node *n, int error)
{
	link_changed(n); /* a refusal for good was about the role that was */
	if (n->start_wait) {
		n->start_wait = false;
		node_started(n, error, error ? "this copy cannot become a backup" : "");
	}
}

/*
 * The peer was promoted, and this copy is older. It joins as backup by itself if nobody can lose anything by that: it
 * wrote nothing alone (pair_judge() would have called that a split brain; who is fenced was not judged) and no image is
 * open for writing.
 */
void demote_stale(struct node *n, bool fenced)
{
	if (n->role != NODE_PRIMARY || n->demote_step)
		return;
	n->stale = true;
	if (node_open_for_writing(n) || (fenced && n->raised)) {
		node_fail(n, "the peer was promoted: this copy is older (ESTALE)%s; close the images and `discard-local` makes it "
		          "the backup", fenced && n->raised ? ", and was written alone" : "");
		return;
	}
	demote_begin(n, REJOIN_OLDER, rejoined);
}

static void discarded(struct node *n, int error)
{
	struct command_req *r = n->demote_req;

	n->demote_req = NULL;
	n->apart &= error != 0;
	rejoined(n, error);
	if (!r)
		return; /* interrupted */
	if (error)
		command_reply(n, r, -EIO, "%s", n->reason);
	else
		command_reply(n, r, 0, "done");
}

static void discard_saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (error)
		node_fail(n, "discard-local: the state file cannot be written: %s", strerror(-error));
	else
		node_reason(n, "discarded by order: this copy waits for the primary");
	discarded(n, error);
}

void demote_discard(struct node *n, struct command_req *r)
{
	if (n->role == NODE_UNPROTECTED || !n->st.have_pair)
		command_reply(n, r, -EPERM, "this node has no pair");
	else if (n->live >= 0)
		command_reply(n, r, -EBUSY, "the link is up: there is nothing to discard; `disconnect` first");
	else if (n->demote_step || n->demote_req || n->failover || n->switching || n->com_ep)
		command_reply(n, r, -EBUSY, "the role is changing, or a commit is ending; try again");
	else if (node_open_for_writing(n))
		command_reply(n, r, -EBUSY, "an image is open for writing: stop the guest first");
	else if (n->role == NODE_BACKUP) {
		n->demote_req = r;
		n->st.rejoin = REJOIN_DISCARD;
		n->st.rejoin_epoch = n->committed; /* the journal may hold epochs up to this: they end nothing */
		node_save(n, &n->demote_save, discard_saved);
	} else {
		n->demote_req = r;
		demote_begin(n, REJOIN_DISCARD, discarded);
	}
}

/* ---- switchover ---- */

enum { S_NONE, S_QUIET, S_FLUSH, S_DEMOTE, S_PROMOTE };

#define TWO_BACKUPS "the link was lost in the middle: both nodes are backups at the same epoch; `failover` on the peer"

static void switch_end(struct node *n, int error, const char *why)
{
	struct command_req *r = n->switch_req;

	n->switching = S_NONE;
	n->switch_req = NULL;
	if (error)
		node_error(n, "switchover: %s", why);
	if (r && error)
		command_reply(n, r, error, "%s", why);
	else if (r)
		command_reply(n, r, 0, "done epoch=%" PRIu64 " generation=%016" PRIx64 " ms=%" PRIu64, n->committed,
		              n->peer_generation, n->now_ms - r->started_ms);
	if (!n->demote_step)
		unpark(n);
}

/* What this node could not read, or verify found unequal, the peer lacks, and a swap would lose. */
static const struct image *switch_differs(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible && (i->bad.blocks || i->bad.all || i->differ.blocks || i->differ.all))
			return i;
	return NULL;
}

void switch_command(struct node *n, struct command_req *r)
{
	r->started_ms = n->now_ms;
	if (n->role != NODE_PRIMARY)
		command_reply(n, r, -EPERM, "switchover is the primary's; this node is %s", node_mode(n));
	else if (!primary_mirrors(n))
		command_reply(n, r, -ENOTCONN, "no peer is connected");
	else if (!n->protected_)
		command_reply(n, r, -EBUSY, "a sync is running: the peer is not level yet");
	else if (switch_differs(n))
		command_reply(n, r, -EBUSY, "image %s: the peer's copy is not known to be equal; `resync full` first",
		              switch_differs(n)->name);
	else if (n->prep || (n->com_active && n->com_prepare))
		command_reply(n, r, -EBUSY, "an epoch is prepared: commit or abort it first");
	else if (n->switching || n->demote_step || n->verify.req)
		command_reply(n, r, -EBUSY, n->switching ? "a switchover is under way" : "a verify is running");
	else if (node_open_for_writing(n))
		command_reply(n, r, -EBUSY, "an image is open for writing here: stop the guest first");
	else {
		n->switch_req = r;
		n->switch_deadline_ms = n->now_ms + n->config.flush_timeout_ms;
		n->switching = S_QUIET;
	}
}

static void flushed(struct command_req *r)
{
	struct node *n = r->owner;

	if (n->switching != S_FLUSH)
		return;
	if (r->error) {
		switch_end(n, r->error, "the flush before the swap failed; nothing was changed");
		return;
	}
	n->switching = S_DEMOTE;
}

bool demote_cuts(const struct node *n)
{
	return !n->demote_step && n->switching < S_DEMOTE;
}

/* Durably a backup: two of them are safe, two primaries are not. Only now the peer is told. */
static void swapped(struct node *n, int error)
{
	if (error == -ENOTCONN) {
		switch_end(n, error, "the link was lost before the swap; nothing was changed");
		return;
	}
	if (error) {
		char why[sizeof(n->reason)];

		snprintf(why, sizeof(why), "this node cannot become a backup: %s; nothing was changed", strerror(-error));
		switch_end(n, -EIO, n->failed ? n->reason : why);
		return;
	}
	n->switching = S_PROMOTE;
	if (n->live >= 0)
		tell_peer(n, n->committed);
	else
		switch_end(n, -EIO, TWO_BACKUPS);
}

/* A HELLO of the peer says what became of the order. */
void switch_peer_is(struct node *n, const struct hello *peer)
{
	if (n->switching != S_PROMOTE || n->role != NODE_BACKUP)
		return;
	n->peer_generation = peer->lineage.generation;
	if (peer->role == NODE_PRIMARY)
		switch_end(n, 0, NULL);
	else
		switch_end(n, -EIO, TWO_BACKUPS);
}

/* The command is interrupted: the swap goes on, unless nothing has begun. */
bool demote_cancel(struct node *n, struct command_req *r)
{
	if (!r || (r != n->switch_req && r != n->demote_req))
		return false;
	if (n->switching == S_QUIET) {
		switch_end(n, -EINTR, "interrupted; nothing was changed");
		return true;
	}
	n->switch_req = n->switch_req == r ? NULL : n->switch_req;
	n->demote_req = n->demote_req == r ? NULL : n->demote_req;
	command_reply(n, r, -EINTR, "interrupted; the role may still change");
	return true;
}

void switch_pump(struct node *n)
{
	bool late = n->now_ms >= n->switch_deadline_ms;

	if (!n->switching)
		return;
	if (n->switching == S_QUIET && (late || n->stopping))
		switch_end(n, late ? -ETIMEDOUT : -EINTR, "guests' requests did not end; nothing was changed");
	else if (n->switching == S_QUIET && n->guests_busy <= n->parked_count) {
		n->switching = MUTANT("switch-unflushed") ? S_DEMOTE : S_FLUSH;
		if (n->switching == S_DEMOTE)
			return;
		n->switch_flush = (struct command_req){ .cmd = { .verb = CMD_FLUSH, .name = "switchover" }, .done = flushed,
			.owner = n };
		commit_flush(n, &n->switch_flush);
	} else if (n->switching == S_DEMOTE && !n->demote_step) {
		if (n->live < 0)
			switch_end(n, -ENOTCONN, "the link was lost before the swap; nothing was changed");
		else
			demote_begin(n, REJOIN_NONE, swapped);
	} else if (n->switching == S_PROMOTE && (late || n->stopping)) {
		switch_end(n, late ? -ETIMEDOUT : -EINTR, "this node is a backup now, and the peer was not seen as primary yet; "
		           "if it stays a backup: `failover` there");
	}
}
