/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When a node dials: pauses that grow, are bounded and drawn; and not at all while a refusal stands that no time can
 * mend, until something changes on one of the two nodes. The clock is the test's.
 */
#include "alone.h"

static uint32_t dials, seen;
static uint64_t dialled_ms[4096];

/* How often node 0 has dialled since begin(). */
static void begin(void)
{
	dials = 0;
	seen = side[0].host.dials;
}

/* Time passes for both; what node 0 dials reaches node 1 while that is there, or fails. */
static void live(uint64_t ms, bool there)
{
	for (uint64_t t = 0; t < ms; t += 10) {
		struct host *h = &side[0].host;

		if (h->dialling && !there) {
			h->dialling = false;
			host_begin(h);
			node_dial_failed(h->node, "connection refused");
			host_end(h);
		}
		if (there)
			pump();
		else
			host_settle(h);
		host_tick(h, 10);
		if (there)
			host_tick(&side[1].host, 10);
		for (; seen != h->dials && dials < 4096; seen++)
			dialled_ms[dials++] = h->now_ms;
	}
}

static bool pauses_grow_and_are_drawn(void)
{
	uint64_t least = UINT64_MAX, most = 0;

	hosts();
	begin();
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	live(600000, false);
	CHECK(dials > 100 && dials < 250);
	for (uint32_t i = 1; i < dials; i++) {
		uint64_t pause = dialled_ms[i] - dialled_ms[i - 1];

		CHECK(pause <= (i < 2 ? BACKOFF_MAX_MS / 5 : BACKOFF_MAX_MS) + 20); /* the first ones are short */
		if (i < 10)
			continue;
		least = pause < least ? pause : least;
		most = pause > most ? pause : most;
	}
	printf("# %u dials, pauses of %u to %u ms\n", dials, (unsigned)least, (unsigned)most);
	return least >= BACKOFF_MAX_MS / 2 - 20 && most - least > BACKOFF_MAX_MS / 4;
}

/* Node 1 has images of another origin. */
static bool refused(void)
{
	hosts();
	strcpy(host_file_new(&side[1].host, FILE_IMAGE, 77)->name, "mine");
	begin();
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	live(1000, true);
	return link_parked(prim()) && link_parked(back()) && strstr(prim()->reason, "did not come from this pair");
}

static bool not_tried_again(void)
{
	struct status st;

	CHECK(refused() && dials == 1);
	live(1000000, true);
	CHECK(dials == 1 && prim()->counters.link_refusals_total <= 2 && link_parked(prim()));
	node_status(prim(), &st);
	bool said = strstr(st.advice, "connect") && st.link == SL_CONNECTING;

	status_free(&st);
	return said;
}

static bool until_connect_here(void)
{
	CHECK(refused() && dials == 1 && !say(0, "connect"));
	live(1000, true);
	CHECK(dials == 2);
	live(100000, true);
	return dials == 2;
}

static bool until_connect_there(void)
{
	CHECK(refused() && !say(1, "connect"));
	live(10000, true);
	return dials == 2;
}

static bool until_the_peer_is_mounted_anew(void)
{
	CHECK(refused());
	host_link_cut(&side[0].host, side[0].link); /* what the kernel says of a process that ended */
	host_kill(&side[1].host);
	side[0].link = side[1].link = -1;
	side[1].host.config.overwrite = true;
	CHECK(boot(&side[1]));
	live(10000, true);
	return dials == 2 && protected_now();
}

/* Its host is gone without a word. */
static bool until_the_peer_is_silent(void)
{
	CHECK(refused());
	host_kill(&side[1].host);
	side[1].link = -1;
	live(700, false);
	CHECK(!link_parked(prim()));
	live(6000, false);
	return dials >= 2;
}

static bool until_the_role_changes(void)
{
	CHECK(paired());
	side[1].host.config.role = NODE_PRIMARY; /* in memory only: a second primary of the same lineage */
	back()->role = NODE_PRIMARY;
	cut();
	begin();
	live(20000, true);
	CHECK(dials == 1 && link_parked(prim()) && link_parked(back()));
	back()->role = NODE_BACKUP;
	live(10000, true);
	return dials == 2 && protected_now();
}

/* What passes by itself is tried again, bounded. */
static bool others_are_tried_again(void)
{
	CHECK(paired());
	back()->ready = false; /* REFUSE: not ready yet */
	cut();
	begin();
	live(60000, true);
	printf("# %u dials\n", dials);
	return dials > 50 && dials < 150 && !link_parked(prim());
}

/* A stranger that is refused for good does not keep the peer out. */
static bool a_parked_link_keeps_nobody_out(void)
{
	static uint8_t hello[1 << 16];

	CHECK(paired());
	uint8_t id = prim()->id[0];

	cut();
	host_settle(&side[0].host);
	back()->id[0] ^= 1; /* any other node, in its words */
	int from = host_link_open(&side[1].host, false);
	size_t len = side[1].host.links[from].len;

	memcpy(hello, side[1].host.links[from].tx, len);
	host_link_cut(&side[1].host, from);
	back()->id[0] ^= 1;
	CHECK(id == prim()->id[0] && len);
	int link = host_link_open(&side[1].host, false); /* a backup that meets a backup: the roles do not fit */

	host_link_rx(&side[1].host, link, hello, len);
	CHECK(link_parked(back()));
	heal();
	return protected_now() && !wrong;
}

/* Each ends a link that did not last: in order, and no reason to wait. */
static bool swaps_are_dialled_at_once(void)
{
	uint64_t most = 0;

	CHECK(paired());
	side[1].host.config.can_accept = true;
	for (int i = 0; i < 12; i++) {
		struct node *to = side[!(i % 2)].host.node;
		uint64_t began_ms = side[0].host.now_ms;

		CHECK(!say(i % 2, "switchover") && to->role == NODE_PRIMARY);
		while (!to->protected_ && side[0].host.now_ms - began_ms < 20000)
			pass(10);
		CHECK(to->protected_);
		if (side[0].host.now_ms - began_ms > most)
			most = side[0].host.now_ms - began_ms;
	}
	printf("# the longest of 12 swaps: %u ms\n", (unsigned)most);
	return most <= BACKOFF_BUSY_MS + 500 && !wrong;
}

/* Whose refusal comes first, and that both come: what each would lose is what is said in the end. */
static bool a_split_brain_is_told_in_full(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	cut();
	side[1].host.config.can_accept = false;
	turn(0, 100);
	CHECK(!put(0, 4, 8) && prim()->raised && !say(1, "failover"));
	side[1].host.config.can_accept = true;
	host_settle(&side[0].host);
	live(5000, true);
	CHECK(link_parked(prim()) && link_parked(back()));
	printf("# %s\n# %s\n", prim()->last_error, back()->last_error);
	CHECK(!strstr(prim()->last_error, "at most") && !strstr(back()->last_error, "at most"));
	return strstr(prim()->last_error, "bytes since") && strstr(back()->last_error, "bytes since") &&
	       strstr(prim()->last_error, "discard-local") && strstr(back()->last_error, "discard-local");
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(pauses_grow_and_are_drawn);
	RUN(not_tried_again);
	RUN(until_connect_here);
	RUN(until_connect_there);
	RUN(until_the_peer_is_mounted_anew);
	RUN(until_the_peer_is_silent);
	RUN(until_the_role_changes);
	RUN(others_are_tried_again);
	RUN(a_parked_link_keeps_nobody_out);
	RUN(swaps_are_dialled_at_once);
	RUN(a_split_brain_is_told_in_full);
	return check_end();
}
