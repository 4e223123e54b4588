/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The twin, the guest of the backup: reads of the committed state and writes to the overlay. Called by guest.c. */
#include <errno.h>
#include <string.h>

#include "guest.h"

static void twin_write(struct sim *s, struct slot *t)
{
	struct model_image *m = model_image(s, t->image_id);

	t->first = (uint32_t)rnd_below(s, TWIN_UNITS - 8);
	t->count = 1 + (uint32_t)rnd_below(s, 8);
	t->op = ++s->model.twin_op | TWIN_BIT;
	t->g.op = GUEST_WRITE;
	slot_buf(s, t);
	stamp_fill(t->g.buf, t->op, t->image_id, t->first, t->count);
	for (uint32_t i = 0; m && i < t->count; i++)
		m->twin_issued[t->first + i] = t->op;
	s->model.twin[s->model.twin_op % TWIN_OPS] = (struct twin_op){ .op = t->op, .low = t->epoch_low, .high = NEVER };
	s->fig.twin_writes++;
}

static void twin_read(struct sim *s, struct slot *t, uint64_t size)
{
	struct model_image *m = model_image(s, t->image_id);

	if (one_in(s, 16)) {
		t->first = 0;
		t->count = MODEL_UNITS;
	} else {
		guest_range(s, t, unit_count(t->image_id, size));
	}
	t->g.op = GUEST_READ;
	slot_buf(s, t);
	t->floor = pool_get(s, MODEL_UNITS * sizeof(version_t));
	memset(t->floor, 0, MODEL_UNITS * sizeof(version_t));
	if (m)
		memcpy(t->floor, m->twin_acked + t->first, t->count * sizeof(version_t));
	s->fig.twin_reads++;
}

void twin_op(struct sim *s, struct host *h)
{
	struct image *img = node_image_next(h->node, NULL), *next;
	unsigned kind = one_in(s, 4) ? K_WRITE : K_READ;
	struct slot *t;

	if (!h->committed || !img)
		return;
	while (one_in(s, 2) && (next = node_image_next(h->node, img)))
		img = next;
	if (image_size(img) < unit_off(image_id(img), TWIN_UNITS))
		return;
	t = slot_take(s, h, kind);
	if (!t)
		return;
	t->twin = true;
	t->epoch_low = h->committed;
	if (!slot_open(s, t, img))
		return;
	if (kind == K_WRITE)
		twin_write(s, t);
	else
		twin_read(s, t, image_size(img));
	slot_submit(s, t);
}

void twin_done(struct sim *s, struct slot *t)
{
	struct model_image *m = model_image(s, t->image_id);
	bool gone = node_image_by_id(t->host->node, t->image_id) != t->image;

	if (t->g.error) {
		if (t->g.error == -ENOSPC && !t->host->faulted)
			happened(s, H_OVERLAY_FULL);
		if (!gone && !t->host->faulted && t->g.error != -ENOSPC)
			violation(s, "the twin gets %s at image %llu %llu+%llu", strerror(-t->g.error),
			          (unsigned long long)t->image_id, (unsigned long long)t->g.off,
			          (unsigned long long)t->g.len);
		return;
	}
	if (t->kind == K_WRITE) {
		s->model.twin[(t->op & ~TWIN_BIT) % TWIN_OPS].high = t->host->committed;
		if (t->epoch_low != t->host->committed)
			return; /* a commit came meanwhile: it may have dropped it, or not */
		for (uint32_t i = 0; m && i < t->count; i++)
			if (m->twin_acked[t->first + i] < t->op)
				m->twin_acked[t->first + i] = t->op;
		return;
	}
	struct view v = { .image = t->image_id, .off = t->g.off, .len = t->buf_size,
	                  .got = t->g.len, .size = t->first || gone ? NEVER : t->g.len,
	                  .data = t->g.buf, .epoch_low = t->epoch_low, .epoch_high = t->host->committed,
	                  .twin_floor = t->floor };
	if (t->count != MODEL_UNITS)
		v.size = NEVER;
	if (!gone)
		model_check_view(s, &v);
}
