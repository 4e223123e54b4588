/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may pair with whom: the verdicts of pair_judge(), one encounter a row. Both ends are judged: what one side says of the
 * other must not contradict what that one says of it. The rows that two real nodes come to are in test_pair, test_refused
 * and the simulator too; here are all of them, those that need months of history or another version as well.
 */
#include <string.h>

#include "../../repl/core.h"
#include "check.h"

#define MINE 0xaau   /* generations */
#define THEIRS 0xbbu
#define OLD 0x11u
#define ACKED 50u

static struct node n; /* only what is said in a HELLO, and asked of the judge */
static struct hello peer;
static unsigned refusal;
static bool stale;

/* A primary in its pair, whose backup of the same generation is level. */
static void encounter(void)
{
	memset(&n, 0, sizeof(n));
	memset(&peer, 0, sizeof(peer));
	memset(n.id, 1, 16);
	memset(peer.node, 2, 16);
	memset(n.st.pair, 9, 16);
	memset(peer.pair, 9, 16);
	n.st.have_pair = peer.have_pair = true;
	n.role = NODE_PRIMARY;
	peer.role = NODE_BACKUP;
	n.st.lineage.generation = peer.lineage.generation = MINE;
	n.acked_epoch = peer.committed = ACKED;
	n.cur.number = ACKED + 1;
	n.epoch_bound = n.st.epoch_high = ACKED + 1000;
	n.have_sets = true;
	peer.proto_min = PROTO_MIN;
	peer.proto_max = PROTO_MAX;
}

static enum verdict judge(void)
{
	refusal = 0;
	stale = false;
	return pair_judge(&n, &peer, &refusal, &stale);
}

static bool refused(unsigned want)
{
	if (judge() == PAIR_REFUSE && refusal == want && refusal_text(want))
		return true;
	printf("# refusal %u, not %u\n", refusal, want);
	return false;
}

/* `to` went on alone, or was promoted, from `from` at that epoch; in doubt: the next one. */
static void forked(struct lineage *to, uint64_t generation, uint64_t epoch, uint64_t doubt)
{
	lineage_push(to, generation, epoch, doubt);
}

static bool another_version(void)
{
	encounter();
	peer.proto_min = peer.proto_max = PROTO_MAX + 1;
	CHECK(refused(REFUSE_VERSION));
	peer.proto_min = 0;
	peer.proto_max = PROTO_MIN - 1;
	CHECK(refused(REFUSE_VERSION));
	peer.proto_max = PROTO_MAX + 7; /* it speaks ours too */
	return judge() == PAIR_DELTA;
}

static bool itself(void)
{
	encounter();
	memcpy(peer.node, n.id, 16);
	return refused(REFUSE_SELF);
}

static bool another_pair(void)
{
	encounter();
	peer.pair[3]++;
	CHECK(refused(REFUSE_PAIR));
	encounter();
	n.st.have_pair = false; /* a primary that has none meets a backup that has */
	CHECK(refused(REFUSE_PAIR));
	encounter();
	n.role = NODE_BACKUP; /* the same from the other side */
	peer.role = NODE_PRIMARY;
	peer.have_pair = false;
	return refused(REFUSE_PAIR);
}

static bool roles(void)
{
	static const struct {
		int mine, theirs;
		unsigned refusal;
	} rows[] = {
		{ NODE_BACKUP, NODE_BACKUP, REFUSE_BACKUPS },
		{ NODE_PRIMARY, NODE_PRIMARY, REFUSE_ROLES },
		{ NODE_UNPROTECTED, NODE_BACKUP, REFUSE_ROLES },
		{ NODE_UNPROTECTED, NODE_PRIMARY, REFUSE_ROLES },
		{ NODE_PRIMARY, NODE_UNPROTECTED, REFUSE_ROLES },
		{ NODE_BACKUP, NODE_UNPROTECTED, REFUSE_ROLES },
		{ NODE_UNPROTECTED, NODE_UNPROTECTED, REFUSE_ROLES },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		encounter();
		n.role = rows[i].mine;
		peer.role = rows[i].theirs;
		CHECK(refused(rows[i].refusal));
	}
	/* Without a pair neither of two backups was ever one of two. */
	encounter();
	n.role = NODE_BACKUP;
	peer.have_pair = false;
	return refused(REFUSE_ROLES);
}

static bool first_contact(void)
{
	encounter();
	peer.have_pair = false;
	CHECK(judge() == PAIR_FIRST);
	peer.has_images = true;
	CHECK(refused(REFUSE_NOT_EMPTY));
	peer.overwrite = true;
	CHECK(judge() == PAIR_FIRST);
	n.st.have_pair = false;
	return judge() == PAIR_FIRST;
}

