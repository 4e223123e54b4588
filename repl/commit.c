/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A primary's epochs. A cut ends the current one: COMMIT goes into the stream
 * where the cut is, and while the peer makes its journal durable, this node
 * waits for the epoch's image writes and fdatasyncs what they touched. Both
 * are needed for `done`. Flushes that come meanwhile share the next commit.
 */
#include <inttypes.h>
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "mutant.h"

#define REFUSED_WAIT_MIN_MS 1000u
#define REFUSED_WAIT_MAX_MS 30000u

static void finish(struct node *n);

void commit_append(struct command_req **list, struct command_req *r)
{
	while (*list)
		list = &(*list)->next;
	r->next = NULL;
	*list = r;
}

static bool take_out(struct command_req **list, struct command_req *r)
{
	for (; *list; list = &(*list)->next)
		if (*list == r) {
			*list = r->next;
			return true;
		}
	return false;
}

void commit_flush(struct node *n, struct command_req *r)
{
	r->started_ms = n->now_ms;
	r->deadline_ms = n->now_ms + n->config.flush_timeout_ms;
	if (n->role != NODE_PRIMARY) {
		command_reply(n, r, -EPERM, "flush and prepare are the primary's; this node is %s", node_mode(n));
	} else if (n->failed) {
		command_reply(n, r, -EIO, "this node is in mode failed: %s", n->reason);
	} else if (!primary_mirrors(n)) {
		command_reply(n, r, -ENOTCONN, "no peer is connected; the guest's writes are on this node alone");
	} else if (n->unfit) {
		command_reply(n, r, -ENOSPC, "%s", n->reason);
	} else if (r->cmd.verb == CMD_PREPARE && n->config.commit_fsync) {
		command_reply(n, r, -EPERM, "prepare and commit=fsync exclude each other");
	} else if (n->prep || (n->com_active && n->com_prepare)) {
		command_reply(n, r, -EBUSY, "epoch %" PRIu64 " is prepared: `commit %" PRIu64 "` or `abort %" PRIu64 "` first",
		              n->com.number, n->com.number, n->com.number);
	} else {
		commit_append(&n->flushes, r);
	}
}

void commit_cancel(struct node *n, struct command_req *r)
{
	bool resync = take_out(&n->resyncs, r);

	n->in_place &= !resync || !r->cmd.in_place || n->peer_part; /* no part is under way: nor will one be */
	if (resync || take_out(&n->flushes, r) || take_out(&n->flushing, r) || take_out(&n->settlers, r) ||
	    take_out(&n->waiters, r))
		command_reply(n, r, -EINTR, "interrupted; the commit may still happen");
}

/* ---- both halves of a commit ---- */

void commit_reply_all(struct node *n, struct command_req **list, int error, const char *why)
{
	while (*list) {
		struct command_req *r = *list;

		*list = r->next;
		if (!error)
			command_reply(n, r, 0, "%s epoch=%" PRIu64 " name=%s bytes=%" PRIu64 " ms=%" PRIu64, why, n->com.number,
			              n->com_name, n->com.bytes, n->now_ms - r->started_ms);
		else if (r->epoch)
			command_reply(n, r, error, "%s epoch=%" PRIu64, why, r->epoch);
		else
			command_reply(n, r, error, "%s", why);
	}
}

static void shared_saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (!primary_mirrors(n))
		return;
	if (error) { /* not protected by what the disk does not know of: the next session tries again */
		link_drop(n, n->live, "the state file cannot be written");
		return;
	}
	n->raised = false;
	n->have_sets = true;
	if (n->sync_state != SYNC_IDLE)
		return; /* a resync was ordered meanwhile: its end is that of all */
	n->protected_ = true;
	n->link_since_ms = n->now_ms;
	node_reason(n, "every write is mirrored to the peer");
	node_log(n, LOG_LVL_INFO, "protected: the peer holds epoch %" PRIu64, n->acked_epoch);
	while (n->resyncs) {
		struct command_req *r = n->resyncs;

		n->resyncs = r->next;
		command_reply(n, r, 0, "done epoch=%" PRIu64 " bytes=%" PRIu64 " ms=%" PRIu64, n->acked_epoch, n->sync_bytes,
		              n->now_ms - r->started_ms);
	}
}

