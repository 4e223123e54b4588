/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What must be true: stamps (stamp.c), the model (model.c), the oracle (check.c). Included by sim.h. */
#ifndef COLOFS_TESTS_MODEL_H
#define COLOFS_TESTS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "disk.h"

struct sim;
struct host;

#define MODEL_IMAGES 9     /* images alive at once, unlinked ones that a crash may bring back among them */
#define MODEL_UNITS 192u   /* the longest image: 48 KiB */
#define GUEST_SLOTS 8      /* guest requests in flight, each host */
#define ATTRS_MAX 24       /* an image's remembered names and sizes since the last floor */
#define CUTS_MAX 32        /* epochs remembered */
#define PREPARES_MAX 16
#define TWIN_OPS 16384u    /* the twin's writes remembered */

/* ---- stamps ---- */

typedef uint64_t version_t;

/* Where a unit begins, bytes; the unit that begins at off (false: none does); units of a size, UINT32_MAX: broken. */
uint64_t unit_off(uint64_t image, uint64_t index);
bool unit_at(uint64_t image, uint64_t off, uint32_t *index);
uint32_t unit_count(uint64_t image, uint64_t size);
void stamp_fill(uint8_t *buf, uint64_t op, uint64_t image, uint32_t first, uint32_t count);
/* The version a unit shows; false: no stamp for that place. Twin's ones come with TWIN_BIT. */
bool stamp_read(const uint8_t *unit, uint64_t image, uint64_t index, version_t *v);

/* ---- the model ---- */

/*
 * A version of a unit: number of the operation that wrote it, times two,
 * plus one if it reads as zeroes. Operations on the same units take effect in
 * the order of their numbers.
 */
#define VERSION(op, zero) ((op) << 1 | (zero))
#define TWIN_BIT (1ull << 60) /* operation numbers of the backup's own guest */
#define PROMOTED_OP (1ull << 61) /* and of the primary's guest after a failover: above all others */

struct attr {
	uint64_t op;   /* since this operation */
	bool exists;
	bool acked;
	uint64_t size; /* bytes */
	char name[NAME_LEN];
};

struct model_image {
	bool used;
	uint64_t id;
	struct attr attrs[ATTRS_MAX]; /* oldest first; [0] is certainly durable or older */
	uint32_t attr_count;
	bool forgot;                  /* there were more */
	uint32_t behind_from, behind_to; /* units that the primary could not read for its peer in this session */
	version_t acked[MODEL_UNITS];
	version_t issued[MODEL_UNITS];   /* newest operation submitted */
	version_t zeroed[MODEL_UNITS];   /* newest submitted that zeroes */
	version_t floor[MODEL_UNITS];    /* promised durable on the primary */
	/* the twin's: */
	uint64_t twin_acked[MODEL_UNITS], twin_issued[MODEL_UNITS];
	uint32_t writers, exclusive, opened;       /* requests in flight */
};

/* A request of the primary's guest that was submitted and not answered at a cut. */
struct pending_op {
	uint64_t op, image;
	uint32_t first, count;  /* units; count UINT32_MAX: to the end */
	bool zero;
	int8_t in;              /* 1 in the epoch, 0 not, -1 not known yet */
	bool loose;             /* it failed: any part of it may be in */
	bool has_attr;          /* then attr is what holds if it is in */
	struct attr attr;
};

struct cut_image {
	uint64_t id;
	struct attr attr;
	version_t *acked;       /* units of them */
	uint32_t behind_from, behind_to;
	uint32_t units;
};

struct cut {
	uint64_t epoch;
	uint64_t clock;         /* model clock */
	bool early;             /* made before a probe told what the primary has: content not known yet */
	uint32_t image_count, pending_count;
	struct cut_image images[MODEL_IMAGES];
	struct pending_op pending[GUEST_SLOTS];
};

/* What a read showed, for model_check_view(). */
struct view {
	uint64_t image;
	uint64_t off, len;      /* bytes asked; units' borders */
	uint64_t got;           /* bytes read */
	uint64_t size;          /* image_size() at the read's end; NEVER: not known */
	const uint8_t *data;
	uint64_t epoch_low, epoch_high; /* committed ones when it began, ended */
	const uint64_t *twin_floor;     /* per unit of the read: must be shown if still epoch_low; NULL */
};

