/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A byte of an image's file flips, on either node, behind the core's back: in a
 * place that is the content there, with nothing in the journal or under way over
 * it. A verify has to name image and offset, `resync` has to mend it, and then
 * both copies are equal; or `resync full` has to, without a verify, also when it is
 * ordered while another resync is being committed.
 *
 * On the backup the twin is still meanwhile, the primary's guest runs on; what
 * it writes over the byte mends it, too. On the primary, whose content is wrong
 * from then on, both are still; the copies become equal in that, and a guest's
 * write behind it makes the content right again. Nothing else goes wrong as
 * long as it lasts, but a link may still be lost by what went wrong before.
 */
#include <string.h>

#include "../../repl/frame.h"
#include "compare.h"
#include "peek.h"

#define MS 1000ull
#define CALM_MS 500u /* for the right moment */
#define END_MS 60000u

enum { NOTHING, CALM, VERIFY, VERIFYING, RESYNC, RESYNCING, BEHIND, AGAIN, PROBE, PROBING, WRITE, FLUSH, FLUSHING, LOOK, LOOKING };

static void tick(struct sim *s, struct event *e);

static struct host *primary_of(struct sim *s)
{
	return &s->hosts[s->primary];
}

static struct host *backup_of(struct sim *s)
{
	return &s->hosts[!s->primary];
}

bool flip_running(const struct sim *s)
{
	return s->compare && s->compare->flip.step != NOTHING;
}

static void over(struct sim *s)
{
	s->compare->flip.step = NOTHING;
	for (int i = 0; i < HOSTS; i++)
		guest_run(s, &s->hosts[i], true);
}

void flip_frame(struct sim *s, unsigned type, uint64_t image, uint64_t off, uint64_t len)
{
	struct flip *f = &s->compare->flip;
	bool data = type == FRAME_DATA || type == FRAME_ZERO, over = off <= f->off && f->off - off < len;

	if (type == FRAME_HELLO || (image == f->image && type != FRAME_HASHQ && type != FRAME_RENAME && (!data || over)))
		f->sent = true;
}

/* It may have been renamed since. */
static bool bears(struct sim *s, const struct image *img, const char *name)
{
	const struct model_image *m = model_image(s, image_id(img));

	for (uint32_t i = 0; m && i < m->attr_count; i++)
		if (!strcmp(m->attrs[i].name, name))
			return true;
	return !strcmp(image_name(img), name) || !strcmp(s->compare->flip.name, name);
}

bool flip_named(struct sim *s, const char *image, uint64_t off, uint64_t len)
{
	struct flip *f = &s->compare->flip;
	struct image *img;

	if (!flip_running(s) || !f->flipped)
		return false;
	img = node_image_by_id(primary_of(s)->node, f->image);
	if (!img || !bears(s, img, image) || f->off < off || f->off - off >= len || f->step > VERIFYING)
		return false;
	f->named = true;
	return true;
}

/* ---- the moment ---- */

static bool may_begin(struct sim *s)
{
	const struct compare *c = s->compare;

	if (s->phase != PHASE_RUN || s->auto_failover || s->partitioned || s->fault_rate[0] || s->fault_rate[1])
		return false;
	if (compare_waits(&c->verify) || compare_waits(&c->resync) || compare_waits(&c->again))
		return false;
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];

		if (h->state != HOST_UP || h->stale || h->discarding || h->switching || h->ordering || h->crash_soon ||
		    h->frozen_until > s->now || guest_probing(s, h) || host_failed(h))
			return false;
	}
	return primary_of(s)->probed && peek_protected(primary_of(s)->node) && !peek_local(primary_of(s)->node) &&
	       backup_of(s)->committed;
}

void flip_begin(struct sim *s)
{
	struct flip *f = &s->compare->flip;

	if (!may_begin(s))
		return;
	*f = (struct flip){ .step = CALM, .since = s->now, .full = one_in(s, 3) };
	f->host = one_in(s, 3) ? primary_of(s) : backup_of(s);
	wire_stall(s, 0, -1);
	guest_run(s, backup_of(s), false);
	if (f->host == primary_of(s))
		guest_run(s, primary_of(s), false);
	event_add(s, MS, -1, tick);
}

/* Where the file alone is the content. */
static bool choose(struct sim *s)
{
	struct flip *f = &s->compare->flip;
	struct model_image *m = &s->model.images[rnd_below(s, MODEL_IMAGES)];
	struct file *file = m->used && model_attr(m)->exists ? disk_file(&f->host->disk, FILE_IMAGE, m->id) : NULL;

	if (!file || !file->now || !file->size || guest_inflight(s, backup_of(s)))
		return false;
	f->image = m->id;
	f->off = rnd_below(s, file->size);
	(void)unit_at(m->id, f->off, &f->unit);
	while (unit_off(m->id, f->unit) > f->off)
		f->unit--;
	if (f->unit >= unit_count(m->id, model_attr(m)->size) || !disk_idle(&f->host->disk, FILE_IMAGE, m->id))
		return false;
	if (f->host == primary_of(s))
		return !guest_inflight(s, f->host) && peek_level(f->host->node);
	return peek_plain(f->host->node, f->image, f->off) && peek_arrived(primary_of(s)->node, f->host->node);
}

static void flip(struct sim *s)
{
	struct flip *f = &s->compare->flip;

	say(s, "host %d: a bit flips in image %llu at %llu", f->host->index, (unsigned long long)f->image,
	    (unsigned long long)f->off);
	disk_flip(s, &f->host->disk, f->image, f->off);
	strcpy(f->name, image_name(node_image_by_id(primary_of(s)->node, f->image)));
	f->flipped = true;
	f->sent = false;
	happened(s, f->host == primary_of(s) ? H_FLIP_PRIMARY : H_FLIP_BACKUP);
}

