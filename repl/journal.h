/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal: one log of batches for all images of a node, in segments of a
 * fixed size. The overlay is a second one of the same kind. A batch is a
 * descriptor block of up to 70 records, then their payloads; it has a log
 * sequence number (LSN), and its predecessor's checksum.
 *
 * Position is believed, not only checksums: see journal_recover.c.
 * Event-loop thread only.
 */
#ifndef COLOFS_REPL_JOURNAL_H
#define COLOFS_REPL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"

#define BATCH_RECORDS 70u
#define BATCH_PAYLOAD (512u * 1024)          /* bytes, at most */
#define BATCH_BYTES (BLOCK + BATCH_PAYLOAD)
#define RECORD_DATA_MAX 65536u               /* bytes of one record's payload */
#define BATCHES_MAX 48u                      /* buffers of the journal: 24 MiB */
#define BATCHES_CREDIT 34u                   /* of them lent to the peer as credit */
#define JREADS_MAX 24u                       /* verified reads under way */

enum record_type {
	REC_DATA = 1, /* image, off, payload */
	REC_ZERO,     /* image, off, len */
	REC_SIZE,     /* image, len: the size from here on */
	REC_CREATE,   /* image, payload: name */
	REC_UNLINK,   /* image */
	REC_RENAME,   /* image, payload: name */
	REC_IMAGE,    /* image, len: size, payload: name; its file, synced by itself, is part of this epoch */
	REC_DROP,     /* what came of earlier epochs of the session, uncommitted, is dropped */
	REC_COMMIT,   /* off: first seq, seq: last, len: records, sum: chain, image: generation, payload: wall
	               * ms (8 bytes), name */
	REC_PREPARE,  /* as COMMIT, but the epoch is only ready: a COMMIT or an ABORT of it follows */
	REC_ABORT,    /* image: the prepared epoch; flag REC_F_MERGE: it becomes part of this batch's epoch, else dropped */
	REC_KEEP,     /* first of a session: image, off: an unfinished epoch, its session; it becomes part of this batch's */
};

enum { REC_F_MERGE = 1, REC_F_PART = 2 }; /* PART: of a COMMIT, the primary said so */
enum { BATCH_LOCAL = 1 }; /* records that stand on their own, without a commit record */

struct record {
	uint8_t type, flags;
	uint32_t payload_off; /* in the batch, bytes */
	uint32_t payload_len;
	uint64_t image, off, len, seq;
	uint64_t sum;         /* of the payload */
};

struct batch_header {
	uint16_t count, flags;
	uint32_t payload_len; /* padded to BLOCK */
	uint64_t incarnation, lsn, prev_sum, synced_lsn, session, epoch;
	uint64_t sum;         /* of the descriptor block */
};

enum segment_state { SEG_ABSENT, SEG_CREATING, SEG_FREE, SEG_ACTIVE, SEG_FULL };

struct segment {
	uint8_t state;
	bool ready;            /* its header is durable: batches may be written */
	struct io header_io;
	uint8_t *header;       /* a block, while header_io is under way */
	bool dirty;            /* writes completed since the last fdatasync began */
	uint64_t first_lsn, last_lsn;
	uint32_t *batch_off;   /* where its batches begin, in BLOCKs, ascending */
	uint32_t batch_count, batch_room;
};

struct journal;
struct batch {
	uint8_t *buf;
	uint8_t state; /* enum in journal.c */
	uint16_t count, flags;
	uint32_t slot, off; /* place: segment and byte in it */
	uint32_t used, limit;
	uint64_t lsn, session, epoch;
	struct io io;
	struct journal *journal;
};

struct journal_sync {
	void (*done)(struct journal_sync *s, int error);
	void *owner;
	uint64_t lsn;
	bool waiting;
	struct journal_sync *next;
};

/* A place between two batches, from which recovery could begin. */
struct journal_mark {
	uint64_t lsn, sum; /* the next batch, its predecessor's checksum */
	uint32_t slot, off;
};

struct jread {
	struct journal *journal;
	uint64_t pos;
	uint32_t len;
	void *dst;
	void (*done)(struct jread *r, int error); /* from the loop, never from journal_read() */
	void *owner;
	struct jread *next;
	int error;
};

struct journal {
	struct env *env;
	enum file_kind kind;
	uint8_t id[16];
	uint64_t incarnation;
	uint32_t segment_size; /* bytes */
	uint32_t slot_limit;   /* segments at most */
	uint32_t slot_room;    /* length of the arrays */
	uint64_t retry_ms;     /* when to try again to create one; 0: now */
	struct segment *slots;
	uint32_t slot_count;   /* slots in use or allowed */
	uint32_t in_state[SEG_FULL + 1]; /* how many of these are in each state: asked in every batch of events */
	struct batch *batches; /* ring, in LSN order from first */
	uint32_t batch_count, batch_first, batch_used;
	struct batch *open;
	uint32_t active;       /* slot, UINT32_MAX none */
	uint32_t active_off;
	uint64_t next_lsn, last_sum, written_lsn, synced_lsn;
	int failed;            /* -errno of the first failed write or sync: for good */
	bool syncing;
	uint32_t sync_outstanding;
	uint64_t sync_lsn;
	int sync_error;
	struct journal_sync *syncs, **syncs_tail;
	struct journal_sync background;
	uint32_t activating;   /* segments whose header is on its way */
	struct io create_io, remove_io;
	bool removing;
	bool creating;
	bool lost;               /* the files are not those that the state names: kept as they are until they are given up */
	struct io *sync_ios;   /* one a slot */
	void (*on_written)(struct journal *j); /* written_lsn moved, or failed was set */
	void *owner;
	uint64_t *count_syncs, *count_bytes, *count_records, *count_bad;
	/* verified reads */
	struct jread *reads_waiting, **reads_tail, *reads_done;
	struct jread_slot *read_slots;
	uint8_t *cache;        /* descriptors, direct-mapped */
	uint64_t *cache_pos;
};

