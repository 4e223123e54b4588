/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A node: the replication core's face to fs/ (guest I/O, commands, status) and
 * to its shell (links, ticks). One thread, the event loop's, calls all of it.
 * Time is what the shell says it is: node_time() before every batch of events.
 */
#ifndef COLOFS_REPL_NODE_H
#define COLOFS_REPL_NODE_H

#include "../ctl/command.h"
#include "../ctl/status.h"
#include "env.h"
#include "range.h"

struct node;
struct image;

enum node_role { NODE_UNPROTECTED, NODE_PRIMARY, NODE_BACKUP };

struct node_config {
	int role;                   /* enum node_role; -1: what the state remembers */
	bool can_dial;              /* peer= is given */
	bool can_accept;            /* listen= is given */
	bool overwrite;
	uint32_t commit_ms;         /* 0: manual, or by fsync */
	bool commit_fsync;          /* also at every guest flush */
	bool overlay_off;           /* a backup refuses local writes */
	bool suspend;               /* a primary without its peer holds writes */
	bool catch_up;              /* congestion: mark, do not hold */
	bool peer_loss_failover;    /* a backup without its peer fails over by itself; needs can_fence */
	bool can_fence;             /* fence= is given: env's fence() */
	bool start_alone;           /* a primary does not ask its peer before it serves */
	uint32_t peer_wait_ms;      /* how long it tries to */
	uint64_t resync_rate;       /* bytes a second; 0: no limit */
	uint64_t journal_size, overlay_size; /* bytes */
	uint32_t link_timeout_ms, flush_timeout_ms;
	uint64_t send_buffer;       /* bytes: what tx_room() is when nothing waits */
	uint32_t segment_size;      /* bytes; 0: chosen from journal_size. For the simulator */
	uint32_t activity_ms;       /* see activity.c; 0: as there. For the simulator, too, */
	uint8_t activity_shift;     /* ... like this */
	uint64_t part_bytes;        /* see part.c; 0: by the peer's journal. Likewise */
	const char *source;         /* for status */
	const char *version;
};

struct options;
/* The options that may change while mounted. */
void node_config_live(struct node_config *c, const struct options *o);

/* What the shell found on disk, given once to node_create(). */
struct boot_image {
	uint64_t id;       /* from the file's xattr (or the shell's inode fallback); 0: none */
	char name[256];    /* in SOURCE; "" when hidden (.colofs/i<id>) */
	uint64_t size;     /* bytes */
	uint64_t capacity; /* of the block device that it is, bytes: its size, for ever; 0: a file */
	uint64_t mtime_ns, ctime_ns;
};
struct boot_segment {
	uint32_t slot;
	uint64_t size;
};
struct boot {
	uint8_t node[16];   /* this node's id, never zero: the shell made it once (.colofs/node-id) */
	const void *state;  /* the state file, or NULL */
	size_t state_len;
	const struct boot_image *images;
	size_t image_count;
	uint64_t size_max;  /* bytes that SOURCE's file system allows for a file; 0: not known */
	const struct boot_segment *journal, *overlay;
	size_t journal_count, overlay_count;
	uint64_t activity_size; /* of the activity map's file, bytes; 0: there is none */
};

/* ---- life cycle ---- */

/*
 * Decode state, recover the journal (env->read_now), and begin to start:
 * writes that must precede service are submitted; on_ready(ctx, 0, "") is called later
 * from the loop when guests may be served, or on_ready(ctx, -errno, one line) if the start failed.
 * Returns NULL with one line in err (and *error = -errno) when SOURCE does not
 * allow it: wrong role, damaged state, foreign journal ...
 * The config's strings and the boot's arrays need not outlive the call.
 */
struct node *node_create(struct env *env, const struct node_config *config, const struct boot *boot,
                         void (*on_ready)(void *ctx, int error, const char *why), void *ctx,
                         int *error, char *err, size_t err_size);
/* Begin to drain: no new links; all guest I/O done; a backup destages. on_stopped when it may be
 * destroyed: 0, or -errno and a line in *why if something could not be brought to the images. */
void node_stop(struct node *n, void (*on_stopped)(void *ctx, int error, const char *why), void *ctx);
void node_destroy(struct node *n);

/* now_ms: monotonic. Sets the clock and runs timers; call before each batch of events and
 * at node_deadline_ms() at the latest. */
void node_time(struct node *n, uint64_t now_ms, uint64_t wall_ms);
uint64_t node_deadline_ms(const struct node *n);
/* Call at the end of each batch of events: lets the core send what it gathered. */
void node_batch_end(struct node *n);

