/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders that cannot be carried out, or not to their end, and starts in a role that SOURCE does not allow: each is refused
 * with the errno and the words of the contract, changes nothing, and what the user is told to do works.
 */
#include "orders.h"

static struct command_req second;

/* A guest's request whose error is none of the harness's faults. */
static int ask(int at, struct guest_io g)
{
	wrong = true;
	int error = guest(at, g, "disk");

	wrong = false;
	return error;
}

static void mount_again(int at)
{
	reboot(&side[at]);
	heal();
}

/* ---- starts ---- */

static bool not_started(int at, int role, const char *text)
{
	char err[512] = "";

	cut();
	host_settle(&side[at].host);
	host_kill(&side[at].host);
	side[at].host.config.role = role;
	int error = host_boot(&side[at].host, err, sizeof(err));

	if (error == -EPERM && strstr(err, text))
		return true;
	printf("# %d: %s\n", error, err);
	return false;
}

static bool a_backup_is_not_mounted_otherwise(void)
{
	static const int roles[] = { NODE_PRIMARY, NODE_UNPROTECTED };

	for (int i = 0; i < 2; i++) {
		CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
		CHECK(not_started(1, roles[i], "becomes writable only by `failover`"));
		side[1].host.config.role = NODE_BACKUP; /* as it says */
		CHECK(boot(&side[1]));
		pass(50);
		host_settle(&side[1].host);
		CHECK(!say(1, "disconnect") && !say(1, "failover") && get_alone(3) == 7);
	}
	return !wrong;
}

static bool a_promoted_one_is_no_backup(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !say(0, "disconnect"));
	pump();
	CHECK(!say(1, "failover"));
	turn(1, 2000);
	return not_started(1, NODE_BACKUP, "becomes a backup only by `switchover`");
}

/* role=backup on a primary's SOURCE: its peer is asked. */
static bool a_primary_as_backup(bool promoted)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	side[0].host.config.role = NODE_BACKUP;
	CHECK(restart(0));
	host_settle(&side[0].host);
	side[0].host.dialling = false;
	CHECK(waits(0) && prim()->role == NODE_PRIMARY);
	if (promoted)
		CHECK(!say(1, "failover"));
	meet();
	if (!promoted)
		return told(0, "its peer was not promoted") && side[0].host.ready_error == -EPERM && back()->role == NODE_BACKUP;
	CHECK(started(0) && prim()->role == NODE_BACKUP);
	for (int i = 0; i < 400 && !back()->protected_; i++)
		pass(50);
	return back()->protected_ && get(0, 3) == 7 && !wrong;
}

static bool a_primary_as_backup_of_a_backup(void)
{
	return a_primary_as_backup(false);
}

static bool a_primary_as_backup_of_the_promoted(void)
{
	return a_primary_as_backup(true);
}

static bool a_primary_as_backup_of_nobody(void)
{
	CHECK(paired());
	side[0].host.config.role = NODE_BACKUP;
	side[0].host.config.start_alone = true; /* serves nothing: there is nothing to be alone with */
	CHECK(restart(0));
	turn(0, 61000);
	return told(0, "bring it up") && side[0].host.ready_error == -ETIMEDOUT;
}

/* The fstab of a node that was swapped still says what it was. */
static bool a_demoted_one_as_primary(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "switchover"));
	cut();
	CHECK(restart(0) && prim()->role == NODE_BACKUP);
	turn(0, 50);
	CHECK(started(0) && strstr(prim()->reason, "since its peer became the primary"));
	return true;
}

static bool a_damaged_state(void)
{
	char err[512];

	CHECK(paired());
	cut();
	host_kill(&side[0].host);
	side[0].host.state[side[0].host.state_len / 2] ^= 1;
	CHECK(host_boot(&side[0].host, err, sizeof(err)) == -EINVAL && strstr(err, "state is damaged"));
	side[0].host.state[side[0].host.state_len / 2] ^= 1;
	side[0].host.state_len--;
	CHECK(host_boot(&side[0].host, err, sizeof(err)) == -EINVAL);
	return true;
}

