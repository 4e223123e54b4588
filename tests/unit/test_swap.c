/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The change of roles where it goes wrong: switchovers whose Nth request to a disk fails, whose link is cut or whose order is
 * interrupted behind the Nth step, for every N; what each order says when it is refused. Whatever happens: never two
 * primaries that are served, what was acknowledged is there afterwards, the reply says what became of it, and the pair goes
 * on, with a failover where both are backups. What goes well is in test_pair.
 */
#include "../fuzz/alloc.h"
#include "alone.h"

#define VALUE 7u /* in block 3, flushed; then VALUE + 1, acknowledged before the order */

static struct command_req order;
static bool answered;

static void reply_came(struct command_req *r)
{
	(void)r;
	answered = true;
}

/* Begins a command and does not wait for it. */
static void give(int at, struct command c)
{
	memset(&order, 0, sizeof(order));
	order.cmd = c;
	order.done = reply_came;
	answered = false;
	host_begin(&side[at].host);
	node_command(side[at].host.node, &order);
	host_end(&side[at].host);
}

static int get(int at, uint32_t block)
{
	static uint8_t buf[BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	return error ? error : buf[0];
}

static bool said(const char *text)
{
	if (answered && strstr(order.reply, text))
		return true;
	printf("# reply: %s\n", answered ? order.reply : "none");
	return false;
}

static bool replied(const char *text)
{
	if (strstr(pair_reply, text))
		return true;
	printf("# reply: %s\n", pair_reply);
	return false;
}

static bool is_primary(int at)
{
	return side[at].host.node->role == NODE_PRIMARY;
}

/* Two that are served as primaries would be two lineages. */
static bool one_primary_at_most(void)
{
	return !(is_primary(0) && is_primary(1) && prim()->ready && back()->ready && !prim()->failed && !back()->failed &&
	         !prim()->demote_step && !back()->demote_step);
}

/* A pair whose nodes take, when they start again, the role that their state says. */
static bool ready_to_swap(void)
{
	if (!paired() || put(0, 3, VALUE) || say(0, "flush") || put(0, 3, VALUE + 1))
		return false;
	side[0].host.config.role = side[1].host.config.role = -1;
	return true;
}

/* An fdatasync of an image failed: until the node is mounted again no flush may say done. */
static void mount_again(struct side *s)
{
	for (const struct image *i = s->host.node->images; i; i = i->next)
		if (i->sync_failed) {
			reboot(s);
			return;
		}
}

/* Until the pair is protected, whichever node is the primary; of two backups the second is told to fail over. */
static bool goes_on(void)
{
	for (int i = 0; i < 600; i++) {
		for (int s = 0; s < 2; s++)
			mount_again(&side[s]);
		pass(50);
		if (!one_primary_at_most()) {
			printf("# two primaries\n");
			return false;
		}
		for (int s = 0; s < 2; s++)
			if (is_primary(s) && side[s].host.node->protected_)
				return true;
		if (i % 100 == 99 && !is_primary(0) && !is_primary(1)) {
			if (!say(1, "disconnect") && say(1, "failover"))
				printf("# failover: %s\n", pair_reply);
			say(1, "connect");
		}
	}
	printf("# roles %d and %d: %s / %s\n", prim()->role, back()->role, prim()->reason, back()->reason);
	return false;
}

/* Nothing that was acknowledged is lost, on either copy, and a write and its commit go through. */
static bool nothing_lost(void)
{
	int at;

	CHECK(goes_on());
	at = is_primary(0) ? 0 : 1;
	CHECK(get(at, 3) == VALUE + 1 && !put(at, 5, 55));
	for (int i = 0; i < 40 && say(at, "flush"); i++) /* the disk that failed may have to be mounted again, or made room on */
		CHECK(goes_on());
	CHECK(replied("done epoch="));
	return get(0, 3) == VALUE + 1 && get(1, 3) == VALUE + 1 && get(0, 5) == 55 && get(1, 5) == 55;
}

/* ---- for every N ---- */

static uint32_t done, refused;

/* What the order said fits what the node is. False where the pair did not survive it. */
static bool judged(const char *what, uint64_t number)
{
	bool good = answered && one_primary_at_most();

	done += answered && !order.error;
	refused += answered && order.error;
	if (good && !order.error)
		good = !is_primary(0) && strstr(order.reply, "done epoch=");
	else if (good)
		good = strstr(order.reply, "reason=\"") && !strstr(order.reply, "every write is mirrored");
	if (good && order.error && strstr(order.reply, "nothing was changed"))
		good = is_primary(0);
	if (!good)
		printf("# %s %u: %s; roles %d and %d\n", what, (unsigned)number, answered ? order.reply : "no reply",
		       prim()->role, back()->role);
	return good && nothing_lost();
}

/* One request of each disk, what lies on the wire, a millisecond. Whether the order is still without an answer. */
static bool step(void)
{
	pair_step(1);
	for (int s = 0; s < 2; s++)
		host_tick(&side[s].host, 1);
	return !answered;
}

/* Until it has one; a node that fails stays as it is. */
static void see(void)
{
	for (int i = 0; i < 10000 && step(); i++)
		;
}

static bool disk_fails(int at, int error)
{
	bool reached = true;

	done = refused = 0;
	for (uint64_t i = 1; reached; i++) {
		struct host *h = &side[at].host;

		CHECK(ready_to_swap());
		h->io_count = 0;
		h->io_fail_at = i;
		h->fail_error = error;
		give(0, (struct command){ .verb = CMD_SWITCHOVER });
		see();
		reached = h->io_count >= i;
		h->io_fail_at = 0;
		CHECK(judged("request", i));
	}
	printf("# %u done, %u refused\n", done, refused);
	return done;
}

static bool old_primarys_disk_fails(void)
{
	return disk_fails(0, -EIO) && refused;
}

static bool old_primarys_disk_is_full(void)
{
	return disk_fails(0, -ENOSPC) && refused;
}

static bool new_primarys_disk_fails(void)
{
	return disk_fails(1, -EIO) && refused;
}

/* Memory is short in the middle of it; the nodes are whole again afterwards. */
static bool memory_is_short(void)
{
	uint64_t last = UINT64_MAX;

	done = refused = 0;
	for (uint64_t i = 1; i <= last; i++) {
		CHECK(ready_to_swap());
		alloc_fail_count = 1;
		alloc_count = 0;
		alloc_fail_at = i;
		give(0, (struct command){ .verb = CMD_SWITCHOVER });
		see();
		alloc_fail_at = 0;
		last = alloc_count < i ? 0 : last;
		CHECK(judged("allocation", i));
		CHECK(!is_primary(0) || !say(0, "switchover")); /* nothing half made is in the way */
		CHECK(nothing_lost());
	}
	printf("# %u done, %u refused\n", done, refused);
	return done && refused;
}

/* The kernel says once that an fdatasync failed: a swap that asked for it must not be the one that swallows it. */
static bool an_fdatasync_fails(void)
{
	bool met = false;

	for (uint64_t i = 1; i < 12 && !met; i++) {
		CHECK(ready_to_swap());
		side[0].host.io_count = 0;
		side[0].host.io_fail_at = i;
		side[0].host.fail_error = -EIO;
		give(0, (struct command){ .verb = CMD_SWITCHOVER });
		while (prim()->demote_step < 2 && step())
			;
		uint64_t before = side[0].host.io_count;

		see();
		met = before == i - 1 && strstr(order.reply, "cannot become a backup");
	}
	CHECK(met && order.error == -EIO && said("nothing was changed") && is_primary(0));
	CHECK(say(0, "flush") == -EIO); /* although the next ones succeed */
	return nothing_lost();
}

/* Unlinked while it was open, closed while the swap makes it durable: it does not go before that has ended. */
static bool an_unlinked_image_is_closed(void)
{
	struct guest_io make = { .op = GUEST_CREATE, .name = "other" };

	CHECK(ready_to_swap() && !guest(0, make, NULL));
	struct image *img = node_image(prim(), "other");
	uint64_t id = img->id;

	CHECK(!image_open(prim(), img) && !guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "other"));
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	while (prim()->demote_step < 2 && step())
		;
	CHECK(prim()->demote_syncs);
	image_close(prim(), img);
	host_tick(&side[0].host, 1);
	CHECK(node_image_by_id(prim(), id) == img);
	see();
	CHECK(said("done epoch="));
	return nothing_lost();
}

