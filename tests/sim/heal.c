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
	(void)h;
	model_check_floor(s, img, count, true);
	guest_probe(s, &s->hosts[!s->primary], backup_equal);
}

static void healed_flush(struct sim *s, int error)
{
	if (error) {
		watch_later(s, 50);
		return;
	}
	guest_probe(s, &s->hosts[s->primary], primary_equal);
}

/* An operator's part: mount what is down, and anew what is in mode failed or has a disk that failed to sync. */
static void heal_hosts(struct sim *s)
{
	for (int i = 0; i < HOSTS; i++) {
		struct host *h = &s->hosts[i];

		if (h->stuck || (h->state == HOST_UP && (host_failed(h) || h->sick)))
			world_crash(s, h, false);
		if (h->state == HOST_DOWN && !h->restarting) {
			h->restarting = true;
			world_restart_later(s, h, 10 * MS);
		}
	}
}

static bool quiet(struct sim *s)
{
	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].state != HOST_UP || guest_probing(s, &s->hosts[i]))
			return false;
	if (compare_pending(s))
		return false;
	return s->phase == PHASE_RUN && host_protected(&s->hosts[s->primary]);
}

static void heal_watch(struct sim *s, struct event *e)
{
	struct host *h = &s->hosts[s->primary];
	bool idle = true;

	(void)e;
	if (s->now - s->phase_since > HEAL_MS * MS)
		violation(s, "nothing is broken any more, but %s within %llu s",
		          compare_pending(s) ? "a verify, resync or set is not answered" : "there is no protection",
		          (unsigned long long)(HEAL_MS / 1000));
	heal_hosts(s);
	/* A guest that outruns the sync is no fault; where it fills the journal, the sync waits up to 30 s behind each time. */
	if (s->now - s->phase_since > HEAL_MS * MS / (s->bias && s->bias->tight ? 8 : 2))
		guest_run(s, h, false);
	if (!quiet(s)) {
		watch_later(s, 20);
		return;
	}
	for (int i = 0; i < HOSTS; i++) {
		guest_run(s, &s->hosts[i], false);
		idle &= !guest_inflight(s, &s->hosts[i]);
	}
	if (!idle || world_flushing(s)) {
		watch_later(s, 5);
		return;
	}
	host_begin(s, h);
	world_flush(s, h, healed_flush);
	host_end(s, h);
}

void world_heal(struct sim *s)
{
	s->partitioned = false;
	wire_stall(s, 0, -1);
	s->healing = true;
	say(s, "everything heals");
	/* What could not be read for a sync is left out until the next session. */
	if (s->fault_rate[s->primary])
		wire_cut_all(s);
	s->phase_since = s->now;
	watch_later(s, 1);
}