static unsigned calm(struct sim *s)
{
	struct flip *f = &s->compare->flip;
	struct compare *c = s->compare;

	if (s->now - f->since > CALM_MS * MS || !peek_protected(primary_of(s)->node)) {
		over(s);
		return NOTHING;
	}
	if (!choose(s))
		return CALM;
	if (f->full) { /* the one that is about to be committed has compared it already, or not */
		compare_resync(s, primary_of(s), &c->resync, one_in(s, 2));
		return BEHIND;
	}
	flip(s);
	return VERIFY;
}

/* ---- found, mended ---- */

static unsigned verify_done(struct sim *s)
{
	struct flip *f = &s->compare->flip;

	if (s->compare->verify.error)
		return VERIFY; /* refused, or the link was lost */
	if (!f->named && !f->sent)
		violation(s, "verify does not find the byte that flipped on host %d, image %llu offset %llu", f->host->index,
		          (unsigned long long)f->image, (unsigned long long)f->off);
	f->full |= !f->named; /* mended by a write, or not known of any more: it is looked at all the same */
	return RESYNC;
}

/* A plain resync runs: the byte flips within it, and the full one is ordered. */
static unsigned behind(struct sim *s)
{
	struct flip *f = &s->compare->flip;

	if (!one_in(s, 4))
		return BEHIND;
	if (!choose(s)) {
		if (s->now - f->since <= 2 * CALM_MS * MS)
			return BEHIND;
		over(s);
		return NOTHING;
	}
	flip(s);
	return RESYNC;
}

/* Both copies byte by byte: nobody writes. */
static void primary_compared(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	(void)h;
	if (!img) {
		s->compare->flip.step = PROBE;
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct file *f = disk_file(&primary_of(s)->disk, FILE_IMAGE, img[i].id);
		uint8_t buf[SECTOR];

		if (!f || !f->now || f->size != img[i].size)
			violation(s, "resync is done, the copies of image %s have different sizes", img[i].name);
		for (uint64_t off = 0, n; off < f->size; off += n) {
			n = f->size - off < SECTOR ? f->size - off : SECTOR;
			file_read(f, off, buf, n);
			if (memcmp(buf, img[i].data + off, n))
				violation(s, "resync is done, the copies of image %s differ at %llu", img[i].name, (unsigned long long)off);
		}
	}
	s->compare->flip.step = WRITE;
}

static void backup_looked(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	if (!img) {
		s->compare->flip.step = LOOK;
		return;
	}
	model_check_epoch(s, img, count, h->committed, false);
	happened(s, H_MENDED);
	over(s);
}

static void flushed(struct sim *s, int error)
{
	s->compare->flip.step = error ? FLUSH : LOOK;
}

/* The primary's guest has its content again. */
static unsigned write(struct sim *s)
{
	struct flip *f = &s->compare->flip;
	struct host *h = primary_of(s);

	host_begin(s, h);
	guest_rewrite(s, h, f->image, f->unit);
	host_end(s, h);
	return FLUSH;
}

static void probe(struct sim *s, void (*fn)(struct sim *s, struct host *h, struct probe_image *img, uint32_t count))
{
	struct host *h = backup_of(s);

	host_begin(s, h);
	guest_probe(s, h, fn);
	host_end(s, h);
}

static unsigned flush(struct sim *s)
{
	struct host *h = primary_of(s);

	if (guest_inflight(s, h))
		return FLUSH;
	s->compare->flip.step = FLUSHING;
	host_begin(s, h);
	world_flush(s, h, flushed);
	host_end(s, h);
	return s->compare->flip.step;
}

static unsigned resync_done(struct sim *s, const struct order *o)
{
	if (o->error) /* the link was lost: the next session does not know of what differs; so all is compared */
		s->compare->flip.full = true;
	return o->error ? RESYNC : s->compare->flip.host == primary_of(s) ? PROBE : LOOK;
}

static unsigned step(struct sim *s, unsigned now)
{
	struct compare *c = s->compare;
	struct host *h = primary_of(s);

	switch (now) {
	case CALM: return calm(s);
	case VERIFY: compare_verify_all(s, h); return VERIFYING;
	case VERIFYING: return compare_waits(&c->verify) ? VERIFYING : verify_done(s);
	case BEHIND: return behind(s);
	case RESYNC: compare_resync(s, h, &c->again, c->flip.full); return RESYNCING;
	case RESYNCING: return compare_waits(&c->again) ? RESYNCING : resync_done(s, &c->again);
	case WRITE: return write(s);
	case FLUSH: return flush(s);
	case PROBE: c->flip.step = PROBING; probe(s, primary_compared); return c->flip.step;
	case LOOK: c->flip.step = LOOKING; probe(s, backup_looked); return c->flip.step;
	}
	return now; /* a callback goes on */
}

static void tick(struct sim *s, struct event *e)
{
	struct flip *f = &s->compare->flip;

	(void)e;
	if (!flip_running(s) || s->phase == PHASE_DONE)
		return;
	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].state != HOST_UP)
			violation(s, "host %d is down, although nothing goes wrong", i);
	if (s->now - f->since > END_MS * MS)
		violation(s, "a byte flipped %llu ms ago, and the copies are not equal again (step %u)",
		          (unsigned long long)((s->now - f->since) / MS), f->step);
	f->step = step(s, f->step);
	if (f->step != NOTHING)
		event_add(s, rnd_delay(s, f->step == BEHIND ? s->wire_us : MS), -1, tick);
}
