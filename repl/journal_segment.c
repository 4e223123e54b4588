/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log's segments: created ahead of need and recycled, given back when the
 * file system is full. A segment's header is durable before its first batch.
 * Called by journal.c, whose batches they take; event-loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"

#define SEGMENTS_AHEAD 4u /* of the journal: making one takes longer than filling one */
#define CREATE_RETRY_MS 1000u
#define SHRUNK_MS 10000u /* no new segments after some were given back for want of space */

/* ---- how many ---- */

uint32_t segment_slots(const struct journal *j, uint64_t limit)
{
	uint64_t slots = limit / j->segment_size;

	return slots < 3 ? 3 : slots > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)slots;
}

int journal_resize(struct journal *j, uint64_t limit)
{
	uint32_t slots = segment_slots(j, limit);

	if (slots > j->slot_room)
		return -ENOSPC;
	j->slot_limit = slots;
	if (slots > j->slot_count) {
		j->in_state[SEG_ABSENT] += slots - j->slot_count;
		j->slot_count = slots;
	}
	j->retry_ms = 0;
	return 0;
}

void journal_add_slot(struct journal *j, uint32_t slot)
{
	if (slot < j->slot_count)
		segment_become(j, &j->slots[slot], SEG_FREE);
}

int segment_note_batch(struct segment *s, uint32_t off)
{
	if (s->batch_count == s->batch_room) {
		uint32_t room = s->batch_room ? s->batch_room * 2 : 64;
		uint32_t *p = realloc(s->batch_off, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->batch_off = p;
		s->batch_room = room;
	}
	s->batch_off[s->batch_count++] = off / BLOCK;
	return 0;
}

void segment_become(struct journal *j, struct segment *s, enum segment_state state)
{
	j->in_state[s->state]--;
	j->in_state[state]++;
	s->state = (uint8_t)state;
}

uint32_t segment_present(const struct journal *j)
{
	return j->slot_count - j->in_state[SEG_ABSENT];
}

bool journal_may_grow(const struct journal *j)
{
	return !j->failed && (j->creating || (segment_present(j) < j->slot_limit && !j->retry_ms));
}

/* ---- made, removed ---- */

static void created(struct io *io)
{
	struct journal *j = io->owner;
	struct segment *s = &j->slots[io->file];

	if (io->result == -EEXIST && io->op == IO_CREATE) {
		/* Of another size: what no start took for a part of this journal, damaged perhaps. */
		*io = (struct io){ .op = IO_REMOVE, .kind = (uint8_t)j->kind, .file = io->file, .done = created, .owner = j };
		j->env->ops->submit(j->env, io);
		return;
	}
	j->creating = false;
	if (io->result || io->op == IO_REMOVE) {
		/* No space for a segment is a full journal; tried again later. */
		segment_become(j, s, SEG_ABSENT);
		j->retry_ms = io->result ? UINT64_MAX : 0; /* the pump sets the time */
		return;
	}
	segment_become(j, s, SEG_FREE);
}

/* The overlay's writes are rarer; but one of the longest must fit what is ready. */
static uint32_t segments_ahead(const struct journal *j)
{
	return j->kind == FILE_JOURNAL ? SEGMENTS_AHEAD : 1 + 4 * IO_MAX_LEN / j->segment_size;
}

void segment_create_ahead(struct journal *j, uint64_t now_ms)
{
	if (j->creating || j->failed || j->lost)
		return;
	if (j->retry_ms == UINT64_MAX)
		j->retry_ms = now_ms + CREATE_RETRY_MS;
	if (j->retry_ms) {
		if (now_ms < j->retry_ms)
			return;
		j->retry_ms = 0;
	}
	if (j->in_state[SEG_FREE] >= segments_ahead(j) || segment_present(j) >= j->slot_limit)
		return;
	for (uint32_t i = 0; i < j->slot_count; i++) {
		if (j->slots[i].state != SEG_ABSENT)
			continue;
		segment_become(j, &j->slots[i], SEG_CREATING);
		j->creating = true;
		j->create_io = (struct io){ .op = IO_CREATE, .kind = (uint8_t)j->kind, .file = i,
			.len = j->segment_size, .done = created, .owner = j };
		j->env->ops->submit(j->env, &j->create_io);
		return;
	}
}

static void removed(struct io *io)
{
	struct journal *j = io->owner;

	j->removing = false;
	segment_become(j, &j->slots[io->file], io->result && io->result != -ENOENT ? SEG_FREE : SEG_ABSENT);
}

bool journal_shrink(struct journal *j, uint64_t now_ms)
{
	for (uint32_t i = j->slot_count; i-- > 0 && !j->removing;) {
		if (j->slots[i].state != SEG_FREE)
			continue;
		segment_become(j, &j->slots[i], SEG_CREATING);
		j->removing = true;
		j->retry_ms = now_ms + SHRUNK_MS;
		j->remove_io = (struct io){ .op = IO_REMOVE, .kind = (uint8_t)j->kind, .file = i, .done = removed,
			.owner = j };
		j->env->ops->submit(j->env, &j->remove_io);
		return true;
	}
	return false;
}

/* ---- used ---- */

static void header_done(struct io *io)
{
	struct journal *j = io->owner;
	struct segment *s = &j->slots[io->file];

	if (!io->result && io->op == IO_WRITE) {
		*j->count_syncs += 1;
		*io = (struct io){ .op = IO_SYNC, .kind = (uint8_t)j->kind, .file = io->file, .done = header_done, .owner = j };
		j->env->ops->submit(j->env, io);
		return;
	}
	j->activating--;
	free(s->header);
	s->header = NULL;
	if (io->result) {
		journal_fail(j, io->result);
		return;
	}
	/* The header is durable: recovery will find this segment by its first LSN. */
	s->ready = true;
	journal_push_ready(j);
}

static void background_done(struct journal_sync *s, int error)
{
	(void)error; /* journal_fail() has said so to everyone */
	s->waiting = false;
}

void segment_close(struct journal *j)
{
	if (j->active == UINT32_MAX)
		return;
	segment_become(j, &j->slots[j->active], SEG_FULL);
	j->active = UINT32_MAX;
	if (!j->background.waiting) {
		j->background.done = background_done;
		journal_sync(j, &j->background);
	}
}

/* Take a free segment; the batches for it wait until its header is durable. */
int segment_open(struct journal *j)
{
	for (uint32_t i = 0; i < j->slot_count; i++) {
		struct segment *s = &j->slots[i];

		if (s->state != SEG_FREE)
			continue;
		struct segment_header h = { .incarnation = j->incarnation, .first_lsn = j->next_lsn,
			.synced_lsn = j->synced_lsn, .slot = i, .size = j->segment_size };

		s->header = aligned_alloc(BLOCK, BLOCK);
		if (!s->header)
			return -EAGAIN;
		journal_cache_drop(j);
		segment_become(j, s, SEG_ACTIVE);
		s->ready = false;
		s->first_lsn = j->next_lsn;
		s->last_lsn = j->next_lsn - 1;
		s->batch_count = 0;
		s->dirty = false;
		j->active = i;
		j->active_off = BLOCK;
		j->activating++;
		segment_header_encode(s->header, j->id, &h);
		s->header_io = (struct io){ .op = IO_WRITE, .kind = (uint8_t)j->kind, .file = i, .len = BLOCK,
			.buf = s->header, .done = header_done, .owner = j };
		j->env->ops->submit(j->env, &s->header_io);
		return 0;
	}
	return -EAGAIN;
}

void journal_release(struct journal *j, uint64_t lsn)
{
	for (uint32_t i = 0; i < j->slot_count; i++) {
		struct segment *s = &j->slots[i];

		if (s->state == SEG_FULL && s->last_lsn < lsn && s->last_lsn <= j->written_lsn) {
			segment_become(j, s, SEG_FREE);
			s->batch_count = 0;
		}
	}
}
