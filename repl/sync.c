/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sending what the peer lacks: the first sync, a resync after a link loss, and
 * what found no room while mirroring. All are one: ranges marked in an image's
 * `miss` set are claimed, read and sent as frames of the current epoch, until
 * none is left and the epoch can be cut. With `hash` a block is compared by
 * SHA-256 before it is sent. Guests write meanwhile; claims keep the order.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

static void op_go(struct sync_op *op);

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* ---- one request ---- */

static uint64_t op_cost(uint64_t len)
{
	return round_up(len, FRAME_DATA_MAX) / FRAME_DATA_MAX * (FRAME_DATA_MAX + 512);
}

static void op_free(struct sync_op *op)
{
	struct node *n = op->node;

	n->reserved -= op->cost < n->reserved ? op->cost : n->reserved;
	op->cost = 0;
	op->busy = op->asked = op->again = op->dead = false;
	op->image = NULL;
	n->sync_busy--;
}

static void op_end(struct sync_op *op)
{
	range_release(&op->image->claims, &op->claim);
	op_free(op);
}

/* The session ended while the request was under way: the next one has to do it. */
static bool op_dead(struct sync_op *op)
{
	if (!op->dead)
		return false;
	op_end(op);
	return true;
}

static void unreserve(struct sync_op *op)
{
	struct node *n = op->node;

	n->reserved -= op->cost < n->reserved ? op->cost : n->reserved;
	op->cost = 0;
}

/* The image may have grown by a write that was only marked: data says so by itself. The range is claimed. */
static void tell_size(struct sync_op *op)
{
	uint64_t end = op->off + op->len;

	if (end > op->image->sent_size)
		primary_meta(op->node, FRAME_SIZE, op->image, 0, end, 0, NULL);
}

/* A hole goes as one frame; as none where the target is known to be zero: zeroes on a device may have been written
 * over what was sent before. */
static void op_hole(struct sync_op *op)
{
	struct node *n = op->node;
	struct image *img = op->image;

	n->counters.sync_skipped_bytes_total += op->len;
	img->sync_done += op->len;
	unreserve(op);
	tell_size(op);
	if (!img->fresh || img->capacity) {
		dirty_mark(&img->cur, op->off, op->len);
		primary_meta(n, FRAME_ZERO, img, op->off, op->len, FRAME_F_KEEP, NULL);
	}
	op_end(op);
}

static void op_send(struct sync_op *op)
{
	struct node *n = op->node;

	if (device_zeroes(op->image, op->buf, op->len)) {
		op_hole(op);
		return;
	}
	unreserve(op);
	primary_send_data(n, op->image, op->off, op->len, op->buf);
	n->counters.sync_sent_bytes_total += op->len;
	n->sync_bytes += op->len;
	op->image->sync_done += op->len;
	op_end(op);
}

static void op_ask(struct sync_op *op)
{
	struct node *n = op->node;
	uint8_t digest[32];
	struct frame f = { .type = FRAME_HASHQ, .image = op->image->id, .off = op->off, .len = op->len };

	if (EVP_Digest(op->buf, op->len, digest, NULL, EVP_sha256(), NULL) != 1) {
		op_send(op);
		return;
	}
	unreserve(op);
	tell_size(op);
	primary_send(n, &f, digest, sizeof(digest));
	n->counters.sync_hashed_bytes_total += op->len;
	op->seq = n->seq;
	op->asked = true;
	range_release(&op->image->claims, &op->claim);
}

static void op_read(struct io *io)
{
	struct sync_op *op = io->owner;
	struct node *n = op->node;

	n->ios_busy--;
	if (op_dead(op))
		return;
	if (io->result) {
		node_error(n, "image %s, offset %llu: cannot be read for the sync: %s; the peer's copy stays behind there",
		           op->image->name, (unsigned long long)op->off, strerror(-io->result));
		dirty_mark(&op->image->bad, op->off, op->len);
		activity_note(n, op->image, op->off, op->len);
		op_end(op);
		return;
	}
	if (op->image->hash && !op->again)
		op_ask(op);
	else
		op_send(op);
}

