/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map: which coarse extents of a primary's images may differ from the peer's committed copy. It lies on disk,
 * so that a primary that crashed compares these with its peer, and not the disks. activity.c keeps it, activity_format.c
 * is its form on disk. Event-loop thread only.
 */
#ifndef COLOFS_REPL_ACTIVITY_H
#define COLOFS_REPL_ACTIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"

#define ACTIVITY_WORDS 64u                    /* of bits, for one image */
#define ACTIVITY_BITS (ACTIVITY_WORDS * 64u)
#define ACTIVITY_SHIFT 26u                    /* log2 of an extent, bytes: 64 MiB, and more in images above 256 GiB */
#define ACTIVITY_SHIFT_MIN 12u
#define ACTIVITY_SHIFT_MAX 36u                /* 4096 of them reach as far as any offset */
#define ACTIVITY_SECTOR 512u
#define ACTIVITY_HEAD 48u                     /* of a sector */
#define ACTIVITY_PART (ACTIVITY_SECTOR - ACTIVITY_HEAD)
#define ACTIVITY_BODY (36u + IMAGES_MAX * (10u + 8u * ACTIVITY_WORDS)) /* bytes of a map at most */
#define ACTIVITY_SLOT (640u << 10)            /* bytes of one of two */
#define ACTIVITY_SECTORS (ACTIVITY_SLOT / ACTIVITY_SECTOR)
#define ACTIVITY_FILE (2u * ACTIVITY_SLOT)
_Static_assert((ACTIVITY_BODY / ACTIVITY_PART + 8) * ACTIVITY_SECTOR <= ACTIVITY_SLOT, "a map fits its slot");

/* ---- on disk ---- */

struct activity_image {
	uint64_t id;
	uint8_t shift, words;
	uint64_t set[ACTIVITY_WORDS];
};

struct activity_map {
	uint8_t pair[16];
	uint64_t generation;
	uint64_t epoch;          /* outside of the extents named, the peer's copy is equal as of this one and all later ones */
	uint32_t image_count;
	struct activity_image *images; /* malloc'ed */
};

/* One write of the map. */
struct activity_stamp {
	uint64_t life;           /* the state file names it: a map of another one is not believed */
	uint64_t seq;            /* grows with every attempt within a life */
	uint64_t base;           /* of the map that the other slot holds, durable; 0: none */
	uint16_t count;          /* sectors of each write of this life */
	uint32_t body_len;
};

enum activity_kind { ACTIVITY_DAMAGED, ACTIVITY_TORN, ACTIVITY_WHOLE };

/* What lies in a slot. */
struct activity_view {
	uint8_t kind;                 /* enum activity_kind */
	struct activity_stamp newest; /* of its sectors */
};

struct putter;
void activity_put_head(struct putter *p, const struct activity_map *m);
void activity_put_image(struct putter *p, uint64_t id, uint8_t shift, const uint64_t set[ACTIVITY_WORDS]);
/* Sectors that a body of so many bytes needs; they are written in whole BLOCKs. */
uint32_t activity_sectors(size_t body_len);
/* A body into s->count sectors of a slot. */
void activity_seal(void *slot, const void *body, const struct activity_stamp *s);

/* By a slot's first sector: how many bytes of it are to be read; 0: it is damaged, or of another life. */
size_t activity_length(const void *sector, uint64_t life);
void activity_view(const void *slot, size_t len, uint64_t life, struct activity_view *v);
/* Which slot's map holds, 0 or 1; -EBADMSG: it is not certain which is the last one. */
int activity_choose(const struct activity_view v[2]);
/* The map of a whole slot. 0, -EINVAL, -ENOMEM. Caller free()s m->images. */
int activity_decode(struct activity_map *m, const void *slot, const struct activity_stamp *s);

/* ---- in memory ---- */

/* Of one image; a bit an extent. */
struct extents {
	uint8_t shift, writing_shift;
	uint64_t set[ACTIVITY_WORDS];     /* what the next map says */
	uint64_t safe[ACTIVITY_WORDS];    /* durable, and in the map that is being written */
	uint64_t writing[ACTIVITY_WORDS];
	uint64_t recent[ACTIVITY_WORDS];  /* written to since the last look ... */
	uint64_t before[ACTIVITY_WORDS];  /* ... and between that and the one before */
};

#endif
