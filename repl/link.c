/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Links: frames out of bytes, the handshake, heartbeats, when to dial.
 *
 *   primary                         backup
 *   HELLO ->                     <- HELLO        both judge the pair
 *   (state saved) WELCOME ->                     session, pair, lineage
 *                                <- READY        state saved: credit follows
 *   numbered frames, COMMIT ->   <- CREDIT, DONE, REFUSED, HASHR
 *
 * Where frames go: link_frame() below is the table of that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "sum.h"

/* Between two signs of life. */
uint32_t link_ping_ms(const struct node *n)
{
	uint32_t ms = n->config.link_timeout_ms / 5;

	return ms > 1000 ? 1000 : ms < 20 ? 20 : ms;
}

void link_send(struct node *n, int link, struct frame *f, const void *payload, size_t len)
{
	uint8_t header[FRAME_HEADER];
	struct iovec iov[2] = { { header, sizeof(header) }, { (void *)payload, len } };

	f->payload_len = (uint32_t)len;
	f->sum = len && !f->sum ? sum64(payload, len) : f->sum;
	frame_encode(header, f);
	n->counters.link_sent_bytes_total += FRAME_HEADER + len;
	n->env->ops->tx(n->env, link, iov, len ? 2 : 1);
}

static void slot_reset(struct plink *l)
{
	struct save save = l->save;
	int index = l->index;

	free(l->owned);
	hello_free(&l->hello);
	memset(l, 0, sizeof(*l));
	l->index = index;
	l->save = save; /* may still be in the state's queue */
}

static void schedule_dial(struct node *n)
{
	uint64_t wait = n->backoff_ms ? n->backoff_ms : BACKOFF_MIN_MS;

	/* Jitter: two nodes that dial each other must not do so in step for ever. */
	n->dial_ms = n->now_ms + wait / 2 + random64(n) % (wait / 2 + 1);
	n->backoff_ms = wait * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : wait * 2;
}

/*
 * A link that lasted is dialled again at once, and one that a planned swap ended; one that comes and goes costs each side
 * durable writes each time.
 */
static void dial_again(struct node *n, uint64_t lasted_ms)
{
	bool swap = n->switching || (n->failover && n->failover == &n->promote_req);

	n->short_links = lasted_ms < BACKOFF_MAX_MS && !swap ? n->short_links + 1 : 0;
	n->backoff_ms = 0;
	if (link_turns(n))
		n->short_links = 8;
	if (n->short_links < 2)
		return;
	n->backoff_ms = n->short_links < 8 ? BACKOFF_MIN_MS << (n->short_links - 1) : BACKOFF_MAX_MS;
	schedule_dial(n);
}

static void forget(struct node *n, int link, const char *why)
{
	struct plink *l = &n->links[link];
	bool live = n->live == link;
	uint64_t lasted_ms = n->now_ms - l->live_ms;

	if (l->state == PL_FREE)
		return;
	/* Parked: the peer ended it, or is gone. Whatever that means, it may be another one now. */
	if (l->state == PL_PARKED && l->dialled)
		schedule_dial(n);
	slot_reset(l);
	while (n->link_end && n->links[n->link_end - 1].state == PL_FREE)
		n->link_end--;
	if (live) {
		n->live = -1;
		n->link_since_ms = n->now_ms;
		n->counters.link_losses_total++;
		dial_again(n, lasted_ms);
		node_error(n, "link lost: %s", why);
		if (n->role == NODE_PRIMARY) {
			node_reason(n, "the link was lost: %s", why);
			primary_link_down(n);
		} else {
			node_reason(n, "waiting for the primary: %s", why);
			backup_link_down(n);
		}
	}
}

void link_drop(struct node *n, int link, const char *why)
{
	if (n->links[link].state == PL_FREE)
		return;
	n->env->ops->link_close(n->env, link);
	forget(n, link, why);
}

void links_close(struct node *n, unsigned refusal)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		struct frame f = { .type = refusal ? FRAME_REFUSE : FRAME_BYE, .off = refusal };

		if (n->links[i].state == PL_FREE)
			continue;
		link_send(n, i, &f, NULL, 0);
		link_drop(n, i, "this node ended the link");
	}
}

/* ---- handshake ---- */