static bool first_contact_of_a_backup(void)
{
	struct image img = { .foreign = true };

	encounter();
	n.role = NODE_BACKUP;
	peer.role = NODE_PRIMARY;
	n.st.have_pair = peer.have_pair = false;
	CHECK(judge() == PAIR_FIRST);
	n.images = &img;
	CHECK(refused(REFUSE_NOT_EMPTY));
	img.foreign = false;
	CHECK(judge() == PAIR_FIRST);
	img.visible = true;
	CHECK(refused(REFUSE_NOT_EMPTY));
	n.config.overwrite = true;
	CHECK(judge() == PAIR_FIRST);
	n.st.have_pair = peer.have_pair = true;
	n.config.overwrite = false;
	return judge() == PAIR_DELTA; /* the primary decides */
}

/* What is remembered tells how much has to be sent. */
static bool how_much_is_sent(void)
{
	encounter();
	CHECK(judge() == PAIR_DELTA);
	peer.committed = ACKED - 1; /* it lost a committed epoch */
	CHECK(judge() == PAIR_FULL);
	peer.committed = ACKED + 1;
	CHECK(judge() == PAIR_FULL);
	n.com.number = ACKED + 1;
	n.doubt_valid = true; /* the one whose DONE was outstanding */
	CHECK(judge() == PAIR_DELTA);
	n.doubt_valid = false;
	n.prep = PREP_COMMIT;
	CHECK(judge() == PAIR_DELTA);
	peer.committed = ACKED + 2;
	CHECK(judge() == PAIR_FULL);
	encounter();
	n.have_sets = false;
	CHECK(judge() == PAIR_FULL);
	encounter();
	peer.lineage.generation = 0; /* it has nothing of ours yet */
	CHECK(judge() == PAIR_FULL);
	encounter();
	peer.rejoin = REJOIN_OLDER; /* it wrote something itself, and cannot say what */
	CHECK(judge() == PAIR_FULL);
	peer.rejoin = REJOIN_DISCARD;
	peer.lineage.generation = THEIRS; /* told to lose: of whatever lineage */
	return judge() == PAIR_FULL;
}

static bool more_than_was_ordered(void)
{
	encounter();
	peer.committed = n.epoch_bound;
	CHECK(judge() == PAIR_FULL);
	peer.committed = n.epoch_bound + 1;
	return refused(REFUSE_LOST);
}

/* This primary went on alone: the backup's generation is in its history. */
static bool a_backup_of_our_past(void)
{
	encounter();
	n.st.lineage.generation = OLD;
	forked(&n.st.lineage, MINE, ACKED, ACKED + 1);
	peer.lineage.generation = OLD;
	CHECK(judge() == PAIR_DELTA);
	peer.committed = ACKED + 1; /* the one in doubt */
	CHECK(judge() == PAIR_FULL);
	peer.committed = ACKED + 2; /* behind the fork somebody else ordered */
	CHECK(refused(REFUSE_SPLIT));
	peer.committed = ACKED - 7;
	return judge() == PAIR_FULL && !stale;
}

/* A backup that was promoted, and demoted again since: our generation is in its history. */
static bool a_backup_of_our_future(void)
{
	encounter();
	forked(&peer.lineage, THEIRS, ACKED, ACKED);
	CHECK(refused(REFUSE_STALE) && stale);
	encounter();
	peer.lineage.generation = THEIRS; /* of nobody's past */
	return refused(REFUSE_SPLIT) && !stale;
}

static bool two_primaries(void)
{
	encounter();
	peer.role = NODE_PRIMARY;
	forked(&peer.lineage, THEIRS, ACKED, ACKED); /* it was promoted to what we have */
	CHECK(refused(REFUSE_STALE) && stale);
	n.acked_epoch = ACKED + 1; /* and lacks one that we know to be there */
	CHECK(refused(REFUSE_SPLIT) && !stale);
	peer.lineage.past[0].doubt = ACKED + 1;
	CHECK(refused(REFUSE_STALE) && stale);

	encounter(); /* the same encounter from the other side */
	peer.role = NODE_PRIMARY;
	forked(&n.st.lineage, THEIRS, ACKED, ACKED);
	CHECK(refused(REFUSE_NEWER) && !stale);
	peer.committed = ACKED + 1;
	CHECK(refused(REFUSE_SPLIT));

	encounter(); /* each went on from the same epoch */
	peer.role = NODE_PRIMARY;
	forked(&n.st.lineage, THEIRS, ACKED, ACKED);
	forked(&peer.lineage, THEIRS + 1, ACKED, ACKED);
	CHECK(refused(REFUSE_SPLIT) && !stale);

	encounter(); /* no epoch was ever there */
	peer.role = NODE_PRIMARY;
	peer.lineage.generation = 0;
	CHECK(refused(REFUSE_ROLES));
	n.st.lineage.generation = 0;
	peer.lineage.generation = THEIRS;
	return refused(REFUSE_ROLES);
}

