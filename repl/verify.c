/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verify: both copies are compared block by block while the guest runs. Each
 * block is read and hashed under its claim, and the query takes its place in
 * the stream before the claim is released: the peer compares with its
 * uncommitted view at just that place, so nothing in flight is ever taken for
 * a difference. What is known to be missing there, a write that found no room
 * in the link, is waited for. What differs is marked, for `resync` or the next
 * session.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

static void op_free(struct verify_op *op)
{
	op->busy = op->asked = op->waits = false;
	op->image = NULL;
	op->node->verify.busy--;
}

static void op_end(struct verify_op *op)
{
	range_release(&op->image->claims, &op->claim);
	op_free(op);
}

/* Its verify has ended, or its image is gone. */
static bool op_void(const struct verify_op *op)
{
	const struct node *n = op->node;

	return !n->verify.req || n->verify.run != op->run || !primary_mirrors(n) || !op->image->visible;
}

static void op_failed(struct verify_op *op, int error)
{
	struct node *n = op->node;

	node_error(n, "verify: image %s, offset %" PRIu64 ": %s", op->image->name, op->off, strerror(-error));
	op_end(op);
	if (!n->verify.error)
		n->verify.error = error;
}

/* What the peer is known to lack is on its way: compared when it is there. Nobody writes within the claim. */
static bool op_waits(struct verify_op *op)
{
	struct image *img = op->image;
	uint64_t off, len;

	if (MUTANT("verify-while-missing") ||
	    (!dirty_next(&img->miss, op->off, op->off + op->len, 1, &off, &len) && !sync_covers(op->node, img, op->off, op->len)))
		return false;
	op->waits = true;
	range_release(&img->claims, &op->claim);
	return true;
}

static void op_read(struct io *io)
{
	struct verify_op *op = io->owner;
	struct node *n = op->node;
	struct frame f = { .type = FRAME_HASHQ, .image = op->image->id, .off = op->off, .len = op->len };
	uint8_t digest[32];

	n->ios_busy--;
	if (op_void(op)) {
		op_end(op);
		return;
	}
	if (io->result || EVP_Digest(op->buf, op->len, digest, NULL, EVP_sha256(), NULL) != 1) {
		op_failed(op, io->result ? io->result : -ENOMEM);
		return;
	}
	if (op_waits(op))
		return;
	primary_send(n, &f, digest, sizeof(digest));
	op->seq = n->seq;
	op->asked = true;
	range_release(&op->image->claims, &op->claim);
}

static void op_go(struct range *r)
{
	struct verify_op *op = r->owner;
	struct image *img = op->image;

	if (op->off >= img->size || op_void(op)) {
		op_end(op);
		return;
	}
	if (op->len > img->size - op->off)
		op->len = img->size - op->off;
	if (op_waits(op))
		return;
	op->io = (struct io){ .op = IO_READ, .kind = FILE_IMAGE, .file = img->id, .off = op->off, .len = op->len,
		.buf = op->buf, .done = op_read, .owner = op };
	submit(op->node, &op->io);
}

/* The answer to a query of ours? */
bool verify_hash_reply(struct node *n, uint64_t seq, bool equal)
{
	for (uint32_t i = 0; i < VERIFY_OPS; i++) {
		struct verify_op *op = &n->verify.ops[i];

		if (!op->busy || !op->asked || op->seq != seq)
			continue;
		n->verify.blocks++;
		n->verify.done += op->len;
		n->counters.verified_bytes_total += op->len;
		if (!equal) {
			n->verify.differ++;
			n->counters.verify_differences_total++;
			dirty_mark(&op->image->differ, op->off, op->len);
			activity_note(n, op->image, op->off, op->len);
			node_error(n, "verify: image %s differs from the peer's at offset %" PRIu64 " (%" PRIu64 " bytes); "
			           "`resync` mends it", op->image->name, op->off, op->len);
		}
		op_free(op);
		return true;
	}
	return false;
}

bool verify_uses(const struct node *n, const struct image *img)
{
	for (uint32_t i = 0; i < VERIFY_OPS; i++)
		if (n->verify.ops[i].busy && n->verify.ops[i].image == img)
			return true;
	return false;
}

/* ---- the walk ---- */

/* The image with the next higher id: names and neighbours may change meanwhile. */
static struct image *image_behind(struct node *n, uint64_t id)
{
	struct image *next = NULL;

	for (struct image *i = n->images; i; i = i->next)
		if (i->visible && i->id > id && (!next || i->id < next->id))
			next = i;
	return next;
}

static struct image *image_at_hand(struct node *n)
{
	struct verify *v = &n->verify;
	struct image *img = v->image ? node_image_by_id(n, v->image) : NULL;

	if (img && img->visible && v->off < img->size)
		return img;
	if (v->only)
		img = v->image ? NULL : node_image_by_id(n, v->only);
	else
		img = image_behind(n, v->image);
	while (img && !img->size && !v->only)
		img = image_behind(n, img->id);
	if (!img || !img->size) {
		v->at_end = true;
		return NULL;
	}
	v->image = img->id;
	v->off = 0;
	return img;
}

