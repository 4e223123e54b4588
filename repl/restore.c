/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup's journal at start: what of it was committed becomes seals again,
 * served at once and destaged in the background; what was not is void. After a
 * failover also the overlay that was taken, and this node's own writes since.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "mutant.h"
#include "sum.h"

struct restore {
	struct node *n;
	const struct boot *boot;
	struct epoch *pending; /* records without their commit record yet, newest first (by ->older) */
	uint64_t session;
	bool overlay_done;
	struct epoch *overlay;
	char *err;
	size_t err_size;
};

static const struct boot_image *boot_find(const struct boot *boot, uint64_t id)
{
	for (size_t i = 0; i < boot->image_count; i++)
		if (boot->images[i].id == id)
			return &boot->images[i];
	return NULL;
}

static void drop_pending(struct restore *r)
{
	bool any = r->pending;

	while (r->pending) {
		struct epoch *e = r->pending;

		r->pending = e->older;
		epoch_free(e);
	}
	if (any)
		epoch_reset_views(r->n);
}

static struct epoch *pending_epoch(struct restore *r, const struct batch_header *h, const struct journal_mark *at)
{
	if (r->n->prep_ep && r->n->prep_ep->number == h->epoch)
		return r->n->prep_ep;
	for (struct epoch *e = r->pending; e; e = e->older)
		if (e->number == h->epoch)
			return e;
	struct epoch *e = epoch_new(h->epoch, h->session);

	if (!e)
		return NULL;
	e->first = *at;
	e->older = r->pending;
	r->pending = e;
	return e;
}

/* A commit record counts only if the set it names is here whole. */
static bool whole(const struct epoch *e, const struct record *c)
{
	if (MUTANT("recover-behind-break"))
		return true;
	return e->jcount == c->len && e->session && (!c->len || (e->jfirst == c->off && e->jlast == c->seq));
}

/* Take e out of the pending ones, with what its PREPARE or COMMIT record says of it. */
static void settle(struct restore *r, struct epoch *e, const struct record *c, const void *payload)
{
	struct getter g = getter_init(payload, c->payload_len);

	for (struct epoch **p = &r->pending; *p; p = &(*p)->older)
		if (*p == e) {
			*p = e->older;
			break;
		}
	if (r->n->prep_ep == e)
		r->n->prep_ep = NULL;
	e->older = NULL;
	e->wall_ms = get_u64(&g);
	size_t len = c->payload_len - 8;

	get_bytes(&g, e->name, len < sizeof(e->name) ? len : sizeof(e->name) - 1);
	e->generation = c->image;
	e->part = c->flags & REC_F_PART && !MUTANT("part-forgotten");
}

static void prepared(struct restore *r, struct epoch *e, const struct record *c, const void *payload)
{
	struct node *n = r->n;

	settle(r, e, c, payload);
	epoch_free(n->prep_ep);
	n->prep_ep = e;
	e->prepared = true;
}

/* The prepared epoch was dropped: wholly, or into the one that was being received then. */
static int aborted(struct restore *r, const struct batch_header *h, const struct journal_mark *at,
                   const struct record *rec)
{
	struct epoch *e = r->n->prep_ep;
	int err = 0;

	if (!e || e->number != rec->image)
		return 0;
	r->n->prep_ep = NULL;
	if (rec->flags & REC_F_MERGE) {
		struct epoch *to = pending_epoch(r, h, at);

		err = to ? epoch_merge(to, e) : -ENOMEM;
	}
	epoch_free(e);
	if (!r->pending)
		epoch_reset_views(r->n);
	return err;
}

