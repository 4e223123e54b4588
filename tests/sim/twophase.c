/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A toolstack that prepares checkpoints and orders what becomes of them, in
 * one world of two. Prepared is durable on both nodes and seen by nobody; a
 * commit that was ordered may happen, once; what was aborted, or never ordered
 * to be taken, is never shown. Orders whose answer got lost are given again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define MS 1000ull

enum { NOTHING, PREPARING, READY, SETTLING };

static struct prepare *of(struct command_req *r)
{
	return &((struct host *)r->owner)->sim->prepare;
}

static bool stale(const struct prepare *p)
{
	return !p->host || p->host->life != p->life || p->host->state == HOST_DOWN;
}

/* 0: the reply names none. */
static uint64_t epoch_in(const struct command_req *r)
{
	const char *at = strstr(r->reply, "epoch=");

	return at ? strtoull(at + 6, NULL, 10) : 0;
}

static void over(struct sim *s)
{
	s->prepare.state = NOTHING;
}

/* The prepared epoch is there to be taken by a failover. */
static void primary_dies(struct sim *s, struct event *e)
{
	(void)e;
	if (world_faulty(s))
		takeover_begin(s);
}

static void prepared(struct command_req *r)
{
	struct prepare *p = of(r);
	struct sim *s = p->host->sim;
	uint64_t epoch = epoch_in(r);

	if (p->state != PREPARING || stale(p))
		return;
	host_poll(s, p->host);
	say(s, "prepare: %s", r->reply);
	if (s->now - p->since > (s->flush_timeout_ms + 1000) * MS + host_frozen(p->host, p->since))
		violation(s, "a prepare took %llu ms", (unsigned long long)((s->now - p->since) / MS));
	if (!r->error && !epoch)
		violation(s, "the reply names no epoch: %s", r->reply);
	if (!epoch) { /* it did not happen */
		over(s);
		return;
	}
	*p = (struct prepare){ .state = READY, .host = p->host, .life = p->life, .epoch = epoch, .clock = p->clock,
		.since = s->now, .sure = !r->error };
	p->due = s->now + (one_in(s, 12) ? 2 * s->flush_timeout_ms * MS : rnd_delay(s, 4 * s->flush_us));
	model_prepared(s, epoch, SETTLE_KEPT);
	/* Not sure that it is prepared: dropped rather, as toolstacks do, but not always. */
	p->commit = p->sure ? !one_in(s, 3) : one_in(s, 4);
	if (p->sure) {
		happened(s, H_PREPARED);
		if (one_in(s, 16) && world_faulty(s))
			event_add(s, rnd_below(s, 10 * MS), -1, primary_dies);
		world_moment(s, &s->hosts[0], 3000, 60);
		world_moment(s, &s->hosts[1], 3000, 60);
	}
}

static bool biased(const struct sim *s)
{
	return s->bias && s->bias->prepares;
}

static void power_fails(struct sim *s, int error)
{
	if (!error && s->phase == PHASE_RUN && world_faulty(s))
		world_crash_later(s, &s->hosts[s->primary], 1);
}

/* What was aborted is in the next epoch: that one is durable when it is done. */
static void flush_and_die(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->host];

	if (s->phase == PHASE_RUN && h->index == s->primary && h->state == HOST_UP) {
		host_begin(s, h);
		world_flush(s, h, power_fails);
		host_end(s, h);
	}
}

