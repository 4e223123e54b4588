/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an ex-primary wrote behind the last epoch that it shares with its
 * promoted peer. The two copies differ there, and where the new primary wrote
 * since: the sync covers both sets, not the disk. A node that becomes a backup
 * keeps its own as its images' `miss` sets, over a restart as the activity map
 * that its state goes on to name, and says it between WELCOME and READY: runs
 * of 64 KiB blocks, at most RUNS_MAX of an image; gaps are taken in when there
 * are more. A copy that cannot say it is compared wholly. Event-loop thread only.
 */
#include <string.h>

#include "bytes.h"
#include "core.h"
#include "mutant.h"

#define RUNS_MAX 4096u /* of one image */

/* ---- the ex-primary ---- */

/*
 * Whether the dirty sets tell where the files differ from some epoch at or behind *base: those kept in a session, or
 * those that a restart took from the activity map. Not if an fdatasync failed: what the disk lost then is in no set.
 */
bool own_known(const struct node *n, uint64_t *base)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->sync_failed)
			return false;
	*base = n->have_sets ? n->acked_epoch : n->activity.epoch;
	return n->have_sets || n->activity.stands_in;
}

/* The activity map covers these sets, durably: it may stand for them after a restart. */
bool own_mapped(const struct node *n)
{
	return n->own && n->activity.on && !n->activity.revoking && activity_settled(n);
}

/* At the change of role: all sets in one. */
void own_keep(struct node *n)
{
	for (struct image *i = n->images; i; i = i->next) {
		dirty_merge(&i->miss, &i->com);
		dirty_merge(&i->miss, &i->cur);
		dirty_merge(&i->miss, &i->bad);
		dirty_merge(&i->miss, &i->differ);
	}
}

/* Level with a primary, or promoted as it is: nothing of its own is left. The next save of the state forgets the map. */
void own_forget(struct node *n)
{
	n->own = false;
	n->st.activity = 0;
	for (struct image *i = n->images; i; i = i->next)
		dirty_free(&i->miss);
}

/* The first run at or behind off; runs that lie nearer than gap are one. */
static bool run_next(const struct image *img, uint64_t off, uint64_t gap, uint64_t *start, uint64_t *len)
{
	uint64_t next, more;

	if (!dirty_next(&img->miss, off, img->size, UINT64_MAX, start, len))
		return false;
	while (dirty_next(&img->miss, *start + *len, img->size, UINT64_MAX, &next, &more) && next - (*start + *len) <= gap)
		*len = next + more - *start;
	return true;
}

static uint32_t runs(const struct image *img, uint64_t gap)
{
	uint64_t start = 0, len = 0;
	uint32_t count = 0;

	while (count <= RUNS_MAX && run_next(img, start + len, gap, &start, &len))
		count++;
	return count;
}

static void image_send(struct node *n, const struct image *img)
{
	uint8_t payload[OWN_MAX];
	struct frame f = { .type = FRAME_OWN, .image = img->id, .session = n->session };
	struct putter p = putter_init(payload, sizeof(payload));
	uint64_t gap = 0, start = 0, len = 0;

	while (runs(img, gap) > RUNS_MAX)
		gap = gap ? 2 * gap : DIRTY_BLOCK;
	while (run_next(img, start + len, gap, &start, &len)) {
		put_u64(&p, start);
		put_u64(&p, len);
		if (put_left(&p))
			continue;
		link_send(n, n->live, &f, payload, sizeof(payload));
		p = putter_init(payload, sizeof(payload));
	}
	if (p.p != payload)
		link_send(n, n->live, &f, payload, (size_t)(p.p - payload));
}

/* Before READY. */
void own_send(struct node *n)
{
	for (const struct image *i = n->images; i && n->own && !MUTANT("own-unsaid"); i = i->next)
		if (i->visible)
			image_send(n, i);
}

/* ---- the new primary ---- */

/* A frame of it: compared in the session's sync. 0, -EPROTO. */
int own_frame(struct node *n, struct plink *l, const uint8_t *payload)
{
	const struct frame *f = &l->frame;
	struct image *img = node_image_by_id(n, f->image);
	struct getter g = getter_init(payload, f->payload_len);

	if (n->role != NODE_PRIMARY || l->state != PL_WELCOME || !l->hello.own || f->session != l->session)
		return -EPROTO;
	while (get_left(&g)) {
		uint64_t off = get_u64(&g), len = get_u64(&g);

		if (g.bad || !len || off >= MAP_OFF_MAX || len > MAP_OFF_MAX - off)
			return -EPROTO;
		if (l->full || !img || !img->visible || off >= img->size)
			continue; /* all of it is compared; or it goes from the peer, or that part of it does */
		dirty_mark(&img->miss, off, len < img->size - off ? len : img->size - off);
		img->compare = true;
	}
	return 0;
}
