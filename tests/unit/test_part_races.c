/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A resync in-place (repl/part.c) at its worst moments: requests under way when a part is cut, parts refused or in doubt,
 * a copy that was taken by force, a journal with less room than it says. Each was, or nearly was, a loss.
 */
#include "part.h"

static size_t to_backup(void)
{
	static uint8_t buf[8u << 20];
	struct host_link *l = side[0].link < 0 ? NULL : &side[0].host.links[side[0].link];
	size_t len = l ? l->len : 0;

	if (len) {
		memcpy(buf, l->tx, len);
		host_link_take(&side[0].host, side[0].link, len);
		host_link_rx(&side[1].host, side[1].link, buf, len);
	}
	return len;
}

static unsigned asked(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < SYNC_OPS; i++)
		count += prim()->sync_ops[i].busy && prim()->sync_ops[i].asked;
	return count;
}

static void written(struct guest_io *g)
{
	(void)g;
}

/* The guest writes enough for a part, at the image's end; whoever asked about something gets no answer meanwhile. */
static void enough_for_a_part(void)
{
	static uint8_t buf[7 * PART / 2];
	static struct guest_io g;

	memset(buf, NEW, sizeof(buf));
	g = (struct guest_io){ .op = GUEST_WRITE, .off = SIZE - sizeof(buf), .len = sizeof(buf), .buf = buf, .done = written,
		.image = node_image(prim(), "disk") };
	host_begin(&side[0].host);
	node_guest(prim(), &g);
	host_end(&side[0].host);
	for (int i = 0; i < 1000 && !(prim()->com_part && prim()->com_active); i++)
		host_io(&side[0].host, 1);
}

/* What was sent comes to the backup, and is carried out there; what it answers does not come. */
static void deaf(bool (*until)(void))
{
	for (int i = 0; i < 1000 && !until(); i++) {
		to_backup();
		host_io(&side[1].host, 16);
	}
}

static bool has_a_part(void)
{
	return back()->st.rejoin == REJOIN_PART;
}

static bool mirrors(void)
{
	for (int i = 0; i < 100000 && !primary_mirrors(prim()); i++)
		step();
	return primary_mirrors(prim());
}

static bool equal(void)
{
	unsigned bad = 0;

	for (int i = 0; i < 2000 && !prim()->protected_; i++)
		pass(50);
	for (uint32_t b = 0; b < SIZE / BLOCK; b++)
		bad += get(0, b) != get(1, b);
	if (bad)
		printf("# %u blocks differ\n", bad);
	return prim()->protected_ && !bad && !wrong;
}

static void map_forgets(void)
{
	struct extents *x = &node_image(prim(), "disk")->extents;

	memset(x->set, 0, sizeof(x->set));
	memset(x->safe, 0, sizeof(x->safe));
	prim()->activity.want = true;
	pass(5);
}

/* Extents as small as blocks that are compared. */
static bool paired_with_fine_map(void)
{
	hosts();
	side[0].host.config.activity_shift = 16;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	return protected_now();
}

/* Where the loser of a split brain wrote is in no map of the winner's; what is asked about is in no set either. */
static bool asked_at_the_first_cut(void)
{
	CHECK(paired_with_fine_map() && !put_all(0, NEW) && !say(0, "flush") && !say(0, "disconnect") && !put(0, 3, NEW));
	side[0].host.config.role = side[1].host.config.role = -1;
	host_settle(&side[1].host);
	cut();
	CHECK(!say(1, "failover") && !put_all(1, 99) && !say(1, "disconnect") && !say(1, "discard-local"));
	map_forgets();
	CHECK(prim()->activity.on && !prim()->counters.activity_extents);
	slow_primary();
	CHECK(!say(1, "connect") && !say(0, "connect") && mirrors());
	give(0, in_place);
	for (int i = 0; i < 100000 && !asked(); i++)
		step();
	enough_for_a_part();
	CHECK(prim()->com_part && asked());
	deaf(has_a_part);
	CHECK(has_a_part());
	reboot(&side[0]);
	return equal();
}

static bool refused(void)
{
	return !back()->com_ep && back()->counters.commit_errors_total;
}

