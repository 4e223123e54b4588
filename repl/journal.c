/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Appending to a log: batches are filled in memory, written by O_DIRECT in LSN
 * order (several in flight), made durable on demand. Its segments:
 * journal_segment.c. Owned by the node; event-loop thread only.
 */
#include "journal_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mutant.h"
#include "sum.h"

enum { BATCH_FREE, BATCH_OPEN, BATCH_CLOSED, BATCH_WRITING, BATCH_WRITTEN };

#ifndef SLOTS_ROOM /* the simulator, which opens thousands of small ones, sets its own */
#define SLOTS_ROOM 4096u /* what an open journal can grow to at least: 64 GiB in the usual segments */
#endif

static void sync_pump(struct journal *j);

static uint32_t round_up(uint32_t n, uint32_t to)
{
	return (n + to - 1) / to * to;
}

int journal_init(struct journal *j, struct env *env, enum file_kind kind, const uint8_t id[16], uint32_t segment_size,
                 uint64_t limit, uint32_t slots, uint32_t batches)
{
	memset(j, 0, sizeof(*j));
	j->env = env;
	j->kind = kind;
	memcpy(j->id, id, 16);
	j->segment_size = segment_size;
	j->slot_limit = segment_slots(j, limit);
	j->slot_count = j->slot_limit > slots ? j->slot_limit : slots;
	j->slot_room = j->slot_count > SLOTS_ROOM ? j->slot_count : SLOTS_ROOM;
	j->in_state[SEG_ABSENT] = j->slot_count;
	j->batch_count = batches;
	j->active = UINT32_MAX;
	j->syncs_tail = &j->syncs;
	j->slots = calloc(j->slot_room, sizeof(*j->slots));
	j->batches = calloc(batches, sizeof(*j->batches));
	j->sync_ios = calloc(j->slot_room, sizeof(*j->sync_ios));
	if (!j->slots || !j->batches || !j->sync_ios)
		return -ENOMEM;
	for (uint32_t i = 0; i < batches; i++) {
		j->batches[i].buf = aligned_alloc(BLOCK, BATCH_BYTES);
		j->batches[i].journal = j;
		if (!j->batches[i].buf)
			return -ENOMEM;
	}
	return journal_reads_init(j);
}

void journal_free(struct journal *j)
{
	for (uint32_t i = 0; j->slots && i < j->slot_count; i++) {
		free(j->slots[i].batch_off);
		free(j->slots[i].header);
	}
	for (uint32_t i = 0; j->batches && i < j->batch_count; i++)
		free(j->batches[i].buf);
	journal_reads_free(j);
	free(j->slots);
	free(j->batches);
	free(j->sync_ios);
	memset(j, 0, sizeof(*j));
}

void journal_start(struct journal *j, uint64_t incarnation, uint64_t next_lsn, uint64_t last_sum)
{
	j->incarnation = incarnation;
	j->next_lsn = next_lsn;
	j->last_sum = last_sum;
	j->written_lsn = j->synced_lsn = next_lsn - 1;
}

void journal_fail(struct journal *j, int error)
{
	if (!j->failed)
		j->failed = error;
	sync_pump(j);
	if (j->on_written)
		j->on_written(j);
}

/* ---- batches ---- */

static void written(struct io *io)
{
	struct batch *b = io->owner;
	struct journal *j = b->journal;

	b->state = BATCH_WRITTEN;
	j->slots[b->slot].dirty = true;
	if (io->result) {
		journal_fail(j, io->result);
		return;
	}
	bool moved = false;

	/* Acknowledge in LSN order only. */
	while (j->batch_used && j->batches[j->batch_first].state == BATCH_WRITTEN && !j->failed) {
		struct batch *first = &j->batches[j->batch_first];

		if (!MUTANT("ack-out-of-order") || first->lsn > j->written_lsn)
			j->written_lsn = first->lsn;
		first->state = BATCH_FREE;
		j->batch_first = (j->batch_first + 1) % j->batch_count;
		j->batch_used--;
		moved = true;
	}
	if (!j->batch_used)
		j->batch_first = 0; /* the same buffers again, not all in their turn: they are in the caches */
	if (MUTANT("ack-out-of-order") && b->lsn > j->written_lsn) {
		j->written_lsn = b->lsn;
		moved = true;
	}
	if (moved) {
		sync_pump(j);
		if (j->on_written)
			j->on_written(j);
	}
}

