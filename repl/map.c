/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extent maps. Owned by the core, used on the event loop's thread only. What
 * extents are and how they replace one another; the tree that holds them is in
 * tree.c.
 */
#include "map.h"

#include <assert.h>
#include <errno.h>

#include "tree.h"

/*
 * A leaf's entry: a = off << 16 | len >> 16, b = pos << 16 | (len & 0xffff). A zero extent has len
 * 0 and its length, modulo 2^48, in place of pos: one entry, however long it is.
 */
#define LOW16 0xffffull
#define LOW48 (MAP_OFF_MAX - 1)

static struct entry entry_make(uint64_t off, uint64_t len, uint64_t pos)
{
	if (pos == MAP_ZERO)
		return (struct entry){.a = off << 16, .b = (len & LOW48) << 16};
	return (struct entry){.a = off << 16 | len >> 16, .b = pos << 16 | (len & LOW16)};
}

static struct extent entry_extent(const struct entry *e)
{
	struct extent x = {.off = e->a >> 16, .pos = e->b >> 16};

	x.len = (e->a & LOW16) << 16 | (e->b & LOW16);
	if (!x.len) {
		x.len = x.pos ? x.pos : MAP_OFF_MAX;
		x.pos = MAP_ZERO;
	}
	return x;
}

static uint64_t entry_end(const struct entry *e)
{
	struct extent x = entry_extent(e);

	return x.off + x.len;
}

/* Move the beginning of x up to off. */
static void extent_cut(struct extent *x, uint64_t off)
{
	if (x->pos != MAP_ZERO)
		x->pos += off - x->off;
	x->len -= off - x->off;
	x->off = off;
}

/* Whether b goes on where a ends, and one entry can hold both. */
static bool extent_joins(const struct extent *a, const struct extent *b)
{
	if (a->off + a->len != b->off)
		return false;
	if (a->pos == MAP_ZERO || b->pos == MAP_ZERO)
		return a->pos == b->pos;
	return a->pos + a->len == b->pos && a->len + b->len <= MAP_LEN_MAX;
}

bool map_find(const struct map *m, uint64_t off, struct extent *x)
{
	struct path path;
	uint64_t next;
	int i;

	if (!m->root || off >= MAP_OFF_MAX)
		return false;
	tree_descend(m, off, &path);
	i = path.idx[0];
	if (i >= 0 && entry_end(&path.node[0]->e[i]) > off) {
		*x = entry_extent(&path.node[0]->e[i]);
		extent_cut(x, off);
		return true;
	}
	if (++i == (int)path.node[0]->count) {
		next = tree_next_leaf(m, &path);
		if (next == UINT64_MAX)
			return false;
		tree_descend(m, next, &path);
		i = 0;
	}
	*x = entry_extent(&path.node[0]->e[i]);
	return true;
}

/* Erase what of path's leaf, from entry i on, begins before end; an extent that reaches
 * beyond end keeps what is there. True: nothing of the leaf begins at or after end. */
static bool cut_leaf(struct map *m, const struct path *path, int i, uint64_t end)
{
	struct page *leaf = path->node[0];
	int j = i, count = (int)leaf->count;

	for (; j < count && entry_off(&leaf->e[j]) < end; j++) {
		struct extent x = entry_extent(&leaf->e[j]);

		if (x.off + x.len > end) {
			m->bytes -= end - x.off;
			extent_cut(&x, end);
			leaf->e[j] = entry_make(x.off, x.len, x.pos);
			break;
		}
		m->bytes -= x.len;
	}
	page_erase(leaf, i, j - i);
	m->extents -= (uint64_t)(j - i);
	if (i == 0 && leaf->count)
		tree_set_separator(m, path, 0, leaf->e[0].a);
	if (j > i)
		tree_shrink(m, path);
	return j == count;
}

/* Take [off, end) out. A page for the one possible split is there. */
static void cut(struct map *m, uint64_t off, uint64_t end)
{
	struct path path;

	while (m->root && off < end) {
		struct extent x, tail;
		struct page *leaf;
		uint64_t next;
		int i;

		tree_descend(m, off, &path);
		leaf = path.node[0];
		i = path.idx[0];
		next = tree_next_leaf(m, &path);
		if (i < 0 || entry_off(&leaf->e[i]) < off) {
			if (i >= 0 && entry_end(&leaf->e[i]) > off) {
				x = tail = entry_extent(&leaf->e[i]);
				leaf->e[i] = entry_make(x.off, off - x.off, x.pos);
				if (x.off + x.len > end) {
					m->bytes -= end - off;
					extent_cut(&tail, end);
					tree_insert(m, entry_make(tail.off, tail.len, tail.pos),
						    &path);
					return;
				}
				m->bytes -= x.off + x.len - off;
			}
			i++;
		}
		if (!cut_leaf(m, &path, i, end))
			return;
		off = next;
	}
}

