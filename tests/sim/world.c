/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The scenario of one world, from two empty disks on: settings, starts, crashes
 * at bad moments, stops in order, flushes. What goes wrong of itself is in
 * chaos.c, failovers are in takeover.c. At the end of a seed everything heals
 * and progress is demanded (heal.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "peek.h"
#include "world.h"

#define MS 1000ull

static void flush_tick(struct sim *s, struct event *e);

bool world_faulty(const struct sim *s)
{
	return !s->healing && s->phase != PHASE_DONE && !compare_calm(s);
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
	if (s->phase == PHASE_FAILOVER ? h->index == s->primary : s->phase == PHASE_PROMOTED && h->index != s->primary && !h->returned)
		return; /* the old primary is dead and gone */
	/* Its operator knows that the peer was not promoted. */
	h->start_alone = world_faulty(s) && !s->auto_failover && h->index == s->primary && s->phase == PHASE_RUN && one_in(s, 4);
	h->start_alone |= h->stale && h->denied;
	if (h->may_be_promoted)
		h->role = -1;
	if (h->start_alone)
		happened(s, H_START_ALONE);
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

void world_crash(struct sim *s, struct host *h, bool power)
{
	host_crash(s, h, power);
	h->restarting = true;
	if (s->auto_failover && h->index == s->primary && one_in(s, 2)) /* long enough to be missed */
		world_restart_later(s, h, rnd_below(s, 4 * s->link_timeout_ms * MS));
	else
		world_restart_later(s, h, !one_in(s, 8) ? rnd_below(s, 5 * MS) : rnd_below(s, 2 * s->link_timeout_ms * MS));
}

static void crash(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[e->arg];

	if (e->arg2 != h->life)
		return;
	h->crash_soon = false;
	if (h->node && (world_faulty(s) || e->ptr)) /* an order, not a fault */
		world_crash(s, h, !one_in(s, 4));
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

void world_restart_now(struct sim *s, struct host *h)
{
	struct event *e = event_add(s, 0, -1, crash);

	e->arg = (uint64_t)h->index;
	e->arg2 = h->life;
	e->ptr = h;
}

void world_moment(struct sim *s, struct host *h, uint64_t soon_us, uint32_t weight)
{
	if (!world_faulty(s) || h->crash_soon || !h->node || rnd_below(s, s->crash_bias) >= weight)
		return;
	world_crash_later(s, h, rnd_below(s, 2 * soon_us + 1));
}

/* ---- after a start ---- */

bool world_refused(struct sim *s, struct host *h, int error)
{
	if (h->stale && h->index != s->primary) {
		h->denied |= error == -ESTALE; /* split brain: mounted all the same, for discard-local */
		return error == -ESTALE || error == -ETIMEDOUT;
	}
	if (error != -ETIMEDOUT || h->index != s->primary || h->start_alone)
		return false;
	happened(s, H_START_REFUSED);
	return true; /* if it is so for ever heal.c will see it */
}

static void primary_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	model_check_floor(s, img, count, !h->power_lost && !h->lossy);
	model_rebase(s, img, count, h->power_lost, false);
	h->power_lost = h->lossy = false;
	guest_run(s, h, true);
}

static void backup_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	if (h->committed && img)
		model_check_epoch(s, img, count, h->committed, false);
	h->power_lost = false;
	guest_run(s, h, true);
}

void world_ready(struct sim *s, struct host *h)
{
	roles_started(s, h);
	if (s->phase == PHASE_PROMOTED && h->index != s->primary && h->stale)
		takeover_old_ready(s, h);
	if (s->phase == PHASE_SWITCH || (h->stale && h->index != s->primary))
		return; /* roles.c looks at it */
	if (h->index == s->primary) {
		guest_probe(s, h, primary_probed);
	} else if (s->phase == PHASE_RUN && h->may_be_promoted && host_is_primary(h)) {
		fence_poll(s, h); /* promoted by itself, then crashed */
	} else if (s->phase == PHASE_FAILOVER && host_is_primary(h)) { /* promoted, then crashed */
		if (s->hosts[s->primary].node)
			host_crash(s, &s->hosts[s->primary], true);
		guest_probe(s, h, takeover_probed);
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
	host_finish(s, h); /* first: what a failed fdatasync lost is not there any more */
	count = disk_images(s, &h->disk, img);
	/* A stop that reports an error promises nothing about the files. */
	if (h->stop_failed)
		h->lossy |= h->sick;
	else if (h->index == s->primary && s->phase != PHASE_SWITCH)
		model_check_floor(s, img, count, true);
	else if (h->index != s->primary && h->committed && !h->stale && !h->discarding)
		model_check_epoch(s, img, count, h->committed, false);
	if (!h->stop_failed)
		happened(s, H_STOP_CLEAN);
	for (uint32_t i = 0; i < count; i++)
		pool_put(s, img[i].data, img[i].size + 1);
	if (!h->stop_failed)
		h->power_lost = false;
	h->restarting = true;
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

void world_stop(struct sim *s, struct host *h)
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
	if (s->now - f->issued > (s->flush_timeout_ms + 1000) * MS + host_frozen(f->host, f->issued))
		violation(s, "a flush took %llu ms", (unsigned long long)((s->now - f->issued) / MS));
	s->fig.flushes++;
	if (r->error) {
		s->fig.flush_errors++;
	} else {
		const struct host *peer = &s->hosts[!f->host->index];

		if (peer->state == HOST_UP && peek_part(peer->node))
			violation(s, "a flush is done by a part of a resync in-place: %s", r->reply);
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
		memset(f, 0, offsetof(struct flush, req.reply));
		f->req.reply[0] = 0;
		memset(&f->req.error, 0, sizeof(f->req) - offsetof(struct command_req, error));
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

bool world_flushing(const struct sim *s)
{
	return s->flushes[FLUSHES_MAX - 1].busy;
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
	event_add(s, rnd_delay(s, s->healing ? 50 * MS : s->flush_us), -1, flush_tick);
	if (h->state != HOST_UP || s->phase == PHASE_DONE || (!wire_up(s) && !one_in(s, 16)))
		return;
	host_begin(s, h);
	world_flush(s, h, NULL);
	host_end(s, h);
}

/* ---- worlds ---- */

/* An empty one. */
void world_new_host(struct sim *s, struct host *h, int role)
{
	uint32_t life = h->life + 1;

	disk_clear(s, &h->disk);
	memset(h, 0, sizeof(*h));
	h->life = life;
	h->sim = s;
	h->index = (int)(h - s->hosts);
	h->role = role;
	h->deadline = NEVER;
	disk_format(s, &h->disk);
}

/* Disks fail in one world of three. */
static void fault_settings(struct sim *s)
{
	uint64_t who = rnd_below(s, 9), rate = 40ull << rnd_below(s, 6);

	s->fault_rate[0] = s->faults && (who == 0 || who == 1) ? rate : 0;
	s->fault_rate[1] = s->faults && (who == 1 || who == 2) ? rate : 0;
	s->fsync_faults = one_in(s, 2);
}

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
	s->partitioned = s->healing = false;
	s->auto_failover = one_in(s, 3);
	s->hello_len = 0;
	fault_settings(s);
	s->phase_since = s->now;
	s->link_timeout_ms = 100 + rnd_below(s, s->auto_failover ? 200 : 900);
	s->flush_timeout_ms = 500 + rnd_below(s, 4000);
	s->wire_us = one_in(s, 3) ? 2000 : 50 + rnd_below(s, 400);
	s->batch_us = 50 + rnd_below(s, 400);
	s->batch_ends = 2 + rnd_below(s, 20);
	s->send_limit = 768u * 1024 << rnd_below(s, 3);
	s->peer_wait_ms = one_in(s, 2) ? 100 + (uint32_t)rnd_below(s, 1000) : 1000 + (uint32_t)rnd_below(s, 9000);
	s->commit_ms = one_in(s, 4) ? 10 + (uint32_t)rnd_below(s, 200) : 0;
	s->journal_size = s->overlay_size = (4ull + 4 * rnd_below(s, 4)) << 20;
	s->segment_size = 256u << (10 + rnd_below(s, 3));
	if (one_in(s, 4)) { /* as small as an epoch: full now and then */
		s->segment_size = 256u << 10;
		s->journal_size = 12 * s->segment_size;
	}
	if (one_in(s, 4))
		s->overlay_size = 4 * s->segment_size;
	s->suspend = one_in(s, 8);
	s->commit_fsync = one_in(s, s->suspend ? 2 : 8);
	s->catch_up = one_in(s, 4);
	s->crash_bias = 500u << rnd_below(s, 6);
	s->chaos_us = (10ull << rnd_below(s, 6)) * MS;
	s->flush_us = (1ull << rnd_below(s, 6)) * MS;
	s->activity_ms = 1u << rnd_below(s, 10);
	s->part_bytes = 512ull << rnd_below(s, 6);
	s->activity_shift = (uint8_t)(13 + rnd_below(s, 4)); /* 8 KiB and more, of images of 48 at most */
	bias_world(s);
	for (int i = 0; i < HOSTS; i++) {
		world_new_host(s, &s->hosts[i], i ? NODE_BACKUP : NODE_PRIMARY);
		world_restart_later(s, &s->hosts[i], i ? rnd_below(s, 40 * MS) : 0);
	}
	chaos_start(s);
	event_add(s, s->flush_us, -1, flush_tick);
	prepare_start(s);
	compare_start(s);
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