static bool link_is_cut(void)
{
	bool reached = true;

	done = refused = 0;
	for (uint32_t i = 0; reached; i++) {
		CHECK(ready_to_swap());
		give(0, (struct command){ .verb = CMD_SWITCHOVER });
		for (uint32_t k = 0; k < i && reached; k++)
			reached = step();
		cut();
		see();
		CHECK(judged("cut behind step", i));
	}
	printf("# %u done, %u refused\n", done, refused);
	return refused > 3;
}

/* The asker goes; the swap goes on or was not begun. */
static bool order_is_interrupted(void)
{
	bool reached = true, kept = false, swapped = false;

	for (uint32_t i = 0; reached; i++) {
		CHECK(ready_to_swap());
		give(0, (struct command){ .verb = CMD_SWITCHOVER });
		for (uint32_t k = 0; k < i && reached; k++)
			reached = step();
		if (!answered) {
			host_begin(&side[0].host);
			node_command_cancel(prim(), &order);
			host_end(&side[0].host);
			CHECK(answered && order.error == -EINTR);
		}
		CHECK(nothing_lost());
		kept |= order.error && is_primary(0);
		swapped |= order.error && is_primary(1);
		CHECK(!order.error || is_primary(0) || said("may still change"));
	}
	return swapped || kept;
}