/* What may become of a prepared epoch. */
enum settle { SETTLE_KEPT, /* nobody ordered anything */ SETTLE_COMMIT, /* it may be taken */ SETTLE_VOID };

struct model {
	uint64_t op;        /* last number given */
	uint64_t clock;     /* counts everything that happens */
	struct model_image images[MODEL_IMAGES];
	struct cut *cuts[CUTS_MAX];
	uint64_t acked_epoch;   /* highest one a flush was told done */
	uint64_t visible_epoch; /* highest one seen committed on the backup */
	uint64_t sent_epoch;    /* highest one cut */
	struct {
		uint64_t epoch;
		enum settle settle;
	} prepared[PREPARES_MAX]; /* the newest prepared ones */
	uint32_t prepared_next;
	struct twin_op {
		uint64_t op;
		uint64_t low, high; /* epochs whose overlay it can be in; high NEVER: not acknowledged */
	} twin[TWIN_OPS]; /* by number */
	uint64_t twin_op;   /* the twin's last number */
	uint64_t twin_base; /* up to here a failover has made them the images' own */
	uint64_t twin_void; /* up to here they are gone for good: their host crashed */
};

void model_reset(struct sim *s);
struct model_image *model_image(struct sim *s, uint64_t id);
struct model_image *model_add(struct sim *s, uint64_t id, const char *name, uint64_t op);
struct attr *model_attr(struct model_image *m); /* the newest */
struct attr *model_attr_push(struct sim *s, struct model_image *m, uint64_t op);
void model_issue(struct sim *s, struct model_image *m, uint32_t first, uint32_t count,
                 uint64_t op, bool zero);
void model_ack(struct sim *s, struct model_image *m, uint32_t first, uint32_t count,
               uint64_t op, bool zero);
/* The primary could not read there for its peer, whose copy stays behind; a new session begins anew. */
void model_behind(struct sim *s, uint64_t image, uint64_t off, uint64_t len);
void model_session(struct sim *s);
/* A request failed: what is on the disk now is what the guest has there. */
void model_fail(struct sim *s, struct model_image *m, uint32_t first, uint32_t count, uint64_t op);
void model_cut(struct sim *s, uint64_t epoch);
struct cut *model_find_cut(struct sim *s, uint64_t epoch);
/* A flush that was ordered at clock said done for epoch. */
void model_flush_done(struct sim *s, uint64_t epoch, uint64_t ordered_clock);
void model_fsync_done(struct sim *s, struct model_image *m, const version_t *acked);
/* An fsync that nothing may lose: what was acknowledged before it is in the backup's committed epoch. */
void model_check_remote(struct sim *s, const struct model_image *m, const version_t *acked);
void model_prepared(struct sim *s, uint64_t epoch, enum settle settle);
void model_visible(struct sim *s, struct host *h, uint64_t epoch);
/* A read by the backup's guest: some one epoch in [low, high], under its overlay. */
void model_check_view(struct sim *s, const struct view *v);
/* A read by the primary's guest. floor: acked versions when it was submitted. */
void model_check_read(struct sim *s, struct model_image *m, uint32_t first, const uint8_t *data,
                      uint64_t got, const version_t *floor);
/* Both: the whole image set, as found by a probe of a node that just started. */
struct probe_image {
	uint64_t id, size;
	char name[NAME_LEN];
	uint8_t *data;
};
void model_check_epoch(struct sim *s, const struct probe_image *img, uint32_t count, uint64_t epoch,
                       bool twin);
/* strict: everything acknowledged must be there, not only what was synced. */
void model_check_floor(struct sim *s, const struct probe_image *img, uint32_t count, bool strict);
/* From now on this is what the primary's guest has. */
/* durable: what img shows, is; in_flight: but for guests' requests that ended meanwhile, so nothing is promised yet. */
void model_rebase(struct sim *s, const struct probe_image *img, uint32_t count, bool durable, bool in_flight);
/* The overlay is gone by a crash, with all that was in flight. */
void model_twin_void(struct sim *s);

#endif
