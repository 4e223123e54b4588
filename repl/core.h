/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The core's own structures, shared by its files; nobody else includes this.
 *
 *   node.c      start, guests' dispatch, pumps            image.c       the table of images
 *   stop.c      stopping in order                         state_save.c  the state file, saved
 *   primary.c   a primary's data path                     names.c       its creates, unlinks, renames
 *   local.c     its reads and fsyncs                      suspend.c     writes held while the peer is away
 *   activity.c  which extents a crash leaves in doubt     activity_restore.c  ... and after one
 *   verify.c    comparing both copies
 *   commit.c    its epochs and flushes                    sync.c        sending what the peer lacks
 *   link.c      links, frames, heartbeats                 handshake.c   from a transport to a session
 *   ask.c       a primary's start: was the peer promoted?
 *   pair.c      who may pair with whom                    backup.c      the peer's frames
 *   direct.c    images in their first sync                epoch.c       what became of images in one epoch
 *   twophase.c  prepare, commit, abort                    prepared.c    the same on a backup
 *   view.c      what a backup's guest reads               twin.c        what it writes
 *   destage.c   from the journal to the images            merge.c       of seals, meanwhile
 *   demote.c    from primary to backup; the planned swap  own.c         ... what it wrote and its peer has not
 *   failover.c  promotion                                 restore.c     the journal's recovery
 *   fence.c     promotion without an order
 *   events.c    what happens, line by line
 *   report.c    status                                    live.c        options that may change
 *   device.c    images that are block devices
 *
 * All of it runs on the event loop's thread.
 */
#ifndef COLOFS_REPL_CORE_H
#define COLOFS_REPL_CORE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ctl/log.h"
#include "activity.h"
#include "dirty.h"
#include "env.h"
#include "frame.h"
#include "journal.h"
#include "map.h"
#include "node.h"
#include "range.h"
#include "state.h"

#define ARENA_BYTES (64u << 20)
#define ARENA_RESERVE (4u << 20)     /* for what is granted already, and for merges */
#define EPOCH_AHEAD 1024u            /* numbers reserved in the state ahead of use */
#define CATCH_UP_END (8u << 20)       /* bytes missing below which writes are mirrored again */
#define TURN_BYTES (256u * 1024)      /* guests' writes between two sync requests, when both want the link */
#define BACKGROUND_SYNC (32u << 20)   /* bytes written to an image between background fdatasyncs */
#define SENDQ_BYTES (24u << 20)       /* of guests' buffers that may wait for room in the link */
#define SYNC_OPS 24u                 /* sync requests in flight */
#define SYNC_CHUNK (256u * 1024)     /* bytes of each, at most */
#define DESTAGE_OPS 16u              /* of at most 64 KiB each */
#define DIRECT_BYTES (8u << 20)      /* frames of a first sync on their way to the files */
#define DIRECT_MAX (4 * DIRECT_BYTES)  /* ... with those that need no credit */
#define HANDSHAKE_MS 5000u
#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
#define BACKOFF_BUSY_MS 1000u        /* the longest where the peer is only not ready yet; the shortest where it refused */
#define NUMBER_JUMP (1ull << 40)     /* a peer's numbers so far ahead of ours are lies: they would use them up */
#define LATE_TICK_MS 1000u
#define RETRY_MS 1000u               /* destage with a full disk */

struct epimg;

