/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the primary's guest wrote, was told, and was promised; and a snapshot
 * of it at each cut, unit by unit (stamp.c). The checks are in check.c.
 */
#include <stdlib.h>
#include <string.h>

#include "peek.h"
#include "sim.h"

/* ---- images ---- */

static void cut_free(struct sim *s, struct cut *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->image_count; i++)
		pool_put(s, c->images[i].acked, (c->images[i].units + 1) * sizeof(version_t));
	pool_put(s, c, sizeof(*c));
}

void model_reset(struct sim *s)
{
	struct model *m = &s->model;
	uint64_t op = m->op, twin_op = m->twin_op;

	for (unsigned i = 0; i < CUTS_MAX; i++)
		cut_free(s, m->cuts[i]);
	memset(m, 0, sizeof(*m));
	m->op = op & (TWIN_BIT - 1);
	m->twin_op = twin_op;
}

struct model_image *model_image(struct sim *s, uint64_t id)
{
	for (unsigned i = 0; i < MODEL_IMAGES; i++)
		if (s->model.images[i].used && s->model.images[i].id == id)
			return &s->model.images[i];
	return NULL;
}

struct model_image *model_add(struct sim *s, uint64_t id, const char *name, uint64_t op)
{
	struct model_image *m = NULL;

	for (unsigned i = 0; i < MODEL_IMAGES && !m; i++)
		if (!s->model.images[i].used)
			m = &s->model.images[i];
	if (!m)
		violation(s, "the model has no room for image %s", name);
	memset(m, 0, sizeof(*m));
	m->used = true;
	m->id = id;
	for (unsigned i = 0; i < MODEL_UNITS; i++)
		m->acked[i] = m->issued[i] = m->zeroed[i] = m->floor[i] = VERSION(0, 1);
	m->attrs[0] = (struct attr){ .op = 0, .acked = true }; /* did not exist */
	m->attrs[1] = (struct attr){ .op = op, .exists = true, .acked = true };
	strncpy(m->attrs[1].name, name, NAME_LEN - 1);
	m->attr_count = 2;
	return m;
}

struct attr *model_attr(struct model_image *m)
{
	return &m->attrs[m->attr_count - 1];
}

struct attr *model_attr_push(struct sim *s, struct model_image *m, uint64_t op)
{
	struct attr last = *model_attr(m);

	(void)s;
	if (m->attr_count == ATTRS_MAX) { /* forget a middle one: the oldest is the floor */
		memmove(&m->attrs[1], &m->attrs[2], (ATTRS_MAX - 2) * sizeof(last));
		m->attr_count--;
		m->forgot = true;
	}
	last.op = op;
	last.acked = false;
	m->attrs[m->attr_count++] = last;
	return model_attr(m);
}

static struct attr *attr_acked(struct model_image *m)
{
	for (uint32_t i = m->attr_count; i-- > 1;)
		if (m->attrs[i].acked)
			return &m->attrs[i];
	return &m->attrs[0];
}

/* ---- writes ---- */

static uint32_t clamp(uint32_t first, uint32_t count)
{
	return count > MODEL_UNITS - first ? MODEL_UNITS : first + count;
}

void model_issue(struct sim *s, struct model_image *m, uint32_t first, uint32_t count, uint64_t op,
                 bool zero)
{
	s->model.clock++;
	for (uint32_t i = first, end = clamp(first, count); i < end; i++) {
		m->issued[i] = VERSION(op, zero);
		if (zero)
			m->zeroed[i] = VERSION(op, zero);
	}
}

void model_ack(struct sim *s, struct model_image *m, uint32_t first, uint32_t count, uint64_t op,
               bool zero)
{
	s->model.clock++;
	for (uint32_t i = first, end = clamp(first, count); i < end; i++)
		if (m->acked[i] < VERSION(op, zero))
			m->acked[i] = VERSION(op, zero);
}

