/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the core's files share: here struct node and struct image, and the files that serve every role. The rest is
 * declared by part, and each part's header has the constants, structures and functions of these files:
 *
 *   here            node.c      start, guests' dispatch, pumps      image.c       the table of images
 *                   stop.c      stopping in order                   device.c      images that are block devices
 *                   events.c    what happens, line by line          report.c      status
 *                   live.c      options that may change
 *   core_save.h     state_save.c  the state file, saved
 *   core_primary.h  primary.c   a primary's data path               names.c       its creates, unlinks, renames
 *                   local.c     its reads and fsyncs                suspend.c     writes held while the peer is away
 *                   commit.c    its epochs and flushes              twophase.c    prepare, commit, abort
 *                   sync.c      sending what the peer lacks         verify.c      comparing both copies
 *                   part.c      a sync that its journal cannot hold: resync in-place
 *                   reserve.c   numbers and generations, durable before they are used
 *                   activity.c  which extents a crash leaves in doubt   activity_restore.c  ... and after one
 *   core_backup.h   backup.c    the peer's frames                   prepared.c    two-phase commits there
 *                   epoch.c     what became of images in one epoch  direct.c      images in their first sync
 *                   hash.c      are the two copies equal here?      view.c        what a backup's guest reads
 *                   twin.c      what it writes                      restore.c     the journal's recovery
 *                   destage.c   from the journal to the images      tail.c        ... and the state afterwards
 *                   merge.c     of seals, meanwhile
 *   core_link.h     link.c      links, frames, heartbeats           refuse.c      refusals; links kept parked
 *                   handshake.c from a transport to a session       pair.c        who may pair with whom
 *                   ask.c       a primary's start: was the peer promoted?
 *   core_role.h     failover.c  promotion                           fence.c       the same without an order
 *                   demote.c    from primary to backup; the planned swap
 *                   own.c       ... what it wrote and its peer has not
 *
 * A file includes core.h, nobody outside the core does. All of it runs on the event loop's thread.
 */
#ifndef COLOFS_REPL_CORE_H
#define COLOFS_REPL_CORE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ctl/log.h"
#include "activity.h"
#include "core_backup.h"
#include "core_link.h"
#include "core_primary.h"
#include "core_role.h"
#include "core_save.h"
#include "dirty.h"
#include "env.h"
#include "frame.h"
#include "journal.h"
#include "map.h"
#include "node.h"
#include "range.h"
#include "state.h"

#define EPOCH_AHEAD 1024u            /* numbers reserved in the state ahead of use */
#define LATE_TICK_MS 1000u

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
	bool on_peer;           /* the peer knows the id ... */
	uint64_t sent_size;     /* ... and has been told this size, perhaps in an epoch that it refuses yet */
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
	char start_why[768], stop_why[512];
	uint64_t stop_ms;
	uint32_t stop_syncs;
	char reason[256], last_error[512];
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
	uint8_t *link_small;    /* LINK_SMALL bytes for each of them: a payload that is short and no data */
	int link_end;                   /* from here on all are PL_FREE */
	int live;               /* index, -1 none */
	bool apart;             /* `disconnect` */
	bool dialling;
	uint64_t dial_ms, backoff_ms, link_since_ms;
	uint32_t short_links;   /* one after another that lasted less than BACKOFF_MAX_MS */
	uint32_t turns;         /* links that a newer one of the same node id ended while they were alive ... */
	uint64_t turn_ms;       /* ... the last one when */
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
	uint64_t offered, offer; /* generations that the state says the peer may have; is about to say */
	bool offering;
	struct save offer_save;
	struct save raise_save, bound_save, shared_save;
	bool bound_saving;
	bool raising;
	uint64_t epoch_bound;   /* durable in the state: numbers below may be ordered */
	struct command_req *flushes, *flushing;
	bool com_prepare, com_part; /* com is being prepared, not committed; is a part of a resync in-place */
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
	bool in_place, peer_part; /* resync in-place is ordered, or under way; the peer's last commit was a part of it */
	bool part_noted;        /* ... what is missing is in the activity map */
	uint64_t part_room;     /* bytes that its journal turned out to have room for; 0: as it says */
	struct save part_save;
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
void node_log(struct node *n, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4), cold));
void node_error(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold)); /* last_error, logged */
void node_fail(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));  /* mode failed */
void node_reason(struct node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));
void guest_finish(struct node *n, struct guest_io *g, int error);
void command_reply(struct node *n, struct command_req *r, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
struct image *image_add(struct node *n, uint64_t id);
void image_drop(struct node *n, struct image *img);
bool image_any_open(const struct node *n);
void image_remove_foreign(struct node *n);
void images_collect(struct node *n);
void stop_pump(struct node *n);
void submit(struct node *n, struct io *io);
uint64_t random64(struct node *n);
bool node_established(const struct node *n);
const char *node_mode(const struct node *n);
bool node_recovered(const struct node *n); /* started, or all but for the peer's answer: ask.c */
void node_started(struct node *n, int error, const char *why);

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

/* live.c */
void live_set(struct node *n, struct command_req *r);
void live_capacity(struct node *n);

/* report.c: node_status() */

#endif
