/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests. The primary's: writes, discards, truncates, names, fsync, reads,
 * several in flight, often on the same blocks. The backup's: twin.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "peek.h"

static void guest_done(struct guest_io *g);

static struct sim *slot_sim(struct slot *t)
{
	return t->host->sim;
}

/* ---- slots ---- */

struct slot *slot_take(struct sim *s, struct host *h, unsigned kind)
{
	for (unsigned i = 0; i < GUEST_SLOTS; i++) {
		struct slot *t = &s->guests->slots[h->index][i];

		if (t->busy)
			continue;
		memset(t, 0, sizeof(*t));
		t->host = h;
		t->kind = (uint8_t)kind;
		t->g.done = guest_done;
		return t;
	}
	return NULL;
}

static void slot_free(struct sim *s, struct slot *t)
{
	if (t->g.buf)
		pool_put(s, t->g.buf, t->buf_size);
	if (t->floor)
		pool_put(s, t->floor, MODEL_UNITS * sizeof(version_t));
	t->g.buf = NULL;
	t->floor = NULL;
	t->busy = false;
}

/* Its place in bytes, and a buffer for it. */
void slot_buf(struct sim *s, struct slot *t)
{
	t->g.off = unit_off(t->image_id, t->first);
	t->g.len = unit_off(t->image_id, t->first + t->count) - t->g.off;
	t->buf_size = t->g.len;
	t->g.buf = pool_get(s, t->buf_size);
}

void slot_submit(struct sim *s, struct slot *t)
{
	t->busy = true;
	t->issued_us = s->now;
	node_guest(t->host->node, &t->g);
	host_poll(s, t->host);
}

/* Errors are expected: a disk failed in this life, or it is a primary that was told to serve no more. */
static bool h_excused(const struct host *h)
{
	return h->faulted || (h->sim->phase == PHASE_FAILOVER && h->index == h->sim->primary);
}

bool slot_open(struct sim *s, struct slot *t, struct image *img)
{
	int error = image_open(t->host->node, img);

	if (error) {
		if (error != -EAGAIN && !h_excused(t->host))
			violation(s, "host %d: image %s does not open: %s", t->host->index, image_name(img),
			          strerror(-error));
		return false;
	}
	t->image = t->g.image = img;
	t->image_id = image_id(img);
	return true;
}

static void slot_close(struct slot *t)
{
	if (t->writes)
		image_close_write(t->image);
	if (t->image)
		image_close(t->host->node, t->image);
}

/* ---- the primary's guest ---- */

static struct model_image *pick_image(struct sim *s, bool alone)
{
	uint64_t start = rnd(s);

	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		struct model_image *m = &s->model.images[(start + i) % MODEL_IMAGES];

		if (m->used && model_attr(m)->exists && !m->exclusive && !(alone && m->writers))
			return m;
	}
	return NULL;
}

void guest_range(struct sim *s, struct slot *t, uint32_t units)
{
	uint32_t hot = one_in(s, 2) ? 24 : units, longest;
	uint64_t dice = rnd_below(s, 64);

	hot = hot < units ? hot : units;
	t->first = (uint32_t)rnd_below(s, hot);
	if (one_in(s, 4)) /* whole blocks */
		t->first &= ~15u;
	longest = dice < 44 ? 4 : dice < 62 ? 16 : 128;
	longest = longest < units - t->first ? longest : units - t->first;
	t->count = 1 + (uint32_t)rnd_below(s, longest);
	if (!(t->first & 15) && t->count > 4)
		t->count = (t->count + 15) & ~15u;
	t->count = t->count < units - t->first ? t->count : units - t->first;
	t->g.off = unit_off(t->image_id, t->first);
	t->g.len = unit_off(t->image_id, t->first + t->count) - t->g.off;
}

static void start_read(struct sim *s, struct slot *t, struct model_image *m)
{
	guest_range(s, t, unit_count(m->id, model_attr(m)->size));
	t->g.op = GUEST_READ;
	slot_buf(s, t);
	t->floor = pool_get(s, MODEL_UNITS * sizeof(version_t));
	memcpy(t->floor, m->acked + t->first, t->count * sizeof(version_t));
	s->fig.reads++;
}