static void op_extent(struct io *io)
{
	struct sync_op *op = io->owner;
	struct node *n = op->node;
	struct image *img = op->image;

	n->ios_busy--;
	if (op_dead(op))
		return;
	if (!io->result && io->hole && io->len >= op->len) {
		op_hole(op);
		return;
	}
	if (op->again && MUTANT("resync-not-read-anew")) {
		op_send(op);
		return;
	}
	op->io = (struct io){ .op = IO_READ, .kind = FILE_IMAGE, .file = img->id, .off = op->off, .len = op->len,
		.buf = op->buf, .done = op_read, .owner = op };
	submit(n, &op->io);
}

static void op_go(struct sync_op *op)
{
	struct node *n = op->node;
	struct image *img = op->image;

	if (op_dead(op))
		return;
	if (!img->visible || op->off >= img->size) {
		op_end(op);
		return;
	}
	if (op->len > img->size - op->off)
		op->len = img->size - op->off;
	/* Credit is taken with the claim, not before: a request that waits for a claim must not keep the claim's holder
	 * from sending. */
	op->cost = op_cost(op->len);
	if (!primary_room(n, op->cost)) {
		dirty_mark(&img->miss, op->off, op->len);
		op->cost = 0;
		op_end(op);
		return;
	}
	n->reserved += op->cost;
	/* From here on whoever writes there sends it himself. A last block that grew meanwhile stays marked. */
	if (!op->again)
		dirty_clear(&img->miss, op->off,
		            op->off + op->len < img->size ? op->len : round_up(op->len, DIRTY_BLOCK), img->size);
	op->io = (struct io){ .op = IO_EXTENT, .kind = FILE_IMAGE, .file = img->id, .off = op->off, .len = op->len,
		.done = op_extent, .owner = op };
	submit(n, &op->io);
}

static void op_granted(struct range *r)
{
	op_go(r->owner);
}

static void op_claim(struct sync_op *op)
{
	uint64_t off = op->off + (MUTANT("sync-claims-elsewhere") ? 1ull << 50 : 0);

	if (range_claim(&op->image->claims, &op->claim, off, op->len, op_granted, op))
		op_go(op);
}

/* Equal, but perhaps by what the peer keeps of a cut session: part of this session's first epoch, which is not committed
 * yet, and may be cut already. */
static void kept_equal(struct node *n, struct sync_op *op)
{
	if (!n->sync_keep || MUTANT("kept-equal-forgotten"))
		return;
	dirty_mark(&op->image->cur, op->off, op->len);
	if (n->com_active)
		dirty_mark(&op->image->com, op->off, op->len);
}

void sync_hash_reply(struct node *n, uint64_t seq, bool equal)
{
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		struct sync_op *op = &n->sync_ops[i];

		if (!op->busy || !op->asked || op->seq != seq)
			continue;
		op->asked = false;
		if (equal) {
			n->counters.sync_skipped_bytes_total += op->len;
			op->image->sync_done += op->len;
			kept_equal(n, op);
			op_free(op);
		} else {
			op->again = true;
			op_claim(op);
		}
		return;
	}
}

bool sync_covers(const struct node *n, const struct image *img, uint64_t off, uint64_t len)
{
	for (uint32_t i = 0; i < SYNC_OPS && n->sync_busy; i++) {
		const struct sync_op *op = &n->sync_ops[i];

		if (op->busy && op->image == img && op->off < off + len && off < op->off + op->len)
			return true;
	}
	return false;
}

/* ---- choosing what to send ---- */

static bool next_range(struct node *n, struct image *img, uint64_t *off, uint64_t *len)
{
	(void)n;
	if (!img->visible || !(img->miss.blocks || img->miss.all))
		return false;
	if (dirty_next(&img->miss, img->sync_pos, img->size, SYNC_CHUNK, off, len))
		return true;
	img->sync_pos = 0;
	return dirty_next(&img->miss, 0, img->size, SYNC_CHUNK, off, len);
}

