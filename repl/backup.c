/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The peer's frames on a backup. Data goes into the journal's open batch as it
 * arrives, and into the maps of the epoch being received; COMMIT makes the
 * journal durable, and only then the epoch visible. Frames of an image that
 * was never consistent go straight to its file instead (direct.c).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "mutant.h"
#include "sum.h"

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- sessions ---- */

/* What a cut session sent is not sent again: it becomes part of this one's first epoch. Or, for want of room, not: the
 * primary compares. */
static void keep(struct node *n)
{
	struct record r = { .type = REC_KEEP, .image = n->kept_ep->number, .off = n->kept_ep->session };
	void *payload;
	uint64_t pos;

	if (!journal_get(&n->journal, n->session, n->cur_ep->number, 0, 0, &payload, &pos)) {
		n->cur_ep->first = journal_mark(&n->journal);
		journal_put(&n->journal, &r);
		(void)epoch_merge(n->cur_ep, n->kept_ep); /* into an empty one: no map grows */
		n->counters.sync_kept_bytes_total += n->cur_ep->bytes;
		node_log(n, LOG_LVL_INFO, "what the last session left unfinished is kept: %" PRIu64 " bytes", n->cur_ep->bytes);
	}
}

void backup_session(struct node *n, struct plink *l)
{
	n->granted = n->received = n->last_seq = 0;
	n->refused_epoch = 0;
	n->lost_bytes = 0;
	epoch_free(n->cur_ep);
	n->cur_ep = NULL;
	epoch_reset_views(n);
	n->cur_ep = epoch_new(l->welcome.epoch, l->session);
	if (!n->cur_ep)
		node_fail(n, "out of memory");
	else if (n->kept_ep && l->welcome.keep)
		keep(n);
	backup_drop_kept(n);
}

void backup_drop_kept(struct node *n)
{
	n->tail_wanted |= n->kept_ep != NULL;
	epoch_free(n->kept_ep);
	n->kept_ep = NULL;
}

/* Sizes and names are compared with those committed, so they would be known to nobody. */
static bool data_only(const struct epoch *e)
{
	for (const struct epimg *ei = e->images; ei; ei = ei->next)
		if (ei->sized || ei->renamed || ei->created || ei->unlinked || ei->adopted)
			return MUTANT("kept-with-names");
	return e->bytes && e->first.lsn;
}

/* The unfinished epoch is dropped: its records are void, since no commit record will name them. */
void backup_drop_current(struct node *n)
{
	if (!n->cur_ep)
		return;
	n->lost_bytes += n->cur_ep->bytes;
	n->tail_wanted |= n->cur_ep->first.lsn != 0;
	epoch_free(n->cur_ep);
	n->cur_ep = NULL;
	epoch_reset_views(n);
}

void backup_link_down(struct node *n)
{
	if (n->cur_ep && !n->com_ep && n->journal.open)
		journal_push(&n->journal);
	if (n->cur_ep && !n->com_ep && !n->prep_ep && !n->failover && !n->failed && data_only(n->cur_ep)) {
		backup_drop_kept(n);
		n->lost_bytes += n->cur_ep->bytes;
		n->kept_ep = n->cur_ep;
		n->cur_ep = NULL;
	}
	if (!MUTANT("failover-uncommitted"))
		backup_drop_current(n);
	n->refused_epoch = 0;
	direct_link_down(n);
}

void backup_refuse(struct node *n, uint64_t epoch, int error)
{
	struct frame f = { .type = FRAME_REFUSED, .epoch = epoch, .off = (uint64_t)error };

	node_error(n, "epoch %" PRIu64 " refused: %s", epoch,
	           error == ENOSPC ? "the journal is full and nothing is left to destage (ENOSPC)" :
	           error == EBUSY ? "an image is open here, or taken over, which a resync in-place leaves inconsistent (EBUSY)" :
	           strerror(error));
	if (error == ENOSPC)
		n->counters.journal_refusals_total++;
	n->counters.commit_errors_total++;
	if (n->live >= 0)
		link_send(n, n->live, &f, NULL, 0);
}

/* ---- payloads ---- */

/* The journal has no room for what was granted: free segments went to the images' full disk since (destage.c). The
 * epoch is refused, the link stays. */