void node_link_opened(struct node *n, int link, bool dialled, const char *peer, const char *tls)
{
	struct plink *l = &n->links[link];
	uint8_t *buf = malloc(HELLO_MAX);
	struct frame f = { .type = FRAME_HELLO, .off = pair_alone(n), .len = pair_age(n) };
	struct hello h;

	if (dialled)
		n->dialling = false;
	slot_reset(l);
	l->state = PL_HELLO;
	if (n->link_end <= link)
		n->link_end = link + 1;
	l->dialled = dialled;
	l->opened_ms = l->heard_ms = n->now_ms;
	snprintf(l->peer, sizeof(l->peer), "%s", peer);
	snprintf(l->tls, sizeof(l->tls), "%s", tls);
	if (n->apart || n->failed || n->stopping || n->stale || n->demote_step || n->failover || !node_recovered(n)) {
		free(buf);
		link_refuse(n, link, n->apart ? REFUSE_DISCONNECTED : n->failed ? REFUSE_INTERNAL :
		            n->stale ? REFUSE_STALE : REFUSE_BUSY);
		return;
	}
	pair_hello(n, &h);
	l->told_committed = h.committed;
	l->told_prepared = h.prepared;
	int len = buf && h.images ? hello_encode(&h, buf, HELLO_MAX) : -ENOMEM;

	if (len > 0)
		link_send(n, link, &f, buf, (size_t)len);
	hello_free(&h);
	free(buf);
	if (len <= 0)
		link_drop(n, link, "out of memory");
}

/* ---- frames ---- */

static int fence_got(struct node *n, struct plink *l)
{
	struct frame f = { .type = FRAME_FENCED };
	int link = l->index;

	if (n->role != NODE_PRIMARY || l->state != PL_LIVE)
		return -EPROTO;
	link_send(n, link, &f, NULL, 0);
	demote_stale(n, true);
	return -ESTALE;
}

/* Only what the session's other side may say is taken from it. */
static int link_frame_live(struct node *n, struct plink *l)
{
	struct frame *f = &l->frame;

	if (n->role == NODE_BACKUP) {
		if (frame_numbered(f->type) || f->type == FRAME_COMMIT || f->type == FRAME_PREPARE || f->type == FRAME_SETTLE)
			return backup_frame(n, l);
		if (n->switching)
			return 0; /* what the peer said while it was the backup */
		if (f->type == FRAME_PROMOTE)
			return failover_promote(n, f->epoch);
		if (f->type == FRAME_FENCED) {
			failover_fenced(n);
			return 0;
		}
		return -EPROTO;
	}
	switch (f->type) {
	case FRAME_CREDIT:
		if (f->off > n->credit)
			n->credit = f->off;
		return 0;
	case FRAME_DONE:
	case FRAME_PREPARED:
		commit_done(n, f->epoch, f->type == FRAME_PREPARED);
		return 0;
	case FRAME_ABORTED:
		twophase_done(n, f->epoch, false);
		return 0;
	case FRAME_REFUSED:
		/* Its number is no errno of ours. */
		commit_refused(n, f->epoch, f->off == ENOSPC ? ENOSPC : f->off == EBUSY ? EBUSY : EIO);
		return 0;
	case FRAME_HASHR:
		if (!verify_hash_reply(n, f->off, f->len == 1))
			sync_hash_reply(n, f->off, f->len == 1);
		return 0;
	case FRAME_FENCE:
		return fence_got(n, l);
	}
	return -EPROTO;
}

static int link_frame(struct node *n, struct plink *l, const uint8_t *payload)
{
	struct frame *f = &l->frame;
	struct frame pong = { .type = FRAME_PONG, .off = f->off };

	switch (f->type) {
	case FRAME_HELLO:
		return handshake_hello(n, l, payload);
	case FRAME_WELCOME:
		return handshake_welcome(n, l, payload);
	case FRAME_READY:
		return n->role == NODE_PRIMARY ? handshake_ready(n, l) : n->switching ? 0 : -EPROTO;
	case FRAME_OWN:
		return own_frame(n, l, payload);
	case FRAME_REFUSE:
		return refuse_got(n, l);
	case FRAME_BYE:
		n->peer_left = true;
		return -ESHUTDOWN;
	case FRAME_PING:
		if (l->state == PL_LIVE && n->role == NODE_PRIMARY) {
			n->peer_overlay = f->len;
			n->peer_wants = f->flags & FRAME_F_WANTED;
		}
		link_send(n, l->index, &pong, NULL, 0);
		return 0;
	case FRAME_PONG:
		if (l->state == PL_LIVE && n->now_ms * 1000 >= f->off)
			n->rtt_us = n->now_ms * 1000 - f->off;
		return 0;
	}
	if (l->state != PL_LIVE || n->live != l->index || (f->session && f->session != l->session))
		return -EPROTO;
	return link_frame_live(n, l);
}