static void op_claim(struct verify_op *op)
{
	uint64_t off = op->off + (MUTANT("verify-claims-elsewhere") ? 1ull << 50 : 0);

	op->waits = false;
	op->len = DIRTY_BLOCK;
	if (range_claim(&op->image->claims, &op->claim, off, op->len, op_go, op))
		op_go(&op->claim);
}

static void op_start(struct node *n, struct verify_op *op, struct image *img)
{
	struct verify *v = &n->verify;

	op->node = n;
	op->image = img;
	op->run = v->run;
	op->off = v->off;
	op->busy = true;
	v->busy++;
	v->off += DIRTY_BLOCK;
	op_claim(op);
}

static void end(struct node *n, int error, const char *why)
{
	struct verify *v = &n->verify;
	struct command_req *r = v->req;

	v->req = NULL;
	event(n, "verified", "\"blocks\": %" PRIu64 ", \"differ\": %" PRIu64 ", \"complete\": %s", v->blocks, v->differ,
	      error ? "false" : "true");
	for (uint32_t i = 0; i < VERIFY_OPS; i++)
		if (v->ops[i].busy && (v->ops[i].asked || v->ops[i].waits))
			op_free(&v->ops[i]);
	if (error)
		command_reply(n, r, error, "%s", why);
	else
		command_reply(n, r, 0, "done blocks=%" PRIu64 " differ=%" PRIu64 " ms=%" PRIu64, v->blocks, v->differ,
		              n->now_ms - r->started_ms);
}

void verify_command(struct node *n, struct command_req *r)
{
	struct image *img = r->cmd.image[0] ? node_image(n, r->cmd.image) : NULL;
	struct verify *v = &n->verify;

	if (n->role != NODE_PRIMARY) {
		command_reply(n, r, -EPERM, "verify is the primary's; this node is %s", node_mode(n));
	} else if (!primary_mirrors(n)) {
		command_reply(n, r, -ENOTCONN, "no peer is connected: there is nothing to compare with");
	} else if (v->req || v->busy) {
		command_reply(n, r, -EBUSY, "a verify is running");
	} else if (!n->protected_) {
		command_reply(n, r, -EBUSY, "a sync is running: verify when it has ended");
	} else if (r->cmd.image[0] && !img) {
		command_reply(n, r, -EINVAL, "there is no image %s", r->cmd.image);
	} else {
		for (uint32_t i = 0; i < VERIFY_OPS; i++)
			if (!v->ops[i].buf && !(v->ops[i].buf = aligned_alloc(BLOCK, DIRTY_BLOCK))) {
				command_reply(n, r, -EIO, "out of memory");
				return;
			}
		r->started_ms = n->now_ms;
		v->req = r;
		v->run++;
		v->image = v->off = v->blocks = v->differ = v->done = v->total = 0;
		v->only = img ? img->id : 0;
		v->at_end = false;
		v->error = 0;
		for (struct image *i = n->images; i; i = i->next)
			if (i->visible && (!img || i == img))
				v->total += i->size;
	}
}

bool verify_cancel(struct node *n, struct command_req *r)
{
	if (n->verify.req != r)
		return false;
	end(n, -EINTR, "interrupted");
	return true;
}

/* The peer threw an epoch away, and the queries in it: they are asked again behind what it lacks now. */
void verify_refused(struct node *n)
{
	for (uint32_t i = 0; i < VERIFY_OPS; i++) {
		struct verify_op *op = &n->verify.ops[i];

		op->waits |= op->asked && !MUTANT("refused-query-waits");
		op->asked &= !op->waits;
	}
}

void verify_link_down(struct node *n)
{
	if (n->verify.req)
		end(n, -ENOTCONN, "the link was lost");
}

void verify_pump(struct node *n)
{
	struct verify *v = &n->verify;

	if (!v->req)
		return;
	for (uint32_t i = 0; i < VERIFY_OPS; i++)
		if (v->ops[i].waits)
			op_claim(&v->ops[i]);
	for (uint32_t i = 0; i < VERIFY_OPS && !v->at_end && !v->error; i++) {
		struct verify_op *op = &v->ops[i];

		if (op->busy)
			continue;
		struct image *img = image_at_hand(n);

		if (!img || !primary_room(n, FRAME_DATA_MAX) || !sync_rate_allows(n, DIRTY_BLOCK))
			break;
		op_start(n, op, img);
	}
	if (v->error && !v->busy)
		end(n, v->error, "a block could not be read");
	else if (v->at_end && !v->busy)
		end(n, 0, NULL);
}

void verify_free(struct node *n)
{
	for (uint32_t i = 0; i < VERIFY_OPS; i++)
		free(n->verify.ops[i].buf);
}