static int room_gone(struct node *n, uint64_t epoch)
{
	uint64_t current = n->cur_ep ? n->cur_ep->number : n->refused_epoch + 1;

	if (epoch != current || n->received > n->granted)
		return -ENOBUFS;
	backup_refuse(n, epoch, ENOSPC);
	n->refused_epoch = epoch;
	backup_drop_current(n);
	return 0;
}

int backup_payload(struct node *n, struct plink *l)
{
	struct frame *f = &l->frame;
	struct image *img = node_image_by_id(n, f->image);
	void *payload;

	l->journaled = false;
	l->payload = NULL;
	if (f->epoch == n->refused_epoch || n->failed)
		return 0; /* thrown away */
	if (!img)
		return -EPROTO;
	if (f->off + f->payload_len > device_limit(n, img))
		return -EFBIG;
	if (n->received + frame_cost(f) > n->granted)
		return -ENOBUFS;
	/* A commit that still waits for files will append: this payload must not lie in the open batch then. */
	if (direct_goes(img) || (n->com_ep && !n->com_ep->end.lsn)) {
		l->owned = aligned_alloc(BLOCK, (f->payload_len + BLOCK - 1) / BLOCK * BLOCK);
		l->payload = l->owned;
		return l->owned ? 0 : -ENOMEM;
	}
	int err = journal_get(&n->journal, l->session, f->epoch, 0, f->payload_len, &payload, &l->pos);

	if (err == -EAGAIN)
		return room_gone(n, f->epoch);
	if (err) {
		node_fail(n, "the journal cannot be written: %s", strerror(-err));
		return 0;
	}
	l->journaled = true;
	l->payload = payload;
	return 0;
}

/* ---- records ---- */

static void note_first(struct node *n, struct epoch *e)
{
	if (!e->first.lsn)
		e->first = journal_mark(&n->journal);
}

static void note_record(struct epoch *e, const struct record *r)
{
	if (!e->jcount)
		e->jfirst = r->seq;
	e->jlast = r->seq;
	e->jcount++;
	e->jchain = sum_chain(e->jchain, r->sum ^ r->seq);
}

/* A frame as a record: into the journal and into the maps. */
static int journal_frame(struct node *n, struct plink *l, uint8_t type)
{
	struct frame *f = &l->frame;
	struct record r = { .type = type, .flags = f->flags, .payload_len = f->payload_len, .image = f->image,
		.off = f->off, .len = f->len, .seq = f->seq, .sum = f->sum };
	uint64_t pos = l->pos;

	if (!l->journaled) {
		void *payload;
		int err = journal_get(&n->journal, l->session, f->epoch, 0, f->payload_len, &payload, &pos);

		if (err == -EAGAIN)
			return room_gone(n, f->epoch);
		if (err) {
			node_fail(n, "the journal cannot be written: %s", strerror(-err));
			return 0;
		}
		memcpy(payload, l->payload, f->payload_len);
	}
	l->journaled = false;
	note_first(n, n->cur_ep);
	journal_put(&n->journal, &r);
	note_record(n->cur_ep, &r);
	int err = record_apply(n, MUTANT("cut-folded") && n->com_ep ? n->com_ep : n->cur_ep, &r, pos, l->payload);

	if (err == -ENOSPC || err == -ENOMEM) { /* the arena is full: a full journal */
		backup_refuse(n, f->epoch, ENOSPC);
		n->refused_epoch = f->epoch;
		backup_drop_current(n);
		return 0;
	}
	return err;
}

/* ---- commit ---- */

static void commit_visible(struct node *n)
{
	struct epoch *e = n->com_ep;
	struct frame f = { .type = FRAME_DONE, .epoch = e->number };

	n->com_ep = NULL;
	/* One step: maps, sizes and names of the epoch, the overlay dropped. */
	epoch_apply(n, e);
	twin_drop_overlay(n);
	epoch_seal(n, e);
	n->committed = e->number;
	n->committed_ms = n->now_ms;
	n->committed_wall_ms = e->wall_ms;
	memcpy(n->committed_name, e->name, sizeof(n->committed_name));
	if (e->generation && e->generation != n->st.lineage.generation && e->generation == n->st.adopting.generation)
		n->st.lineage = n->st.adopting;
	if (n->st.rejoin)
		own_forget(n);
	epoch_levels(n, e);
	n->peer_epoch = e->number;
	/* The session's first one ends its sync; one prepared in an older session does not, nor does a part of it. */
	n->level = !e->part && (n->level || (!e->prepared && e->session == n->session));
	event(n, "commit", "\"epoch\": %" PRIu64 ", \"name\": \"%s\", \"bytes\": %" PRIu64 "%s", e->number, e->name, e->bytes,
	      e->part ? ", \"part\": true" : "");
	n->counters.commits_total++;
	n->counters.commit_last_us = (n->now_ms - n->com_started_ms) * 1000;
	if (n->live >= 0 && n->session == e->session)
		link_send(n, n->live, &f, NULL, 0);
}

