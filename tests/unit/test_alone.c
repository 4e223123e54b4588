/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A primary's start: what it asks, and what it takes for an answer. The clock is the test's. */
#include "alone.h"

static bool the_first_start_asks_nobody(void)
{
	hosts();
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	turn(0, 50);
	return started(0);
}

static bool nobody_answers(void)
{
	CHECK(paired() && restart(0));
	turn(0, 59000);
	CHECK(waits(0));
	turn(0, 1100);
	CHECK(told(0, "connection refused") && told(0, "start-alone"));
	return side[0].host.ready_error == -ETIMEDOUT && !prim()->ready;
}

static bool start_alone(void)
{
	struct status st;

	CHECK(paired());
	side[0].host.config.start_alone = true;
	CHECK(restart(0));
	turn(0, 50);
	CHECK(started(0));
	node_status(prim(), &st);
	bool shown = st.start_alone;

	status_free(&st);
	return shown;
}

static bool without_a_peer_it_asks_nobody(void)
{
	CHECK(paired());
	side[0].host.config.can_dial = false;
	CHECK(restart(0));
	turn(0, 50);
	return started(0);
}

static bool a_backup_asks_nobody(void)
{
	CHECK(paired() && restart(1));
	turn(1, 50);
	return started(1);
}

static bool its_backup_answers(void)
{
	CHECK(paired() && restart(0));
	turn(0, 20000);
	CHECK(waits(0));
	heal();
	return started(0) && !wrong;
}

/* A HELLO is no session: who said it may be promoted before it says READY. */
static bool a_hello_is_no_answer(void)
{
	static uint8_t hello[1 << 20];

	CHECK(paired() && restart(0));
	host_settle(&side[0].host);
	CHECK(side[0].host.dialling);
	side[0].link = host_link_open(&side[0].host, true);
	side[1].link = host_link_open(&side[1].host, false);
	size_t len = side[1].host.links[side[1].link].len;

	CHECK(len && len < sizeof(hello));
	memcpy(hello, side[1].host.links[side[1].link].tx, len);
	host_link_rx(&side[0].host, side[0].link, hello, len);
	host_settle(&side[0].host);
	CHECK(prim()->links[side[0].link].state == PL_WELCOME && waits(0));
	cut();
	turn(0, 1000);
	return waits(0);
}

static bool the_peer_was_promoted(void)
{
	CHECK(paired() && restart(0));
	host_settle(&side[0].host);
	side[0].host.dialling = false;
	CHECK(waits(0) && !say(1, "failover"));
	meet();
	return started(0) && prim()->role == NODE_BACKUP && !wrong;
}

/* Both were written alone: which of them is served nobody but the user can say. Said at once, not after peer-wait. */
static bool split_brain(void)
{
	static uint8_t buf[BLOCK];
	struct guest_io g = { .op = GUEST_WRITE, .len = BLOCK, .buf = buf };

	CHECK(paired());
	cut();
	side[1].host.config.can_accept = false;
	turn(0, 100);
	CHECK(!guest(0, g, "disk") && prim()->raised);
	CHECK(!say(1, "failover") && restart(0));
	host_settle(&side[0].host);
	side[0].host.dialling = false;
	meet();
	CHECK(told(0, "split brain behind epoch") && told(0, "start-alone"));
	return told(0, " or later, at most ") && told(0, " bytes since, "); /* its map says so, it does not know */
}

static bool refusals_that_pass_are_waited_for(void)
{
	CHECK(paired() && !say(1, "disconnect") && restart(0));
	for (int i = 0; i < 100; i++) { /* its HELLO is refused again and again */
		pump();
		for (int s = 0; s < 2; s++)
			host_tick(&side[s].host, 50);
	}
	CHECK(waits(0) && back()->apart && !say(1, "connect"));
	heal();
	return started(0) && !wrong;
}

static bool a_promoted_node_asks_nobody(void)
{
	CHECK(paired());
	cut();
	host_kill(&side[0].host);
	host_exit(&side[0].host);
	host_init(&side[0].host, 9, NODE_UNPROTECTED);
	CHECK(boot(&side[0]));
	pass(50);
	CHECK(!say(1, "failover"));
	turn(1, 2000);
	side[1].host.config.role = -1;
	CHECK(restart(1));
	turn(1, 50);
	return started(1) && back()->role == NODE_PRIMARY;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(the_first_start_asks_nobody);
	RUN(nobody_answers);
	RUN(start_alone);
	RUN(without_a_peer_it_asks_nobody);
	RUN(a_backup_asks_nobody);
	RUN(its_backup_answers);
	RUN(a_hello_is_no_answer);
	RUN(the_peer_was_promoted);
	RUN(split_brain);
	RUN(refusals_that_pass_are_waited_for);
	RUN(a_promoted_node_asks_nobody);
	return check_end();
}
