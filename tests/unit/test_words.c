/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Words that no sound peer says, in a live session of two real nodes: each row is one frame put between what the peer
 * itself sends. It ends the session with a line that says why, or it is ignored with one; the committed state is the same
 * afterwards, and the pair goes on. Also what comes at the wrong time of a handshake.
 */
#include "../../repl/sum.h"
#include "alone.h"

#define FLUSHED 7u /* in block 3 */

/* As the peer of node `at` would send it. */
static void hear(int at, struct frame f, const void *payload, size_t len)
{
	static uint8_t buf[FRAME_HEADER + FRAME_DATA_MAX];

	f.payload_len = (uint32_t)len;
	f.sum = len && !f.sum ? sum64(payload, len) : f.sum;
	frame_encode(buf, &f);
	if (len)
		memcpy(buf + FRAME_HEADER, payload, len);
	host_link_rx(&side[at].host, side[at].link, buf, FRAME_HEADER + len);
}

static bool session(void)
{
	return paired() && !put(0, 3, FLUSHED) && !say(0, "flush") && !put(0, 4, FLUSHED);
}

/* The link is gone for that reason, the pair comes back, and nothing is other than it was. */
static bool ended(int at, const char *why)
{
	struct node *n = side[at].host.node;

	if (n->live >= 0 || !strstr(n->last_error, why)) {
		printf("# live %d, %s\n", n->live, n->last_error);
		return false;
	}
	pass(50);
	heal();
	return protected_now() && !say(0, "flush") && !say(0, "verify") && strstr(pair_reply, "differ=0") && !wrong;
}

/* A numbered frame in its place of the stream. */
static struct frame numbered(uint8_t type)
{
	return (struct frame){ .type = type, .session = back()->session, .epoch = back()->cur_ep->number,
		.seq = back()->last_seq + 1, .image = node_image(back(), "disk")->id };
}

static struct frame commit_frame(uint8_t type)
{
	const struct epoch *e = back()->cur_ep;

	return (struct frame){ .type = type, .session = back()->session, .epoch = e->number, .off = e->first_seq,
		.len = e->count, .image = e->chain, .seq = e->last_seq };
}

enum spoilt { S_SESSION, S_EPOCH, S_SEQ, S_IMAGE, S_SUM, S_CREDIT, S_KINDS };

/* A DATA frame of which one thing is wrong. */
static bool spoilt_data(void)
{
	static const char *const why[S_KINDS] = { [S_SESSION] = "DATA frame that no sound peer", [S_EPOCH] = "credit",
		[S_SEQ] = "DATA frame that no sound peer", [S_IMAGE] = "DATA frame that no sound peer",
		[S_SUM] = "does not match its checksum", [S_CREDIT] = "overran its credit" };
	static uint8_t data[BLOCK];

	memset(data, 0xbd, sizeof(data));
	for (unsigned i = 0; i < S_KINDS; i++) {
		CHECK(session());
		struct frame f = numbered(FRAME_DATA);

		f.session += i == S_SESSION;
		f.epoch += i == S_EPOCH ? 5 : 0;
		f.seq += i == S_SEQ;
		f.image += i == S_IMAGE;
		f.sum = i == S_SUM ? 1 : 0;
		if (i == S_CREDIT)
			back()->granted = back()->received;
		uint64_t sums = back()->counters.checksum_errors_total;

		hear(1, f, data, sizeof(data));
		CHECK((back()->counters.checksum_errors_total > sums) == (i == S_SUM));
		if (i == S_EPOCH)
			CHECK(back()->live < 0 && ended(1, ""));
		else
			CHECK(ended(1, why[i]));
	}
	return true;
}

static bool spoilt_commits(void)
{
	static const uint8_t bytes[8 + 3] = "12345678abc";

	for (int i = 0; i < 8; i++) {
		uint8_t named[8 + 3];

		CHECK(session() && (i != 7 || !say(0, "prepare"))); /* 7: nothing is committed behind what is prepared */
		struct frame f = commit_frame(FRAME_COMMIT);
		uint64_t generation = back()->st.lineage.generation;

		memcpy(named, bytes, sizeof(named));
		for (int k = 0; k < 8; k++)
			named[k] = (uint8_t)(generation >> 8 * k);
		f.len += i == 0;      /* a frame is missing */
		f.image ^= i == 1;    /* another one */
		f.off -= i == 2;      /* from another place on */
		f.seq += i == 3;
		f.epoch += i == 4;
		f.session += i == 5;
		named[0] ^= i == 6;   /* of a generation that was not agreed on */
		uint64_t committed = back()->committed;

		hear(1, f, named, sizeof(named));
		CHECK(back()->committed == committed && !back()->com_ep && ended(1, "COMMIT frame that no sound peer"));
	}
	return true;
}

