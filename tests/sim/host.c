/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One host: the shell's part around a node of the real core. Starts it from
 * what its disk holds, drives it in batches, ends it in order or not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../ctl/log.h"
#include "peek.h"
#include "sim.h"

#define BOOT_IMAGES 64
#define BOOT_SEGMENTS 512

static struct host *host_of(struct env *env)
{
	return (struct host *)env;
}

/* ---- env_ops ---- */

static void env_submit(struct env *env, struct io *io)
{
	struct host *h = host_of(env);

	if (h->state != HOST_DOWN) /* node_destroy() has nothing to ask for any more */
		disk_submit(h->sim, h, io);
}

static int env_read_now(struct env *env, enum file_kind kind, uint64_t file, uint64_t off, void *buf,
                        size_t len)
{
	struct host *h = host_of(env);

	return disk_read_now(h->sim, &h->disk, kind, file, off, buf, len);
}

static void env_random(struct env *env, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(rnd(host_of(env)->sim) >> 20);
}

static void env_tx(struct env *env, int link, const struct iovec *iov, int count)
{
	if (host_of(env)->state != HOST_DOWN)
		wire_tx(host_of(env)->sim, host_of(env), link, iov, count);
}

static size_t env_tx_room(struct env *env, int link)
{
	return host_of(env)->state == HOST_DOWN ? 0 : wire_room(host_of(env)->sim, host_of(env), link);
}

static void env_link_close(struct env *env, int link)
{
	if (host_of(env)->state != HOST_DOWN)
		wire_close(host_of(env)->sim, host_of(env), link);
}

static int env_fence(struct env *env, const char *const *args)
{
	(void)args;
	return fence_begin(host_of(env)->sim, host_of(env));
}

static void env_fence_kill(struct env *env)
{
	fence_end(host_of(env)->sim, host_of(env));
}

static void env_dial(struct env *env)
{
	wire_dial(host_of(env)->sim, host_of(env));
}

/* Not everything that happened shows from outside. */
static void note_log(struct sim *s, struct host *h, const char *text)
{
	if (!strncmp(text, "a part of a resync in-place is", 30)) {
		happened(s, H_PART);
		world_moment(s, h, 40 * h->disk.speed_us, 200);
	}
	if (!strncmp(text, "mode failed", 11))
		happened(s, H_FAILED_MODE);
	else if (!strncmp(text, "protected", 9))
		happened(s, H_PROTECTED);
	else if (!strncmp(text, "the activity map names", 22))
		happened(s, H_ACTIVITY);
	else if (!strncmp(text, "the activity map is", 19))
		happened(s, H_ACTIVITY_BAD);
	else if (strstr(text, "refused epoch") && strstr(text, "open there"))
		happened(s, H_PART_BUSY);
	else if (!strncmp(text, "what the last session left", 26))
		happened(s, H_KEPT);
	else if (!strncmp(text, "what either node wrote since", 28))
		happened(s, H_REJOIN_DELTA);
	else if (!strncmp(text, "what the activity map named", 27))
		happened(s, H_ACTIVITY_DELTA);
	else if (strstr(text, "replaced by a newer link"))
		happened(s, H_REPLACED);
	else if (strstr(text, "split brain behind"))
		happened(s, H_SPLIT);
	else if (strstr(text, "its journal is full"))
		happened(s, H_REFUSED_FULL);
	else if (strstr(text, "the peer was heard meanwhile"))
		happened(s, H_FENCE_VOID);
}

static void env_log(struct env *env, int level, const char *text)
{
	struct host *h = host_of(env);

	(void)level;
	note_log(h->sim, h, text);
	compare_log(h->sim, h, text);
	say(h->sim, "host %d: %s", h->index, text);
}

static const struct env_ops env_ops = {
	.submit = env_submit,
	.read_now = env_read_now,
	.random = env_random,
	.tx = env_tx,
	.tx_room = env_tx_room,
	.link_close = env_link_close,
	.dial = env_dial,
	.fence = env_fence,
	.fence_kill = env_fence_kill,
	.log = env_log,
};

/* ---- batches ---- */

