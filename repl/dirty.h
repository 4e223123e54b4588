/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty sets: which 64 KiB blocks of one image the peer lacks. A two-level
 * bitmap, pages on demand: one bit a block, 4 KiB a page (2 GiB of image).
 */
#ifndef COLOFS_REPL_DIRTY_H
#define COLOFS_REPL_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#define DIRTY_BLOCK 65536u

struct dirty {
	uint64_t **pages;  /* NULL: all clear there */
	uint64_t page_count;
	uint64_t blocks;   /* bits set */
	bool all;          /* everything, also what is beyond the pages (out of memory, or asked for):
	                    * then a range test is always true */
};

void dirty_init(struct dirty *d);
void dirty_free(struct dirty *d);
/* Mark every block that [off, off+len) touches. Out of memory marks all: never loses a bit. */
void dirty_mark(struct dirty *d, uint64_t off, uint64_t len);
/* Clear every block that lies wholly in [off, off+len); what is beyond size counts as in it if
 * the range reaches size. With `all` set: turned into bits first, up to size bytes of image (out of
 * memory: nothing is cleared). */
void dirty_clear(struct dirty *d, uint64_t off, uint64_t len, uint64_t size);
/* The first dirty run at or after off, within [0,size): true, and *roff, *rlen (rlen <= max, cut at size). */
bool dirty_next(const struct dirty *d, uint64_t off, uint64_t size, uint64_t max, uint64_t *roff,
                uint64_t *rlen);
bool dirty_any(const struct dirty *d);
/* dst |= src; src is left empty. */
void dirty_merge(struct dirty *dst, struct dirty *src);
/* Bytes marked, at most size. */
uint64_t dirty_bytes(const struct dirty *d, uint64_t size);
/* Bytes below size that at least one of the sets has. */
uint64_t dirty_bytes_of(const struct dirty *const *sets, unsigned count, uint64_t size);

#endif
