/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verified reads from a log: the record that holds a position is found through
 * its batch's descriptor, its payload read whole and its checksum compared
 * before a byte is given out. Batches still in memory are copied from there.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"
#include "sum.h"

#define CACHE_BLOCKS 64u
#define SLOT_BYTES (RECORD_DATA_MAX + 2 * BLOCK)

struct jread_slot {
	struct jread *read; /* NULL: free */
	uint8_t *buf;
	struct io io;
	struct record record;
	uint64_t batch_pos; /* position of the descriptor */
};

int journal_reads_init(struct journal *j)
{
	j->reads_tail = &j->reads_waiting;
	j->read_slots = calloc(JREADS_MAX, sizeof(*j->read_slots));
	j->cache = aligned_alloc(BLOCK, CACHE_BLOCKS * BLOCK);
	j->cache_pos = malloc(CACHE_BLOCKS * sizeof(*j->cache_pos));
	if (!j->read_slots || !j->cache || !j->cache_pos)
		return -ENOMEM;
	journal_cache_drop(j);
	for (uint32_t i = 0; i < JREADS_MAX; i++) {
		j->read_slots[i].buf = aligned_alloc(BLOCK, SLOT_BYTES);
		if (!j->read_slots[i].buf)
			return -ENOMEM;
	}
	return 0;
}

void journal_reads_free(struct journal *j)
{
	for (uint32_t i = 0; j->read_slots && i < JREADS_MAX; i++)
		free(j->read_slots[i].buf);
	free(j->read_slots);
	free(j->cache);
	free(j->cache_pos);
}

/* A segment begins a new life: descriptors of its old one are void. */
void journal_cache_drop(struct journal *j)
{
	memset(j->cache_pos, 0xff, CACHE_BLOCKS * sizeof(*j->cache_pos));
}

static void reads_start(struct journal *j);
static void slot_begin(struct journal *j, struct jread_slot *s);

static void slot_end(struct journal *j, struct jread_slot *s, int error)
{
	struct jread *r = s->read;

	if (error == -EBADMSG)
		*j->count_bad += 1;
	s->read = NULL;
	r->error = error;
	reads_start(j);
	r->done(r, error);
}

static void payload_read(struct io *io)
{
	struct jread_slot *s = io->owner;
	struct jread *r = s->read;
	struct journal *j = r->journal;
	uint64_t start = s->batch_pos + s->record.payload_off;
	const uint8_t *payload = s->buf + start % BLOCK;

	if (io->result) {
		slot_end(j, s, io->result);
		return;
	}
	if (sum64(payload, s->record.payload_len) != s->record.sum) {
		slot_end(j, s, -EBADMSG);
		return;
	}
	uint64_t left = start + s->record.payload_len - r->pos;
	uint32_t n = left < r->len ? (uint32_t)left : r->len;

	memcpy(r->dst, payload + (r->pos - start), n);
	r->pos += n;
	r->len -= n;
	r->dst = (uint8_t *)r->dst + n;
	if (r->len)
		slot_begin(j, s); /* the next record of the same batch */
	else
		slot_end(j, s, 0);
}

/* The record of the descriptor, a sound one, that covers the read: then its whole payload. */
static void descriptor_ready(struct jread_slot *s, const uint8_t *block)
{
	struct jread *r = s->read;
	struct journal *j = r->journal;

	if (!batch_record_at(block, (uint32_t)(r->pos - s->batch_pos), &s->record)) {
		slot_end(j, s, -EBADMSG);
		return;
	}
	uint64_t start = s->batch_pos + s->record.payload_off;
	uint64_t from = start - start % BLOCK;
	uint64_t to = (start + s->record.payload_len + BLOCK - 1) / BLOCK * BLOCK;

	s->io = (struct io){ .op = IO_READ, .kind = (uint8_t)j->kind, .file = s->batch_pos / j->segment_size,
		.off = from % j->segment_size, .len = to - from, .buf = s->buf, .done = payload_read, .owner = s };
	j->env->ops->submit(j->env, &s->io);
}

static void descriptor_read(struct io *io)
{
	struct jread_slot *s = io->owner;
	struct journal *j = s->read->journal;
	uint32_t line = (uint32_t)(s->batch_pos / BLOCK) % CACHE_BLOCKS;
	struct batch_header h;

	if (io->result || batch_header_decode(s->buf, j->id, &h)) {
		slot_end(j, s, io->result ? io->result : -EBADMSG);
		return;
	}
	/* Only sound ones are kept: from here they are not checked again. */
	memcpy(j->cache + (size_t)line * BLOCK, s->buf, BLOCK);
	j->cache_pos[line] = s->batch_pos;
	descriptor_ready(s, s->buf);
}

static uint32_t batch_find(const struct segment *s, uint32_t block)
{
	uint32_t lo = 0, hi = s->batch_count;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (s->batch_off[mid] <= block)
			lo = mid;
		else
			hi = mid;
	}
	return s->batch_off[lo];
}

static void slot_begin(struct journal *j, struct jread_slot *s)
{
	uint64_t slot = s->read->pos / j->segment_size;
	uint32_t off = (uint32_t)(s->read->pos % j->segment_size);

	assert(slot < j->slot_count && j->slots[slot].batch_count);
	uint32_t block = batch_find(&j->slots[slot], off / BLOCK);

	s->batch_pos = slot * j->segment_size + (uint64_t)block * BLOCK;
	s->io = (struct io){ .op = IO_READ, .kind = (uint8_t)j->kind, .file = slot, .off = (uint64_t)block * BLOCK,
		.len = BLOCK, .buf = s->buf, .done = descriptor_read, .owner = s };
	uint32_t line = (uint32_t)(s->batch_pos / BLOCK) % CACHE_BLOCKS;

	if (j->cache_pos[line] == s->batch_pos)
		descriptor_ready(s, j->cache + (size_t)line * BLOCK);
	else
		j->env->ops->submit(j->env, &s->io);
}

static void reads_start(struct journal *j)
{
	for (uint32_t i = 0; i < JREADS_MAX && j->reads_waiting; i++) {
		struct jread_slot *s = &j->read_slots[i];

		if (s->read)
			continue;
		struct jread *r = j->reads_waiting;

		j->reads_waiting = r->next;
		if (!j->reads_waiting)
			j->reads_tail = &j->reads_waiting;
		r->next = NULL;
		s->read = r;
		slot_begin(j, s);
	}
}

void journal_read(struct journal *j, struct jread *r)
{
	const struct batch *b = journal_in_memory(j, r->pos);

	r->journal = j;
	r->next = NULL;
	if (b) {
		uint64_t start = (uint64_t)b->slot * j->segment_size + b->off;

		memcpy(r->dst, b->buf + (r->pos - start), r->len);
		r->error = 0;
		r->next = j->reads_done;
		j->reads_done = r;
		return;
	}
	*j->reads_tail = r;
	j->reads_tail = &r->next;
	/* started by the pump at the end of the batch of events */
}

void journal_reads_pump(struct journal *j)
{
	while (j->reads_done) {
		struct jread *r = j->reads_done;

		j->reads_done = r->next;
		r->next = NULL;
		r->done(r, r->error);
	}
	reads_start(j);
}