/* ---- life cycle ---- */
/* segment_size: bytes, multiple of BLOCK; limit: bytes; slots: as many at least, for segments that are there. 0 or
 * -ENOMEM. */
int journal_init(struct journal *j, struct env *env, enum file_kind kind, const uint8_t id[16], uint32_t segment_size,
                 uint64_t limit, uint32_t slots, uint32_t batches);
/* Another limit, in bytes; segments beyond it go as they become free. -ENOSPC: larger than an open journal can grow. */
int journal_resize(struct journal *j, uint64_t limit);
void journal_free(struct journal *j);
/* A segment file that exists; before journal_recover() or journal_start(). */
void journal_add_slot(struct journal *j, uint32_t slot);
/* Begin to append: the incarnation must be durable in the state already. */
void journal_start(struct journal *j, uint64_t incarnation, uint64_t next_lsn, uint64_t last_sum);

/* ---- appending ---- */
/* Room for one record with len bytes of payload in a batch of (session, epoch, flags).
 * *payload: where its bytes go; *pos: their position, for the maps. 0; -EAGAIN: no buffer or no
 * segment now; else journal->failed. Must be followed by journal_put() or journal_undo(). */
int journal_get(struct journal *j, uint64_t session, uint64_t epoch, uint16_t flags, uint32_t len, void **payload,
                uint64_t *pos);
/* Finish the record begun; r->payload_* are filled in here. */
void journal_put(struct journal *j, struct record *r);
/* LSN of the batch that journal_put() last wrote to. */
uint64_t journal_lsn(const struct journal *j);
/* The place of the open batch if there is one, else of the next. */
struct journal_mark journal_mark(const struct journal *j);
/* Close the open batch and write it. */
void journal_push(struct journal *j);
/* done() when everything appended so far is durable: never from within. */
void journal_sync(struct journal *j, struct journal_sync *s);
/* Bytes of frame cost that can surely be appended now. */
uint64_t journal_room(const struct journal *j);
/* Bytes of batch buffers that are free, for credit. */
uint64_t journal_buffer_room(const struct journal *j);
/* Whether more segments may come without freeing any. */
bool journal_may_grow(const struct journal *j);
uint64_t journal_used(const struct journal *j); /* bytes of segments in use */
/* Batches below lsn are not needed any more. */
void journal_release(struct journal *j, uint64_t lsn);
/* Keep segments ready ahead of need (quiet: not now, a commit has the disk), finish syncs and reads; from
 * node_batch_end(). */
void journal_pump(struct journal *j, uint64_t now_ms, bool quiet);
/* Give a segment that is not in use back to the file system, which is full; none is made anew for a while. False: there
 * is none, or one is on its way out already. */
bool journal_shrink(struct journal *j, uint64_t now_ms);

/* ---- reading ---- */
/* Verified: the record's payload is read whole and its checksum compared; -EBADMSG. pos, len lie in one
 * batch. dst may be unaligned; pos, len and dst are used up. */
void journal_read(struct journal *j, struct jread *r);

/* ---- recovery ---- */
struct journal_tail {
	uint64_t lsn, sum;  /* the first record wanted, its predecessor's checksum */
	uint32_t slot, off; /* where it would be */
	uint64_t last_lsn;  /* stop after this one; 0: at the end */
};
/*
 * Walk the batches from tail on in LSN order; each(ctx, header, its place, record, pos, payload) for every
 * record of a valid one; pos is the payload's position. 0 and the LSN and checksum of the last in tail->lsn, sum (lsn: the next one);
 * -EBADMSG: a break below the highest synced LSN, with a line in err: damage, not a torn tail;
 * other -errno: the disk. Slots that the walk met are SEG_FULL, all others SEG_FREE.
 */
int journal_recover(struct journal *j, struct journal_tail *tail,
                    int (*each)(void *ctx, const struct batch_header *h, const struct journal_mark *at,
                                const struct record *r, uint64_t pos, const void *payload), void *ctx, char *err, size_t err_size);
/* Whether any of the slots has a header of this journal. */
bool journal_present(struct journal *j);

/* ---- format, shared by the files of the journal ---- */
void batch_header_encode(uint8_t *block, const uint8_t id[16], struct batch_header *h);
int batch_header_decode(const uint8_t *block, const uint8_t id[16], struct batch_header *h);
void batch_record_decode(const uint8_t *block, uint32_t index, struct record *r);
/* The record whose payload holds byte `at` of the batch; block is one that batch_header_decode() found sound. */
bool batch_record_at(const uint8_t *block, uint32_t at, struct record *r);
void batch_record_encode(uint8_t *block, uint32_t index, const struct record *r);
struct segment_header {
	uint64_t incarnation, first_lsn, synced_lsn;
	uint32_t slot, size;
};
void segment_header_encode(uint8_t *block, const uint8_t id[16], const struct segment_header *h);
int segment_header_decode(const uint8_t *block, const uint8_t id[16], struct segment_header *h);

#endif
