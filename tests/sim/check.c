/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle: whether what a guest or a probe saw can be true. An epoch's
 * content is what had been acknowledged at its cut; a request that was in
 * flight there may be in or out, but whole, and once seen in (or out) it
 * stays so, for this epoch.
 */
#include <string.h>

#include "sim.h"

/* Hypothesis: which of the cut's pending requests are in. */
struct guess {
	int8_t in[GUEST_SLOTS];
};

static bool covers(const struct pending_op *p, uint64_t image, uint64_t index)
{
	return p->image == image && index >= p->first && index - p->first < p->count;
}

/* Candidate `chosen` (-1: the acknowledged one) is what is seen, and of `which` only one can be. */
static bool conclude(struct guess *g, const bool *which, uint32_t count, int chosen)
{
	for (uint32_t i = 0; i < count; i++) {
		int8_t in = (int)i <= chosen;

		if (!which[i])
			continue;
		if (g->in[i] >= 0 && g->in[i] != in)
			return false;
		g->in[i] = in;
	}
	return true;
}

/* Whether image's unit index may show v in this epoch. */
static bool unit_fits(const struct cut *c, const struct cut_image *ci, uint64_t index, version_t v,
                        struct guess *g)
{
	version_t base = index < ci->units ? ci->acked[index] : VERSION(0, 1);
	bool which[GUEST_SLOTS] = { false };
	int chosen = -1, fits = 0;

	if (v & 1 ? base & 1 : v == base)
		fits++;
	for (uint32_t i = 0; i < c->pending_count; i++) {
		const struct pending_op *p = &c->pending[i];

		if (!covers(p, ci->id, index) || p->op < base >> 1) /* answered late, overwritten since */
			continue;
		if (p->loose) { /* it failed: each unit may be in, and tells nothing of the others */
			fits += (v & 1 ? p->zero : !p->zero && p->op == v >> 1) ? 2 : 0;
			continue;
		}
		which[i] = true;
		if (v & 1 ? p->zero : !p->zero && p->op == v >> 1) {
			fits++;
			chosen = (int)i;
		}
	}
	if (fits != 1)
		return fits > 1; /* zeroes look alike: no conclusion */
	return conclude(g, which, c->pending_count, chosen);
}

static bool attr_equal(const struct attr *a, const struct attr *b, bool with_name)
{
	return a->exists == b->exists &&
	       (!a->exists || (a->size == b->size && (!with_name || !strcmp(a->name, b->name))));
}

/* Whether the image may have these attributes in this epoch; size NEVER: not known. */
static bool attr_fits(const struct cut *c, const struct cut_image *ci, const struct attr *seen,
                      bool with_name, struct guess *g)
{
	bool which[GUEST_SLOTS] = { false };
	int chosen = -1, fits = attr_equal(&ci->attr, seen, with_name);

	for (uint32_t i = 0; i < c->pending_count; i++) {
		const struct pending_op *p = &c->pending[i];

		if (p->image != ci->id || !p->has_attr)
			continue;
		which[i] = true;
		if (attr_equal(&p->attr, seen, with_name)) {
			fits++;
			chosen = (int)i;
		}
	}
	if (fits != 1)
		return fits > 1;
	return conclude(g, which, c->pending_count, chosen);
}

static const struct cut_image *cut_find(const struct cut *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->image_count; i++)
		if (c->images[i].id == id)
			return &c->images[i];
	return NULL;
}

/* The twin's write: still to be seen in this epoch? */
static bool twin_fits(struct sim *s, uint64_t op, uint64_t epoch)
{
	const struct twin_op *t = &s->model.twin[(op & ~TWIN_BIT) % TWIN_OPS];

	if ((op & ~TWIN_BIT) <= s->model.twin_void)
		return false;
	return t->op != op || (epoch >= t->low && epoch <= t->high); /* too long ago: not known */
}

/* Of the twin that writes now; what a failover took has become the image. */
static bool twins(const struct sim *s, uint64_t op)
{
	return op & TWIN_BIT && (op & ~TWIN_BIT) > s->model.twin_base;
}

static bool view_fits(struct sim *s, const struct view *v, const struct cut *c, struct guess *g,
                      uint64_t *where)
{
	const struct cut_image *ci = cut_find(c, v->image);
	uint32_t first, end;
	version_t shown;

	*where = NEVER;
	if (!ci)
		return false;
	if (v->size != NEVER) {
		struct attr seen = { .exists = true, .size = v->size };

		if (!attr_fits(c, ci, &seen, false, g))
			return false;
	}
	if (!unit_at(v->image, v->off, &first) || !unit_at(v->image, v->off + v->got, &end))
		return false; /* ends where no image ever ended */
	for (uint64_t index = first; index < end; index++) {
		uint64_t must = 0;

		*where = index;
		if (v->twin_floor && c->epoch == v->epoch_low)
			must = v->twin_floor[index - first];
		if (!stamp_read(v->data + (unit_off(v->image, index) - v->off), v->image, index, &shown))
			return false;
		if (twins(s, shown >> 1)) {
			if (shown >> 1 < must || !twin_fits(s, shown >> 1, c->epoch))
				return false;
		} else if (must || (!(index >= ci->behind_from && index < ci->behind_to) &&
		                    !unit_fits(c, ci, index, shown, g))) {
			return false;
		}
	}
	return true;
}

