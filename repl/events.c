/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events: one JSON object a line, for MNT/.colo/events. The last ones are kept
 * in a ring, for readers that are a little behind; nothing is kept before the
 * first reader came.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core.h"

#define EVENTS_KEPT 256u
#define EVENT_LEN 400u

struct events {
	uint64_t next; /* number of the next one, from 1 */
	char line[EVENTS_KEPT][EVENT_LEN];
};

int node_events_open(struct node *n)
{
	if (!n->events)
		n->events = calloc(1, sizeof(*n->events));
	if (!n->events)
		return -ENOMEM;
	if (!n->events->next)
		n->events->next = 1;
	return 0;
}

uint64_t node_events_next(const struct node *n)
{
	return n->events ? n->events->next : 0;
}

const char *node_event(const struct node *n, uint64_t number)
{
	if (!n->events || number >= n->events->next)
		return NULL;
	return number + EVENTS_KEPT >= n->events->next ? n->events->line[number % EVENTS_KEPT] : "";
}

/* fmt gives further keys, `"key": value, ...` without braces. Texts from elsewhere do not belong there: they
 * would have to be escaped. */
void event(struct node *n, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (!n->events)
		return;
	char *line = n->events->line[n->events->next % EVENTS_KEPT];
	int len = snprintf(line, EVENT_LEN, "{\"time_ms\": %" PRIu64 ", \"event\": \"%s\", \"mode\": \"%s\", ", n->wall_ms,
	                   name, node_mode(n));

	va_start(ap, fmt);
	len += vsnprintf(line + len, EVENT_LEN - (size_t)len - 3, fmt, ap);
	va_end(ap);
	if ((unsigned)len > EVENT_LEN - 4) /* cut: keep it an object */
		len = snprintf(line, EVENT_LEN - 3, "{\"time_ms\": %" PRIu64 ", \"event\": \"%s\"", n->wall_ms, name);
	snprintf(line + len, EVENT_LEN - (size_t)len, "}\n");
	n->events->next++;
}

void events_free(struct node *n)
{
	free(n->events);
	n->events = NULL;
}

/* ---- what is told by comparing with what was told last ---- */

/* A checkpoint is wanted at three quarters of what the peer, or the overlay here, can hold. */
static bool checkpoint_wanted(const struct node *n)
{
	if (n->role == NODE_BACKUP)
		return n->overlay_bytes >= n->config.overlay_size / 4 * 3;
	if (!primary_mirrors(n))
		return false;
	return n->peer_wants || (n->peer_capacity && n->cur.bytes >= n->peer_capacity / 4 * 3) ||
	       (n->sync_state == SYNC_COMMIT && n->peer_overlay && !n->com_active);
}

static const char *link_text(const struct node *n)
{
	return n->live < 0 ? "down" : n->role == NODE_PRIMARY && !n->protected_ ? "syncing" : "up";
}

void events_pump(struct node *n)
{
	struct told *t = &n->told;
	bool wanted = checkpoint_wanted(n);

	if (t->mode != node_mode(n)) {
		t->mode = node_mode(n);
		event(n, "mode", "\"protected\": %s", n->protected_ ? "true" : "false");
	}
	if (t->link != link_text(n)) {
		t->link = link_text(n);
		event(n, "link", "\"state\": \"%s\"", t->link);
	}
	if (t->is_protected != n->protected_) {
		t->is_protected = n->protected_;
		event(n, n->protected_ ? "protected" : "unprotected", "\"epoch\": %" PRIu64, n->acked_epoch);
	}
	if (wanted && !t->wanted)
		event(n, "checkpoint-wanted", "\"overlay_bytes\": %" PRIu64 ", \"uncommitted_bytes\": %" PRIu64,
		      n->role == NODE_BACKUP ? n->overlay_bytes : n->peer_overlay,
		      n->role == NODE_BACKUP ? n->cur_ep ? n->cur_ep->bytes : 0 : n->cur.bytes);
	t->wanted = wanted;
	if (t->held != suspend_holds(n)) {
		t->held = !t->held;
		event(n, t->held ? "writes-held" : "writes-released", "\"epoch\": %" PRIu64, n->cur.number);
	}
	if (t->full != n->destage_full) {
		t->full = n->destage_full;
		event(n, t->full ? "disk-full" : "disk-has-room", "\"journal_used\": %" PRIu64, journal_used(&n->journal));
	}
}
