/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a backup's own guest writes: into the overlay, which each commit drops.
 * After a failover, until the journal is drained, the same way into the
 * journal, as records that stand on their own. A write enters the map that is
 * current when its data is on disk, in the step that acknowledges it, and in
 * LSN order: so a commit in between cannot tear or lose it.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"
#include "sum.h"

#define PARTS_MAX (IO_MAX_LEN / RECORD_DATA_MAX + 1)

struct twin_write {
	struct twin_write *next;
	struct guest_io *guest;
	struct journal_mark first; /* its first batch */
	uint64_t lsn;              /* its last batch */
	uint32_t parts;
	struct {
		uint64_t off, len, pos;
	} part[PARTS_MAX];
};

uint64_t twin_size(const struct image *img)
{
	return img->overlay_sized ? img->overlay_size : img->size;
}

static struct journal *log_of(struct node *n)
{
	return n->local_path ? &n->journal : &n->overlay;
}

/* Promoted: recovery must begin before what is still on its way. */
void twin_mark_min(const struct node *n, struct journal_mark *m)
{
	if (n->local_path && n->twin_first && n->twin_first->first.lsn < m->lsn)
		*m = n->twin_first->first;
}

/* ---- entering ---- */

static struct map *map_of(struct node *n, struct image *img)
{
	if (!n->local_path)
		return &img->overlay;
	if (!n->local)
		n->local = epoch_new(n->committed, n->st.session_high);
	struct epimg *ei = n->local ? epoch_image(n, n->local, img) : NULL;

	return ei ? &ei->map : NULL;
}

static void set_size(struct node *n, struct image *img, uint64_t size)
{
	if (n->local_path) {
		struct epimg *ei = epoch_image(n, n->local, img);

		if (ei) {
			ei->sized = true;
			ei->size = size;
		}
		img->size = img->next_size = size;
		return;
	}
	img->overlay_sized = true;
	img->overlay_size = size;
}

static void mark_missing(struct image *img, uint64_t off, uint64_t len)
{
	dirty_mark(&img->miss, off, len < MAP_OFF_MAX - off ? len : img->size > off ? img->size - off : 1);
}

/* Enter a write into the maps and the size: all of it or, when the arena is full, none. */
static int enter(struct node *n, struct twin_write *w)
{
	struct guest_io *g = w->guest;
	struct image *img = g->image;
	struct map *m = map_of(n, img);
	uint64_t size = twin_size(img), flag = n->local_path ? 0 : POS_OVERLAY;

	if (!m)
		return -ENOMEM;
	if (arena_free_bytes(n->arena) < w->parts * map_insert_cost())
		return -ENOSPC;
	if (n->local_path && !n->local->first.lsn) /* they enter in LSN order: recovery needs the log from here on */
		n->local->first = w->first;
	for (uint32_t i = 0; i < w->parts; i++) {
		uint64_t pos = w->part[i].pos == MAP_ZERO ? MAP_ZERO : w->part[i].pos | flag;
		int err = map_insert(m, w->part[i].off, w->part[i].len, pos);

		if (n->local_path && !MUTANT("local-set-lost")) /* the peer, should it come back, lacks it */
			mark_missing(img, w->part[i].off, w->part[i].len);

		if (err)
			return err;
		if (w->part[i].pos == MAP_ZERO)
			continue;
		if (n->local_path)
			n->local->bytes += w->part[i].len;
		else
			n->overlay_bytes += w->part[i].len;
	}
	if (g->op == GUEST_TRUNC && g->len != size)
		set_size(n, img, g->len);
	else if ((g->op == GUEST_WRITE || (!g->keep_size && (g->op == GUEST_ZERO || g->op == GUEST_ALLOC))) &&
	         g->off + g->len > size)
		set_size(n, img, g->off + g->len);
	img->mtime_ns = n->wall_ms * 1000000;
	return 0;
}

static void finish(struct node *n, struct twin_write *w, int error)
{
	n->twin_inflight--;
	guest_finish(n, w->guest, error);
	free(w);
}