struct image {
	struct image *next;
	struct node *node;
	uint64_t id;
	char name[256];         /* as guests see it; "" when gone or not yet there */
	uint64_t size;          /* as committed (backup) or as it is (primary), bytes */
	uint64_t mtime_ns, ctime_ns;
	bool visible;           /* has a name in the mount */
	bool consistent;        /* backup: part of the committed state */
	bool foreign;           /* backup: was here before the pair */
	bool file;              /* there is a file for it */
	uint64_t capacity;      /* ... a block device of this size, bytes; 0: it is none. See device.c */
	uint32_t opens, write_opens;
	struct range_set claims;
	/* primary */
	struct dirty miss;      /* must be sent before the next cut */
	struct dirty cur;       /* sent in the current epoch */
	struct dirty differ;    /* verify found it unequal: until `resync` or the next session */
	struct dirty bad;       /* could not be read: stays dirty until the next session */
	struct dirty com;       /* sent in the epoch whose commit is outstanding */
	bool touched, touched_com; /* written since / in the commit's fdatasync */
	bool on_peer;           /* the peer knows the id */
	struct extents extents; /* of the activity map */
	bool compare;           /* `miss` has what the activity map named: most of it will be equal */
	bool consistent_on_peer; /* ... and has a whole copy: it takes frames through its journal */
	struct io_times end;    /* as of a clean end */
	bool hash;              /* this sync compares before it sends */
	bool fresh;             /* this sync: the peer's copy reads as zeroes where nothing was sent */
	uint64_t sync_pos;      /* cursor, bytes */
	uint64_t sync_total, sync_done;
	struct io sync_io;      /* the commit's fdatasync */
	uint64_t unsynced;      /* bytes written since the last background fdatasync began */
	bool background;        /* it is under way */
	int sync_failed;        /* an fdatasync failed: see image_sync_failed() */
	struct io background_io;
	/* backup */
	bool next_visible;      /* the primary's view, with uncommitted frames */
	char next_name[256];
	uint64_t next_size;
	bool direct;            /* first sync: frames go straight to the file */
	uint32_t direct_busy;   /* such writes in flight */
	bool direct_failed;     /* one found no room: the file is not what the stream says */
	bool committing;        /* part of the commit under way, with: */
	uint64_t commit_size;
	char commit_name[256];
	struct epimg *cur_epoch;/* its part of the current epoch, or NULL */
	struct map overlay;
	bool overlay_sized;
	uint64_t overlay_size;
};

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
	bool has_overlay;       /* promoted: positions in the overlay's log */
	struct epimg *merge_at;
	uint64_t merge_cursor;
};

struct save {
	void (*done)(struct save *s, int error);
	void *owner;
	struct save *next;
	bool busy;
};

/* activity.c */
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

/* PARKED: refused for a reason that does not pass by itself; kept, so that its end tells of a change over there. */
enum plink_state { PL_FREE, PL_HELLO, PL_WELCOME, PL_LIVE, PL_PARKED };

/* One transport to somebody who may be the peer. */
struct plink {
	uint8_t state;
	bool dialled;
	char peer[300], tls[64];
	uint64_t opened_ms, live_ms, heard_ms;
	uint8_t header[FRAME_HEADER];
	uint32_t have;          /* bytes of the header, then of the payload */
	bool in_payload;
	bool journaled;         /* the payload goes to the journal, at pos */
	uint64_t pos;
	struct frame frame;
	uint8_t *payload;       /* where this frame's payload goes; NULL: discard */
	uint8_t *owned;         /* malloc'ed, when it is */
	uint32_t owned_size;
	uint8_t small[4096];
	struct hello hello;
	uint64_t alone_bytes, alone_ms; /* said with it: pair_alone(), pair_age() */
	struct save save;
	struct welcome welcome;
	uint64_t session, save_session; /* the save under way is for this one */
	bool have_hello, full;
	bool made_pair;         /* for this link's peer, which may refuse it yet */
	int parked_role;        /* this node's, when it was refused ... */
	uint64_t parked_generation; /* ... likewise */
	unsigned parked_for;    /* REFUSE_*: why */
	uint64_t told_committed, told_prepared; /* epochs in the HELLO that was sent */
	int index;              /* in node's links */
};

/* A numbered stretch of the primary's stream between two cuts. */
struct pepoch {
	uint64_t number, first_seq, last_seq, count, chain;
	uint64_t inflight;      /* image writes of it not complete */
	uint64_t bytes, writes;
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

/* What events have said last. */
struct told {
	const char *mode, *link;
	bool is_protected, wanted, held, full;
};

struct vread; /* view.c */
struct direct_op; /* direct.c */

struct node {
	struct env *env;
	struct node_config config;
	char source[4096];
	uint64_t size_max;      /* of an image's file, bytes */
	uint8_t id[16];
	struct state st;        /* what the next save writes */
	uint64_t now_ms, wall_ms, last_tick_ms;
	bool late_tick;
	struct image *images;
	uint32_t image_count;
	int role;               /* enum node_role */
	bool ready, stopping, stopped, failed, collect, again;
	bool start_told, stop_begun;
	int start_error, stop_error;
	char start_why[256], stop_why[256];
	uint64_t stop_ms;
	uint32_t stop_syncs;
	char reason[256], last_error[256];
	uint64_t last_error_ms;
	struct counters counters;
	void (*on_ready)(void *ctx, int error, const char *why);
	void *ready_ctx;
	void (*on_stopped)(void *ctx, int error, const char *why);
	void *stopped_ctx;
	struct guest_io *finished, **finished_tail;
	struct command_req *replied;
	uint32_t guests_busy;   /* guest requests not finished */
	uint32_t ios_busy;      /* the core's own image I/O in flight */
	char reply_name[65];
	struct events *events;
	struct told told;
	bool peer_wants;        /* primary: the peer's overlay is three quarters full */

