/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the guests' files: guest.c, twin.c, probe.c. */
#ifndef COLOFS_TESTS_GUEST_H
#define COLOFS_TESTS_GUEST_H

#include "sim.h"

#define TWIN_UNITS 32u /* the twin writes only here: every grown image has it */
#define SLOT_BYTES ((size_t)MODEL_UNITS / 2 * SECTOR)

enum kind { K_READ, K_WRITE, K_ZERO, K_SYNC, K_TRUNC, K_CREATE, K_UNLINK, K_RENAME, K_PROBE };

struct slot {
	struct guest_io g; /* first */
	struct host *host;
	bool busy, twin, zero, has_attr, loose, writes;
	bool remote;           /* an fsync that nothing may lose */
	uint8_t kind;
	uint64_t op, issued_us, epoch_low;
	uint64_t image_id;
	uint32_t first, count; /* units */
	struct attr attr;
	version_t *floor;      /* MODEL_UNITS of them */
	struct image *image;   /* held open */
	size_t buf_size;
};

struct probe {
	bool running;
	uint64_t epoch;
	uint32_t restarts;
	uint32_t count;
	struct probe_image images[MODEL_IMAGES * 2];
	void (*fn)(struct sim *s, struct host *h, struct probe_image *img, uint32_t count);
	struct slot slot;
};

struct guests {
	struct slot slots[HOSTS][GUEST_SLOTS];
	struct probe probe[HOSTS];
	bool running[HOSTS], ticking[HOSTS];
	uint64_t names;       /* counter for new ones */
	char orphans[GUEST_SLOTS][NAME_LEN];
};

/* guest.c. NULL: no slot is free. */
struct slot *slot_take(struct sim *s, struct host *h, unsigned kind);
bool slot_open(struct sim *s, struct slot *t, struct image *img);
void slot_buf(struct sim *s, struct slot *t); /* its place in bytes, and a buffer for it */
void slot_submit(struct sim *s, struct slot *t);
/* A random place in an image of so many units. */
void guest_range(struct sim *s, struct slot *t, uint32_t units);
/* twin.c: a request begins; its answer is checked. */
void twin_op(struct sim *s, struct host *h);
void twin_done(struct sim *s, struct slot *t);
/* probe.c */
void probe_free(struct sim *s, struct probe *p);

#endif
