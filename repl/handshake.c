/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a transport to a session: HELLO, WELCOME, READY. The pair is judged by pair.c; what the other side may rely on
 * is durable before it hears of it. link.c shows the order.
 */
#include <stdio.h>
#include <string.h>

#include "core.h"

/* With peer= and listen= on both, two links may meet: the one opened by the lower node id stays. A newcomer on the
 * same side replaces the old one, which is dead without our knowing. */
static bool newcomer_stays(const struct node *n, const struct plink *l, const struct plink *old)
{
	bool lower_is_me = memcmp(n->id, l->hello.node, 16) < 0;

	if (l->dialled == old->dialled)
		return true;
	return l->dialled == lower_is_me;
}

static struct node *link_node(struct plink *l)
{
	return (struct node *)((char *)(l - l->index) - offsetof(struct node, links));
}

static void welcome_saved(struct save *s, int error)
{
	struct plink *l = s->owner;
	struct node *n = link_node(l);
	uint8_t buf[4096];
	struct frame f = { .type = FRAME_WELCOME, .session = l->session };

	if (l->state != PL_WELCOME || l->save_session != l->session)
		return; /* the link is gone meanwhile */
	if (error) {
		link_refuse(n, l->index, error == -ENOSPC || error == -EDQUOT ? REFUSE_NOSPACE : REFUSE_INTERNAL);
		return;
	}
	n->epoch_bound = n->st.epoch_high;
	int len = welcome_encode(&l->welcome, buf, sizeof(buf));

	if (len < 0)
		link_drop(n, l->index, "internal: welcome too long");
	else
		link_send(n, l->index, &f, buf, (size_t)len);
}

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Primary: settle what is remembered of the peer, make the session durable, then welcome. */
static void welcome(struct node *n, struct plink *l, enum verdict v)
{
	struct hello *h = &l->hello;

	l->made_pair = !n->st.have_pair;
	if (l->made_pair) {
		n->env->ops->random(n->env, n->st.pair, 16);
		n->st.have_pair = true;
	}
	if (!n->st.lineage.generation)
		n->st.lineage.generation = random64(n);
	/* Sent by this node, and with it marked: by its sets, or in the activity map. */
	l->welcome.keep = v == PAIR_DELTA && h->kept_session && h->kept_session == n->st.session_high;
	l->session = l->save_session = max64(n->st.session_high, h->session_high) + 1;
	n->st.session_high = l->session;
	n->st.had_peer = true;
	l->welcome.epoch = max64(max64(n->cur.number, h->epoch_high), n->com.number) + 1;
	n->st.epoch_high = max64(n->st.epoch_high, l->welcome.epoch + EPOCH_AHEAD);
	memcpy(l->welcome.pair, n->st.pair, 16);
	l->welcome.first_contact = v == PAIR_FIRST;
	l->welcome.lineage = n->st.lineage;
	l->full = v != PAIR_DELTA;
	l->state = PL_WELCOME;
	/* Pair, generation, session and epoch bound are durable before the peer hears of them. */
	l->save.owner = l;
	if (!l->save.busy)
		node_save(n, &l->save, welcome_saved);
	else
		link_drop(n, l->index, "the state file is slow");
}

/* Session and epoch numbers are never used again, so whoever names one moves them for ever. */
static bool too_far(uint64_t theirs, uint64_t ours)
{
	return theirs > ours && theirs - ours > NUMBER_JUMP;
}

static uint64_t epoch_known(const struct node *n)
{
	return max64(n->st.epoch_high, max64(n->committed, n->cur.number));
}

int handshake_hello(struct node *n, struct plink *l, const uint8_t *payload)
{
	unsigned refusal = 0;
	bool stale;

	if (l->state != PL_HELLO || l->have_hello || hello_decode(&l->hello, payload, l->frame.payload_len) ||
	    too_far(l->hello.session_high, n->st.session_high) || too_far(l->hello.epoch_high, epoch_known(n)))
		return -EPROTO;
	l->have_hello = true;
	l->alone_bytes = l->frame.off;
	l->alone_ms = l->frame.len;
	enum verdict v = pair_judge(n, &l->hello, &refusal, &stale);

	if (v == PAIR_REFUSE) {
		if (stale)
			demote_stale(n, false);
		switch_peer_is(n, &l->hello);
		if (refusal == REFUSE_SPLIT)
			pair_split(n, l);
		ask_judged(n, refusal);
		link_refuse(n, l->index, refusal);
		return 0;
	}
	if (n->role == NODE_BACKUP && (refusal = device_judge(n, &l->hello))) {
		link_refuse(n, l->index, refusal);
		return 0;
	}
	switch_peer_is(n, &l->hello);
	for (int i = 0; i < LINKS_MAX; i++) {
		struct plink *old = &n->links[i];

		if (old == l || old->state == PL_FREE || !old->have_hello)
			continue;
		if (memcmp(old->hello.node, l->hello.node, 16) || !newcomer_stays(n, l, old)) {
			link_refuse(n, l->index, REFUSE_DUPLICATE);
			return 0;
		}
		link_replaced(n, i);
	}
	if (n->role == NODE_PRIMARY && !n->local_path)
		welcome(n, l, v);
	else if (n->role == NODE_PRIMARY)
		link_refuse(n, l->index, REFUSE_BUSY);
	return 0;
}

