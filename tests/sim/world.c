/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scenario of one world, from two empty disks on: load, flushes, faults of
 * the network, crashes at bad moments, restarts, stops in order, a failover
 * now and then, which ends the world. At the end of a seed everything heals
 * and progress is demanded (heal.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define MS 1000ull

static void chaos_tick(struct sim *s, struct event *e);
static void flush_tick(struct sim *s, struct event *e);

bool world_faulty(const struct sim *s)
{
	return s->phase != PHASE_HEAL && s->phase != PHASE_DONE;
}

struct flush {
	struct command_req req; /* first */
	struct host *host;
	bool busy;
	uint64_t clock, issued;
	void (*then)(struct sim *s, int error);
};

/* ---- starts and ends of hosts ---- */

static void restart(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg];

	if (h->state != HOST_DOWN || e->arg2 != h->life)
		return;
	if (h->index == 0 && (s->phase == PHASE_FAILOVER || s->phase == PHASE_PROMOTED))
		return; /* the old primary is dead and gone */
	if (h->index == 1)
		s->backup_exists = true;
	host_start(s, h);
	if (world_faulty(s) && one_in(s, 5)) /* recovery, and what comes soon after, is a bad moment */
		world_crash_later(s, h, rnd_below(s, 60 * h->disk.speed_us + 2000));
}

void world_restart_later(struct sim *s, struct host *h, uint64_t delay)
{
	struct event *e = event_add(s, delay, -1, restart);

	e->arg = (uint64_t)h->index;
	e->arg2 = h->life;
}

static void crash(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg];

	if (e->arg2 != h->life)
		return;
	h->crash_soon = false;
	if (!h->node || !world_faulty(s))
		return;
	bool power = !one_in(s, 4);

	h->power_lost |= power;
	host_crash(s, h, power);
	world_restart_later(s, h, !one_in(s, 8) ? rnd_below(s, 5 * MS) : rnd_below(s, 2 * s->link_timeout_ms * MS));
}

void world_crash_later(struct sim *s, struct host *h, uint64_t delay)
{
	struct event *e;

	if (h->crash_soon)
		return;
	h->crash_soon = true;
	e = event_add(s, delay, -1, crash);
	e->arg = (uint64_t)h->index;
	e->arg2 = h->life;
}

void world_moment(struct sim *s, struct host *h, uint64_t soon_us, uint32_t weight)
{
	if (!world_faulty(s) || h->crash_soon || !h->node || rnd_below(s, s->crash_bias) >= weight)
		return;
	world_crash_later(s, h, rnd_below(s, 2 * soon_us + 1));
}

/* ---- after a start ---- */

static void primary_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	model_check_floor(s, img, count, !h->power_lost);
	model_rebase(s, img, count, h->power_lost);
	h->power_lost = false;
	guest_run(s, h, true);
}

static void backup_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	if (h->committed && img)
		model_check_epoch(s, img, count, h->committed, false);
	h->power_lost = false;
	guest_run(s, h, true);
}

/* A backup that was promoted: its epoch and its overlay, for good. */
static void promoted_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	model_check_epoch(s, img, count, h->committed, true);
	s->primary = h->index;
	s->phase = PHASE_PROMOTED;
	s->phase_since = s->now;
	s->fig.failovers++;
	s->model.op |= PROMOTED_OP;
	model_rebase(s, img, count, true);
	h->power_lost = false;
	guest_run(s, h, true);
}

void world_ready(struct sim *s, struct host *h)
{
	if (h->index == s->primary) {
		guest_probe(s, h, primary_probed);
	} else if (s->phase == PHASE_FAILOVER && host_is_primary(h)) {
		guest_probe(s, h, promoted_probed);
	} else {
		model_twin_void(s);
		guest_probe(s, h, backup_probed);
	}
}

/* ---- stops in order ---- */