static void commit_synced(struct journal_sync *s, int error)
{
	struct node *n = s->owner;

	if (error) {
		backup_refuse(n, n->com_ep->number, EIO);
		epoch_free(n->com_ep);
		n->com_ep = NULL;
		node_fail(n, "the journal could not be made durable: %s", strerror(-error));
		return;
	}
	if (n->com_rec == REC_PREPARE)
		prepared_synced(n);
	else if (n->com_rec == REC_ABORT)
		prepared_aborted(n);
	else
		commit_visible(n);
}

static int put_commit(struct node *n, struct epoch *e)
{
	uint8_t buf[8 + 64];
	struct putter p = putter_init(buf, sizeof(buf));
	void *payload;
	uint64_t pos;

	put_u64(&p, e->wall_ms);
	put_bytes(&p, e->name, strlen(e->name));
	uint32_t len = (uint32_t)(p.p - buf);
	int err = journal_get(&n->journal, e->session, e->number, 0, len, &payload, &pos);

	if (err)
		return err;
	struct record r = { .type = n->com_rec, .flags = e->part ? REC_F_PART : 0, .payload_len = len, .off = e->jfirst,
		.seq = e->jlast, .len = e->jcount, .sum = sum64(buf, len), .image = e->generation };

	memcpy(payload, buf, len);
	note_first(n, e);
	journal_put(&n->journal, &r);
	return 0;
}

/* First sync's end: one record for each image whose file is whole at this cut. Appended at the cut, before any record of
 * the next epoch: recovery takes sizes and names in the order of the log. */
static int put_adopted(struct node *n, struct epoch *e)
{
	for (struct image *i = n->images; i; i = i->next) {
		void *payload;
		uint64_t pos;
		uint32_t len = (uint32_t)strlen(i->commit_name);

		if (!i->direct || !i->committing)
			continue;
		int err = journal_get(&n->journal, e->session, e->number, 0, len, &payload, &pos);

		if (err)
			return err;
		struct record r = { .type = REC_IMAGE, .payload_len = len, .image = i->id, .len = i->commit_size,
			.seq = e->jlast + 1, .sum = sum64(i->commit_name, len) };
		struct epimg *ei = epoch_image(n, e, i);

		if (!ei)
			return -ENOMEM;
		memcpy(payload, i->commit_name, len);
		note_first(n, e);
		journal_put(&n->journal, &r);
		note_record(e, &r);
		ei->adopted = ei->sized = ei->renamed = true;
		ei->size = i->commit_size;
		memcpy(ei->name, i->commit_name, sizeof(ei->name));
	}
	return 0;
}

/* Recovery must not take the refused epoch's records for part of what follows. */
static int put_drop(struct node *n)
{
	struct record r = { .type = REC_DROP };
	void *payload;
	uint64_t pos;
	int err = journal_get(&n->journal, n->session, n->cur_ep->number, 0, 0, &payload, &pos);

	if (err)
		return err == -EAGAIN ? room_gone(n, n->cur_ep->number) : err;
	note_first(n, n->cur_ep);
	journal_put(&n->journal, &r);
	return 0;
}

/* com_ep is refused: what came behind it was understood with its sizes and names, here and by whoever recovers. */
static void refused_behind(struct node *n, int error)
{
	struct epoch *e = n->cur_ep;

	epoch_reset_views(n);
	if (!e || n->failed)
		return;
	if (e->count) {
		backup_refuse(n, e->number, error);
		n->refused_epoch = e->number;
		backup_drop_current(n);
	} else if (put_drop(n) && n->live >= 0) {
		link_drop(n, n->live, "the journal cannot be written");
	}
}