void model_fail(struct sim *s, struct model_image *m, uint32_t first, uint32_t count, uint64_t op)
{
	const struct file *f = disk_file(&s->hosts[s->primary].disk, FILE_IMAGE, m->id);
	uint8_t unit[SECTOR];

	s->model.clock++;
	if (s->hosts[s->primary].node && peek_local(s->hosts[s->primary].node))
		return; /* the journal has what the guest sees: old and new both may be there */
	for (uint32_t i = first, end = clamp(first, count); f && i < end; i++) {
		version_t v;

		file_read(f, unit_off(m->id, i), unit, unit_off(m->id, i + 1) - unit_off(m->id, i));
		if (!stamp_read(unit, m->id, i, &v))
			violation(s, "image %llu unit %u holds garbage after a failed request", (unsigned long long)m->id, i);
		if (v & 1 && !(m->acked[i] & 1)) /* not by one that is still behind this one */
			v = m->zeroed[i] < VERSION(op, 1) ? m->zeroed[i] : VERSION(op, 1);
		if (m->acked[i] < v)
			m->acked[i] = v;
	}
}

void model_behind(struct sim *s, uint64_t image, uint64_t off, uint64_t len)
{
	struct model_image *m = model_image(s, image);
	uint32_t from, to;

	if (!m)
		return;
	happened(s, H_BEHIND);
	(void)unit_at(image, off / PAGE * PAGE, &from);
	(void)unit_at(image, (off + len + PAGE - 1) / PAGE * PAGE, &to);
	m->behind_from = m->behind_to && m->behind_from < from ? m->behind_from : from;
	m->behind_to = m->behind_to > to ? m->behind_to : to;
	for (unsigned i = 0; i < CUTS_MAX; i++) /* one just made may be without it already */
		for (uint32_t k = 0; s->model.cuts[i] && k < s->model.cuts[i]->image_count; k++)
			if (s->model.cuts[i]->images[k].id == image && s->model.cuts[i]->epoch > s->model.visible_epoch) {
				s->model.cuts[i]->images[k].behind_from = m->behind_from;
				s->model.cuts[i]->images[k].behind_to = m->behind_to;
			}
}

void model_session(struct sim *s)
{
	for (unsigned i = 0; i < MODEL_IMAGES; i++)
		s->model.images[i].behind_from = s->model.images[i].behind_to = 0;
}

/* ---- cuts ---- */

/* Where to keep it: its number's place, a free one, or the oldest's that nobody shows. */
static struct cut **cut_place(struct sim *s, uint64_t epoch)
{
	struct cut **cuts = s->model.cuts, **oldest = NULL;

	for (unsigned i = 0; i < CUTS_MAX; i++)
		if (cuts[i] && cuts[i]->epoch == epoch)
			return &cuts[i];
	for (unsigned i = 0; i < CUTS_MAX; i++) {
		if (!cuts[i])
			return &cuts[i];
		if (cuts[i]->epoch != s->model.visible_epoch && cuts[i]->epoch != s->prepare.epoch &&
		    (!oldest || cuts[i]->clock < (*oldest)->clock))
			oldest = &cuts[i];
	}
	return oldest;
}

/* The primary's epoch has just ended. */
void model_cut(struct sim *s, uint64_t epoch)
{
	struct cut **slot = cut_place(s, epoch), *c;

	cut_free(s, *slot);
	*slot = c = memset(pool_get(s, sizeof(*c)), 0, sizeof(*c));
	c->epoch = epoch;
	c->clock = ++s->model.clock;
	c->early = !s->hosts[s->primary].probed;
	if (epoch > s->model.sent_epoch)
		s->model.sent_epoch = epoch;
	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		struct model_image *m = &s->model.images[i];
		struct cut_image *ci = &c->images[c->image_count];

		if (!m->used)
			continue;
		ci->id = m->id;
		ci->attr = *attr_acked(m);
		ci->units = unit_count(ci->id, ci->attr.size);
		ci->behind_from = m->behind_from;
		ci->behind_to = m->behind_to;
		ci->acked = pool_get(s, (ci->units + 1) * sizeof(version_t));
		memcpy(ci->acked, m->acked, ci->units * sizeof(version_t));
		c->image_count++;
	}
	guest_pending(s, c);
}