static void commit(struct restore *r, struct epoch *e, const struct batch_header *h, const struct journal_mark *at,
                   const struct record *c, const void *payload)
{
	struct node *n = r->n;

	settle(r, e, c, payload);
	e->end = (struct journal_mark){ h->lsn + 1, h->sum, at->slot, at->off + BLOCK + h->payload_len };
	e->last_lsn = h->lsn;
	epoch_apply(n, e);
	for (const struct epimg *ei = e->images; ei; ei = ei->next)
		if (ei->adopted && r->boot->images && !boot_find(r->boot, ei->image->id)) /* unlinked since, by a pass that a crash cut; or lost */
			ei->image->file = ei->image->consistent = false;
	epoch_seal(n, e);
	n->committed = e->number;
	n->committed_wall_ms = e->wall_ms;
	memcpy(n->committed_name, e->name, sizeof(n->committed_name));
	if (e->generation != n->st.lineage.generation && e->generation == n->st.adopting.generation && !n->st.promoted)
		n->st.lineage = n->st.adopting;
	if (e->number > n->st.rejoin_epoch || MUTANT("discard-forgotten"))
		epoch_levels(n, e);
}

/* ---- the overlay that a failover took ---- */

static int overlay_record(void *ctx, const struct batch_header *h, const struct journal_mark *at, const struct record *rec,
                          uint64_t pos, const void *payload)
{
	struct restore *r = ctx;
	int err;

	(void)at;
	if (!(h->flags & BATCH_LOCAL) || h->incarnation != r->n->st.overlay_incarnation)
		return -EBADMSG;
	err = record_apply(r->n, r->overlay, rec, pos | POS_OVERLAY, payload);
	return err == -EPROTO ? 0 : err; /* an image that is gone by now */
}

static int restore_overlay(struct restore *r)
{
	struct node *n = r->n;
	struct state *st = &n->st;
	struct journal_tail tail = { st->overlay_first, st->overlay_sum, st->overlay_slot, st->overlay_off,
		st->overlay_last };

	if (r->overlay_done)
		return 0;
	r->overlay_done = true;
	drop_pending(r);
	if (st->promoted && n->prep_ep) { /* the failover dropped it; what follows was written to the committed sizes */
		epoch_free(n->prep_ep);
		n->prep_ep = NULL;
		epoch_reset_views(n);
	}
	if (!st->promoted || !st->overlay_first)
		return 0;
	r->overlay = epoch_new(n->committed, st->session_high);
	if (!r->overlay)
		return -ENOMEM;
	int err = journal_recover(&n->overlay, &tail, overlay_record, r, r->err, r->err_size);

	if (err) {
		epoch_free(r->overlay);
		return err;
	}
	r->overlay->has_overlay = true;
	epoch_apply(n, r->overlay);
	epoch_seal(n, r->overlay);
	return 0;
}

/* ---- the journal ---- */

static int local_record(struct restore *r, const struct journal_mark *at, const struct record *rec, uint64_t pos,
                        const void *payload)
{
	struct node *n = r->n;
	int err = restore_overlay(r);

	if (err)
		return err;
	if (!n->st.promoted)
		return 0; /* from before `drained` was recorded; the images have it */
	if (!n->local) {
		n->local = epoch_new(n->committed, n->st.session_high);
		if (!n->local)
			return -ENOMEM;
		n->local->first = *at;
	}
	err = record_apply(n, n->local, rec, pos, payload);
	struct image *img = node_image_by_id(n, rec->image);

	if (img)
		img->size = img->next_size;
	return err == -EPROTO ? 0 : err;
}

/* What an earlier session left unfinished becomes part of this one's first epoch; the rest of what it left is void. */
static int kept(struct restore *r, const struct batch_header *h, const struct journal_mark *at, const struct record *rec)
{
	struct epoch *older = NULL, *e;
	int err = 0;

	for (struct epoch **p = &r->pending; *p && !MUTANT("kept-forgotten"); p = &(*p)->older)
		if ((*p)->number == rec->image && (*p)->session == rec->off) {
			older = *p;
			*p = older->older;
			break;
		}
	while (r->pending) {
		e = r->pending;
		r->pending = e->older;
		epoch_free(e);
	}
	epoch_reset_views(r->n); /* no sizes or names are in what is kept */
	e = pending_epoch(r, h, at);
	if (!e)
		err = -ENOMEM;
	else if (older)
		err = epoch_merge(e, older);
	epoch_free(older);
	return err;
}