static bool op_start(struct node *n, struct sync_op *op)
{
	uint64_t off, len;

	for (struct image *img = n->images; img; img = img->next) {
		if (!next_range(n, img, &off, &len) || sync_covers(n, img, off, len))
			continue;
		if (len > DIRTY_BLOCK && (img->hash || !primary_room(n, op_cost(len))))
			len = DIRTY_BLOCK; /* hashes compare block by block */
		/* Guests' own writes that found no room are not slowed down. */
		if (n->sync_state == SYNC_RUNNING && !sync_rate_allows(n, len))
			return false;
		op->image = img;
		op->off = off;
		op->len = len;
		img->sync_pos = off + len;
		op->busy = true;
		n->sync_busy++;
		op_claim(op);
		return true;
	}
	return false;
}

static bool buffers_ready(struct node *n)
{
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		n->sync_ops[i].node = n;
		if (!n->sync_ops[i].buf)
			n->sync_ops[i].buf = aligned_alloc(BLOCK, SYNC_CHUNK);
		if (!n->sync_ops[i].buf)
			return false;
	}
	return true;
}

static bool sync_done(const struct node *n)
{
	uint64_t off, len;

	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible && (i->miss.blocks || i->miss.all) && dirty_next(&i->miss, 0, i->size, 1, &off, &len))
			return false;
	return !n->sync_busy;
}

/* What is missing of images that take frames through the peer's journal; compared: with what may turn out equal. */
uint64_t sync_journal_bytes(const struct node *n, bool compared)
{
	uint64_t bytes = 0;

	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible && i->consistent_on_peer && (compared || !i->hash))
			bytes += dirty_bytes(&i->miss, i->size);
	return bytes;
}

/* The sync stops before its first byte; the peer keeps its epoch, guests go on, a session with a larger journal
 * ends it. */
static void unfit(struct node *n)
{
	primary_sendq_pump(n, true);
	primary_held_pump(n, true);
	if (n->unfit_until_ms) {
		commit_unfit(n);
		return;
	}
	unsigned long long bytes = sync_missing(n), room = n->peer_capacity;

	if (!n->unfit_told)
		node_error(n, "what the peer lacks (%llu bytes) does not fit its journal (%llu bytes): give that a larger "
		           "journal-size, or order `resync in-place`", bytes, room);
	n->unfit_told = true;
	n->protected_ = false;
	node_reason(n, "what the peer lacks (%llu bytes) does not fit its journal (%llu bytes), and is not sent", bytes, room);
	commit_reply_all(n, &n->resyncs, -ENOSPC, n->reason);
}

/* Bytes that must be sent before a cut. */
uint64_t sync_missing(const struct node *n)
{
	uint64_t bytes = 0;

	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible)
			bytes += dirty_bytes(&i->miss, i->size);
	return bytes;
}

/* resync-rate: whether another len bytes may be read now, which are then counted. */
bool sync_rate_allows(struct node *n, uint64_t len)
{
	uint64_t rate = n->config.resync_rate, most = rate / 8 > SYNC_CHUNK ? rate / 8 : SYNC_CHUNK;

	if (!rate)
		return true;
	uint64_t more = (n->now_ms - n->rate_ms) * rate / 1000;

	if (more) {
		n->rate_left = n->rate_left + more < most ? n->rate_left + more : most;
		n->rate_ms = n->now_ms;
	}
	if (n->rate_left < len)
		return false;
	n->rate_left -= len;
	return true;
}

/* As many requests as there is room for; with writes waiting too, one in its turn. */
static void ops_start(struct node *n)
{
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		struct sync_op *op = &n->sync_ops[i];

		if (op->busy)
			continue;
		if (n->sendq && !n->sync_turn)
			return;
		if (!primary_room(n, op_cost(DIRTY_BLOCK)))
			return; /* a turn waits for room, the writes behind it too */
		n->sync_turn = false;
		if (!op_start(n, op))
			return;
	}
	n->sync_turn = false;
}