/* The log's on_written: batches up to written_lsn are on disk. */
void twin_written(struct journal *j)
{
	struct node *n = j->owner;

	if (j == &n->journal && j->failed) /* whether or not anything waits for it: no commit is possible any more */
		node_fail(n, "the journal cannot be written: %s", strerror(-j->failed));
	if (j != log_of(n))
		return;
	while (n->twin_first && (j->failed || n->twin_first->lsn <= j->written_lsn)) {
		struct twin_write *w = n->twin_first;

		n->twin_first = w->next;
		if (!n->twin_first)
			n->twin_last = NULL;
		finish(n, w, j->failed ? -EIO : enter(n, w));
	}
	if (j->failed && !n->failed)
		node_fail(n, "the %s cannot be written: %s", j == &n->overlay ? "overlay" : "journal", strerror(-j->failed));
}

void twin_drop_overlay(struct node *n)
{
	if (MUTANT("overlay-kept"))
		return;
	for (struct image *i = n->images; i; i = i->next) {
		map_clear(&i->overlay);
		i->overlay_sized = false;
	}
	n->overlay_bytes = 0;
	/* What is still on its way enters the new overlay. */
	n->overlay_mark = n->twin_first ? n->twin_first->first : journal_mark(&n->overlay);
	n->overlay_release = n->overlay_mark.lsn;
	n->overlay_release_version = n->version;
}

/* ---- appending ---- */

static int append(struct node *n, struct twin_write *w, struct record *r, const void *data)
{
	struct journal *j = log_of(n);
	void *payload;
	uint64_t pos;
	int err = journal_get(j, n->st.session_high, n->committed, BATCH_LOCAL, r->payload_len, &payload, &pos);

	if (err)
		return err;
	if (!w->first.lsn)
		w->first = journal_mark(j);
	if (r->payload_len) {
		memcpy(payload, data, r->payload_len);
		r->sum = sum64(payload, r->payload_len);
	}
	r->seq = 1;
	journal_put(j, r);
	w->lsn = journal_lsn(j);
	if (r->type == REC_DATA) {
		w->part[w->parts].off = r->off;
		w->part[w->parts].len = r->payload_len;
		w->part[w->parts++].pos = pos;
	} else if (r->type == REC_ZERO && r->len) {
		w->part[w->parts].off = r->off;
		w->part[w->parts].len = r->len;
		w->part[w->parts++].pos = MAP_ZERO;
	}
	return 0;
}

static int append_data(struct node *n, struct twin_write *w)
{
	struct guest_io *g = w->guest;
	int err = 0;

	for (uint64_t done = 0; done < g->len && !err;) {
		uint64_t part = g->len - done < RECORD_DATA_MAX ? g->len - done : RECORD_DATA_MAX;
		struct record r = { .type = REC_DATA, .image = g->image->id, .off = g->off + done,
			.payload_len = (uint32_t)part };

		err = append(n, w, &r, (const uint8_t *)g->buf + done);
		done += part;
	}
	return err;
}

static int append_rest(struct node *n, struct twin_write *w)
{
	struct guest_io *g = w->guest;
	uint64_t size = twin_size(g->image), end = g->off + g->len;
	struct record zero = { .type = REC_ZERO, .image = g->image->id, .off = g->off, .len = g->len };
	struct record sized = { .type = REC_SIZE, .image = g->image->id, .len = end };
	int err = 0;

	if (g->op == GUEST_TRUNC) {
		zero.off = g->len < size ? g->len : size;
		zero.len = g->len < size ? MAP_OFF_MAX - zero.off : 0;
		sized.len = g->len;
	} else if (g->op == GUEST_ALLOC) {
		zero.len = 0;
	} else if (g->op == GUEST_PUNCH || g->keep_size) {
		zero.len = g->off >= size ? 0 : end > size ? size - g->off : g->len;
	}
	bool grows = g->op == GUEST_TRUNC || ((g->op == GUEST_ZERO || g->op == GUEST_ALLOC) && !g->keep_size && end > size);

	if (zero.len)
		err = append(n, w, &zero, NULL);
	if (!err && grows)
		err = append(n, w, &sized, NULL);
	return err;
}

/* Room for the whole write in the log, so that it is never cut off in the middle. */
static bool fits(struct node *n, const struct guest_io *g)
{
	struct journal *j = log_of(n);
	uint64_t need = (g->op == GUEST_WRITE ? g->len : 0) + 4 * RECORD_DATA_MAX;

	return journal_room(j) >= need && j->batch_count - j->batch_used >= 4 + need / BATCH_PAYLOAD;
}

static bool over_limit(const struct node *n, const struct guest_io *g)
{
	return !n->local_path && g->op == GUEST_WRITE && n->overlay_bytes + g->len > n->config.overlay_size;
}