/* The commit that ended a sync: from here on the peer is a whole copy of this lineage. */
static void sync_committed(struct node *n)
{
	n->sync_state = SYNC_IDLE;
	n->sync_keep = n->in_place = false;
	n->part_room = 0;
	n->st.epoch = n->acked_epoch;
	for (struct image *i = n->images; i; i = i->next) {
		i->hash = i->fresh = i->compare = false;
		i->consistent_on_peer = true;
	}
	node_save(n, &n->shared_save, shared_saved);
	activity_begin(n);
}

/* ---- commit=fsync ---- */

/* A guest's fsync is answered by the next commit. */
void commit_fsync(struct node *n, struct guest_io *g)
{
	g->deadline_ms = n->now_ms + n->config.flush_timeout_ms;
	g->next = n->fsyncs;
	n->fsyncs = g;
}

static void fsyncs_committed(struct node *n, int error)
{
	while (n->fsyncing) {
		struct guest_io *g = n->fsyncing;

		n->fsyncing = g->next;
		guest_finish(n, g, error);
	}
}

/* No commit in time: this node's disk alone counts. The guest gets no error because of the peer. With suspend they wait
 * for the next commit. */
static void fsyncs_alone(struct node *n, struct guest_io **list, bool late_only)
{
	if (suspend_fsync(n)) {
		struct guest_io **end = &n->fsyncs;

		if (late_only || list == end)
			return;
		while (*end)
			end = &(*end)->next;
		*end = *list;
		*list = NULL;
		return;
	}
	while (*list) {
		struct guest_io *g = *list;

		if (late_only && n->now_ms < g->deadline_ms) {
			list = &g->next;
			continue;
		}
		*list = g->next;
		if (suspend_ends(n) && n->config.suspend && n->config.commit_fsync && !primary_mirrors(n))
			guest_finish(n, g, -EIO); /* held until the end */
		else
			local_sync(n, g);
	}
}

/* Epoch com is durable on both nodes and taken by the peer. */
void commit_taken(struct node *n)
{
	n->acked_epoch = n->com.number;
	n->acked_ms = n->now_ms;
	n->peer_epoch = n->com.number;
	n->peer_generation = n->st.lineage.generation;
	memcpy(n->acked_name, n->com_name, sizeof(n->acked_name));
	for (struct image *i = n->images; i; i = i->next) {
		/* DONE(N) drops set N and no other; when only this node's disk failed, too: the peer has it. */
		dirty_free(&i->com);
		if (MUTANT("one-dirty-set"))
			dirty_free(&i->cur);
	}
	activity_committed(n);
	n->counters.commits_total++;
	n->counters.commit_errors_total += n->com_error != 0;
	n->counters.commit_last_us = (n->now_ms - n->com_started_ms) * 1000;
	n->refused_wait_ms = n->com_error ? n->refused_wait_ms : 0;
	if (!n->com_part)
		twophase_verdict(n, n->com_error ? -EIO : 0);
	event(n, "commit", "\"epoch\": %" PRIu64 ", \"name\": \"%s\", \"bytes\": %" PRIu64 ", \"ms\": %" PRIu64 "%s", n->com.number,
	      n->com_name, n->com.bytes, n->now_ms - n->com_started_ms, n->com_part ? ", \"part\": true" : "");
	fsyncs_committed(n, n->com_error ? -EIO : 0);
}

static void finish(struct node *n)
{
	bool sync = n->com_was_sync;

	if (!n->com_active || !n->com_local || !n->com_remote)
		return;
	n->com_active = n->com_was_sync = false;
	if (n->com_prepare) {
		twophase_prepared(n);
		return;
	}
	commit_taken(n);
	if (n->com_part && !MUTANT("part-answers-flush")) {
		part_committed(n);
		return;
	}
	n->peer_part = false;
	if (n->com_error)
		commit_reply_all(n, &n->flushing, -EIO, "this node's disk failed to make the epoch durable");
	else
		commit_reply_all(n, &n->flushing, 0, "done");
	if (sync)
		sync_committed(n);
}