	/* state file */
	struct save *saves, *saves_running;
	bool saving;
	uint32_t save_tries;
	struct io save_io;
	uint8_t *save_buf;
	struct save start_save, stop_save;

	/* link */
	struct plink links[LINKS_MAX];
	int link_end;                   /* from here on all are PL_FREE */
	int live;               /* index, -1 none */
	bool apart;             /* `disconnect` */
	bool dialling;
	uint64_t dial_ms, backoff_ms, link_since_ms;
	uint32_t short_links;   /* one after another that lasted less than BACKOFF_MAX_MS */
	char peer_text[300], peer_tls[64]; /* of the live or last link, for status */
	uint64_t ping_ms, rtt_us;
	uint64_t session;
	bool peer_known;
	uint64_t peer_generation, peer_epoch, peer_overlay, peer_capacity;
	bool start_wait;        /* an established primary asks its peer before it serves: ask.c */
	uint64_t start_wait_ms, start_deadline_ms; /* since; until */
	bool start_wait_told;
	struct save unpair_save;
	bool stale;             /* the peer was promoted: this copy is older */

	/* primary */
	struct pepoch cur, com;
	bool com_active, com_local, com_remote, com_was_sync;
	uint32_t com_syncs;     /* fdatasyncs outstanding */
	int com_error;
	uint64_t com_started_ms;
	char com_name[65];
	bool doubt_valid;       /* com sets are kept for the epoch in doubt after a link loss */
	uint64_t seq;           /* last given */
	uint64_t credit, spent; /* bytes granted, used, in this session */
	uint64_t reserved;      /* of the credit, for sync requests under way */
	uint64_t acked_epoch, acked_ms; /* last commit confirmed; now_ms then */
	char acked_name[65];
	bool have_sets;         /* dirty sets are kept against acked_epoch */
	struct guest_io *sendq, **sendq_tail; /* writes whose frames wait for room, payload in their buffers */
	uint64_t sendq_bytes;
	struct guest_io *held, **held_tail;
	struct guest_io *suspended, **suspended_tail; /* on-link-loss=suspend: until writes are mirrored, or `continue` */
	bool resuming;          /* they begin now */
	bool go_on;             /* `continue` was said: until the next session */
	struct guest_io *fsyncs, *fsyncing; /* commit=fsync: for the next cut; for the running commit */
	uint64_t rate_ms, rate_left; /* resync-rate: bytes that may be sent now, as of then */
	struct guest_io *raise_wait;
	bool alone, raised;     /* separated; its generation is durable */
	struct save raise_save, bound_save, shared_save;
	bool bound_saving;
	bool raising;
	uint64_t epoch_bound;   /* durable in the state: numbers below may be ordered */
	struct command_req *flushes, *flushing;
	bool com_prepare;       /* com is being prepared, not committed */
	uint8_t prep;           /* enum prep_state: com is prepared; its order, once there is one */
	bool settling;          /* the peer holds a prepared epoch: nothing is mirrored before it is settled */
	uint64_t settle_deadline_ms;
	struct command_req *settlers, *waiters; /* commit and abort; wait */
	struct epoch_verdict verdicts[VERDICTS];
	uint32_t verdict_next;
	bool dir_touched, dir_touched_com; /* names changed since / in the commit's directory sync */
	struct io dir_io;
	bool want_cut;          /* MS timer, or a sync's end */
	uint64_t last_cut_ms;
	bool written_since_cut;
	uint8_t sync_state;
	bool sync_keep;         /* it began with what its peer kept of a cut one */
	bool catching_up;       /* a write waited link-timeout: the following are marked at once, until little is left */
	bool unfit_told;
	uint64_t unfit_until_ms; /* refused for want of room: tried again then; 0: not before the next session */
	uint32_t refused_wait_ms;
	bool unfit;             /* what the peer lacks does not fit its journal: nothing is sent, all is marked */
	bool sync_work, sync_turn; /* something is missing; guests' writes had their share, a sync request is next */
	uint64_t turn_bytes;    /* of guests' writes since the last turn */
	struct sync_op sync_ops[SYNC_OPS];
	uint32_t sync_busy;
	struct image *sync_image;
	uint64_t sync_started_ms, sync_bytes;
	bool protected_;
	struct verify verify;
	struct activity activity;
	struct command_req *resyncs;

