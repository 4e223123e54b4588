/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map of a primary: before a write begins (its image write, its frame), the coarse extents that it touches
 * are marked, durably. A mark goes, lazily, when everything in its extent is committed on the peer and durable here. So
 * after a crash what is marked has to be compared with the peer, and nothing else: activity_restore.c.
 *
 * The way of a write: activity_ready() says yes for an extent that is safe, that is: marked in the durable map, and in the
 * one that is being written, too. Else it is marked in memory and waits, its range claimed, for the next map, of which
 * there is one for all that came until then. The path of a guest within its working set is a test of some bits.
 *
 * Maps are kept from the commit that ends a sync on: only then is there a state of the peer that they can tell the
 * difference to. Until the first ones are durable, and again when they cannot be written, the state file names none, and
 * a restart compares everything. Event-loop thread only.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "mutant.h"

#define LOOK_MS 30000u /* a mark goes after one to two such times without a write */
#define AHEAD 3u       /* extents marked in advance of a guest that writes in order */

enum { REMOVE, CREATE, SETTLE, WRITE, SYNC };

static void step(struct node *n);

/* ---- bits ---- */

static bool bit(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void set_bit(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= 1ull << i % 64;
}

static void halve(uint64_t *bits)
{
	uint64_t half[ACTIVITY_WORDS] = { 0 };

	for (uint64_t i = 0; i < ACTIVITY_BITS; i++)
		if (bit(bits, i))
			set_bit(half, i / 2);
	memcpy(bits, half, sizeof(half));
}

/* An image that reaches further than its bits do: extents twice the size. What is safe has to be found out anew. */
static void coarsen(struct extents *x)
{
	halve(x->set);
	halve(x->recent);
	halve(x->before);
	memset(x->safe, 0, sizeof(x->safe));
	x->shift++;
}

void activity_image_init(struct node *n, struct image *img)
{
	img->extents.shift = n->config.activity_shift ? n->config.activity_shift : ACTIVITY_SHIFT;
}

/* Mark what [off, off+len) touches. Whether all of it is safe. */
static bool mark(struct image *img, uint64_t off, uint64_t len)
{
	struct extents *x = &img->extents;
	uint64_t end = len > MAP_OFF_MAX - off ? MAP_OFF_MAX : off + len, first, last;
	bool safe = true, in_order;

	while ((end - 1) >> x->shift >= ACTIVITY_BITS)
		coarsen(x);
	first = off >> x->shift;
	last = (end - 1) >> x->shift;
	in_order = first && bit(x->set, first - 1);
	for (uint64_t i = first; i <= last; i++) {
		set_bit(x->recent, i);
		safe &= bit(x->safe, i);
		set_bit(x->set, i); /* even if safe: its mark may have been about to go with the next map */
	}
	if (!safe && in_order)
		for (uint64_t i = last + 1; i <= last + AHEAD && i < ACTIVITY_BITS && i << x->shift < img->size; i++)
			set_bit(x->set, i);
	return safe;
}

/* ---- marks before writes ---- */

/* What the request may change, bytes. False: nothing. */
static bool changes(const struct guest_io *g, uint64_t *off, uint64_t *len)
{
	uint64_t size = g->image->size, end;

	*off = g->off;
	*len = g->len;
	if (g->op == GUEST_TRUNC) {
		*off = g->len < size ? g->len : size;
		end = g->len < size ? size : g->len;
		*len = end - *off;
	} else if (g->op == GUEST_PUNCH || (g->op == GUEST_ZERO && g->keep_size)) {
		*len = g->off >= size ? 0 : g->len < size - g->off ? g->len : size - g->off;
	} else if (g->op == GUEST_UNLINK || g->op == GUEST_RENAME) {
		return false; /* the next session compares the tables */
	}
	return *len && *off < MAP_OFF_MAX;
}

/* All of it. */
void activity_all(struct image *img)
{
	if (img->size)
		(void)mark(img, 0, img->size);
}

bool activity_ready(struct node *n, struct guest_io *g)
{
	struct activity *a = &n->activity;
	uint64_t off, len;

#ifdef COLOFS_UNMARKED
	return true; /* tests/bench-activity.sh: what does it cost? */
#endif
	if (n->role != NODE_PRIMARY || !g->image->visible || !changes(g, &off, &len) || mark(g->image, off, len) || !a->on)
		return true;
	a->want = true;
	if (MUTANT("activity-after-write"))
		return true;
	n->counters.activity_waits_total++;
	g->next = NULL;
	*a->wait_tail = g;
	a->wait_tail = &g->next;
	return false;
}

/* The peer's copy is known to differ there, without a write: marked before the next cut. */
void activity_note(struct node *n, struct image *img, uint64_t off, uint64_t len)
{
	if (!len || mark(img, off, len) || !n->activity.on)
		return;
	n->activity.want = n->activity.noted = true;
}

bool activity_settled(const struct node *n)
{
	return !n->activity.noted;
}

static void release(struct node *n, int error)
{
	struct guest_io *list = n->activity.wait;

	n->activity.wait = NULL;
	n->activity.wait_tail = &n->activity.wait;
	while (list) {
		struct guest_io *g = list;

		list = g->next;
		g->next = NULL;
		primary_marked(n, g, error);
	}
}

/* ---- marks go ---- */

static bool clean(const struct image *img, uint64_t index)
{
	const struct dirty *const sets[] = { &img->miss, &img->cur, &img->com, &img->bad, &img->differ };
	uint64_t from = index << img->extents.shift, to = (index + 1) << img->extents.shift, off, len;

	for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (dirty_next(sets[i], from, to, 1, &off, &len))
			return false;
	for (const struct range *r = img->claims.head; r; r = r->next) /* on its way, perhaps in no set yet */
		if (r->start < to && from < r->end)
			return false;
	/* Asked about, neither claimed nor in a set: only a part of a resync in-place is committed then. */
	return !sync_covers(img->node, img, from, to - from);
}

/* All that was written before the last look is durable here, and committed on the peer as of acked_epoch but for what the
 * dirty sets hold. */
static void sweep(struct node *n)
{
	struct activity *a = &n->activity;
	bool any = false;

	for (struct image *img = n->images; img; img = img->next) {
		struct extents *x = &img->extents;

		for (uint64_t i = 0; i < ACTIVITY_BITS && !img->sync_failed; i++) {
			if (!x->set[i / 64]) {
				i |= 63;
				continue;
			}
			if (!bit(x->set, i) || bit(x->recent, i) || bit(x->before, i) || !clean(img, i))
				continue;
			x->set[i / 64] &= ~(1ull << i % 64);
			any = true;
		}
	}
	if (!any)
		return;
	a->epoch = n->acked_epoch;
	a->want = true;
}

static bool look_due(const struct node *n)
{
	return n->activity.on && n->now_ms - n->activity.looked_ms >= (n->config.activity_ms ? n->config.activity_ms : LOOK_MS);
}

static void look(struct node *n)
{
	n->activity.looked_ms = n->now_ms;
	for (struct image *img = n->images; img; img = img->next) {
		memcpy(img->extents.before, img->extents.recent, sizeof(img->extents.before));
		memset(img->extents.recent, 0, sizeof(img->extents.recent));
	}
}

/* Epoch com was cut: when it is committed, what was not written to since the look before this one may go. */
void activity_cut(struct node *n)
{
	if (!look_due(n))
		return;
	look(n);
	n->activity.look_epoch = n->com.number;
	for (struct image *img = n->images; img && MUTANT("activity-cleared-early"); img = img->next)
		memset(img->extents.set, 0, sizeof(img->extents.set));
}

/* The peer has taken epoch com. */
void activity_committed(struct node *n)
{
	struct activity *a = &n->activity;

	a->stands_in = false; /* from here on the sets know better */
	if (a->on && a->look_epoch == n->com.number && n->com_local && !n->com_error)
		sweep(n);
}

/* A guest that came to rest leaves nothing behind that a commit would clear. */
static void sweep_idle(struct node *n)
{
	if (!look_due(n) || !n->protected_ || n->com_active || n->prep || n->doubt_valid || n->written_since_cut ||
	    n->com_error || !n->com_local)
		return;
	look(n);
	sweep(n);
}

/* ---- writing the map ---- */

/* Images without marks are listed, too: one that is not, which an unlink taken back by a crash left, is wholly in doubt. */
static int encode(struct node *n)
{
	struct activity *a = &n->activity;
	struct activity_map m = { .generation = n->st.lineage.generation, .epoch = a->epoch };
	struct putter p = putter_init(a->body, ACTIVITY_BODY), head = p;
	bool fresh = a->enlist == 2;

	memcpy(m.pair, n->st.pair, 16);
	activity_put_head(&p, &m);
	for (struct image *img = n->images; img; img = img->next) {
		struct extents *x = &img->extents;

		for (unsigned i = 0; i < ACTIVITY_WORDS; i++) {
			x->writing[i] = x->set[i];
			x->safe[i] = fresh ? x->set[i] : x->safe[i] & x->set[i];
		}
		x->writing_shift = x->shift;
		if (!img->visible)
			continue;
		activity_put_image(&p, img->id, x->shift, x->set);
		m.image_count++;
	}
	activity_put_head(&head, &m);
	a->body_len = (uint32_t)(p.p - a->body);
	return p.bad ? -EMSGSIZE : 0;
}

static int prepare(struct node *n)
{
	struct activity *a = &n->activity;

	if (!a->buf)
		a->buf = aligned_alloc(BLOCK, ACTIVITY_SLOT);
	if (!a->body)
		a->body = malloc(ACTIVITY_BODY);
	int err = a->buf && a->body ? encode(n) : -ENOMEM;

	if (err)
		return err;
	if (a->enlist != 2 && activity_sectors(a->body_len) > a->count) /* it outgrew its sectors: a new life */
		a->enlist = 2;
	if (a->enlist == 2) {
		a->life = random64(n);
		a->count = (uint16_t)activity_sectors(a->body_len * 2);
		a->count = a->count > ACTIVITY_SECTORS ? ACTIVITY_SECTORS : a->count;
		a->seq = a->base = 0;
		a->slot = 1;
	}
	struct activity_stamp s = { .life = a->life, .seq = ++a->seq, .base = a->base, .count = a->count,
		.body_len = a->body_len };

	activity_seal(a->buf, a->body, &s);
	return 0;
}

static void revoked(struct save *s, int error)
{
	struct node *n = s->owner;
	struct activity *a = &n->activity;

	a->revoking = false;
	if (!error)
		a->on = a->noted = false;
	a->want |= a->noted;
	a->retry_ms = n->now_ms + RETRY_MS;
	/* Neither marked, nor known to have no marks: then a crash would lose them. */
	release(n, !error || error == -ENOSPC || error == -EDQUOT ? error : -EIO);
}

/* No map is believed any more: a restart compares everything. Until that is durable marks are kept. */
void activity_revoke(struct node *n)
{
	struct activity *a = &n->activity;

	if (!a->on || a->revoking)
		return;
	a->revoking = true;
	a->enlist = 0;
	n->st.activity = 0;
	node_save(n, &a->save, revoked);
}

static void failed(struct node *n, int error)
{
	struct activity *a = &n->activity;

	a->busy = false;
	a->settled = false;
	node_error(n, "the activity map cannot be written: %s; should this node crash, everything is compared",
	           strerror(-error));
	if (!a->enlist || n->st.activity) {
		a->enlist = 0;
		activity_revoke(n);
		return;
	}
	a->enlist = 0;
	a->on = a->noted = false; /* the state has named none */
	release(n, 0);
}

static void listed(struct save *s, int error)
{
	(void)s, (void)error; /* marks are kept whichever state the disk has */
}

/* The map is durable. */
static void written(struct node *n)
{
	struct activity *a = &n->activity;

	a->busy = false;
	a->base = a->seq;
	a->slot = !a->slot;
	n->counters.activity_writes_total++;
	n->counters.activity_extents = 0;
	for (struct image *img = n->images; img; img = img->next) {
		struct extents *x = &img->extents;

		for (unsigned i = 0; i < ACTIVITY_WORDS; i++) {
			if (x->writing_shift == x->shift)
				x->safe[i] = x->writing[i];
			n->counters.activity_extents += (unsigned)__builtin_popcountll(x->set[i]);
		}
	}
	a->noted &= a->want;
	if (a->enlist && --a->enlist)
		a->want = true; /* the other slot is next */
	else if (a->on && n->st.activity != a->life && !a->revoking) {
		n->st.activity = a->life;
		node_save(n, &a->list_save, listed);
	}
	release(n, 0);
}

static void stepped(struct io *io)
{
	struct node *n = io->owner;
	struct activity *a = &n->activity;

	n->ios_busy--;
	if (io->result && !(a->stage == REMOVE && io->result == -ENOENT)) {
		failed(n, io->result);
		return;
	}
	a->file_size = a->stage == REMOVE ? 0 : ACTIVITY_FILE;
	if (a->stage == SYNC || (a->stage == WRITE && MUTANT("activity-no-fdatasync")))
		written(n);
	else {
		a->stage++;
		step(n);
	}
}

static void step(struct node *n)
{
	static const uint8_t ops[] = { IO_REMOVE, IO_CREATE, IO_SYNC, IO_WRITE, IO_SYNC };
	struct activity *a = &n->activity;

	if (a->stage == SETTLE && a->settled)
		a->stage++;
	a->settled |= a->stage == WRITE;
	a->io = (struct io){ .op = ops[a->stage], .kind = FILE_ACTIVITY, .done = stepped, .owner = n };
	if (a->stage == CREATE)
		a->io.len = ACTIVITY_FILE;
	if (a->stage == WRITE) {
		a->io.off = a->slot ? 0 : ACTIVITY_SLOT;
		a->io.len = (uint64_t)a->count * ACTIVITY_SECTOR;
		a->io.buf = a->buf;
	}
	submit(n, &a->io);
}

/* No primary any more: its map is no account of what happens from here on. The state names it only for own.c. */
static void leave(struct node *n)
{
	struct activity *a = &n->activity;

	a->on = a->noted = a->stands_in = a->want = false;
	a->enlist = 0;
	release(n, -EIO); /* nobody may write any more */
}

/* At the end of each batch of events: one map for all that want one. */
void activity_pump(struct node *n)
{
	struct activity *a = &n->activity;

	if (n->role != NODE_PRIMARY && (a->on || a->stands_in))
		leave(n);
	if (a->busy || a->revoking || n->role != NODE_PRIMARY || ((n->stopping || n->demote_step) && !a->wait))
		return;
	sweep_idle(n);
	if (!a->want || (!a->on && !a->enlist) || n->now_ms < a->retry_ms)
		return;
	a->want = false;
	a->on = a->busy = true;
	int err = prepare(n);

	if (err) {
		failed(n, err);
		return;
	}
	a->stage = a->file_size == ACTIVITY_FILE ? SETTLE : a->file_size ? REMOVE : CREATE;
	step(n);
}

/* The commit that ended a sync: outside of what is marked both copies are equal. */
void activity_begin(struct node *n)
{
	struct activity *a = &n->activity;

	if (a->on && n->st.activity == a->life && !a->revoking)
		return;
	if (a->busy || a->revoking)
		return; /* the next sync's end tries again */
	for (const struct image *i = n->images; i; i = i->next)
		if (i->sync_failed)
			return; /* what its disk lost, perhaps of earlier lives, is in no map */
	a->enlist = 2;
	a->want = true;
	a->epoch = n->acked_epoch;
}

void activity_free(struct node *n)
{
	free(n->activity.buf);
	free(n->activity.body);
}