static int journal_record(void *ctx, const struct batch_header *h, const struct journal_mark *at,
                          const struct record *rec, uint64_t pos, const void *payload)
{
	struct restore *r = ctx;
	struct node *n = r->n;

	if (h->flags & BATCH_LOCAL)
		return local_record(r, at, rec, pos, payload);
	if (h->session != r->session && rec->type != REC_KEEP)
		drop_pending(r);
	r->session = h->session;
	if (h->epoch <= n->st.epoch || h->epoch <= n->committed)
		return 0; /* in the images already */
	if (rec->type == REC_ABORT)
		return aborted(r, h, at, rec);
	if (rec->type == REC_KEEP)
		return kept(r, h, at, rec);
	struct epoch *e = pending_epoch(r, h, at);

	if (!e)
		return -ENOMEM;
	if (rec->type == REC_DROP) {
		struct journal_mark first = e->first;

		drop_pending(r);
		e = pending_epoch(r, h, at);
		if (e)
			e->first = first;
		return e ? 0 : -ENOMEM;
	}
	if (rec->type == REC_COMMIT || rec->type == REC_PREPARE) {
		if (!whole(e, rec))
			return 0;
		if (rec->type == REC_COMMIT)
			commit(r, e, h, at, rec, payload);
		else
			prepared(r, e, rec, payload);
		return 0;
	}
	if (!e->jcount)
		e->jfirst = rec->seq;
	e->jlast = rec->seq;
	e->jcount++;
	int err = record_apply(n, e, rec, pos, payload);

	if (err == -EPROTO) { /* the rest of a refused epoch, whose beginning is gone: no commit record names it */
		e->session = 0;
		err = 0;
	}
	return err;
}

/* ---- the images' table ---- */

static int table(struct node *n, const struct boot *boot)
{
	for (uint32_t i = 0; i < n->st.image_count; i++) {
		struct state_image *im = &n->st.images[i];
		struct image *img = image_add(n, im->id);

		if (!img)
			return -ENOMEM;
		memcpy(img->name, im->name, sizeof(img->name));
		memcpy(img->next_name, im->name, sizeof(img->name));
		img->size = img->next_size = im->size;
		img->visible = img->next_visible = true;
		const struct boot_image *b = boot_find(boot, im->id);

		img->file = b;
		img->capacity = b ? b->capacity : 0;
		img->consistent = im->consistent && img->file;
	}
	return 0;
}

/* After the walk: an image that the journal unlinks may be gone already. */
static void say_gone(struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible && !i->file && !i->consistent && !n->journal_lost)
			node_error(n, "image %s is gone from SOURCE; it is inconsistent until the primary sends it again", i->name);
}

/* After the walk: what is left over. */
static int leftovers(struct node *n, const struct boot *boot)
{
	/* Files of a first sync that was cut: compared, not sent anew, when the primary comes back. */
	for (size_t i = 0; i < boot->image_count; i++) {
		const struct boot_image *b = &boot->images[i];
		struct image *img = b->id ? node_image_by_id(n, b->id) : NULL;

		if (img) { /* known from the journal alone, perhaps: an interrupted pass made its file, which the next may have to remove */
			img->file = true;
			img->capacity = b->capacity;
		}
		if (!b->id || img)
			continue;
		img = image_add(n, b->id);

		if (!img)
			return -ENOMEM;
		img->file = true;
		img->capacity = b->capacity;
		if (!n->st.have_pair || b->name[0]) {
			memcpy(img->next_name, b->name, sizeof(img->next_name)); /* a device may be adopted by its name */
			img->foreign = true; /* did not come from this pair: not shown, replaced only with overwrite=yes */
			continue;
		}
		img->direct = true;
		img->next_size = b->size;
		snprintf(img->next_name, sizeof(img->next_name), "incomplete-%" PRIu64, b->id);
	}
	return 0;
}

/*
 * The journal is not where the state says. Perhaps only journal= was changed: so the state is left as it is, and the
 * right journal can still be mounted. It is given up when a primary begins to send everything anew.
 */
static void lost(struct node *n)
{
	n->journal_lost = n->journal.lost = n->overlay.lost = true;
	for (struct image *i = n->images; i; i = i->next) {
		i->consistent = false;
		i->visible = i->next_visible = false;
		i->direct = true;
	}
	n->committed = 0;
}