/* ---- what is refused, and why ---- */

static bool refusals(void)
{
	hosts();
	CHECK(boot(&side[1]) && boot(&side[0]));
	CHECK(say(0, "discard-local") == -EPERM && replied("no pair"));
	CHECK(say(0, "switchover") == -ENOTCONN);
	CHECK(paired() && say(1, "switchover") == -EPERM && replied("backup"));
	CHECK(say(0, "discard-local") == -EBUSY && replied("link is up"));
	CHECK(!say(0, "prepare a") && say(0, "switchover") == -EBUSY && replied("prepared"));
	struct command drop = { .verb = CMD_ABORT, .have_epoch = true, .epoch = prim()->com.number };

	CHECK(!command(0, drop));
	cut();
	CHECK(say(0, "switchover") == -ENOTCONN);
	CHECK(!image_open_write(prim(), prim()->images));
	CHECK(say(0, "discard-local") == -EBUSY && replied("open for writing"));
	image_close_write(prim()->images);
	CHECK(is_primary(0) && !prim()->demote_step);
	heal();
	return protected_now() && !wrong;
}

/* What verify found unequal the peer lacks: a swap would lose it. */
static bool refused_while_copies_differ(void)
{
	CHECK(paired());
	host_file_write(host_file_named(&side[1].host, "disk"), 5000, "other", 5);
	CHECK(!say(0, "verify") && replied("differ=1"));
	CHECK(say(0, "switchover") == -EBUSY && replied("image disk") && replied("resync"));
	CHECK(!say(0, "resync") && !say(0, "switchover"));
	return get(0, 1) == 1 && get(1, 1) == 1 && is_primary(1) && !wrong;
}

static bool refused_while_it_syncs(void)
{
	CHECK(paired());
	cut();
	CHECK(!put(0, 3, VALUE));
	side[0].host.dialling = false;
	side[0].link = host_link_open(&side[0].host, true);
	side[1].link = host_link_open(&side[1].host, false);
	while (!primary_mirrors(prim()))
		CHECK(pair_step(1));
	CHECK(!prim()->protected_);
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	CHECK(said("a sync is running"));
	heal();
	return protected_now() && is_primary(0) && !wrong;
}

static bool orders_during_a_swap(void)
{
	static const uint8_t verbs[] = { CMD_FLUSH, CMD_PREPARE, CMD_VERIFY, CMD_RESYNC, CMD_DISCONNECT, CMD_FAILOVER };

	CHECK(ready_to_swap());
	struct command_req more = { .cmd.verb = CMD_SWITCHOVER, .done = reply_came };

	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	host_begin(&side[0].host);
	node_command(prim(), &more);
	host_end(&side[0].host);
	CHECK(more.error == -EBUSY && strstr(more.reply, "a switchover is under way"));
	for (size_t i = 0; i < sizeof(verbs); i++) {
		more.cmd.verb = verbs[i];
		host_begin(&side[0].host);
		node_command(prim(), &more);
		host_end(&side[0].host);
		CHECK(more.error == -EBUSY && strstr(more.reply, "the role is changing"));
	}
	answered = false;
	see();
	CHECK(said("done epoch="));
	return nothing_lost() && is_primary(1);
}