/* ---- images and guests ---- */

enum guest_op {
	GUEST_READ, GUEST_WRITE, GUEST_SYNC, GUEST_ALLOC, GUEST_PUNCH, GUEST_ZERO, GUEST_TRUNC,
	GUEST_CREATE, GUEST_UNLINK, GUEST_RENAME, GUEST_EXTENT,
};

struct guest_io {
	uint8_t op;
	bool keep_size;        /* ALLOC, ZERO */
	struct image *image;   /* CREATE: out */
	uint64_t off, len;     /* bytes, at most IO_MAX_LEN for READ and WRITE. READ: len is cut at
	                        * the end of the image (out). TRUNC: len is the size. EXTENT: as IO_EXTENT */
	bool hole;             /* EXTENT: out */
	void *buf;             /* READ, WRITE: caller's until done; O_DIRECT when page-aligned */
	char name[256];        /* CREATE, RENAME (the new name) */
	int error;             /* out: 0 or -errno */
	void (*done)(struct guest_io *g); /* called from the loop, never from node_guest() itself */
	void *owner;
	/* the core's own: */
	struct range claim;
	struct io io;
	struct guest_io *next;
	uint64_t epoch, deadline_ms;
	uint8_t stage;
	void *priv;
	uint64_t n[4];
};

void node_guest(struct node *n, struct guest_io *g);

/* The visible images. Names are the committed ones on a backup. The pointer is valid while
 * open (image_open() ... image_close()) or until control returns to the loop. */
struct image *node_image(struct node *n, const char *name);
struct image *node_image_by_id(struct node *n, uint64_t id);
struct image *node_image_next(struct node *n, struct image *prev); /* NULL: first */
const char *image_name(const struct image *img);
uint64_t image_id(const struct image *img);     /* also good as inode number: >= 16 */
uint64_t image_size(const struct image *img);   /* as the guest sees it, bytes */
uint64_t image_mtime_ns(const struct image *img);
int image_open(struct node *n, struct image *img);  /* 0, -EAGAIN (never consistent), -EIO (mode failed) */
/* Besides, while it is open for writing: the role does not change then. 0, -EBUSY. */
int image_open_write(struct node *n, struct image *img);
void image_close_write(struct image *img);
void image_close(struct node *n, struct image *img);

/* ---- commands ---- */

struct command_req {
	struct command cmd;
	char reply[8192];      /* out: "done ...", "fail errno=...", "started ..." or help's text */
	int error;             /* out: 0 or -errno */
	void (*done)(struct command_req *r); /* never called from node_command() itself */
	void *owner;
	/* the core's own: */
	struct command_req *next;
	uint64_t started_ms, deadline_ms, epoch;
};
void node_command(struct node *n, struct command_req *r);
/* The asker gave up (FUSE INTERRUPT): finish r with -EINTR now, whatever goes on behind it. */
void node_command_cancel(struct node *n, struct command_req *r);

/* Events are kept from the first call on. 0, -ENOMEM. */
int node_events_open(struct node *n);
uint64_t node_events_next(const struct node *n); /* the number that the next one will have */
/* The line of one, with its newline; NULL: not yet; "": it is not kept any more. */
const char *node_event(const struct node *n, uint64_t number);

void node_status(struct node *n, struct status *s); /* all but resident; images malloc'ed */

/* ---- links: called by the shell ---- */

/* An authenticated transport (or a plain one with insecure=yes) is up. link: 0 ... LINKS_MAX-1,
 * the shell's number for it. peer: text for people. tls: "TLSv1.3 ..." or "". */
void node_link_opened(struct node *n, int link, bool dialled, const char *peer, const char *tls);
/* Decrypted bytes, in order, cut anywhere. */
void node_link_rx(struct node *n, int link, const void *buf, size_t len);
/* Bytes left the send buffer: there may be room again. */
void node_link_tx_ready(struct node *n, int link);
/* The peer is gone, or the transport failed; why is one line for people. */
void node_link_closed(struct node *n, int link, const char *why);
void node_dial_failed(struct node *n, const char *why);
/* An incoming connection was turned down below the core (already logged): counted, shown in status. */
void node_link_refused(struct node *n, const char *peer, const char *why);
/* The command that env's fence() started has ended: its exit code, or 256 + the signal that ended it, or -errno: not run. */
void node_fence_ended(struct node *n, int how);
/* Whether incoming connections should be taken at all (false: disconnected, stopping). */
bool node_accepts(const struct node *n);

#endif
