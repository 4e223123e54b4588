/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Saving the state file: one write at a time; requests that come meanwhile
 * share the next one. What a save holds is the node's state as it is when the
 * write begins, which is at or after the request.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

#define SAVE_TRIES 16u /* on a full disk, each with a segment less */

static void begin(struct node *n);

/* What is to be done about it. */
static const char *room_wanted(int error)
{
	return error == -ENOSPC || error == -EDQUOT ? "; make room in the file system of SOURCE" : "";
}

static void finished(struct io *io)
{
	struct node *n = io->owner;
	struct save *list = n->saves_running;

	/* On a full disk the state goes before segments that are only kept ready. */
	if ((io->result == -ENOSPC || io->result == -EDQUOT) && n->have_journal && n->save_tries < SAVE_TRIES &&
	    (journal_shrink(&n->overlay, n->now_ms) || journal_shrink(&n->journal, n->now_ms) || n->overlay.removing ||
	     n->journal.removing)) {
		n->save_tries++;
		n->env->ops->submit(n->env, io);
		return;
	}
	n->save_tries = 0;
	n->saves_running = NULL;
	n->saving = false;
	if (io->result)
		node_error(n, "the state file cannot be written: %s%s", strerror(-io->result), room_wanted(io->result));
	while (list) {
		struct save *s = list;

		list = s->next;
		s->busy = false;
		s->done(s, io->result);
	}
	if (n->saves && !n->saving)
		begin(n);
}

/* A primary's table is what is there now; a backup's is what destage has brought to the files. */
static void table_refresh(struct node *n)
{
	struct state *st = &n->st;

	if (n->role == NODE_BACKUP || st->promoted || n->local_path)
		return;
	struct state_image *p = realloc(st->images, (n->image_count + 1) * sizeof(*p));

	if (!p)
		return; /* the old table is older, not wrong: names are found by the files' ids */
	st->images = p;
	st->image_count = 0;
	for (struct image *i = n->images; i; i = i->next) {
		if (!i->visible)
			continue;
		p = &st->images[st->image_count++];
		*p = (struct state_image){ .id = i->id, .size = i->size, .consistent = true };
		if (st->clean) {
			p->mtime_ns = i->end.mtime_ns;
			p->ctime_ns = i->end.ctime_ns;
		}
		memcpy(p->name, i->name, sizeof(p->name));
	}
}

static void begin(struct node *n)
{
	table_refresh(n);
	if ((n->role != NODE_PRIMARY && !n->st.rejoin) || n->st.promoted || n->local_path)
		n->st.activity = 0; /* writes pass it by */
	int len = state_encode(&n->st, n->save_buf, STATE_MAX);

	n->saves_running = n->saves;
	n->saves = NULL;
	n->saving = true;
	if (len < 0)
		node_fail(n, "internal: the state does not fit its file");
	n->save_io = (struct io){ .op = IO_STATE, .buf = n->save_buf, .len = len < 0 ? 0 : (uint64_t)len,
		.done = finished, .owner = n };
	n->env->ops->submit(n->env, &n->save_io);
}

void node_save(struct node *n, struct save *s, void (*done)(struct save *s, int error))
{
	s->done = done;
	if (!s->owner)
		s->owner = n;
	if (s->busy)
		return; /* already on its way; its done() comes once */
	s->busy = true;
	s->next = n->saves;
	n->saves = s;
	if (!n->saving)
		begin(n);
}