static void start_change(struct sim *s, struct slot *t, struct model_image *m)
{
	uint32_t units = unit_count(m->id, model_attr(m)->size);

	guest_range(s, t, units);
	t->zero = t->kind == K_ZERO;
	if (t->kind == K_WRITE && one_in(s, 40) && !m->writers && t->count < 32 &&
	    units + 33 < MODEL_UNITS) { /* grows the image */
		struct attr *a;

		t->first = units - (uint32_t)rnd_below(s, 2);
		t->g.off = unit_off(m->id, t->first);
		t->g.len = unit_off(m->id, t->first + t->count) - t->g.off;
		a = model_attr_push(s, m, t->op);
		a->size = t->g.off + t->g.len > a->size ? t->g.off + t->g.len : a->size;
		t->has_attr = true;
		t->attr = *a;
		m->exclusive = 1;
	}
	m->writers++;
	model_issue(s, m, t->first, t->count, t->op, t->zero);
	s->fig.writes++;
	if (t->g.off % SECTOR || t->g.len % SECTOR)
		happened(s, H_ODD);
	if (t->zero) {
		happened(s, H_DISCARD);
		t->g.op = one_in(s, 2) ? GUEST_PUNCH : GUEST_ZERO;
		t->g.keep_size = one_in(s, 2);
		return;
	}
	t->g.op = GUEST_WRITE;
	slot_buf(s, t);
	stamp_fill(t->g.buf, t->op, t->image_id, t->first, t->count);
}

static void start_trunc(struct sim *s, struct slot *t, struct model_image *m)
{
	uint32_t units = TWIN_UNITS + (uint32_t)rnd_below(s, MODEL_UNITS - TWIN_UNITS + 1);
	struct attr *a = model_attr_push(s, m, t->op);
	uint32_t low = unit_count(m->id, a->size);

	happened(s, H_TRUNCATE);
	t->g.op = GUEST_TRUNC;
	t->g.len = unit_off(m->id, units);
	t->first = low < units ? low : units;
	t->count = UINT32_MAX;
	t->zero = t->has_attr = true;
	a->size = t->g.len;
	t->attr = *a;
	m->writers++;
	m->exclusive = 1;
	model_issue(s, m, t->first, t->count, t->op, true);
}

static void start_name(struct sim *s, struct slot *t, struct model_image *m)
{
	struct attr *a = model_attr_push(s, m, t->op);

	if (t->kind == K_RENAME) {
		happened(s, H_RENAME);
		t->g.op = GUEST_RENAME;
		snprintf(a->name, NAME_LEN, "r%llu", (unsigned long long)++s->guests->names);
		strcpy(t->g.name, a->name);
	} else {
		happened(s, H_UNLINK);
		t->g.op = GUEST_UNLINK;
		a->exists = false;
	}
	t->has_attr = true;
	t->attr = *a;
	m->writers++;
	m->exclusive = 1;
}

static bool creating(struct sim *s)
{
	for (unsigned i = 0; i < GUEST_SLOTS; i++)
		if (s->guests->slots[s->primary][i].busy && s->guests->slots[s->primary][i].kind == K_CREATE)
			return true;
	return false;
}

static uint32_t images_alive(struct sim *s, bool existing)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < MODEL_IMAGES; i++)
		count += s->model.images[i].used && (!existing || model_attr(&s->model.images[i])->exists);
	return count;
}

static void start_create(struct sim *s, struct host *h)
{
	struct slot *t = slot_take(s, h, K_CREATE);

	if (!t || creating(s) || images_alive(s, false) >= MODEL_IMAGES - 3)
		return;
	t->op = ++s->model.op;
	t->g.op = GUEST_CREATE;
	snprintf(t->attr.name, NAME_LEN, "n%llu", (unsigned long long)++s->guests->names);
	strcpy(t->g.name, t->attr.name);
	strcpy(s->guests->orphans[s->guests->names % GUEST_SLOTS], t->attr.name);
	t->attr.exists = t->has_attr = true;
	t->attr.op = t->op;
	slot_submit(s, t);
}