/* One that is right is taken: what the rows above show is not the harness's fault. Its name is not trusted. */
static bool a_right_commit(void)
{
	uint8_t named[8 + 3] = { [8] = 'a', [9] = '"', [10] = 'c' };

	CHECK(session());
	struct frame f = commit_frame(FRAME_COMMIT);

	for (int k = 0; k < 8; k++)
		named[k] = (uint8_t)(back()->st.lineage.generation >> 8 * k);
	hear(1, f, named, sizeof(named));
	pump();
	CHECK(back()->committed == f.epoch && !strcmp(back()->committed_name, "a?c"));
	/* The primary is told of one that it did not order. */
	return strstr(prim()->last_error, "not outstanding") && prim()->live >= 0;
}

static bool words_for_the_other_role(void)
{
	static const uint8_t at_backup[] = { FRAME_CREDIT, FRAME_DONE, FRAME_REFUSED, FRAME_HASHR, FRAME_PREPARED,
		FRAME_ABORTED, FRAME_FENCE, FRAME_READY };
	static const uint8_t at_primary[] = { FRAME_SETTLE, FRAME_FENCED, FRAME_PROMOTE, FRAME_ZERO, FRAME_SIZE, FRAME_UNLINK };
	char why[80];

	for (size_t i = 0; i < sizeof(at_backup); i++) {
		CHECK(session());
		hear(1, (struct frame){ .type = at_backup[i], .session = back()->session }, NULL, 0);
		snprintf(why, sizeof(why), "a %s frame that no sound peer", frame_name(at_backup[i]));
		CHECK(ended(1, why));
	}
	for (size_t i = 0; i < sizeof(at_primary); i++) {
		CHECK(session());
		hear(0, (struct frame){ .type = at_primary[i], .session = prim()->session, .image = 16, .off = 1, .len = 1 }, NULL, 0);
		snprintf(why, sizeof(why), "a %s frame that no sound peer", frame_name(at_primary[i]));
		CHECK(prim()->role == NODE_PRIMARY && ended(0, why));
	}
	return true;
}

static bool data_for_a_primary(void)
{
	static uint8_t data[BLOCK];

	CHECK(session());
	struct frame f = numbered(FRAME_DATA);

	hear(0, f, data, sizeof(data));
	return ended(0, "a DATA frame that no sound peer");
}

static bool a_handshake_in_a_session(void)
{
	static uint8_t buf[HELLO_MAX];
	struct hello h;
	struct welcome w = { .epoch = 99 };

	for (int i = 0; i < 3; i++) {
		CHECK(session());
		pair_hello(prim(), &h);
		int len = hello_encode(&h, buf, sizeof(buf));

		hello_free(&h);
		CHECK(len > 0);
		w.lineage = prim()->st.lineage;
		memcpy(w.pair, prim()->st.pair, 16);
		uint64_t session = back()->session;

		if (i)
			len = welcome_encode(&w, buf, sizeof(buf));
		hear(i != 2, (struct frame){ .type = i ? FRAME_WELCOME : FRAME_HELLO, .session = session + 1 }, buf, (size_t)len);
		CHECK(back()->st.session_high == session);
		CHECK(ended(i != 2, i ? "WELCOME frame that no sound peer" : "HELLO frame that no sound peer"));
	}
	return true;
}

static bool orders_for_what_is_not_there(void)
{
	uint64_t epoch;

	CHECK(session());
	epoch = back()->committed;
	hear(1, (struct frame){ .type = FRAME_SETTLE, .session = back()->session, .epoch = epoch + 40, .off = 1 }, NULL, 0);
	CHECK(ended(1, "SETTLE frame that no sound peer"));
	CHECK(session());
	hear(1, (struct frame){ .type = FRAME_SETTLE, .session = back()->session, .epoch = epoch + 40 }, NULL, 0);
	pump(); /* dropped long ago, and the answer was lost: said again, to one that did not ask */
	CHECK(back()->live >= 0 && prim()->live >= 0 && strstr(prim()->last_error, "without an order"));
	epoch = back()->committed;
	hear(1, (struct frame){ .type = FRAME_PROMOTE, .session = back()->session, .epoch = epoch + 1 }, NULL, 0);
	CHECK(back()->role == NODE_BACKUP && ended(1, "PROMOTE frame that no sound peer"));
	CHECK(session());
	struct frame f = numbered(FRAME_HASHQ);

	f.image++;
	f.len = BLOCK;
	hear(1, f, pair_reply, 32);
	return ended(1, "HASHQ frame that no sound peer");
}

