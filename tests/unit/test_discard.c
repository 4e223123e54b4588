/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy that loses a split brain, by order: either of the two; with a disk that fails, or an order that is interrupted. It
 * is served no more from the order on, and level with the winner in the end. What goes well without a split is in test_pair.
 */
#include "orders.h"

#define VALUE 7u /* in block 3, flushed; VALUE + 1 by the old primary alone, VALUE + 2 by the promoted one */

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

/* Both say what each would lose, and go on saying it: the peer's word, which says less, comes later or sooner. */
static bool what_would_be_lost_is_said(void)
{
	for (int first = 0; first < 2; first++) {
		CHECK(split() && !say(0, "connect"));
		host_settle(&side[0].host);
		side[0].link = host_link_open(&side[0].host, true);
		side[1].link = host_link_open(&side[1].host, false);
		for (int i = 0; i < 10; i++) { /* all that one says, then all that the other does */
			int from = i % 2 ? !first : first;
			struct host_link *l = &side[from].host.links[side[from].link];
			static uint8_t buf[1u << 16];
			size_t len = l->len;

			memcpy(buf, l->tx, len);
			host_link_take(&side[from].host, side[from].link, len);
			host_link_rx(&side[!from].host, side[!from].link, buf, len);
		}
		for (int at = 0; at < 2; at++) {
			CHECK(strstr(side[at].host.node->last_error, "split brain behind epoch") &&
			      strstr(side[at].host.node->last_error, "65536 bytes since"));
			CHECK(strstr(side[at].host.node->reason, "split brain"));
		}
	}
	return true;
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
	interrupt(0);
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
	check_begin(argc, argv);
	RUN(what_would_be_lost_is_said);
	RUN(the_old_primary_loses);
	RUN(the_promoted_one_loses);
	RUN(discard_with_a_disk_that_fails);
	RUN(discard_of_a_backup_that_cannot_be_saved);
	RUN(discard_is_interrupted);
	RUN(fenced_after_writing_alone);
	return check_end();
}