struct cut *model_find_cut(struct sim *s, uint64_t epoch)
{
	for (unsigned i = 0; i < CUTS_MAX; i++)
		if (s->model.cuts[i] && s->model.cuts[i]->epoch == epoch)
			return s->model.cuts[i];
	return NULL;
}

static void floor_attrs(struct model_image *m, uint64_t op)
{
	uint32_t keep = 0;

	for (uint32_t i = 0; i < m->attr_count; i++)
		if (m->attrs[i].op <= op)
			keep = i;
	memmove(&m->attrs[0], &m->attrs[keep], (m->attr_count - keep) * sizeof(m->attrs[0]));
	m->attr_count -= keep;
	m->forgot &= !keep;
	if (m->attr_count == 1 && !m->attrs[0].exists)
		m->used = false;
}

void model_flush_done(struct sim *s, uint64_t epoch, uint64_t ordered_clock)
{
	struct cut *c = model_find_cut(s, epoch);

	if (!c)
		violation(s, "flush: done for epoch %llu, which was never cut", (unsigned long long)epoch);
	if (c->clock <= ordered_clock)
		violation(s, "flush: done for epoch %llu, which was cut before the order",
		          (unsigned long long)epoch);
	if (epoch > s->model.acked_epoch)
		s->model.acked_epoch = epoch;
	for (uint32_t i = 0; i < c->image_count && !c->early; i++) {
		struct cut_image *ci = &c->images[i];
		struct model_image *m = model_image(s, ci->id);

		if (!m)
			continue;
		for (uint32_t k = 0; k < ci->units; k++)
			if (m->floor[k] < ci->acked[k])
				m->floor[k] = ci->acked[k];
		floor_attrs(m, ci->attr.op);
	}
}

void model_fsync_done(struct sim *s, struct model_image *m, const version_t *acked)
{
	s->model.clock++;
	for (uint32_t k = 0; k < MODEL_UNITS; k++)
		if (m->floor[k] < acked[k])
			m->floor[k] = acked[k];
}

static void model_twin_drop(struct sim *s)
{
	for (unsigned i = 0; i < MODEL_IMAGES; i++)
		memset(s->model.images[i].twin_acked, 0, sizeof(s->model.images[i].twin_acked));
}

void model_twin_void(struct sim *s)
{
	model_twin_drop(s);
	s->model.twin_void = s->model.twin_op;
}

/* The backup shows epoch from now on. */
void model_check_remote(struct sim *s, const struct model_image *m, const version_t *acked)
{
	const struct cut *c = model_find_cut(s, s->model.visible_epoch);

	happened(s, H_FSYNC_COMMITTED);
	for (uint32_t i = 0; c && !c->early && i < c->image_count; i++) {
		const struct cut_image *ci = &c->images[i];

		for (uint32_t k = 0; ci->id == m->id && k < ci->units; k++)
			if (ci->acked[k] < acked[k])
				violation(s, "an fsync of image %s is done; op %llu of unit %u is not in epoch %llu", ci->attr.name,
				          (unsigned long long)(acked[k] >> 1), k, (unsigned long long)c->epoch);
	}
}

void model_prepared(struct sim *s, uint64_t epoch, enum settle settle)
{
	struct model *m = &s->model;

	for (uint32_t i = 0; i < PREPARES_MAX; i++)
		if (m->prepared[i].epoch == epoch) {
			m->prepared[i].settle = settle;
			return;
		}
	m->prepared[m->prepared_next % PREPARES_MAX].epoch = epoch;
	m->prepared[m->prepared_next++ % PREPARES_MAX].settle = settle;
}