/* Write what is closed and whose segment is ready. */
void journal_push_ready(struct journal *j)
{
	for (uint32_t i = 0; i < j->batch_used && !j->failed; i++) {
		struct batch *b = &j->batches[(j->batch_first + i) % j->batch_count];

		if (b->state != BATCH_CLOSED)
			continue;
		if (!j->slots[b->slot].ready)
			return;
		b->state = BATCH_WRITING;
		b->io = (struct io){ .op = IO_WRITE, .kind = (uint8_t)j->kind, .file = b->slot, .off = b->off,
			.len = b->used, .buf = b->buf, .done = written, .owner = b };
		*j->count_bytes += b->used;
		j->env->ops->submit(j->env, &b->io);
	}
}

void journal_push(struct journal *j)
{
	struct batch *b = j->open;

	if (!b)
		return;
	if (!b->count) { /* a record was begun, its payload never came: as if nothing had been */
		j->slots[b->slot].batch_count--;
		b->state = BATCH_FREE;
		j->batch_used--;
		j->open = NULL;
		return;
	}
	uint32_t used = round_up(b->used, BLOCK);

	memset(b->buf + b->used, 0, used - b->used);
	b->used = used;
	struct batch_header h = { .count = b->count, .flags = b->flags, .payload_len = used - BLOCK,
		.incarnation = j->incarnation, .lsn = b->lsn, .prev_sum = j->last_sum, .synced_lsn = j->synced_lsn,
		.session = b->session, .epoch = b->epoch };

	batch_header_encode(b->buf, j->id, &h);
	j->last_sum = h.sum;
	j->next_lsn = b->lsn + 1;
	j->slots[b->slot].last_lsn = b->lsn;
	j->active_off += used;
	b->state = BATCH_CLOSED;
	j->open = NULL;
	journal_push_ready(j);
}

static int batch_open(struct journal *j, uint64_t session, uint64_t epoch, uint16_t flags, uint32_t need)
{
	if (j->batch_used == j->batch_count)
		return -EAGAIN;
	if (j->active != UINT32_MAX && j->segment_size - j->active_off < BLOCK + round_up(need, BLOCK))
		segment_close(j);
	if (j->active == UINT32_MAX) {
		int err = segment_open(j);

		if (err)
			return err;
	}
	struct batch *b = &j->batches[(j->batch_first + j->batch_used) % j->batch_count];
	uint32_t left = j->segment_size - j->active_off;

	if (segment_note_batch(&j->slots[j->active], j->active_off))
		return -EAGAIN;
	j->batch_used++;
	b->state = BATCH_OPEN;
	b->slot = j->active;
	b->off = j->active_off;
	b->used = BLOCK;
	b->limit = left < BATCH_BYTES ? left : BATCH_BYTES;
	b->count = 0;
	b->flags = flags;
	b->session = session;
	b->epoch = epoch;
	b->lsn = j->next_lsn;
	j->open = b;
	return 0;
}

int journal_get(struct journal *j, uint64_t session, uint64_t epoch, uint16_t flags, uint32_t len, void **payload,
                uint64_t *pos)
{
	assert(len <= RECORD_DATA_MAX);
	if (j->failed)
		return j->failed;
	struct batch *b = j->open;

	if (b && (b->session != session || b->epoch != epoch || b->flags != flags || b->count == BATCH_RECORDS ||
	          b->used + round_up(len, 512) > b->limit)) {
		journal_push(j);
		b = NULL;
	}
	if (!b) {
		int err = batch_open(j, session, epoch, flags, len);

		if (err)
			return err;
		b = j->open;
	}
	*payload = b->buf + b->used;
	*pos = (uint64_t)b->slot * j->segment_size + b->off + b->used;
	return 0;
}

void journal_put(struct journal *j, struct record *r)
{
	struct batch *b = j->open;

	assert(b && b->count < BATCH_RECORDS);
	r->payload_off = r->payload_len ? b->used : 0;
	batch_record_encode(b->buf, b->count, r);
	uint32_t padded = round_up(r->payload_len, 512);

	memset(b->buf + b->used + r->payload_len, 0, padded - r->payload_len);
	b->used += padded;
	b->count++;
	*j->count_records += 1;
}

uint64_t journal_lsn(const struct journal *j)
{
	return j->open ? j->open->lsn : j->next_lsn - 1;
}

struct journal_mark journal_mark(const struct journal *j)
{
	if (j->open)
		return (struct journal_mark){ j->open->lsn, j->last_sum, j->open->slot, j->open->off };
	return (struct journal_mark){ j->next_lsn, j->last_sum, j->active, j->active == UINT32_MAX ? 0 : j->active_off };
}

/* ---- durability ---- */

static void syncs_finish(struct journal *j)
{
	struct journal_sync *list = j->syncs, *keep = NULL, **keep_tail = &keep;

	j->syncs = NULL;
	j->syncs_tail = &j->syncs;
	while (list) {
		struct journal_sync *s = list;

		list = s->next;
		s->next = NULL;
		if (!j->failed && s->lsn > j->synced_lsn) {
			*keep_tail = s;
			keep_tail = &s->next;
		} else {
			s->waiting = false;
			s->done(s, j->failed);
		}
	}
	if (keep) { /* in front of what done() may have added */
		*keep_tail = j->syncs;
		if (!j->syncs)
			j->syncs_tail = keep_tail;
		j->syncs = keep;
	}
}

