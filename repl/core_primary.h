/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A primary, and a single node: its data path, its epochs, what its peer lacks. Included by core.h only. */
#ifndef COLOFS_REPL_CORE_PRIMARY_H
#define COLOFS_REPL_CORE_PRIMARY_H

#include <stdbool.h>
#include <stdint.h>

#include "core_save.h"
#include "dirty.h"
#include "frame.h"
#include "node.h"
#include "range.h"

struct boot;

#define CATCH_UP_END (8u << 20)       /* bytes missing below which writes are mirrored again */
#define TURN_BYTES (256u * 1024)      /* guests' writes between two sync requests, when both want the link */
#define BACKGROUND_SYNC (32u << 20)   /* bytes written to an image between background fdatasyncs */
#define SENDQ_BYTES (24u << 20)       /* of guests' buffers that may wait for room in the link */
#define SYNC_OPS 24u                 /* sync requests in flight */
#define SYNC_CHUNK (256u * 1024)     /* bytes of each, at most */

/* A numbered stretch of the primary's stream between two cuts. */
struct pepoch {
	uint64_t number, first_seq, last_seq, count, chain;
	uint64_t inflight;      /* image writes of it not complete */
	uint64_t bytes, writes;
	uint64_t journalled;    /* of the bytes: not those of images in their first sync */
	uint64_t metas;         /* names and sizes among them */
	uint64_t session;       /* of its cut */
};

/* What became of an epoch: kept for `wait` and for a repeated `commit` or `abort`. */
struct epoch_verdict {
	uint64_t epoch, bytes, ms;
	int error;              /* 0: committed; -ECANCELED: aborted; else why not */
	char name[65];
};
#define VERDICTS 64u

enum prep_state { PREP_NONE, PREP_READY, PREP_COMMIT, PREP_ABORT };

enum sync_state { SYNC_IDLE, SYNC_RUNNING, SYNC_COMMIT };

struct sync_op {
	struct node *node;
	struct image *image;
	uint64_t off, len;
	uint64_t seq;           /* of the hash query outstanding */
	bool busy, again;       /* again: compared unequal, now sent */
	bool asked;             /* a hash query is outstanding, nothing is claimed */
	bool dead;              /* its session ended while it was under way */
	uint64_t cost;          /* credit reserved */
	struct range claim;
	struct io io;
	uint8_t *buf;
};

#define VERIFY_OPS 16u /* blocks compared at a time */

struct verify_op {
	struct node *node;
	struct image *image;
	uint64_t off, len, seq;
	uint64_t run;           /* the verify it belongs to */
	bool busy, asked;       /* asked: the answer is outstanding, nothing is claimed */
	bool waits;             /* until the block is sent, which the peer is known to lack; nothing is claimed */
	struct range claim;
	struct io io;
	uint8_t *buf;
};

struct verify {
	struct command_req *req; /* NULL: none is running */
	uint64_t run;
	uint64_t image, off;    /* the next block: image's id, bytes */
	uint64_t only;          /* this image, or 0: all */
	bool at_end;
	int error;
	uint64_t blocks, differ, done, total; /* done, total: bytes */
	uint32_t busy;
	struct verify_op ops[VERIFY_OPS];
};

/* The activity map: activity.c */
struct activity {
	bool on;                /* no write begins before its extents are durable */
	bool want, busy;        /* a map is to be written; is being written */
	bool noted;             /* there are marks that a cut waits for */
	bool settled;           /* what lies in the file is known to be durable */
	bool revoking;
	bool stands_in;         /* restored: in place of the dirty sets */
	uint8_t enlist;         /* maps still to be written before the state may name this life */
	uint8_t stage;
	uint8_t slot;           /* where the durable map lies */
	uint16_t count;         /* sectors of each map of this life */
	uint32_t body_len;
	uint64_t file_size;     /* 0: there is no file yet */
	uint64_t life, seq, base; /* base: of the durable map; 0: none */
	uint64_t epoch;         /* see struct activity_map */
	uint64_t looked_ms, look_epoch;
	uint64_t retry_ms;      /* neither the map nor the state could be written: not before then */
	struct io io;
	struct save save, list_save;
	uint8_t *buf, *body;
	struct guest_io *wait, **wait_tail;
};

/* primary.c */
void primary_guest(struct node *n, struct guest_io *g);
bool primary_mirrors(const struct node *n);
bool primary_room(const struct node *n, uint64_t cost);
void primary_send_data(struct node *n, struct image *img, uint64_t off, uint64_t len, const void *buf);
void primary_send(struct node *n, struct frame *f, const void *payload, size_t len);
void primary_link_up(struct node *n);
void primary_link_down(struct node *n);
void primary_held_pump(struct node *n, bool release_all);
void primary_sendq_pump(struct node *n, bool release_all);
void primary_meta(struct node *n, uint8_t type, struct image *img, uint64_t off, uint64_t len, uint8_t flags,
                  const char *name);
