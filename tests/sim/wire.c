/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The network: byte streams between the two hosts, delivered in pieces of any
 * size, late, or never. What a node appended is the send buffer and the wire
 * in one; its limit is the sim's send_limit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/frame.h"
#include "sim.h"

static void pump(struct sim *s, struct event *e);

static struct conn *conn_of(struct sim *s, struct host *h, int link, int *end)
{
	if (link < 0 || link >= (int)LINKS_MAX || !h->links[link].conn)
		violation(s, "host %d: link %d does not exist", h->index, link);
	*end = h->links[link].end;
	return h->links[link].conn;
}

static bool end_alive(const struct sim *s, const struct conn_end *n)
{
	const struct host *h = &s->hosts[n->host];

	return !n->done && h->life == n->life && h->node;
}

static void end_forget(struct sim *s, struct conn_end *n)
{
	if (n->link >= 0 && s->hosts[n->host].life == n->life)
		s->hosts[n->host].links[n->link].conn = NULL;
	n->link = -1;
	n->done = true;
}

static void conn_maybe_free(struct conn *c)
{
	if (!c->end[0].done || !c->end[1].done)
		return;
	c->end[0].out.head = c->end[0].out.len = 0;
	c->end[1].out.head = c->end[1].out.len = 0;
	c->used = false;
	c->gen++;
}

static void end_closed(struct sim *s, struct event *e)
{
	struct conn *c = e->ptr;
	struct conn_end *n = &c->end[e->arg2];
	int link = n->link;

	if (c->gen != e->arg || n->done)
		return;
	if (!n->opened) { /* the node has not been told yet: it will not be */
		end_forget(s, n);
		conn_maybe_free(c);
		if (!e->arg2)
			node_dial_failed(s->hosts[e->host].node, "the connection was reset");
		return;
	}
	end_forget(s, n);
	conn_maybe_free(c);
	node_link_closed(s->hosts[e->host].node, link, "the connection was reset");
}

static void close_later(struct sim *s, struct conn *c, int end, uint64_t delay)
{
	struct event *e;

	if (c->end[end].done)
		return;
	e = event_add(s, delay, c->end[end].host, end_closed);
	e->ptr = c;
	e->arg = c->gen;
	e->arg2 = (uint64_t)end;
}

static void pump_later(struct sim *s, struct conn *c, int from, uint64_t delay)
{
	struct conn_end *n = &c->end[from];
	struct event *e;

	if (n->out.pumping)
		return;
	n->out.pumping = true;
	e = event_add(s, delay, c->end[!from].host, pump);
	e->ptr = c;
	e->arg = c->gen;
	e->arg2 = (uint64_t)from;
	e->life = UINT32_MAX; /* valid in any life: pump() looks itself */
}

static size_t piece(struct sim *s, const struct conn *c, size_t len)
{
	size_t n;

	if (c->bytewise && world_faulty(s) && !one_in(s, 24)) {
		happened(s, H_BYTEWISE);
		return 1;
	}
	switch (rnd_below(s, 8)) {
	case 0:
		n = 1 + rnd_below(s, 100);
		break;
	case 1:
		n = 1 + rnd_below(s, 1500);
		break;
	default:
		n = 16384 + rnd_below(s, 65536);
	}
	return n < len ? n : len;
}

static void tx_ready(struct sim *s, struct event *e)
{
	struct conn *c = e->ptr;

	if (c->gen == e->arg && end_alive(s, &c->end[e->arg2]) && c->end[e->arg2].opened)
		node_link_tx_ready(s->hosts[e->host].node, c->end[e->arg2].link);
}

/* Some bytes arrive. */
static void pump(struct sim *s, struct event *e)
{
	struct conn *c = e->ptr;
	int from = (int)e->arg2;
	struct conn_end *tx = &c->end[from], *rx = &c->end[!from];
	size_t n;

	if (c->gen != e->arg)
		return;
	tx->out.pumping = false;
	if (c->cut || !tx->out.len)
		return;
	if (c->stalled_until[from] > s->now || s->partitioned || (end_alive(s, rx) && !rx->opened)) {
		uint64_t wait = c->stalled_until[from] > s->now ? c->stalled_until[from] - s->now : 5000;

		pump_later(s, c, from, wait + rnd_below(s, 1000));
		return;
	}
	if (!end_alive(s, rx)) {
		tx->out.head = tx->out.len = 0;
		return;
	}
	n = piece(s, c, tx->out.len);
	tx->out.head += n;
	tx->out.len -= n;
	if (tx->out.len)
		pump_later(s, c, from, c->bytewise ? 1 + s->wire_us / 16 : rnd_delay(s, s->wire_us));
	if (end_alive(s, tx)) {
		struct event *r = event_add(s, 1, tx->host, tx_ready);

		r->ptr = c;
		r->arg = c->gen;
		r->arg2 = (uint64_t)from;
	} else if (!tx->out.len && !c->ghost) { /* the last words of a link closed there */
		close_later(s, c, !from, rnd_delay(s, s->wire_us));
	}
	node_link_rx(s->hosts[rx->host].node, rx->link, tx->out.buf + tx->out.head - n, n);
}

