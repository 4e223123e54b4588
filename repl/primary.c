/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A primary's data path, which a single unprotected node takes too. A write
 * claims its range, goes to the image file and, from the same buffer, to the
 * link; the guest gets its answer when the file has it. What finds no room in
 * the link is sent later from the image (sync.c): the range is marked, the
 * answer held for link-timeout at most. Only so many payloads wait for room in their guests' own
 * buffers (sendq), claims held, in order.
 */
#include <assert.h>
#include <string.h>

#include "core.h"
#include "mutant.h"
#include "sum.h"

static void begin(struct guest_io *g);

bool primary_mirrors(const struct node *n)
{
	return n->live >= 0 && n->role == NODE_PRIMARY && !n->settling && n->links[n->live].state == PL_LIVE;
}

/* Whether the peer must get every write, now or later: in its first sync too, which has marked what was before it. */
static bool mirrored_ever(const struct node *n)
{
	return node_established(n) || primary_mirrors(n) || n->have_sets;
}

/*
 * Whether frames of this cost may be sent now: by the peer's credit, and by the send buffer, which one that is larger
 * than half of it may overrun once it is half empty (the shell keeps 1 MiB for that).
 */
bool primary_room(const struct node *n, uint64_t cost)
{
	uint64_t half = n->config.send_buffer / 2;

	if (!primary_mirrors(n) || n->credit < n->spent + n->reserved + cost)
		return false;
	uint64_t room = n->env->ops->tx_room(n->env, n->live);

	/* What sync requests under way will send has its room already. */
	return room >= n->reserved + cost || (cost > half && !n->reserved && room >= half);
}

/* Guests' writes and the sync share the link: neither may starve the other. */
static void share(struct node *n, uint64_t len)
{
	n->turn_bytes += len;
	if (n->turn_bytes < TURN_BYTES)
		return;
	n->turn_bytes = 0;
	n->sync_turn = n->sync_work;
}

/* A numbered frame of the current epoch. */
void primary_send(struct node *n, struct frame *f, const void *payload, size_t len)
{
	struct pepoch *e = &n->cur;

	f->session = n->session;
	f->epoch = e->number;
	f->seq = ++n->seq;
	f->payload_len = (uint32_t)len;
	f->sum = len ? sum64(payload, len) : 0;
	if (!e->count)
		e->first_seq = f->seq;
	e->last_seq = f->seq;
	e->count++;
	e->chain = sum_chain(e->chain, f->sum ^ f->seq);
	n->spent += frame_cost(f);
	link_send(n, n->live, f, payload, len);
}

void primary_send_data(struct node *n, struct image *img, uint64_t off, uint64_t len, const void *buf)
{
	dirty_mark(&img->cur, off, len);
	n->cur.bytes += len;
	n->cur.journalled += img->consistent_on_peer ? len : 0;
	if (off + len > img->sent_size) { /* a frame that grows the image, and says so nowhere else */
		img->sent_size = off + len;
		n->cur.metas++;
	}
	n->cur.writes++;
	while (len) {
		size_t part = len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX;
		struct frame f = { .type = FRAME_DATA, .image = img->id, .off = off };

		primary_send(n, &f, buf, part);
		buf = (const uint8_t *)buf + part;
		off += part;
		len -= part;
	}
}

/* Sizes, names, zeroes: small, so never held for want of room. When nobody mirrors, the next session's sync
 * compares the tables, and ranges are marked by the caller. */
void primary_meta(struct node *n, uint8_t type, struct image *img, uint64_t off, uint64_t len, uint8_t flags,
                  const char *name)
{
	struct frame f = { .type = type, .image = img->id, .off = off, .len = len, .flags = flags };

	if (!primary_mirrors(n))
		return;
	n->cur.writes++;
	n->cur.metas += type != FRAME_ZERO; /* what is zeroed is marked */
	if (type == FRAME_SIZE || type == FRAME_IMAGE || type == FRAME_CREATE)
		img->sent_size = len;
	primary_send(n, &f, name, name ? strlen(name) : 0);
}

/* Whether anything must still be sent before a cut. */
bool primary_missing(const struct node *n)
{
	uint64_t off, len;

	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible && (i->miss.blocks || i->miss.all) && dirty_next(&i->miss, 0, i->size, 1, &off, &len))
			return true;
	return n->held || n->sync_busy;
}

/* ---- going alone ---- */

static void raised(struct save *s, int error)
{
	struct node *n = s->owner;
	struct guest_io *list = n->raise_wait;

	n->raising = false;
	n->raise_wait = NULL;
	if (error)
		node_error(n, "cannot record that this node goes on alone: %s", strerror(-error));
	else
		n->raised = true;
	/* Without the record the reply would be a promise that a promoted peer could break. */
	while (list) {
		struct guest_io *g = list;

		list = g->next;
		guest_finish(n, g, error);
	}
}