/* The payload's place, decided by the header. */
static int payload_place(struct node *n, struct plink *l)
{
	uint32_t len = l->frame.payload_len;

	l->payload = n->link_small + (size_t)l->index * LINK_SMALL;
	l->journaled = false; /* the last frame may have been thrown away after its header */
	if (len <= LINK_SMALL && l->frame.type != FRAME_DATA)
		return 0;
	if (l->frame.type == FRAME_DATA) {
		if (l->state != PL_LIVE || n->role != NODE_BACKUP || n->live != l->index ||
		    l->frame.session != l->session)
			return -EPROTO;
		return backup_payload(n, l);
	}
	if (l->frame.type != FRAME_HELLO || l->state != PL_HELLO || l->have_hello)
		return -EPROTO;
	l->owned = malloc(len);
	l->payload = l->owned;
	return l->owned ? 0 : -ENOMEM;
}

static int frame_end(struct node *n, struct plink *l)
{
	uint32_t len = l->frame.payload_len;
	int err = 0;

	if (len && l->payload && sum64(l->payload, len) != l->frame.sum) {
		n->counters.checksum_errors_total++;
		err = -EBADMSG;
	}
	if (!err)
		err = link_frame(n, l, l->payload);
	if (l->state != PL_FREE) {
		free(l->owned);
		l->owned = NULL;
		l->have = 0;
		l->in_payload = false;
	}
	return err;
}

/* What was wrong, for people; said: what the decoder had to say. */
static void why_text(char *text, size_t size, int err, const struct plink *l, const char *said)
{
	const char *name = frame_name(l->frame.type);

	switch (err) {
	case -ESHUTDOWN: snprintf(text, size, "the peer left in order"); break;
	case -ECONNREFUSED: snprintf(text, size, "refused"); break;
	case -ESTALE: snprintf(text, size, "the peer was promoted"); break;
	case -EEXIST: snprintf(text, size, "a newer link of this node's id took its place at the peer"); break;
	case -ENOBUFS: snprintf(text, size, "the peer overran its credit, or sent more than there is room for"); break;
	case -EFBIG: snprintf(text, size, "the primary's image is larger than a file may be in this node's SOURCE"); break;
	case -EBADMSG: snprintf(text, size, "a %s frame's payload does not match its checksum", name); break;
	case -EPROTO:
		if (said)
			snprintf(text, size, "%s", said);
		else
			snprintf(text, size, "a %s frame that no sound peer sends here", name);
		break;
	default: snprintf(text, size, "a %s frame: %s", name, strerror(-err));
	}
}

static void frame_refused(struct node *n, const struct plink *l, const char *why)
{
	if (l->state == PL_LIVE) {
		node_error(n, "peer %s: %s; closing", l->peer, why);
		return;
	}
	n->counters.link_refusals_total++;
	node_error(n, "turned down %s: %s", l->peer, why);
}

/* One step: header or payload bytes. Bytes taken, or -errno. */
static ssize_t rx_step(struct node *n, struct plink *l, const uint8_t *buf, size_t len, const char **why)
{
	uint32_t want = l->in_payload ? l->frame.payload_len - l->have : FRAME_HEADER - l->have;
	size_t take = len < want ? len : want;
	int err = 0;

	if (!l->in_payload)
		memcpy(l->header + l->have, buf, take);
	else if (l->payload)
		memcpy(l->payload + l->have, buf, take);
	l->have += (uint32_t)take;
	if (take < want)
		return (ssize_t)take;
	if (!l->in_payload) {
		err = frame_decode(&l->frame, l->header, why);
		if (err)
			return err;
		*why = NULL;
		l->have = 0;
		l->in_payload = true;
		err = payload_place(n, l);
		if (!err && !l->frame.payload_len)
			err = frame_end(n, l);
	} else {
		err = frame_end(n, l);
	}
	return err ? err : (ssize_t)take;
}

