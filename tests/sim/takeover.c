/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Failovers: the primary is dead, or is alive and the backup is told `force`.
 * The promoted node must have exactly its last committed epoch, with its own
 * overlay or without. The old primary may come back with its disk as it was:
 * it must not serve before it is level as a backup (roles.c). Or its host comes
 * back later with an empty disk, as the promoted one's backup, and the world
 * goes on.
 */
#include <errno.h>
#include <string.h>

#include "peek.h"
#include "peek.h"
#include "world.h"

#define MS 1000ull

static void failover_tick(struct sim *s, struct event *e);
static void failover_watch(struct sim *s, struct event *e);

static struct host *successor(struct sim *s)
{
	return &s->hosts[!s->primary];
}

/* A new backup in the dead one's place. */
static void replace(struct sim *s, struct event *e)
{
	struct host *h = successor(s);

	(void)e;
	if (s->phase != PHASE_PROMOTED)
		return;
	if (s->hosts[s->primary].state != HOST_UP || !s->hosts[s->primary].probed) {
		event_add(s, 20 * MS, -1, replace);
		return;
	}
	if (h->returned && (s->bias && s->bias->returns ? true : !one_in(s, 3))) {
		say(s, "host %d goes on as it is", h->index);
		happened(s, H_RETURNED);
	} else {
		if (h->node)
			host_crash(s, h, true);
		say(s, "host %d comes back with an empty disk", h->index);
		world_new_host(s, h, NODE_BACKUP);
	}
	s->hosts[s->primary].role = -1;
	h->returned = false;
	s->phase = PHASE_RUN;
	s->phase_since = s->now;
	if (!h->node)
		world_restart_later(s, h, rnd_below(s, 20 * MS));
}

static void return_old(struct sim *s, struct event *e)
{
	struct host *h = successor(s);

	if (s->phase != PHASE_PROMOTED || h->state != HOST_DOWN || h->life != e->arg)
		return;
	happened(s, H_START_OLD);
	say(s, "host %d comes back as it was", h->index);
	h->start_alone = h->denied = h->discarded = false;
	h->returned = true;
	h->role = one_in(s, 2) ? NODE_PRIMARY : -1; /* as its fstab says */
	h->committed = 0;
	roles_stale(s, h, s->hosts[s->primary].committed);
	host_start(s, h);
}

void takeover_old_ready(struct sim *s, struct host *h)
{
	/* Promoted itself, and never met a peer since: it has nobody to ask. */
	if (host_is_primary(h) && !host_failed(h) && !h->start_alone && peek_had_peer(h->node))
		violation(s, "host %d is served as primary, though its peer was promoted", h->index);
}

/* A backup that was promoted: its epoch and its overlay, for good. */
void takeover_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	if (h->committed < s->model.acked_epoch)
		violation(s, "host %d is promoted to epoch %llu; %llu was acknowledged", h->index,
		          (unsigned long long)h->committed, (unsigned long long)s->model.acked_epoch);
	if (s->failover_drop)
		model_twin_void(s);
	model_check_epoch(s, img, count, h->committed, true);
	s->primary = h->index;
	s->phase = PHASE_PROMOTED;
	s->phase_since = s->now;
	successor(s)->returned = false;
	s->fig.failovers++;
	h->current = 0;
	s->model.op |= PROMOTED_OP;
	s->model.twin_base = s->model.twin_op;
	model_rebase(s, img, count, true, s->failover_in_flight);
	model_twin_void(s);
	h->power_lost = false;
	guest_run(s, h, true);
	event_add(s, rnd_below(s, 600 * MS), -1, replace);
	if (one_in(s, 2) || (s->bias && s->bias->returns)) {
		struct event *e = event_add(s, rnd_below(s, 300 * MS), -1, return_old);

		e->arg = successor(s)->life;
	}
}

static void watch(struct sim *s, struct event *e)
{
	struct host *h = successor(s);

	if (s->phase != PHASE_FAILOVER || h->life != e->arg)
		return; /* crashed: it is read when it is there again */
	guest_run(s, h, false);
	if (guest_probing(s, h) || guest_inflight(s, h)) {
		e = event_add(s, MS, -1, watch);
		e->arg = h->life;
		return;
	}
	host_begin(s, h);
	guest_probe(s, h, takeover_probed);
	host_end(s, h);
}

void takeover_watch(struct sim *s, struct host *h)
{
	struct event *e = event_add(s, 1, -1, watch);

	s->failover_drop = false;
	s->failover_in_flight = guest_inflight(s, h);
	s->phase = PHASE_FAILOVER;
	s->phase_since = s->now;
	h->role = -1;
	e->arg = h->life;
}

static void count_it(struct sim *s)
{
	const struct command *c = &s->failover.cmd;
	bool overlay = false;

	for (unsigned i = 0; i < MODEL_IMAGES; i++)
		for (unsigned k = 0; k < MODEL_UNITS && s->model.images[i].used; k++)
			overlay |= s->model.images[i].twin_acked[k] != 0;
	happened(s, H_FAILOVER);
	if (c->drop_overlay)
		happened(s, H_FAILOVER_DROP);
	else if (overlay)
		happened(s, H_OVERLAY_TAKEN);
	if (c->have_epoch)
		happened(s, H_FAILOVER_EPOCH);
	if (s->failover_keep && s->failover_held)
		happened(s, H_FAILOVER_KEPT);
	if (s->fenced_us)
		happened(s, H_FAILOVER_FORCE);
}