static struct guess guess_of(const struct cut *c)
{
	struct guess g;

	for (uint32_t i = 0; i < GUEST_SLOTS; i++)
		g.in[i] = i < c->pending_count ? c->pending[i].in : -1;
	return g;
}

static void guess_keep(struct cut *c, const struct guess *g)
{
	for (uint32_t i = 0; i < c->pending_count; i++)
		c->pending[i].in = g->in[i];
}

/* One line about a unit that does not fit. */
static void tell(struct sim *s, const struct cut *c, uint64_t image, uint64_t index, const uint8_t *data)
{
	const struct cut_image *ci = c ? cut_find(c, image) : NULL;
	version_t v = 0;
	bool sound = data && stamp_read(data, image, index, &v);

	s->verbose |= 1;
	say(s, "image %llu unit %llu shows %s%llu; the cut of epoch %llu has %s%llu (size %llu)",
	    (unsigned long long)image, (unsigned long long)index,
	    !sound ? "garbage, op " : v & 1 ? "zeroes " : v >> 1 & TWIN_BIT ? "twin's op " : "op ",
	    (unsigned long long)((v >> 1) & ~TWIN_BIT), c ? (unsigned long long)c->epoch : 0,
	    ci && index < ci->units && ci->acked[index] & 1 ? "zeroes by " : "op ",
	    ci && index < ci->units ? (unsigned long long)(ci->acked[index] >> 1) : 0,
	    ci ? (unsigned long long)ci->attr.size : 0);
	for (uint32_t i = 0; c && i < c->pending_count; i++)
		if (covers(&c->pending[i], image, index) || c->pending[i].has_attr)
			say(s, "  in flight there: op %llu, units %u+%u%s, size %llu, in %d",
			    (unsigned long long)c->pending[i].op, c->pending[i].first, c->pending[i].count,
			    c->pending[i].zero ? " zeroes" : "", (unsigned long long)c->pending[i].attr.size,
			    c->pending[i].in);
}

void model_check_view(struct sim *s, const struct view *v)
{
	struct cut *fit = NULL, *last = NULL;
	struct guess g, kept = { { 0 } };
	uint64_t where = NEVER, bad = NEVER;
	int fits = 0;

	for (uint64_t epoch = v->epoch_low; epoch <= v->epoch_high; epoch++) {
		struct cut *c = model_find_cut(s, epoch);

		if (!c)
			continue;
		if (c->early)
			return;
		last = c;
		g = guess_of(c);
		if (view_fits(s, v, c, &g, &where)) {
			fits++;
			fit = c;
			kept = g;
		} else {
			bad = where;
		}
	}
	if (fits == 1)
		guess_keep(fit, &kept);
	if (fits)
		return;
	tell(s, last, v->image, bad == NEVER ? 0 : bad, bad == NEVER ? NULL : v->data + (unit_off(v->image, bad) - v->off));
	violation(s, "a read on the backup, image %llu %llu+%llu (got %llu, size %lld), fits no epoch of %llu ... %llu",
	          (unsigned long long)v->image, (unsigned long long)v->off, (unsigned long long)v->len,
	          (unsigned long long)v->got, (long long)v->size, (unsigned long long)v->epoch_low,
	          (unsigned long long)v->epoch_high);
}

void model_check_read(struct sim *s, struct model_image *m, uint32_t first, const uint8_t *data,
                      uint64_t got, const version_t *floor)
{
	uint64_t off = unit_off(m->id, first);
	uint32_t end;

	if (!unit_at(m->id, off + got, &end))
		violation(s, "the primary's guest reads %llu bytes at %llu: no size it ever had",
		          (unsigned long long)got, (unsigned long long)off);
	for (uint32_t index = first; index < end; index++) {
		version_t v, low = floor[index - first];
		bool sound = stamp_read(data + (unit_off(m->id, index) - off), m->id, index, &v);
		bool fits = v & 1 ? (low & 1) || m->zeroed[index] > low :
		                    v >= low && v >> 1 <= m->issued[index] >> 1;

		if (!sound || !fits)
			violation(s, "the primary's guest reads %s op %llu at image %llu unit %u; acknowledged "
			          "was op %llu%s, newest %llu", sound ? "" : "garbage,",
			          (unsigned long long)(v >> 1), (unsigned long long)m->id, index,
			          (unsigned long long)(low >> 1), low & 1 ? " (zeroes)" : "",
			          (unsigned long long)(m->issued[index] >> 1));
	}
}

/* ---- probes ---- */

static const struct probe_image *probe_find(const struct probe_image *img, uint32_t count, uint64_t id)
{
	for (uint32_t i = 0; i < count; i++)
		if (img[i].id == id)
			return &img[i];
	return NULL;
}

