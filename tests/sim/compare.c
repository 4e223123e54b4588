/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An operator who compares the copies, at any time and under load: `verify
 * [IMAGE]`, `resync [full] [in-place]`, `set`, some of them interrupted. Copies are equal
 * by construction unless a disk failed, so each difference that a verify finds is
 * a violation, but one that flip.c has made. Commands are answered: at once
 * when interrupted, all of them before a world has healed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "peek.h"

#define MS 1000ull

bool compare_waits(const struct order *o)
{
	return o->busy && o->host->life == o->life;
}

/* Gives o->req.cmd to h. True: it is not answered yet. */
static bool compare_order(struct sim *s, struct host *h, struct order *o)
{
	o->host = h;
	o->life = h->life;
	o->busy = true;
	o->cancelled = false;
	o->req.owner = o;
	o->req.reply[0] = 0;
	s->compare->orders++;
	host_begin(s, h);
	node_command(h->node, &o->req);
	host_end(s, h);
	return o->busy;
}

static void interrupt(struct sim *s, struct event *e)
{
	struct order *o = e->ptr;
	struct host *h = o->host;

	if (!compare_waits(o) || h->state != HOST_UP || e->arg2 != s->compare->orders)
		return;
	o->cancelled = true;
	host_begin(s, h);
	node_command_cancel(h->node, &o->req);
	host_end(s, h);
	if (compare_waits(o) && h->state == HOST_UP)
		violation(s, "host %d: a command that was interrupted is not answered", h->index);
	happened(s, H_INTERRUPTED);
}

static void interrupt_later(struct sim *s, struct host *h, struct order *o)
{
	struct event *e = event_add(s, rnd_below(s, 8 * s->wire_us + 20 * h->disk.speed_us), -1, interrupt);

	e->ptr = o;
	e->arg2 = s->compare->orders;
}

/* Whether the order was answered by a node that lives, and is over. */
static bool answered(struct order *o)
{
	if (!compare_waits(o) || o->host->state == HOST_DOWN)
		return false;
	o->busy = false;
	o->error = o->req.error;
	say(o->host->sim, "host %d: %s", o->host->index, o->req.reply);
	return true;
}

/* Refusals and ends that can be right. */
static bool excused(const struct order *o)
{
	switch (o->error) {
	case 0: case -ENOTCONN: case -EBUSY:
		return true;
	case -EINTR:
		return o->cancelled;
	case -EPERM:
		return !peek_primary(o->host->node);
	case -EINVAL: /* renamed or removed meanwhile */
		return o->req.cmd.verb == CMD_VERIFY && o->req.cmd.image[0];
	default:
		return o->host->faulted;
	}
}

