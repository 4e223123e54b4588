/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MNT/.colo/events: one JSON object a line, from the open on. A read with
 * nothing to tell waits; a reader that fell too far behind is told so. Event-
 * loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"

/* The next line of h, malloc'ed into h->text. False: none yet. */
static bool next_line(struct fs *fs, struct handle *h)
{
	const char *line = node_event(fs->node, h->number);
	char lost[64];

	if (!line)
		return false;
	if (!*line) {
		snprintf(lost, sizeof(lost), "{\"event\": \"lost\", \"count\": %llu}\n",
		         (unsigned long long)(node_events_next(fs->node) - h->number));
		h->number = node_events_next(fs->node) - 1;
		line = lost;
	}
	free(h->text);
	h->text = strdup(line);
	h->len = h->text ? strlen(h->text) : 0;
	h->pos = 0;
	h->number++;
	return h->text;
}

static size_t fill(struct fs *fs, struct lane_req *r, struct handle *h)
{
	size_t put = 0;

	while (put < r->len && (h->pos < h->len || next_line(fs, h))) {
		size_t part = h->len - h->pos;

		if (part > r->len - put)
			part = r->len - put;
		memcpy((char *)r->data + put, h->text + h->pos, part);
		h->pos += part;
		put += part;
	}
	return put;
}

int events_open(struct fs *fs, struct handle *h)
{
	int err = node_events_open(fs->node);

	h->number = node_events_next(fs->node);
	return err;
}

void events_read(struct fs *fs, struct lane_req *r, struct handle *h)
{
	size_t put = fill(fs, r, h);

	if (put || !r->len || fs->stopping) {
		lane_reply(r, 0, (uint32_t)put);
		return;
	}
	for (unsigned i = 0; i < EVENT_READERS; i++)
		if (!fs->event_reads[i]) {
			fs->event_reads[i] = r;
			return;
		}
	lane_reply(r, -EBUSY, 0);
}

void events_tell(struct fs *fs)
{
	for (unsigned i = 0; i < EVENT_READERS; i++) {
		struct lane_req *r = fs->event_reads[i];
		size_t put = r ? fill(fs, r, handle_of(r->fh)) : 0;

		if (!r || (!put && !fs->stopping))
			continue;
		fs->event_reads[i] = NULL;
		lane_reply(r, 0, (uint32_t)put);
	}
}

void events_interrupt(struct fs *fs, uint64_t unique)
{
	for (unsigned i = 0; i < EVENT_READERS; i++) {
		struct lane_req *r = fs->event_reads[i];

		if (!r || r->unique != unique)
			continue;
		fs->event_reads[i] = NULL;
		lane_reply(r, -EINTR, 0);
	}
}