void host_begin(struct sim *s, struct host *h)
{
	uint64_t ms = s->now / 1000 + (uint64_t)h->index * 12345;

	node_time(h->node, ms, (uint64_t)((int64_t)(1700000000000ull + ms) + h->wall_ms));
}

static void host_deadline(struct sim *s, struct host *h)
{
	uint64_t ms = node_deadline_ms(h->node), base = (uint64_t)h->index * 12345;

	h->deadline = ms == UINT64_MAX ? NEVER : ms <= base ? s->now : (ms - base) * 1000;
	if (h->deadline <= s->now) /* a clock of milliseconds cannot be asked sooner */
		h->deadline = (s->now / 1000 + 1) * 1000;
	if (h->deadline < h->frozen_until)
		h->deadline = h->frozen_until;
}

void host_end(struct sim *s, struct host *h)
{
	node_batch_end(h->node);
	host_poll(s, h);
	if (s->hosts[0].node && s->hosts[1].node && peek_primary(s->hosts[0].node) && peek_primary(s->hosts[1].node) &&
	    peek_live(s->hosts[0].node) && peek_live(s->hosts[1].node))
		violation(s, "two primaries count as each other's peer");
	host_deadline(s, h);
}

void host_poll(struct sim *s, struct host *h)
{
	uint64_t current, committed;

	if (s->phase == PHASE_PROMOTED && h->index != s->primary && !h->returned)
		return; /* whose peer was promoted: nobody reads there */
	if (s->auto_failover)
		fence_poll(s, h);
	peek_epochs(h->node, &current, &committed);
	if (h->index == s->primary) {
		if (current != h->current && h->current)
			model_cut(s, h->current);
		if (current > h->current + 1 && h->current) /* a session's first epoch, cut in the same batch */
			model_cut(s, current - 1);
		h->current = current;
		return;
	}
	roles_switch_poll(s, h);
	if (h->index == s->primary || roles_poll(s, h, committed))
		return;
	if (committed != h->committed && h->state != HOST_STARTING) { /* not served yet, and not durable yet */
		h->committed = committed;
		model_visible(s, h, committed);
	}
}

bool host_protected(struct host *h)
{
	return h->state == HOST_UP && peek_protected(h->node);
}

uint64_t host_frozen(const struct host *h, uint64_t since_us)
{
	if (h->frozen_until <= since_us)
		return 0;
	return h->frozen_until - (h->frozen_since > since_us ? h->frozen_since : since_us);
}

bool host_failed(struct host *h)
{
	return peek_failed(h->node);
}

bool host_is_primary(struct host *h)
{
	struct status st;
	bool is;

	node_status(h->node, &st);
	is = strcmp(st.role, "backup") != 0;
	status_free(&st);
	return is;
}

/* ---- life ---- */

static void boot_scan(struct host *h, struct boot *b, struct boot_image *images,
                      struct boot_segment segments[2][BOOT_SEGMENTS])
{
	struct disk *d = &h->disk;
	size_t image_count = 0, count[2] = { 0, 0 };
	uint64_t activity_size = 0;

	for (struct file *f = d->files; f; f = f->next) {
		if (!f->now)
			continue;
		if (f->kind == FILE_ACTIVITY) {
			activity_size = f->size;
			continue;
		}
		if (f->kind != FILE_IMAGE) {
			int k = f->kind == FILE_OVERLAY;

			if (count[k] == BOOT_SEGMENTS)
				violation(h->sim, "host %d: too many segments", h->index);
			segments[k][count[k]++] = (struct boot_segment){ (uint32_t)f->id, f->size };
			continue;
		}
		if (image_count == BOOT_IMAGES)
			violation(h->sim, "host %d: too many images", h->index);
		images[image_count] = (struct boot_image){ .id = f->id, .size = f->size,
		                                           .mtime_ns = f->mtime, .ctime_ns = f->mtime };
		strcpy(images[image_count++].name, f->name);
	}
	*b = (struct boot){ .state = d->state, .state_len = d->state_len, .images = images,
	                    .image_count = image_count, .journal = segments[0], .overlay = segments[1],
	                    .journal_count = count[0], .overlay_count = count[1],
	                    .activity_size = activity_size };
	memcpy(b->node, d->node, sizeof(b->node));
}