static uint64_t number_behind(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static void verified(struct command_req *r)
{
	struct order *o = r->owner;
	struct sim *s = o->host->sim;

	if (!answered(o))
		return;
	if (!excused(o))
		violation(s, "verify: %s", r->reply);
	if (r->error)
		return;
	happened(s, H_VERIFIED);
	/* The same words again are not said again. */
	if (number_behind(r->reply, "differ=") && !s->compare->flip.named)
		compare_log(s, o->host, peek_error(o->host->node));
	s->fig.verified_blocks += number_behind(r->reply, "blocks=");
}

static void resynced(struct command_req *r)
{
	struct order *o = r->owner;
	struct sim *s = o->host->sim;

	if (!answered(o))
		return;
	if (!excused(o))
		violation(s, "resync: %s", r->reply);
	if (r->error)
		return;
	if (peek_live(o->host->node) && !peek_protected(o->host->node))
		violation(s, "resync is done, and there is no protection: %s", r->reply);
	happened(s, r->cmd.full ? H_RESYNC_FULL : H_RESYNC);
}

static void was_set(struct command_req *r)
{
	struct order *o = r->owner;
	struct sim *s = o->host->sim;

	if (!answered(o))
		return;
	if (r->error)
		violation(s, "set %s %s: %s", r->cmd.option, r->cmd.value, r->reply);
	happened(s, H_SET);
}

/* What a node said. */
void compare_log(struct sim *s, struct host *h, const char *text)
{
	const char *name = "verify: image ", *differs = " differs from the peer's at offset ", *at = strstr(text, differs);
	char image[NAME_LEN] = "";

	if (!at || strncmp(text, name, strlen(name)))
		return;
	text += strlen(name);
	snprintf(image, sizeof(image), "%.*s", (int)(at - text), text);
	if (flip_named(s, image, number_behind(at, differs), number_behind(at, " (")))
		return;
	if (!s->fault_rate[0] && !s->fault_rate[1])
		violation(s, "host %d: verify finds a difference where there is none: %s", h->index, text);
}

void compare_frame(struct sim *s, struct host *h, unsigned type, uint64_t image, uint64_t off, uint64_t len)
{
	if (flip_running(s) && h->index == s->primary)
		flip_frame(s, type, image, off, len);
}

bool compare_pending(struct sim *s)
{
	const struct compare *c = s->compare;

	return flip_running(s) || compare_waits(&c->verify) || compare_waits(&c->resync) || compare_waits(&c->again) ||
	       compare_waits(&c->set);
}

bool compare_calm(const struct sim *s)
{
	return flip_running(s);
}

/* ---- orders ---- */

static void verify(struct sim *s, struct host *h)
{
	struct order *o = &s->compare->verify;
	struct image *img = node_image_next(h->node, NULL);

	o->req.cmd = (struct command){ .verb = CMD_VERIFY };
	o->req.done = verified;
	if (img && one_in(s, 4))
		snprintf(o->req.cmd.image, sizeof(o->req.cmd.image), "%s", image_name(img));
	if (compare_order(s, h, o) && one_in(s, 4))
		interrupt_later(s, h, o);
}

void compare_verify_all(struct sim *s, struct host *h)
{
	struct order *o = &s->compare->verify;

	o->req.cmd = (struct command){ .verb = CMD_VERIFY };
	o->req.done = verified;
	compare_order(s, h, o);
}

static void order_resync(struct sim *s, struct host *h, struct order *o, bool full, bool in_place)
{
	o->req.cmd = (struct command){ .verb = CMD_RESYNC, .full = full, .in_place = in_place };
	o->req.done = resynced;
	compare_order(s, h, o);
}

void compare_resync(struct sim *s, struct host *h, struct order *o, bool full)
{
	order_resync(s, h, o, full, false);
}

static void resync(struct sim *s, struct host *h)
{
	struct order *o = &s->compare->resync;

	order_resync(s, h, o, one_in(s, 2), (s->bias && s->bias->in_place) || one_in(s, 2));
	if (compare_waits(o) && one_in(s, 4))
		interrupt_later(s, h, o);
}

/* Those that no oracle reckons with: the time-outs, overlay and what changes a guest's fsync stay. journal-size begins
 * above the journals here. */
static void set(struct sim *s, struct host *h)
{
	static const char *const values[][2] = {
		{ "resync-rate", "256K" }, { "resync-rate", "4M" }, { "resync-rate", "0" }, { "congestion", "catch-up" },
		{ "congestion", "block" }, { "commit", "20" }, { "commit", "manual" },
	};
	const char *const *v = values[rnd_below(s, sizeof(values) / sizeof(values[0]))];
	struct order *o = &s->compare->set;

	if (!strcmp(v[0], "commit") && s->commit_fsync)
		return;
	o->req.cmd = (struct command){ .verb = CMD_SET };
	strcpy(o->req.cmd.option, v[0]);
	strcpy(o->req.cmd.value, v[1]);
	o->req.done = was_set;
	compare_order(s, h, o);
}

static void tick(struct sim *s, struct event *e)
{
	struct compare *c = s->compare;
	struct host *h = &s->hosts[s->primary], *any = &s->hosts[rnd_below(s, HOSTS)];
	uint64_t dice = rnd_below(s, 16);

	(void)e;
	event_add(s, rnd_delay(s, s->compare_us), -1, tick);
	if (!world_faulty(s) || s->phase == PHASE_SWITCH)
		return;
	if (dice == 15 && any->state == HOST_UP && !compare_waits(&c->set))
		set(s, any);
	if (h->state != HOST_UP || (!wire_up(s) && !one_in(s, 16)))
		return;
	if (s->bias && s->bias->in_place && !compare_waits(&c->resync))
		resync(s, h);
	else if (dice < 8 && !compare_waits(&c->verify))
		verify(s, h);
	else if (dice < 11 && !compare_waits(&c->resync))
		resync(s, h);
	else if (dice < 14)
		flip_begin(s);
}

static bool biased(const struct sim *s)
{
	return s->bias && s->bias->compares;
}

void compare_start(struct sim *s)
{
	if (!s->compare) {
		s->compare = calloc(1, sizeof(*s->compare));
		if (!s->compare)
			abort();
	}
	memset(&s->compare->flip, 0, sizeof(s->compare->flip));
	if (s->bias && s->bias->quiet && !biased(s))
		return;
	s->compare_us = biased(s) ? 4 * MS : (2ull << rnd_below(s, 5)) * MS;
	if (biased(s) || one_in(s, 2))
		event_add(s, s->compare_us, -1, tick);
}