static bool names_that_are_not_known(void)
{
	static const uint8_t types[] = { FRAME_ZERO, FRAME_SIZE, FRAME_RENAME };
	static const char *const names[] = { ".hidden", "a/b", "", "\xff" };

	for (size_t i = 0; i < sizeof(types); i++) {
		CHECK(session());
		struct frame f = numbered(types[i]);

		f.image++;
		f.len = BLOCK;
		hear(1, f, "name", types[i] == FRAME_RENAME ? 4 : 0);
		CHECK(ended(1, "frame that no sound peer"));
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK(session());
		hear(1, numbered(FRAME_RENAME), names[i], strlen(names[i]));
		CHECK(back()->live < 0 && ended(1, ""));
		CHECK(node_image(back(), "disk"));
	}
	CHECK(session()); /* what is not there is easily unlinked */
	struct frame f = numbered(FRAME_UNLINK);

	f.image++;
	hear(1, f, NULL, 0);
	return back()->live >= 0;
}

/* Two images would bear one name: no directory could hold that commit. */
static bool a_name_twice(void)
{
	CHECK(session());
	struct frame f = numbered(FRAME_CREATE);
	uint8_t named[8];

	f.image++;
	hear(1, f, "disk", 4);
	CHECK(back()->live >= 0);
	f = commit_frame(FRAME_COMMIT);
	for (int k = 0; k < 8; k++)
		named[k] = (uint8_t)(back()->st.lineage.generation >> 8 * k);
	hear(1, f, named, sizeof(named));
	return ended(1, "COMMIT frame that no sound peer");
}

/* Answers that nobody asked for change nothing. */
static bool answers_without_a_question(void)
{
	static const uint8_t types[] = { FRAME_DONE, FRAME_PREPARED, FRAME_ABORTED, FRAME_REFUSED, FRAME_HASHR };

	for (size_t i = 0; i < sizeof(types); i++) {
		CHECK(session());
		uint64_t acked = prim()->acked_epoch, missing = sync_missing(prim());

		hear(0, (struct frame){ .type = types[i], .session = prim()->session, .epoch = acked + 30, .off = 4711, .len = 1 },
		     NULL, 0);
		CHECK(prim()->live >= 0 && prim()->acked_epoch == acked && prim()->protected_ && sync_missing(prim()) == missing);
		if (types[i] != FRAME_HASHR)
			CHECK(strstr(prim()->last_error, "epoch"));
		CHECK(!say(0, "flush") && !say(0, "verify") && strstr(pair_reply, "differ=0"));
	}
	/* Credit only grows. */
	uint64_t credit = prim()->credit;

	hear(0, (struct frame){ .type = FRAME_CREDIT, .session = prim()->session, .off = credit - 1 }, NULL, 0);
	CHECK(prim()->credit == credit);
	/* A clock of its own: a ping that was sent in the future says nothing of the way. */
	uint64_t rtt = prim()->rtt_us;

	hear(0, (struct frame){ .type = FRAME_PONG, .off = UINT64_MAX }, NULL, 0);
	return prim()->rtt_us == rtt && prim()->live >= 0 && !wrong;
}

/* The peer's journal-size was set: READY says so again. */
static bool capacity_changes(void)
{
	CHECK(session());
	hear(0, (struct frame){ .type = FRAME_READY, .session = prim()->session, .off = 12345678 }, NULL, 0);
	CHECK(prim()->peer_capacity == 12345678 && prim()->live >= 0);
	uint64_t before = prim()->peer_capacity;

	CHECK(!say(1, "set journal-size 64M"));
	pump();
	return prim()->peer_capacity > before && prim()->live >= 0 && !wrong;
}

/* ---- before there is a session ---- */

static void stranger(int at)
{
	side[at].link = host_link_open(&side[at].host, false);
}

static bool turned_down(int at, uint64_t refusals)
{
	struct node *n = side[at].host.node;

	return n->counters.link_refusals_total > refusals && n->live < 0 && strstr(n->last_error, "turned down");
}

