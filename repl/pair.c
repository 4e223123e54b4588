/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may pair with whom: the rules of lineage. Both nodes run pair_judge() on
 * the two HELLOs and come to the same verdict, each from its own side. Nothing
 * is changed here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

static bool has_images(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->visible || i->foreign)
			return true;
	return false;
}

/* What this node says of itself. h->images is malloc'ed; hello_free(). */
void pair_hello(struct node *n, struct hello *h)
{
	memset(h, 0, sizeof(*h));
	h->proto_min = PROTO_MIN;
	h->proto_max = PROTO_MAX;
	memcpy(h->node, n->id, 16);
	memcpy(h->pair, n->st.pair, 16);
	h->have_pair = n->st.have_pair;
	h->overwrite = n->config.overwrite;
	h->has_images = has_images(n);
	h->devices = device_any(n);
	h->role = n->role;
	h->rejoin = n->role == NODE_BACKUP ? n->st.rejoin : REJOIN_NONE;
	h->own = h->rejoin && n->own;
	h->own_epoch = h->own ? n->own_epoch : 0;
	h->kept_session = n->kept_ep && (!h->rejoin || h->rejoin == REJOIN_PART) ? n->kept_ep->session : 0;
	if (!n->journal_lost)
		h->lineage = n->st.lineage;
	h->committed = n->role == NODE_BACKUP ? n->committed : n->acked_epoch;
	h->prepared = n->prep_ep ? n->prep_ep->number : 0;
	h->epoch_high = n->st.epoch_high > n->cur.number ? n->st.epoch_high : n->cur.number;
	if (n->role == NODE_BACKUP && n->committed > h->epoch_high)
		h->epoch_high = n->committed;
	if (n->role == NODE_BACKUP && n->cur_ep && n->cur_ep->number > h->epoch_high)
		h->epoch_high = n->cur_ep->number;
	if (h->prepared > h->epoch_high)
		h->epoch_high = h->prepared;
	h->session_high = n->st.session_high;
	h->images = calloc(n->image_count ? n->image_count : 1, sizeof(*h->images));
	for (struct image *i = n->images; i && h->images; i = i->next) {
		if (!i->name[0] && !(i->direct && i->next_name[0]))
			continue;
		if (i->foreign || (n->role != NODE_BACKUP && !i->visible))
			continue;
		struct hello_image *im = &h->images[h->image_count++];

		im->id = i->id;
		im->size = i->size;
		im->consistent = n->role != NODE_BACKUP || i->consistent;
		memcpy(im->name, i->name[0] ? i->name : i->next_name, sizeof(im->name));
	}
}

uint64_t pair_alone(const struct node *n)
{
	uint64_t bytes = 0;

	for (const struct image *i = n->images; i && n->role == NODE_PRIMARY; i = i->next)
		bytes += dirty_bytes_of((const struct dirty *const[]){ &i->miss, &i->cur, &i->com }, 3, i->size);
	return bytes < 1ull << 47 ? bytes : 1ull << 47;
}

uint64_t pair_age(const struct node *n)
{
	uint64_t at = n->role == NODE_BACKUP ? n->committed_ms : n->acked_ms;
	uint64_t wall = n->role == NODE_BACKUP ? n->committed_wall_ms : n->st.epoch_wall_ms;

	if (at && at <= n->now_ms)
		return n->now_ms - at;
	return wall && wall < n->wall_ms && n->wall_ms - wall < 1ull << 47 ? n->wall_ms - wall : 0;
}

/* The last epoch that both lineages have. */
static uint64_t common_epoch(const struct lineage *a, const struct lineage *b)
{
	for (uint32_t i = a->count; i-- > 0;) {
		const struct ancestor *theirs = lineage_find(b, a->past[i].generation);

		if (theirs)
			return theirs->epoch < a->past[i].epoch ? theirs->epoch : a->past[i].epoch;
	}
	return 0;
}

/* A restarted primary knows the epoch that its state was last saved with, and instead of sets the activity map. */
static void split_here(const struct node *n, uint64_t common, char *text, size_t size)
{
	unsigned long long bytes = pair_alone(n), epoch = n->role == NODE_BACKUP ? n->committed : n->acked_epoch;

	epoch = epoch < common ? common : epoch;
	if (n->role == NODE_BACKUP || n->have_sets)
		snprintf(text, size, "epoch %llu, %llu bytes since", epoch, bytes);
	else if (n->activity.stands_in)
		snprintf(text, size, "epoch %llu or later, at most %llu bytes since", epoch, bytes);
	else
		snprintf(text, size, "epoch %llu or later, nobody knows how many bytes since", epoch);
}

/* Split brain: what discard-local would lose, here and there. */
void pair_split(struct node *n, const struct plink *l)
{
	const struct hello *p = &l->hello;
	uint64_t common = common_epoch(&n->st.lineage, &p->lineage);
	char here[120];

	split_here(n, common, here, sizeof(here));
	node_error(n, "split brain behind epoch %llu: here generation %016llx, %s, %llu s old; there "
	           "%016llx, epoch %llu, %llu bytes, %llu s. `discard-local` on the one that loses",
	           (unsigned long long)common, (unsigned long long)n->st.lineage.generation, here,
	           (unsigned long long)(pair_age(n) / 1000),
	           (unsigned long long)p->lineage.generation, (unsigned long long)p->committed,
	           (unsigned long long)l->alone_bytes, (unsigned long long)(l->alone_ms / 1000));
}