static bool a_state_that_cannot_be_saved(void)
{
	CHECK(paired());
	for (int at = 0; at < 2; at++) {
		cut();
		host_kill(&side[at].host);
		side[at].host.fail_error = at ? -EIO : -ENOSPC;
		side[at].host.fail_next = 1000;
		CHECK(!host_boot(&side[at].host, pair_reply, sizeof(pair_reply)));
		turn(at, 2000);
		CHECK(told(at, at ? "state file cannot be written: " : "make room in the file system of SOURCE"));
		CHECK(side[at].host.ready_error == side[at].host.fail_error);
		side[at].host.fail_next = 0;
		CHECK(host_stop(&side[at].host));
	}
	return true;
}

/* ---- links ---- */

/* Each names the node that has to be looked after, be it the primary. */
static bool no_room_for_a_session(void)
{
	for (int at = 0; at < 2; at++) {
		CHECK(paired());
		cut();
		side[at].host.fail_error = -ENOSPC;
		side[at].host.fail_next = 1000;
		for (int i = 0; i < 100 && !strstr(side[!at].host.node->last_error, "(ENOSPC)"); i++)
			pass(50);
		side[at].host.fail_next = 0;
		CHECK(!strncmp(side[!at].host.node->last_error, "refused by ", 11));
		CHECK(strstr(side[!at].host.node->last_error, "the node that refuses"));
		CHECK(strstr(side[at].host.node->last_error, "make room"));
	}
	heal();
	return !wrong;
}

static bool without_a_peer(void)
{
	hosts();
	side[0].host.config.role = NODE_UNPROTECTED;
	side[0].host.config.can_dial = false;
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)) && boot(&side[1]));
	turn(0, 50);
	CHECK(started(0) && say(0, "connect") == -EPERM && replied("without a peer"));
	CHECK(say(0, "disconnect") == -EPERM && say(0, "flush") == -EPERM && say(0, "failover") == -EPERM);
	CHECK(say(0, "switchover") == -EPERM && say(0, "continue") == -EPERM && say(0, "discard-local") == -EPERM);
	CHECK(say(0, "resync") == -EPERM && say(0, "verify") == -EPERM && say(0, "wait 1") == -EPERM);
	CHECK(!say(0, "help") && !strncmp(pair_reply, "done\n", 5) && strstr(pair_reply, "switchover"));
	give(0, (struct command){ .verb = 255 });
	return order.error == -EINVAL && said("unknown command") && !put(0, 1, 5);
}

static bool a_primary_without_a_peer(void)
{
	hosts();
	side[0].host.config.can_dial = false;
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)) && boot(&side[1]));
	turn(0, 50);
	return started(0) && say(0, "connect") == -EPERM && !say(0, "disconnect") && say(0, "flush") == -ENOTCONN;
}

/* ---- failover ---- */

static bool failover_of_nothing(void)
{
	hosts();
	CHECK(boot(&side[1]) && !host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	host_settle(&side[1].host);
	CHECK(say(1, "failover") == -EAGAIN && say(1, "failover force") == -EAGAIN && replied("no epoch was ever committed"));
	return back()->role == NODE_BACKUP;
}

static bool two_failovers(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !say(0, "disconnect"));
	pump();
	give(1, (struct command){ .verb = CMD_FAILOVER });
	give_to(&second, 1, (struct command){ .verb = CMD_FAILOVER, .force = true });
	CHECK(second.error == -EBUSY && strstr(second.reply, "under way"));
	give_to(&second, 1, (struct command){ .verb = CMD_DISCARD_LOCAL });
	CHECK(second.error == -EBUSY && strstr(second.reply, "the role is changing"));
	for (int i = 0; i < 50 && !answered; i++)
		turn(1, 50);
	return said("done epoch=") && get_alone(3) == 7;
}

