/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The B+tree below extent maps. Called by map.c, on the event loop's thread.
 *
 * Pages are 4 KiB; leaves hold extents, inner pages separators and children,
 * both as 16-byte entries, so that one set of functions searches, splits and
 * levels either. The arena is one mapping: fresh pages are taken from its
 * untouched part, returned ones from a list threaded through them. All pages of
 * a map are on a list as well, which map_clear() splices back.
 *
 * Separators are tight: that of a page is the offset of the first extent below
 * it. So an extent never reaches past the next separator, and whoever looks for
 * an offset finds in one descent the only extent that can cover it. The first
 * separator of an inner page is not kept and never read.
 *
 * Fill: a full leaf first levels with a sibling that has room, then splits; the
 * last one of the map splits at its end, so that a sequential fill leaves full
 * pages. Pages below half merge with a sibling where both fit into one.
 */
#include "tree.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SHIFT_ROOM  32                 /* a sibling with less room is not worth levelling with */
#define MERGE_BELOW (PAGE_ENTRIES / 2) /* look for a merge */
#define MERGE_MAX   (PAGE_ENTRIES * 7 / 8) /* of a merged page: it does not split again at once */
#define LEVEL_BELOW (PAGE_ENTRIES / 4)     /* no merge: take from the sibling */
#define LOW16       0xffffull

/* ---- arena ---- */

struct arena *arena_create(size_t bytes)
{
	struct arena *a = calloc(1, sizeof(*a));
	void *base;

	assert(bytes > 0 && bytes % PAGE_SIZE_BYTES == 0);
	if (!a)
		return NULL;
	base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		free(a);
		return NULL;
	}
	a->base = base;
	a->page_count = bytes / PAGE_SIZE_BYTES;
	return a;
}

void arena_destroy(struct arena *a)
{
	if (!a)
		return;
	/* cannot fail: it is what arena_create() mapped */
	(void)munmap(a->base, a->page_count * PAGE_SIZE_BYTES);
	free(a);
}

size_t arena_free_bytes(const struct arena *a)
{
	return arena_pages(a) * PAGE_SIZE_BYTES;
}

/* The caller has made sure that there is one. */
static struct page *page_new(struct map *m, uint32_t level)
{
	struct arena *a = m->arena;
	struct page *p = a->free;

	if (p) {
		a->free = p->next;
		a->free_count--;
	} else {
		assert(a->fresh < a->page_count);
		p = &a->base[a->fresh++];
	}
	p->count = 0;
	p->level = level;
	p->prev = NULL;
	p->next = m->pages;
	if (p->next)
		p->next->prev = p;
	else
		m->pages_tail = p;
	m->pages = p;
	m->page_count++;
	return p;
}

static void page_drop(struct map *m, struct page *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		m->pages = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		m->pages_tail = p->prev;
	m->page_count--;
	p->next = m->arena->free;
	m->arena->free = p;
	m->arena->free_count++;
}

/* ---- pages ---- */

static inline struct page *child(const struct page *p, int i)
{
	return (struct page *)(uintptr_t)p->e[i].b;
}

static void page_insert(struct page *p, int i, struct entry e)
{
	memmove(&p->e[i + 1], &p->e[i], (p->count - i) * sizeof(e));
	p->e[i] = e;
	p->count++;
}

/* ---- search ---- */

/* The last entry from first on that begins at or before off; first - 1: none. */
static int page_search(const struct page *p, int first, uint64_t off)
{
	const struct entry *base = &p->e[first];
	uint64_t key = off << 16 | LOW16;
	int n = (int)p->count - first;

	while (n > 1) {
		int half = n / 2;

		base += base[half - 1].a <= key ? half : 0; /* a conditional move */
		n -= half;
	}
	if (n == 1 && base->a <= key)
		base++;
	return (int)(base - p->e) - 1;
}

void tree_descend(const struct map *m, uint64_t off, struct path *path)
{
	struct page *p = m->root;

	*path = (struct path){0}; /* compilers cannot see that all that is read was set */
	for (uint32_t level = m->height - 1; level > 0; level--) {
		int i = page_search(p, 1, off);

		path->node[level] = p;
		path->idx[level] = i;
		p = child(p, i);
	}
	path->node[0] = p;
	path->idx[0] = page_search(p, 0, off);
}

uint64_t tree_next_leaf(const struct map *m, const struct path *path)
{
	for (uint32_t level = 1; level < m->height; level++) {
		const struct page *p = path->node[level];
		int i = path->idx[level] + 1;

		if (i < (int)p->count)
			return entry_off(&p->e[i]);
	}
	return UINT64_MAX;
}

/* ---- structure ---- */

/*
 * Move entries between the children right - 1 and right of parent, so that the left one has
 * left_count. The right one may be new and empty before, and empty after (the caller drops it).
 */