/* A new generation, durable before the first reply whose frame no live link took. */
static void raise_generation(struct node *n)
{
	if (n->raising || n->raised)
		return;
	uint64_t doubt = n->com_active || n->prep ? n->com.number : n->doubt_valid ? n->com.number : n->cur.number;

	n->raising = true;
	lineage_push(&n->st.lineage, random64(n), n->acked_epoch, doubt);
	node_log(n, LOG_LVL_WARN, "going on alone: generation %016llx begins behind epoch %llu",
	         (unsigned long long)n->st.lineage.generation, (unsigned long long)n->acked_epoch);
	node_save(n, &n->raise_save, raised);
}

void primary_finish(struct node *n, struct guest_io *g)
{
	if (!(g->stage & SENT) && suspend_wanted(n)) {
		suspend_hold(n, g);
		return;
	}
	if (!(g->stage & SENT) && node_established(n) && !primary_mirrors(n) && !n->raised) {
		g->next = n->raise_wait;
		n->raise_wait = g;
		raise_generation(n);
		return;
	}
	guest_finish(n, g, 0);
}

/* The local part of a request that claimed a range has ended. */
void primary_end(struct node *n, struct guest_io *g, int error)
{
	primary_counted(n, g);
	range_release(&g->image->claims, &g->claim);
	if (error)
		guest_finish(n, g, error);
	else
		primary_finish(n, g);
}

/* ---- held answers ---- */

static bool still_missing(const struct guest_io *g)
{
	uint64_t off, len;

	return g->image->visible && g->len &&
	       dirty_next(&g->image->miss, g->off, g->image->size, 1, &off, &len) && off < g->off + g->len;
}

/* Congestion: a write was held for link-timeout. The following ones are not, they are sent later from the image. */
static void catch_up(struct node *n)
{
	if (!n->catching_up)
		node_error(n, "the peer or the link did not take a write within %u ms: writes are sent later from the image",
		           n->config.catch_up ? 0 : n->config.link_timeout_ms);
	n->catching_up = true;
}

/* Answer those whose range the sync has sent, and those that waited link-timeout; in order. */
void primary_held_pump(struct node *n, bool release_all)
{
	while (n->held) {
		struct guest_io *g = n->held;
		bool late = n->now_ms >= g->deadline_ms;

		if (!release_all && !late && !n->catching_up && (still_missing(g) || sync_covers(n, g->image, g->off, g->len)))
			return;
		if (late && !release_all)
			catch_up(n);
		n->held = g->next;
		if (!n->held)
			n->held_tail = &n->held;
		g->next = NULL;
		primary_finish(n, g);
	}
}

static void hold(struct node *n, struct guest_io *g)
{
	g->deadline_ms = n->now_ms + n->config.link_timeout_ms;
	g->next = NULL;
	*n->held_tail = g;
	n->held_tail = &g->next;
}

/* ---- writes ---- */

static uint64_t data_cost(uint64_t len)
{
	uint64_t cost = 0;

	for (; len; len -= len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX) {
		struct frame f = { .payload_len = (uint32_t)(len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX) };

		cost += frame_cost(&f);
	}
	return cost;
}

static bool room_for(struct node *n, uint64_t len)
{
	return !n->sendq && !n->held && !n->unfit && !n->catching_up && !n->sync_turn && primary_room(n, data_cost(len));
}

static void enqueue(struct node *n, struct guest_io *g)
{
	g->stage |= QUEUED;
	g->deadline_ms = n->now_ms + n->config.link_timeout_ms;
	g->next = NULL;
	*n->sendq_tail = g;
	n->sendq_tail = &g->next;
	n->sendq_bytes += g->len;
}

static void dequeue(struct node *n, struct guest_io *g)
{
	struct guest_io **p = &n->sendq;

	while (*p != g)
		p = &(*p)->next;
	*p = g->next;
	if (!*p)
		n->sendq_tail = p;
	g->next = NULL;
	g->stage &= (uint8_t)~QUEUED;
	n->sendq_bytes -= g->len;
}

void primary_counted(struct node *n, struct guest_io *g)
{
	if (g->stage & COUNTED)
		commit_write_done(n, g->epoch);
	g->stage &= (uint8_t)~COUNTED;
}