static bool failover_names_its_epoch(void)
{
	char text[60];

	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !put(0, 3, 8) && !say(0, "prepare"));
	unsigned committed = (unsigned)back()->committed, ready = (unsigned)back()->prep_ep->number;

	CHECK(!say(0, "disconnect"));
	pump();
	snprintf(text, sizeof(text), "failover epoch=%u", ready);
	CHECK(say(1, text) == -ESTALE);
	snprintf(text, sizeof(text), "epoch=%u", committed);
	CHECK(replied(text));
	snprintf(text, sizeof(text), "failover epoch=%u keep-prepared", committed);
	CHECK(say(1, text) == -ESTALE && back()->prep_ep && back()->role == NODE_BACKUP);
	snprintf(text, sizeof(text), "failover epoch=%u keep-prepared", ready);
	CHECK(!say(1, text));
	return get_alone(3) == 8;
}

/* The journal's disk fails: what is committed cannot be promoted before it is mended. */
static bool failover_of_a_failed_journal(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	for (int i = 0; i < 20; i++)
		host_settle(&side[1].host);
	CHECK(!put(0, 3, 8));
	side[1].host.fail_error = -EIO;
	side[1].host.fail_next = 1000;
	give(0, (struct command){ .verb = CMD_FLUSH });
	for (int i = 0; i < 40 && !back()->failed; i++) {
		pump();
		host_tick(&side[1].host, 50);
	}
	side[1].host.fail_next = 0;
	CHECK(back()->failed && answered && order.error && back()->role == NODE_BACKUP);
	CHECK(say(1, "failover") == -EIO && replied("mode failed"));
	CHECK(say(1, "failover force") == -EIO && replied("the journal failed; umount"));
	cut();
	host_kill(&side[1].host);
	CHECK(boot(&side[1]));
	host_settle(&side[1].host);
	return !say(1, "failover") && get_alone(3) == 7;
}

/* ---- verify ---- */

static bool verify_cannot_read(void)
{
	CHECK(paired());
	host_settle(&side[0].host);
	side[0].host.fail_error = -EIO;
	side[0].host.fail_next = 2;
	CHECK(say(0, "verify") == -EIO && replied("could not be read") && strstr(prim()->last_error, "verify: image disk, offset"));
	CHECK(!side[0].host.fail_next && prim()->protected_);
	return !say(0, "verify") && replied("differ=0");
}

static bool verify_is_interrupted(void)
{
	CHECK(paired());
	give(0, (struct command){ .verb = CMD_VERIFY });
	CHECK(!answered);
	interrupt(0);
	CHECK(order.error == -EINTR && said("interrupted"));
	give(0, (struct command){ .verb = CMD_VERIFY }); /* its reads are still under way */
	CHECK(order.error == -EBUSY && said("a verify is running"));
	pump();
	return !say(0, "verify") && replied("differ=0") && prim()->protected_;
}

static bool verify_loses_the_link(void)
{
	CHECK(paired());
	give(0, (struct command){ .verb = CMD_VERIFY });
	cut();
	CHECK(order.error == -ENOTCONN && said("the link was lost"));
	heal();
	return !say(0, "verify") && replied("differ=0");
}

/* The image is cut short, or goes, while its blocks wait for their claims. */
static bool verify_meets(uint8_t op)
{
	static bool done;
	struct guest_io g = { .op = op, .len = op == GUEST_TRUNC ? BLOCK : 0, .done = read_done, .owner = &done };
	struct guest_io make = { .op = GUEST_CREATE, .name = "empty" };

	CHECK(paired() && !guest(0, make, NULL) && !say(0, "verify empty") && replied("blocks=0"));
	g.image = node_image(prim(), "disk");
	host_begin(&side[0].host);
	node_guest(prim(), &g);
	host_end(&side[0].host);
	give(0, (struct command){ .verb = CMD_VERIFY });
	for (int i = 0; i < 50 && !answered; i++)
		pass(50);
	CHECK(!order.error && said("differ=0") && done && !g.error);
	CHECK(said(op == GUEST_TRUNC ? "blocks=1 " : "blocks=0 ")); /* what is still there */
	return !say(0, "flush") && !say(0, "verify") && replied("differ=0") && !wrong;
}

static bool verify_meets_a_truncate(void)
{
	return verify_meets(GUEST_TRUNC);
}

static bool verify_meets_an_unlink(void)
{
	return verify_meets(GUEST_UNLINK);
}