static void image_synced(struct io *io)
{
	struct image *img = io->owner;
	struct node *n = img ? img->node : NULL;

	n->ios_busy--;
	if (io->result)
		image_sync_failed(img, io->result);
	if (img->sync_failed && !n->com_error) /* perhaps another one's, which this one only followed */
		n->com_error = img->sync_failed;
	if (--n->com_syncs == 0) {
		/* Every write of the epoch is durable here. */
		n->com_local = true;
		finish(n);
	}
}

static void dir_synced(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (io->result && !n->com_error)
		n->com_error = io->result;
	n->dir_touched |= io->result != 0; /* the next commit does it again */
	if (--n->com_syncs == 0) {
		n->com_local = true;
		finish(n);
	}
}

static void local_begin(struct node *n)
{
	n->com_syncs = 1;
	for (struct image *i = n->images; i; i = i->next) {
		if (i->sync_failed && !n->com_error)
			n->com_error = i->sync_failed;
		if (!i->touched_com)
			continue;
		i->touched_com = false;
		if (MUTANT("no-primary-fdatasync"))
			continue;
		n->com_syncs++;
		n->counters.image_fdatasyncs_total++;
		i->sync_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = i->id, .done = image_synced, .owner = i };
		submit(n, &i->sync_io);
	}
	if (n->dir_touched_com) {
		n->dir_touched_com = false;
		n->com_syncs++;
		n->dir_io = (struct io){ .op = IO_DIRSYNC, .kind = FILE_IMAGE, .done = dir_synced, .owner = n };
		submit(n, &n->dir_io);
	}
	if (--n->com_syncs == 0) {
		n->com_local = true;
		finish(n);
	}
}

/* An image write numbered in `epoch` is on its file, or failed. */
void commit_write_done(struct node *n, uint64_t epoch)
{
	if (n->com_active && epoch <= n->com.number) {
		if (--n->com.inflight == 0 && !n->com_local && !n->com_syncs)
			local_begin(n);
	} else {
		n->cur.inflight--;
	}
}

/* DONE, or PREPARED. */
void commit_done(struct node *n, uint64_t epoch, bool prepared)
{
	if (!prepared && n->prep) {
		twophase_done(n, epoch, true);
		return;
	}
	if (!n->com_active || epoch != n->com.number || n->com_remote || prepared != n->com_prepare) {
		node_error(n, "the peer confirmed epoch %" PRIu64 ", which is not outstanding; ignored", epoch);
		return;
	}
	n->com_remote = true;
	finish(n);
}

/* ---- the cut ---- */

static void send_commit(struct node *n)
{
	uint8_t payload[8 + 64];
	struct putter p = putter_init(payload, sizeof(payload));
	struct frame f = { .type = n->com_prepare ? FRAME_PREPARE : FRAME_COMMIT,
		.flags = n->com_part ? FRAME_F_PART : 0, .epoch = n->com.number, .session = n->session,
		.off = n->com.first_seq, .len = n->com.count, .image = n->com.chain, .seq = n->com.last_seq };

	put_u64(&p, n->st.lineage.generation);
	put_bytes(&p, n->com_name, strlen(n->com_name));
	link_send(n, n->live, &f, payload, (size_t)(p.p - payload));
}

/* All that wait and want what this cut is share it: a commit or a prepared epoch. */
static void flushes_begin(struct node *n)
{
	struct command_req **list = &n->flushes;

	while (*list) {
		struct command_req *r = *list;

		if ((r->cmd.verb == CMD_PREPARE) != n->com_prepare) {
			list = &r->next;
			continue;
		}
		*list = r->next;
		r->epoch = n->com.number;
		if (r->cmd.name[0])
			memcpy(n->com_name, r->cmd.name, sizeof(n->com_name));
		if (r->cmd.nowait)
			command_reply(n, r, 0, "started epoch=%" PRIu64, n->com.number);
		else
			commit_append(&n->flushing, r);
	}
}