/* ---- what is said of oneself ---- */

/* No number below one that this node has seen is ever used again, so all of them count. */
static bool the_highest_epoch_is_said(void)
{
	struct epoch current = { .number = 900 }, prepared = { .number = 950 };
	struct hello h;

	encounter();
	n.st.epoch_high = 10;
	n.cur.number = 20;
	pair_hello(&n, &h);
	CHECK(h.epoch_high == 20 && h.committed == ACKED && !h.prepared && h.role == NODE_PRIMARY);
	hello_free(&h);
	n.role = NODE_BACKUP;
	n.committed = 800;
	pair_hello(&n, &h);
	CHECK(h.epoch_high == 800 && h.committed == 800);
	hello_free(&h);
	n.cur_ep = &current;
	pair_hello(&n, &h);
	CHECK(h.epoch_high == 900);
	hello_free(&h);
	n.prep_ep = &prepared;
	pair_hello(&n, &h);
	CHECK(h.epoch_high == 950 && h.prepared == 950);
	hello_free(&h);
	n.journal_lost = true; /* what it was is not to be relied on */
	pair_hello(&n, &h);
	CHECK(!h.lineage.generation);
	hello_free(&h);
	return true;
}

/* Images that are not the pair's are no part of a HELLO; one whose first sync was cut is, under the name it will have. */
static bool images_that_are_said(void)
{
	struct image foreign = { .id = 20, .foreign = true, .visible = true, .name = "foreign" },
		     hidden = { .id = 21, .next = &foreign, .name = "gone" },
		     nameless = { .id = 22, .next = &hidden },
		     first = { .id = 23, .next = &nameless, .direct = true, .next_name = "first", .size = 5 },
		     whole = { .id = 24, .next = &first, .visible = true, .consistent = true, .name = "whole" };
	struct hello h;

	encounter();
	n.role = NODE_BACKUP;
	n.images = &whole;
	n.image_count = 5;
	pair_hello(&n, &h);
	CHECK(h.image_count == 3 && h.images[0].id == 24 && h.images[0].consistent && h.images[1].id == 23 &&
	      !h.images[1].consistent && !strcmp(h.images[1].name, "first") && h.images[2].id == 21);
	hello_free(&h);
	n.role = NODE_PRIMARY;
	pair_hello(&n, &h);
	CHECK(h.image_count == 1 && h.images[0].consistent);
	hello_free(&h);
	return true;
}

static bool how_old_a_copy_is(void)
{
	encounter();
	n.now_ms = 90000;
	n.wall_ms = 500000;
	n.acked_ms = 30000; /* seen in this life */
	n.st.epoch_wall_ms = 1;
	CHECK(pair_age(&n) == 60000);
	n.acked_ms = 0; /* in an earlier one: by the wall clock */
	n.st.epoch_wall_ms = 480000;
	CHECK(pair_age(&n) == 20000);
	n.st.epoch_wall_ms = 600000; /* which went back since */
	CHECK(pair_age(&n) == 0);
	n.st.epoch_wall_ms = 0;
	CHECK(pair_age(&n) == 0);
	n.role = NODE_BACKUP;
	n.committed_wall_ms = 499000;
	CHECK(pair_age(&n) == 1000);
	n.wall_ms = UINT64_MAX; /* nonsense is not sent: the frame's field is shorter */
	CHECK(pair_age(&n) == 0);
	n.committed_ms = 89000;
	return pair_age(&n) == 1000;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(another_version);
	RUN(itself);
	RUN(another_pair);
	RUN(roles);
	RUN(first_contact);
	RUN(first_contact_of_a_backup);
	RUN(how_much_is_sent);
	RUN(more_than_was_ordered);
	RUN(a_backup_of_our_past);
	RUN(a_backup_of_our_future);
	RUN(two_primaries);
	RUN(the_highest_epoch_is_said);
	RUN(images_that_are_said);
	RUN(how_old_a_copy_is);
	return check_end();
}
