/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup's images in their first sync: frames go straight to the file, in
 * number order (claims see to that), none to the journal. The commit that ends
 * the sync first makes these files durable; its record makes them consistent.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

struct direct_op {
	struct direct_op *next; /* in node's direct_ops */
	struct node *node;
	struct image *image;
	struct range claim;
	struct io io;
	uint64_t cost;
	uint8_t *buf;
	uint8_t step; /* DIRECT_BEGIN: create, empty, size */
	bool begin, keep;
	uint64_t size;
	struct image *offered; /* DIRECT_BEGIN: the device that becomes the image's */
};

/* Whether the image's frames go to its file. Behind the cut of the commit that ends its sync they belong to the next
 * epoch: into the journal, or the guest would see them with this one. */
bool direct_goes(const struct image *img)
{
	return img->direct && (!img->committing || MUTANT("first-sync-cut"));
}

static void op_free(struct direct_op *op)
{
	struct direct_op **p = &op->node->direct_ops;

	while (*p != op)
		p = &(*p)->next;
	*p = op->next;
	free(op->buf);
	free(op);
}

void direct_free(struct node *n)
{
	while (n->direct_ops)
		op_free(n->direct_ops);
}

/* Before it claimed anything. */
static void op_undo(struct direct_op *op)
{
	op->node->direct_bytes -= op->cost;
	op->image->direct_busy--;
	op_free(op);
}

static void op_end(struct direct_op *op, int error)
{
	struct node *n = op->node;
	struct image *img = op->image;

	img->direct_failed |= error != 0;
	if (error == -ENOSPC || error == -EDQUOT) {
		if (!journal_shrink(&n->overlay, n->now_ms))
			journal_shrink(&n->journal, n->now_ms);
		if (n->live >= 0) /* nothing committed is touched; the primary tries again */
			link_refuse(n, n->live, REFUSE_NOSPACE);
	}
	if (error && error != -ENOSPC && error != -EDQUOT)
		node_fail(n, "image %s: writing what the primary sends: %s", img->next_name, strerror(-error));
	n->direct_bytes -= op->cost;
	img->direct_busy--;
	range_release(&img->claims, &op->claim);
	op_free(op);
	direct_commit(n);
}

static void op_done(struct io *io)
{
	struct direct_op *op = io->owner;

	op->node->ios_busy--;
	op_end(op, io->result);
}

static void op_run(struct range *r)
{
	struct direct_op *op = r->owner;

	submit(op->node, &op->io);
}

static void begin_step(struct io *io);

static void begin_run(struct range *r)
{
	struct direct_op *op = r->owner;

	op->image->direct_failed = false; /* what was under way has ended */
	op->io = (struct io){ .op = op->offered ? IO_ADOPT : IO_CREATE, .kind = FILE_IMAGE, .file = op->image->id,
		.off = op->offered ? op->offered->id : 0, .done = begin_step, .owner = op };
	submit(op->node, &op->io);
}

/* Create the hidden file, or take the device that is offered; empty it unless what is there is to be compared, give it its size. */
static void begin_step(struct io *io)
{
	struct direct_op *op = io->owner;
	struct node *n = op->node;
	int error = io->result;

	n->ios_busy--;
	if (op->offered && op->offered != op->image)
		image_drop(n, op->offered);
	op->offered = NULL;
	if (op->step == 0 && error == -EEXIST)
		error = 0;
	if (error || op->step == 2) {
		op->image->file = !error;
		op_end(op, error);
		return;
	}
	op->step = op->step == 0 && !op->keep ? 1 : 2;
	op->io = (struct io){ .op = IO_TRUNC, .kind = FILE_IMAGE, .file = op->image->id,
		.len = op->step == 1 ? 0 : op->size, .done = begin_step, .owner = op };
	submit(n, &op->io);
}

/* NULL: out of memory, or the peer sends faster than files take it, without asking for credit. */
static struct direct_op *op_new(struct node *n, struct image *img, uint64_t cost, int *error)
{
	struct direct_op *op = n->direct_bytes < DIRECT_MAX ? calloc(1, sizeof(*op)) : NULL;