static void cut(struct node *n, bool part)
{
	n->com = n->cur;
	n->com.session = n->session;
	n->cur = (struct pepoch){ .number = n->com.number + 1 };
	n->com_active = true;
	/* A sync ends with a commit of its own; only then can an epoch be prepared. */
	n->com_part = part;
	n->com_prepare = !part && n->flushes && n->flushes->cmd.verb == CMD_PREPARE && n->sync_state == SYNC_IDLE;
	n->com_local = n->com_remote = false;
	n->com_was_sync = n->sync_state == SYNC_COMMIT;
	n->com_error = 0;
	n->com_syncs = 0;
	n->com_started_ms = n->last_cut_ms = n->now_ms;
	n->want_cut &= part;
	n->written_since_cut &= part;
	for (struct image *i = n->images; i; i = i->next) {
		dirty_free(&i->com);
		i->com = i->cur;
		dirty_init(&i->cur);
		i->touched_com = i->touched;
		i->touched = false;
	}
	n->dir_touched_com = n->dir_touched;
	n->dir_touched = false;
	activity_cut(n);
	n->com_name[0] = 0;
	if (!part || MUTANT("part-answers-flush"))
		flushes_begin(n);
	if (!n->com_prepare && !part) {
		n->fsyncing = n->fsyncs;
		n->fsyncs = NULL;
	}
	send_commit(n);
	if (!n->com.inflight)
		local_begin(n);
}

void commit_time_out(struct node *n, struct command_req **list, const char *why)
{
	while (*list) {
		struct command_req *r = *list;

		if (n->now_ms < r->deadline_ms) {
			list = &r->next;
			continue;
		}
		*list = r->next;
		if (r->epoch)
			command_reply(n, r, -ETIMEDOUT, "%s epoch=%" PRIu64, why, r->epoch);
		else
			command_reply(n, r, -ETIMEDOUT, "%s", why);
	}
}

void commit_pump(struct node *n)
{
	commit_time_out(n, &n->flushes, "not begun within flush-timeout: the commit before it, or a sync, is still running");
	commit_time_out(n, &n->flushing, "no verdict within flush-timeout; the commit may still happen");
	fsyncs_alone(n, &n->fsyncs, primary_mirrors(n));
	fsyncs_alone(n, &n->fsyncing, true);
	twophase_pump(n);
	if (!primary_mirrors(n) || !demote_cuts(n))
		return;
	if (n->config.commit_ms && n->protected_ && n->written_since_cut &&
	    n->now_ms - n->last_cut_ms >= n->config.commit_ms)
		n->want_cut = true;
	n->want_cut |= n->fsyncs != NULL;
	if (n->sync_state == SYNC_COMMIT && (n->flushes || n->config.commit_fsync || n->config.commit_ms || !n->peer_overlay))
		n->want_cut = true;
	if (n->com_active || n->com_syncs || n->prep)
		return;
	bool part = part_wanted(n);

	if (part)
		part_note(n);
	else if ((!n->flushes && !n->want_cut) || n->sync_state == SYNC_RUNNING ||
	         (primary_missing(n) && !MUTANT("cut-while-missing")))
		return;
	if (!reserve_number(n) || !activity_settled(n) ||
	    ((part || n->sync_state == SYNC_COMMIT) && !reserve_generation(n)))
		return;
	cut(n, part);
}

/* ---- what goes wrong ---- */

/* Names and sizes that were in an epoch thrown away are in no set: the next session compares the tables. */
static void refused_metas(struct node *n, uint64_t metas)
{
	if (metas && n->live >= 0)
		link_drop(n, n->live, "the peer refused an epoch that changed names or sizes: the tables are compared anew");
}

/* The peer threw epoch N away (no room, or its disk failed): what it held must be sent again before a cut. */
/* Again later, and then with a commit of its own, as after a link loss. */
static void back_off(struct node *n)
{
	uint32_t wait = n->refused_wait_ms ? n->refused_wait_ms * 2 : REFUSED_WAIT_MIN_MS;

	n->refused_wait_ms = wait > REFUSED_WAIT_MAX_MS ? REFUSED_WAIT_MAX_MS : wait;
	n->unfit = true;
	n->unfit_until_ms = n->now_ms + n->refused_wait_ms;
	n->protected_ = false;
	if (n->sync_state != SYNC_RUNNING) {
		n->sync_state = SYNC_RUNNING;
		n->sync_started_ms = n->now_ms;
	}
	node_reason(n, "the peer's journal is full; what it lacks is sent again in %u s", n->refused_wait_ms / 1000);
}