/* What the dialling node says first, for a process of it that nobody remembers. */
static void note_hello(struct sim *s, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	s->hello = realloc(s->hello, len);
	if (!s->hello)
		abort();
	s->hello_len = 0;
	for (int i = 0; i < count; i++) {
		memcpy(s->hello + s->hello_len, iov[i].iov_base, iov[i].iov_len);
		s->hello_len += iov[i].iov_len;
	}
}

static void note_frame(struct sim *s, struct host *h, const struct iovec *iov, int count)
{
	struct frame f;
	const char *why;

	if (iov->iov_len < FRAME_HEADER || frame_decode(&f, iov->iov_base, &why))
		return;
	if (s->verbose > (f.type == FRAME_DATA) && f.type != FRAME_PING && f.type != FRAME_PONG &&
	    f.type != FRAME_CREDIT)
		say(s, "host %d sends %s epoch %llu image %llu %llu+%llu", h->index, frame_name(f.type),
		    (unsigned long long)f.epoch, (unsigned long long)f.image, (unsigned long long)f.off,
		    (unsigned long long)(f.type == FRAME_DATA ? f.payload_len : f.len));
	if (f.type == FRAME_HELLO && h->index == 0)
		note_hello(s, iov, count);
	if (f.type == FRAME_FENCED)
		s->fenced_us = s->now;
	compare_frame(s, h, f.type, f.image, f.off, f.type == FRAME_DATA ? f.payload_len : f.len);
	if (f.type == FRAME_WELCOME)
		model_session(s);
	if (f.type == FRAME_HASHQ)
		happened(s, H_HASHED);
	if (f.type == FRAME_COMMIT)
		world_moment(s, &s->hosts[!h->index], 3 * s->wire_us + 2000, 20);
	if (f.type == FRAME_DONE)
		world_moment(s, h, 3 * s->wire_us + 2000, 20);
	if (f.type == FRAME_READY)
		bias_session(s);
	if (f.type == FRAME_WELCOME || f.type == FRAME_READY)
		world_moment(s, h, 3 * s->wire_us + 2000, 4);
}

static void out_add(struct stream *o, const void *buf, size_t len)
{
	if (!o->len) /* from the start: that part of it is in the cache */
		o->head = 0;
	if (o->head + o->len + len > o->cap) {
		if (o->head)
			memmove(o->buf, o->buf + o->head, o->len);
		o->head = 0;
		while (o->len + len > o->cap)
			o->cap = o->cap ? o->cap * 2 : 65536;
		o->buf = realloc(o->buf, o->cap);
		if (!o->buf)
			abort();
	}
	memcpy(o->buf + o->head + o->len, buf, len);
	o->len += len;
}

void wire_tx(struct sim *s, struct host *h, int link, const struct iovec *iov, int count)
{
	int end;
	struct conn *c = conn_of(s, h, link, &end);
	struct stream *o = &c->end[end].out;
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	note_frame(s, h, iov, count);
	if (o->len + len > s->send_limit + (1u << 20)) /* the shell's slack */
		violation(s, "host %d: %zu bytes in a send buffer of %zu", h->index, o->len + len,
		          s->send_limit);
	for (int i = 0; i < count; i++)
		out_add(o, iov[i].iov_base, iov[i].iov_len);
	pump_later(s, c, end, rnd_delay(s, s->wire_us));
}

size_t wire_room(struct sim *s, struct host *h, int link)
{
	int end;
	struct conn *c = conn_of(s, h, link, &end);
	size_t len = c->end[end].out.len;

	return len < s->send_limit ? s->send_limit - len : 0;
}

void wire_close(struct sim *s, struct host *h, int link)
{
	int end;
	struct conn *c = conn_of(s, h, link, &end);

	c->end[!end].out.head = c->end[!end].out.len = 0;
	end_forget(s, &c->end[end]);
	if (!c->end[end].out.len && !c->cut)
		close_later(s, c, !end, rnd_delay(s, s->wire_us));
	conn_maybe_free(c);
}

/* ---- connecting ---- */

static void end_opened(struct sim *s, struct event *e)
{
	struct conn *c = e->ptr;
	struct conn_end *n = &c->end[e->arg2];

	if (c->gen != e->arg || n->done || c->cut)
		return;
	n->opened = true;
	s->fig.links++;
	node_link_opened(s->hosts[e->host].node, n->link, e->arg2 == 0, "the other", "sim");
}

static int link_take(struct host *h, struct conn *c, int end)
{
	for (unsigned i = 0; i < LINKS_MAX; i++)
		if (!h->links[i].conn) {
			h->links[i].conn = c;
			h->links[i].end = end;
			c->end[end].host = h->index;
			c->end[end].link = (int)i;
			c->end[end].life = h->life;
			c->end[end].opened = c->end[end].done = c->end[end].out.pumping = false;
			return 0;
		}
	return -EMFILE;
}