static bool strangers(void)
{
	static const uint8_t types[] = { FRAME_READY, FRAME_DATA, FRAME_COMMIT, FRAME_DONE, FRAME_FENCE, FRAME_PROMOTE,
		FRAME_WELCOME };
	static uint8_t data[BLOCK];

	CHECK(session());
	for (int at = 0; at < 2; at++)
		for (size_t i = 0; i < sizeof(types); i++) {
			cut();
			stranger(at);
			uint64_t refusals = side[at].host.node->counters.link_refusals_total;

			hear(at, (struct frame){ .type = types[i], .image = 16, .session = 1 }, data,
			     types[i] == FRAME_DATA || types[i] == FRAME_COMMIT || types[i] == FRAME_WELCOME ? 64 : 0);
			CHECK(turned_down(at, refusals));
			side[at].link = -1;
		}
	heal();
	return protected_now() && prim()->role == NODE_PRIMARY && back()->role == NODE_BACKUP && !wrong;
}

/* Longer than any frame but a HELLO may be, or a HELLO a second time. */
static bool long_words(void)
{
	static uint8_t data[2 * BLOCK];

	CHECK(session());
	cut();
	stranger(1);
	uint64_t refusals = back()->counters.link_refusals_total;

	hear(1, (struct frame){ .type = FRAME_HELLO }, data, sizeof(data)); /* long enough, and no HELLO inside */
	CHECK(turned_down(1, refusals));
	side[1].link = -1;
	heal();
	return protected_now() && !wrong;
}

/* A number so far ahead would use up all there are. */
static bool numbers_far_ahead(void)
{
	static uint8_t buf[HELLO_MAX];

	for (int i = 0; i < 2; i++) {
		struct hello h;

		CHECK(session());
		pair_hello(prim(), &h);
		if (i)
			h.epoch_high += NUMBER_JUMP * 2;
		else
			h.session_high += NUMBER_JUMP * 2;
		int len = hello_encode(&h, buf, sizeof(buf));

		hello_free(&h);
		cut();
		stranger(1);
		uint64_t refusals = back()->counters.link_refusals_total, high = back()->st.session_high;

		hear(1, (struct frame){ .type = FRAME_HELLO }, buf, (size_t)len);
		CHECK(turned_down(1, refusals) && back()->st.session_high == high);
		side[1].link = -1;
		heal();
		CHECK(protected_now());
	}
	return !wrong;
}

/* A WELCOME to the HELLO of the pair's own primary, in which one thing is wrong. */
static bool spoilt_welcomes(void)
{
	static uint8_t buf[HELLO_MAX];

	for (int i = 0; i < 7; i++) {
		struct welcome w = { 0 };
		struct hello h;

		CHECK(session());
		uint64_t session = back()->st.session_high + 1;

		pair_hello(prim(), &h);
		int len = hello_encode(&h, buf, sizeof(buf));

		hello_free(&h);
		cut();
		stranger(1);
		hear(1, (struct frame){ .type = FRAME_HELLO }, buf, (size_t)len);
		CHECK(back()->links[side[1].link].state == PL_HELLO);
		memcpy(w.pair, back()->st.pair, 16);
		w.lineage = prim()->st.lineage;
		w.epoch = back()->committed + 10;
		w.pair[0] ^= i == 0;
		if (i == 1)
			w.lineage.generation ^= 1; /* of which it does not descend */
		session = i == 2 ? back()->st.session_high : i == 3 ? session + NUMBER_JUMP * 2 : session;
		w.epoch = i == 4 ? back()->committed : i == 5 ? w.epoch + NUMBER_JUMP * 2 : w.epoch;
		if (i == 6)
			back()->committed--; /* as if it had committed since the HELLO */
		uint64_t refusals = back()->counters.link_refusals_total, high = back()->st.session_high;

		len = welcome_encode(&w, buf, sizeof(buf));
		hear(1, (struct frame){ .type = FRAME_WELCOME, .session = session }, buf, (size_t)len);
		back()->committed += i == 6;
		CHECK(back()->live < 0 && back()->st.session_high == high && back()->counters.link_refusals_total > refusals);
		CHECK(i != 1 || strstr(back()->last_error, "split brain"));
		CHECK(i != 0 || strstr(back()->last_error, "another pair"));
		CHECK(i != 6 || strstr(back()->last_error, "not ready yet"));
		cut();
		heal();
		CHECK(protected_now() && !say(0, "flush") && get_alone(3) == FLUSHED);
	}
	return !wrong;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(spoilt_data);
	RUN(spoilt_commits);
	RUN(a_right_commit);
	RUN(words_for_the_other_role);
	RUN(data_for_a_primary);
	RUN(a_handshake_in_a_session);
	RUN(orders_for_what_is_not_there);
	RUN(names_that_are_not_known);
	RUN(a_name_twice);
	RUN(answers_without_a_question);
	RUN(capacity_changes);
	RUN(strangers);
	RUN(long_words);
	RUN(numbers_far_ahead);
	RUN(spoilt_welcomes);
	return check_end();
}
