/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extent maps: byte ranges of an image -> positions in a log; newest wins.
 * B+trees of 4 KiB pages from one fixed arena, 16 bytes an extent, so that
 * a random fill costs at most 24; a map is dropped whole in O(1): its pages
 * are one list that is spliced back.
 */
#ifndef COLOFS_REPL_MAP_H
#define COLOFS_REPL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_ZERO ((1ull << 48) - 1) /* pos: reads as zeroes */
#define MAP_OFF_MAX (1ull << 48)    /* no offset at or beyond it */
#define MAP_LEN_MAX (UINT32_MAX & ~4095u) /* one extent's but a zero one's; longer inserts are split */

struct extent {
	uint64_t off; /* bytes in the image, below 2^48 */
	uint64_t len; /* bytes, below 2^32; with MAP_ZERO up to 2^48 */
	uint64_t pos; /* bytes in the log's address space, below 2^48; or MAP_ZERO */
};

struct arena;
struct map {
	struct arena *arena;
	void *root;       /* a page, NULL when empty */
	void *pages, *pages_tail; /* list of all its pages */
	uint32_t height;
	uint32_t page_count;
	uint64_t extents; /* count */
	uint64_t bytes;   /* covered, holes in between not counted */
};

/* bytes: multiple of 4096; NULL: out of memory. Mapped once (mmap), touched lazily. */
struct arena *arena_create(size_t bytes);
void arena_destroy(struct arena *a);
size_t arena_free_bytes(const struct arena *a);

void map_init(struct map *m, struct arena *a);
/*
 * Enter [off, off+len) -> pos (pos advances with the offset; MAP_ZERO does not); what it covers of older
 * extents is cut away. Adjacent extents with adjoining pos are merged when cheap. 0, or
 * -ENOSPC with the map unchanged (arena full; callers keep a reserve, see map_insert_cost()).
 * len may be as large as MAP_OFF_MAX - off for MAP_ZERO (one extent). pos + len: at most MAP_ZERO.
 */
int map_insert(struct map *m, uint64_t off, uint64_t len, uint64_t pos);
/* Remove [off, off+len) from the map. 0 or -ENOSPC (a split may need a page). */
int map_remove(struct map *m, uint64_t off, uint64_t len);
/* The first extent that ends after off, its beginning cut at off (pos moved with it).
 * False: none. Walk a map by calling it with e.off + e.len. O(log n). */
bool map_find(const struct map *m, uint64_t off, struct extent *e);
/* Worst-case arena bytes one insert may take. */
size_t map_insert_cost(void);
/* Enter up to n extents of src into dst, from *cursor on (start with 0).
 * 1: src is done; 0: call again; -ENOSPC. src is unchanged. */
int map_merge_some(struct map *dst, const struct map *src, uint64_t *cursor, unsigned n);
/* Drop all of it, O(1). */
void map_clear(struct map *m);

#endif