static void round_end(struct journal *j)
{
	j->syncing = false;
	if (j->sync_error) {
		/* After a failed fdatasync the kernel may have dropped the data: never tried again. */
		if (!j->failed)
			j->failed = j->sync_error;
	} else {
		j->synced_lsn = j->sync_lsn;
	}
	syncs_finish(j);
	if (j->failed && j->on_written)
		j->on_written(j);
	sync_pump(j);
}

static void segment_synced(struct io *io)
{
	struct journal *j = io->owner;

	if (io->result)
		j->sync_error = io->result;
	if (--j->sync_outstanding == 0)
		round_end(j);
}

/* One round: fdatasync of every segment written since its last one, once all batches that the first waiter
 * wants are written. When the round ends, everything up to sync_lsn survives a crash. */
static void sync_pump(struct journal *j)
{
	if (j->syncing || !j->syncs)
		return;
	if (j->failed) {
		if (!j->sync_outstanding)
			syncs_finish(j);
		return;
	}
	if (j->syncs->lsn > j->written_lsn)
		return;
	j->syncing = true;
	j->sync_error = 0;
	j->sync_lsn = j->written_lsn;
	j->sync_outstanding = 1;
	for (uint32_t i = 0; i < j->slot_count; i++) {
		if (!j->slots[i].dirty)
			continue;
		j->slots[i].dirty = false;
		if (MUTANT("no-commit-fdatasync"))
			continue;
		j->sync_outstanding++;
		*j->count_syncs += 1;
		j->sync_ios[i] = (struct io){ .op = IO_SYNC, .kind = (uint8_t)j->kind, .file = i,
			.done = segment_synced, .owner = j };
		j->env->ops->submit(j->env, &j->sync_ios[i]);
	}
	if (--j->sync_outstanding == 0)
		round_end(j);
}

void journal_sync(struct journal *j, struct journal_sync *s)
{
	journal_push(j);
	s->lsn = j->next_lsn - 1;
	s->waiting = true;
	s->next = NULL;
	*j->syncs_tail = s;
	j->syncs_tail = &s->next;
	if (s->lsn > j->written_lsn)
		return; /* written() goes on */
	/* else the pump, so that done() is never called from in here */
}

/* ---- room ---- */

uint64_t journal_room(const struct journal *j)
{
	uint64_t waste = BLOCK * 2 + RECORD_DATA_MAX; /* header, and a tail too short for a record */
	uint64_t per = j->segment_size - waste;
	uint64_t room = j->in_state[SEG_FREE] * per;

	if (j->active != UINT32_MAX && !j->open && j->segment_size - j->active_off > waste)
		room += j->segment_size - j->active_off - waste;
	else if (j->open && j->open->limit > j->open->used)
		room += j->segment_size - j->open->off - j->open->used > waste ?
			j->segment_size - j->open->off - j->open->used - waste : 0;
	uint64_t reserve = per / 2; /* for commit and other records */

	return j->failed || room < reserve ? 0 : room - reserve;
}

uint64_t journal_buffer_room(const struct journal *j)
{
	uint32_t spare = BATCHES_MAX - BATCHES_CREDIT - 2; /* for batches that commits close early */
	uint32_t used = j->batch_used > spare ? j->batch_used - spare : 0;

	return used >= BATCHES_CREDIT ? 0 : (uint64_t)(BATCHES_CREDIT - used) * BATCH_PAYLOAD;
}

uint64_t journal_used(const struct journal *j)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < j->slot_count; i++)
		if (j->slots[i].state == SEG_FULL)
			used += j->segment_size;
		else if (i == j->active)
			used += j->active_off + (j->open ? j->open->used : 0);
	return used;
}

void journal_pump(struct journal *j, uint64_t now_ms, bool quiet)
{
	if (!quiet || !j->in_state[SEG_FREE])
		segment_create_ahead(j, now_ms);
	if (segment_present(j) > j->slot_limit)
		journal_shrink(j, now_ms);
	sync_pump(j);
	journal_reads_pump(j);
}

const struct batch *journal_in_memory(const struct journal *j, uint64_t pos)
{
	for (uint32_t i = 0; i < j->batch_used; i++) {
		const struct batch *b = &j->batches[(j->batch_first + i) % j->batch_count];
		uint64_t start = (uint64_t)b->slot * j->segment_size + b->off;

		if (pos >= start && pos < start + b->used)
			return b;
	}
	return NULL;
}
