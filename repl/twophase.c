/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two-phase commit on a primary, for toolstacks that commit a VM's memory and
 * its disks together: prepare makes an epoch durable on both nodes, commit or
 * abort settles it. Its dirty sets (`com`) are kept until then. It outlives
 * the link: the next session settles it before anything is mirrored. Also the
 * verdicts of past epochs, for `wait` and for orders that are given twice.
 */
#include <inttypes.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

static const struct epoch_verdict *verdict_of(const struct node *n, uint64_t epoch)
{
	for (uint32_t i = 0; i < VERDICTS; i++)
		if (n->verdicts[i].epoch == epoch && epoch)
			return &n->verdicts[i];
	return NULL;
}

static void reply_verdict(struct node *n, struct command_req *r, const struct epoch_verdict *v)
{
	r->epoch = v->epoch;
	if (!v->error)
		command_reply(n, r, 0, "done epoch=%" PRIu64 " name=%s bytes=%" PRIu64 " ms=%" PRIu64, v->epoch, v->name,
		              v->bytes, v->ms);
	else if (v->error == -ECANCELED)
		command_reply(n, r, -EINVAL, "the epoch was aborted: its writes belong to the next one");
	else
		command_reply(n, r, v->error, "the epoch was not committed: %s", strerror(-v->error));
}

static void waiters_told(struct node *n, const struct epoch_verdict *v)
{
	for (struct command_req **list = &n->waiters; *list;) {
		struct command_req *r = *list;

		/* Who waits for an older one waits for a part of the sync that this one ends. */
		if (r->cmd.epoch != v->epoch && (v->error || r->cmd.epoch > v->epoch)) {
			list = &r->next;
			continue;
		}
		*list = r->next;
		reply_verdict(n, r, v);
	}
}

/* What became of epoch com. error: 0 committed, -ECANCELED aborted. */
void twophase_verdict(struct node *n, int error)
{
	struct epoch_verdict *v = &n->verdicts[n->verdict_next++ % VERDICTS];

	*v = (struct epoch_verdict){ .epoch = n->com.number, .bytes = n->com.bytes, .error = error,
		.ms = n->now_ms - n->com_started_ms };
	memcpy(v->name, n->com_name, sizeof(v->name));
	waiters_told(n, v);
}

/* ---- orders ---- */

static void order(struct node *n, enum prep_state what)
{
	struct frame f = { .type = FRAME_SETTLE, .epoch = n->com.number, .session = n->session,
		.off = what == PREP_COMMIT };

	n->prep = what;
	if (n->live >= 0)
		link_send(n, n->live, &f, NULL, 0);
}

static void settle_command(struct node *n, struct command_req *r)
{
	uint64_t epoch = r->cmd.epoch;
	bool take = r->cmd.verb == CMD_COMMIT;
	const struct epoch_verdict *v = verdict_of(n, epoch);

	if (v && v->error == (take ? -ECANCELED : 0)) {
		command_reply(n, r, -EINVAL, "epoch %" PRIu64 " was %s already", epoch, take ? "aborted" : "committed");
	} else if (v && v->error == -ECANCELED) {
		command_reply(n, r, 0, "done epoch=%" PRIu64, epoch);
	} else if (v) {
		reply_verdict(n, r, v);
	} else if (n->com_active && n->com_prepare && epoch == n->com.number) {
		command_reply(n, r, -EBUSY, "epoch %" PRIu64 " is still being prepared; `wait %" PRIu64 "`", epoch, epoch);
	} else if (!n->prep || epoch != n->com.number) {
		command_reply(n, r, -EINVAL, "epoch %" PRIu64 " is not prepared", epoch);
	} else if (take && n->prep == PREP_READY && (n->com_error || !n->com_local)) {
		command_reply(n, r, n->com_error ? -EIO : -EBUSY, "epoch %" PRIu64 " is not durable on this node: %s", epoch,
		              n->com_error ? "its disk failed; abort it" : "try again");
	} else if (n->prep == (take ? PREP_ABORT : PREP_COMMIT)) {
		command_reply(n, r, -EBUSY, "epoch %" PRIu64 " is being %s", epoch, take ? "aborted" : "committed");
	} else {
		r->epoch = epoch;
		commit_append(&n->settlers, r);
		if (n->prep == PREP_READY)
			order(n, take ? PREP_COMMIT : PREP_ABORT);
	}
}

static void wait_command(struct node *n, struct command_req *r)
{
	uint64_t epoch = r->cmd.epoch;
	const struct epoch_verdict *v = verdict_of(n, epoch);
	bool running = (n->com_active || n->doubt_valid || n->prep) && epoch == n->com.number;

	if (v)
		reply_verdict(n, r, v);
	else if (n->prep == PREP_READY && n->com_remote && epoch == n->com.number)
		command_reply(n, r, 0, "prepared epoch=%" PRIu64 " name=%s bytes=%" PRIu64, epoch, n->com_name, n->com.bytes);
	else if (epoch && epoch == n->acked_epoch && !n->peer_part)
		command_reply(n, r, 0, "done epoch=%" PRIu64 " name=%s", epoch, n->acked_name);
	else if (running || epoch == n->cur.number || (epoch && epoch == n->acked_epoch)) /* a part: until its sync's end */
		commit_append(&n->waiters, r);
	else
		command_reply(n, r, -EINVAL, "epoch %" PRIu64 " is not known here: it was never ordered, or long ago", epoch);
}

