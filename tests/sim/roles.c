/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Roles that change in order. Switchovers: afterwards the other node has all
 * that was acknowledged, whatever failed meanwhile, and never are both
 * primaries; when both are backups, the operator promotes the new one. Copies
 * that come back: an old primary, its disk as it was, joins its promoted peer
 * by itself, or after discard-local where both were written alone; one that is
 * not level is not served and not promoted, and when it is level it is one
 * epoch of the primary's, whole.
 */
#include <errno.h>
#include <string.h>

#include "peek.h"
#include "world.h"

#define MS 1000ull

static void switch_tick(struct sim *s, struct event *e);
static void operate(struct sim *s, struct event *e);

static struct host *other(struct sim *s, const struct host *h)
{
	return &s->hosts[!h->index];
}

static void command(struct sim *s, struct host *h, struct command_req *r, int verb, void (*done)(struct command_req *r))
{
	memset(r, 0, sizeof(*r));
	r->cmd.verb = verb;
	r->done = done;
	r->owner = h;
	host_begin(s, h);
	node_command(h->node, r);
	host_end(s, h);
}

/* Within a batch of its own: a node that is up is read whole. */
static void ready(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->host];

	if (h->state == HOST_UP && !guest_probing(s, h))
		world_ready(s, h);
}

/* ---- copies that come back ---- */

void roles_stale(struct sim *s, struct host *h, uint64_t epoch)
{
	h->stale = true;
	h->stale_epoch = epoch;
	if (!h->operated)
		event_add(s, rnd_below(s, 30 * MS), -1, operate)->arg = (uint64_t)h->index;
	h->operated = true;
}

/* A copy that is not level: true as long as it is not. */
bool roles_poll(struct sim *s, struct host *h, uint64_t committed)
{
	if (!h->stale && (h->state == HOST_UP || h->state == HOST_STOPPING) && peek_part(h->node)) {
		say(s, "host %d has a part of a resync in-place", h->index);
		h->in_place = true;
		guest_run(s, h, false);
		roles_stale(s, h, committed);
	}
	if (!h->stale || h->state != HOST_UP)
		return h->stale;
	if (peek_primary(h->node) || peek_rejoin(h->node))
		return true;
	if (committed <= h->stale_epoch)
		violation(s, "host %d is served at epoch %llu; it is not level with the primary since epoch %llu", h->index,
		          (unsigned long long)committed, (unsigned long long)h->stale_epoch);
	say(s, "host %d is level again", h->index);
	happened(s, h->discarded ? H_DISCARDED : h->in_place ? H_IN_PLACE : H_REJOINED);
	h->in_place = h->stale = h->discarded = h->power_lost = h->lossy = false;
	event_add(s, 1, h->index, ready);
	return false;
}

/* The order that r was has its answer, unless its host went down meanwhile. */
static bool answered(const struct command_req *r)
{
	struct host *h = r->owner;

	if (h->state == HOST_DOWN)
		return false;
	h->ordering = false;
	say(h->sim, "host %d: %s", h->index, r->reply);
	return true;
}

static void operated(struct command_req *r)
{
	struct host *h = r->owner;
	struct sim *s = h->sim;

	if (!answered(r))
		return;
	if (r->cmd.verb == CMD_FAILOVER && !r->error)
		violation(s, "a copy that is not level was promoted without force");
	if (r->cmd.verb == CMD_FAILOVER && r->error == -ESTALE)
		happened(s, H_STALE_FAILOVER);
	if (r->cmd.verb == CMD_DISCARD_LOCAL && !r->error)
		h->discarded = true;
	if (r->error == -EIO && !h->faulted)
		violation(s, "%s", r->reply);
}