void commit_refused(struct node *n, uint64_t epoch, int error)
{
	n->counters.commit_errors_total++;
	if (error == ENOSPC)
		n->counters.journal_refusals_total++;
	event(n, "refused", "\"epoch\": %" PRIu64 ", \"errno\": \"%s\"", epoch, errno_name(error));
	node_error(n, "the peer refused epoch %" PRIu64 ": %s", epoch,
	           error == ENOSPC ? "its journal is full (ENOSPC)" :
	           error == EBUSY ? "an image is open there (EBUSY)" : "its disk failed (EIO)");
	sync_refused(n);
	verify_refused(n);
	if (error == ENOSPC)
		part_no_room(n, epoch == n->cur.number ? n->cur.journalled : n->com.journalled);
	if (n->prep && epoch == n->com.number) {
		twophase_refused(n, error);
		return;
	}
	if (n->com_active && epoch == n->com.number) {
		n->com_active = n->com_was_sync = false;
		twophase_verdict(n, error == ENOSPC ? -ENOSPC : -EIO);
		fsyncs_alone(n, &n->fsyncing, false);
		n->cur.inflight += n->com.inflight;
		n->dir_touched = true;
		for (struct image *i = n->images; i; i = i->next) {
			dirty_merge(&i->miss, &i->com);
			i->touched = true;
		}
		commit_reply_all(n, &n->flushing, error == ENOSPC ? -ENOSPC : -EIO,
		          error == ENOSPC ? "the peer's journal cannot hold the epoch" : "the peer's disk refused the epoch");
		if (error == EBUSY && n->com_part)
			part_refused(n);
		else
			back_off(n);
		refused_metas(n, n->com.metas);
		return;
	}
	if (epoch != n->cur.number)
		return;
	back_off(n);
	for (struct image *i = n->images; i; i = i->next)
		dirty_merge(&i->miss, &i->cur);
	uint64_t inflight = n->cur.inflight, metas = n->cur.metas;

	n->cur = (struct pepoch){ .number = epoch + 1, .inflight = inflight };
	refused_metas(n, metas);
}

void commit_unfit(struct node *n)
{
	commit_reply_all(n, &n->flushes, -ENOSPC, n->reason);
}

void commit_link_down(struct node *n)
{
	commit_reply_all(n, &n->flushes, -ENOTCONN, "the link was lost before the order left this node: it did not happen");
	commit_reply_all(n, &n->resyncs, -ENOTCONN, "the link was lost; it goes on by itself when the peer is back");
	fsyncs_alone(n, &n->fsyncs, false);
	fsyncs_alone(n, &n->fsyncing, false);
	if (!n->com_active)
		return;
	commit_reply_all(n, &n->flushing, -ETIMEDOUT, "the link was lost before the verdict: unknown;");
	n->com_active = n->com_was_sync = false;
	n->cur.inflight += n->com.inflight;
	n->com.inflight = 0;
	/* Its fdatasyncs here may not have begun: whoever takes its writes in makes them durable. */
	n->dir_touched = true;
	for (struct image *i = n->images; i; i = i->next)
		i->touched = true;
	if (n->com_prepare) { /* perhaps it is prepared there: settled by the next session */
		n->prep = PREP_READY;
		return;
	}
	/* The peer may or may not have committed it: its set is kept apart until the peer says so. */
	n->doubt_valid = true;
	for (struct image *i = n->images; i && MUTANT("doubt-set-lost"); i = i->next)
		dirty_free(&i->com);
}

/* A new session: was the epoch whose verdict was outstanding committed? The peer knows. */
void commit_doubt(struct node *n, const struct hello *peer, bool full)
{
	if (!n->doubt_valid)
		return;
	bool committed = !full && peer->committed == n->com.number;

	if (committed) {
		n->acked_epoch = n->com.number;
		n->acked_ms = n->now_ms;
		activity_committed(n);
	}
	if (!n->com_part)
		twophase_verdict(n, committed ? 0 : -EIO);
	for (struct image *i = n->images; i; i = i->next) {
		if (!committed)
			dirty_merge(&i->miss, &i->com);
		dirty_free(&i->com);
	}
	n->doubt_valid = false;
}