/* Has `younger` come through what `older` is now? Only if older committed nothing behind the fork that
 * younger could not have ordered. */
static bool descends(const struct lineage *younger, const struct lineage *older, uint64_t older_committed)
{
	const struct ancestor *a = lineage_find(younger, older->generation);

	return a && (older_committed <= a->epoch || older_committed <= a->doubt);
}

/* The last epoch that this node has of the youngest generation that both come through. */
static bool parted_at(const struct node *n, const struct lineage *theirs, uint64_t *epoch)
{
	const struct lineage *mine = &n->st.lineage;

	for (uint32_t i = theirs->count + 1; i-- > 0;) {
		uint64_t generation = i == theirs->count ? theirs->generation : theirs->past[i].generation;
		const struct ancestor *a = lineage_find(mine, generation);

		*epoch = generation == mine->generation ? n->acked_epoch : a ? a->epoch : 0;
		if (a || generation == mine->generation)
			return true;
	}
	return false;
}

/*
 * An ex-primary's copy is an epoch but for the ranges that it says: any that it ordered from own_epoch on. This node's
 * sets are kept against the one at which they parted.
 */
static bool own_fits(const struct node *n, const struct hello *p)
{
	uint64_t epoch;

	if (MUTANT("rejoin-delta"))
		return true;
	if (!n->have_sets || !parted_at(n, &p->lineage, &epoch) || epoch != n->acked_epoch)
		return false;
	return p->own && p->own_epoch <= epoch && p->committed <= epoch;
}

static enum verdict refuse(unsigned *refusal, unsigned why)
{
	*refusal = why;
	return PAIR_REFUSE;
}

/* This node is the primary, the other a backup of the same pair. */
static enum verdict judge_lineage(const struct node *n, const struct hello *p, unsigned *refusal, bool *stale)
{
	const struct lineage *mine = &n->st.lineage;

	if (!p->lineage.generation)
		return PAIR_FULL;
	if (p->rejoin == REJOIN_DISCARD)
		return own_fits(n, p) ? PAIR_DELTA : PAIR_FULL;
	if (p->lineage.generation == mine->generation || descends(mine, &p->lineage, p->committed)) {
		if (p->committed > n->epoch_bound)
			return refuse(refusal, REFUSE_LOST);
		if (p->rejoin == REJOIN_OLDER)
			return own_fits(n, p) ? PAIR_DELTA : PAIR_FULL;
		if ((n->have_sets || MUTANT("delta-without-sets")) &&
		    (p->committed == n->acked_epoch || ((n->doubt_valid || n->prep) && p->committed == n->com.number)))
			return PAIR_DELTA;
		return activity_stands_in(n, p->committed) ? PAIR_DELTA : PAIR_FULL;
	}
	if (lineage_find(&p->lineage, mine->generation)) {
		*stale = true;
		return refuse(refusal, REFUSE_STALE);
	}
	return refuse(refusal, REFUSE_SPLIT);
}

/* Two that may both be written to. */
static enum verdict judge_primaries(const struct node *n, const struct hello *p, unsigned *refusal, bool *stale)
{
	const struct lineage *mine = &n->st.lineage;

	if (descends(&p->lineage, mine, n->acked_epoch) && p->lineage.generation != mine->generation) {
		*stale = true;
		return refuse(refusal, REFUSE_STALE);
	}
	if (descends(mine, &p->lineage, p->committed) && p->lineage.generation != mine->generation)
		return refuse(refusal, REFUSE_NEWER);
	if (mine->generation && p->lineage.generation && p->lineage.generation != mine->generation)
		return refuse(refusal, REFUSE_SPLIT);
	return refuse(refusal, REFUSE_ROLES);
}

enum verdict pair_judge(const struct node *n, const struct hello *p, unsigned *refusal, bool *stale)
{
	*stale = false;
	if (p->proto_max < PROTO_MIN || p->proto_min > PROTO_MAX)
		return refuse(refusal, REFUSE_VERSION);
	if (!memcmp(p->node, n->id, 16))
		return refuse(refusal, REFUSE_SELF);
	if (p->have_pair && n->st.have_pair && memcmp(p->pair, n->st.pair, 16))
		return refuse(refusal, REFUSE_PAIR);
	if (n->role == NODE_PRIMARY && p->role == NODE_PRIMARY)
		return judge_primaries(n, p, refusal, stale);
	if (n->role == NODE_BACKUP && p->role == NODE_BACKUP && p->have_pair && n->st.have_pair)
		return refuse(refusal, REFUSE_BACKUPS);
	if (n->role == p->role || n->role == NODE_UNPROTECTED || p->role == NODE_UNPROTECTED)
		return refuse(refusal, REFUSE_ROLES);
	if (n->role == NODE_BACKUP) {
		/* The primary decides; a backup only keeps what must not be touched. */
		if (!p->have_pair && n->st.have_pair)
			return refuse(refusal, REFUSE_PAIR);
		if (!n->st.have_pair && has_images(n) && !n->config.overwrite)
			return refuse(refusal, REFUSE_NOT_EMPTY);
		return n->st.have_pair ? PAIR_DELTA : PAIR_FIRST;
	}
	if (p->have_pair && !n->st.have_pair)
		return refuse(refusal, REFUSE_PAIR);
	if (!p->have_pair)
		return p->has_images && !p->overwrite ? refuse(refusal, REFUSE_NOT_EMPTY) : PAIR_FIRST;
	return judge_lineage(n, p, refusal, stale);
}