/* Primary: the backup has taken the session over. */
int handshake_ready(struct node *n, struct plink *l)
{
	if (l->state == PL_LIVE && n->live == l->index) { /* journal-size was set */
		n->peer_capacity = l->frame.off;
		return 0;
	}
	if (l->state != PL_WELCOME || l->frame.session != l->session || n->live >= 0)
		return -EPROTO;
	l->state = PL_LIVE;
	l->live_ms = n->now_ms;
	n->live = l->index;
	n->session = l->session;
	n->peer_capacity = l->frame.off;
	n->peer_known = true;
	n->peer_epoch = l->hello.committed;
	n->peer_generation = l->hello.lineage.generation;
	n->backoff_ms = 0;
	n->link_since_ms = n->now_ms;
	n->counters.link_connects_total++;
	snprintf(n->peer_text, sizeof(n->peer_text), "%s", l->peer);
	snprintf(n->peer_tls, sizeof(n->peer_tls), "%s", l->tls);
	node_log(n, LOG_LVL_INFO, "connected to %s (%s)", l->peer, l->tls[0] ? l->tls : "no TLS");
	commit_doubt(n, &l->hello, l->full);
	n->cur.number = l->welcome.epoch;
	primary_link_up(n);
	ask_answered(n);
	if (!twophase_settles(n, &l->hello))
		handshake_settled(n);
	return 0;
}

/* Nothing is mirrored before: what the peer held prepared is taken or dropped now. */
void handshake_settled(struct node *n)
{
	struct plink *l = &n->links[n->live];

	n->settling = false;
	if (n->st.lineage.generation != l->welcome.lineage.generation) {
		link_drop(n, n->live, "this node went on alone while the session was made");
		return;
	}
	sync_begin(n, &l->hello, l->full, l->welcome.keep);
}

static void backup_saved(struct save *s, int error)
{
	struct plink *l = s->owner;
	struct node *n = link_node(l);

	if (l->state != PL_WELCOME || l->save_session != l->session)
		return;
	if (error) {
		link_refuse(n, l->index, error == -ENOSPC || error == -EDQUOT ? REFUSE_NOSPACE : REFUSE_INTERNAL);
		return;
	}
	l->state = PL_LIVE;
	l->live_ms = n->now_ms;
	n->live = l->index;
	n->session = l->session;
	n->link_since_ms = n->now_ms;
	n->counters.link_connects_total++;
	snprintf(n->peer_text, sizeof(n->peer_text), "%s", l->peer);
	snprintf(n->peer_tls, sizeof(n->peer_tls), "%s", l->tls);
	n->peer_known = true;
	n->peer_generation = l->welcome.lineage.generation;
	n->peer_epoch = l->hello.committed;
	node_reason(n, "the primary %s is connected", l->peer);
	node_log(n, LOG_LVL_INFO, "connected to %s (%s)", l->peer, l->tls[0] ? l->tls : "no TLS");
	if (l->welcome.first_contact)
		image_remove_foreign(n);
	own_send(n);
	live_capacity(n);
	fence_session(n);
	backup_session(n, l);
}

int handshake_welcome(struct node *n, struct plink *l, const uint8_t *payload)
{
	struct welcome w;

	if (n->role != NODE_BACKUP || l->state != PL_HELLO || !l->have_hello || n->live >= 0 ||
	    welcome_decode(&w, payload, l->frame.payload_len))
		return -EPROTO;
	/* A commit of the last session is still becoming durable, or has become it since the HELLO: the primary judged by
	 * sizes and names that are no more. */
	if (n->com_ep || !n->ready || l->told_committed != n->committed ||
	    l->told_prepared != (n->prep_ep ? n->prep_ep->number : 0)) {
		link_refuse(n, l->index, REFUSE_BUSY);
		return 0;
	}
	if (n->st.have_pair && memcmp(w.pair, n->st.pair, 16)) {
		link_refuse(n, l->index, REFUSE_PAIR);
		return 0;
	}
	if (l->frame.session <= n->st.session_high || too_far(l->frame.session, n->st.session_high) ||
	    w.epoch <= n->committed || (n->prep_ep && w.epoch <= n->prep_ep->number) || too_far(w.epoch, epoch_known(n)))
		return -EPROTO;
	if (!n->journal_lost && n->st.rejoin != REJOIN_DISCARD && n->st.lineage.generation &&
	    n->st.lineage.generation != w.lineage.generation && !lineage_find(&w.lineage, n->st.lineage.generation)) {
		pair_split(n, l);
		link_refuse(n, l->index, REFUSE_SPLIT);
		return 0;
	}
	restore_give_up(n);
	memcpy(n->st.pair, w.pair, 16);
	n->st.have_pair = true;
	n->st.session_high = l->session = l->save_session = l->frame.session;
	n->st.epoch_high = max64(n->st.epoch_high, w.epoch);
	n->st.adopting = w.lineage; /* taken over by the commit record that names it */
	l->welcome = w;
	l->state = PL_WELCOME;
	l->save.owner = l;
	if (l->save.busy)
		return -EBUSY;
	node_save(n, &l->save, backup_saved);
	return 0;
}