static bool refused_while_it_verifies(void)
{
	struct command_req verify = { .cmd.verb = CMD_VERIFY, .done = reply_came };

	CHECK(paired());
	host_begin(&side[0].host);
	node_command(prim(), &verify);
	host_end(&side[0].host);
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	CHECK(said("a verify is running") && order.error == -EBUSY);
	pump();
	return strstr(verify.reply, "differ=0") && is_primary(0);
}

/* ---- waiting ---- */

static bool guest_done;

static void finished(struct guest_io *g)
{
	(void)g;
	guest_done = true;
}

static uint8_t payload[BLOCK];

/* A guest's write that the disk keeps. */
static void write_hangs(struct guest_io *g)
{
	memset(payload, 77, sizeof(payload));
	*g = (struct guest_io){ .op = GUEST_WRITE, .off = 8 * BLOCK, .len = BLOCK, .buf = payload, .done = finished };
	g->image = node_image(prim(), "disk");
	guest_done = false;
	host_begin(&side[0].host);
	node_guest(prim(), g);
	host_end(&side[0].host);
}

static bool a_write_that_hangs(void)
{
	struct guest_io slow, behind;

	CHECK(ready_to_swap());
	write_hangs(&slow);
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	write_hangs(&behind); /* parked until the role is settled */
	CHECK(prim()->parked_count == 1);
	for (int t = 0; t < 2100 && !answered; t += 50)
		host_tick(&side[0].host, 50);
	CHECK(order.error == -ETIMEDOUT && said("nothing was changed") && is_primary(0));
	for (int i = 0; i < 20 && !guest_done; i++)
		pass(50);
	CHECK(guest_done && !slow.error && !behind.error && !prim()->parked_count);
	heal();
	return get(0, 8) == 77 && !say(0, "flush") && get(1, 8) == 77 && !wrong;
}

static bool interrupted_before_it_began(void)
{
	struct guest_io slow;

	CHECK(ready_to_swap());
	write_hangs(&slow);
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	CHECK(!answered);
	host_begin(&side[0].host);
	node_command_cancel(prim(), &order);
	host_end(&side[0].host);
	CHECK(order.error == -EINTR && said("nothing was changed") && is_primary(0) && !prim()->switching);
	return nothing_lost() && is_primary(0);
}

static bool umount_ends_a_swap(void)
{
	struct guest_io slow;

	CHECK(ready_to_swap());
	write_hangs(&slow);
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	CHECK(!answered);
	bool stopped = host_stop(&side[0].host);

	CHECK(stopped && !side[0].host.stop_error && order.error == -EINTR);
	return said("nothing was changed");
}

/* The peer was told, and is not seen as primary within flush-timeout. */
static bool nobody_takes_over(void)
{
	CHECK(ready_to_swap());
	give(0, (struct command){ .verb = CMD_SWITCHOVER });
	while (is_primary(0))
		CHECK(step());
	for (int t = 0; t < 5000 && !answered; t += 50) { /* its words reach nobody; nor does silence end the link */
		node_link_rx(prim(), prim()->live < 0 ? side[0].link : prim()->live, "", 0);
		host_settle(&side[0].host);
		host_tick(&side[0].host, 50);
	}
	CHECK(order.error == -ETIMEDOUT && said("`failover` there") && !is_primary(0));
	return nothing_lost();
}

/* ---- a copy that loses ---- */

/* Both were written alone. */
static bool split(void)
{
	if (!paired() || put(0, 3, VALUE) || say(0, "flush") || say(0, "disconnect") || put(0, 3, VALUE + 1))
		return false;
	side[0].host.config.role = side[1].host.config.role = -1;
	host_settle(&side[1].host);
	cut();
	if (say(1, "failover") || put(1, 3, VALUE + 2))
		return false;
	return prim()->raised && is_primary(0) && is_primary(1);
}

/* Either of the two may be the one that loses; afterwards both are what the other was. */
static bool loser_is_discarded(int loser)
{
	int winner = !loser;

	CHECK(split() && (loser == 0 || !say(1, "disconnect")));
	CHECK(!say(loser, "discard-local") && !is_primary(loser) && get(loser, 3) != (loser ? 9 : 8));
	CHECK(!say(loser, "connect") && !say(winner, "connect"));
	for (int i = 0; i < 400 && !side[winner].host.node->protected_; i++)
		pass(50);
	int want = winner ? VALUE + 2 : VALUE + 1;

	return side[winner].host.node->protected_ && get(0, 3) == want && get(1, 3) == want;
}