/* The image has it, or failed; the frame is sent, or will not be sent from the buffer. */
static void write_end(struct node *n, struct guest_io *g, int error)
{
	struct image *img = g->image;
	bool hold_it = false;
	/* Behind the end nothing is read back: what the peer's copy got there would come to light when this one grows. */
	bool longer = error && g->stage & SENT && img->visible && g->off + g->len > img->size && primary_mirrors(n);

	if (error && mirrored_ever(n)) {
		/* Unknown what is on disk now, and the frame cannot be recalled: read back and sent again. */
		dirty_mark(&img->miss, g->off, g->len);
		img->fresh = false; /* a hole there has to be said: the peer's copy has what was sent */
	} else if (!(g->stage & SENT) && img->visible && mirrored_ever(n)) {
		dirty_mark(&img->miss, g->off, g->len);
		hold_it = primary_mirrors(n) && !n->unfit && !n->catching_up;
	}
	range_release(&img->claims, &g->claim);
	if (error)
		guest_finish(n, g, error);
	else if (hold_it)
		hold(n, g);
	else
		primary_finish(n, g);
	if (longer)
		link_drop(n, n->live, "a write that was to make an image longer failed here: sizes are compared anew");
}

static void write_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct image *img = g->image;
	struct node *n = img->node;

	n->ios_busy--;
	if (!io->result && g->off + g->len > img->size)
		img->size = g->off + g->len;
	if (!io->result)
		local_background(n, img, g->len);
	primary_counted(n, g);
	if (g->stage & QUEUED && !io->result) {
		g->stage |= WRITTEN; /* the queue's pump goes on */
		return;
	}
	if (g->stage & QUEUED)
		dequeue(n, g);
	else if (!(g->stage & SENT) && !io->result && img->visible && mirrored_ever(n) && room_for(n, g->len)) {
		primary_send_data(n, img, g->off, g->len, g->buf);
		g->stage |= SENT;
	}
	write_end(n, g, io->result);
}

/* Send what waits, in order, as there is room; what waited link-timeout, or lost its link, is marked instead. */
void primary_sendq_pump(struct node *n, bool release_all)
{
	while (n->sendq) {
		struct guest_io *g = n->sendq;
		bool late = n->now_ms >= g->deadline_ms;

		if (!release_all && !late && !n->catching_up && (n->sync_turn || !primary_room(n, data_cost(g->len))))
			return;
		dequeue(n, g);
		if (late && !release_all)
			catch_up(n);
		if (!release_all && !late && g->image->visible && primary_room(n, data_cost(g->len))) {
			primary_send_data(n, g->image, g->off, g->len, g->buf);
			share(n, g->len);
			g->stage |= SENT;
		}
		if (g->stage & WRITTEN)
			write_end(n, g, 0);
	}
}

static void write_begin(struct node *n, struct guest_io *g)
{
	struct image *img = g->image;

	g->deadline_ms = 0;
	if (img->visible && primary_mirrors(n)) {
		if (room_for(n, g->len)) {
			primary_send_data(n, img, g->off, g->len, g->buf);
			share(n, g->len);
			g->stage |= SENT;
		} else if (n->config.catch_up && !n->sync_turn && !n->sendq) {
			catch_up(n);
		} else if (!n->held && !n->unfit && !n->catching_up && n->sendq_bytes + g->len <= SENDQ_BYTES) {
			enqueue(n, g);
		}
	}
	g->io = (struct io){ .op = IO_WRITE, .kind = FILE_IMAGE, .file = img->id, .off = g->off, .len = g->len,
		.buf = g->buf, .done = write_done, .owner = g };
	submit(n, &g->io);
}

/* ---- the rest: zeroes, sizes ---- */

static void range_done(struct io *io)
{
	struct guest_io *g = io->owner;
	struct image *img = g->image;
	struct node *n = img->node;
	uint64_t old = img->size, from = g->off, to = g->off + g->len;
	bool live = img->visible && primary_mirrors(n);

	n->ios_busy--;
	if (g->op == GUEST_TRUNC) {
		from = old < g->len ? old : g->len;
		to = old < g->len ? g->len : old;
		if (!io->result)
			img->size = g->len;
	} else if (!io->result && g->op != GUEST_PUNCH && !g->keep_size && to > old) {
		img->size = to;
	}
	if (!io->result && live) {
		if (g->op == GUEST_PUNCH || g->op == GUEST_ZERO) {
			bool room = primary_room(n, FRAME_DATA_MAX);

			/* A storm of discards waits like data does; the sync sends the hole. */
			dirty_mark(room ? &img->cur : &img->miss, from, to - from);
			if (!room) /* data may have gone there in this session: its hole must be sent */
				img->fresh = false;
			if (room && !MUTANT("zero-not-sent"))
				primary_meta(n, FRAME_ZERO, img, from, to - from, FRAME_F_KEEP, NULL);
		}
		if (img->size != old) {
			dirty_mark(&img->cur, from, to - from);
			primary_meta(n, FRAME_SIZE, img, 0, img->size, 0, NULL);
			if (img->size < old) /* nothing is missing behind the new end */
				dirty_clear(&img->miss, img->size, UINT64_MAX - img->size, img->size);
		}
		g->stage |= SENT;
	} else if (mirrored_ever(n) && g->op != GUEST_ALLOC && to > from) {
		dirty_mark(&img->miss, from, to - from);
	}
	primary_end(n, g, io->result);
}

