/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a node in memory says of itself: the advice and the figures of status in each state that has one of its own, and the
 * events, line by line: each once, when it happens, and readable as JSON objects.
 */
#include "alone.h"
#include "look.h"

#define LARGE (3u << 20) /* bytes; the overlay's limit is 2 MiB, the journal's 4 */

static bool in_order(void)
{
	CHECK(paired() && !put(0, 3, 7));
	CHECK(advises(0, "") && advises(1, ""));
	CHECK(look(0)->is_protected && st.link == SL_UP && st.have_peer && !strcmp(st.mode, "primary"));
	CHECK(st.uncommitted_bytes == BLOCK && st.uncommitted_writes == 1 && st.image_count == 1 && !st.images[0].state);
	CHECK(look(1)->link == SL_UP && !strcmp(st.mode, "backup") && st.uncommitted_bytes == BLOCK);
	CHECK(!say(0, "prepare a"));
	CHECK(look(0)->epoch_prepared && look(1)->epoch_prepared == prim()->com.number);
	return st.epoch_committed < st.epoch_prepared && !wrong;
}

static bool alone(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	cut();
	side[1].host.config.can_accept = false;
	turn(0, 50);
	CHECK(advises(0, "No peer holds the guest's writes") && !strcmp(st.mode, "unprotected"));
	CHECK(st.link == SL_CONNECTING && !st.is_protected);
	CHECK(advises(1, "`failover` makes this node writable"));
	CHECK(!say(0, "disconnect") && look(0)->link == SL_OFF && strstr(st.reason, "`connect`"));
	CHECK(events(0, "unprotected") == 1 && !say(0, "connect"));
	heal();
	return advises(0, "") && events(0, "protected") == 2;
}

static bool a_transport_is_no_link(void)
{
	hosts();
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)) && boot(&side[1]));
	CHECK(look(0)->link == SL_CONNECTING && st.committed_age_ms == -1);
	host_settle(&side[0].host);
	side[0].link = host_link_open(&side[0].host, true);
	return look(0)->link == SL_HANDSHAKE;
}

static bool refused_for_good(void)
{
	hosts();
	strcpy(host_file_new(&side[1].host, FILE_IMAGE, 77)->name, "mine");
	CHECK(boot(&side[1]) && boot(&side[0]));
	for (int i = 0; i < 20; i++)
		pass(50);
	return advises(0, "refuse each other") && advises(1, "refuse each other");
}

static bool copies_differ(void)
{
	CHECK(paired());
	host_file_write(host_file_named(&side[1].host, "disk"), 5000, "other", 5);
	CHECK(!say(0, "verify") && advises(0, "`resync` sends them again") && st.images[0].dirty_bytes);
	CHECK(events(0, "verified") == 1 && !say(0, "resync"));
	heal();
	return advises(0, "") && !st.images[0].dirty_bytes;
}

static bool guest_done;

static void finished(struct guest_io *g)
{
	(void)g;
	guest_done = true;
}

static bool writes_are_held(void)
{
	static uint8_t buf[BLOCK];
	struct guest_io g = { .op = GUEST_WRITE, .len = BLOCK, .buf = buf, .done = finished };

	CHECK(paired() && !say(0, "set on-link-loss suspend") && !say(0, "disconnect"));
	g.image = node_image(prim(), "disk");
	guest_done = false;
	host_begin(&side[0].host);
	node_guest(prim(), &g);
	host_end(&side[0].host);
	CHECK(advises(0, "`continue` goes on without one") && events(0, "writes-held") == 1 && !events(0, "writes-released"));
	CHECK(!say(0, "continue"));
	turn(0, 100);
	return guest_done && events(0, "writes-held") == 1 && events(0, "writes-released") == 1;
}

