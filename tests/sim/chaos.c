/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes wrong, and when: the network, power, processes, clocks, and an
 * operator who stops, disconnects, and mounts again what is in mode failed.
 */
#include <string.h>

#include "world.h"

#define MS 1000ull

static void heal_partition(struct sim *s, struct event *e)
{
	(void)e;
	s->partitioned = false;
}

static void network(struct sim *s)
{
	uint64_t us = rnd_below(s, (one_in(s, 3) ? 2 : 1) * s->link_timeout_ms * MS);

	switch (rnd_below(s, 8)) {
	case 0: case 1: case 2:
		wire_cut_all(s);
		break;
	case 3:
		happened(s, H_STALL);
		wire_stall(s, us, -1);
		break;
	case 4: case 5:
		happened(s, H_STALL_ONE_WAY);
		wire_stall(s, us, (int)rnd_below(s, HOSTS));
		break;
	case 6:
		happened(s, H_PARTITION);
		s->partitioned = true;
		event_add(s, rnd_below(s, 2 * s->link_timeout_ms * MS), -1, heal_partition);
		break;
	case 7:
		wire_ghost(s);
		break;
	}
}

static void crash_both(struct sim *s)
{
	if (!s->hosts[0].node || !s->hosts[1].node)
		return;
	happened(s, H_BOTH);
	for (int i = 0; i < HOSTS; i++)
		world_crash(s, &s->hosts[i], true);
}

static void clocks(struct sim *s, struct host *h)
{
	if (one_in(s, 2)) { /* NTP, or an administrator */
		uint64_t far = 1ull << rnd_below(s, 38);

		happened(s, H_WALL);
		h->wall_ms = one_in(s, 2) ? -(int64_t)rnd_below(s, far) : (int64_t)rnd_below(s, far);
		return;
	}
	if (!h->node || h->frozen_until > s->now)
		return;
	happened(s, H_LATE);
	h->frozen_since = s->now;
	h->frozen_until = s->now + rnd_below(s, (one_in(s, 2) ? 3000 : 300) * MS);
	if (h->deadline < h->frozen_until)
		h->deadline = h->frozen_until;
	say(s, "host %d is not scheduled for %llu ms", h->index, (unsigned long long)((h->frozen_until - s->now) / MS));
}

/* ---- disconnect, connect ---- */

static void ordered(struct command_req *r)
{
	struct host *h = r->owner;

	if (h->state != HOST_DOWN)
		say(h->sim, "host %d: %s", h->index, r->reply);
	h->ordering = false;
}

static void order(struct sim *s, struct host *h, int verb)
{
	if (h->state != HOST_UP || h->ordering)
		return;
	memset(&h->order, 0, sizeof(h->order));
	h->order.cmd.verb = verb;
	h->order.done = ordered;
	h->order.owner = h;
	h->ordering = true;
	host_begin(s, h);
	node_command(h->node, &h->order);
	host_end(s, h);
}

static void connect_again(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->host];

	order(s, h, CMD_CONNECT);
	if (h->state == HOST_UP && h->ordering) /* the one before is still running */
		event_add(s, MS, e->host, connect_again);
}

static void apart(struct sim *s, struct host *h)
{
	if (h->state != HOST_UP || h->ordering)
		return;
	happened(s, H_APART);
	order(s, h, CMD_DISCONNECT);
	event_add(s, rnd_below(s, s->link_timeout_ms * MS), h->index, connect_again);
}

/* ---- all ---- */

/* A node in mode failed waits for its operator. */
static void mend(struct sim *s)
{
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];

		if (!h->node || !host_failed(h) || s->phase != PHASE_RUN || one_in(s, 2))
			continue;
		if (one_in(s, 2))
			world_stop(s, h);
		else
			world_crash(s, h, one_in(s, 3));
	}
}

static void chaos(struct sim *s)
{
	struct host *h = &s->hosts[rnd_below(s, HOSTS)];
	uint64_t dice = rnd_below(s, 100);

	mend(s);
	if (dice < 50)
		network(s);
	else if (dice < 55)
		roles_switch(s);
	else if (dice < 76)
		world_crash_later(s, h, 0);
	else if (dice < 80)
		crash_both(s);
	else if (dice < 87)
		world_stop(s, h);
	else if (dice < 93)
		clocks(s, h);
	else if (dice < 96)
		apart(s, h);
	else if (dice < 99)
		takeover_begin(s);
	else
		roles_discard(s);
}

/* Instead of that, where a situation is wanted often (mutants.c). */
static void bias_chaos(struct sim *s, const struct bias *b)
{
	uint32_t dice = (uint32_t)rnd_below(s, 100), upto = b->failover_percent;

	if (dice < upto)
		takeover_begin(s);
	else if (dice < (upto += b->switch_percent))
		roles_switch(s);
	else if (dice < (upto += b->discard_percent))
		roles_discard(s);
	else if (dice < (upto += b->cut_percent))
		wire_cut_all(s);
	else if (dice < (upto += b->stall_percent))
		wire_stall(s, rnd_below(s, s->link_timeout_ms * MS), -1);
	else if (dice < (upto += b->primary_percent))
		world_crash_later(s, &s->hosts[s->primary], 0);
	else if (dice < upto + b->backup_percent)
		world_crash_later(s, &s->hosts[!s->primary], 0);
	else if (!b->quiet)
		chaos(s);
}

static void chaos_tick(struct sim *s, struct event *e)
{
	(void)e;
	event_add(s, rnd_delay(s, s->chaos_us), -1, chaos_tick);
	if (!world_faulty(s))
		return;
	if (s->phase == PHASE_RUN && s->bias && s->bias->chaos_ms)
		bias_chaos(s, s->bias);
	else if (s->phase == PHASE_RUN)
		chaos(s);
	else if (s->phase == PHASE_PROMOTED && one_in(s, 3))
		world_crash_later(s, &s->hosts[s->primary], 0);
}

void chaos_start(struct sim *s)
{
	event_add(s, s->chaos_us, -1, chaos_tick);
}