static unsigned pick_kind(struct sim *s)
{
	uint64_t dice = rnd_below(s, s->bias && s->bias->tight ? 975 : 1000);

	return dice < 620 ? K_WRITE : dice < 850 ? K_READ : dice < 930 ? K_ZERO : dice < 975 ? K_SYNC :
	       dice < 993 ? K_TRUNC : dice < 996 ? K_RENAME : dice < 998 ? K_UNLINK : K_CREATE;
}

static void primary_op(struct sim *s, struct host *h)
{
	unsigned kind = pick_kind(s);
	struct model_image *m;
	struct image *img;
	struct slot *t;

	if (images_alive(s, true) < 2 || kind == K_CREATE) {
		start_create(s, h);
		return;
	}
	if (kind == K_UNLINK && images_alive(s, true) < 3)
		kind = K_RENAME;
	m = pick_image(s, kind >= K_TRUNC);
	if (!m)
		return;
	if (model_attr(m)->size < unit_off(m->id, TWIN_UNITS))
		kind = K_TRUNC;
	if (kind >= K_TRUNC && m->writers)
		return;
	t = slot_take(s, h, kind);
	if (!t)
		return;
	img = node_image_by_id(h->node, m->id);
	if (!img)
		violation(s, "host %d: image %s is gone", h->index, model_attr(m)->name);
	if (!slot_open(s, t, img))
		return;
	t->writes = kind != K_READ && !image_open_write(h->node, img);
	if (kind != K_READ && !t->writes) { /* the roles are being swapped */
		slot_close(t);
		return;
	}
	if (kind != K_READ && kind != K_SYNC)
		t->op = ++s->model.op;
	switch (kind) {
	case K_READ:
		start_read(s, t, m);
		break;
	case K_SYNC:
		t->remote = s->suspend && s->commit_fsync && peek_established(h->node);
		t->g.op = GUEST_SYNC;
		t->floor = pool_get(s, MODEL_UNITS * sizeof(version_t));
		memcpy(t->floor, m->acked, MODEL_UNITS * sizeof(version_t));
		break;
	case K_TRUNC:
		start_trunc(s, t, m);
		break;
	case K_RENAME: case K_UNLINK:
		start_name(s, t, m);
		break;
	default:
		start_change(s, t, m);
	}
	slot_submit(s, t);
}

void guest_rewrite(struct sim *s, struct host *h, uint64_t image, uint32_t unit)
{
	struct model_image *m = model_image(s, image);
	struct slot *t = slot_take(s, h, K_WRITE);

	if (!m || !t || !slot_open(s, t, node_image_by_id(h->node, image)) || image_open_write(h->node, t->image))
		violation(s, "image %llu is not to be written", (unsigned long long)image);
	t->writes = true;
	t->op = ++s->model.op;
	t->first = unit;
	t->count = 1;
	t->g.op = GUEST_WRITE;
	m->writers++;
	model_issue(s, m, unit, 1, t->op, false);
	slot_buf(s, t);
	stamp_fill(t->g.buf, t->op, image, unit, 1);
	slot_submit(s, t);
}

/* A primary whose peer is being promoted by force. */
static bool h_excused_fenced(const struct host *h)
{
	return h->sim->phase == PHASE_FAILOVER;
}

/* Size, name or end of the image came about although the request failed: what failed came after it. */
static bool attr_done(const struct slot *t)
{
	const struct file *f = disk_file(&t->host->disk, FILE_IMAGE, t->image_id);

	if (!f || !f->now)
		return !t->attr.exists;
	return t->attr.exists && f->size == t->attr.size && !strcmp(f->name, t->attr.name);
}

/* It was not done, or in part, or whole: what the guest has there now is what the disk shows. */
static void fail_slot(struct sim *s, struct slot *t, struct model_image *m)
{
	bool done = t->has_attr && attr_done(t);

	if (t->count)
		model_fail(s, m, t->first, t->count, t->op);
	for (uint32_t i = 0; t->has_attr && i < m->attr_count; i++)
		if (m->attrs[i].op == t->op && done) {
			m->attrs[i].acked = true;
		} else if (m->attrs[i].op == t->op && !host_failed(t->host)) { /* else its record may be in the journal */
			memmove(&m->attrs[i], &m->attrs[i + 1], (m->attr_count - i - 1) * sizeof(m->attrs[0]));
			m->attr_count--;
		}
}