static uint32_t disk_images(struct sim *s, struct disk *d, struct probe_image *img)
{
	uint32_t count = 0;

	for (struct file *f = d->files; f; f = f->next) {
		if (f->kind != FILE_IMAGE || !f->now || !f->name[0] || count == 2 * MODEL_IMAGES)
			continue;
		img[count] = (struct probe_image){ .id = f->id, .size = f->size,
		                                   .data = pool_get(s, f->size + 1) };
		memcpy(img[count].name, f->name, NAME_LEN);
		file_read(f, 0, img[count].data, f->size);
		count++;
	}
	return count;
}

static void stopped(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg];
	struct probe_image img[2 * MODEL_IMAGES] = { { 0 } };
	uint32_t count;

	if (e->arg2 != h->life)
		return;
	count = disk_images(s, &h->disk, img);
	if (h->index == s->primary)
		model_check_floor(s, img, count, true);
	else if (h->committed && !s->faults) /* a disk that failed keeps the rest in its journal */
		model_check_epoch(s, img, count, h->committed, false);
	for (uint32_t i = 0; i < count; i++)
		pool_put(s, img[i].data, img[i].size + 1);
	h->power_lost = false;
	host_finish(s, h);
	world_restart_later(s, h, rnd_below(s, 300 * MS));
}

void world_stopped(struct sim *s, struct host *h)
{
	struct event *e = event_add(s, 1, -1, stopped);

	e->arg = (uint64_t)h->index;
	e->arg2 = h->life;
}

static void stop_overdue(struct sim *s, struct event *e)
{
	if (s->hosts[e->host].state == HOST_STOPPING)
		violation(s, "host %d does not stop within a minute", e->host);
}

static void stop_in_order(struct sim *s, struct host *h)
{
	if (h->state != HOST_UP || s->phase != PHASE_RUN || guest_probing(s, h))
		return;
	guest_run(s, h, false);
	host_begin(s, h);
	host_stop(s, h);
	host_end(s, h);
	event_add(s, 60000 * MS, h->index, stop_overdue);
}

/* ---- flush ---- */

static uint64_t reply_epoch(struct sim *s, const struct command_req *r)
{
	const char *at = strstr(r->reply, "epoch=");

	if (!at)
		violation(s, "the reply names no epoch: %s", r->reply);
	return strtoull(at + 6, NULL, 10);
}

static void flush_done(struct command_req *r)
{
	struct flush *f = (struct flush *)r;
	struct sim *s = f->host->sim;
	void (*then)(struct sim *s, int error) = f->then;

	if (f->host->state == HOST_DOWN || !f->busy)
		return;
	f->busy = false;
	host_poll(s, f->host);
	say(s, "flush: %s", r->reply);
	if (s->now - f->issued > (s->flush_timeout_ms + 1000) * MS)
		violation(s, "a flush took %llu ms", (unsigned long long)((s->now - f->issued) / MS));
	s->fig.flushes++;
	if (r->error) {
		s->fig.flush_errors++;
	} else {
		model_flush_done(s, reply_epoch(s, r), f->clock);
		world_moment(s, &s->hosts[0], 2000, 40);
		world_moment(s, &s->hosts[1], 2000, 40);
	}
	if (then)
		then(s, r->error);
}

void world_flush(struct sim *s, struct host *h, void (*then)(struct sim *s, int error))
{
	for (unsigned i = then ? FLUSHES_MAX - 1 : 0; i < FLUSHES_MAX - !then; i++) {
		struct flush *f = &s->flushes[i];

		if (f->busy)
			continue;
		memset(f, 0, sizeof(*f));
		f->host = h;
		f->busy = true;
		f->then = then;
		f->clock = ++s->model.clock;
		f->issued = s->now;
		f->req.cmd.verb = CMD_FLUSH;
		f->req.done = flush_done;
		node_command(h->node, &f->req);
		host_poll(s, h);
		world_moment(s, &s->hosts[0], 6000, 2);
		world_moment(s, &s->hosts[1], 6000, 2);
		return;
	}
}