static bool verify_keeps_to_its_rate(void)
{
	CHECK(paired() && !guest(0, (struct guest_io){ .op = GUEST_TRUNC, .len = 1u << 20 }, "disk") && !say(0, "flush"));
	CHECK(!say(0, "set resync-rate 200000"));
	uint64_t before = side[0].host.now_ms;

	CHECK(!say(0, "verify") && replied("differ=0"));
	return side[0].host.now_ms - before >= 1000 * ((1u << 20) - SYNC_CHUNK) / 200000 - 100;
}

static bool verify_during_a_sync(void)
{
	CHECK(paired());
	give_to(&second, 0, (struct command){ .verb = CMD_RESYNC, .full = true });
	give(0, (struct command){ .verb = CMD_VERIFY });
	CHECK(order.error == -EBUSY && said("a sync is running"));
	heal();
	return !second.error && protected_now();
}

/* ---- flush, prepare ---- */

/* An fdatasync of this node's disk fails in the commit: until it is mounted again nothing is called durable. */
static bool disk_fails_in(const struct command c)
{
	CHECK(paired() && !put(0, 3, 7));
	for (int i = 0; i < 20; i++)
		host_settle(&side[0].host);
	side[0].host.fail_error = -EIO;
	side[0].host.fail_next = 1; /* the first request of a commit is its image's fdatasync */
	CHECK(command(0, c) == -EIO && replied("this node's disk failed"));
	CHECK(!side[0].host.fail_next && say(0, "flush") == -EIO);
	pass(50);
	CHECK(!prim()->prep);
	CHECK(ask(0, (struct guest_io){ .op = GUEST_SYNC }) == -EIO && get(0, 3) == 7);
	mount_again(0);
	return !say(0, "flush") && get(1, 3) == 7 && !wrong;
}

static bool disk_fails_in_a_flush(void)
{
	return disk_fails_in((struct command){ .verb = CMD_FLUSH });
}

static bool disk_fails_in_a_prepare(void)
{
	return disk_fails_in((struct command){ .verb = CMD_PREPARE });
}

static bool orders_while_it_is_prepared(void)
{
	CHECK(paired() && !put(0, 3, 7));
	give(0, (struct command){ .verb = CMD_PREPARE });
	CHECK(prim()->com_active && !answered);
	uint64_t epoch = prim()->com.number;

	give_to(&second, 0, (struct command){ .verb = CMD_COMMIT, .have_epoch = true, .epoch = epoch });
	CHECK(second.error == -EBUSY && strstr(second.reply, "still being prepared"));
	give_to(&second, 0, (struct command){ .verb = CMD_WAIT, .have_epoch = true, .epoch = epoch });
	pump();
	CHECK(said("prepared epoch=") && strstr(second.reply, "prepared epoch="));
	give_to(&second, 0, (struct command){ .verb = CMD_WAIT, .have_epoch = true, .epoch = epoch + 1 });
	give(0, (struct command){ .verb = CMD_COMMIT, .have_epoch = true, .epoch = epoch });
	give_to(&second, 0, (struct command){ .verb = CMD_ABORT, .have_epoch = true, .epoch = epoch });
	CHECK(second.error == -EBUSY && strstr(second.reply, "is being committed"));
	pump();
	return said("done epoch=") && get(1, 3) == 7 && !wrong;
}

/* An order that outlives its link, which nobody answers any more. */
static bool an_order_without_an_answer(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	uint64_t epoch = prim()->com.number;

	cut();
	side[1].host.config.can_accept = false;
	give(0, (struct command){ .verb = CMD_COMMIT, .have_epoch = true, .epoch = epoch });
	CHECK(!answered);
	interrupt(0);
	CHECK(order.error == -EINTR && prim()->prep == PREP_COMMIT); /* the order stands */
	give(0, (struct command){ .verb = CMD_COMMIT, .have_epoch = true, .epoch = epoch });
	turn(0, 3000);
	CHECK(order.error == -ETIMEDOUT && said("the order stands"));
	heal();
	return get(1, 3) == 7 && !wrong;
}