/* Made, but what had to follow failed: the image is there. */
static void fail_create(struct sim *s, struct slot *t)
{
	for (const struct file *f = t->host->disk.files; f; f = f->next)
		if (f->kind == FILE_IMAGE && f->now && !strcmp(f->name, t->attr.name) && !model_image(s, f->id))
			model_add(s, f->id, t->attr.name, t->op);
}

static void primary_failed(struct sim *s, struct slot *t)
{
	struct host *h = t->host;
	struct model_image *m = t->kind == K_CREATE ? NULL : model_image(s, t->image_id);
	bool own_disk = h->fault_us >= t->issued_us && h->fault_us && (t->g.error == -EIO || t->g.error == -ENOSPC);

	own_disk |= h->faulted && host_failed(h);
	bool held = s->suspend && h->state == HOST_STOPPING && t->g.error == -EIO;

	if (own_disk || held || (t->kind == K_SYNC && h->sick) || h_excused_fenced(h)) {
		happened(s, H_GUEST_ERROR);
		if (m && t->op)
			fail_slot(s, t, m);
		if (t->kind == K_CREATE)
			fail_create(s, t);
		return;
	}
	violation(s, "the primary's guest gets %s for a request of kind %u at %llu+%llu",
		          strerror(-t->g.error), t->kind, (unsigned long long)t->g.off,
	          (unsigned long long)t->g.len);
}

/* How long its peer may keep it waiting; its own full disk is tried again each second. */
static uint64_t guest_limit_ms(struct sim *s, const struct host *h)
{
	/* Held until the peer is back; when all heals there is an end to that, too (heal.c). */
	if (s->suspend)
		return HEAL_MS * 1000;
	return s->link_timeout_ms + 1000 + h->disk.speed_us + (h->faulted ? 5000 : 0) +
	       (s->commit_fsync ? s->flush_timeout_ms : 0);
}

static void primary_done(struct sim *s, struct slot *t)
{
	struct model_image *m = t->kind == K_CREATE ? NULL : model_image(s, t->image_id);
	uint64_t ms = (s->now - t->issued_us) / 1000;

	if (!t->g.error && s->phase == PHASE_FAILOVER && s->fenced_us && t->issued_us > s->fenced_us)
		violation(s, "a primary that was told to serve no more served a request of kind %u", t->kind);
	if (ms > guest_limit_ms(s, t->host) + host_frozen(t->host, t->issued_us) / 1000)
		violation(s, "the primary's guest waited %llu ms (link-timeout %llu ms)",
		          (unsigned long long)ms, (unsigned long long)s->link_timeout_ms);
	if (t->g.error) {
		primary_failed(s, t);
	} else if (t->kind == K_CREATE) {
		happened(s, H_CREATE);
		m = model_add(s, image_id(t->g.image), t->attr.name, t->op);
		s->model.clock++;
	} else if (m && t->kind == K_READ) {
		model_check_read(s, m, t->first, t->g.buf, t->g.len, t->floor);
	} else if (m && t->kind == K_SYNC) {
		model_fsync_done(s, m, t->floor);
		if (t->remote)
			model_check_remote(s, m, t->floor);
	} else if (m && t->kind != K_READ) {
		if (t->count)
			model_ack(s, m, t->first, t->count, t->op, t->zero);
		for (uint32_t i = 0; t->has_attr && i < m->attr_count; i++)
			if (m->attrs[i].op == t->op)
				m->attrs[i].acked = true;
		s->model.clock++;
	}
	if (m && t->op && t->kind != K_CREATE) {
		m->writers--;
		if (t->has_attr)
			m->exclusive = 0;
	}
}

void guest_io_failed(struct sim *s, const struct io *io)
{
	for (unsigned i = 0; i < GUEST_SLOTS; i++) {
		struct slot *t = &s->guests->slots[s->primary][i];

		if (t->busy && &t->g.io == io) {
			t->loose = true;
			return;
		}
	}
	if (io->op == IO_READ) /* not a guest's: the sync's */
		model_behind(s, io->file, io->off, io->len);
}