void backup_commit_failed(struct node *n, int err)
{
	struct epoch *e = n->com_ep;

	n->com_ep = NULL;
	if (e->prepared) { /* it stays ready; the order comes again with the next session */
		n->prep_ep = e;
		if (n->live >= 0)
			link_drop(n, n->live, "no room in the journal to take the prepared epoch");
		return;
	}
	int error = err == -EAGAIN ? ENOSPC : err == -EBUSY ? EBUSY : EIO;

	backup_refuse(n, e->number, error);
	epoch_free(e);
	refused_behind(n, error);
	n->tail_wanted = true;
	for (struct image *i = n->images; i; i = i->next)
		i->committing = false;
}

/* com_ep's record is appended: make it durable. */
void backup_sync(struct node *n)
{
	n->com_sync.owner = n;
	n->com_sync.done = commit_synced;
	journal_sync(&n->journal, &n->com_sync);
}

/* The files of images in their first sync are durable: append the commit record, make the journal durable. */
void backup_commit_append(struct node *n)
{
	struct epoch *e = n->com_ep;
	int err = put_commit(n, e);

	if (err) {
		backup_commit_failed(n, err);
		return;
	}
	backup_sync(n);
	e->end = journal_mark(&n->journal);
	e->last_lsn = e->end.lsn - 1;
	if (MUTANT("ack-before-fsync") && n->live >= 0 && n->session == e->session) {
		struct frame f = { .type = FRAME_DONE, .epoch = e->number };

		link_send(n, n->live, &f, NULL, 0);
	}
}

/* The primary goes on behind an epoch that was refused: with the next number, with a frame or with COMMIT itself. The
 * next may be refused in its turn. */
static int refused_ends(struct node *n, uint64_t epoch)
{
	if (!n->refused_epoch || n->cur_ep || epoch != n->refused_epoch + 1)
		return 0;
	n->refused_epoch = 0;
	n->cur_ep = epoch_new(epoch, n->session);
	return n->cur_ep ? put_drop(n) : -ENOMEM;
}

static int commit_got(struct node *n, struct plink *l)
{
	struct frame *f = &l->frame;
	struct getter g = getter_init(l->payload, f->payload_len);

	int err = refused_ends(n, f->epoch);

	if (err)
		return err;
	if (f->epoch == n->refused_epoch && n->refused_epoch)
		return 0; /* its REFUSED is on the way */
	struct epoch *e = n->cur_ep;

	if (!e || n->com_ep || n->prep_ep || f->epoch != e->number)
		return -EPROTO;
	for (struct image *i = n->images; i && f->type == FRAME_PREPARE; i = i->next)
		if (i->direct && i->next_visible)
			return -EPROTO; /* nothing can be prepared before the first sync has ended */
	if (f->len != e->count || f->image != e->chain || (e->count && (f->off != e->first_seq || f->seq != e->last_seq))) {
		node_error(n, "COMMIT of epoch %" PRIu64 " names %" PRIu64 " frames, %" PRIu64 " are here: refused", f->epoch,
		           f->len, e->count);
		return -EPROTO;
	}
	if (epoch_names_clash(n, e))
		return -EPROTO;
	e->generation = get_u64(&g);
	size_t len = f->payload_len - 8;

	get_bytes(&g, e->name, len < sizeof(e->name) ? len : sizeof(e->name) - 1);
	for (size_t i = 0; e->name[i]; i++)
		if (!strchr(NAME_SET, e->name[i]))
			e->name[i] = '?';
	if (e->generation != n->st.lineage.generation && e->generation != n->st.adopting.generation)
		return -EPROTO;
	struct epoch *next = epoch_new(e->number + 1, l->session);

	if (!next)
		return -ENOMEM; /* nothing has begun: the epoch goes with the link */
	e->wall_ms = n->wall_ms;
	n->com_started_ms = n->now_ms;
	n->com_ep = e;
	n->com_rec = f->type == FRAME_PREPARE ? REC_PREPARE : REC_COMMIT;
	n->cur_ep = next;
	e->part = n->com_rec == REC_COMMIT && f->flags & FRAME_F_PART && !MUTANT("part-unsaid");
	if (e->part && (image_any_open(n) || n->failover)) { /* neither is to find the copy inconsistent */
		err = -EBUSY;
	} else if (!e->part || MUTANT("part-ends-first-sync")) { /* a part ends no sync */
		direct_cut(n);
		err = put_adopted(n, e);
	}

	if (err)
		backup_commit_failed(n, err);
	else
		direct_commit(n);
	return 0;
}

/* ---- frames ---- */

