/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backup: its peer's frames, epochs in the journal, what its guest sees, the way into the images. Included by core.h only. */
#ifndef COLOFS_REPL_CORE_BACKUP_H
#define COLOFS_REPL_CORE_BACKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "core_save.h"
#include "frame.h"
#include "journal.h"
#include "map.h"
#include "node.h"
#include "range.h"

struct plink;

#define ARENA_BYTES (64u << 20)
#define ARENA_RESERVE (4u << 20)     /* for what is granted already, and for merges */
#define DESTAGE_OPS 16u              /* of at most 64 KiB each */
#define DIRECT_BYTES (8u << 20)      /* frames of a first sync on their way to the files */
#define DIRECT_MAX (4 * DIRECT_BYTES)  /* ... with those that need no credit */
#define RETRY_MS 1000u               /* destage with a full disk */

/* One image's part of one epoch on a backup. */
struct epimg {
	struct epimg *next;
	struct image *image;
	struct map map;         /* positions in the journal (or the overlay's log: POS_OVERLAY) */
	bool sized, created, renamed, unlinked, adopted; /* adopted: first sync's end */
	uint64_t size;
	char name[256];
	struct io sync_io;      /* destage's fdatasync */
};

#define POS_OVERLAY (1ull << 46) /* flag in a map's pos: the overlay's log */

/* An epoch on a backup: being received, being committed, or sealed. */
struct epoch {
	struct epoch *older;
	struct epimg *images;
	uint64_t number, session;
	uint64_t generation;    /* of its commit record */
	uint64_t last_lsn;      /* of its commit record, or its last local record */
	uint64_t version;       /* of the node when it became visible */
	uint64_t bytes, writes;
	uint64_t first_seq, last_seq, count, chain; /* of the stream */
	uint64_t jfirst, jlast, jcount, jchain;     /* of what is in the journal */
	uint64_t wall_ms;
	char name[65];
	struct journal_mark first, end; /* its first batch (lsn 0: none); behind its commit record */
	bool prepared;          /* by a PREPARE record: not lost when its COMMIT finds no room */
	bool part;              /* of a resync in-place: what it makes of the images is no epoch */
	bool has_overlay;       /* promoted: positions in the overlay's log */
	struct epimg *merge_at;
	uint64_t merge_cursor;
};

/* A hash query on its way to an answer. */
struct hash_job {
	struct hash_job *next; /* in node's hash_list */
	struct node *node;
	struct image *image;
	uint64_t session, seq, off, len;
	uint8_t digest[32];
	void (*done)(void *owner, int error);
	struct range claim;
	struct io io;
	uint8_t buf[] __attribute__((aligned(BLOCK)));
};

/* backup.c */
int backup_payload(struct node *n, struct plink *l); /* where the payload of l->frame goes */
int backup_frame(struct node *n, struct plink *l);   /* the whole frame is there; <0: drop the link */
void backup_session(struct node *n, struct plink *l);
void backup_link_down(struct node *n);
void backup_pump(struct node *n);
void backup_free(struct node *n);
void backup_commit_append(struct node *n);
void backup_commit_failed(struct node *n, int err);
void backup_sync(struct node *n);
void backup_refuse(struct node *n, uint64_t epoch, int error);
void backup_drop_current(struct node *n);
void backup_drop_kept(struct node *n);

/* prepared.c */
void prepared_synced(struct node *n);
void prepared_aborted(struct node *n);
void prepared_take(struct node *n);
int prepared_settle(struct node *n, const struct frame *f);

/* epoch.c */
struct epimg *epoch_image(struct node *n, struct epoch *e, struct image *img);
struct epoch *epoch_new(uint64_t number, uint64_t session);
void epoch_free(struct epoch *e);
void epoch_apply(struct node *n, struct epoch *e);
void epoch_levels(struct node *n, const struct epoch *e);
void epoch_seal(struct node *n, struct epoch *e);
void epoch_reset_views(struct node *n);
bool epoch_references(const struct node *n, const struct image *img);
bool epoch_names_clash(const struct node *n, const struct epoch *e);
int epoch_merge(struct epoch *to, struct epoch *older);
int record_apply(struct node *n, struct epoch *e, const struct record *r, uint64_t pos, const void *payload);

/* direct.c */
bool direct_goes(const struct image *img);
int direct_begin(struct node *n, struct plink *l);
int direct_frame(struct node *n, struct plink *l, struct image *img);
void direct_hash(struct node *n, struct hash_job *h, void (*done)(void *owner, int error));
void direct_cut(struct node *n);
void direct_commit(struct node *n);
void direct_link_down(struct node *n);
void direct_free(struct node *n);

/* hash.c */
int hash_query(struct node *n, struct plink *l);
bool hash_equal(const struct hash_job *h);
void hash_drop(struct node *n);

/* view.c */
void view_read(struct node *n, struct image *img, bool uncommitted, uint64_t off, uint64_t len, void *buf,
               void (*done)(void *owner, int error), void *owner);
void view_extent(struct node *n, struct guest_io *g);
void view_pump(struct node *n);
void view_free(struct node *n);
bool view_ready(const struct node *n); /* view_pump() has something to do */
uint64_t view_oldest(const struct node *n); /* version of the oldest read under way; UINT64_MAX none */

/* twin.c */
void twin_guest(struct node *n, struct guest_io *g);
void twin_written(struct journal *j);
void twin_drop_overlay(struct node *n);
void twin_pump(struct node *n);
void twin_free(struct node *n);
uint64_t twin_size(const struct image *img);
void twin_mark_min(const struct node *n, struct journal_mark *m);

/* destage.c */
int destage_init(struct node *n);
void destage_pump(struct node *n);
bool destage_clean(const struct node *n);
bool destage_busy(const struct node *n);
void destage_free(struct node *n);
bool destage_eager(const struct node *n);

/* tail.c */
struct journal_mark tail_of(struct node *n);
int tail_table(struct node *n, const struct epoch *e);

/* merge.c */
bool merge_busy(const struct node *n);   /* a merge has begun */
bool merge_wanted(const struct node *n);
void merge_some(struct node *n);

/* restore.c */
void restore_give_up(struct node *n);
int restore_keep_segments(struct node *n, const struct boot *boot);
int restore_open_empty(struct node *n);
void restore_start_empty(struct node *n);
int restore_journal(struct node *n, const struct boot *boot, char *err, size_t err_size);

#endif
