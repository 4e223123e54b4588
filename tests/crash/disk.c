/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recorded disk and its crash states: see disk.h. */
#include "disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

uint64_t rnd_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- files ---- */

struct inode *disk_inode(struct disk *d, uint64_t file)
{
	if (file >= d->inode_count || !d->inodes[file]) {
		fprintf(stderr, "the log names file %llu, which it never made\n", (unsigned long long)file);
		abort();
	}
	return d->inodes[file];
}

static struct inode *inode_new(struct disk *d, uint64_t file, bool dir)
{
	struct inode *i = must(calloc(1, sizeof(*i)));

	if (file >= d->inode_count) {
		size_t count = file * 2 + 64;

		d->inodes = must(realloc(d->inodes, count * sizeof(*d->inodes)));
		memset(d->inodes + d->inode_count, 0, (count - d->inode_count) * sizeof(*d->inodes));
		d->inode_count = count;
	}
	i->file = file;
	i->dir = dir;
	d->inodes[file] = i;
	return i;
}

static void fit(struct inode *i, uint64_t size)
{
	uint32_t count = (uint32_t)((size + PAGE - 1) / PAGE);

	if (count <= i->pages)
		return;
	count = count < i->pages * 2 ? i->pages * 2 : count;
	i->base = must(realloc(i->base, count * sizeof(*i->base)));
	i->priv = must(realloc(i->priv, count * sizeof(*i->priv)));
	memset(i->base + i->pages, 0, (count - i->pages) * sizeof(*i->base));
	memset(i->priv + i->pages, 0, (count - i->pages) * sizeof(*i->priv));
	i->pages = count;
}

/* ---- the view's contents ---- */

static void touch(struct disk *d, struct inode *i)
{
	if (i->touched)
		return;
	i->touched = true;
	i->next_touched = d->touched;
	d->touched = i;
}

static uint8_t *page_own(struct inode *i, uint64_t page)
{
	if (!i->priv[page]) {
		i->priv[page] = must(malloc(PAGE));
		if (i->base[page])
			memcpy(i->priv[page], i->base[page], PAGE);
		else
			memset(i->priv[page], 0, PAGE);
	}
	return i->priv[page];
}

void disk_read(const struct inode *i, uint64_t off, void *buf, uint64_t len)
{
	uint8_t *to = buf;

	while (len) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;
		const uint8_t *from = page >= i->pages ? NULL : i->priv[page] ? i->priv[page] : i->base[page];

		if (off < i->size && n > i->size - off)
			n = i->size - off;
		if (from && off < i->size)
			memcpy(to, from + in, n);
		else
			memset(to, 0, n);
		off += n;
		to += n;
		len -= n;
	}
}

/* buf NULL: zeroes. */
static void put(struct disk *d, struct inode *i, uint64_t off, const uint8_t *buf, uint64_t len, bool extends)
{
	touch(d, i);
	if (extends && off + len > i->size)
		i->size = off + len;
	fit(i, off + len);
	while (len) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		if (buf)
			memcpy(page_own(i, page) + in, buf, n);
		else if (i->priv[page] || i->base[page])
			memset(page_own(i, page) + in, 0, n);
		off += n;
		len -= n;
		buf = buf ? buf + n : NULL;
	}
}

void disk_write(struct disk *d, struct inode *i, uint64_t off, const void *buf, uint64_t len, bool extends)
{
	put(d, i, off, buf, len, extends);
}

void disk_zero(struct disk *d, struct inode *i, uint64_t off, uint64_t len, bool extends)
{
	if (!extends)
		len = off >= i->size ? 0 : len < i->size - off ? len : i->size - off;
	put(d, i, off, NULL, len, extends);
}

void disk_truncate(struct disk *d, struct inode *i, uint64_t size)
{
	if (size < i->size)
		put(d, i, size, NULL, i->size - size, false);
	touch(d, i);
	fit(i, size);
	i->size = size;
}