	*error = n->direct_bytes < DIRECT_MAX ? -ENOMEM : -ENOBUFS;
	if (!op)
		return NULL;
	op->node = n;
	op->image = img;
	op->cost = cost;
	op->next = n->direct_ops;
	n->direct_ops = op;
	n->direct_bytes += cost;
	img->direct_busy++;
	return op;
}

/* FRAME_IMAGE: an image that was never whole here begins. */
int direct_begin(struct node *n, struct plink *l)
{
	struct frame *f = &l->frame;
	struct image *img = node_image_by_id(n, f->image);

	if (!name_valid((char *)l->payload, f->payload_len) || (img && img->consistent))
		return -EPROTO;
	/* An image whose unlinking a crash of the primary took back: its old epochs must be out of the journal first. */
	if (img && epoch_references(n, img))
		return -EBUSY;
	struct image *offered = device_offered(n, (char *)l->payload, f->payload_len);

	if ((offered || (img && img->capacity)) && !(f->flags & FRAME_F_KEEP))
		return -EPROTO; /* it would count on zeroes where it sends nothing */
	if (!img)
		img = image_add(n, f->image);
	if (!img)
		return n->image_count >= IMAGES_MAX ? -EPROTO : -ENOMEM;
	int error;
	struct direct_op *op = op_new(n, img, frame_cost(f), &error);

	if (!op)
		return error;
	img->direct = true;
	img->next_visible = true;
	img->next_size = f->len;
	memcpy(img->next_name, l->payload, f->payload_len);
	img->next_name[f->payload_len] = 0;
	img->sync_total = f->len;
	op->begin = true;
	if (offered) {
		op->offered = offered;
		if (offered != img) /* else a crash cut its adoption */
			offered->next_name[0] = 0;
		img->capacity = offered->capacity;
		img->foreign = false;
	}
	op->keep = (f->flags & FRAME_F_KEEP && img->file) || img->capacity;
	op->size = f->len;
	if (range_claim(&img->claims, &op->claim, 0, RANGE_END, begin_run, op))
		begin_run(&op->claim);
	return 0;
}

/* The payload as a buffer of its own. The header may have sent it into the journal's open batch: the commit that would
 * have ended the image's sync failed in between. */
static uint8_t *payload_take(struct plink *l)
{
	uint8_t *buf = l->owned;
	uint32_t len = l->frame.payload_len;

	l->owned = NULL;
	if (buf)
		return buf;
	buf = aligned_alloc(BLOCK, (len + BLOCK - 1) / BLOCK * BLOCK);
	if (buf)
		memcpy(buf, l->payload, len);
	return buf;
}

int direct_frame(struct node *n, struct plink *l, struct image *img)
{
	static const uint8_t ops[FRAME_TYPE_END] = { [FRAME_DATA] = IO_WRITE, [FRAME_ZERO] = IO_PUNCH,
		[FRAME_SIZE] = IO_TRUNC, [FRAME_UNLINK] = IO_REMOVE };
	struct frame *f = &l->frame;
	uint64_t off = f->off, len = f->type == FRAME_DATA ? f->payload_len : f->len;

	if (f->type == FRAME_RENAME) {
		if (!name_valid((char *)l->payload, f->payload_len))
			return -EPROTO;
		memcpy(img->next_name, l->payload, f->payload_len);
		img->next_name[f->payload_len] = 0;
		return 0;
	}
	if (f->type == FRAME_UNLINK) /* never whole: nothing that was committed goes with it */
		img->next_visible = img->direct = false;
	if (f->type == FRAME_ZERO && off + len > img->next_size)
		len = off < img->next_size ? img->next_size - off : 0;
	if (!ops[f->type])
		return f->type == FRAME_CREATE ? -EPROTO : 0;
	if (!len && f->type == FRAME_ZERO)
		return 0;
	int error;
	struct direct_op *op = op_new(n, img, frame_cost(f), &error);

	if (!op)
		return error;
	op->io = (struct io){ .op = ops[f->type], .kind = FILE_IMAGE, .file = img->id, .off = off, .len = len,
		.keep_size = f->type != FRAME_SIZE, .done = op_done, .owner = op };
	if (f->type == FRAME_DATA) {
		op->buf = payload_take(l);
		if (!op->buf) {
			op_undo(op);
			return -ENOMEM;
		}
		op->io.buf = op->buf;
		if (off + len > img->next_size)
			img->next_size = off + len;
		img->sync_done += len;
	}
	if (f->type == FRAME_SIZE) {
		img->next_size = len;
	}
	bool whole = f->type == FRAME_SIZE || f->type == FRAME_UNLINK;

	if (range_claim(&img->claims, &op->claim, whole ? 0 : off, whole ? RANGE_END : len, op_run, op))
		op_run(&op->claim);
	return 0;
}

