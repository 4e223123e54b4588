/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merging seals beside the one that is being destaged, a slice at a time, so that a read never searches more than a
 * few maps however fast epochs are committed.
 */
#include <string.h>

#include "core.h"
#include "mutant.h"

#define MERGE_SLICE 1000u /* extents, about 1 ms */
#define SEALS_LOOSE 2u    /* unmerged ones beside the pass */

bool merge_busy(const struct node *n)
{
	for (const struct epoch *e = n->seals; e; e = e->older)
		if (e->merge_at)
			return true;
	return false;
}

bool merge_wanted(const struct node *n)
{
	uint32_t loose = 0;

	if (merge_busy(n))
		return true;

	for (const struct epoch *e = n->seals; e; e = e->older)
		loose += e != n->pass;
	return loose > SEALS_LOOSE;
}

static void merge_attributes(struct epimg *to, const struct epimg *from)
{
	if (from->sized && !MUTANT("merge-loses-size")) {
		to->sized = true;
		to->size = from->size;
	}
	if (from->renamed) {
		to->renamed = true;
		memcpy(to->name, from->name, sizeof(to->name));
	}
	to->created |= from->created;
	to->adopted |= from->adopted;
	to->unlinked |= from->unlinked;
}

static void merge_end(struct node *n, struct epoch *to, struct epoch *from)
{
	for (struct epimg *ei = from->images; ei; ei = ei->next) {
		struct epimg *dst = epoch_image(n, to, ei->image);

		if (dst)
			merge_attributes(dst, ei);
	}
	to->number = from->number;
	to->generation = from->generation;
	to->wall_ms = from->wall_ms;
	to->version = from->version;
	if (from->end.lsn) { /* a taken overlay has no place in the journal */
		to->last_lsn = from->last_lsn;
		to->end = from->end;
	}
	if (from->first.lsn && !to->first.lsn)
		to->first = from->first;
	to->has_overlay |= from->has_overlay;
	memcpy(to->name, from->name, sizeof(to->name));
	for (struct epoch **p = &n->seals; *p; p = &(*p)->older)
		if (*p == from) {
			*p = to;
			break;
		}
	epoch_free(from);
}

/* One slice of merging the second-oldest loose seal into the oldest. Reads look into the newer one first, so a half-merged
 * older one is never seen. */
void merge_some(struct node *n)
{
	struct epoch *to = NULL, *from = NULL;

	for (struct epoch *e = n->seals; e; e = e->older)
		if (e != n->pass) {
			from = to;
			to = e;
		}
	if (!from)
		return;
	if (!from->merge_at)
		from->merge_at = from->images;
	struct epimg *ei = from->merge_at;
	struct epimg *dst = ei ? epoch_image(n, to, ei->image) : NULL;

	if (ei && !dst)
		return;
	int done = ei ? map_merge_some(&dst->map, &ei->map, &from->merge_cursor, MERGE_SLICE) : 1;

	if (done < 0 || !done)
		return;
	from->merge_cursor = 0;
	from->merge_at = ei ? ei->next : NULL;
	if (!from->merge_at)
		merge_end(n, to, from);
}
