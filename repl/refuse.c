/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refusals, said and heard. Those that only somebody's act can change keep
 * their link, parked: nothing is tried again while it lasts. Called by link.c
 * and handshake.c; event-loop thread only.
 */
#include <string.h>

#include "core.h"

/* Those that only somebody's act can change, on one of the nodes. */
static bool for_good(unsigned refusal)
{
	switch (refusal) {
	case REFUSE_VERSION:
	case REFUSE_SELF:
	case REFUSE_PAIR:
	case REFUSE_SPLIT:
	case REFUSE_ROLES:
	case REFUSE_BACKUPS:
	case REFUSE_NOT_EMPTY:
	case REFUSE_LOST:
		return true;
	}
	return false;
}

/*
 * Nothing is tried again on this link, nor another one dialled, while it lasts. The peer ends it when it is mounted anew,
 * changes its role, or is told to connect; silence ends it too. One is kept: a second one is another peer, or a newer link.
 */
static void park(struct node *n, struct plink *l, unsigned refusal)
{
	for (int i = 0; i < LINKS_MAX; i++)
		if (i != l->index && n->links[i].state == PL_PARKED)
			link_drop(n, i, "another one is refused");
	l->state = PL_PARKED;
	l->have_hello = false;
	l->heard_ms = n->now_ms;
	l->parked_for = refusal;
	l->parked_role = n->role;
	l->parked_generation = n->st.lineage.generation;
}

bool link_parked(const struct node *n)
{
	for (int i = 0; i < LINKS_MAX; i++)
		if (n->links[i].state == PL_PARKED)
			return true;
	return false;
}

void link_changed(struct node *n)
{
	for (int i = 0; i < LINKS_MAX; i++)
		if (n->links[i].state == PL_PARKED)
			link_drop(n, i, "something changed here");
	n->backoff_ms = n->short_links = 0;
	n->dial_ms = 0;
}

void link_refuse(struct node *n, int link, unsigned refusal)
{
	struct frame f = { .type = FRAME_REFUSE, .off = refusal };

	n->counters.link_refusals_total++;
	if (refusal != REFUSE_SPLIT) /* pair_split() has said more */
		node_error(n, "peer %s refused: %s", n->links[link].peer, refusal_text(refusal));
	link_send(n, link, &f, NULL, 0);
	if (for_good(refusal) && n->links[link].state != PL_LIVE)
		park(n, &n->links[link], refusal);
	else
		link_drop(n, link, refusal_text(refusal));
}

bool link_turns(const struct node *n)
{
	return n->turns >= TURNS_MIN && n->now_ms - n->turn_ms < TURNS_MS;
}

static void turn(struct node *n)
{
	n->turns = n->now_ms - n->turn_ms < TURNS_MS ? n->turns + 1 : 1;
	n->turn_ms = n->now_ms;
}

/*
 * Mostly the old one is dead without our knowing. If it is not, whoever is at its other end did not open the newer one; it
 * is told, else it would see a peer that closes connections.
 */
void link_replaced(struct node *n, int link)
{
	struct frame f = { .type = FRAME_REFUSE, .off = REFUSE_DUPLICATE };
	struct plink *l = &n->links[link];
	bool alive = l->state == PL_LIVE && n->now_ms - l->heard_ms < ALIVE_MS;

	if (alive) {
		turn(n);
		link_send(n, link, &f, NULL, 0);
	}
	link_drop(n, link, "replaced by a newer link of the same peer");
	if (alive && link_turns(n))
		node_error(n, "two nodes with the same id take turns as the peer, %u times by now: was its SOURCE copied with its "
		           ".colofs?", n->turns);
}

static void unpaired(struct save *s, int error)
{
	(void)s, (void)error; /* then a restart asks a peer that it has not */
}

/* The one that the pair was made with is none: it said so before it had heard of the pair. */
static void unpair(struct node *n, struct plink *l)
{
	l->made_pair = false;
	n->st.have_pair = n->st.had_peer = false;
	memset(n->st.pair, 0, sizeof(n->st.pair));
	node_save(n, &n->unpair_save, unpaired);
}

/* The peer says REFUSE. */
int refuse_got(struct node *n, struct plink *l)
{
	unsigned refusal = (unsigned)l->frame.off;

	n->counters.link_refusals_total++;
	if (refusal == REFUSE_DUPLICATE && l->state == PL_LIVE) { /* link_replaced() over there */
		turn(n);
		return -EEXIST;
	}
	n->peer_left |= refusal == REFUSE_DISCONNECTED;
	if (l->state == PL_WELCOME && l->made_pair && n->live < 0 &&
	    (refusal == REFUSE_NOT_EMPTY || refusal == REFUSE_DEVICE || refusal == REFUSE_DEVICE_SIZE))
		unpair(n, l);
	if (refusal == REFUSE_SPLIT && l->have_hello)
		pair_split(n, l);
	else if (refusal != REFUSE_SPLIT || l->state != PL_PARKED || l->parked_for != REFUSE_SPLIT) /* pair_split() has said more */
		node_error(n, "refused by %s: %s", l->peer, refusal_text(refusal));
	node_reason(n, "refused by the peer: %s", refusal_text(refusal));
	if (refusal != REFUSE_STALE && refusal != REFUSE_NEWER) /* which of the two is older we judge ourselves */
		ask_judged(n, refusal);
	if (for_good(refusal) && l->state != PL_LIVE) {
		park(n, l, refusal);
		return 0;
	}
	if (refusal == REFUSE_STALE && n->role == NODE_BACKUP)
		return -ECONNREFUSED;
	if (!l->dialled)
		return -ECONNREFUSED;
	if (refusal == REFUSE_BUSY || refusal == REFUSE_DUPLICATE) /* soon over: pauses grow to a second */
		n->backoff_ms = n->backoff_ms > BACKOFF_BUSY_MS ? BACKOFF_BUSY_MS : n->backoff_ms;
	else if (n->backoff_ms < BACKOFF_BUSY_MS)
		n->backoff_ms = BACKOFF_BUSY_MS;
	return -ECONNREFUSED;
}

/* A parked link lasts while nothing changes here. */
void refuse_pump(struct node *n)
{
	struct frame f = { .type = FRAME_PING, .off = n->now_ms * 1000 };

	for (int i = 0; i < n->link_end; i++) {
		struct plink *l = &n->links[i];

		if (l->state != PL_PARKED)
			continue;
		if (l->parked_role != n->role || l->parked_generation != n->st.lineage.generation || n->failed) {
			link_changed(n);
			return;
		}
		if (l->dialled && n->now_ms >= n->ping_ms) {
			n->ping_ms = n->now_ms + link_ping_ms(n);
			link_send(n, i, &f, NULL, 0);
		}
	}
}