/* ---- comparing ---- */

static void hash_done(struct io *io)
{
	struct hash_job *h = io->owner;

	h->node->ios_busy--;
	h->image->direct_busy--;
	range_release(&h->image->claims, &h->claim);
	h->done(h, io->result);
}

static void hash_run(struct range *r)
{
	struct hash_job *h = r->owner;

	submit(h->node, &h->io);
}

void direct_hash(struct node *n, struct hash_job *h, void (*done)(void *owner, int error))
{
	(void)n;
	h->done = done;
	h->image->direct_busy++;
	h->io = (struct io){ .op = IO_READ, .kind = FILE_IMAGE, .file = h->image->id, .off = h->off, .len = h->len,
		.buf = h->buf, .done = hash_done, .owner = h };
	if (range_claim(&h->image->claims, &h->claim, h->off, h->len, hash_run, h))
		hash_run(&h->claim);
}

/* ---- commit ---- */

/* The instant of the cut: names and sizes as they are now. */
void direct_cut(struct node *n)
{
	for (struct image *i = n->images; i; i = i->next) {
		if (!i->direct || !i->next_visible)
			continue;
		i->committing = true;
		i->commit_size = i->next_size;
		memcpy(i->commit_name, i->next_name, sizeof(i->commit_name));
	}
}

static void file_synced(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (io->result)
		node_fail(n, "an image's file could not be made durable: %s", strerror(-io->result));
	if (--n->com_files)
		return;
	if (n->failed) /* somebody may wait for the commit's end: a stop, a failover by force */
		backup_commit_failed(n, -EIO);
	else
		backup_commit_append(n);
}

/*
 * A commit is wanted (n->com_ep, not yet appended): once no direct write of before is under way, the files are made
 * durable. After this fdatasync they hold all that the epoch has of them.
 */
void direct_commit(struct node *n)
{
	if (!n->com_ep || n->com_files || n->com_ep->end.lsn)
		return;
	uint32_t count = 0;
	bool whole = true;

	for (struct image *i = n->images; i; i = i->next) {
		if (!i->committing)
			continue;
		if (i->direct_busy)
			return; /* op_end() comes back here */
		whole &= !i->direct_failed;
		count++;
	}
	if (!whole || n->failed) { /* COMMIT was here before the write failed */
		backup_commit_failed(n, n->failed ? -EIO : -EAGAIN);
		return;
	}
	if (!count || MUTANT("commit-before-data")) {
		backup_commit_append(n);
		return;
	}
	n->com_files = count + 1;
	for (struct image *i = n->images; i; i = i->next) {
		if (!i->committing)
			continue;
		n->counters.image_fdatasyncs_total++;
		i->sync_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = i->id, .done = file_synced, .owner = n };
		submit(n, &i->sync_io);
	}
	n->dir_io = (struct io){ .op = IO_DIRSYNC, .kind = FILE_IMAGE, .done = file_synced, .owner = n };
	submit(n, &n->dir_io);
}

/* The session is over: what its direct frames left is compared when the next one begins. */
void direct_link_down(struct node *n)
{
	for (struct image *i = n->images; i; i = i->next)
		if (i->direct) {
			i->next_visible = false;
			i->sync_done = 0;
		}
}