/* Only an fsync waits, of what is written since long. */
static bool an_fsync_is_held(void)
{
	struct guest_io g = { .op = GUEST_SYNC, .done = finished };

	CHECK(paired() && !put(0, 3, 7) && !say(0, "set commit fsync") && !say(0, "set on-link-loss suspend"));
	CHECK(!say(0, "disconnect") && !advises(0, "`continue`"));
	g.image = node_image(prim(), "disk");
	guest_done = false;
	host_begin(&side[0].host);
	node_guest(prim(), &g);
	host_end(&side[0].host);
	turn(0, 40000);
	CHECK(!guest_done && advises(0, "`continue` goes on without one") && events(0, "writes-held") == 1);
	CHECK(!say(0, "continue"));
	turn(0, 100);
	return guest_done && !advises(0, "`continue`") && events(0, "writes-released") == 1;
}

static bool an_older_copy(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	CHECK(!image_open_write(prim(), prim()->images));
	struct command force = { .verb = CMD_FAILOVER, .force = true };

	CHECK(!command(1, force));
	CHECK(advises(0, "`discard-local` makes it the backup") && !strcmp(st.mode, "failed") && events(0, "failed") == 1);
	CHECK(events(1, "failover") == 1 && look(1)->generation != prim()->st.lineage.generation);
	image_close_write(prim()->images);
	CHECK(!say(0, "discard-local") && advises(0, "brought level by the primary") && st.images[0].state);
	return true;
}

static bool a_failed_node(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !put(0, 3, 8));
	for (int i = 0; i < 20; i++)
		host_settle(&side[1].host);
	side[1].host.fail_error = -EIO;
	side[1].host.fail_next = 1000;
	struct command flush = { .verb = CMD_FLUSH, .nowait = true };

	CHECK(!command(0, flush));
	for (int i = 0; i < 10; i++) {
		pump();
		host_tick(&side[1].host, 50);
	}
	CHECK(advises(1, "Mend the cause") && !strcmp(st.mode, "failed") && events(1, "failed") == 1);
	return !look(0)->is_protected && !strcmp(st.mode, "unprotected") && events(0, "unprotected") == 1;
}

/* ---- room ---- */

static bool large_pair(void)
{
	return paired() && !guest(0, (struct guest_io){ .op = GUEST_TRUNC, .len = LARGE }, "disk") && !say(0, "flush");
}

static int put_many(int at, uint32_t from, uint32_t bytes)
{
	int error = 0;

	for (uint32_t b = from / BLOCK; b < bytes / BLOCK && !error; b++)
		error = put(at, b, 9);
	return error;
}

/* The twin's overlay is three quarters full: said here, and by the primary, whose toolstack makes the checkpoints. */
static bool the_overlay_fills(void)
{
	CHECK(large_pair() && !put_many(1, 0, 1400u << 10) && !events(1, "checkpoint-wanted"));
	CHECK(!put_many(1, 1400u << 10, 1600u << 10) && events(1, "checkpoint-wanted") == 1);
	CHECK(look(1)->overlay_bytes >= 1536u << 10 && st.overlay_limit == 2u << 20);
	for (int i = 0; i < 10; i++)
		pass(50);
	CHECK(events(0, "checkpoint-wanted") == 1 && prim()->peer_wants);
	CHECK(!say(0, "flush") && look(1)->overlay_bytes == 0);
	for (int i = 0; i < 10; i++)
		pass(50);
	CHECK(!prim()->peer_wants && !put_many(1, 0, 1600u << 10));
	return events(1, "checkpoint-wanted") == 2 && !wrong;
}

static bool the_overlay_is_full(void)
{
	CHECK(large_pair() && put_many(1, 0, LARGE) == -ENOSPC);
	CHECK(look(1)->overlay_bytes <= st.overlay_limit);
	return !say(0, "flush") && !put(1, 0, 9) && !wrong;
}