/* What was acknowledged in an earlier life is still known. */
static bool a_verdict_of_an_earlier_life(void)
{
	char text[40];

	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush one"));
	unsigned epoch = (unsigned)prim()->acked_epoch;

	CHECK(host_stop(&side[0].host));
	host_kill(&side[0].host);
	host_link_cut(&side[1].host, side[1].link);
	side[1].link = -1;
	CHECK(boot(&side[0]));
	snprintf(text, sizeof(text), "wait %u", epoch);
	CHECK(prim()->acked_epoch == epoch && !say(0, text) && replied("done epoch="));
	snprintf(text, sizeof(text), "wait %u", epoch + 4000000);
	return say(0, text) == -EINVAL && replied("never ordered");
}

/* ---- guests ---- */

static bool too_large(void)
{
	static uint8_t buf[BLOCK];

	CHECK(paired());
	for (int at = 0; at < 2; at++) {
		CHECK(ask(at, (struct guest_io){ .op = GUEST_WRITE, .off = MAP_OFF_MAX - 1, .len = BLOCK, .buf = buf }) == -EFBIG);
		CHECK(ask(at, (struct guest_io){ .op = GUEST_WRITE, .off = UINT64_MAX, .len = 1, .buf = buf }) == -EFBIG);
		CHECK(ask(at, (struct guest_io){ .op = GUEST_TRUNC, .len = MAP_OFF_MAX }) == -EFBIG);
		CHECK(ask(at, (struct guest_io){ .op = GUEST_ALLOC, .off = MAP_OFF_MAX, .len = 1 }) == -EFBIG);
		CHECK(!ask(at, (struct guest_io){ .op = GUEST_WRITE, .off = SIZE, .buf = buf }));
		CHECK(image_size(node_image(side[at].host.node, "disk")) == SIZE);
		CHECK(ask(at, (struct guest_io){ .op = GUEST_EXTENT, .off = SIZE, .len = 1 }) == -ENXIO);
	}
	return protected_now();
}

/* umount fails what on-link-loss=suspend holds, writes and fsyncs both, and says EIO for nothing else. */
static bool held_until_umount(void)
{
	static uint8_t buf[BLOCK];
	static bool wrote, synced;
	struct guest_io w = { .op = GUEST_WRITE, .len = BLOCK, .buf = buf, .done = read_done, .owner = &wrote };
	struct guest_io s = { .op = GUEST_SYNC, .done = read_done, .owner = &synced };

	CHECK(paired() && !say(0, "set on-link-loss suspend") && !say(0, "set commit fsync") && !say(0, "disconnect"));
	w.image = s.image = node_image(prim(), "disk");
	host_begin(&side[0].host);
	node_guest(prim(), &w);
	node_guest(prim(), &s);
	host_end(&side[0].host);
	turn(0, 5000);
	CHECK(!wrote && !synced);
	CHECK(host_stop(&side[0].host) && wrote && synced);
	return w.error == -EIO && s.error == -EIO && get_alone(0) == 1;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(a_backup_is_not_mounted_otherwise);
	RUN(a_promoted_one_is_no_backup);
	RUN(a_primary_as_backup_of_a_backup);
	RUN(a_primary_as_backup_of_the_promoted);
	RUN(a_primary_as_backup_of_nobody);
	RUN(a_demoted_one_as_primary);
	RUN(a_damaged_state);
	RUN(a_state_that_cannot_be_saved);
	RUN(no_room_for_a_session);
	RUN(without_a_peer);
	RUN(a_primary_without_a_peer);
	RUN(failover_of_nothing);
	RUN(two_failovers);
	RUN(failover_names_its_epoch);
	RUN(failover_of_a_failed_journal);
	RUN(verify_cannot_read);
	RUN(verify_is_interrupted);
	RUN(verify_loses_the_link);
	RUN(verify_meets_a_truncate);
	RUN(verify_meets_an_unlink);
	RUN(verify_keeps_to_its_rate);
	RUN(verify_during_a_sync);
	RUN(disk_fails_in_a_flush);
	RUN(disk_fails_in_a_prepare);
	RUN(orders_while_it_is_prepared);
	RUN(an_order_without_an_answer);
	RUN(a_verdict_of_an_earlier_life);
	RUN(too_large);
	RUN(held_until_umount);
	return check_end();
}