static void level_pair(struct page *parent, int right, uint32_t left_count)
{
	struct page *l = child(parent, right - 1), *r = child(parent, right);
	const size_t size = sizeof(l->e[0]);
	uint32_t n;

	if (r->level && r->count)
		r->e[0].a = parent->e[right].a; /* about to be one that is read */
	if (l->count > left_count) {
		n = l->count - left_count;
		memmove(&r->e[n], &r->e[0], r->count * size);
		memcpy(&r->e[0], &l->e[left_count], n * size);
		r->count += n;
	} else {
		n = left_count - l->count;
		memcpy(&l->e[l->count], &r->e[0], n * size);
		memmove(&r->e[0], &r->e[n], (r->count - n) * size);
		r->count -= n;
	}
	l->count = left_count;
	if (r->count)
		parent->e[right].a = r->e[0].a & ~LOW16;
}

/* Make room in the full leaf of path by levelling with a sibling. */
static bool level_leaf(const struct map *m, const struct path *path)
{
	struct page *parent;
	int i;

	if (m->height < 2)
		return false;
	parent = path->node[1];
	i = path->idx[1];
	for (int right = i; right <= i + 1; right++) {
		uint32_t sum;

		if (right < 1 || right >= (int)parent->count)
			continue;
		sum = child(parent, right - 1)->count + child(parent, right)->count;
		if (sum <= 2 * PAGE_ENTRIES - SHIFT_ROOM) {
			level_pair(parent, right, sum / 2);
			return true;
		}
	}
	return false;
}

/* Make room on the way: one page is levelled or split. The path is stale afterwards. */
static void make_room(struct map *m, struct path *path)
{
	struct page *parent, *p;
	uint32_t level = 0, keep;
	bool last = true;

	if (level_leaf(m, path))
		return;
	while (level + 1 < m->height && path->node[level + 1]->count == PAGE_ENTRIES)
		level++;
	if (level + 1 == m->height) {
		assert(m->height < TREE_HEIGHT_MAX);
		p = page_new(m, m->height);
		page_insert(p, 0, (struct entry){.b = (uintptr_t)m->root});
		path->node[m->height] = p;
		path->idx[m->height] = 0;
		m->root = p;
		m->height++;
	}
	for (uint32_t i = level; i < m->height; i++)
		last = last && path->idx[i] == (int)path->node[i]->count - 1;
	keep = last ? PAGE_ENTRIES - 1 : PAGE_ENTRIES / 2;
	p = page_new(m, level);
	parent = path->node[level + 1];
	page_insert(parent, path->idx[level + 1] + 1, (struct entry){.b = (uintptr_t)p});
	level_pair(parent, path->idx[level + 1] + 1, keep);
}

void tree_insert(struct map *m, struct entry e, const struct path *way)
{
	struct path path;

	if (!m->root) {
		m->root = page_new(m, 0);
		m->height = 1;
		way = NULL;
	}
	if (way)
		path = *way;
	else
		tree_descend(m, entry_off(&e), &path);
	while (path.node[0]->count == PAGE_ENTRIES) {
		make_room(m, &path);
		tree_descend(m, entry_off(&e), &path);
	}
	page_insert(path.node[0], path.idx[0] + 1, e);
	m->extents++;
}

void tree_set_separator(const struct map *m, const struct path *path, uint32_t level, uint64_t a)
{
	while (++level < m->height) {
		if (path->idx[level] > 0) {
			path->node[level]->e[path->idx[level]].a = a & ~LOW16;
			return;
		}
	}
}

/* Merge child i of parent with a sibling, or level the two. True: parent has lost an entry. */
static bool merge_child(struct map *m, struct page *parent, int i)
{
	struct page *p = child(parent, i);
	uint32_t sum = 0;
	int right = 0;

	if (p->count >= MERGE_BELOW)
		return false;
	for (int r = i; r <= i + 1; r++) {
		if (r < 1 || r >= (int)parent->count)
			continue;
		right = r;
		sum = child(parent, r - 1)->count + child(parent, r)->count;
		if (sum <= MERGE_MAX) {
			p = child(parent, r);
			level_pair(parent, r, sum);
			page_erase(parent, r, 1);
			page_drop(m, p);
			return true;
		}
	}
	if (right && p->count < LEVEL_BELOW)
		level_pair(parent, right, sum / 2);
	return false;
}

void tree_shrink(struct map *m, const struct path *path)
{
	struct page *p;

	for (uint32_t level = 0; level + 1 < m->height; level++) {
		struct page *parent = path->node[level + 1];
		int i = path->idx[level + 1];

		p = path->node[level];
		if (p->count == 0) {
			page_erase(parent, i, 1);
			page_drop(m, p);
			if (i == 0 && parent->count)
				tree_set_separator(m, path, level + 1, parent->e[0].a);
		} else if (!merge_child(m, parent, i)) {
			break;
		}
	}
	p = m->root;
	while (p->level && p->count == 1) {
		m->root = child(p, 0);
		m->height--;
		page_drop(m, p);
		p = m->root;
	}
	if (p->count == 0) {
		page_drop(m, p);
		m->root = NULL;
		m->height = 0;
	}
}