/* Whether path's leaf shows that [off, end) is free. */
static bool is_free(const struct map *m, const struct path *path, uint64_t off, uint64_t end)
{
	const struct page *leaf = path->node[0];
	int i = path->idx[0];

	if (i >= 0 && entry_end(&leaf->e[i]) > off)
		return false;
	if (i + 1 < (int)leaf->count)
		return entry_off(&leaf->e[i + 1]) >= end;
	return tree_next_leaf(m, path) >= end;
}

/* Enter x over what is there; the pages are there. Joined with its neighbours on its leaf. */
static void put(struct map *m, struct extent x)
{
	bool joins_left = false, joins_right = false;
	struct extent left, right;
	struct page *leaf;
	struct path path;
	int i;

	m->bytes += x.len;
	if (m->root) {
		tree_descend(m, x.off, &path);
		if (!is_free(m, &path, x.off, x.off + x.len)) {
			cut(m, x.off, x.off + x.len);
			if (m->root)
				tree_descend(m, x.off, &path);
		}
	}
	if (!m->root) {
		tree_insert(m, entry_make(x.off, x.len, x.pos), NULL);
		return;
	}
	leaf = path.node[0];
	i = path.idx[0];
	if (i >= 0) {
		left = entry_extent(&leaf->e[i]);
		joins_left = extent_joins(&left, &x);
	}
	if (joins_left) {
		x.off = left.off;
		x.len += left.len;
		x.pos = left.pos;
	}
	if (i + 1 < (int)leaf->count) {
		right = entry_extent(&leaf->e[i + 1]);
		joins_right = extent_joins(&x, &right);
	}
	if (joins_right)
		x.len += right.len;
	if (!joins_left && !joins_right) {
		tree_insert(m, entry_make(x.off, x.len, x.pos), &path);
		return;
	}
	leaf->e[joins_left ? i : i + 1] = entry_make(x.off, x.len, x.pos);
	if (joins_left && joins_right) {
		page_erase(leaf, i + 1, 1);
		m->extents--;
		tree_shrink(m, &path);
	}
}

/*
 * Pages that one insert may take. An entry takes one a level and a new root at most; an insert
 * enters two (itself and the tail of what it cut), the second maybe one level further down.
 */
static size_t pages_needed(uint32_t height)
{
	return 2 * (size_t)height + 3;
}

size_t map_insert_cost(void)
{
	return pages_needed(TREE_HEIGHT_MAX - 1) * PAGE_SIZE_BYTES;
}

int map_insert(struct map *m, uint64_t off, uint64_t len, uint64_t pos)
{
	uint64_t pieces = pos == MAP_ZERO ? 1 : (len + MAP_LEN_MAX - 1) / MAP_LEN_MAX;
	size_t need;

	assert(off <= MAP_OFF_MAX && len <= MAP_OFF_MAX - off);
	assert(pos == MAP_ZERO || (pos < MAP_ZERO && len <= MAP_ZERO - pos));
	if (!len)
		return 0;
	need = pieces == 1 ? pages_needed(m->height) : pieces * pages_needed(TREE_HEIGHT_MAX - 1);
	if (arena_pages(m->arena) < need)
		return -ENOSPC;
	while (len) {
		struct extent x = {.off = off, .len = len, .pos = pos};

		if (pos != MAP_ZERO && len > MAP_LEN_MAX)
			x.len = MAP_LEN_MAX;
		put(m, x);
		off += x.len;
		len -= x.len;
		if (pos != MAP_ZERO)
			pos += x.len;
	}
	return 0;
}

int map_remove(struct map *m, uint64_t off, uint64_t len)
{
	struct extent x;

	assert(off <= MAP_OFF_MAX && len <= MAP_OFF_MAX - off);
	if (!len || !m->root)
		return 0;
	/* only a hole inside one extent adds an entry */
	if (arena_pages(m->arena) < (size_t)m->height + 1 && off > 0 && map_find(m, off - 1, &x) &&
	    x.off < off && x.off + x.len > off + len)
		return -ENOSPC;
	cut(m, off, off + len);
	return 0;
}

int map_merge_some(struct map *dst, const struct map *src, uint64_t *cursor, unsigned n)
{
	struct extent x;
	int error;

	assert(dst != src);
	for (; n > 0; n--) {
		if (!map_find(src, *cursor, &x))
			return 1;
		error = map_insert(dst, x.off, x.len, x.pos);
		if (error)
			return error;
		*cursor = x.off + x.len;
	}
	return 0;
}

void map_init(struct map *m, struct arena *a)
{
	*m = (struct map){.arena = a};
}

void map_clear(struct map *m)
{
	struct arena *a = m->arena;
	struct page *tail = m->pages_tail;

	if (tail) {
		tail->next = a->free;
		a->free = m->pages;
		a->free_count += m->page_count;
	}
	map_init(m, a);
}
