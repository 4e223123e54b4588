/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backup that fails over by itself behind its fence, or does not. The clock is the test's, and so is the command. */
#include "alone.h"

static bool watching(void)
{
	hosts();
	side[1].host.config.peer_loss_failover = side[1].host.config.can_fence = true;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	node_events_open(back());
	heal();
	return protected_now() && !put(0, 3, 7) && !say(0, "flush");
}

static void primary_dies(void)
{
	cut();
	host_kill(&side[0].host);
	side[0].host.node = NULL;
}

static void fence_ends(int how)
{
	struct host *h = &side[1].host;

	h->fencing = false;
	host_begin(h);
	node_fence_ended(h->node, how);
	host_end(h);
	host_settle(h);
}

static bool promoted(void)
{
	turn(1, 200);
	return back()->role == NODE_PRIMARY;
}

static bool happened(const char *text)
{
	for (uint64_t i = 1; i < node_events_next(back()); i++)
		if (strstr(node_event(back(), i), text))
			return true;
	return false;
}

static bool fence_is(const char *state, const char *why)
{
	const char *is_why, *is = fence_state(back(), &is_why);

	if (!strcmp(is, state) && (why ? is_why && strstr(is_why, why) : !is_why))
		return true;
	printf("# fence: %s, %s\n", is, is_why ? is_why : "-");
	return false;
}

static bool fails_over_behind_the_fence(void)
{
	char want[256];

	CHECK(watching() && fence_is("armed", NULL));
	primary_dies();
	turn(1, 450);
	CHECK(!side[1].host.fencing); /* link-timeout is 500 ms */
	turn(1, 150);
	CHECK(side[1].host.fencing && fence_is("running", NULL));
	snprintf(want, sizeof(want), "fence pair=%016llx%016llx node=02020202020202020202020202020202 epoch=%llu "
	         "generation=%016llx", (unsigned long long)__builtin_bswap64(*(uint64_t *)back()->st.pair),
	         (unsigned long long)__builtin_bswap64(*(uint64_t *)(back()->st.pair + 8)),
	         (unsigned long long)back()->committed, (unsigned long long)back()->st.lineage.generation);
	if (strcmp(want, side[1].host.fence_args))
		printf("# %s\n# %s\n", side[1].host.fence_args, want);
	CHECK(!strcmp(want, side[1].host.fence_args));
	turn(1, 30000);
	CHECK(side[1].host.fencing && back()->role == NODE_BACKUP);
	fence_ends(0);
	CHECK(promoted() && get_alone(3) == 7);
	CHECK(happened("\"event\": \"fence\"") && happened("\"state\": \"fenced\"") && happened("\"event\": \"failover\""));
	return strstr(back()->reason, "by itself") && !wrong;
}

/* Any other end of the command: nothing happens, and it is run again, ever later. */
static bool not_fenced(int how, const char *text)
{
	uint64_t last = 0, pause = 0;

	CHECK(watching());
	primary_dies();
	for (uint32_t run = 1; run < 12; run++) {
		for (int i = 0; i < 2000 && !side[1].host.fencing; i++)
			turn(1, 50);
		CHECK(side[1].host.fencing && back()->fence_runs == run);
		CHECK(run < 3 || side[1].host.now_ms - last >= pause); /* no sooner than the last time */
		CHECK(run < 2 || side[1].host.now_ms - last <= 60100);
		pause = run > 1 ? side[1].host.now_ms - last - 50 : 0;
		fence_ends(how);
		last = side[1].host.now_ms;
		CHECK(!promoted() && fence_is("failed", NULL) && strstr(back()->reason, text));
	}
	CHECK(pause > 59000 && happened("\"state\": \"not-fenced\""));
	CHECK(back()->counters.fence_failures_total == 11);
	for (int i = 0; i < 2000 && !side[1].host.fencing; i++)
		turn(1, 50);
	fence_ends(0); /* and at last */
	return promoted() && !wrong;
}

static bool fence_exits_otherwise(void)
{
	return not_fenced(1, "exit 1");
}

static bool fence_is_ended_by_a_signal(void)
{
	return not_fenced(256 + 9, "signal 9");
}

static bool fence_cannot_be_run(void)
{
	CHECK(watching());
	side[1].host.fence_error = -ENOENT;
	primary_dies();
	turn(1, 700);
	CHECK(back()->fence_runs == 1 && !promoted() && strstr(back()->reason, "cannot be run: No such file"));
	side[1].host.fence_error = 0;
	turn(1, 1000);
	CHECK(side[1].host.fencing);
	fence_ends(0);
	return promoted();
}

static bool fence_hangs(void)
{
	CHECK(watching());
	primary_dies();
	turn(1, 700);
	CHECK(side[1].host.fencing);
	turn(1, 59700);
	CHECK(!side[1].host.fence_killed);
	turn(1, 200);
	CHECK(side[1].host.fence_killed && side[1].host.fencing && back()->role == NODE_BACKUP);
	turn(1, 100000); /* it does not die so soon: no second one beside it */
	CHECK(back()->fence_runs == 1);
	fence_ends(0); /* too late */
	CHECK(!promoted() && strstr(back()->reason, "killed"));
	turn(1, 1000);
	return back()->fence_runs == 2;
}

