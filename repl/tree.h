/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The B+tree below extent maps: pages, their arena, the search and the shape.
 * Private to map.c and tree.c. What an entry of a leaf means, but for the
 * offset that orders it, is map.c's.
 */
#ifndef COLOFS_REPL_TREE_H
#define COLOFS_REPL_TREE_H

#include <string.h>

#include "map.h"

#define PAGE_SIZE_BYTES 4096u
#define PAGE_ENTRIES    254
/* Inner pages but the last of each level have 63 children or more: 63^7 leaves are out of reach. */
#define TREE_HEIGHT_MAX 8

/* Leaf: a = off << 16 | ..., b: map.c's. Inner page: a = separator << 16, b = the child's address.
 */
struct entry {
	uint64_t a, b;
};

struct page {
	struct page *prev, *next; /* all pages of the map; next also: free pages of the arena */
	uint32_t count;
	uint32_t level; /* 0: leaf */
	struct entry e[PAGE_ENTRIES];
	uint64_t spare;
};
_Static_assert(sizeof(struct page) == PAGE_SIZE_BYTES, "a page");

struct arena {
	struct page *base;
	struct page *free;
	size_t page_count;
	size_t fresh;      /* index of the first page never used */
	size_t free_count; /* on the list */
};

/* The way from the root to a place: node[0] is the leaf, idx[0] the last entry there that begins
 * at or before the offset looked for (-1: none); above, idx is the child taken. */
struct path {
	struct page *node[TREE_HEIGHT_MAX];
	int idx[TREE_HEIGHT_MAX];
};

static inline uint64_t entry_off(const struct entry *e)
{
	return e->a >> 16;
}

static inline void page_erase(struct page *p, int i, int n)
{
	memmove(&p->e[i], &p->e[i + n], (p->count - i - n) * sizeof(p->e[0]));
	p->count -= n;
}

static inline size_t arena_pages(const struct arena *a)
{
	return a->page_count - a->fresh + a->free_count;
}

/* The map is not empty. */
void tree_descend(const struct map *m, uint64_t off, struct path *path);
/* Where the leaf after path's begins; UINT64_MAX: it is the last. */
uint64_t tree_next_leaf(const struct map *m, const struct path *path);
/* Enter e, whose offset is not there yet. way: to its offset; NULL: not known. Takes a page a
 * level and one more at most; the caller has made sure that they are there. */
void tree_insert(struct map *m, struct entry e, const struct path *way);
/* What is below path's page at level begins at a >> 16 now: its separator, on whichever level. */
void tree_set_separator(const struct map *m, const struct path *path, uint32_t level, uint64_t a);
/* After entries of path's leaf were erased: drop it if it is empty, merge it if it is small, and
 * so on up. The path is stale afterwards. */
void tree_shrink(struct map *m, const struct path *path);

#endif