void world_gone(struct sim *s, struct host *h)
{
	for (unsigned i = 0; i < FLUSHES_MAX; i++)
		if (s->flushes[i].host == h)
			s->flushes[i].busy = false;
}

static void flush_tick(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[s->primary];

	(void)e;
	event_add(s, rnd_delay(s, s->phase == PHASE_HEAL ? 50 * MS : s->flush_us), -1, flush_tick);
	if (h->state != HOST_UP || s->phase == PHASE_DONE)
		return;
	host_begin(s, h);
	world_flush(s, h, NULL);
	host_end(s, h);
}

/* ---- failover ---- */

static void failover_tick(struct sim *s, struct event *e);
static void failover_watch(struct sim *s, struct event *e);

static void failover_done(struct command_req *r)
{
	struct host *h = r->owner;
	struct sim *s = h->sim;

	if (h->state != HOST_UP)
		return;
	host_poll(s, h);
	say(s, "failover: %s", r->reply);
	if (!r->error) {
		guest_probe(s, h, promoted_probed);
		return;
	}
	s->failover_force |= s->faults;
	if (r->error != -EBUSY && !s->faults)
		violation(s, "failover: %s", r->reply);
	event_add(s, 20 * MS, -1, failover_tick);
}

static void failover_tick(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[1];

	(void)e;
	if (s->phase != PHASE_FAILOVER)
		return;
	if (h->state != HOST_UP || guest_probing(s, h) || guest_inflight(s, h) || !h->committed) {
		if (h->state == HOST_UP && !guest_probing(s, h))
			guest_run(s, h, false);
		event_add(s, 5 * MS, -1, failover_tick);
		return;
	}
	guest_run(s, h, false);
	if (s->now - s->phase_since > 60000 * MS)
		violation(s, "no failover within a minute");
	memset(&s->failover, 0, sizeof(s->failover));
	s->failover.cmd.verb = CMD_FAILOVER;
	s->failover.cmd.force = s->failover_force || one_in(s, 4);
	s->failover.done = failover_done;
	s->failover.owner = h;
	s->failover_life = h->life;
	host_begin(s, h);
	node_command(h->node, &s->failover);
	host_end(s, h);
	world_moment(s, h, 5000, 60);
	event_add(s, 5 * MS, -1, failover_watch);
}

/* The host may have crashed with the command: then it is given again. */
static void failover_watch(struct sim *s, struct event *e)
{
	(void)e;
	if (s->phase != PHASE_FAILOVER)
		return;
	if (s->hosts[1].life != s->failover_life)
		event_add(s, MS, -1, failover_tick);
	else
		event_add(s, 5 * MS, -1, failover_watch);
}

static void begin_failover(struct sim *s)
{
	struct host *old = &s->hosts[0], *h = &s->hosts[1];

	if (s->phase != PHASE_RUN || h->state != HOST_UP || !h->committed || s->primary != 0)
		return;
	if (guest_probing(s, h) || !old->node)
		return;
	say(s, "the primary dies for good");
	host_crash(s, old, true);
	s->phase = PHASE_FAILOVER;
	s->phase_since = s->now;
	s->failover_force = false;
	h->role = -1;
	event_add(s, MS, -1, failover_tick);
}

static void new_world(struct sim *s, struct event *e)
{
	(void)e;
	if (s->phase != PHASE_PROMOTED)
		return; /* the end of the seed came in between: a world that heals is let end */
	world_clear(s);
	world_start(s);
}

/* ---- chaos ---- */

static void heal_partition(struct sim *s, struct event *e)
{
	(void)e;
	s->partitioned = false;
}

static void chaos(struct sim *s)
{
	struct host *h = &s->hosts[rnd_below(s, HOSTS)];
	uint64_t dice = rnd_below(s, 100);

	if (dice < 25) {
		wire_cut_all(s);
	} else if (dice < 50) {
		wire_stall(s, rnd_below(s, (one_in(s, 3) ? 2 : 1) * s->link_timeout_ms * MS));
	} else if (dice < 60) {
		s->partitioned = true;
		event_add(s, rnd_below(s, 2 * s->link_timeout_ms * MS), -1, heal_partition);
	} else if (dice < 85) {
		world_crash_later(s, h, 0);
	} else if (dice < 95) {
		stop_in_order(s, h);
	} else if (dice < 97) {
		begin_failover(s);
	}
}