/* Its operator, now and then, until it is level. */
static void operate(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg];
	struct image *img;

	h->operated = h->stale && s->phase != PHASE_DONE;
	if (!h->operated)
		return;
	event_add(s, 20 * MS, -1, operate)->arg = e->arg;
	if (h->state != HOST_UP || h->ordering)
		return;
	img = node_image_next(h->node, NULL);
	if (img && !peek_primary(h->node) && !image_open(h->node, img))
		violation(s, "host %d: image %s of a copy that is not level opens", h->index, image_name(img));
	if (peek_split(h->node) || (peek_primary(h->node) && one_in(s, 20))) {
		h->ordering = true;
		command(s, h, &h->order, CMD_DISCARD_LOCAL, operated);
	} else if (!peek_primary(h->node) && one_in(s, 8)) {
		h->ordering = true;
		command(s, h, &h->order, CMD_FAILOVER, operated);
	}
}

/* ---- discard-local of a copy that was level: its operator's right ---- */

static void discarded(struct command_req *r)
{
	struct host *h = r->owner;
	struct sim *s = h->sim;

	if (!answered(r))
		return;
	if (r->error && host_failed(h))
		return; /* unknown: roles_started() will see */
	h->discarding = false;
	if (!r->error) {
		h->discarded = true;
		model_twin_void(s);
		roles_stale(s, h, h->committed);
	} else {
		guest_run(s, h, true);
	}
}

/* It crashed within: what does its disk say? */
void roles_started(struct sim *s, struct host *h)
{
	if (h->discarding && !peek_primary(h->node) && peek_rejoin(h->node)) {
		h->discarded = true;
		roles_stale(s, h, h->committed);
	}
	h->discarding = false;
}

void roles_discard(struct sim *s)
{
	struct host *h = &s->hosts[!s->primary];

	if (s->auto_failover || h->state != HOST_UP || h->stale || h->ordering || guest_probing(s, h) || guest_inflight(s, h) || !h->committed ||
	    peek_live(h->node))
		return;
	guest_run(s, h, false);
	h->discarding = h->ordering = true;
	command(s, h, &h->order, CMD_DISCARD_LOCAL, discarded);
	world_moment(s, h, 3000, 200);
}

/* ---- switchover ---- */

/* The other node is the primary now, and its guest begins there. */
static void swapped(struct sim *s, struct host *now)
{
	struct host *was = other(s, now);

	if (was->state == HOST_UP && peek_primary(was->node))
		violation(s, "two primaries after a switchover");
	if (now->committed < s->model.acked_epoch)
		violation(s, "the new primary has epoch %llu; %llu was acknowledged", (unsigned long long)now->committed,
		          (unsigned long long)s->model.acked_epoch);
	say(s, "host %d is the primary now", now->index);
	happened(s, H_SWITCHED);
	s->primary = now->index;
	s->phase = PHASE_RUN;
	s->phase_since = s->now;
	model_flush_done(s, now->committed, 0); /* the swap's own flush */
	model_twin_void(s);
	model_session(s);
	was->committed = now->committed;
	now->current = 0;
	now->probed = now->power_lost = now->lossy = was->power_lost = was->lossy = false;
	now->start_clock = ++s->model.clock;
	event_add(s, 1, now->index, ready);
	if (was->state == HOST_UP)
		event_add(s, 1, was->index, ready);
}

void roles_switch_poll(struct sim *s, struct host *h)
{
	if (s->phase == PHASE_SWITCH && h->index != s->primary && h->state == HOST_UP && peek_primary(h->node))
		swapped(s, h);
}

static void switch_done(struct command_req *r)
{
	struct host *h = r->owner;

	if (h->state == HOST_DOWN)
		return;
	h->sim->switch_answered = true;
	h->switching = false;
	say(h->sim, "host %d: %s", h->index, r->reply);
	/* One that is still starting may have said that it is, by its state. */
	if (!r->error && h->sim->phase == PHASE_SWITCH && other(h->sim, h)->state != HOST_STARTING)
		violation(h->sim, "the switchover is done, its peer is no primary");
}

static void promoted(struct command_req *r)
{
	struct host *h = r->owner;

	if (h->state == HOST_DOWN)
		return;
	say(h->sim, "host %d: %s", h->index, r->reply);
	h->sim->switch_asked = false;
	if (r->error && r->error != -EBUSY && !h->faulted)
		violation(h->sim, "after half a switchover: %s", r->reply);
}

