/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the journal to the images, in the background. One pass at a time, over
 * the oldest seal: sizes, data and zeroes, fdatasync of each image, names, the
 * directory, then the state with the new tail, then the segments are free.
 * Applying a pass twice is harmless. Newer seals are merged meanwhile, a slice
 * at a time, so that a read never searches more than a few maps.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

#define OP_BYTES 65536u

enum step {
	D_IDLE, D_READS, D_FILES, D_DATA, D_SYNC, D_UNLINK, D_HIDE, D_NAME, D_DIRSYNC, D_STATE, D_RELEASE,
};

struct destage_op {
	struct node *node;
	bool busy, retry;
	struct image *image;
	uint64_t off, len;
	struct io io;
	struct jread jread;
	uint8_t *buf;
};

struct destage {
	struct destage_op ops[DESTAGE_OPS];
	uint8_t step;
	bool busy;            /* io is under way */
	bool retry, resized;
	bool again;           /* from the files on, should `failover force` let the node go on: see pass_failed() */
	uint32_t op_count, syncs;
	struct epimg *img;    /* the pass's image at hand */
	uint64_t pos;
	uint64_t retry_ms, release_lsn, release_version;
	struct io io;
	struct save save;
	struct journal_sync local_sync;
};

int destage_init(struct node *n)
{
	n->destage = calloc(1, sizeof(*n->destage));
	if (!n->destage)
		return -ENOMEM;
	for (uint32_t i = 0; i < DESTAGE_OPS; i++) {
		n->destage->ops[i].node = n;
		n->destage->ops[i].buf = aligned_alloc(BLOCK, OP_BYTES);
		if (!n->destage->ops[i].buf)
			return -ENOMEM;
	}
	return 0;
}

void destage_free(struct node *n)
{
	for (uint32_t i = 0; n->destage && i < DESTAGE_OPS; i++)
		free(n->destage->ops[i].buf);
	free(n->destage);
	n->destage = NULL;
}

/* A pass, or moving the tail, is under way: room may come of it. */
bool destage_busy(const struct node *n)
{
	return n->destage->step != D_IDLE;
}

bool destage_clean(const struct node *n)
{
	return !n->have_journal || (!n->seals && !n->local && n->destage->step == D_IDLE);
}

/* ENOSPC and EDQUOT pause the pass; anything else is an internal error: mode failed. True: paused. */
static bool trouble(struct node *n, int error, const char *what)
{
	if (error == -ENOSPC || error == -EDQUOT) {
		if (!n->destage_full)
			node_error(n, "destaging waits: no space in SOURCE's file system; make room there (%s)", what);
		n->destage_full = true;
		if (!journal_shrink(&n->overlay, n->now_ms))
			journal_shrink(&n->journal, n->now_ms);
		n->destage->retry_ms = n->now_ms + RETRY_MS;
		return true;
	}
	node_fail(n, "destaging: %s: %s", what, strerror(-error));
	return false;
}

/*
 * Mode failed. `failover force` may leave it, and the pass goes on: with all of it, since a failed fdatasync may have
 * lost what was written before and a later one would not say so.
 */
static void pass_failed(struct node *n)
{
	n->destage->again = true;
}

/* ---- steps ---- */

static void step_to(struct node *n, enum step step)
{
	n->destage->step = step;
	n->destage->img = n->pass ? n->pass->images : NULL;
	n->destage->pos = 0;
	n->destage->resized = false;
}

static void io_done(struct io *io)
{
	struct node *n = io->owner;
	struct destage *d = n->destage;

	n->ios_busy--;
	d->busy = false;
	if (io->op == IO_CREATE && (!io->result || io->result == -EEXIST)) {
		d->img->image->file = true;
		return; /* the same image again: now its size */
	}
	if (io->result && !(io->op == IO_REMOVE && io->result == -ENOENT)) {
		d->retry = trouble(n, io->result, d->img ? d->img->image->name : "directory");
		return;
	}
	n->destage_full = false;
	if (io->op == IO_TRUNC)
		d->resized = true;
	else if (d->img)
		d->img = d->img->next;
	if (io->op == IO_DIRSYNC)
		step_to(n, D_STATE);
}