static void apply(struct disk *d, struct inode *i, const struct change *c)
{
	touch(d, i);
	switch (c->op) {
	case OP_WRITE: put(d, i, c->off, c->data, c->len, c->extends); return;
	case OP_ZERO: disk_zero(d, i, c->off, c->len, c->extends); return;
	case OP_SIZE:
		if (c->extends && c->off + c->len > i->size)
			disk_truncate(d, i, c->off + c->len);
		return;
	case OP_TRUNC: disk_truncate(d, i, c->len); return;
	case OP_XATTR: i->xattr = c->data; return;
	default: abort();
	}
}

static void disk_forget(struct disk *d)
{
	struct inode *i;

	while ((i = d->touched)) {
		d->touched = i->next_touched;
		for (uint32_t p = 0; p < i->pages; p++) {
			free(i->priv[p]);
			i->priv[p] = NULL;
		}
		i->size = i->base_size;
		i->xattr = i->base_xattr;
		i->touched = false;
		if (i->file == UINT64_MAX) {
			free(i->base);
			free(i->priv);
			free(i);
		}
	}
}

struct inode *disk_new(struct disk *d)
{
	struct inode *i = must(calloc(1, sizeof(*i)));

	i->file = UINT64_MAX;
	touch(d, i);
	return i;
}

/* The view of one inode becomes its durable content. */
static void make_base(struct inode *i)
{
	for (uint32_t p = 0; p < i->pages; p++) {
		if (!i->priv[p])
			continue;
		free(i->base[p]);
		i->base[p] = i->priv[p];
		i->priv[p] = NULL;
	}
	i->base_size = i->size;
	i->base_xattr = i->xattr;
}

/* ---- names ---- */

static struct dirent_ *tree_find(struct tree *t, uint64_t dir, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->entries[i].dir == dir && !strcmp(t->entries[i].name, name))
			return &t->entries[i];
	return NULL;
}

struct dirent_ *disk_find(struct disk *d, uint64_t dir, const char *name)
{
	return tree_find(&d->tree, dir, name);
}

static void tree_remove(struct tree *t, uint64_t dir, const char *name)
{
	struct dirent_ *e = tree_find(t, dir, name);

	if (e)
		*e = t->entries[--t->count];
}

static void tree_apply(struct tree *t, const struct meta *m)
{
	const char *name = m->type == E_RENAME ? m->to_name : m->name;

	tree_remove(t, m->from, m->name);
	if (m->type == E_UNLINK)
		return;
	tree_remove(t, m->to, name);
	if (t->count == DIRENTS_MAX)
		abort();
	t->entries[t->count] = (struct dirent_){ .dir = m->to, .file = m->file };
	strcpy(t->entries[t->count++].name, name);
}

static void meta_add(struct disk *d, uint64_t at, const struct entry *e)
{
	struct meta *m = must(calloc(1, sizeof(*m))), **p = &d->metas;
	const char *name = (const char *)(e + 1);

	m->type = e->type;
	m->file = e->file;
	m->from = m->to = e->off;
	m->at = at;
	snprintf(m->name, sizeof(m->name), "%s", name);
	if (e->type == E_RENAME) {
		m->to = e->len;
		snprintf(m->to_name, sizeof(m->to_name), "%s", name + strlen(name) + 1);
	}
	/* Images, named in SOURCE or hidden in .colofs as i<id>, are one group. */
	m->group = m->from == d->root || m->to == d->root || *m->name == 'i' ? d->root : m->from;
	while (*p)
		p = &(*p)->next;
	*p = m;
}

/* One of the same group behind m, or m itself, is durable: so is m. */
static bool durable(const struct meta *m)
{
	for (const struct meta *k = m; k; k = k->next)
		if (k->group == m->group && k->from_synced && k->to_synced)
			return true;
	return false;
}

/* A sync of dir that began at `at` has ended. */
static void metas_synced(struct disk *d, uint64_t dir, uint64_t at)
{
	struct meta **p = &d->metas;

	for (struct meta *m = d->metas; m && m->at < at; m = m->next) {
		m->from_synced |= m->from == dir;
		m->to_synced |= m->to == dir;
	}
	while (*p) {
		struct meta *m = *p;

		if (!durable(m)) {
			p = &m->next;
			continue;
		}
		tree_apply(&d->base, m);
		*p = m->next;
		free(m);
	}
}

