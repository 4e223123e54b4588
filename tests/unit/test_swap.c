/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The change of roles where it goes wrong: switchovers whose Nth request to a disk fails, whose link is cut or whose order is
 * interrupted behind the Nth step, for every N; what each order says when it is refused. Whatever happens: never two
 * primaries that are served, what was acknowledged is there afterwards, the reply says what became of it, and the pair goes
 * on, with a failover where both are backups. What goes well is in test_pair.
 */
#include "../fuzz/alloc.h"
#include "orders.h"

#define VALUE 7u /* in block 3, flushed; then VALUE + 1, acknowledged before the order */

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
			interrupt(0);
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
	interrupt(0);
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
		if (prim()->live >= 0)
			node_link_rx(prim(), prim()->live, "", 0);
		host_settle(&side[0].host);
		host_tick(&side[0].host, 50);
	}
	CHECK(order.error == -ETIMEDOUT && said("`failover` there") && !is_primary(0));
	return nothing_lost();
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
	return check_end();
}