static void begin(struct node *n, struct guest_io *g)
{
	struct twin_write *w = calloc(1, sizeof(*w));

	if (!w) {
		guest_finish(n, g, -ENOMEM);
		return;
	}
	w->guest = g;
	int err = g->op == GUEST_WRITE ? append_data(n, w) : append_rest(n, w);

	if (err || !w->lsn) { /* nothing to record: or the log failed */
		free(w);
		guest_finish(n, g, err == -EAGAIN ? -EIO : err);
		return;
	}
	n->twin_inflight++;
	if (n->twin_last)
		n->twin_last->next = w;
	else
		n->twin_first = w;
	n->twin_last = w;
}

/* ---- the way in ---- */

static void read_done(void *owner, int error)
{
	struct guest_io *g = owner;

	guest_finish(g->image->node, g, error);
}

static void sync_done(struct journal_sync *s, int error)
{
	struct guest_io *g = s->owner;

	free(s);
	guest_finish(g->image->node, g, error);
}

/* On a backup fsync promises no more than the daemon's life; once promoted, the journal is made durable. */
static void sync_begin_local(struct node *n, struct guest_io *g)
{
	struct journal_sync *s = n->local_path ? calloc(1, sizeof(*s)) : NULL;

	if (!s || MUTANT("promoted-fsync-lies")) {
		guest_finish(n, g, n->local_path && !s ? -ENOMEM : 0);
		return;
	}
	s->owner = g;
	s->done = sync_done;
	journal_sync(&n->journal, s);
}

static void wait_room(struct node *n, struct guest_io *g)
{
	g->next = NULL;
	*n->twin_wait_tail = g;
	n->twin_wait_tail = &g->next;
}

void twin_guest(struct node *n, struct guest_io *g)
{
	g->priv = n;
	switch (g->op) {
	case GUEST_READ: {
		uint64_t size = twin_size(g->image), left = g->off < size ? size - g->off : 0;

		if (g->len > left)
			g->len = left;
		if (!g->len)
			guest_finish(n, g, 0);
		else
			view_read(n, g->image, false, g->off, g->len, g->buf, read_done, g);
		return;
	}
	case GUEST_EXTENT:
		view_extent(n, g);
		return;
	case GUEST_SYNC:
		sync_begin_local(n, g);
		return;
	case GUEST_CREATE:
	case GUEST_UNLINK:
	case GUEST_RENAME:
		if (!n->local_path) {
			guest_finish(n, g, -EROFS);
			return;
		}
		break;
	}
	if (n->config.overlay_off && !n->local_path && n->role == NODE_BACKUP)
		guest_finish(n, g, -EROFS);
	else
		wait_room(n, g);
}

void twin_pump(struct node *n)
{
	bool hold = (n->failover || n->hold_local) && !n->failed;

	if (!n->have_journal)
		return;
	while (n->twin_wait && !hold) {
		struct guest_io *g = n->twin_wait;
		bool names = g->op == GUEST_CREATE || g->op == GUEST_UNLINK || g->op == GUEST_RENAME;

		if (n->role == NODE_PRIMARY && !n->local_path) {
			/* drained meanwhile: straight to the image */
		} else if (!n->failed &&
		           (names || (!over_limit(n, g) && !fits(n, g) &&
		                      (n->local_path || journal_may_grow(&n->overlay) || n->overlay.batch_used ||
		                       n->overlay_release)))) {
			break;
		}
		n->twin_wait = g->next;
		if (!n->twin_wait)
			n->twin_wait_tail = &n->twin_wait;
		g->next = NULL;
		if (n->failed)
			guest_finish(n, g, -EIO);
		else if (n->role == NODE_PRIMARY && !n->local_path)
			primary_guest(n, g);
		else if (over_limit(n, g) || !fits(n, g))
			guest_finish(n, g, -ENOSPC);
		else
			begin(n, g);
	}
	if (n->twin_first && log_of(n)->open)
		journal_push(log_of(n));
	if (n->overlay_release && view_oldest(n) >= n->overlay_release_version) {
		journal_release(&n->overlay, n->overlay_release);
		n->overlay_release = 0;
	}
}

void twin_free(struct node *n)
{
	while (n->twin_first) {
		struct twin_write *w = n->twin_first;

		n->twin_first = w->next;
		free(w);
	}
}