static struct conn *conn_new(struct sim *s, struct host *from, struct host *to)
{
	struct conn *c = NULL;

	for (unsigned i = 0; i < CONNS_MAX && !c; i++)
		if (!s->conns[i].used)
			c = &s->conns[i];
	if (!c || link_take(from, c, 0))
		return NULL;
	if (link_take(to, c, 1)) {
		from->links[c->end[0].link].conn = NULL;
		return NULL;
	}
	c->used = true;
	c->cut = false;
	c->stalled_until[0] = c->stalled_until[1] = 0;
	c->bytewise = one_in(s, 10);
	c->ghost = false;
	return c;
}

static void dial_ends(struct sim *s, struct event *e)
{
	struct host *from = &s->hosts[e->host], *to = &s->hosts[!e->host];
	struct conn *c = NULL;

	if (!s->partitioned && (to->state == HOST_UP || to->state == HOST_STARTING) && node_accepts(to->node))
		c = conn_new(s, from, to);
	if (!c) {
		node_dial_failed(from->node, "connection refused");
		return;
	}
	for (int end = 0; end < 2; end++) {
		struct event *o = event_add(s, rnd_delay(s, s->wire_us), c->end[end].host, end_opened);

		o->ptr = c;
		o->arg = c->gen;
		o->arg2 = (uint64_t)end;
	}
}

void wire_dial(struct sim *s, struct host *h)
{
	event_add(s, rnd_delay(s, 2 * s->wire_us), h->index, dial_ends);
}

bool wire_up(const struct sim *s)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (s->conns[i].used && !s->conns[i].cut && s->conns[i].end[0].opened && s->conns[i].end[1].opened)
			return true;
	return false;
}

/* ---- faults ---- */

static void conn_cut(struct sim *s, struct conn *c)
{
	uint64_t deaf = rnd_below(s, 4); /* one end, or both, never hear of it: their own time-outs have to tell them */

	happened(s, deaf ? H_HALF_OPEN : H_CUT);
	c->cut = true;
	for (unsigned end = 0; end < 2; end++) {
		c->end[end].out.head = c->end[end].out.len = 0;
		if (!(deaf >> end & 1) || !c->end[end].opened) /* connecting has a time-out of its own */
			close_later(s, c, (int)end, rnd_delay(s, s->wire_us));
	}
}

void wire_cut_all(struct sim *s)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (s->conns[i].used && !s->conns[i].cut)
			conn_cut(s, &s->conns[i]);
}

void wire_stall(struct sim *s, uint64_t us, int from)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		for (int end = 0; end < 2; end++)
			if (from < 0 || s->conns[i].end[end].host == from)
				s->conns[i].stalled_until[end] = s->now + us;
}

void wire_ghost(struct sim *s)
{
	struct host *to = &s->hosts[1];
	struct conn *c = NULL;
	struct event *o;

	for (unsigned i = 0; i < CONNS_MAX && !c; i++)
		if (!s->conns[i].used)
			c = &s->conns[i];
	if (!c || !s->hello_len || to->state != HOST_UP || !node_accepts(to->node) || link_take(to, c, 1))
		return;
	happened(s, H_DUPLICATE);
	c->used = c->ghost = true;
	c->cut = c->bytewise = false;
	c->stalled_until[0] = c->stalled_until[1] = 0;
	c->end[0].host = 0;
	c->end[0].link = -1;
	c->end[0].done = true;
	c->end[0].opened = c->end[0].out.pumping = false;
	o = event_add(s, 1, 1, end_opened);
	o->ptr = c;
	o->arg = c->gen;
	o->arg2 = 1;
	out_add(&c->end[0].out, s->hello, one_in(s, 4) ? rnd_below(s, s->hello_len) : s->hello_len);
	pump_later(s, c, 0, 2 + rnd_delay(s, s->wire_us));
	close_later(s, c, 1, rnd_below(s, 2 * s->link_timeout_ms * 1000));
}

void wire_host_gone(struct sim *s, struct host *h, bool loud)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &s->conns[i];

		for (int end = 0; end < 2 && c->used; end++) {
			struct conn_end *n = &c->end[end];

			if (n->host != h->index || n->life != h->life || n->done)
				continue;
			if (!loud) /* what was sent is gone as well */
				n->out.head = n->out.len = 0;
			c->end[!end].out.head = c->end[!end].out.len = 0;
			end_forget(s, n);
			if (!n->out.len && (loud || !c->end[!end].opened || one_in(s, 2))) /* else its time-out has to tell */
				close_later(s, c, !end, rnd_delay(s, s->wire_us));
			conn_maybe_free(c);
		}
	}
}

void wire_clear(struct sim *s)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &s->conns[i];

		for (int end = 0; end < 2; end++) {
			c->end[end].done = true;
			c->end[end].link = -1;
			c->end[end].out.pumping = false;
		}
		conn_maybe_free(c);
		c->used = false;
		c->gen++;
	}
	for (int i = 0; i < HOSTS; i++)
		memset(s->hosts[i].links, 0, sizeof(s->hosts[i].links));
}