static void settled(struct command_req *r)
{
	struct prepare *p = of(r);
	struct sim *s = p->host->sim;

	if (p->state != SETTLING || stale(p))
		return;
	host_poll(s, p->host);
	say(s, "%s %llu: %s", p->commit ? "commit" : "abort", (unsigned long long)p->epoch, r->reply);
	if (!r->error && p->commit) {
		model_flush_done(s, p->epoch, p->clock);
		happened(s, H_PREPARED_TAKEN);
	} else if (!r->error) {
		happened(s, H_PREPARED_DROPPED);
		model_prepared(s, p->epoch, SETTLE_VOID);
		if (biased(s) && one_in(s, 2) && world_faulty(s))
			event_add(s, 1, p->host->index, flush_and_die);
	} else if (r->error == -EBUSY || r->error == -ETIMEDOUT) {
		p->state = READY; /* the order stands; asked again */
		p->due = s->now + rnd_delay(s, 20 * MS);
		return;
	} else if (r->error == -EINVAL && p->commit) {
		model_prepared(s, p->epoch, SETTLE_VOID); /* "was aborted already", or never prepared */
	}
	if (one_in(s, 4)) { /* the same answer again */
		p->again = true;
		p->answer = r->error;
		p->state = READY;
		p->due = s->now + rnd_delay(s, 5 * MS);
		return;
	}
	over(s);
}

static void answered_again(struct command_req *r)
{
	struct prepare *p = of(r);
	struct sim *s = p->host->sim;

	if (p->state != SETTLING || stale(p))
		return;
	say(s, "again: %s", r->reply);
	if (!p->answer && r->error)
		violation(s, "%s %llu was done; asked again it says: %s", p->commit ? "commit" : "abort",
		          (unsigned long long)p->epoch, r->reply);
	over(s);
}

static void give(struct sim *s, struct host *h, enum verb verb, void (*done)(struct command_req *r))
{
	struct command_req *r = &s->prepare.req;

	memset(r, 0, sizeof(*r));
	r->cmd.verb = verb;
	r->cmd.epoch = s->prepare.epoch;
	r->cmd.have_epoch = verb != CMD_PREPARE;
	r->done = done;
	r->owner = h;
	host_begin(s, h);
	node_command(h->node, r);
	host_end(s, h);
}

static void settle(struct sim *s, struct host *h)
{
	struct prepare *p = &s->prepare;

	p->state = SETTLING;
	p->ordered = true;
	if (p->commit && !p->again)
		model_prepared(s, p->epoch, SETTLE_COMMIT);
	give(s, h, p->commit ? CMD_COMMIT : CMD_ABORT, p->again ? answered_again : settled);
	world_moment(s, &s->hosts[0], 3000, 20);
	world_moment(s, &s->hosts[1], 3000, 20);
}

static void prepare(struct sim *s, struct host *h)
{
	struct prepare *p = &s->prepare;

	*p = (struct prepare){ .state = PREPARING, .host = h, .life = h->life, .since = s->now, .clock = ++s->model.clock };
	give(s, h, CMD_PREPARE, prepared);
	world_moment(s, &s->hosts[0], 6000, 4);
	world_moment(s, &s->hosts[1], 6000, 4);
}

static void tick(struct sim *s, struct event *e)
{
	struct prepare *p = &s->prepare;
	struct host *h = &s->hosts[s->primary];

	(void)e;
	event_add(s, rnd_delay(s, 2 * MS + s->flush_us), -1, tick);
	if (p->state && (stale(p) || (p->state == READY && p->host != h)))
		over(s); /* the primary's process is gone, or its role, and what it was told with it */
	if (s->phase != PHASE_RUN || h->state != HOST_UP)
		return;
	if (!p->state && !s->healing && wire_up(s) && (biased(s) || one_in(s, 3)))
		prepare(s, h);
	else if (p->state == READY && (s->now >= p->due || s->healing))
		settle(s, h);
}

uint64_t prepare_held(struct sim *s)
{
	const struct prepare *p = &s->prepare;

	if (p->state != READY || !p->sure || p->ordered || stale(p) || s->now - p->since > s->flush_timeout_ms * MS / 2)
		return 0;
	return p->epoch;
}

void prepare_start(struct sim *s)
{
	memset(&s->prepare, 0, sizeof(s->prepare));
	if (biased(s) || one_in(s, 2))
		event_add(s, s->flush_us, -1, tick);
}