void sync_pump(struct node *n)
{
	if (!primary_mirrors(n))
		return;
	primary_sendq_pump(n, false);
	primary_held_pump(n, false);
	if (n->catching_up && primary_room(n, IO_MAX_LEN) && sync_missing(n) < CATCH_UP_END)
		n->catching_up = false;
	n->sync_work = n->sync_state == SYNC_RUNNING || primary_missing(n);
	if (!n->sync_work || !buffers_ready(n)) {
		n->sync_turn = false;
		return;
	}
	if (n->unfit && n->unfit_until_ms && n->now_ms >= n->unfit_until_ms) {
		n->unfit = false;
		n->unfit_until_ms = 0;
	}
	if (!n->unfit_until_ms && !n->in_place)
		n->unfit |= sync_journal_bytes(n, false) > n->peer_capacity;
	if (n->unfit) {
		unfit(n);
		return;
	}
	ops_start(n);
	if (n->sync_state == SYNC_RUNNING && !n->held && sync_done(n)) {
		n->sync_state = SYNC_COMMIT;
		node_log(n, LOG_LVL_INFO, "everything is sent (%llu bytes); the commit that ends the sync is next",
		         (unsigned long long)n->sync_bytes);
	}
}

/* ---- a session's sync ---- */

static struct hello_image *peer_image(const struct hello *peer, uint64_t id)
{
	for (uint32_t i = 0; i < peer->image_count; i++)
		if (peer->images[i].id == id)
			return &peer->images[i];
	return NULL;
}

/* Bring the peer's table level with ours, and say what of each image it lacks. */
static void image_begin(struct node *n, struct image *img, const struct hello_image *theirs, bool full, bool devices)
{
	img->hash = img->fresh = false;
	dirty_merge(&img->miss, &img->bad);
	dirty_merge(&img->miss, &img->differ);
	if (!theirs || !theirs->consistent) {
		/* Never whole there: its frames go straight to its file. What an earlier, cut sync left is compared. What may
		 * be a device there is not emptied: all of it is sent, the holes too. */
		bool keep = theirs || devices;

		primary_meta(n, FRAME_IMAGE, img, 0, img->size, keep ? FRAME_F_KEEP : 0, img->name);
		img->hash = theirs;
		img->fresh = !keep;
		img->consistent_on_peer = false;
		dirty_mark(&img->miss, 0, img->size);
	} else {
		img->consistent_on_peer = true;
		img->sent_size = theirs->size;
		if (strcmp(theirs->name, img->name))
			primary_meta(n, FRAME_RENAME, img, 0, 0, 0, img->name);
		if (theirs->size != img->size) {
			primary_meta(n, FRAME_SIZE, img, 0, img->size, 0, NULL);
			if (theirs->size < img->size) /* it reads as zeroes there */
				dirty_mark(&img->miss, theirs->size, img->size - theirs->size);
		}
		img->hash = img->compare;
		if (full) {
			img->hash = true;
			dirty_mark(&img->miss, 0, img->size);
		}
	}
	/* The peer has nothing behind this size any more, whatever was cut off while it was away. */
	dirty_clear(&img->miss, img->size, UINT64_MAX - img->size, img->size);
	img->on_peer = true;
	img->sync_pos = img->sync_done = 0;
	img->sync_total = dirty_bytes(&img->miss, img->size);
}