static bool the_old_primary_loses(void)
{
	return loser_is_discarded(0);
}

static bool the_promoted_one_loses(void)
{
	return loser_is_discarded(1);
}

/* An older copy is served no more from the order on, so no failure may make it a primary again. */
static bool discard_with_a_disk_that_fails(void)
{
	bool reached = true;
	uint32_t failures = 0;

	for (uint64_t i = 1; reached; i++) {
		CHECK(split());
		side[0].host.io_count = 0;
		side[0].host.io_fail_at = i;
		side[0].host.fail_error = -EIO;
		give(0, (struct command){ .verb = CMD_DISCARD_LOCAL });
		see();
		reached = side[0].host.io_count >= i;
		side[0].host.io_fail_at = 0;
		CHECK(answered);
		failures += order.error != 0;
		CHECK(!order.error || (order.error == -EIO && (said("mount again") || said("state file")) && prim()->failed));
		CHECK(order.error || !is_primary(0));
		CHECK(put(0, 3, 99) == -EIO);
	}
	printf("# %u failures\n", failures);
	return failures >= 2;
}

static bool discard_of_a_backup_that_cannot_be_saved(void)
{
	CHECK(paired() && !put(0, 3, VALUE) && !say(0, "flush"));
	cut();
	side[1].host.fail_error = -EIO;
	side[1].host.fail_next = 100;
	CHECK(say(1, "discard-local") == -EIO && replied("state file cannot be written"));
	side[1].host.fail_next = 0;
	return back()->failed && get(1, 3) == -EIO;
}

static bool discard_is_interrupted(void)
{
	CHECK(split());
	give(0, (struct command){ .verb = CMD_DISCARD_LOCAL });
	CHECK(!answered);
	CHECK(say(0, "discard-local") == -EBUSY); /* one at a time; the first goes on meanwhile */
	CHECK(split());
	give(0, (struct command){ .verb = CMD_DISCARD_LOCAL });
	host_begin(&side[0].host);
	node_command_cancel(prim(), &order);
	host_end(&side[0].host);
	CHECK(order.error == -EINTR && said("may still change"));
	for (int i = 0; i < 400 && !back()->protected_; i++)
		pass(50);
	return back()->protected_ && !is_primary(0) && get(0, 3) == VALUE + 2;
}

/* `failover force` over a live link: who wrote alone before has something of its own to lose, and waits for an order. */
static bool fenced_after_writing_alone(void)
{
	CHECK(paired() && !put(0, 3, VALUE) && !say(0, "flush"));
	prim()->raised = true; /* a session that is to end with its sync */
	struct command force = { .verb = CMD_FAILOVER, .force = true };

	CHECK(!command(1, force) && is_primary(1));
	CHECK(prim()->failed && is_primary(0) && strstr(prim()->reason, "was written alone") &&
	      strstr(prim()->reason, "discard-local"));
	return put(0, 3, 9) == -EIO && get(1, 3) == VALUE;
}

int main(int argc, char **argv)
{
	host_realloc = __real_realloc;
	check_begin(argc, argv);
	RUN(old_primarys_disk_fails);
	RUN(old_primarys_disk_is_full);
	RUN(new_primarys_disk_fails);
	RUN(memory_is_short);
	RUN(an_fdatasync_fails);
	RUN(an_unlinked_image_is_closed);
	RUN(link_is_cut);
	RUN(order_is_interrupted);
	RUN(refusals);
	RUN(refused_while_copies_differ);
	RUN(refused_while_it_syncs);
	RUN(orders_during_a_swap);
	RUN(refused_while_it_verifies);
	RUN(a_write_that_hangs);
	RUN(interrupted_before_it_began);
	RUN(umount_ends_a_swap);
	RUN(nobody_takes_over);
	RUN(the_old_primary_loses);
	RUN(the_promoted_one_loses);
	RUN(discard_with_a_disk_that_fails);
	RUN(discard_of_a_backup_that_cannot_be_saved);
	RUN(discard_is_interrupted);
	RUN(fenced_after_writing_alone);
	return check_end();
}