static void back(struct sim *s)
{
	happened(s, H_SWITCH_FAILED);
	s->phase = PHASE_RUN;
	s->phase_since = s->now;
	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].state == HOST_UP && s->hosts[i].life == s->switch_lives[i])
			guest_run(s, &s->hosts[i], true);
		else if (s->hosts[i].state == HOST_UP)
			event_add(s, 1, i, ready);
}

static void switch_tick(struct sim *s, struct event *e)
{
	struct host *was = &s->hosts[s->primary], *h = other(s, was);

	(void)e;
	if (s->phase != PHASE_SWITCH)
		return;
	event_add(s, 5 * MS, -1, switch_tick);
	if (s->now - s->phase_since > 120000 * MS)
		violation(s, "a switchover does not end");
	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].state == HOST_UP && (host_failed(&s->hosts[i]) || s->hosts[i].sick))
			world_crash(s, &s->hosts[i], one_in(s, 2));
	if (was->state != HOST_UP || h->state != HOST_UP || (!s->switch_answered && was->life == s->switch_lives[was->index]))
		return;
	if (peek_primary(was->node)) {
		back(s);
	} else if (!s->switch_asked || s->switch_asked_life != h->life) {
		if (!s->switch_half)
			happened(s, H_SWITCH_HALF);
		s->switch_half = s->switch_asked = true;
		s->switch_asked_life = h->life;
		command(s, h, &s->failover, CMD_FAILOVER, promoted);
		world_moment(s, h, 5000, 60);
	}
}

static void cut(struct sim *s, struct event *e)
{
	(void)e;
	if (s->phase == PHASE_SWITCH && !s->healing)
		wire_cut_all(s);
}

/* The guests are still; now the order. */
static void switch_order(struct sim *s, struct event *e)
{
	struct host *was = &s->hosts[s->primary], *h = other(s, was);

	(void)e;
	if (s->phase != PHASE_SWITCH)
		return;
	if (was->state != HOST_UP || h->state != HOST_UP || host_failed(was) || host_failed(h)) {
		s->switch_answered = true; /* not even asked */
		event_add(s, 0, -1, switch_tick);
		return;
	}
	if (guest_inflight(s, was) || guest_inflight(s, h) || guest_probing(s, was) || guest_probing(s, h)) {
		event_add(s, MS, -1, switch_order);
		return;
	}
	was->role = h->role = -1;
	was->switching = true;
	command(s, was, &was->switchover, CMD_SWITCHOVER, switch_done);
	if (one_in(s, 6) && world_faulty(s))
		event_add(s, rnd_delay(s, 10 * was->disk.speed_us + 4 * s->wire_us), -1, cut);
	world_moment(s, was, 20 * was->disk.speed_us + 4 * s->wire_us, 80);
	world_moment(s, h, 20 * was->disk.speed_us + 4 * s->wire_us, 80);
	event_add(s, 5 * MS, -1, switch_tick);
}

static void busy(struct command_req *r)
{
	struct host *h = r->owner;

	if (h->state == HOST_DOWN)
		return;
	h->ordering = false;
	if (r->error == -EBUSY)
		happened(h->sim, H_SWITCH_BUSY);
	else if (!r->error)
		violation(h->sim, "a switchover while an image was open for writing");
}

void roles_switch(struct sim *s)
{
	struct host *was = &s->hosts[s->primary], *h = other(s, was);

	if (s->auto_failover || s->phase != PHASE_RUN || was->state != HOST_UP || h->state != HOST_UP || !was->probed || h->stale || h->discarding ||
	    guest_probing(s, was) || guest_probing(s, h) || was->ordering)
		return;
	if (was->switching || h->switching || (!host_protected(was) && !one_in(s, 16)))
		return;
	if (peek_writers(was->node)) {
		was->ordering = true;
		command(s, was, &was->order, CMD_SWITCHOVER, busy);
	}
	for (int i = 0; i < HOSTS; i++) {
		guest_run(s, &s->hosts[i], false);
		s->switch_lives[i] = s->hosts[i].life;
	}
	s->phase = PHASE_SWITCH;
	s->phase_since = s->now;
	s->switch_answered = s->switch_half = s->switch_asked = false;
	event_add(s, MS, -1, switch_order);
}
