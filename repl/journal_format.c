/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal's format on disk: segment headers, descriptor blocks, records.
 * Little-endian, fixed width, checksummed (XXH3). colofs-protocol(7) territory.
 */
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "journal.h"
#include "map.h"
#include "sum.h"

#define BATCH_MAGIC 0x6863746162666c63ull   /* "clfbatch" */
#define SEGMENT_MAGIC 0x6d676573736c6f63ull /* "colssegm" */
#define FORMAT_VERSION 1u
#define HEADER_BYTES 128u
#define HEADER_SUM_OFF 120u
#define RECORD_BYTES 56u

_Static_assert(HEADER_BYTES + BATCH_RECORDS * RECORD_BYTES <= BLOCK, "a descriptor is one block");

void batch_record_encode(uint8_t *block, uint32_t index, const struct record *r)
{
	struct putter p = putter_init(block + HEADER_BYTES + index * RECORD_BYTES, RECORD_BYTES);

	put_u8(&p, r->type);
	put_u8(&p, r->flags);
	put_u16(&p, 0);
	put_u32(&p, r->payload_off);
	put_u32(&p, r->payload_len);
	put_u32(&p, 0);
	put_u64(&p, r->image);
	put_u64(&p, r->off);
	put_u64(&p, r->len);
	put_u64(&p, r->seq);
	put_u64(&p, r->sum);
}

void batch_record_decode(const uint8_t *block, uint32_t index, struct record *r)
{
	struct getter g = getter_init(block + HEADER_BYTES + index * RECORD_BYTES, RECORD_BYTES);

	r->type = get_u8(&g);
	r->flags = get_u8(&g);
	(void)get_u16(&g);
	r->payload_off = get_u32(&g);
	r->payload_len = get_u32(&g);
	(void)get_u32(&g);
	r->image = get_u64(&g);
	r->off = get_u64(&g);
	r->len = get_u64(&g);
	r->seq = get_u64(&g);
	r->sum = get_u64(&g);
}

/* The sum is taken with its own field zero; h->sum is set. */
void batch_header_encode(uint8_t *block, const uint8_t id[16], struct batch_header *h)
{
	struct putter p = putter_init(block, HEADER_BYTES);

	memset(block, 0, HEADER_BYTES);
	put_u64(&p, BATCH_MAGIC);
	put_u32(&p, FORMAT_VERSION);
	put_u16(&p, h->count);
	put_u16(&p, h->flags);
	put_u32(&p, h->payload_len);
	put_u32(&p, 0);
	put_bytes(&p, id, 16);
	put_u64(&p, h->incarnation);
	put_u64(&p, h->lsn);
	put_u64(&p, h->prev_sum);
	put_u64(&p, h->synced_lsn);
	put_u64(&p, h->session);
	put_u64(&p, h->epoch);
	size_t end = HEADER_BYTES + h->count * (size_t)RECORD_BYTES;

	memset(block + end, 0, BLOCK - end);
	h->sum = sum64(block, BLOCK);
	struct putter s = putter_init(block + HEADER_SUM_OFF, 8);

	put_u64(&s, h->sum);
}

/* A checksum is no proof of good sense: the maps take no range beyond MAP_OFF_MAX. */
static bool range_sound(const struct record *r)
{
	uint64_t len = r->type == REC_DATA ? r->payload_len : r->len;

	switch (r->type) {
	case REC_DATA:
	case REC_ZERO:
		return r->off <= MAP_OFF_MAX && len <= MAP_OFF_MAX - r->off;
	case REC_SIZE:
	case REC_IMAGE:
		return r->len <= MAP_OFF_MAX;
	}
	return true;
}

static bool records_sound(const uint8_t *block, const struct batch_header *h)
{
	uint64_t end = BLOCK + (uint64_t)h->payload_len;

	for (uint32_t i = 0; i < h->count; i++) {
		struct record r;

		batch_record_decode(block, i, &r);
		if (r.type < REC_DATA || r.type > REC_KEEP || r.payload_len > RECORD_DATA_MAX || !range_sound(&r) ||
		    (r.payload_len && (r.payload_off < BLOCK || r.payload_off + (uint64_t)r.payload_len > end)))
			return false;
	}
	return true;
}

int batch_header_decode(const uint8_t *block, const uint8_t id[16], struct batch_header *h)
{
	struct getter g = getter_init(block, HEADER_BYTES);
	uint8_t found[16], copy[BLOCK];

	if (get_u64(&g) != BATCH_MAGIC || get_u32(&g) != FORMAT_VERSION)
		return -EBADMSG;
	h->count = get_u16(&g);
	h->flags = get_u16(&g);
	h->payload_len = get_u32(&g);
	(void)get_u32(&g);
	get_bytes(&g, found, 16);
	h->incarnation = get_u64(&g);
	h->lsn = get_u64(&g);
	h->prev_sum = get_u64(&g);
	h->synced_lsn = get_u64(&g);
	h->session = get_u64(&g);
	h->epoch = get_u64(&g);
	struct getter s = getter_init(block + HEADER_SUM_OFF, 8);

	h->sum = get_u64(&s);
	if (memcmp(found, id, 16) || !h->count || h->count > BATCH_RECORDS || h->payload_len > BATCH_PAYLOAD ||
	    h->payload_len % BLOCK)
		return -EBADMSG;
	memcpy(copy, block, BLOCK);
	memset(copy + HEADER_SUM_OFF, 0, 8);
	if (sum64(copy, BLOCK) != h->sum || !records_sound(block, h))
		return -EBADMSG;
	return 0;
}

bool batch_record_at(const uint8_t *block, uint32_t at, struct record *r)
{
	struct getter g = getter_init(block + 12, 2);

	for (uint32_t i = 0, count = get_u16(&g); i < count; i++) {
		struct getter place = getter_init(block + HEADER_BYTES + i * RECORD_BYTES + 4, 8);
		uint32_t off = get_u32(&place), len = get_u32(&place);

		if (at - off < len) { /* wraps when it lies before */
			batch_record_decode(block, i, r);
			return true;
		}
	}
	return false;
}

void segment_header_encode(uint8_t *block, const uint8_t id[16], const struct segment_header *h)
{
	struct putter p = putter_init(block, BLOCK);

	memset(block, 0, BLOCK);
	put_u64(&p, SEGMENT_MAGIC);
	put_u32(&p, FORMAT_VERSION);
	put_u32(&p, h->slot);
	put_u32(&p, h->size);
	put_u32(&p, 0);
	put_bytes(&p, id, 16);
	put_u64(&p, h->incarnation);
	put_u64(&p, h->first_lsn);
	put_u64(&p, h->synced_lsn);
	put_u64(&p, sum64(block, 64));
}

int segment_header_decode(const uint8_t *block, const uint8_t id[16], struct segment_header *h)
{
	struct getter g = getter_init(block, BLOCK);
	uint8_t found[16];

	if (get_u64(&g) != SEGMENT_MAGIC || get_u32(&g) != FORMAT_VERSION)
		return -EBADMSG;
	h->slot = get_u32(&g);
	h->size = get_u32(&g);
	(void)get_u32(&g);
	get_bytes(&g, found, 16);
	h->incarnation = get_u64(&g);
	h->first_lsn = get_u64(&g);
	h->synced_lsn = get_u64(&g);
	return get_u64(&g) == sum64(block, 64) && !memcmp(found, id, 16) ? 0 : -EBADMSG;
}