/* For a cut: what the primary's guest has in flight, in order. */
void guest_pending(struct sim *s, struct cut *c)
{
	for (unsigned i = 0; i < GUEST_SLOTS; i++) {
		struct slot *t = &s->guests->slots[s->primary][i];
		struct pending_op p = { .op = t->op, .loose = t->loose, .image = t->image_id, .first = t->first,
		                        .count = t->count, .zero = t->zero, .in = -1,
		                        .has_attr = t->has_attr, .attr = t->attr };
		uint32_t at = c->pending_count;

		if (!t->busy || !t->op || t->twin)
			continue;
		for (; at && c->pending[at - 1].op > p.op; at--)
			c->pending[at] = c->pending[at - 1];
		c->pending[at] = p;
		c->pending_count++;
	}
}

/* ---- all ---- */

static void guest_done(struct guest_io *g)
{
	struct slot *t = (struct slot *)g;
	struct sim *s = slot_sim(t);

	if (t->host->state == HOST_DOWN || !t->busy)
		return; /* its host is being torn down: void */
	host_poll(s, t->host);
	if (s->verbose > 1)
		say(s, "host %d guest: kind %u op %llu image %llu units %u+%u: %d", t->host->index, t->kind,
		    (unsigned long long)(t->op & ~(TWIN_BIT | PROMOTED_OP)), (unsigned long long)t->image_id, t->first, t->count,
		    t->g.error);
	if (t->twin)
		twin_done(s, t);
	else
		primary_done(s, t);
	slot_close(t);
	slot_free(s, t);
}

/* What is never answered never comes to primary_done(). */
static void guest_overdue(struct sim *s, struct host *h)
{
	uint64_t limit = guest_limit_ms(s, h) * 1000;

	for (unsigned i = 0; i < GUEST_SLOTS; i++) {
		const struct slot *t = &s->guests->slots[h->index][i];

		if (t->busy && !t->twin && s->now - t->issued_us > limit + host_frozen(h, t->issued_us))
			violation(s, "the primary's guest waits for a request of kind %u since %llu ms", t->kind,
			          (unsigned long long)((s->now - t->issued_us) / 1000));
	}
}

static void guest_tick(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->host];

	s->guests->ticking[h->index] = false;
	if (!s->guests->running[h->index] || h->state != HOST_UP)
		return;
	guest_overdue(s, h);
	for (uint64_t n = 1 + rnd_below(s, 3); n; n--) {
		if (h->index == s->primary)
			primary_op(s, h);
		else
			twin_op(s, h);
	}
	s->guests->ticking[h->index] = true;
	/* A node that waits for its peer has little to do that was not done before: less load, so more time passes. */
	event_add(s, rnd_delay(s, h->disk.speed_us * (h->index == s->primary ? 2 : 4) * (wire_up(s) ? 1 : 24) * bias_guest(s)),
	          h->index, guest_tick);
}

void guest_run(struct sim *s, struct host *h, bool on)
{
	s->guests->running[h->index] = on;
	if (!on || s->guests->ticking[h->index])
		return;
	s->guests->ticking[h->index] = true;
	event_add(s, 100, h->index, guest_tick);
}

uint32_t guest_inflight(struct sim *s, struct host *h)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < GUEST_SLOTS; i++)
		count += s->guests->slots[h->index][i].busy;
	return count;
}

void guest_gone(struct sim *s, struct host *h)
{
	for (unsigned i = 0; i < GUEST_SLOTS; i++)
		if (s->guests->slots[h->index][i].busy)
			slot_free(s, &s->guests->slots[h->index][i]);
	probe_free(s, &s->guests->probe[h->index]);
	s->guests->running[h->index] = s->guests->ticking[h->index] = false;
	if (h->index != s->primary && s->phase != PHASE_FAILOVER)
		model_twin_void(s);
}

void guest_reset(struct sim *s)
{
	if (!s->guests) {
		s->guests = calloc(1, sizeof(*s->guests));
		if (!s->guests)
			abort();
	}
	s->guests->names = 0;
	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].sim)
			guest_gone(s, &s->hosts[i]);
}