/* ---- entries ---- */

static struct change *change_add(struct disk *d, struct inode *i, struct change c)
{
	struct change *n = must(malloc(sizeof(*n)));

	*n = c;
	if (i->tail)
		i->tail->next = n;
	else
		i->head = n;
	i->tail = n;
	d->pending++;
	return n;
}

static void submitted(struct disk *d, uint64_t at, const struct entry *e)
{
	if (e->id >= d->request_count) {
		size_t count = e->id * 2 + 1024;

		d->requests = must(realloc(d->requests, count * sizeof(*d->requests)));
		memset(d->requests + d->request_count, 0, (count - d->request_count) * sizeof(*d->requests));
		d->request_count = count;
	}
	d->requests[e->id].file = e->file;
	d->requests[e->id].at = at;
	d->requests[e->id].data_only = e->flags & EF_DATA;
	if (e->op == OP_SYNC)
		return;
	d->newest = e->id;
	d->requests[e->id].change = change_add(d, disk_inode(d, e->file), (struct change){
		.op = e->op, .extends = e->flags & EF_EXTENDS, .id = e->id, .off = e->off, .len = e->len,
		.data = e->payload ? (const uint8_t *)(e + 1) : NULL });
}

static void unlink_change(struct disk *d, struct inode *i, struct change *c)
{
	struct change **p = &i->head;

	i->tail = NULL;
	while (*p) {
		if (*p == c)
			*p = c->next;
		if (*p) {
			i->tail = *p;
			p = &(*p)->next;
		}
	}
	d->pending--;
}

static void file_synced(struct disk *d, struct inode *i, uint64_t at, bool data_only)
{
	struct change *c, *next;

	disk_forget(d);
	for (c = i->head; c; c = next) {
		next = c->next;
		if (!c->done || c->done_at >= at || (c->op == OP_XATTR && data_only))
			continue;
		apply(d, i, c);
		unlink_change(d, i, c);
		if (c->id)
			d->requests[c->id].change = NULL;
		free(c);
	}
	make_base(i);
	disk_forget(d);
}

static void done(struct disk *d, uint64_t at, const struct entry *e)
{
	struct request *r = &d->requests[e->id];
	struct inode *i = disk_inode(d, r->file);
	struct change *c = r->change;
	int64_t res = (int64_t)e->len;

	if (!c) { /* a sync */
		d->synced = res >= 0;
		if (d->synced && i->dir)
			metas_synced(d, i->file, r->at);
		else if (d->synced)
			file_synced(d, i, r->at, r->data_only);
		return;
	}
	if (res < 0) { /* refused: nothing happened, the daemon goes another way */
		unlink_change(d, i, c);
		r->change = NULL;
		free(c);
		return;
	}
	c->done = true;
	c->done_at = at;
	if (c->op == OP_WRITE && (uint64_t)res < c->len)
		c->len = (uint64_t)res;
}

/* What was in flight has landed: the new daemon waited for it, by the locks. */
static void next_life(struct disk *d, uint64_t at)
{
	for (size_t f = 0; f < d->inode_count; f++)
		for (struct change *c = d->inodes[f] ? d->inodes[f]->head : NULL; c; c = c->next)
			if (!c->done) {
				c->done = true;
				c->done_at = at;
			}
}

void disk_entry(struct disk *d, uint64_t at, const struct entry *e)
{
	d->synced = false;
	switch (e->type) {
	case E_LIFE: next_life(d, at); return;
	case E_ROOT:
		d->root = e->file;
		inode_new(d, e->file, true);
		return;
	case E_MKDIR:
	case E_CREATE:
		inode_new(d, e->file, e->type == E_MKDIR);
		meta_add(d, at, e);
		return;
	case E_RENAME:
	case E_UNLINK: meta_add(d, at, e); return;
	case E_SUBMIT: submitted(d, at, e); return;
	case E_DONE: done(d, at, e); return;
	case E_XATTR:
		change_add(d, disk_inode(d, e->file), (struct change){ .op = OP_XATTR, .done = true, .done_at = at,
		                                                       .data = (const uint8_t *)(e + 1) });
		return;
	default: return;
	}
}