/* Equal, by what the backup had kept of a cut session: that went with the part that it refused. */
static bool equal_by_what_was_refused(void)
{
	CHECK(behind());
	for (int i = 0; i < 400 && sync_missing(prim()) > SIZE / 2; i++)
		pass(5);
	cut();
	host_settle(&side[0].host);
	host_settle(&side[1].host);
	CHECK(back()->kept_ep && mirrors() && prim()->sync_keep);
	struct image *img = node_image(back(), "disk");

	CHECK(!image_open(back(), img));
	for (int i = 0; i < 100000 && !(prim()->credit && asked()); i++)
		step();
	give(0, in_place);
	for (int i = 0; i < 20; i++) { /* it has answered before it refuses */
		to_backup();
		host_io(&side[1].host, 16);
	}
	enough_for_a_part();
	CHECK(prim()->com_part && asked());
	deaf(refused);
	for (int i = 0; i < 400 && !answered; i++)
		pass(5);
	CHECK(order.error == -EBUSY);
	image_close(back(), img);
	prim()->config.resync_rate = 0;
	return equal();
}

/* In its middle the backup loses an epoch that it had confirmed: everything is compared, and no map knows of it. */
static bool everything_behind_a_part(void)
{
	static uint8_t other[16 * BLOCK];

	CHECK(paired_with_fine_map() && prim()->st.activity && !say(0, "disconnect"));
	for (uint32_t b = 0; b < 160; b++)
		CHECK(!put(0, b, NEW));
	slow_primary();
	CHECK(!say(0, "connect") && mirrors());
	give(0, in_place);
	CHECK(parted());
	cut();
	host_settle(&side[0].host);
	host_settle(&side[1].host);
	struct host_file *f = host_file(&side[1].host, FILE_IMAGE, image_id(node_image(back(), "disk")));

	CHECK(f);
	memset(other, 99, sizeof(other));
	host_file_write(f, 240 * BLOCK, other, sizeof(other));
	uint64_t was = ++prim()->acked_epoch;

	CHECK(mirrors() && prim()->links[prim()->live].full);
	for (int i = 0; i < 1000 && prim()->acked_epoch <= was; i++)
		pass(5);
	CHECK(prim()->peer_part && sync_missing(prim()));
	reboot(&side[0]);
	return equal();
}

/* The old primary has everything, and no order: it must not become what was taken by force. */
static bool the_old_primary_stays(void)
{
	CHECK(forced());
	for (int i = 0; i < 400; i++)
		pass(50);
	CHECK(strstr(prim()->last_error, "split brain"));
	return is_primary(0) && get(0, 0) == NEW && get(0, SIZE / BLOCK - 1) == NEW;
}

/* The peer has taken over this generation, its answer was lost: what is written alone now belongs to another one. */
static bool alone_behind_a_doubt(bool part)
{
	uint64_t was;

	if (part) {
		CHECK(behind());
		give(0, in_place);
	} else {
		CHECK(paired());
		cut();
		CHECK(!say(0, "disconnect") && !put(0, 1, 5) && !say(0, "connect"));
	}
	was = back()->committed;
	for (int i = 0; i < 100000 && !(prim()->com_active && (prim()->com_was_sync || prim()->com_part)); i++)
		step();
	for (int i = 0; i < 1000 && back()->committed == was; i++) {
		to_backup();
		host_io(&side[1].host, 16);
	}
	CHECK(back()->committed > was && has_a_part() == part);
	cut();
	CHECK(!say(0, "disconnect") && !put(0, 7, 77));
	side[0].host.config.role = side[1].host.config.role = -1;
	CHECK(!say(1, part ? "failover force" : "failover") && is_primary(1) && is_primary(0) && !say(0, "connect"));
	for (int i = 0; i < 200; i++)
		pass(50);
	return is_primary(0) && get(0, 7) == 77;
}

static bool a_syncs_commit_in_doubt(void)
{
	return alone_behind_a_doubt(false);
}

static bool a_part_in_doubt(void)
{
	return alone_behind_a_doubt(true);
}

/* The same, but it is this node that dies before it has heard of its peer's commit. */
static bool killed_behind_a_doubt(void)
{
	CHECK(paired());
	cut();
	CHECK(!say(0, "disconnect") && !put(0, 1, 5) && !say(0, "connect"));
	uint64_t was = back()->committed;

	for (int i = 0; i < 100000 && !(prim()->com_active && prim()->com_was_sync); i++)
		step();
	for (int i = 0; i < 1000 && back()->committed == was; i++) {
		to_backup();
		host_io(&side[1].host, 16);
	}
	CHECK(back()->committed > was);
	side[0].host.config.start_alone = true;
	side[1].host.config.role = -1;
	CHECK(restart(0));
	host_settle(&side[0].host);
	CHECK(started(0) && !say(0, "disconnect") && !put(0, 7, 77));
	CHECK(!say(1, "failover") && is_primary(1) && !say(0, "connect"));
	for (int i = 0; i < 200; i++)
		pass(50);
	return is_primary(0) && get(0, 7) == 77;
}

