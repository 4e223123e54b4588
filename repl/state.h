/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a node remembers: SOURCE/.colofs/state. One small file, replaced
 * atomically (env IO_STATE), so each write of it is one durable step. It is
 * the root of recovery: identity, lineage, the images' table as of the last
 * destage, and where in the journal recovery begins.
 */
#ifndef COLOFS_REPL_STATE_H
#define COLOFS_REPL_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env.h"

#define HISTORY_MAX 32
#define STATE_MAX (IMAGES_MAX * 320 + 8192) /* bytes, encoded */

/* One generation that this lineage came through. */
struct ancestor {
	uint64_t generation;
	uint64_t epoch;   /* its last committed epoch that the next one builds on */
	uint64_t doubt;   /* an epoch ordered and not confirmed at the fork; 0: none */
};

struct lineage {
	uint64_t generation; /* 0: none yet */
	uint32_t count;
	struct ancestor past[HISTORY_MAX]; /* oldest first */
};

/* A backup whose copy is no epoch of its primary's: it may hold writes of its own, or some of a newer one. */
enum rejoin {
	REJOIN_NONE,
	REJOIN_OLDER,   /* its generation is in the history of the primary that it joins */
	REJOIN_DISCARD, /* it lost a split brain, by order */
	REJOIN_PART,    /* its last commit was a part of a resync in-place: part.c */
};

struct state_image {
	uint64_t id, size;
	uint64_t mtime_ns, ctime_ns; /* at a clean end; else 0 */
	bool consistent;
	char name[256];
};

struct state {
	int role;                /* enum node_role */
	bool have_pair;
	bool clean;              /* the node was stopped in order */
	bool had_peer;           /* primary: a peer was welcomed, and may have been promoted since: it is asked at start */
	bool demoted;            /* a backup that was a primary: role=primary in its fstab is not an error */
	uint8_t rejoin;          /* enum rejoin: until a commit behind rejoin_epoch */
	uint64_t rejoin_epoch;
	uint8_t pair[16];
	uint64_t session_high;   /* highest session number ever used */
	uint64_t epoch_high;     /* highest epoch number ever ordered (primary: a bound) */
	struct lineage lineage;
	uint64_t shared_generation; /* primary: the generation that the peer has taken over, or was about to */
	uint64_t activity;       /* primary: the activity map that is kept, its life; 0: none */
	struct lineage adopting; /* the primary's, taken over by the commit record that names it */
	/* the committed epoch as of the last destage */
	uint64_t epoch;
	uint64_t epoch_wall_ms;
	char epoch_name[65];
	/* the journal */
	uint8_t journal_id[16];
	uint64_t incarnation;    /* of the last open */
	bool journal_used;       /* segments with this id must exist */
	uint64_t tail_lsn;       /* recovery begins with this record ... */
	uint64_t tail_sum;       /* ... whose predecessor's checksum is this ... */
	uint32_t tail_slot;      /* ... at this place, if it is in this segment */
	uint32_t tail_off;
	/* after a failover, until drained */
	bool promoted;
	uint64_t overlay_first;  /* records of the overlay's log taken as committed; 0: none */
	uint64_t overlay_last;
	uint64_t overlay_incarnation;
	uint64_t overlay_sum;    /* checksum of the record before overlay_first */
	uint32_t overlay_slot, overlay_off;
	struct state_image *images; /* malloc'ed */
	uint32_t image_count;
};

/* Encode into buf (STATE_MAX bytes at least). Length, or -EMSGSIZE. */
int state_encode(const struct state *s, void *buf, size_t size);
/* 0; -EINVAL: damaged or of an unknown version. Caller state_free()s. */
int state_decode(struct state *s, const void *buf, size_t len);
void state_free(struct state *s);

/* The generation that follows: pushes the present one with its last epoch. */
void lineage_push(struct lineage *l, uint64_t generation, uint64_t epoch, uint64_t doubt);
/* The entry of generation in l's past, or NULL. */
const struct ancestor *lineage_find(const struct lineage *l, uint64_t generation);

struct putter;
struct getter;
void lineage_put(struct putter *p, const struct lineage *l);
void lineage_get(struct getter *g, struct lineage *l);

#endif
