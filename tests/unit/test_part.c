/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A resync in-place (repl/part.c), looked at in its middle: what the backup answers and remembers, what the primary knows
 * should it crash, and who is told what when something fails.
 */
#include "part.h"

#include "look.h"

static bool the_backup_says_so(void)
{
	CHECK(begun());
	CHECK(!opens(1) && get(1, 0) < 0);
	CHECK(look(1)->not_level && advises(1, "resync in-place has not come to its end") && st.images[0].state == 1);
	CHECK(look(0)->not_level && strstr(st.reason, "in-place"));
	CHECK(lines(0, "\"part\": true") && lines(1, "\"part\": true"));
	CHECK(say(1, "failover") == -EBUSY);
	cut();
	host_settle(&side[0].host);
	host_settle(&side[1].host);
	CHECK(answered && order.error == -ENOTCONN);
	CHECK(say(1, "failover") == -ESTALE && replied("resync in-place has not come to its end"));
	CHECK(look(1)->images[0].state == 2);
	reboot(&side[1]);
	CHECK(!opens(1) && say(1, "failover") == -ESTALE && back()->st.rejoin == REJOIN_PART);
	CHECK(level());
	return true;
}

/* Its journal alone says so: nothing else was written since. */
static bool the_backup_remembers(void)
{
	CHECK(behind());
	give(0, in_place);
	for (int i = 0; i < 100000 && !back()->st.rejoin; i++)
		step();
	CHECK(back()->st.rejoin == REJOIN_PART && back()->seals);
	CHECK(restart(1));
	host_settle(&side[1].host);
	CHECK(!opens(1) && back()->st.rejoin == REJOIN_PART);
	return level();
}

/* A flush is no order for a part: it is answered by the sync's end. */
static bool a_flush_waits(void)
{
	CHECK(begun());
	prim()->config.flush_timeout_ms = 600000;
	give(0, (struct command){ .verb = CMD_FLUSH });
	uint64_t part = prim()->acked_epoch;

	for (int i = 0; i < 100 && prim()->acked_epoch == part; i++)
		pass(5);
	CHECK(prim()->acked_epoch > part && prim()->peer_part && !answered);
	CHECK(level() && answered && !order.error);
	return true;
}

/* What a part brought is in no set any more: the sync behind a cut is the shorter for it, also after a kill. */
static bool a_part_is_not_sent_again(bool killed)
{
	CHECK(begun());
	while (prim()->acked_epoch && sync_missing(prim()) > SIZE / 2)
		pass(5);
	uint64_t sent = prim()->counters.sync_sent_bytes_total, looked = prim()->counters.sync_hashed_bytes_total;

	cut();
	if (killed) {
		reboot(&side[0]);
		sent = looked = 0;
		for (int i = 0; i < 100000 && !primary_mirrors(prim()); i++)
			step();
		CHECK(prim()->in_place); /* nobody has to order it again */
	}
	CHECK(level());
	CHECK(prim()->counters.sync_sent_bytes_total - sent <= SIZE / 2 + 2 * PART);
	CHECK(killed || prim()->counters.sync_hashed_bytes_total - looked <= SIZE / 2 + 2 * PART);
	return true;
}

static bool after_a_cut(void)
{
	return a_part_is_not_sent_again(false);
}

static bool after_a_kill(void)
{
	return a_part_is_not_sent_again(true);
}

/*
 * The winner of a split brain has an activity map from before; the loser's own writes are in no map of it. Killed behind
 * the first part, it must still know where the copies differ.
 */
static bool the_map_is_told_first(void)
{
	CHECK(paired() && !put_all(0, NEW) && !say(0, "flush") && !say(0, "disconnect") && !put(0, 3, NEW));
	CHECK(prim()->activity.on);
	side[0].host.config.role = side[1].host.config.role = -1;
	host_settle(&side[1].host);
	cut();
	CHECK(!say(1, "failover") && !put_all(1, 99));
	CHECK(!say(1, "disconnect") && !say(1, "discard-local"));
	memset(&node_image(prim(), "disk")->extents.set, 0, sizeof(node_image(prim(), "disk")->extents.set)); /* long at rest */
	memset(&node_image(prim(), "disk")->extents.safe, 0, sizeof(node_image(prim(), "disk")->extents.safe));
	prim()->activity.want = true;
	pass(5);
	CHECK(!prim()->activity.want && !prim()->counters.activity_extents);
	slow_primary();
	CHECK(!say(1, "connect") && !say(0, "connect"));
	for (int i = 0; i < 400 && !primary_mirrors(prim()); i++)
		pass(5);
	give(0, in_place);
	CHECK(parted());
	reboot(&side[0]);
	CHECK(level());
	return true;
}

static bool an_open_image_is_in_the_way(void)
{
	CHECK(behind());
	struct image *img = node_image(back(), "disk");

	CHECK(!image_open(back(), img));
	give(0, in_place);
	for (int i = 0; i < 400 && !answered; i++)
		pass(5);
	CHECK(order.error == -EBUSY && said("an image is open on the peer"));
	CHECK(get(1, 0) == OLD && !back()->st.rejoin && !prim()->in_place);
	image_close(back(), img);
	prim()->config.resync_rate = 0;
	return level();
}

/* The part is on its way to the journal: nobody may take over, or open, what it is about to become. */
static bool until_the_part_is_durable(void)
{
	CHECK(behind());
	give(0, in_place);
	for (int i = 0; i < 100000 && !(back()->com_ep && back()->com_ep->part); i++)
		step();
	CHECK(back()->com_ep && !back()->st.rejoin && !opens(1));
	struct command_req take;

	give_to(&take, 1, (struct command){ .verb = CMD_FAILOVER, .force = true });
	CHECK(take.error == -EBUSY && strstr(take.reply, "a part of a resync in-place is becoming durable"));
	return level();
}

/* By force it is taken as it is; the old primary, which is the newer one, comes back by order only. */
static bool taken_by_force(void)
{
	CHECK(forced());
	int newest = get(1, 0), oldest = get(1, SIZE / BLOCK - 1);

	CHECK((newest == NEW && oldest == OLD) || (newest == OLD && oldest == NEW));
	CHECK(!put(1, 1, 55) && get(1, 1) == 55 && !back()->have_sets);
	return true;
}

/* What the peer has taken over is not durable here: no part is relied on. */
static bool the_state_cannot_be_saved(void)
{
	CHECK(behind());
	give(0, in_place);
	for (int i = 0; i < 100000 && !prim()->com_part; i++)
		step();
	CHECK(prim()->com_part && prim()->com_active);
	while (prim()->com_active)
		step();
	side[0].host.fail_error = -EIO;
	side[0].host.fail_next = 3;
	for (int i = 0; i < 20 && prim()->live >= 0; i++)
		step();
	side[0].host.fail_next = 0;
	CHECK(prim()->live < 0 && strstr(prim()->last_error, "state file cannot be written"));
	return level();
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(the_backup_says_so);
	RUN(the_backup_remembers);
	RUN(a_flush_waits);
	RUN(after_a_cut);
	RUN(after_a_kill);
	RUN(the_map_is_told_first);
	RUN(an_open_image_is_in_the_way);
	RUN(until_the_part_is_durable);
	RUN(taken_by_force);
	RUN(the_state_cannot_be_saved);
	return check_end();
}