/* It was off and on again, or never off: the command's word is no longer true. */
static bool link_back_while_fencing(bool stays)
{
	CHECK(watching());
	cut();
	turn(1, 700);
	CHECK(side[1].host.fencing);
	heal();
	CHECK(back()->live >= 0);
	if (!stays)
		cut();
	fence_ends(0);
	CHECK(!promoted() && happened("\"state\": \"void\"") && strstr(back()->last_error, "heard meanwhile"));
	turn(1, stays ? 100 : 1000);
	return side[1].host.fencing == !stays; /* judged anew */
}

static bool the_link_is_back(void)
{
	return link_back_while_fencing(true);
}

static bool the_link_was_back(void)
{
	return link_back_while_fencing(false);
}

/* A word of the primary is a sign of life, also without a session. */
static bool a_word_while_fencing(void)
{
	CHECK(watching());
	primary_dies();
	turn(1, 700);
	CHECK(side[1].host.fencing);
	int link = host_link_open(&side[1].host, false);

	host_link_rx(&side[1].host, link, "L", 1);
	host_link_cut(&side[1].host, link);
	fence_ends(0);
	return !promoted() && happened("\"state\": \"void\"");
}

static bool held_for(const char *why)
{
	CHECK(fence_is("held", why));
	turn(1, 20000);
	return !side[1].host.fencing && back()->role == NODE_BACKUP && !back()->fence_runs;
}

static bool the_primary_left_in_order(void)
{
	CHECK(watching());
	host_begin(&side[0].host);
	links_close(prim(), 0);
	host_end(&side[0].host);
	side[1].host.config.can_accept = false;
	for (int i = 0; i < 5; i++)
		pump();
	CHECK(back()->live < 0 || (cut(), true));
	primary_dies();
	return held_for("left in order");
}

static bool the_primary_was_told_to_stay_apart(void)
{
	CHECK(watching() && !say(0, "disconnect"));
	pump();
	primary_dies();
	return held_for("left in order");
}

static bool this_node_was_told_to_stay_apart(void)
{
	CHECK(watching() && !say(1, "disconnect"));
	primary_dies();
	return held_for("stay apart");
}

static bool no_primary_was_met(void)
{
	CHECK(watching());
	primary_dies();
	host_kill(&side[1].host);
	CHECK(!host_boot(&side[1].host, pair_reply, sizeof(pair_reply)));
	turn(1, 50);
	return held_for("since the mount");
}

/* Back for a moment: what the primary wrote meanwhile is not here, and a failover would lose more than an epoch. */
static bool a_sync_is_not_committed(void)
{
	CHECK(watching());
	CHECK(!put(1, 9, 5)); /* an overlay: the sync's commit waits for a flush, with commit=manual */
	cut();
	heal();
	CHECK(!protected_now() && back()->live >= 0);
	primary_dies();
	return held_for("not committed");
}

static bool the_first_sync_is_not_committed(void)
{
	hosts();
	side[1].host.config.peer_loss_failover = side[1].host.config.can_fence = true;
	side[0].host.config.resync_rate = 1;
	CHECK(boot(&side[1]) && boot(&side[0]));
	for (int i = 0; i < 20; i++)
		pass(50);
	CHECK(back()->live >= 0 && !back()->committed);
	primary_dies();
	return held_for("not whole");
}

static bool on_peer_loss_is_live(void)
{
	hosts();
	CHECK(boot(&side[1]) && boot(&side[0]));
	heal();
	CHECK(say(1, "set on-peer-loss failover") == -EINVAL && strstr(pair_reply, "fence="));
	CHECK(watching() && !say(1, "set on-peer-loss wait") && fence_is("off", NULL));
	primary_dies();
	turn(1, 20000);
	CHECK(!side[1].host.fencing);
	struct command c = { .verb = CMD_SET, .option = "on-peer-loss", .value = "failover" };
	static struct command_req r;

	r = (struct command_req){ .cmd = c, .done = ignored };
	host_begin(&side[1].host);
	node_command(back(), &r);
	host_end(&side[1].host);
	turn(1, 100);
	CHECK(side[1].host.fencing);
	fence_ends(0);
	return promoted();
}

/* A node that was not scheduled cannot say who was silent. */
static bool a_late_tick_is_no_silence(void)
{
	CHECK(watching());
	primary_dies();
	turn(1, 300);
	host_tick(&side[1].host, 5000);
	CHECK(!side[1].host.fencing);
	turn(1, 450);
	CHECK(!side[1].host.fencing);
	turn(1, 150);
	CHECK(side[1].host.fencing);
	host_tick(&side[1].host, 5000);
	fence_ends(0);
	return !promoted();
}

static bool a_stop_ends_the_fence(void)
{
	CHECK(watching());
	primary_dies();
	turn(1, 700);
	CHECK(side[1].host.fencing && host_stop(&side[1].host) && side[1].host.fence_killed);
	fence_ends(0);
	return back()->role == NODE_BACKUP;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(fails_over_behind_the_fence);
	RUN(fence_exits_otherwise);
	RUN(fence_is_ended_by_a_signal);
	RUN(fence_cannot_be_run);
	RUN(fence_hangs);
	RUN(the_link_is_back);
	RUN(the_link_was_back);
	RUN(a_word_while_fencing);
	RUN(the_primary_left_in_order);
	RUN(the_primary_was_told_to_stay_apart);
	RUN(this_node_was_told_to_stay_apart);
	RUN(no_primary_was_met);
	RUN(a_sync_is_not_committed);
	RUN(the_first_sync_is_not_committed);
	RUN(on_peer_loss_is_live);
	RUN(a_late_tick_is_no_silence);
	RUN(a_stop_ends_the_fence);
	return check_end();
}
