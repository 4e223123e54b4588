/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the node's own guest and its operator do while the peer is hostile: see peer.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"

static void guest_done(struct guest_io *g)
{
	struct guest_slot *s = g->owner;

	peer_demand(s->busy, "a guest's request was answered twice");
	s->busy = false;
}

static void command_done(struct command_req *r)
{
	bool *busy = r->owner;

	peer_demand(*busy, "a command was answered twice");
	*busy = false;
}

static struct image *some_image(struct peer *p)
{
	return p->open_count ? p->open[get_u8(&p->in) % p->open_count] : NULL;
}

void peer_guest(struct peer *p)
{
	static const uint8_t ops[] = { GUEST_READ, GUEST_WRITE, GUEST_SYNC, GUEST_ALLOC, GUEST_PUNCH, GUEST_ZERO,
		GUEST_TRUNC, GUEST_CREATE, GUEST_UNLINK, GUEST_RENAME, GUEST_EXTENT, GUEST_WRITE, GUEST_WRITE,
		GUEST_READ };
	struct guest_slot *s = &p->guest[get_u8(&p->in) % PEER_GUESTS];
	uint8_t op = ops[get_u8(&p->in) % sizeof(ops)], len_sort = get_u8(&p->in);
	size_t name_len;
	const char *name;

	if (s->busy)
		return;
	memset(&s->io, 0, sizeof(s->io));
	s->io.op = op;
	s->io.owner = s;
	s->io.done = guest_done;
	s->io.image = op == GUEST_CREATE ? NULL : some_image(p);
	if (op != GUEST_CREATE && !s->io.image)
		return;
	s->io.keep_size = len_sort & 1;
	s->io.off = peer_number(p) & INT64_MAX; /* the kernel takes no other */
	s->io.len = op == GUEST_READ || op == GUEST_WRITE ? peer_number(p) % PEER_GUEST_BYTES : peer_number(p);
	if (s->io.len > INT64_MAX - s->io.off)
		s->io.len = INT64_MAX - s->io.off;
	if (p->host.config.role == NODE_PRIMARY) { /* larger files are larger bitmaps: right, but slow */
		s->io.off %= 1ull << 31;
		s->io.len %= 1ull << 31;
	}
	if (op == GUEST_CREATE || op == GUEST_RENAME) {
		name = peer_name(p, &name_len);
		if (!name_valid(name, name_len)) /* fs/ has checked it */
			return;
		memcpy(s->io.name, name, name_len);
	}
	if (!s->buf)
		s->buf = memset(host_realloc(NULL, PEER_GUEST_BYTES), 0, PEER_GUEST_BYTES);
	s->io.buf = s->buf;
	s->busy = true;
	s->since_ms = p->host.now_ms;
	host_begin(&p->host);
	node_guest(p->host.node, &s->io);
	host_end(&p->host);
}

void peer_image_open(struct peer *p)
{
	struct image *img = node_image_next(p->host.node, NULL);

	for (uint8_t skip = get_u8(&p->in) % 4; skip && img; skip--)
		img = node_image_next(p->host.node, img);
	if (img && p->open_count < PEER_IMAGES && !image_open(p->host.node, img))
		p->open[p->open_count++] = img;
}

void peer_image_close(struct peer *p)
{
	struct image *img = p->open_count ? p->open[p->open_count - 1] : NULL;

	for (int i = 0; i < PEER_GUESTS; i++)
		if (p->guest[i].busy && p->guest[i].io.image == img)
			return;
	if (!img)
		return;
	p->open_count--;
	image_close(p->host.node, img);
}

void peer_give(struct peer *p, int which, const char *text)
{
	struct command_req *r = &p->command[which];
	char err[200];

	memset(r, 0, sizeof(*r));
	if (command_parse(&r->cmd, text, strlen(text), err, sizeof(err)))
		return;
	r->done = command_done;
	r->owner = &p->command_busy[which];
	p->command_busy[which] = true;
	host_begin(&p->host);
	node_command(p->host.node, r);
	host_end(&p->host);
}

void peer_command(struct peer *p)
{
	/* A '#' is an epoch's number. */
	static const char *const texts[] = { "flush", "failover", "connect", "disconnect", "flush a", "help", "prepare",
		"commit #", "abort #", "wait #", "failover force", "failover force drop-overlay",
		"failover keep-prepared", "failover epoch=# force", "resync", "resync full", "verify", "verify disk",
		"set commit 100", "set commit fsync", "set commit manual", "set overlay off", "set overlay on",
		"set on-link-loss suspend", "set on-link-loss continue", "set congestion catch-up",
		"set congestion block", "set resync-rate 64K", "set link-timeout 200", "set flush-timeout 300",
		"set journal-size 16M", "continue", "flush nowait", "prepare b nowait", "resync in-place" };
	uint8_t which = get_u8(&p->in) % 3, bits = get_u8(&p->in), verb = get_u8(&p->in);
	const char *text = texts[verb % (sizeof(texts) / sizeof(texts[0]))], *mark = strchr(text, '#');
	uint64_t epoch = bits & 128 ? p->ordered + (bits >> 5 & 1) : bits & 31;
	char full[80];

	if (p->command_busy[which]) {
		if (bits & 1) {
			node_command_cancel(p->host.node, &p->command[which]);
			host_end(&p->host);
		}
		return;
	}
	snprintf(full, sizeof(full), "%.*s", mark ? (int)(mark - text) : 80, text);
	if (mark)
		snprintf(full + (mark - text), sizeof(full) - (size_t)(mark - text), "%llu%s", (unsigned long long)epoch,
		         mark + 1);
	peer_give(p, which, full);
}