void twophase_command(struct node *n, struct command_req *r)
{
	r->started_ms = n->now_ms;
	r->deadline_ms = n->now_ms + n->config.flush_timeout_ms;
	if (n->role != NODE_PRIMARY)
		command_reply(n, r, -EPERM, "this is the primary's to order; this node is %s", node_mode(n));
	else if (r->cmd.verb == CMD_WAIT)
		wait_command(n, r);
	else
		settle_command(n, r);
}

/* ---- what becomes of it ---- */

/* Epoch com is durable on both nodes, and the peer keeps it ready. */
void twophase_prepared(struct node *n)
{
	n->prep = PREP_READY;
	if (n->com_error) {
		commit_reply_all(n, &n->flushing, -EIO, "this node's disk failed to make the epoch durable");
		order(n, PREP_ABORT);
		return;
	}
	event(n, "prepared", "\"epoch\": %" PRIu64 ", \"name\": \"%s\"", n->com.number, n->com_name);
	commit_reply_all(n, &n->flushing, 0, "prepared");
	commit_reply_all(n, &n->flushes, -EBUSY, "an epoch is prepared: commit or abort it first");
	for (struct command_req **list = &n->waiters; *list;) {
		struct command_req *r = *list;

		if (r->cmd.epoch != n->com.number) {
			list = &r->next;
			continue;
		}
		*list = r->next;
		command_reply(n, r, 0, "prepared epoch=%" PRIu64 " name=%s bytes=%" PRIu64, n->com.number, n->com_name,
		              n->com.bytes);
	}
}

/* An abort merges set N into N+1, as the peer does with the records; over a new session they are sent again. */
static void give_back(struct node *n)
{
	bool live = primary_mirrors(n) && n->com.session == n->session;

	for (struct image *i = n->images; i; i = i->next)
		if (!MUTANT("abort-set-lost"))
			dirty_merge(live ? &i->cur : &i->miss, &i->com);
	if (!live)
		return;
	n->cur.bytes += n->com.bytes;
	n->cur.journalled += n->com.journalled;
	n->cur.writes += n->com.writes;
	n->cur.metas += n->com.metas;
}

static void settled(struct node *n, bool taken)
{
	bool wanted = n->prep == PREP_COMMIT;

	n->prep = PREP_NONE;
	if (taken) {
		commit_taken(n);
	} else {
		give_back(n);
		twophase_verdict(n, -ECANCELED);
	}
	if (taken == wanted)
		commit_reply_all(n, &n->settlers, 0, "done");
	else
		commit_reply_all(n, &n->settlers, -EIO, taken ? "the peer has taken the epoch" : "the peer holds it no more");
}

/* DONE or ABORTED of a prepared epoch. */
void twophase_done(struct node *n, uint64_t epoch, bool taken)
{
	if (n->prep && epoch == n->com.number && n->prep != PREP_READY)
		settled(n, taken);
	else if (!n->settling)
		node_error(n, "the peer settled epoch %" PRIu64 " without an order; ignored", epoch);
	if (n->settling && !n->prep && taken && !MUTANT("settled-table-kept")) /* which images, names and sizes it has is known no more */
		link_drop(n, n->live, "the peer has taken what it held prepared: the tables are compared anew");
	else if (n->settling && !n->prep)
		handshake_settled(n);
}

/* The peer's disk failed when it was to take it. */
void twophase_refused(struct node *n, int error)
{
	n->prep = PREP_NONE;
	for (struct image *i = n->images; i; i = i->next)
		dirty_merge(&i->miss, &i->com);
	twophase_verdict(n, error == ENOSPC ? -ENOSPC : -EIO);
	commit_reply_all(n, &n->settlers, -EIO, "the peer's disk refused the epoch");
}

/*
 * A new session, whose peer may hold a prepared epoch. True: settling it has begun, the sync waits for that. An order
 * that was given holds; what this node does not know, or is not sure to have made durable itself, is dropped.
 */
bool twophase_settles(struct node *n, const struct hello *peer)
{
	struct frame drop = { .type = FRAME_SETTLE, .epoch = peer->prepared, .session = n->session };

	if (n->prep && peer->prepared != n->com.number)
		settled(n, peer->committed == n->com.number);
	if (!peer->prepared)
		return false;
	n->settling = true;
	n->settle_deadline_ms = n->now_ms + n->config.flush_timeout_ms;
	if (!n->prep)
		link_send(n, n->live, &drop, NULL, 0);
	else if (n->prep == PREP_READY && (!n->com_local || n->com_error))
		order(n, PREP_ABORT);
	else if (n->prep != PREP_READY)
		order(n, n->prep);
	return true;
}

void twophase_pump(struct node *n)
{
	commit_time_out(n, &n->settlers, "the peer did not answer within flush-timeout; the order stands");
	commit_time_out(n, &n->waiters, "no verdict within flush-timeout");
	if (n->settling && n->prep == PREP_READY && n->now_ms >= n->settle_deadline_ms) {
		node_error(n, "epoch %" PRIu64 " was prepared and nobody ordered what becomes of it: aborted", n->com.number);
		order(n, PREP_ABORT);
	}
}
