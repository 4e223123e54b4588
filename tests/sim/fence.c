/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backups that fail over by themselves. The fence command really does what it
 * says: it switches the primary off; but that may be up again before it comes
 * back, or be left alone when it fails. A node that promotes itself while the
 * primary is up has not looked.
 */
#include <errno.h>

#include "peek.h"
#include "world.h"

#define MS 1000ull

static void ended(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->host];
	bool good = e->arg && world_faulty(s) && s->phase == PHASE_RUN && h->index != s->primary;

	if (!good)
		happened(s, H_FENCE_FAILED);
	h->may_be_promoted |= good;
	node_fence_ended(h->node, good ? 0 : 1);
}

static void end_later(struct sim *s, struct host *h, bool good)
{
	uint64_t most = (one_in(s, 2) ? 2 : 10) * s->link_timeout_ms; /* the primary may be back by then */

	event_add(s, rnd_below(s, most * MS), h->index, ended)->arg = good;
}

static void strike(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg], *old = &s->hosts[s->primary];

	if (e->arg2 != h->life || s->phase != PHASE_RUN || h == old || !world_faulty(s)) {
		if (e->arg2 == h->life)
			end_later(s, h, false);
		return;
	}
	say(s, "host %d is fenced", old->index);
	if (old->node)
		world_crash(s, old, true);
	end_later(s, h, true);
}

int fence_begin(struct sim *s, struct host *h)
{
	uint64_t dice = rnd_below(s, 16);
	struct event *e;

	happened(s, H_FENCE);
	h->fence_hangs = dice == 0;
	if (dice == 1)
		return -ENOENT;
	if (dice >= 2 && dice < 5)
		end_later(s, h, false);
	if (dice < 5)
		return 0;
	e = event_add(s, rnd_below(s, s->link_timeout_ms * MS / 4), -1, strike);
	e->arg = (uint64_t)h->index;
	e->arg2 = h->life;
	return 0;
}

/* Killed: what hangs ends now. The others end when they end, which is too late. */
void fence_end(struct sim *s, struct host *h)
{
	if (h->fence_hangs && h->state != HOST_DOWN)
		end_later(s, h, false);
	h->fence_hangs = false;
}

void fence_poll(struct sim *s, struct host *h)
{
	struct host *old = &s->hosts[s->primary];

	if (h->stale || s->phase != PHASE_RUN || h == old || h->state != HOST_UP || !peek_primary(h->node))
		return;
	if (old->state == HOST_UP)
		violation(s, "host %d is promoted by itself while its primary is up", h->index);
	happened(s, H_FENCE_FAILOVER);
	say(s, "host %d is promoted by itself", h->index);
	if (old->node)
		host_crash(s, old, true);
	takeover_watch(s, h);
}