/* ---- a crash ---- */

/* Some sectors of one write. */
static void apply_torn(struct disk *d, struct inode *i, const struct change *c, uint64_t *rng)
{
	uint64_t keep = rnd_next(rng), style = rnd_next(rng) % 4, n = 0;
	uint64_t sectors = (c->len + SECTOR - 1) / SECTOR, cut = rnd_next(rng) % sectors;

	d->torn++;
	for (uint64_t at = 0; at < c->len; at += SECTOR, n++) {
		struct change part = *c;

		part.off = c->off + at;
		part.len = c->len - at < SECTOR ? c->len - at : SECTOR;
		if (c->data)
			part.data = c->data + at;
		if (style == 0 ? n < cut : style == 1 ? n >= cut : style == 2 ? n != cut : keep >> n % 64 & 1)
			apply(d, i, &part);
	}
}

enum fate { KEPT, TORN, LOST };

static enum fate fate_of(const struct disk *d, const struct choice *c, const struct change *ch, uint64_t mood,
                         uint64_t *rng)
{
	uint64_t dice = rnd_next(rng) % 16;

	switch (c->how) {
	case KEEP_ALL: return KEPT;
	case KEEP_NONE: return LOST;
	case KEEP_TORN_LAST: return ch->id == d->newest ? TORN : KEPT;
	default: break;
	}
	if (mood == 0) /* nearly all kept */
		return dice ? KEPT : ch->op == OP_WRITE ? TORN : LOST;
	if (mood == 1) /* nearly all lost */
		return dice > 1 ? LOST : dice ? TORN : KEPT;
	return dice < 6 ? KEPT : dice < 12 ? LOST : TORN;
}

static void keep_changes(struct disk *d, const struct choice *c, uint64_t mood, uint64_t *rng)
{
	size_t index = 0;

	for (size_t f = 0; f < d->inode_count && index < d->pending; f++) {
		struct inode *i = d->inodes[f];

		for (struct change *ch = i ? i->head : NULL; ch; ch = ch->next, index++) {
			enum fate fate = fate_of(d, c, ch, mood, rng);

			if (fate == TORN && ch->op != OP_WRITE && ch->op != OP_ZERO)
				fate = rnd_next(rng) & 1 ? KEPT : LOST;
			d->digest = (d->digest ^ (fate + 1)) * 0x100000001b3;
			if (fate == TORN) {
				d->digest ^= *rng;
				apply_torn(d, i, ch, rng);
			} else if (fate == KEPT) {
				apply(d, i, ch);
			}
		}
	}
}

static void keep_names(struct disk *d, const struct choice *c, uint64_t *rng)
{
	uint64_t ended = 0; /* groups of which no more is kept */
	bool all = c->how == KEEP_ALL || c->how == KEEP_TORN_LAST || (c->how == KEEP_RANDOM && rnd_next(rng) % 4 == 0);

	d->tree = d->base;
	for (struct meta *m = d->metas; m; m = m->next) {
		if (c->how == KEEP_NONE || (!all && rnd_next(rng) % 3 == 0))
			ended |= 1ull << (m->group & 63);
		d->digest = (d->digest ^ (ended >> (m->group & 63) & 1)) * 0x100000001b3;
		if (!(ended >> (m->group & 63) & 1))
			tree_apply(&d->tree, m);
	}
}

void disk_view(struct disk *d, const struct choice *c)
{
	uint64_t rng = c->seed, mood = rnd_next(&rng) % 4;

	disk_forget(d);
	d->digest = 0xcbf29ce484222325;
	keep_names(d, c, &rng);
	keep_changes(d, c, mood, &rng);
}
