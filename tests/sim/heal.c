/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a seed: no more faults; everything is started again. Within a
 * bounded time the primary must be protected, a flush must be done, and both
 * copies must then be equal.
 */
#include <string.h>

#include "world.h"

#define MS 1000ull

static void heal_watch(struct sim *s, struct event *e);

static void watch_later(struct sim *s, uint64_t ms)
{
	event_add(s, ms * MS, -1, heal_watch);
}

static void backup_equal(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	if (h->committed < s->model.acked_epoch)
		violation(s, "the flush is done, the backup still shows epoch %llu",
		          (unsigned long long)h->committed);
	if (!img) { /* a flush of the load's came in between */
		guest_probe(s, h, backup_equal);
		return;
	}
	model_check_epoch(s, img, count, h->committed, false);
	s->fig.heals++;
	s->phase = PHASE_DONE;
}

static void primary_equal(struct sim *s, struct host *h, struct probe_image *img, uint32_t count)
{
	model_check_floor(s, img, count, true);
	if (h->index == 0) {
		guest_probe(s, &s->hosts[1], backup_equal);
		return;
	}
	s->fig.heals++;
	s->phase = PHASE_DONE;
}

static void healed_flush(struct sim *s, int error)
{
	if (error) {
		watch_later(s, 50);
		return;
	}
	guest_probe(s, &s->hosts[s->primary], primary_equal);
}

static void heal_starts(struct sim *s)
{
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];

		if (h->state == HOST_DOWN && !h->restarting && (s->primary == 0 || i == 1)) {
			h->restarting = true;
			world_restart_later(s, h, 10 * MS);
		}
	}
}

static bool quiet(struct sim *s)
{
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];

		if (i == 0 && s->primary == 1)
			continue;
		if (h->state != HOST_UP || guest_probing(s, h))
			return false;
	}
	return s->primary == 1 || host_protected(&s->hosts[0]);
}

static void heal_watch(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[s->primary];
	bool idle = true;

	(void)e;
	if (s->now - s->phase_since > HEAL_MS * MS)
		violation(s, "nothing is broken any more, but there is no protection within %llu s",
		          (unsigned long long)(HEAL_MS / 1000));
	heal_starts(s);
	if (s->now - s->phase_since > HEAL_MS * MS / 2) /* a guest that outruns the sync is no fault */
		guest_run(s, h, false);
	if (!quiet(s)) {
		watch_later(s, 20);
		return;
	}
	for (int i = 0; i < HOSTS; i++) {
		guest_run(s, &s->hosts[i], false);
		idle &= !guest_inflight(s, &s->hosts[i]);
	}
	if (!idle) {
		watch_later(s, 5);
		return;
	}
	host_begin(s, h);
	if (s->primary == 0)
		world_flush(s, h, healed_flush);
	else
		guest_probe(s, h, primary_equal);
	host_end(s, h);
}

void world_heal(struct sim *s)
{
	s->partitioned = false;
	wire_stall(s, 0);
	if (s->phase == PHASE_FAILOVER || s->phase == PHASE_PROMOTED) {
		/* one node: it is enough that it is there and whole */
		s->phase = s->phase == PHASE_FAILOVER ? PHASE_DONE : PHASE_HEAL;
	} else {
		s->phase = PHASE_HEAL;
	}
	say(s, "everything heals");
	if (s->faults && s->primary == 0 && s->hosts[1].node) /* its disk is mended: mounted anew */
		host_crash(s, &s->hosts[1], true);
	s->phase_since = s->now;
	watch_later(s, 1);
}
