/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The activity map at start: what it names is marked as missing on the peer, and compared in the first session, if the
 * peer's copy is one that the map tells the difference to; else, and when anything about the map is doubtful, everything
 * is compared. At a start nobody writes yet. Event-loop thread only.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

/* Both slots, as far as they are written, one behind the other in *buf (malloc'ed). */
static int slots_read(struct node *n, uint8_t **buf, struct activity_view view[2])
{
	uint8_t sector[ACTIVITY_SECTOR];

	*buf = malloc(ACTIVITY_FILE);
	if (!*buf)
		return -ENOMEM;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *slot = *buf + i * ACTIVITY_SLOT;
		int err = n->env->ops->read_now(n->env, FILE_ACTIVITY, 0, i * ACTIVITY_SLOT, sector, sizeof(sector));
		size_t len = err ? 0 : activity_length(sector, n->st.activity);

		if (!err && len)
			err = n->env->ops->read_now(n->env, FILE_ACTIVITY, 0, i * ACTIVITY_SLOT, slot, len);
		if (err)
			return err;
		activity_view(slot, len, n->st.activity, &view[i]);
	}
	return 0;
}

static int load(struct node *n, struct activity_map *m)
{
	struct activity *a = &n->activity;
	struct activity_view view[2];
	uint8_t *buf = NULL;
	int err = a->file_size == ACTIVITY_FILE ? slots_read(n, &buf, view) : -ENOENT;
	int slot = err ? err : activity_choose(view);

	err = slot < 0 ? slot : activity_decode(m, buf + (unsigned)slot * ACTIVITY_SLOT, &view[slot].newest);
	free(buf);
	if (err)
		return err;
	a->life = n->st.activity;
	a->slot = (uint8_t)slot;
	a->base = view[slot].newest.seq;
	a->seq = a->base > view[!slot].newest.seq ? a->base : view[!slot].newest.seq;
	a->count = view[slot].newest.count;
	a->epoch = m->epoch;
	if (memcmp(m->pair, n->st.pair, 16) ||
	    (m->generation != n->st.lineage.generation && !lineage_find(&n->st.lineage, m->generation)))
		err = -ESTALE;
	return err;
}

static const struct activity_image *find(const struct activity_map *m, uint64_t id)
{
	for (uint32_t i = 0; i < m->image_count; i++)
		if (m->images[i].id == id)
			return &m->images[i];
	return NULL;
}

static void apply_to(struct image *img, const struct activity_image *im)
{
	if (!im) { /* unlinked when the map was written, there again by a crash; or so new that it is in no map */
		activity_all(img);
		dirty_mark(&img->miss, 0, img->size);
		return;
	}
	img->extents.shift = im->shift;
	memcpy(img->extents.set, im->set, sizeof(im->set));
	for (uint64_t k = 0; k < im->words * 64u; k++) {
		uint64_t off = k << im->shift, len = 1ull << im->shift;

		if (im->set[k / 64] >> k % 64 & 1 && off < img->size)
			dirty_mark(&img->miss, off, len < img->size - off ? len : img->size - off);
	}
}

/* What the map names, to where it belongs. Bytes of it. */
static uint64_t apply(struct node *n, const struct activity_map *m)
{
	uint64_t bytes = 0;

	for (struct image *img = n->images; img; img = img->next) {
		if (MUTANT("activity-forgotten-in-restore"))
			continue;
		apply_to(img, find(m, img->id));
		img->compare = true;
		bytes += dirty_bytes(&img->miss, img->size);
	}
	return bytes;
}

/* After a clean end: whether somebody else changed the image since. */
static bool changed(const struct node *n, const struct image *img, const struct boot_image *b)
{
	for (uint32_t i = 0; i < n->st.image_count; i++) {
		const struct state_image *im = &n->st.images[i];

		if (im->id == img->id)
			return im->size != b->size || im->mtime_ns != b->mtime_ns || im->ctime_ns != b->ctime_ns;
	}
	return true;
}

static bool changed_by_others(struct node *n, const struct boot *boot)
{
	bool any = false;

	for (size_t i = 0; n->st.clean && i < boot->image_count; i++) {
		struct image *img = node_image_by_id(n, boot->images[i].id);

		if (!img || !changed(n, img, &boot->images[i]))
			continue;
		any = img->compare = true;
		dirty_mark(&img->miss, 0, img->size);
		node_log(n, LOG_LVL_WARN, "image %s was changed while it was not mounted: all of it is compared with the peer",
		         img->name);
	}
	return any;
}

void activity_restore(struct node *n, const struct boot *boot)
{
	struct activity *a = &n->activity;
	struct activity_map m = { .images = NULL };

	if (!node_established(n) || !n->st.activity) {
		n->st.activity = 0;
		return;
	}
	int err = load(n, &m);

	if (err) {
		node_error(n, "the activity map is %s: every image is compared with the peer, wholly",
		           err == -ENOENT ? "missing" : "damaged, or of another time");
		n->st.activity = 0;
		free(m.images);
		return;
	}
	uint64_t bytes = apply(n, &m);

	free(m.images);
	a->stands_in = true;
	a->on = !changed_by_others(n, boot);
	if (!a->on) /* that is in no map: should this life crash, everything is compared */
		n->st.activity = 0;
	node_log(n, LOG_LVL_INFO, "the activity map names %" PRIu64 " bytes that are to be compared with the peer", bytes);
}

/* An ex-primary that came back before it was level: where its copy differs is what its map names. No other doubt is
 * possible here than that the map is not to be had: then all is compared. */
void activity_restore_own(struct node *n)
{
	struct activity_map m = { .images = NULL };

	n->own = n->st.activity && !load(n, &m);
	if (n->own) {
		n->own_epoch = m.epoch;
		for (struct image *img = n->images; img && !MUTANT("own-forgotten"); img = img->next)
			apply_to(img, find(&m, img->id));
	} else {
		n->st.activity = 0;
	}
	free(m.images);
}

/*
 * No dirty sets were kept, but a map: a peer that has the map's epoch, or a later one, lacks nothing outside of what it
 * names. A peer below that has lost an epoch. (One that is above all that this node knows of is refused before: then this
 * node is a snapshot, put back, and its map as old as it is.)
 */
bool activity_stands_in(const struct node *n, uint64_t committed)
{
	return n->activity.stands_in && !n->have_sets && committed >= n->activity.epoch;
}
