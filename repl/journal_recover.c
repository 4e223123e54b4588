/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery of a log. Position is believed, not only checksums: batches are
 * walked in LSN order from the tail the state names; at a break it goes on
 * only in a segment whose header names exactly the next LSN, the highest
 * incarnation first. What lies behind is void, however valid its checksum: it
 * is the leaving of an append that a crash cut short, or of an older life.
 * A break below an LSN that is known to have been synced is damage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"
#include "mutant.h"
#include "sum.h"

struct walk {
	struct journal *j;
	struct segment_header *headers; /* one a slot; size 0: none of ours */
	uint8_t *buf;                   /* BATCH_BYTES */
	uint64_t lsn, sum;              /* the next batch wanted */
	uint32_t slot, off;
	uint64_t synced;                /* the highest LSN known to have been synced */
	int (*each)(void *ctx, const struct batch_header *h, const struct journal_mark *at, const struct record *r,
	            uint64_t pos, const void *payload);
	void *ctx;
};

static int read_block(struct journal *j, uint32_t slot, uint32_t off, void *buf, size_t len)
{
	return j->env->ops->read_now(j->env, j->kind, slot, off, buf, len);
}

static int headers_read(struct walk *w)
{
	struct journal *j = w->j;

	for (uint32_t i = 0; i < j->slot_count; i++) {
		if (j->slots[i].state == SEG_ABSENT)
			continue;
		int err = read_block(j, i, 0, w->buf, BLOCK);

		if (err)
			return err;
		if (segment_header_decode(w->buf, j->id, &w->headers[i]) || w->headers[i].slot != i ||
		    w->headers[i].size != j->segment_size) {
			w->headers[i].size = 0;
			continue;
		}
		if (w->headers[i].synced_lsn > w->synced)
			w->synced = w->headers[i].synced_lsn;
	}
	return 0;
}

bool journal_present(struct journal *j)
{
	uint8_t *block = aligned_alloc(BLOCK, BLOCK);
	struct segment_header h;
	bool found = false;

	for (uint32_t i = 0; block && i < j->slot_count && !found; i++)
		found = j->slots[i].state != SEG_ABSENT && !read_block(j, i, 0, block, BLOCK) &&
			!segment_header_decode(block, j->id, &h);
	free(block);
	return found;
}

/* The batch at (slot, off), if it is the one wanted. 0, -EBADMSG (not there), the disk's error. */
static int batch_at(struct walk *w, uint32_t slot, uint32_t off, struct batch_header *h)
{
	struct journal *j = w->j;

	if (off + 2 * BLOCK > j->segment_size && off + BLOCK > j->segment_size)
		return -EBADMSG;
	int err = read_block(j, slot, off, w->buf, BLOCK);

	if (err)
		return err;
	if (batch_header_decode(w->buf, j->id, h))
		return -EBADMSG;
	if (h->lsn != w->lsn || h->prev_sum != w->sum)
		return -EBADMSG;
	if (h->incarnation != w->headers[slot].incarnation && !MUTANT("no-incarnation"))
		return -EBADMSG;
	if (h->payload_len > j->segment_size - off - BLOCK)
		return -EBADMSG;
	if (h->payload_len) {
		err = read_block(j, slot, off + BLOCK, w->buf + BLOCK, h->payload_len);
		if (err)
			return err;
	}
	for (uint32_t i = 0; i < h->count; i++) {
		struct record r;

		batch_record_decode(w->buf, i, &r);
		if (r.payload_len && sum64(w->buf + r.payload_off, r.payload_len) != r.sum && !MUTANT("recover-no-checksum"))
			return -EBADMSG;
	}
	return 0;
}

static int batch_take(struct walk *w, const struct batch_header *h)
{
	struct segment *s = &w->j->slots[w->slot];

	if (s->state != SEG_FULL) {
		segment_become(w->j, s, SEG_FULL);
		s->ready = true;
		s->first_lsn = h->lsn;
		s->batch_count = 0;
	}
	s->last_lsn = h->lsn;
	if (segment_note_batch(s, w->off))
		return -ENOMEM;
	if (h->synced_lsn > w->synced)
		w->synced = h->synced_lsn;
	struct journal_mark at = { h->lsn, h->prev_sum, w->slot, w->off };

	for (uint32_t i = 0; i < h->count; i++) {
		struct record r;

		batch_record_decode(w->buf, i, &r);
		uint64_t pos = (uint64_t)w->slot * w->j->segment_size + w->off + r.payload_off;
		int err = w->each(w->ctx, h, &at, &r, pos, w->buf + r.payload_off);

		if (err)
			return err;
	}
	w->lsn = h->lsn + 1;
	w->sum = h->sum;
	w->off += BLOCK + h->payload_len;
	return 0;
}