/* keep: the peer's uncommitted view begins with what a cut session sent: compared, and not sent again. */
void sync_begin(struct node *n, const struct hello *peer, bool full, bool keep)
{
	n->sync_state = SYNC_RUNNING;
	n->sync_keep = keep;
	n->sync_started_ms = n->now_ms;
	n->sync_bytes = 0;
	n->protected_ = false;
	n->unfit = n->unfit_told = false;
	n->unfit_until_ms = 0;
	part_session(n, peer);
	for (uint32_t i = 0; i < peer->image_count; i++) {
		struct image *img = node_image_by_id(n, peer->images[i].id);
		struct image gone = { .id = peer->images[i].id };

		if (!img || !img->visible)
			primary_meta(n, FRAME_UNLINK, &gone, 0, 0, 0, NULL);
	}
	for (struct image *img = n->images; img; img = img->next) {
		img->compare |= keep;
		if (img->visible)
			image_begin(n, img, peer_image(peer, img->id), full, peer->devices);
		else
			dirty_free(&img->miss);
	}
	if (!full && n->activity.stands_in)
		node_log(n, LOG_LVL_INFO, "what the activity map named is compared with the peer, and nothing else");
	if (!full && peer->own)
		node_log(n, LOG_LVL_INFO, "what either node wrote since they parted is compared, and nothing else");
	node_reason(n, n->in_place ? "a resync in-place goes on: the peer is inconsistent until its end" :
	               full ? "a full sync is running" :
	               peer->own ? "what either node wrote since they parted is being compared" :
	               n->activity.stands_in ? "what the activity map names is being compared with the peer" :
	               "what changed while the peer was away is being sent");
}

void sync_stop(struct node *n)
{
	n->sync_state = SYNC_IDLE;
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		struct sync_op *op = &n->sync_ops[i];

		if (!op->busy || op->dead)
			continue;
		if (!MUTANT("sync-cut-forgotten"))
			dirty_mark(&op->image->miss, op->off, op->len);
		if (op->asked)
			op_free(op);
		else
			op->dead = true;
	}
}

/* The peer threw an epoch away, and the queries in it: their answers may never come. */
void sync_refused(struct node *n)
{
	for (uint32_t i = 0; i < SYNC_OPS; i++) {
		struct sync_op *op = &n->sync_ops[i];

		if (!op->busy || !op->asked || MUTANT("refused-query-waits"))
			continue;
		dirty_mark(&op->image->miss, op->off, op->len);
		op_free(op);
	}
}

/* `resync [full] [in-place]`: what verify found unequal, or everything, is compared and sent again within the session. */
void sync_command(struct node *n, struct command_req *r)
{
	r->started_ms = n->now_ms;
	if (n->role != NODE_PRIMARY) {
		command_reply(n, r, -EPERM, "resync is the primary's; this node is %s", node_mode(n));
		return;
	}
	if (!primary_mirrors(n)) {
		command_reply(n, r, -ENOTCONN, "no peer is connected; the sync begins by itself when it is");
		return;
	}
	if (r->cmd.in_place && n->prep) {
		command_reply(n, r, -EBUSY, "an epoch is prepared: commit or abort it first");
		return;
	}
	for (struct image *i = n->images; i; i = i->next) {
		if (!MUTANT("resync-knows-no-difference"))
			dirty_merge(&i->miss, &i->differ);
		dirty_merge(&i->miss, &i->bad);
		if (!i->visible || !r->cmd.full)
			continue;
		i->hash |= i->consistent_on_peer;
		dirty_mark(&i->miss, 0, i->size);
	}
	if (n->com_was_sync) /* its sync is at its end: what was ordered for that does not go for this one */
		n->in_place = false;
	if (r->cmd.in_place)
		part_order(n);
	n->part_noted = false;
	r->deadline_ms = UINT64_MAX; /* it takes what it takes */
	commit_append(&n->resyncs, r);
	if (n->sync_state != SYNC_RUNNING) {
		n->sync_started_ms = n->now_ms;
		n->sync_bytes = 0;
	}
	n->sync_state = SYNC_RUNNING;
	if (!MUTANT("resync-answered-early"))
		n->com_was_sync = false; /* what is cut already ends no sync any more: this one has yet to compare */
	n->protected_ = false;
	for (struct image *i = n->images; i; i = i->next) {
		i->sync_pos = i->sync_done = 0;
		i->sync_total = dirty_bytes(&i->miss, i->size);
	}
	node_reason(n, n->in_place ? "a resync in-place is running: if its journal is too small, the peer is inconsistent until its end" :
	               r->cmd.full ? "a full resync is running, by command" : "a resync is running, by command");
}