static void check_settled(struct sim *s, struct host *h, uint64_t epoch)
{
	const struct model *m = &s->model;

	for (uint32_t i = 0; epoch && i < PREPARES_MAX; i++) {
		if (m->prepared[i].epoch != epoch)
			continue;
		if (m->prepared[i].settle == SETTLE_VOID)
			violation(s, "host %d shows epoch %llu, which was aborted", h->index, (unsigned long long)epoch);
		if (m->prepared[i].settle == SETTLE_KEPT && !(s->phase == PHASE_FAILOVER && s->failover_keep))
			violation(s, "host %d shows epoch %llu, which was prepared, and nobody ordered its commit", h->index,
			          (unsigned long long)epoch);
	}
}

void model_visible(struct sim *s, struct host *h, uint64_t epoch)
{
	struct model *m = &s->model;

	m->clock++;
	check_settled(s, h, epoch);
	if (epoch < m->visible_epoch || epoch < m->acked_epoch)
		violation(s, "host %d shows epoch %llu; epoch %llu was committed, %llu acknowledged",
		          h->index, (unsigned long long)epoch, (unsigned long long)m->visible_epoch,
		          (unsigned long long)m->acked_epoch);
	if (epoch && !model_find_cut(s, epoch))
		violation(s, "host %d shows epoch %llu, which was never cut", h->index,
		          (unsigned long long)epoch);
	if (epoch > m->visible_epoch)
		s->fig.commits++;
	m->visible_epoch = epoch;
	model_twin_drop(s);
}

/* Cuts of this life from before the probe: nobody has written since its start. */
static void cuts_late(struct sim *s)
{
	for (unsigned i = 0; i < CUTS_MAX; i++) {
		struct cut *c = s->model.cuts[i];
		uint64_t clock = c ? c->clock : 0;

		if (!c || !c->early || clock <= s->hosts[s->primary].start_clock)
			continue;
		model_cut(s, c->epoch);
		s->model.cuts[i]->clock = clock;
	}
}

static bool probe_has(const struct probe_image *img, uint32_t count, uint64_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (img[i].id == id)
			return true;
	return false;
}

/* The primary's guest begins anew, with what a probe found. */
void model_rebase(struct sim *s, const struct probe_image *img, uint32_t count, bool durable, bool in_flight)
{
	s->model.clock++;
	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		struct model_image *m = &s->model.images[i];

		m->writers = m->exclusive = 0;
		m->used &= !durable || probe_has(img, count, m->id); /* the room of those that are gone for good is needed */
	}
	for (uint32_t i = 0; i < count; i++)
		if (!model_image(s, img[i].id))
			model_add(s, img[i].id, img[i].name, ++s->model.op);
	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		struct model_image *m = &s->model.images[i];
		const struct probe_image *p = NULL;
		struct attr *a;

		for (uint32_t k = 0; k < count && !p; k++)
			if (m->used && img[k].id == m->id)
				p = &img[k];
		if (!m->used)
			continue;
		a = model_attr_push(s, m, ++s->model.op);
		a->acked = true;
		a->exists = p != NULL;
		a->size = p ? p->size : 0;
		if (p)
			memcpy(a->name, p->name, NAME_LEN);
		for (uint32_t k = 0; k < MODEL_UNITS; k++) {
			version_t v = VERSION(0, 1);

			if (p && unit_off(m->id, k) < p->size)
				(void)stamp_read(p->data + unit_off(m->id, k), m->id, k, &v); /* checked before */
			if (v & 1)
				v = m->zeroed[k];
			m->acked[k] = v;
			if (m->issued[k] < v)
				m->issued[k] = v;
			if (durable)
				m->floor[k] = in_flight ? VERSION(0, 1) : v;
		}
		if (durable && !in_flight)
			floor_attrs(m, a->op);
	}
	s->hosts[s->primary].probed = true;
	cuts_late(s);
}