/* A segment whose header names exactly the next LSN; the highest incarnation wins. */
static bool segment_next(struct walk *w)
{
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < w->j->slot_count; i++) {
		if (!w->headers[i].size || w->headers[i].first_lsn != w->lsn)
			continue;
		if (best == UINT32_MAX || MUTANT("no-incarnation") || w->headers[i].incarnation > w->headers[best].incarnation)
			best = i;
	}
	if (best == UINT32_MAX || (best == w->slot && w->off == BLOCK))
		return false;
	w->slot = best;
	w->off = BLOCK;
	return true;
}

/* Behind a break: does any batch in this segment know of a later sync? */
static int look_behind(struct walk *w)
{
	struct journal *j = w->j;

	if (w->slot >= j->slot_count || !w->headers[w->slot].size)
		return 0;
	for (uint32_t off = w->off; off + BLOCK <= j->segment_size; off += BLOCK) {
		struct batch_header h;
		int err = read_block(j, w->slot, off, w->buf, BLOCK);

		if (err)
			return err;
		if (!batch_header_decode(w->buf, j->id, &h) && h.lsn >= w->lsn &&
		    h.incarnation == w->headers[w->slot].incarnation) {
			if (h.synced_lsn > w->synced)
				w->synced = h.synced_lsn;
			if (MUTANT("recover-behind-break") && h.lsn > w->lsn) {
				w->lsn = h.lsn;
				w->sum = h.prev_sum;
				w->off = off;
				return 1;
			}
		}
	}
	return 0;
}

static int walk_run(struct walk *w, uint64_t last_lsn)
{
	struct batch_header h;

	while (!last_lsn || w->lsn <= last_lsn) {
		int err = -EBADMSG;

		if (w->slot < w->j->slot_count && w->headers[w->slot].size && w->headers[w->slot].first_lsn <= w->lsn)
			err = batch_at(w, w->slot, w->off, &h);
		if (err == -EBADMSG && segment_next(w))
			continue;
		if (err == -EBADMSG) {
			err = look_behind(w);
			if (err <= 0)
				return err;
			continue;
		}
		if (!err)
			err = batch_take(w, &h);
		if (err)
			return err;
	}
	return 0;
}

int journal_recover(struct journal *j, struct journal_tail *tail,
                    int (*each)(void *ctx, const struct batch_header *h, const struct journal_mark *at,
                                const struct record *r, uint64_t pos, const void *payload), void *ctx, char *err, size_t err_size)
{
	struct walk w = { .j = j, .lsn = tail->lsn, .sum = tail->sum, .slot = tail->slot,
		.off = tail->off ? tail->off : BLOCK, .each = each, .ctx = ctx, .synced = 0 };
	int error = -ENOMEM;

	w.headers = calloc(j->slot_count, sizeof(*w.headers));
	w.buf = aligned_alloc(BLOCK, BATCH_BYTES);
	if (!w.headers || !w.buf)
		goto out;
	error = headers_read(&w);
	if (!error)
		error = walk_run(&w, tail->last_lsn);
	if (!error && (w.lsn <= w.synced || (tail->last_lsn && w.lsn <= tail->last_lsn))) {
		snprintf(err, err_size, "journal damaged: record %llu in segment %u is broken, though %llu was synced",
		         (unsigned long long)w.lsn, w.slot, (unsigned long long)w.synced);
		error = -EBADMSG;
	} else if (error) {
		snprintf(err, err_size, "reading the journal's segment %u: %s", w.slot, strerror(-error));
	}
	tail->lsn = w.lsn;
	tail->sum = w.sum;
	tail->slot = w.slot;
	tail->off = w.off;
out:
	free(w.headers);
	free(w.buf);
	return error;
}