static void io_begin(struct node *n, struct io io)
{
	struct destage *d = n->destage;

	io.kind = FILE_IMAGE;
	io.done = io_done;
	io.owner = n;
	d->io = io;
	d->busy = true;
	submit(n, &d->io);
}

static void files_step(struct node *n)
{
	struct destage *d = n->destage;

	for (; d->img; d->img = d->img->next, d->resized = false) {
		struct epimg *ei = d->img;

		if (ei->unlinked)
			continue;
		if (!ei->image->file) {
			io_begin(n, (struct io){ .op = IO_CREATE, .file = ei->image->id });
			return;
		}
		if (ei->sized && !d->resized) {
			io_begin(n, (struct io){ .op = IO_TRUNC, .file = ei->image->id, .len = ei->size });
			return;
		}
	}
	step_to(n, D_DATA);
}

/* ---- data ---- */

static void op_written(struct io *io)
{
	struct destage_op *op = io->owner;
	struct node *n = op->node;

	n->ios_busy--;
	if (io->result && trouble(n, io->result, op->image->name)) {
		op->retry = true;
		return;
	}
	op->busy = false;
	n->destage->op_count--;
	if (io->result) {
		pass_failed(n);
		return;
	}
	n->destage_full = false;
	n->counters.destage_written_bytes_total += op->len;
}

static void op_write(struct destage_op *op)
{
	op->retry = false;
	op->io = (struct io){ .op = op->buf && op->jread.done ? IO_WRITE : IO_PUNCH, .kind = FILE_IMAGE,
		.file = op->image->id, .off = op->off, .len = op->len, .buf = op->buf, .keep_size = true,
		.done = op_written, .owner = op };
	submit(op->node, &op->io);
}

static void op_read(struct jread *r, int error)
{
	struct destage_op *op = r->owner;

	if (error) {
		node_fail(op->node, "image %s: a record of a committed epoch cannot be read from the journal: %s",
		          op->image->name, strerror(-error));
		op->busy = false;
		op->node->destage->op_count--;
		pass_failed(op->node);
		return;
	}
	op_write(op);
}

static void op_begin(struct destage_op *op, struct image *img, const struct extent *e, uint64_t len)
{
	struct node *n = op->node;

	op->busy = true;
	op->retry = false;
	op->image = img;
	op->off = e->off;
	op->len = len;
	n->destage->op_count++;
	memset(&op->jread, 0, sizeof(op->jread));
	if (e->pos == MAP_ZERO) {
		op_write(op);
		return;
	}
	op->jread = (struct jread){ .pos = e->pos & ~POS_OVERLAY, .len = (uint32_t)len, .dst = op->buf, .done = op_read,
		.owner = op };
	journal_read(e->pos & POS_OVERLAY ? &n->overlay : &n->journal, &op->jread);
}

/* The next piece to write: false when the pass has none left. */
static bool next_piece(struct destage *d, struct extent *e, uint64_t *len)
{
	for (; d->img; d->img = d->img->next, d->pos = 0) {
		uint64_t limit = d->img->sized ? d->img->size : MAP_OFF_MAX;

		if (d->img->unlinked || !map_find(&d->img->map, d->pos, e) || e->off >= limit)
			continue;
		if (e->pos == MAP_ZERO && MUTANT("destage-no-zeroes")) {
			d->pos = e->off + e->len;
			return next_piece(d, e, len);
		}
		*len = e->len < limit - e->off ? e->len : limit - e->off;
		if (e->pos != MAP_ZERO && *len > OP_BYTES)
			*len = OP_BYTES;
		return true;
	}
	return false;
}

static void data_step(struct node *n)
{
	struct destage *d = n->destage;
	bool more = d->img;

	for (uint32_t i = 0; i < DESTAGE_OPS; i++) {
		struct destage_op *op = &d->ops[i];
		struct extent e;
		uint64_t len;

		if (op->busy && op->retry && n->now_ms >= d->retry_ms)
			op_write(op);
		/* None begins between a COMMIT's arrival and its DONE: the disk is the commit's. */
		if (op->busy || n->com_ep || !more)
			continue; /* to the last: any of them may wait for its retry */
		more = next_piece(d, &e, &len);
		if (!more)
			continue;
		d->pos = e.off + len;
		op_begin(op, d->img->image, &e, len);
	}
	if (!more && !d->img && !d->op_count)
		step_to(n, D_SYNC);
}