/* The epoch a numbered frame belongs to: the current one, or the one after a refused one. */
static int epoch_check(struct node *n, const struct frame *f)
{
	if (f->seq != n->last_seq + 1)
		return -EPROTO;
	n->last_seq = f->seq;
	n->received += frame_cost(f);
	int err = refused_ends(n, f->epoch);

	if (err)
		return err;
	if (n->refused_epoch && f->epoch == n->refused_epoch)
		return 0;
	if (!n->cur_ep || f->epoch != n->cur_ep->number)
		return -EPROTO;
	if (!n->cur_ep->count)
		n->cur_ep->first_seq = f->seq;
	n->cur_ep->last_seq = f->seq;
	n->cur_ep->count++;
	n->cur_ep->chain = sum_chain(n->cur_ep->chain, f->sum ^ f->seq);
	return 1;
}

int backup_frame(struct node *n, struct plink *l)
{
	static const uint8_t records[FRAME_TYPE_END] = { [FRAME_DATA] = REC_DATA, [FRAME_ZERO] = REC_ZERO,
		[FRAME_SIZE] = REC_SIZE, [FRAME_CREATE] = REC_CREATE, [FRAME_UNLINK] = REC_UNLINK,
		[FRAME_RENAME] = REC_RENAME };
	struct frame *f = &l->frame;

	if (n->failed)
		return 0;
	if (f->session != l->session)
		return -EPROTO;
	if (f->type == FRAME_COMMIT || f->type == FRAME_PREPARE)
		return commit_got(n, l);
	if (f->type == FRAME_SETTLE)
		return prepared_settle(n, f);
	int err = epoch_check(n, f);

	if (err <= 0)
		return err;
	struct image *img = node_image_by_id(n, f->image);

	/* What no file here can hold must not be committed: it could never be destaged. */
	if ((f->type == FRAME_SIZE || f->type == FRAME_IMAGE) && f->len > n->size_max)
		return -EFBIG;
	err = device_frame(n, f, img, l->payload);
	if (err)
		return err;
	if (f->type == FRAME_HASHQ)
		return hash_query(n, l);
	if (f->type == FRAME_IMAGE)
		return direct_begin(n, l);
	if (img && direct_goes(img))
		return direct_frame(n, l, img);
	return journal_frame(n, l, records[f->type]);
}

/* ---- credit ---- */

/* What the peer may send: as much as the journal, its buffers and the maps can surely take. */
static void grant(struct node *n)
{
	uint64_t arena = arena_free_bytes(n->arena);
	uint64_t room = min64(journal_room(&n->journal), journal_buffer_room(&n->journal));

	arena = arena > ARENA_RESERVE ? (arena - ARENA_RESERVE) / 128 * 7680 : 0;
	room = min64(room, arena);
	room = min64(room, n->direct_bytes < DIRECT_BYTES ? DIRECT_BYTES - n->direct_bytes : 0);
	uint64_t total = n->received + room, left;

	/* Frames without data need no credit, and may overrun it. */
	left = n->granted > n->received ? n->granted - n->received : 0;

	if (total > n->granted && (total - n->granted >= (1u << 19) || left < (1u << 19))) {
		struct frame f = { .type = FRAME_CREDIT, .off = total };

		n->granted = total;
		link_send(n, n->live, &f, NULL, 0);
		return;
	}
	/* Starving, with nothing under way that would free room: this epoch cannot fit. */
	bool waits = n->com_ep || n->seals || n->tail_wanted || destage_busy(n) || journal_may_grow(&n->journal) ||
		     journal_buffer_room(&n->journal) < (1u << 19) || n->direct_bytes;

	if (left < IO_MAX_LEN + 4 * FRAME_DATA_MAX && !waits && n->cur_ep && n->cur_ep->first.lsn && !n->refused_epoch) {
		uint64_t epoch = n->cur_ep->number;

		backup_refuse(n, epoch, ENOSPC);
		n->refused_epoch = epoch;
		backup_drop_current(n);
	}
}

void backup_pump(struct node *n)
{
	if (n->role == NODE_BACKUP && n->live >= 0 && n->links[n->live].state == PL_LIVE && !n->failed && !n->switching)
		grant(n);
}

void backup_free(struct node *n)
{
	epoch_free(n->cur_ep);
	epoch_free(n->com_ep);
	epoch_free(n->prep_ep);
	epoch_free(n->kept_ep);
	hash_drop(n);
	direct_free(n);
}