void restore_give_up(struct node *n)
{
	struct state *st = &n->st;

	if (!n->journal_lost)
		return;
	n->journal_lost = n->journal.lost = n->overlay.lost = false;
	st->image_count = 0;
	st->epoch = 0;
	memset(&st->lineage, 0, sizeof(st->lineage));
	n->env->ops->random(n->env, st->journal_id, 16);
	memcpy(n->journal.id, st->journal_id, 16);
	memcpy(n->overlay.id, st->journal_id, 16);
}

/* ---- opening ---- */

static uint32_t segment_size(const struct node *n, const struct boot_segment *segs, size_t count, uint64_t limit)
{
	if (n->config.segment_size)
		return n->config.segment_size;
	if (count && segs[0].size >= (1u << 20) && segs[0].size <= (64u << 20) && segs[0].size % BLOCK == 0)
		return (uint32_t)segs[0].size;
	return limit >= (256u << 20) ? 16u << 20 : limit >= (64u << 20) ? 4u << 20 : 1u << 20;
}

static void add_slots(struct journal *j, const struct boot_segment *segs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (segs[i].size == j->segment_size)
			journal_add_slot(j, segs[i].slot);
}

static uint32_t slots_there(const struct boot_segment *segs, size_t count)
{
	uint32_t slots = 0;

	for (size_t i = 0; i < count; i++)
		if (segs[i].slot >= slots && segs[i].slot < UINT32_MAX / 4)
			slots = segs[i].slot + 1;
	return slots;
}

static int open_logs(struct node *n, const struct boot *boot)
{
	struct counters *c = &n->counters;
	uint64_t overlay = n->config.overlay_size + n->config.overlay_size / 8;
	uint32_t size = segment_size(n, boot->journal, boot->journal_count, n->config.journal_size);
	uint32_t osize = segment_size(n, boot->overlay, boot->overlay_count, n->config.overlay_size);

	int err = journal_init(&n->journal, n->env, FILE_JOURNAL, n->st.journal_id, size, n->config.journal_size,
	                       slots_there(boot->journal, boot->journal_count), BATCHES_MAX);
	if (!err)
		err = journal_init(&n->overlay, n->env, FILE_OVERLAY, n->st.journal_id, osize, overlay + 4ull * osize,
		                   slots_there(boot->overlay, boot->overlay_count), 8);
	if (err)
		return err;
	n->journal.owner = n->overlay.owner = n;
	n->journal.on_written = n->overlay.on_written = twin_written;
	n->journal.count_syncs = &c->journal_fdatasyncs_total;
	n->journal.count_bytes = &c->journal_written_bytes_total;
	n->journal.count_records = &c->journal_records_total;
	n->journal.count_bad = n->overlay.count_bad = &c->checksum_errors_total;
	n->overlay.count_syncs = n->overlay.count_records = &n->uncounted;
	n->overlay.count_bytes = &c->overlay_written_bytes_total;
	add_slots(&n->journal, boot->journal, boot->journal_count);
	add_slots(&n->overlay, boot->overlay, boot->overlay_count);
	return destage_init(n);
}

static int walk(struct node *n, const struct boot *boot, char *err, size_t err_size)
{
	struct restore r = { .n = n, .boot = boot, .err = err, .err_size = err_size };
	struct journal_tail tail = { n->st.tail_lsn, n->st.tail_sum, n->st.tail_slot, n->st.tail_off, 0 };
	int error = journal_recover(&n->journal, &tail, journal_record, &r, err, err_size);

	if (MUTANT("recover-unfinished") && r.pending && r.pending->session) {
		struct epoch *e = r.pending;

		r.pending = e->older;
		e->end = (struct journal_mark){ tail.lsn, tail.sum, tail.slot, tail.off };
		epoch_apply(n, e);
		epoch_seal(n, e);
	}
	if (!error)
		error = restore_overlay(&r);
	drop_pending(&r);
	if (n->st.promoted)
		epoch_reset_views(n);
	if (!error)
		error = leftovers(n, boot);
	if (error)
		return error;
	say_gone(n);
	n->st.incarnation++;
	journal_start(&n->journal, n->st.incarnation, tail.lsn, tail.sum);
	/* The overlay's numbers never restart either: each incarnation has its own range. */
	journal_start(&n->overlay, n->st.incarnation, (n->st.incarnation << 32) + 1, 0);
	n->overlay_mark = journal_mark(&n->overlay);
	n->tail_wanted = !n->seals && !n->local && tail.lsn > n->st.tail_lsn;
	/* What recovery read may be in a volatile cache only: it is made durable before anyone sees it. */
	for (uint32_t i = 0; i < n->journal.slot_count; i++)
		n->journal.slots[i].dirty = n->journal.slots[i].state == SEG_FULL;
	return 0;
}