static void on_ready(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	if (error && !h->faulted && !world_refused(h->sim, h, error))
		violation(h->sim, "host %d does not start: %s", h->index, why);
	if (error)
		say(h->sim, "host %d does not start: %s", h->index, why);
	if (error) { /* injected, or nobody answered: the next try may do better */
		h->stuck = true;
		world_moment(h->sim, h, 0, UINT32_MAX);
		return;
	}
	say(h->sim, "host %d is ready", h->index);
	h->state = HOST_UP;
	host_poll(h->sim, h);
	world_ready(h->sim, h);
}

void host_start(struct sim *s, struct host *h)
{
	static _Thread_local struct boot_image images[BOOT_IMAGES];
	static _Thread_local struct boot_segment segments[2][BOOT_SEGMENTS];
	struct node_config config = {
		.suspend = s->suspend, .commit_fsync = s->commit_fsync, .catch_up = s->catch_up,
		.role = h->role, .can_dial = h->index == 0, .can_accept = h->index == 1,
		.commit_ms = s->commit_ms, .journal_size = s->journal_size, .overlay_size = s->overlay_size,
		.link_timeout_ms = (uint32_t)s->link_timeout_ms,
		.flush_timeout_ms = (uint32_t)s->flush_timeout_ms, .send_buffer = s->send_limit,
		.peer_loss_failover = s->auto_failover, .can_fence = s->auto_failover, .start_alone = h->start_alone,
		.peer_wait_ms = s->peer_wait_ms, .segment_size = (uint32_t)s->segment_size, .activity_ms = s->activity_ms,
		.activity_shift = s->activity_shift, .part_bytes = s->part_bytes, .source = "/sim", .version = "sim",
	};
	struct boot boot;
	char err[512] = "";
	int error = 0;

	if (s->faults && world_faulty(s) && one_in(s, 40))
		disk_damage(s, &h->disk);
	boot_scan(h, &boot, images, segments);
	h->env.ops = &env_ops;
	h->sim = s;
	h->life++;
	h->state = HOST_STARTING;
	h->restarting = h->probed = h->faulted = h->sick = h->stop_failed = h->ordering = h->switching = h->stuck = false;
	h->frozen_until = 0;
	h->start_clock = ++s->model.clock;
	h->current = 0;
	h->last_start = s->now;
	h->node = node_create(&h->env, &config, &boot, on_ready, h, &error, err, sizeof(err));
	if (!h->node)
		violation(s, "host %d is refused its own disk: %s (%s)", h->index, err, strerror(-error));
	say(s, "host %d starts", h->index);
	host_begin(s, h);
	host_end(s, h);
}

/* The node is no more; the world's and the guests' requests to it are void. */
static void host_gone(struct sim *s, struct host *h, bool loud)
{
	h->state = HOST_DOWN;
	guest_gone(s, h);
	world_gone(s, h);
	wire_host_gone(s, h, loud);
	node_destroy(h->node);
	h->node = NULL;
	h->life++;
	h->deadline = NEVER;
	h->crash_soon = false;
}

void host_finish(struct sim *s, struct host *h)
{
	host_gone(s, h, true);
	disk_kill(s, &h->disk);
}

void host_crash(struct sim *s, struct host *h, bool power)
{
	say(s, "host %d %s", h->index, power ? "loses power" : "is killed");
	s->fig.crashes++;
	happened(s, h->index == s->primary ? power ? H_POWER_PRIMARY : H_KILL_PRIMARY :
	            power ? H_POWER_BACKUP : H_KILL_BACKUP);
	h->power_lost |= power;
	h->lossy |= h->sick;
	s->fig.power_crashes += power;
	host_gone(s, h, !power && !one_in(s, 4));
	if (power)
		disk_crash(s, &h->disk);
	else
		disk_kill(s, &h->disk);
}

static void on_stopped(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	h->stop_failed = error != 0;
	if (error && !h->faulted)
		violation(h->sim, "host %d does not stop: %s", h->index, why);
	say(h->sim, "host %d has stopped", h->index);
	world_stopped(h->sim, h);
}

void host_stop(struct sim *s, struct host *h)
{
	say(s, "host %d is told to stop", h->index);
	s->fig.stops++;
	h->state = HOST_STOPPING;
	node_stop(h->node, on_stopped, h);
}