/* ---- sync, names ---- */

static void synced(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (io->result) {
		node_fail(n, "destaging: fdatasync of an image: %s", strerror(-io->result));
		pass_failed(n);
	}
	/* With the last of them every byte of the pass is durable in its image. */
	if (--n->destage->syncs == 0 && !n->failed)
		step_to(n, D_UNLINK);
}

static void sync_step(struct node *n)
{
	struct destage *d = n->destage;

	if (d->syncs)
		return;
	d->syncs = 1;
	for (struct epimg *ei = n->pass->images; ei; ei = ei->next) {
		if (ei->unlinked || !ei->image->file || MUTANT("no-destage-fdatasync"))
			continue;
		d->syncs++;
		n->counters.image_fdatasyncs_total++;
		ei->sync_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = ei->image->id, .done = synced, .owner = n };
		submit(n, &ei->sync_io);
	}
	if (--d->syncs == 0)
		step_to(n, D_UNLINK);
}

/* Names: gone ones first, then all that change step aside, then each takes its own. */
static void names_step(struct node *n)
{
	struct destage *d = n->destage;

	for (; d->img; d->img = d->img->next) {
		struct epimg *ei = d->img;
		bool named = !ei->unlinked && ei->renamed;

		if (d->step == D_UNLINK ? !ei->unlinked || !ei->image->file : !named)
			continue;
		io_begin(n, (struct io){ .op = d->step == D_UNLINK ? IO_REMOVE : IO_RENAME, .file = ei->image->id,
		                         .name = d->step == D_NAME ? ei->name : NULL });
		return;
	}
	if (d->step < D_NAME)
		step_to(n, (enum step)(d->step + 1));
	else
		step_to(n, D_DIRSYNC);
}

/* ---- state, release ---- */

static void state_saved(struct save *s, int error)
{
	struct node *n = s->owner;
	struct destage *d = n->destage;

	d->busy = false;
	if (error) {
		d->retry = trouble(n, error, "state file");
		return;
	}
	/* The state no longer needs the pass: reads that begin now go to the images. */
	if (n->pass) {
		struct epoch **p = &n->seals;

		while (*p != n->pass)
			p = &(*p)->older;
		*p = NULL;
		for (struct epimg *ei = n->pass->images; ei; ei = ei->next)
			if (ei->unlinked) {
				ei->image->file = false;
				ei->image->capacity = 0;
			}
		n->counters.destage_passes_total++;
	}
	/* Reads under way may be of an epoch that was dropped since, not only of those behind the pass. */
	d->release_version = ++n->version;
	d->step = D_RELEASE;
}

static void state_step(struct node *n)
{
	struct destage *d = n->destage;
	struct journal_mark m = tail_of(n);

	if (n->pass) {
		if (tail_table(n, n->pass)) {
			node_fail(n, "out of memory");
			return;
		}
		n->st.epoch = n->pass->number;
		n->st.epoch_wall_ms = n->pass->wall_ms;
		memcpy(n->st.epoch_name, n->pass->name, sizeof(n->st.epoch_name));
		if (n->pass->has_overlay)
			n->st.overlay_first = n->st.overlay_last = 0;
	}
	d->release_lsn = m.lsn;
	if (MUTANT("tail-too-far"))
		m = journal_mark(&n->journal);
	n->st.tail_lsn = m.lsn;
	n->st.tail_sum = m.sum;
	n->st.tail_slot = m.slot;
	n->st.tail_off = m.off;
	d->busy = true;
	d->save.owner = n;
	node_save(n, &d->save, state_saved);
}

static void release_step(struct node *n)
{
	struct destage *d = n->destage;

	if (view_oldest(n) < d->release_version)
		return;
	journal_release(&n->journal, d->release_lsn);
	if (n->pass && n->pass->has_overlay)
		journal_release(&n->overlay, UINT64_MAX);
	struct epoch *old = n->pass;

	n->pass = NULL;
	epoch_free(old);
	d->step = D_IDLE;
}

