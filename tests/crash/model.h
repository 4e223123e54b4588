/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the load did, replayed from the lines it left in the log: the contents
 * of every image at every commit, and, after a failover, after every write.
 * From it follows what a recovered backup may hold. Used by the load itself
 * (its memory between two runs), by states.c and check.c.
 *
 * Lines (IMAGE is a number below MODEL_IMAGES; all of one thread, each after
 * it was done, but `sent`, `failover-sent`, `local-write` and so on, which come before):
 *   create IMAGE NAME    unlink IMAGE    rename IMAGE NAME
 *   write IMAGE OFF LEN OP    zero IMAGE OFF LEN    trunc IMAGE SIZE
 *   sent                 a flush is about to be written to ctl
 *   acked EPOCH          it was acknowledged
 *   sync                 from here on a sync may commit what there is, as often as it likes
 *   synced EPOCH         and did so, up to this epoch
 *   twin-write IMAGE OFF LEN OP    twin-zero ...    twin-trunc ...   on the backup: its overlay
 *   failover-sent        failover-acked EPOCH
 *   local-write IMAGE OFF LEN OP   local-zero ...   local-trunc ...   on the promoted backup
 *   local-synced IMAGE   everything local in it so far was fsynced
 */
#ifndef COLOFS_TESTS_CRASH_MODEL_H
#define COLOFS_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_IMAGES 6
#define MODEL_BYTES (192u << 10) /* the longest image */

struct model_image {
	bool exists;
	bool shared;    /* data belongs to a snapshot, too */
	char name[32];
	uint64_t size;  /* bytes */
	uint8_t *data;  /* MODEL_BYTES, zeroes behind the size */
};

struct snapshot {
	struct model_image images[MODEL_IMAGES];
};

/* Positions are those of entries in the log; or in the block log that the mark names, see load.c. */
struct cut {
	uint64_t first, epoch; /* epochs that have this content: all from first on; 0: not known yet */
	uint64_t sent, acked;  /* positions; acked UINT64_MAX: never */
	bool sync;
	struct snapshot at;
};

struct step { /* promoted: what there was after one more local write */
	uint64_t sent;
	struct snapshot at;
};

struct model {
	struct snapshot now, twin; /* the primary's guest; the backup's view with its overlay */
	struct cut *cuts;
	size_t cut_count;
	struct step *steps;
	size_t step_count;
	struct floor { uint64_t pos; size_t step; unsigned image; } *floors; /* from pos on, at least steps[step] */
	size_t floor_count;
	uint64_t failover_acked; /* position; 0: never */
	uint64_t op;               /* the highest write number */
	uint64_t end;              /* highest position */
};

struct found_image {
	char name[256];
	uint64_t size;
	const uint8_t *data;
};

/* What a recovery brought up. */
struct found {
	bool promoted;
	uint64_t epoch;            /* committed; 0: none yet */
	uint32_t count;
	struct found_image images[64];
};

/* One line, at pos. Aborts on a line that it does not know. */
void model_line(struct model *m, uint64_t pos, const char *line);
/* Reads all marks of a log. 0, -errno. by_mark: positions are those the marks name, else the entries' index. */
int model_load(struct model *m, const char *path, bool by_mark);
/* May f be what a crash at pos left? floor: an epoch known to be durable then, 0: only what marks say. NULL, or
 * what is wrong. */
const char *model_check(const struct model *m, uint64_t pos, uint64_t floor, const struct found *f);
/* Highest epoch acknowledged at pos. */
uint64_t model_acked(const struct model *m, uint64_t pos);
/* The stamps of write number op in an image: each word says number, image and sector. */
void stamp_fill(uint8_t *buf, unsigned image, uint64_t off, uint64_t len, uint64_t op);

#endif