	/* backup */
	bool have_journal;
	bool journal_lost;              /* the journal that the state names is not there: see restore.c */
	struct arena *arena;
	struct journal journal, overlay;
	uint64_t uncounted;             /* where the overlay's log counts: no counter shows it */
	struct epoch *cur_ep, *com_ep;  /* receiving; its record is on its way to the journal ... */
	uint8_t com_rec;                /* ... this one: REC_COMMIT, REC_PREPARE, REC_ABORT */
	struct epoch *prep_ep;          /* prepared: kept ready, outlives the link */
	struct epoch *kept_ep;          /* left unfinished by the last session: for the next one, or nobody */
	struct epoch *seals;            /* newest first */
	struct epoch *pass;             /* the oldest seal, while being destaged */
	struct epoch *local;            /* promoted, not drained: writes since the last pass began */
	uint64_t committed, committed_ms, committed_wall_ms;
	char committed_name[65];
	uint64_t version;               /* of what is visible: grows with each commit */
	uint64_t refused_epoch;         /* its frames are thrown away */
	uint64_t granted, received;     /* credit, bytes, this session */
	struct hash_job *hash_list;
	uint32_t hash_jobs;
	struct direct_op *direct_ops;
	uint64_t direct_bytes;          /* of frames on their way to files */
	uint64_t last_seq;
	struct journal_sync com_sync;
	uint32_t com_files;             /* fdatasyncs of direct images outstanding */
	uint64_t lost_bytes;            /* uncommitted bytes dropped by the last link's loss or held now */
	struct vread *reads, *reads_tail; /* in the order they began */
	struct guest_io *twin_wait, **twin_wait_tail; /* writes waiting for room in a log */
	struct twin_write *twin_first, *twin_last; /* in LSN order, on their way */
	uint32_t twin_inflight;
	uint64_t overlay_bytes;
	struct journal_mark overlay_mark; /* the first batch of the overlay that counts */
	uint64_t overlay_release, overlay_release_version; /* segments to free when older reads ended */
	bool local_path;                /* promoted, not drained: this node's writes go through the journal */
	bool hold_local;                /* the last pass before `drained` */
	struct save drain_save;
	bool drain_saving;
	/* destage */
	bool tail_wanted;               /* dropped records: move the tail past them */
	struct destage *destage;        /* destage.c */
	bool destage_full;              /* paused for ENOSPC */
	/* failover by itself: fence.c */
	uint64_t peer_heard_ms;         /* a byte came on any link; or as if, after a late tick */
	bool peer_met, peer_left;       /* a session was there since the start; its last word was that it leaves */
	bool level;                     /* ... and committed something: the copy is as the peer knows it */
	uint8_t fence_step;
	bool fence_void;                /* the peer was heard while the command ran */
	uint32_t fence_runs;
	uint64_t fence_began_ms, fence_next_ms, fence_wait_ms;
	char fence_last[64];            /* how the last run ended */
	struct command_req fence_req;
	/* from primary to backup, and the planned swap: demote.c */
	uint8_t demote_step, demote_rejoin, switching;
	uint32_t demote_syncs;
	int demote_error;
	void (*demote_done)(struct node *n, int error);
	struct command_req *demote_req, *switch_req, switch_flush, promote_req;
	uint64_t switch_deadline_ms;
	struct save demote_save;
	bool own;                       /* rejoining: the images' miss sets say where this copy differs ... */
	uint64_t own_epoch;             /* ... from each epoch that it ordered from this one on */
	bool backup_wanted;             /* role=backup on a primary's SOURCE: only if its peer was promoted */
	struct guest_io *parked, **parked_tail; /* until the role is settled */
	uint32_t parked_count;
	struct boot kept;               /* segments found at start, for a journal that is opened later */
	struct boot_segment *kept_segments[2];
	/* failover */
	struct command_req *failover;
	uint8_t failover_step;
	bool failover_took;     /* the prepared epoch's commit was begun */
	uint64_t failover_deadline_ms, failover_lost_bytes, failover_lost_ms;
	struct journal_sync failover_sync;
	struct save failover_save;
};

/* node.c, image.c, stop.c */
void node_log(struct node *n, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void node_error(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* last_error, logged */
void node_fail(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* mode failed */
void node_reason(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void guest_finish(struct node *n, struct guest_io *g, int error);
void command_reply(struct node *n, struct command_req *r, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
struct image *image_add(struct node *n, uint64_t id);
void image_drop(struct node *n, struct image *img);
void image_remove_foreign(struct node *n);
void images_collect(struct node *n);
void stop_pump(struct node *n);
void submit(struct node *n, struct io *io);
uint64_t random64(struct node *n);
bool node_established(const struct node *n);
const char *node_mode(const struct node *n);
bool node_recovered(const struct node *n); /* started, or all but for the peer's answer: ask.c */
void node_started(struct node *n, int error, const char *why);

/* state_save.c */
void node_save(struct node *n, struct save *s, void (*done)(struct save *s, int error));

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
bool sync_rate_allows(struct node *n, uint64_t len);
void sync_command(struct node *n, struct command_req *r);

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

/* pair.c */
enum verdict { PAIR_REFUSE, PAIR_DELTA, PAIR_FULL, PAIR_FIRST };
enum verdict pair_judge(const struct node *n, const struct hello *peer, unsigned *refusal, bool *stale);
void pair_hello(struct node *n, struct hello *h);
uint64_t pair_alone(const struct node *n); /* bytes that the last common epoch lacks; at most 2^47 */
uint64_t pair_age(const struct node *n);   /* ms since this node's last commit; 0: not known */
void pair_split(struct node *n, const struct plink *l);

/* link.c */
void link_send(struct node *n, int link, struct frame *f, const void *payload, size_t len);
void link_pump(struct node *n);
void link_drop(struct node *n, int link, const char *why);
uint32_t link_ping_ms(const struct node *n);
void links_close(struct node *n, unsigned refusal);
void link_connect(struct node *n, struct command_req *r);
void link_disconnect(struct node *n, struct command_req *r);

/* refuse.c */
void link_refuse(struct node *n, int link, unsigned refusal);
bool link_parked(const struct node *n);
void link_changed(struct node *n); /* something changed here: the peer that was refused for good is tried anew */
int refuse_got(struct node *n, struct plink *l);
void refuse_pump(struct node *n);

/* ask.c */
void ask_begin(struct node *n);    /* the start's last step */
void ask_answered(struct node *n); /* a session is up, or the peer's copy is known to be the older one */
void ask_judged(struct node *n, unsigned refusal); /* the two do not go together */
void ask_pump(struct node *n);

/* handshake.c: each takes one frame; <0: drop the link */
int handshake_hello(struct node *n, struct plink *l, const uint8_t *payload);
int handshake_welcome(struct node *n, struct plink *l, const uint8_t *payload);
int handshake_ready(struct node *n, struct plink *l);
void handshake_settled(struct node *n); /* primary: what the peer held prepared is taken or dropped: on to the sync */

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

/* failover.c */
void failover_command(struct node *n, struct command_req *r);
void failover_loss(const struct node *n, bool keep_prepared, uint64_t *bytes, uint64_t *ms);
void failover_pump(struct node *n);
void failover_fenced(struct node *n);
int failover_promote(struct node *n, uint64_t epoch);
void failover_drained_pump(struct node *n);

/* fence.c */
void fence_pump(struct node *n);
void fence_heard(struct node *n);   /* a sign of life of the peer */
void fence_session(struct node *n); /* a session begins */
const char *fence_state(const struct node *n, const char **why); /* for status */

/* restore.c */
void restore_give_up(struct node *n);
int restore_keep_segments(struct node *n, const struct boot *boot);
int restore_open_empty(struct node *n);
void restore_start_empty(struct node *n);
int restore_journal(struct node *n, const struct boot *boot, char *err, size_t err_size);

/* events.c */
void event(struct node *n, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void events_pump(struct node *n);
void events_free(struct node *n);

/* device.c */
bool device_any(const struct node *n);
struct image *device_offered(struct node *n, const char *name, size_t len);
bool device_guest(struct node *n, struct guest_io *g);
unsigned device_judge(struct node *n, const struct hello *peer);
int device_frame(struct node *n, const struct frame *f, const struct image *img, const void *payload);
uint64_t device_limit(const struct node *n, const struct image *img);
bool device_zeroes(const struct image *img, const void *buf, uint64_t len);
/* demote.c */
void demote_park(struct node *n, struct guest_io *g);
void demote_pump(struct node *n);
void demote_stale(struct node *n, bool fenced);
void demote_discard(struct node *n, struct command_req *r);
void switch_command(struct node *n, struct command_req *r);
void switch_pump(struct node *n);
void switch_peer_is(struct node *n, const struct hello *peer);
bool demote_cancel(struct node *n, struct command_req *r);
bool demote_cuts(const struct node *n); /* not while the role changes */
bool node_open_for_writing(const struct node *n);

/* own.c */
bool own_known(const struct node *n, uint64_t *base);
bool own_mapped(const struct node *n);
void own_keep(struct node *n);
void own_forget(struct node *n);
void own_send(struct node *n);
int own_frame(struct node *n, struct plink *l, const uint8_t *payload);

/* live.c */
void live_set(struct node *n, struct command_req *r);
void live_capacity(struct node *n);

/* report.c: node_status() */

#endif