/* ---- the pump ---- */

static void local_synced(struct journal_sync *s, int error)
{
	(void)s;
	(void)error; /* the journal has failed, and the node with it */
}

/* Local writes have no commit record that made them durable: no image may be changed by what a crash could still take
 * back. True once the log is durable up to its end. */
static bool local_durable(struct node *n)
{
	struct destage *d = n->destage;

	journal_push(&n->journal);
	if (n->journal.synced_lsn + 1 >= journal_mark(&n->journal).lsn)
		return true;
	if (!d->local_sync.waiting) {
		d->local_sync.done = local_synced;
		journal_sync(&n->journal, &d->local_sync);
	}
	return false;
}

static void idle_step(struct node *n)
{
	struct destage *d = n->destage;

	if (n->com_ep || merge_busy(n))
		return; /* a half-merged seal must not be taken: older reads may not see what is newer in it */
	if (n->seals) {
		n->pass = n->seals;
		while (n->pass->older)
			n->pass = n->pass->older;
		n->tail_wanted = false;
		step_to(n, D_READS);
		return;
	}
	if (n->local_path && n->local && !n->failover) {
		/* What was written since the promotion: sealed when none of it is on its way. */
		n->hold_local = true;
		if (n->twin_inflight || !local_durable(n))
			return;
		n->local->end = journal_mark(&n->journal);
		n->local->version = ++n->version;
		n->hold_local = n->local->bytes < 16u << 20; /* small: the last pass before `drained` */
		struct epoch *e = n->local;

		n->local = NULL;
		epoch_seal(n, e);
		return;
	}
	if (n->tail_wanted) {
		n->tail_wanted = false;
		d->step = D_STATE;
	}
}

void destage_pump(struct node *n)
{
	struct destage *d = n->destage;

	if (!n->have_journal || n->failed || !node_recovered(n))
		return;
	if (merge_wanted(n))
		merge_some(n);
	if (d->retry && n->now_ms < d->retry_ms)
		return;
	d->retry = false;
	if (d->busy)
		return;
	if (d->again) {
		for (uint32_t i = 0; i < DESTAGE_OPS; i++) /* those that waited for room begin anew, too */
			if (d->ops[i].busy && d->ops[i].retry) {
				d->ops[i].busy = false;
				d->op_count--;
			}
		if (d->op_count || d->syncs)
			return;
		d->again = false;
		if (n->pass)
			step_to(n, D_FILES);
	}
	switch (d->step) {
	case D_IDLE:
		idle_step(n);
		return;
	case D_READS:
		/* A read begun before this epoch's commit must not see it in the image. */
		if (view_oldest(n) >= n->pass->version || MUTANT("read-no-version"))
			step_to(n, D_FILES);
		return;
	case D_FILES:
		files_step(n);
		return;
	case D_DATA:
		data_step(n);
		return;
	case D_SYNC:
		sync_step(n);
		return;
	case D_UNLINK:
	case D_HIDE:
	case D_NAME:
		names_step(n);
		return;
	case D_DIRSYNC:
		if (MUTANT("no-destage-dirsync"))
			step_to(n, D_STATE);
		else
			io_begin(n, (struct io){ .op = IO_DIRSYNC });
		return;
	case D_STATE:
		state_step(n);
		return;
	case D_RELEASE:
		release_step(n);
		return;
	}
}

/* Something can go on without an event from outside: the loop should not sleep. */
bool destage_eager(const struct node *n)
{
	if (!n->have_journal || n->failed || !node_recovered(n))
		return false;
	uint8_t step = n->destage->step;

	if (merge_wanted(n))
		return true;
	if (n->destage->busy || n->destage->retry || n->destage->op_count || n->destage->syncs)
		return false;
	return (step == D_IDLE && n->seals && !n->com_ep) || step == D_FILES || (step >= D_SYNC && step <= D_STATE) ||
	       (step == D_DATA && !n->com_ep);
}