/* Instead of that, where a situation is wanted often. */
static void bias_chaos(struct sim *s, const struct bias *b)
{
	uint32_t dice = (uint32_t)rnd_below(s, 100), upto = b->failover_percent;

	if (dice < upto)
		begin_failover(s);
	else if (dice < (upto += b->cut_percent))
		wire_cut_all(s);
	else if (dice < (upto += b->stall_percent))
		wire_stall(s, rnd_below(s, s->link_timeout_ms * MS));
	else if (dice < (upto += b->primary_percent))
		world_crash_later(s, &s->hosts[0], 0);
	else if (dice < upto + b->backup_percent)
		world_crash_later(s, &s->hosts[1], 0);
	else if (!b->quiet)
		chaos(s);
}

static void chaos_tick(struct sim *s, struct event *e)
{
	(void)e;
	event_add(s, rnd_delay(s, s->chaos_us), -1, chaos_tick);
	if (s->phase == PHASE_RUN && s->bias && s->bias->chaos_ms)
		bias_chaos(s, s->bias);
	else if (s->phase == PHASE_RUN)
		chaos(s);
	if (s->phase == PHASE_PROMOTED && one_in(s, 3))
		world_crash_later(s, &s->hosts[1], 0);
	if (s->phase == PHASE_PROMOTED && s->now - s->phase_since > 1500 * MS)
		event_add(s, 0, -1, new_world);
}

/* ---- worlds ---- */

void world_start(struct sim *s)
{
	if (!s->flushes) {
		s->flushes = calloc(FLUSHES_MAX, sizeof(*s->flushes));
		if (!s->flushes)
			abort();
	}
	s->fig.worlds++;
	s->phase = PHASE_RUN;
	s->primary = 0;
	s->backup_exists = s->partitioned = false;
	s->phase_since = s->now;
	s->link_timeout_ms = 100 + rnd_below(s, 900);
	s->flush_timeout_ms = 500 + rnd_below(s, 4000);
	s->wire_us = one_in(s, 3) ? 2000 : 50 + rnd_below(s, 400);
	s->send_limit = 768u * 1024 << rnd_below(s, 3);
	s->commit_ms = one_in(s, 4) ? 10 + (uint32_t)rnd_below(s, 200) : 0;
	s->journal_size = (4ull + 4 * rnd_below(s, 4)) << 20;
	s->segment_size = 1u << 20;
	s->crash_bias = 500u << rnd_below(s, 6);
	s->chaos_us = (10ull << rnd_below(s, 6)) * MS;
	s->flush_us = (1ull << rnd_below(s, 6)) * MS;
	bias_world(s);
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];
		uint32_t life = h->life + 1;

		memset(h, 0, sizeof(*h)); /* its disk was cleared with the last world */
		h->life = life;
		h->sim = s;
		h->index = i;
		h->role = i ? NODE_BACKUP : NODE_PRIMARY;
		h->deadline = NEVER;
		disk_format(s, &h->disk);
		world_restart_later(s, h, i ? rnd_below(s, 40 * MS) : 0);
	}
	event_add(s, s->chaos_us, -1, chaos_tick);
	event_add(s, s->flush_us, -1, flush_tick);
}

void world_clear(struct sim *s)
{
	s->phase = PHASE_DONE;
	for (int i = 0; i < HOSTS; i++) {
		if (s->hosts[i].node)
			host_finish(s, &s->hosts[i]);
		disk_clear(s, &s->hosts[i].disk);
	}
	event_clear(s);
	wire_clear(s);
	model_reset(s);
	guest_reset(s);
}