static void range_begin(struct node *n, struct guest_io *g)
{
	static const uint8_t ops[] = { [GUEST_ALLOC] = IO_ALLOC, [GUEST_PUNCH] = IO_PUNCH, [GUEST_ZERO] = IO_ZERO,
		[GUEST_TRUNC] = IO_TRUNC };
	struct image *img = g->image;

	/* A discard may name the whole disk and more: cut it at the end. */
	if (g->op == GUEST_PUNCH || (g->op == GUEST_ZERO && g->keep_size)) {
		if (g->off >= img->size)
			g->len = 0;
		else if (g->len > img->size - g->off)
			g->len = img->size - g->off;
		if (!g->len) {
			primary_counted(n, g);
			range_release(&img->claims, &g->claim);
			guest_finish(n, g, 0);
			return;
		}
	}
	g->io = (struct io){ .op = ops[g->op], .kind = FILE_IMAGE, .file = img->id, .off = g->off, .len = g->len,
		.keep_size = g->keep_size, .done = range_done, .owner = g };
	submit(n, &g->io);
}

/* ---- the way in ---- */

static void begin(struct guest_io *g)
{
	struct node *n = g->priv;

	if (g->op != GUEST_CREATE && !activity_ready(n, g))
		return; /* primary_marked() goes on; the claim is held */
	g->stage |= BEGUN;
	if (g->op == GUEST_CREATE) {
		primary_create(n, g);
		return;
	}
	g->epoch = n->cur.number;
	n->cur.inflight++;
	g->stage |= COUNTED;
	g->image->touched = true;
	g->image->mtime_ns = n->wall_ms * 1000000;
	n->written_since_cut = true;
	if (g->op == GUEST_WRITE)
		write_begin(n, g);
	else if (g->op == GUEST_UNLINK || g->op == GUEST_RENAME)
		primary_names(n, g);
	else
		range_begin(n, g);
}

static void granted(struct range *r)
{
	begin(r->owner);
}

void primary_marked(struct node *n, struct guest_io *g, int error)
{
	if (!error) {
		begin(g);
		return;
	}
	range_release(&g->image->claims, &g->claim);
	guest_finish(n, g, error);
}

/* What a request claims. Whoever changes the size claims to infinity. */
static void claim_of(const struct guest_io *g, uint64_t *off, uint64_t *len)
{
	*off = g->off;
	*len = g->len;
	if (g->op == GUEST_UNLINK || g->op == GUEST_RENAME || g->op == GUEST_TRUNC) {
		*off = g->op == GUEST_TRUNC && g->len < g->image->size ? g->len : 0;
		if (g->op == GUEST_TRUNC && g->len >= g->image->size)
			*off = g->image->size;
		*len = RANGE_END;
	} else if (g->op != GUEST_WRITE && g->op != GUEST_PUNCH && !g->keep_size) {
		*len = RANGE_END;
	}
}

void primary_guest(struct node *n, struct guest_io *g)
{
	uint64_t off, len;

	g->stage = 0;
	g->priv = n;
	if (g->op != GUEST_READ && g->op != GUEST_SYNC && g->op != GUEST_EXTENT &&
	    suspend_takes(n)) {
		suspend_hold(n, g);
		return;
	}
	if (g->op == GUEST_SYNC) {
		if (n->config.commit_fsync && (n->protected_ || suspend_fsync(n)))
			commit_fsync(n, g);
		else
			local_sync(n, g);
		return;
	}
	if (g->op == GUEST_READ || g->op == GUEST_EXTENT) {
		local_read(n, g);
		return;
	}
	if (g->op == GUEST_CREATE) {
		begin(g);
		return;
	}
	claim_of(g, &off, &len);
	if (MUTANT("no-range-claim") && g->op == GUEST_WRITE)
		off += 1ull << 50;
	if (range_claim(&g->image->claims, &g->claim, off, len, granted, g))
		begin(g);
}

/* ---- the link comes and goes ---- */

void primary_link_up(struct node *n)
{
	n->go_on = false;
	n->seq = n->credit = n->spent = n->reserved = 0;
	n->cur.first_seq = n->cur.last_seq = n->cur.count = n->cur.chain = 0;
	n->cur.bytes = n->cur.journalled = n->cur.writes = n->cur.metas = 0;
}

void primary_link_down(struct node *n)
{
	n->protected_ = n->settling = false;
	commit_link_down(n);
	verify_link_down(n);
	sync_stop(n);
	for (struct image *i = n->images; i; i = i->next)
		dirty_merge(&i->miss, &i->cur);
	n->raised = n->st.lineage.generation != n->st.shared_generation;
	primary_sendq_pump(n, true);
	primary_held_pump(n, true);
}
