/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Range claims against a model that knows only the rule: a claim is held as
 * soon as no earlier one that overlaps it is left, and they are told in order.
 */
#include <string.h>

#include "../../repl/env.h"
#include "../../repl/range.h"
#include "check.h"

#define CLAIMS 200

struct claim {
	struct range range;
	uint64_t start, end, order; /* the model's; blocks */
	bool used, held;
	bool leaving; /* range_release() has not returned: not to be claimed again yet */
};

static struct range_set set;
static struct claim claims[CLAIMS];
static uint64_t next_order, last_granted;
static unsigned errors, grants, depth, depth_max;
static bool nest; /* granted() claims and releases */

static bool earlier_overlap(const struct claim *c)
{
	for (unsigned i = 0; i < CLAIMS; i++) {
		const struct claim *o = &claims[i];

		if (o->used && o->order < c->order && o->start < c->end && c->start < o->end)
			return true;
	}
	return false;
}

static void take(void);
static void leave(struct claim *c);

static void granted(struct range *r)
{
	struct claim *c = r->owner;

	depth++;
	depth_max = depth > depth_max ? depth : depth_max;
	errors += !c->used || c->held || earlier_overlap(c);
	/* in the order of the claims within one release */
	if (!nest)
		errors += c->order < last_granted;
	last_granted = c->order;
	c->held = true;
	grants++;
	if (nest) {
		switch (below(4)) {
		case 0:
			leave(c);
			break;
		case 1:
			leave(&claims[below(CLAIMS)]);
			break;
		case 2:
			take();
			break;
		}
	}
	depth--;
}

static void take(void)
{
	struct claim *c = &claims[below(CLAIMS)];
	uint64_t off = below(64 * BLOCK), len = below(below(4) ? 3 * BLOCK : 40 * BLOCK);

	if (c->used || c->leaving)
		return;
	memset(c, 0xa5, sizeof(*c));
	c->used = true;
	c->leaving = false;
	c->order = next_order++;
	c->start = off / BLOCK;
	c->end = (off + (len ? len : 1) + BLOCK - 1) / BLOCK;
	if (below(50) == 0) {
		len = RANGE_END;
		c->end = UINT64_MAX;
	}
	c->held = !earlier_overlap(c);
	errors += range_claim(&set, &c->range, off, len, granted, c) != c->held;
	errors += c->range.start != c->start * BLOCK || !c->range.linked;
}

static void leave(struct claim *c)
{
	if (!c->used)
		return;
	c->used = false;
	c->leaving = true;
	if (depth == 0)
		last_granted = 0;
	range_release(&set, &c->range);
	errors += c->range.linked;
	memset(&c->range, 0x5a, sizeof(c->range)); /* it may be freed now */
	c->leaving = false;
}

/* Whoever may hold its claim holds it, and nobody else. */
static bool settled(void)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < CLAIMS; i++) {
		if (!claims[i].used)
			continue;
		count++;
		CHECK(claims[i].held == !earlier_overlap(&claims[i]));
	}
	CHECK(set.count == count && !set.grantable && !set.granting);
	return true;
}

static bool random_claims(void)
{
	for (unsigned n = 0; n < 60000; n++) {
		if (below(100) < (n / 5000 % 2 ? 45 : 55))
			take();
		else
			leave(&claims[below(CLAIMS)]); /* held or waiting */
		CHECK(!errors);
		if (n % 8 == 0)
			CHECK(settled());
	}
	nest = false; /* nobody claims any more */
	for (unsigned i = 0; i < CLAIMS; i++)
		leave(&claims[i]);
	CHECK(!errors && !set.head && !set.tail && !set.count && grants > 1000);
	return true;
}

static bool random_flat(void)
{
	nest = false;
	return random_claims();
}

static bool random_nested(void)
{
	nest = true;
	grants = 0;
	return random_claims();
}

static struct range chain[1000];
static unsigned chain_next;

static void chain_granted(struct range *r)
{
	errors += r != &chain[chain_next] || depth > 0;
	chain_next++;
	depth++;
	range_release(&set, r); /* grants the next one: after this has returned */
	depth--;
}

/* A chain in which each releases at once: in order, without recursion. */
static bool long_chain(void)
{
	errors = 0;
	CHECK(range_claim(&set, &chain[0], 0, 1, chain_granted, NULL));
	for (unsigned i = 1; i < 1000; i++)
		CHECK(!range_claim(&set, &chain[i], 7, 9, chain_granted, NULL));
	chain_next = 1;
	range_release(&set, &chain[0]);
	CHECK(chain_next == 1000 && !errors && !set.head && !set.count);
	return true;
}

static unsigned told;

static void count_granted(struct range *r)
{
	(void)r;
	told++;
}

static bool rounding(void)
{
	struct range a, b, c, d;

	CHECK(range_claim(&set, &a, 1, 1, count_granted, NULL));
	CHECK(a.start == 0 && a.end == BLOCK);
	CHECK(!range_claim(&set, &b, BLOCK - 1, 2, count_granted, NULL)); /* one block with a */
	CHECK(b.start == 0 && b.end == 2 * BLOCK);
	CHECK(range_claim(&set, &c, 2 * BLOCK, BLOCK, count_granted, NULL));
	CHECK(c.start == 2 * BLOCK && c.end == 3 * BLOCK);
	range_release(&set, &a);
	CHECK(told == 1);
	range_release(&set, &b);
	range_release(&set, &c);
	CHECK(told == 1 && !set.head);

	/* to infinity, and sums that overflow */
	CHECK(range_claim(&set, &a, 5 * BLOCK + 1, RANGE_END, count_granted, NULL));
	CHECK(a.start == 5 * BLOCK && a.end == RANGE_END);
	CHECK(range_claim(&set, &b, 0, 5 * BLOCK, count_granted, NULL));
	CHECK(!range_claim(&set, &c, UINT64_MAX - 5, 5, count_granted, NULL) && c.end == RANGE_END);
	CHECK(!range_claim(&set, &d, 1ull << 63, 1ull << 63, count_granted, NULL) &&
	      d.end == RANGE_END);
	range_release(&set, &a);
	CHECK(told == 2);        /* d waits for c */
	range_release(&set, &d); /* a waiting one withdraws */
	range_release(&set, &c);
	range_release(&set, &b);
	CHECK(told == 2 && !set.head);

	/* an empty one: its block */
	CHECK(range_claim(&set, &a, BLOCK, 0, count_granted, NULL));
	CHECK(a.start == BLOCK && a.end == 2 * BLOCK);
	range_release(&set, &a);
	return true;
}

/* A later claim does not overtake a waiting one that it overlaps, even if nothing held is in its
 * way. */
static bool no_overtaking(void)
{
	struct range a, b, c;

	told = 0;
	CHECK(range_claim(&set, &a, 0, BLOCK, count_granted, NULL));
	CHECK(!range_claim(&set, &b, 0, 2 * BLOCK, count_granted, NULL));
	CHECK(!range_claim(&set, &c, BLOCK, BLOCK, count_granted, NULL));
	range_release(&set, &a);
	CHECK(told == 1 && b.held && !c.held);
	range_release(&set, &b);
	CHECK(told == 2 && c.held);
	range_release(&set, &c);
	CHECK(!set.head);
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(rounding);
	RUN(no_overtaking);
	RUN(long_chain);
	RUN(random_flat);
	RUN(random_nested);
	return check_end();
}