/* `wait N` of a part says done when its sync is, not before: then all that is in it is committed. */
static bool who_waits_for_a_part(void)
{
	CHECK(begun());
	prim()->config.flush_timeout_ms = 600000;
	uint64_t part = prim()->cur.number;
	struct command wait = { .verb = CMD_WAIT, .epoch = part, .have_epoch = true };
	struct command_req early, late;

	give_to(&early, 0, wait);
	for (int i = 0; i < 400 && prim()->acked_epoch < part; i++)
		pass(5);
	CHECK(prim()->acked_epoch == part && prim()->peer_part);
	give_to(&late, 0, wait);
	CHECK(!early.reply[0] && !late.reply[0] && level());
	return !early.error && !late.error && strstr(early.reply, "done epoch=") && strstr(late.reply, "done epoch=");
}

/* Ordered between the last cut and its DONE: another sync, whose peer is level. */
static bool resync_before_the_end(void)
{
	CHECK(begun());
	prim()->config.resync_rate = 0;
	for (int i = 0; i < 100000 && !(prim()->com_active && prim()->com_was_sync); i++)
		step();
	CHECK(prim()->com_active && prim()->com_was_sync);
	struct command_req second;

	give_to(&second, 0, (struct command){ .verb = CMD_RESYNC, .full = true });
	prim()->config.resync_rate = 1u << 18;
	for (int i = 0; i < 100000 && prim()->com_active; i++)
		step();
	CHECK(!prim()->peer_part && !prim()->in_place);
	prim()->config.resync_rate = 0;
	CHECK(level());
	return !second.error && strstr(second.reply, "done epoch=");
}

/* All was written while the link was cut; the backup's journal holds less. */
static bool behind_with_a_small_journal(void)
{
	hosts();
	side[1].host.config.journal_size = 1u << 20;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	cut();
	return !put_all(0, NEW);
}

/* Its disk is fuller than journal-size says: parts become smaller. */
static bool less_room_than_it_says(void)
{
	CHECK(behind_with_a_small_journal());
	prim()->config.part_bytes = 1u << 20; /* as if it had said 4 MiB */
	CHECK(mirrors());
	give(0, in_place);
	for (int i = 0; i < 4000 && !answered; i++)
		pass(100);
	CHECK(answered && !order.error && prim()->counters.journal_refusals_total);
	return equal();
}

/* Everything is compared, little differs: that is one epoch, and failover is possible all along. */
static bool what_fits_is_one_epoch(void)
{
	bool part = false;

	CHECK(paired());
	cut();
	for (uint32_t b = 0; b < 20; b++)
		CHECK(!put(0, b, NEW));
	CHECK(!put(0, 40, NEW) && !put(0, 60, NEW));
	slow_primary();
	prim()->config.part_bytes = 2 * PART;
	CHECK(mirrors());
	give(0, (struct command){ .verb = CMD_RESYNC, .full = true, .in_place = true });
	for (int i = 0; i < 4000 && !answered; i++) {
		pass(5);
		part |= has_a_part();
	}
	CHECK(answered && !order.error && !part);
	return equal();
}

static bool interrupted_before_a_part(void)
{
	CHECK(behind());
	prim()->config.part_bytes = SIZE;
	give(0, in_place);
	CHECK(prim()->in_place);
	interrupt(0);
	CHECK(order.error == -EINTR && !prim()->in_place);
	CHECK(begun());
	interrupt(0); /* too late: the peer has a part */
	return prim()->in_place && level();
}

static bool not_with_a_prepared_epoch(void)
{
	CHECK(paired() && !put(0, 3, NEW) && !say(0, "prepare"));
	CHECK(say(0, "resync in-place") == -EBUSY && replied("prepared"));
	return !prim()->in_place;
}

/* Nobody has to wait for what will not come. */
static bool resync_of_what_does_not_fit(void)
{
	CHECK(behind_with_a_small_journal());
	for (int i = 0; i < 200 && !prim()->unfit; i++)
		pass(50);
	CHECK(prim()->unfit && say(0, "resync") == -ENOSPC && replied("does not fit its journal"));
	return !say(0, "resync in-place") && equal();
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(asked_at_the_first_cut);
	RUN(equal_by_what_was_refused);
	RUN(everything_behind_a_part);
	RUN(the_old_primary_stays);
	RUN(a_syncs_commit_in_doubt);
	RUN(a_part_in_doubt);
	RUN(killed_behind_a_doubt);
	RUN(who_waits_for_a_part);
	RUN(resync_before_the_end);
	RUN(less_room_than_it_says);
	RUN(what_fits_is_one_epoch);
	RUN(interrupted_before_a_part);
	RUN(not_with_a_prepared_epoch);
	RUN(resync_of_what_does_not_fit);
	return check_end();
}