bool primary_missing(const struct node *n);

/* What became of a write: bits of guest_io.stage. */
enum { SENT = 1, BEGUN = 2, COUNTED = 4, QUEUED = 8, WRITTEN = 16 };
void primary_counted(struct node *n, struct guest_io *g); /* its image write ended: the epoch's count */
void primary_finish(struct node *n, struct guest_io *g);  /* the answer, once going alone is recorded */
void primary_end(struct node *n, struct guest_io *g, int error);
void primary_marked(struct node *n, struct guest_io *g, int error); /* its extents are; or can't be */

/* suspend.c */
bool suspend_wanted(const struct node *n);
bool suspend_ends(const struct node *n); /* what is held gets no better answer than EIO */
bool suspend_fsync(const struct node *n); /* it waits for a commit, however long that takes */
bool suspend_takes(const struct node *n); /* a write that comes now */
bool suspend_holds(const struct node *n); /* something waits that `continue` would release */
void suspend_hold(struct node *n, struct guest_io *g);
void suspend_pump(struct node *n);
void suspend_continue(struct node *n, struct command_req *r);

/* local.c */
void local_read(struct node *n, struct guest_io *g);
void local_sync(struct node *n, struct guest_io *g);
void local_background(struct node *n, struct image *img, uint64_t len);
void image_sync_failed(struct image *img, int error);

/* names.c */
void primary_names(struct node *n, struct guest_io *g);
void primary_create(struct node *n, struct guest_io *g);

/* commit.c */
void commit_flush(struct node *n, struct command_req *r);
void commit_pump(struct node *n);
void commit_done(struct node *n, uint64_t epoch, bool prepared);
void commit_taken(struct node *n);
void commit_fsync(struct node *n, struct guest_io *g);
void commit_doubt(struct node *n, const struct hello *peer, bool full);
void commit_refused(struct node *n, uint64_t epoch, int error);
void commit_link_down(struct node *n);
void commit_write_done(struct node *n, uint64_t epoch);
void commit_unfit(struct node *n);
void commit_cancel(struct node *n, struct command_req *r);

void commit_reply_all(struct node *n, struct command_req **list, int error, const char *why);
void commit_append(struct command_req **list, struct command_req *r);
void commit_time_out(struct node *n, struct command_req **list, const char *why);

/* reserve.c: false: not yet; when it is durable commit_pump() comes again */
bool reserve_number(struct node *n);
bool reserve_generation(struct node *n);

/* twophase.c */
void twophase_command(struct node *n, struct command_req *r);
void twophase_prepared(struct node *n);
void twophase_verdict(struct node *n, int error);
bool twophase_settles(struct node *n, const struct hello *peer);
void twophase_done(struct node *n, uint64_t epoch, bool taken);
void twophase_refused(struct node *n, int error);
void twophase_pump(struct node *n);

/* sync.c */
void sync_begin(struct node *n, const struct hello *peer, bool full, bool keep);
void sync_pump(struct node *n);
void sync_stop(struct node *n);
void sync_refused(struct node *n);
void sync_hash_reply(struct node *n, uint64_t seq, bool equal);
bool sync_covers(const struct node *n, const struct image *img, uint64_t off, uint64_t len);
uint64_t sync_missing(const struct node *n);
uint64_t sync_journal_bytes(const struct node *n, bool compared);
bool sync_rate_allows(struct node *n, uint64_t len);
void sync_command(struct node *n, struct command_req *r);

/* part.c */
void part_order(struct node *n);
bool part_wanted(const struct node *n);
void part_note(struct node *n);
void part_no_room(struct node *n, uint64_t held);
void part_committed(struct node *n);
void part_refused(struct node *n);
void part_session(struct node *n, const struct hello *peer);

/* activity.c */
void activity_image_init(struct node *n, struct image *img);
bool activity_ready(struct node *n, struct guest_io *g); /* false: it goes on by primary_marked() */
void activity_all(struct image *img);
void activity_note(struct node *n, struct image *img, uint64_t off, uint64_t len);
bool activity_settled(const struct node *n); /* nothing noted is still to become durable */
void activity_cut(struct node *n);
void activity_committed(struct node *n);
void activity_begin(struct node *n);
void activity_revoke(struct node *n);
void activity_pump(struct node *n);
void activity_free(struct node *n);

/* activity_restore.c */
void activity_restore(struct node *n, const struct boot *boot);
bool activity_stands_in(const struct node *n, uint64_t committed);
void activity_restore_own(struct node *n); /* of a backup that is rejoining */

/* verify.c */
void verify_command(struct node *n, struct command_req *r);
bool verify_cancel(struct node *n, struct command_req *r);
bool verify_hash_reply(struct node *n, uint64_t seq, bool equal);
bool verify_uses(const struct node *n, const struct image *img);
void verify_link_down(struct node *n);
void verify_refused(struct node *n);
void verify_pump(struct node *n);
void verify_free(struct node *n);

#endif