/* A sync that has sent everything waits for a flush: its commit would drop what the twin wrote. */
static bool a_sync_waits_for_a_flush(void)
{
	CHECK(paired() && !put(1, 9, 9));
	cut();
	CHECK(!put(0, 3, 7));
	for (int i = 0; i < 200 && !(primary_mirrors(prim()) && prim()->sync_state == SYNC_COMMIT); i++)
		pass(50);
	for (int i = 0; i < 10; i++)
		pass(50);
	CHECK(!prim()->protected_ && advises(0, "the next `flush` commits it") && st.link == SL_SYNCING);
	CHECK(events(0, "checkpoint-wanted") == 1 && !say(0, "flush"));
	return prim()->protected_ && advises(0, "");
}

static bool the_disk_is_full(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	struct command_req take = { .cmd = { .verb = CMD_COMMIT, .have_epoch = true, .epoch = prim()->com.number },
		.done = ignored };

	host_begin(&side[0].host);
	node_command(prim(), &take);
	host_end(&side[0].host);
	while (!back()->seals)
		CHECK(pair_step(1));
	side[1].host.fail_error = -ENOSPC;
	for (int i = 0; i < 40 && !back()->destage_full; i++) { /* what comes now is destage's */
		side[1].host.io_fail_at = side[1].host.io_count + 1;
		host_tick(&side[1].host, 1);
		pair_step(1);
	}
	side[1].host.io_fail_at = 0;
	host_tick(&side[1].host, 1);
	CHECK(back()->destage_full && advises(1, "make room, the journal waits for it") && events(1, "disk-full") == 1);
	CHECK(st.journal_sealed && st.epoch_committed == take.cmd.epoch);
	for (int i = 0; i < 60; i++)
		pass(50);
	return advises(1, "") && events(1, "disk-has-room") == 1 && !look(1)->journal_sealed && !wrong;
}

/* The journal is as large as it is mounted with; what the peer lacks is more. */
static bool it_does_not_fit(void)
{
	CHECK(large_pair());
	cut();
	side[1].host.config.journal_size = 1u << 20;
	host_kill(&side[1].host);
	CHECK(boot(&side[1]) && !put_many(0, 0, LARGE));
	for (int i = 0; i < 200 && !prim()->unfit; i++)
		pass(50);
	CHECK(prim()->unfit && advises(0, "larger journal-size") && say(0, "flush") == -ENOSPC && !put(0, 1, 33));
	cut();
	host_settle(&side[1].host);
	host_kill(&side[1].host);
	side[1].host.config.journal_size = 16u << 20;
	CHECK(boot(&side[1]));
	heal();
	return protected_now() && advises(0, "") && !say(0, "verify") && strstr(pair_reply, "differ=0") && !wrong;
}

/* ---- the log of events itself ---- */

static bool only_so_many_are_kept(void)
{
	hosts();
	CHECK(boot(&side[1]) && !host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	CHECK(!node_events_next(prim()) && !node_event(prim(), 1)); /* nobody has asked */
	CHECK(!node_events_open(prim()) && node_events_next(prim()) == 1);
	heal();
	uint64_t next = node_events_next(prim());

	CHECK(next > 1 && !node_events_open(prim()) && node_events_next(prim()) == next); /* a second reader */
	CHECK(!node_event(prim(), next) && node_event(prim(), next - 1)[0] == '{');
	for (int i = 0; i < 3000 && node_event(prim(), 1)[0]; i++)
		CHECK(!say(0, "flush"));
	CHECK(!strcmp(node_event(prim(), 1), "") && node_event(prim(), node_events_next(prim()) - 1)[0] == '{');
	return !strcmp(node_event(prim(), 0), "");
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(in_order);
	RUN(alone);
	RUN(a_transport_is_no_link);
	RUN(refused_for_good);
	RUN(copies_differ);
	RUN(writes_are_held);
	RUN(an_fsync_is_held);
	RUN(an_older_copy);
	RUN(a_failed_node);
	RUN(the_overlay_fills);
	RUN(the_overlay_is_full);
	RUN(a_sync_waits_for_a_flush);
	RUN(the_disk_is_full);
	RUN(it_does_not_fit);
	RUN(only_so_many_are_kept);
	status_free(&st);
	return check_end();
}