/* ---- a primary that becomes a backup ---- */

static struct boot_segment *segments_copy(const struct boot_segment *from, size_t count)
{
	struct boot_segment *to = calloc(count + 1, sizeof(*to));

	if (to)
		memcpy(to, from, count * sizeof(*to));
	return to;
}

/* Segments of an earlier life as a backup: their places, should this node become one again. 0, -ENOMEM. */
int restore_keep_segments(struct node *n, const struct boot *boot)
{
	n->kept.journal = n->kept_segments[0] = segments_copy(boot->journal, boot->journal_count);
	n->kept.overlay = n->kept_segments[1] = segments_copy(boot->overlay, boot->overlay_count);
	n->kept.journal_count = boot->journal_count;
	n->kept.overlay_count = boot->overlay_count;
	return n->kept.journal && n->kept.overlay ? 0 : -ENOMEM;
}

/* An empty journal, known to the state by the next save. 0, -errno. */
int restore_open_empty(struct node *n)
{
	n->env->ops->random(n->env, n->st.journal_id, 16);
	n->st.journal_used = true;
	n->st.tail_lsn = 1;
	n->st.tail_sum = 0;
	n->st.tail_slot = n->st.tail_off = 0;
	n->st.incarnation++;
	n->arena = n->arena ? n->arena : arena_create(ARENA_BYTES);
	int err = n->arena ? open_logs(n, &n->kept) : -ENOMEM;

	if (err) { /* the next try begins anew: half a journal must not pass for an open one */
		destage_free(n);
		journal_free(&n->journal);
		journal_free(&n->overlay);
	}
	return err;
}

/* The state names it: appending may begin. */
void restore_start_empty(struct node *n)
{
	if (!n->have_journal) {
		journal_start(&n->journal, n->st.incarnation, 1, 0);
		journal_start(&n->overlay, n->st.incarnation, (n->st.incarnation << 32) + 1, 0);
	}
	n->have_journal = true;
	n->overlay_mark = journal_mark(&n->overlay);
	n->overlay_bytes = 0;
}

/* The journal of a backup, or of a promoted node that is not drained. 0; -errno and one line in err. */
int restore_journal(struct node *n, const struct boot *boot, char *err, size_t err_size)
{
	bool fresh = !n->st.journal_used;

	if (fresh) {
		n->env->ops->random(n->env, n->st.journal_id, 16);
		n->st.tail_lsn = 1;
		n->st.tail_sum = 0;
		n->st.tail_slot = n->st.tail_off = 0;
	}
	n->arena = arena_create(ARENA_BYTES);
	int error = n->arena ? open_logs(n, boot) : -ENOMEM;

	if (!error)
		error = table(n, boot);
	if (error) {
		snprintf(err, err_size, "opening the journal: %s", strerror(-error));
		return error;
	}
	n->have_journal = true;
	n->committed = n->st.epoch;
	n->committed_wall_ms = n->st.epoch_wall_ms;
	memcpy(n->committed_name, n->st.epoch_name, sizeof(n->committed_name));
	if (!fresh && n->st.tail_lsn > 1 && !journal_present(&n->journal)) {
		node_error(n, "the journal that SOURCE names is not there: every image is inconsistent until the primary sends it "
		           "again; was journal= changed?");
		lost(n);
	}
	return walk(n, boot, err, err_size);
}