void node_link_rx(struct node *n, int link, const void *data, size_t len)
{
	struct plink *l = &n->links[link];
	const uint8_t *buf = data;

	l->heard_ms = n->now_ms;
	fence_heard(n);
	n->counters.link_received_bytes_total += len;
	while (len && l->state != PL_FREE) {
		const char *said = NULL;
		ssize_t took = rx_step(n, l, buf, len, &said);

		if (took < 0 && l->state != PL_FREE) {
			char why[128];

			why_text(why, sizeof(why), (int)took, l, said);
			if (took != -ESHUTDOWN && took != -ECONNREFUSED && took != -ESTALE && took != -EEXIST)
				frame_refused(n, l, why);
			link_drop(n, link, why);
		}
		if (took < 0)
			return;
		buf += took;
		len -= (size_t)took;
	}
}

void node_link_tx_ready(struct node *n, int link)
{
	(void)n;
	(void)link; /* the pumps at the batch's end look at the room */
}

void node_link_closed(struct node *n, int link, const char *why)
{
	const struct plink *l = &n->links[link];

	/* A listener that does not take our certificate says so when, for us, the link is open. */
	if (n->live < 0 && l->dialled && (l->state == PL_HELLO || l->state == PL_WELCOME))
		node_error(n, "%s: %s", l->peer, why);
	forget(n, link, why);
}

void node_dial_failed(struct node *n, const char *why)
{
	n->dialling = false;
	if (n->live < 0)
		node_error(n, "%s", why);
	schedule_dial(n);
}

bool node_accepts(const struct node *n)
{
	return !n->apart && !n->stopping && !n->failed && !n->stale && !n->demote_step;
}

/* ---- time ---- */

static void heartbeat(struct node *n)
{
	struct frame f = { .type = FRAME_PING, .off = n->now_ms * 1000, .len = n->overlay_bytes,
		.flags = n->told.wanted ? FRAME_F_WANTED : 0 };

	if (n->live < 0 || n->now_ms < n->ping_ms)
		return;
	n->ping_ms = n->now_ms + link_ping_ms(n);
	link_send(n, n->live, &f, NULL, 0);
}

static void silence(struct node *n)
{
	for (int i = 0; i < n->link_end; i++) {
		struct plink *l = &n->links[i];
		bool lasts = l->state == PL_LIVE || l->state == PL_PARKED;
		uint32_t limit = lasts ? n->config.link_timeout_ms : HANDSHAKE_MS;
		uint64_t since = lasts ? l->heard_ms : l->opened_ms;
		char why[80];

		if (l->state == PL_FREE)
			continue;
		/* Silence counts only while this node's own ticks came in time. */
		if (n->late_tick) {
			l->heard_ms = l->opened_ms = n->now_ms;
			continue;
		}
		if (n->now_ms - since <= limit)
			continue;
		snprintf(why, sizeof(why), lasts ? "silent for %u ms" : "no welcome within %u ms", limit);
		if (!lasts) {
			n->counters.link_refusals_total++;
			node_error(n, "turned down %s: %s", l->peer, why);
		}
		link_drop(n, i, why);
	}
}

void link_pump(struct node *n)
{
	bool busy = n->dialling;

	if (n->failed && n->live >= 0 && !n->failover)
		links_close(n, REFUSE_INTERNAL); /* the primary goes on unprotected */
	heartbeat(n);
	refuse_pump(n);
	silence(n);
	for (int i = 0; i < n->link_end; i++)
		busy |= n->links[i].state != PL_FREE;
	if (busy || !n->config.can_dial || n->apart || n->stopping || n->failed || n->stale || n->failover ||
	    n->role == NODE_UNPROTECTED || !node_recovered(n) || n->now_ms < n->dial_ms)
		return;
	n->dialling = true;
	schedule_dial(n);
	n->env->ops->dial(n->env);
}

void link_connect(struct node *n, struct command_req *r)
{
	if (n->role == NODE_UNPROTECTED || (!n->config.can_dial && !n->config.can_accept)) {
		command_reply(n, r, -EPERM, "this node was mounted without a peer");
		return;
	}
	n->apart = false;
	link_changed(n);
	command_reply(n, r, 0, "done");
}

void link_disconnect(struct node *n, struct command_req *r)
{
	if (n->role == NODE_UNPROTECTED) {
		command_reply(n, r, -EPERM, "this node has no peer");
		return;
	}
	n->apart = true;
	links_close(n, REFUSE_DISCONNECTED);
	node_reason(n, "disconnected by command; `connect` ends that");
	command_reply(n, r, 0, "done");
}
