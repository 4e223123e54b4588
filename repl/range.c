/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Range claims. Owned by the core, one set an image, used on the event loop's
 * thread only. A set holds as many claims as there are requests in flight on
 * one image (some hundreds at most), so a list that is walked will do.
 */
#include "range.h"

#include <assert.h>
#include <stddef.h>

#include "env.h"

static bool overlaps(const struct range *a, const struct range *b)
{
	return a->start < b->end && b->start < a->end;
}

static void round_out(struct range *r, uint64_t off, uint64_t len)
{
	uint64_t end = off + (len ? len : 1);

	r->start = off & ~(uint64_t)(BLOCK - 1);
	if (len == RANGE_END || end < off || end > RANGE_END - (BLOCK - 1))
		r->end = RANGE_END;
	else
		r->end = (end + BLOCK - 1) & ~(uint64_t)(BLOCK - 1);
}

bool range_claim(struct range_set *s, struct range *r, uint64_t off, uint64_t len,
		 void (*granted)(struct range *r), void *owner)
{
	*r = (struct range){.granted = granted, .owner = owner, .linked = true};
	round_out(r, off, len);
	for (const struct range *q = s->head; q; q = q->next)
		r->waits += overlaps(q, r);
	r->held = r->waits == 0;
	assert(r->held || granted);

	r->prev = s->tail;
	if (s->tail)
		s->tail->next = r;
	else
		s->head = r;
	s->tail = r;
	s->count++;
	return r->held;
}

static void unlink_claim(struct range_set *s, struct range *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		s->head = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		s->tail = r->prev;
	s->count--;
	r->prev = r->next = NULL;
	r->linked = false;
}

/*
 * Tell those that wait for nothing any more, oldest first. granted() may claim, release and
 * free claims: so the walk starts anew after each, and a release inside of it only marks;
 * this loop, further out, goes on. No recursion, however long the chain is.
 */
static void grant(struct range_set *s)
{
	s->granting = true;
	while (s->grantable) {
		struct range *q = s->head;

		while (q->waits || q->held)
			q = q->next;
		q->held = true;
		s->grantable--;
		q->granted(q);
	}
	s->granting = false;
}

void range_release(struct range_set *s, struct range *r)
{
	struct range *q = r->next;

	assert(r->linked);
	if (!r->held && !r->waits)
		s->grantable--; /* withdrawn before it was told */
	unlink_claim(s, r);
	for (; q; q = q->next) {
		if (!overlaps(q, r))
			continue;
		assert(q->waits > 0);
		if (--q->waits == 0)
			s->grantable++;
	}
	if (!s->granting)
		grant(s);
}