/* An image that no cut image explains: made by a create in flight. */
static bool created_fits(const struct cut *c, const struct probe_image *p, struct guess *g)
{
	for (uint32_t i = 0; i < c->pending_count; i++)
		if (!c->pending[i].image && c->pending[i].has_attr &&
		    !strcmp(c->pending[i].attr.name, p->name) && !p->size && g->in[i] != 0) {
			g->in[i] = 1;
			return true;
		}
	return false;
}

void model_check_epoch(struct sim *s, const struct probe_image *img, uint32_t count, uint64_t epoch,
                       bool twin)
{
	struct cut *c = model_find_cut(s, epoch);
	uint64_t where = NEVER;
	struct guess g;

	if (!c)
		violation(s, "epoch %llu was never cut", (unsigned long long)epoch);
	if (c->early)
		return;
	g = guess_of(c);
	for (uint32_t i = 0; i < c->image_count; i++) {
		const struct cut_image *ci = &c->images[i];
		const struct probe_image *p = probe_find(img, count, ci->id);
		struct model_image *m = model_image(s, ci->id);
		struct attr seen = { .exists = p != NULL, .size = p ? p->size : 0 };
		struct view v = { .image = ci->id, .size = NEVER, .epoch_low = epoch, .epoch_high = epoch };

		if (p)
			memcpy(seen.name, p->name, NAME_LEN);
		if (!attr_fits(c, ci, &seen, true, &g))
			violation(s, "epoch %llu: image %s %s, size %llu; at the cut it was %s %s, size %llu",
			          (unsigned long long)epoch, p ? p->name : "(none)", p ? "exists" : "is missing",
			          (unsigned long long)seen.size, ci->attr.name, ci->attr.exists ? "there" : "absent",
			          (unsigned long long)ci->attr.size);
		if (!p)
			continue;
		v.len = v.got = p->size;
		v.data = p->data;
		v.twin_floor = twin && m ? m->twin_acked : NULL;
		if (!view_fits(s, &v, c, &g, &where)) {
			if (where != NEVER)
				tell(s, c, ci->id, where, p->data + unit_off(ci->id, where));
			violation(s, "image %s is not epoch %llu, whole and nothing else", p->name,
			          (unsigned long long)epoch);
		}
	}
	for (uint32_t i = 0; i < count; i++)
		if (!cut_find(c, img[i].id) && !created_fits(c, &img[i], &g))
			violation(s, "image %s (%llu) is no part of epoch %llu", img[i].name,
			          (unsigned long long)img[i].id, (unsigned long long)epoch);
	guess_keep(c, &g);
}

static void floor_attr(struct sim *s, struct model_image *m, const struct probe_image *p)
{
	uint64_t low = NEVER, high = 0;
	bool exists_fits = false, name_fits = false;

	for (uint32_t i = 0; i < m->attr_count; i++) {
		const struct attr *a = &m->attrs[i];

		exists_fits |= a->exists == (p != NULL);
		name_fits |= p && a->exists && !strcmp(a->name, p->name);
		low = a->size < low ? a->size : low;
		high = a->size > high ? a->size : high;
	}
	if (!exists_fits && !m->forgot)
		violation(s, "after the primary's crash image %s %s", model_attr(m)->name,
		          p ? "is there again" : "is gone");
	if (p && !m->forgot && (!name_fits || p->size < low || p->size > high))
		violation(s, "after the primary's crash image %s (was %s) has size %llu, not %llu ... %llu",
		          p->name, m->attrs[0].name, (unsigned long long)p->size, (unsigned long long)low,
		          (unsigned long long)high);
}

void model_check_floor(struct sim *s, const struct probe_image *img, uint32_t count, bool strict)
{
	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		struct model_image *m = &s->model.images[i];
		const struct probe_image *p;

		if (!m->used)
			continue;
		p = probe_find(img, count, m->id);
		floor_attr(s, m, p);
		if (p && unit_count(m->id, p->size) == UINT32_MAX)
			violation(s, "after the primary's crash image %s has %llu bytes: no size it ever had", p->name,
			          (unsigned long long)p->size);
		for (uint32_t k = 0; p && k < unit_count(m->id, p->size); k++) {
			version_t v, low = strict ? m->acked[k] : m->floor[k];
			bool sound = stamp_read(p->data + unit_off(m->id, k), m->id, k, &v);
			bool fits = v & 1 ? (low & 1) || m->zeroed[k] > low :
			                    v >= low && v >> 1 <= m->issued[k] >> 1;

			if (!sound || !fits)
				violation(s, "after the primary's crash image %s unit %u shows %s op %llu; op %llu%s "
				          "was promised durable, newest is %llu", p->name, k, sound ? "" : "garbage,",
				          (unsigned long long)(v >> 1), (unsigned long long)(low >> 1),
				          low & 1 ? " (zeroes)" : "", (unsigned long long)(m->issued[k] >> 1));
		}
	}
}