static void failover_done(struct command_req *r)
{
	struct host *h = r->owner;
	struct sim *s = h->sim;

	if (h->state != HOST_UP)
		return;
	host_poll(s, h);
	say(s, "failover: %s", r->reply);
	if (!r->error && r->cmd.have_epoch && r->cmd.epoch != h->committed)
		violation(s, "failover epoch=%llu took epoch %llu", (unsigned long long)r->cmd.epoch,
		          (unsigned long long)h->committed);
	if (!r->error && s->failover_keep && s->failover_held && h->committed != s->failover_held && !h->faulted)
		violation(s, "epoch %llu was prepared; failover keep-prepared took epoch %llu",
		          (unsigned long long)s->failover_held, (unsigned long long)h->committed);
	if (!r->error) {
		count_it(s);
		if (s->hosts[s->primary].node) /* fenced, or cut off: its guest is fenced by whoever forced this */
			host_crash(s, &s->hosts[s->primary], true);
		s->failover_in_flight = guest_inflight(s, h);
		guest_probe(s, h, takeover_probed);
		return;
	}
	if (r->error == -ESTALE && r->cmd.have_epoch) {
		happened(s, H_FAILOVER_STALE);
		s->failover_epoch = 0;
	} else if (r->error != -EBUSY && !h->faulted) {
		violation(s, "failover: %s", r->reply);
	}
	if (h->faulted) { /* what the disk holds is unknown: mounted again, then asked again */
		world_restart_now(s, h);
		s->failover_force = true;
	}
	event_add(s, 20 * MS, -1, failover_tick);
}

static void order(struct sim *s, struct host *h)
{
	struct command *c = &s->failover.cmd;

	memset(&s->failover, 0, sizeof(s->failover));
	c->verb = CMD_FAILOVER;
	c->force = s->failover_force || one_in(s, 4);
	c->drop_overlay = s->failover_drop;
	c->keep_prepared = s->failover_keep;
	c->have_epoch = s->failover_epoch != 0;
	c->epoch = s->failover_epoch == NEVER ? h->committed : h->committed + s->failover_epoch;
	s->failover.done = failover_done;
	s->failover.owner = h;
	s->failover_life = h->life;
	host_begin(s, h);
	node_command(h->node, &s->failover);
	host_end(s, h);
}

/* The backup has a part of a resync in-place: nobody takes that over, the primary has to come back. */
static void give_up(struct sim *s)
{
	struct host *old = &s->hosts[s->primary];

	say(s, "no failover: the copy is no epoch");
	s->phase = PHASE_RUN;
	s->phase_since = s->now;
	if (!old->node)
		world_restart_later(s, old, rnd_below(s, 20 * MS));
}

static void failover_tick(struct sim *s, struct event *e)
{
	struct host *h = successor(s);

	(void)e;
	if (s->phase != PHASE_FAILOVER)
		return;
	if (h->in_place) {
		give_up(s);
		return;
	}
	if (h->state == HOST_UP && host_failed(h) && h->faulted && one_in(s, 2)) {
		world_crash(s, h, one_in(s, 2)); /* mode failed: mounted again first, or by force */
		s->failover_force = true;
	}
	if (h->state != HOST_UP || guest_probing(s, h) || guest_inflight(s, h) || !h->committed) {
		if (h->state == HOST_UP && !guest_probing(s, h))
			guest_run(s, h, false);
		event_add(s, 5 * MS, -1, failover_tick);
		return;
	}
	guest_run(s, h, false);
	if (s->now - s->phase_since > 60000 * MS)
		violation(s, "no failover within a minute");
	order(s, h);
	world_moment(s, h, 5000, 60);
	event_add(s, 5 * MS, -1, failover_watch);
}

/* The host may have crashed with the command: then it is given again. */
static void failover_watch(struct sim *s, struct event *e)
{
	(void)e;
	if (s->phase != PHASE_FAILOVER)
		return;
	if (successor(s)->life != s->failover_life)
		event_add(s, MS, -1, failover_tick);
	else
		event_add(s, 5 * MS, -1, failover_watch);
}

void takeover_begin(struct sim *s)
{
	struct host *old = &s->hosts[s->primary], *h = successor(s);

	if (s->phase != PHASE_RUN || h->state != HOST_UP || !h->committed || old->state != HOST_UP)
		return;
	if (guest_probing(s, h) || guest_probing(s, old) || peek_fencing(h->node) || h->stale || h->discarding)
		return;
	s->failover_live = one_in(s, 3);
	s->failover_drop = one_in(s, 4);
	s->failover_epoch = !one_in(s, 3) ? 0 : one_in(s, 2) ? NEVER : 1 + rnd_below(s, 5);
	s->failover_force = s->failover_live;
	s->failover_keep = !s->failover_epoch && one_in(s, 2);
	s->failover_held = s->failover_live ? 0 : prepare_held(s);
	s->fenced_us = 0;
	say(s, "%s", s->failover_live ? "the backup is promoted by force" : "the primary dies for good");
	if (!s->failover_live)
		host_crash(s, old, true);
	s->phase = PHASE_FAILOVER;
	s->phase_since = s->now;
	h->role = -1;
	event_add(s, MS, -1, failover_tick);
}
