/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders and encounters of a pair in memory, one behaviour a test: prepared epochs through commits, aborts, lost links,
 * restarts and failovers; verify; live options; held writes; who is refused, and why. What needs faults at random times is
 * the simulator's.
 */
#include "paired.h"

/* The byte that a block begins with, or -errno. */
static int get(int at, uint32_t block)
{
	static uint8_t buf[BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	return error ? error : buf[0];
}

static int say_epoch(int at, const char *verb, uint64_t epoch)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %llu", verb, (unsigned long long)epoch);
	return say(at, text);
}

static void cut(void)
{
	host_link_cut(&side[0].host, side[0].link);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
}

static bool replied(const char *text)
{
	if (strstr(pair_reply, text))
		return true;
	printf("# reply: %s\n", pair_reply);
	return false;
}

/* Wait until the primary has (no) link. */
static bool linked(bool want)
{
	for (int i = 0; i < 400 && (prim()->live >= 0) != want; i++)
		pass(50);
	return (prim()->live >= 0) == want;
}

/* ---- prepared epochs ---- */

static bool prepare_then_commit(void)
{
	CHECK(paired() && !put(0, 3, 7));
	CHECK(!say(0, "prepare a") && replied("prepared epoch="));
	uint64_t epoch = prim()->com.number;

	CHECK(get(1, 3) == 1); /* ready, not taken */
	CHECK(say(0, "flush") == -EBUSY && say(0, "prepare b") == -EBUSY);
	CHECK(say(0, "set commit fsync") == -EBUSY);
	CHECK(!say_epoch(0, "wait", epoch) && replied("prepared"));
	CHECK(say_epoch(0, "commit", epoch + 1) == -EINVAL);
	CHECK(say_epoch(1, "commit", epoch) == -EPERM);
	CHECK(!say_epoch(0, "commit", epoch) && replied("done"));
	CHECK(get(1, 3) == 7);
	CHECK(!say_epoch(0, "commit", epoch) && replied("name=a")); /* the same answer again */
	CHECK(say_epoch(0, "abort", epoch) == -EINVAL);
	CHECK(!say_epoch(0, "wait", epoch) && replied("done"));
	CHECK(say_epoch(0, "wait", epoch + 99) == -EINVAL);
	return !say(0, "flush") && !wrong;
}

static bool prepare_then_abort(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	uint64_t epoch = prim()->com.number;

	CHECK(!put(0, 4, 8));
	CHECK(!say_epoch(0, "abort", epoch) && !say_epoch(0, "abort", epoch));
	CHECK(say_epoch(0, "commit", epoch) == -EINVAL && say_epoch(0, "wait", epoch) == -EINVAL);
	CHECK(get(1, 3) == 1);
	CHECK(!say(0, "flush")); /* its writes belong to the next */
	return get(1, 3) == 7 && get(1, 4) == 8 && !wrong;
}

static bool prepared_outlives_the_link(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	uint64_t epoch = prim()->com.number;

	cut();
	CHECK(!put(0, 5, 9));
	CHECK(linked(true) && prim()->settling);
	CHECK(!say_epoch(0, "commit", epoch) && get(1, 3) == 7);
	heal();
	return !say(0, "flush") && get(1, 5) == 9 && !wrong;
}

/* An order that finds no link holds: the next session carries it out. */
static bool ordered_without_a_link(const char *verb, int there)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	uint64_t epoch = prim()->com.number;

	host_link_cut(&side[0].host, side[0].link);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
	say_epoch(0, verb, epoch);
	heal();
	CHECK(linked(true) && !prim()->prep);
	CHECK(get(1, 3) == there || !strcmp(verb, "abort"));
	return !say(0, "flush") && get(1, 3) == 7 && !wrong;
}

static bool commit_without_a_link(void)
{
	return ordered_without_a_link("commit", 7);
}

static bool abort_without_a_link(void)
{
	return ordered_without_a_link("abort", 1);
}

static void nothing_more(struct guest_io *g)
{
	(void)g;
}

static void said(struct command_req *r)
{
	(void)r;
}

/* The link goes while this node still writes what the prepared epoch holds: whoever takes it in makes it durable here. */
static bool prepared_while_it_is_written(void)
{
	static uint8_t buf[BLOCK];
	static struct guest_io g;
	static struct command_req r;
	struct host *h = &side[0].host;

	CHECK(paired() && !put(0, 3, 1) && !say(0, "flush")); /* its extent is marked */
	g = (struct guest_io){ .op = GUEST_WRITE, .image = prim()->images, .off = 3 * BLOCK, .len = BLOCK, .buf = buf,
		.done = nothing_more };
	r = (struct command_req){ .cmd = { .verb = CMD_PREPARE }, .done = said };
	memset(buf, 7, sizeof(buf));
	host_begin(h);
	node_guest(prim(), &g);
	node_command(prim(), &r);
	host_end(h);
	CHECK(prim()->com_active && prim()->com_prepare && !prim()->com_local);
	cut();
	CHECK(r.error == -ETIMEDOUT);
	uint64_t syncs = prim()->counters.image_fdatasyncs_total;

	heal();
	CHECK(linked(true) && !prim()->prep && !say(0, "flush") && prim()->counters.image_fdatasyncs_total > syncs);
	return get(1, 3) == 7 && !wrong;
}

static bool prepared_and_nobody_decides(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	cut();
	CHECK(linked(true) && prim()->settling);
	for (int i = 0; i < 80; i++) /* flush-timeout is 2 s */
		pass(50);
	CHECK(!prim()->prep && !prim()->settling);
	heal();
	return !say(0, "flush") && get(1, 3) == 7 && !wrong;
}

static bool prepared_backup_restarts(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	uint64_t epoch = prim()->com.number;

	reboot(&side[1]);
	pass(50);
	CHECK(get(1, 3) == 1);
	CHECK(linked(true) && !say_epoch(0, "commit", epoch));
	return get(1, 3) == 7 && !wrong;
}

/* What this primary does not know is dropped. */
static bool prepared_primary_restarts(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare"));
	reboot(&side[0]);
	heal();
	CHECK(!back()->prep_ep && protected_now());
	return !say(0, "flush") && get(1, 3) == 7 && !wrong;
}

static bool prepared_then_failover(bool keep)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "prepare") && !put(1, 9, 5));
	cut();
	host_kill(&side[0].host);
	host_exit(&side[0].host);
	host_init(&side[0].host, 9, NODE_UNPROTECTED);
	CHECK(boot(&side[0]));
	pass(50);
	CHECK(!say(1, keep ? "failover keep-prepared" : "failover"));
	/* The overlay belongs to the older state. */
	CHECK(get(1, 3) == (keep ? 7 : 1) && get(1, 9) == (keep ? 1 : 5));
	pass(50);
	CHECK(host_stop(&side[1].host));
	return !wrong;
}

static bool failover_keeps_prepared(void)
{
	return prepared_then_failover(true);
}

static bool failover_drops_prepared(void)
{
	return prepared_then_failover(false);
}

static bool nowait(void)
{
	CHECK(paired() && !put(0, 3, 7));
	CHECK(!say(0, "flush nowait") && replied("started epoch="));
	CHECK(!say_epoch(0, "wait", prim()->com.number) && get(1, 3) == 7);
	CHECK(!say(0, "prepare nowait") && replied("started"));
	CHECK(!say_epoch(0, "wait", prim()->com.number) && replied("prepared"));
	CHECK(!say_epoch(0, "abort", prim()->com.number));
	return !wrong;
}

/* ---- verify, resync ---- */

static bool verify_finds_what_differs(void)
{
	CHECK(paired());
	CHECK(!say(0, "verify") && replied("differ=0"));
	CHECK(!say(0, "verify disk") && replied("differ=0"));
	CHECK(say(0, "verify none") == -EINVAL && say(1, "verify") == -EPERM);
	struct host_file *f = host_file_named(&side[1].host, "disk");

	CHECK(f);
	host_file_write(f, 5000, "other", 5);
	CHECK(!say(0, "verify disk") && replied("differ=1"));
	CHECK(!say(0, "resync"));
	heal();
	CHECK(!say(0, "flush") && !say(0, "verify") && replied("differ=0"));
	return !wrong;
}

static bool verify_goes_on_beside_writes(void)
{
	struct host_file *f;

	CHECK(paired());
	for (uint64_t id = 30; id < 33; id++) {
		struct guest_io g = { .op = GUEST_CREATE };

		snprintf(g.name, sizeof(g.name), "i%d", (int)id);
		CHECK(!guest(0, g, NULL));
	}
	CHECK(!put(0, 1, 9) && !say(0, "verify") && replied("differ=0"));
	CHECK(!put(0, 1, 10) && !say(0, "flush"));
	f = host_file_named(&side[0].host, "disk");
	CHECK(f);
	return !say(0, "verify i30") && !wrong;
}

static bool resync_full(void)
{
	CHECK(paired());
	struct host_file *f = host_file_named(&side[1].host, "disk");

	CHECK(f && say(1, "resync") == -EPERM);
	host_file_write(f, 70000, "other", 5);
	CHECK(!say(0, "resync full"));
	heal();
	CHECK(!say(0, "flush") && !say(0, "verify") && replied("differ=0"));
	cut();
	CHECK(say(0, "resync") == -ENOTCONN && say(0, "verify") == -ENOTCONN && say(0, "flush") == -ENOTCONN);
	return !wrong;
}

/* ---- live options ---- */

static bool set_options(void)
{
	static const char *const good[] = { "commit 100", "commit manual", "congestion catch-up", "congestion block",
		"resync-rate 1M", "resync-rate 0", "link-timeout 900", "flush-timeout 3s", "on-link-loss suspend",
		"on-link-loss continue" };
	static const char *const bad[] = { "commit x", "link-timeout 1", "journal-size 1", "role primary", "peer h",
		"on-link-loss x" };
	char text[64];

	CHECK(paired());
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "set %s", good[i]);
		CHECK(!say(0, text) && replied("done"));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct command c;
		char err[200];

		snprintf(text, sizeof(text), "set %s", bad[i]);
		CHECK(command_parse(&c, text, strlen(text), err, sizeof(err)) || command(0, c));
	}
	CHECK(!say(1, "set overlay off") && put(1, 3, 3) == -EROFS && get(1, 3) == 1);
	CHECK(!say(1, "set overlay on") && !put(1, 3, 3) && get(1, 3) == 3);
	return !wrong;
}

static bool commit_by_time(void)
{
	CHECK(paired() && !say(0, "set commit 100") && !put(0, 3, 7));
	for (int i = 0; i < 20 && get(1, 3) != 7; i++)
		pass(50);
	return get(1, 3) == 7 && !wrong;
}

static bool commit_by_fsync(void)
{
	CHECK(paired() && !say(0, "set commit fsync") && !put(0, 3, 7));
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_SYNC }, "disk"));
	CHECK(get(1, 3) == 7 && say(0, "prepare") == -EPERM);
	cut();
	CHECK(!put(0, 3, 8) && !guest(0, (struct guest_io){ .op = GUEST_SYNC }, "disk"));
	return !wrong;
}

static bool held_done;

static void held(struct guest_io *g)
{
	held_done = true;
	(void)g;
}

/* Without its peer the guest's write waits until it is mirrored again, or somebody says otherwise. */
static bool suspend(const char *how)
{
	static uint8_t buf[BLOCK];
	struct guest_io g = { .op = GUEST_WRITE, .len = BLOCK, .buf = buf, .done = held };

	CHECK(paired() && !say(0, "set on-link-loss suspend") && !say(0, "disconnect"));
	CHECK(prim()->live < 0);
	g.image = node_image(prim(), "disk");
	CHECK(!image_open(prim(), g.image));
	held_done = false;
	host_begin(&side[0].host);
	node_guest(prim(), &g);
	host_end(&side[0].host);
	for (int i = 0; i < 40; i++)
		pass(50);
	CHECK(!held_done);
	CHECK(!say(0, how));
	for (int i = 0; i < 100 && !held_done; i++)
		pass(50);
	CHECK(held_done && !g.error);
	image_close(prim(), g.image);
	return !wrong;
}

static bool suspend_until_continue(void)
{
	return suspend("continue");
}

static bool suspend_until_connect(void)
{
	CHECK(suspend("connect"));
	heal();
	return protected_now() && !wrong;
}

/* ---- names ---- */

static bool names_in_every_order(void)
{
	struct guest_io a = { .op = GUEST_CREATE }, move = { .op = GUEST_RENAME };

	CHECK(paired());
	strcpy(a.name, "a");
	CHECK(!guest(0, a, NULL) && guest(0, a, NULL) == -EEXIST);
	strcpy(move.name, "a");
	CHECK(!guest(0, move, "a"));
	CHECK(!guest(0, move, "disk")); /* replaces it */
	CHECK(!say(0, "flush") && node_image(back(), "a") && !node_image(back(), "disk"));
	CHECK(image_size(node_image(back(), "a")) == SIZE);
	cut();
	CHECK(guest(0, a, NULL) == -EEXIST);
	strcpy(move.name, "c");
	CHECK(!guest(0, move, "a") && !guest(0, a, NULL));
	heal();
	CHECK(!say(0, "flush") && node_image(back(), "a") && node_image(back(), "c"));
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "a"));
	cut();
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "c"));
	heal();
	CHECK(!say(0, "flush"));
	pass(50);
	return !node_image(back(), "a") && !node_image(back(), "c") && !wrong;
}

/* ---- who is refused ---- */

static bool refused(const char *text)
{
	for (int i = 0; i < 40; i++)
		pass(50);
	if (strstr(prim()->last_error, text) || strstr(back()->last_error, text))
		return true;
	printf("# last errors: %s / %s\n", prim()->last_error, back()->last_error);
	return false;
}

static bool refuses_itself(void)
{
	hosts();
	memcpy(side[1].host.id, side[0].host.id, 16);
	CHECK(boot(&side[1]) && boot(&side[0]));
	return refused("same node id");
}

static bool refuses_two_primaries(void)
{
	hosts();
	side[1].host.config.role = NODE_PRIMARY;
	side[1].host.config.can_accept = true;
	side[1].host.config.can_dial = false;
	CHECK(boot(&side[1]) && boot(&side[0]));
	return refused("roles do not fit");
}

static bool refuses_a_backup_with_images(void)
{
	hosts();
	strcpy(host_file_new(&side[1].host, FILE_IMAGE, 77)->name, "mine");
	CHECK(boot(&side[1]) && boot(&side[0]));
	CHECK(refused("did not come from this pair"));
	CHECK(host_file_named(&side[1].host, "mine"));
	host_kill(&side[1].host);
	side[1].link = -1;
	side[1].host.config.overwrite = true;
	CHECK(boot(&side[1]));
	heal();
	return protected_now() && !host_file_named(&side[1].host, "mine") && !wrong;
}

static bool refuses_another_pair(void)
{
	struct host_disk disk;

	CHECK(paired());
	host_disk_copy(&disk, &side[1].host); /* this pair's backup meets another pair's primary */
	CHECK(paired());
	host_kill(&side[1].host);
	host_disk_use(&side[1].host, &disk);
	host_link_cut(&side[0].host, side[0].link);
	side[0].link = -1;
	host_kill(&side[0].host);
	side[0].host.random += 1000; /* another pair id */
	free(side[0].host.state);
	side[0].host.state = NULL;
	side[0].host.state_len = 0;
	CHECK(boot(&side[1]) && boot(&side[0]));
	return refused("another pair");
}

/* Time goes on; a node that fails stays as it is. */
static void tick(void)
{
	pump();
	for (int s = 0; s < 2; s++)
		host_tick(&side[s].host, 50);
}

/* The old primary comes back after its peer was promoted: with nothing open it joins by itself and loses what was not
 * committed; with an image open for writing it serves no more, until discard-local. */
static bool old_primary_comes_back(bool open)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !put(0, 3, 8));
	host_kill(&side[0].host);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	if (open)
		CHECK(!image_open_write(prim(), prim()->images));
	side[0].host.dialling = false;
	CHECK(say(1, "failover epoch=1") == -ESTALE && replied("epoch="));
	CHECK(!say(1, "failover"));
	for (int i = 0; i < 40; i++)
		pump();
	side[1].host.config.can_accept = true;
	for (int i = 0; i < 200 && !back()->protected_ && !prim()->failed; i++)
		tick();
	if (open) {
		CHECK(prim()->failed && prim()->role == NODE_PRIMARY && strstr(prim()->reason, "discard-local"));
		CHECK(put(0, 3, 9) == -EIO && say(0, "discard-local") == -EBUSY);
		image_close_write(prim()->images);
		CHECK(!say(0, "discard-local"));
		for (int i = 0; i < 200 && !back()->protected_; i++)
			pass(50);
	}
	CHECK(back()->protected_ && prim()->role == NODE_BACKUP && !prim()->st.rejoin);
	return get(0, 3) == 7 && get(1, 3) == 7 && !wrong;
}

static bool old_primary_joins(void)
{
	return old_primary_comes_back(false);
}

static bool old_primary_with_an_open_image(void)
{
	return old_primary_comes_back(true);
}

static void held_ended(struct guest_io *g)
{
	g->owner = g;
}

/* on-link-loss=suspend: what is held when the peer turns out to be promoted is not held for ever. */
static bool old_primary_holds_writes(void)
{
	static uint8_t buf[BLOCK];
	static struct guest_io g[2];

	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush"));
	side[0].host.config.suspend = prim()->config.suspend = prim()->config.commit_fsync = true;
	CHECK(!image_open_write(prim(), prim()->images));
	CHECK(!say(0, "disconnect"));
	g[0] = (struct guest_io){ .op = GUEST_WRITE, .image = prim()->images, .off = 3 * BLOCK, .len = BLOCK, .buf = buf,
		.done = held_ended };
	g[1] = (struct guest_io){ .op = GUEST_SYNC, .image = prim()->images, .done = held_ended };
	host_begin(&side[0].host);
	node_guest(prim(), &g[0]);
	node_guest(prim(), &g[1]);
	host_end(&side[0].host);
	for (int i = 0; i < 40; i++)
		tick();
	CHECK(!g[0].owner && !g[1].owner);
	CHECK(!say(1, "failover") && !say(0, "connect"));
	side[1].host.config.can_accept = true;
	for (int i = 0; i < 200 && !prim()->failed; i++)
		tick();
	for (int i = 0; i < 4; i++)
		tick();
	CHECK(prim()->failed && g[0].owner && g[0].error == -EIO && g[1].owner && g[1].error == -EIO);
	return !wrong;
}

/* There and back; each time all is there that was acknowledged, and it is EBUSY while an image is open for writing. */
static bool switchover(void)
{
	CHECK(paired() && !put(0, 3, 7) && say(1, "switchover") == -EPERM);
	side[1].host.config.can_accept = true;
	for (int i = 0; i < 4; i++) {
		int from = i % 2, to = !from;
		struct node *n = side[from].host.node, *peer = side[to].host.node;

		CHECK(!put(from, 3, (uint8_t)(20 + i)) && !put(to, 9, 99));
		CHECK(!image_open_write(n, n->images) && say(from, "switchover") == -EBUSY);
		image_close_write(n->images);
		CHECK(!say(from, "switchover") && n->role == NODE_BACKUP && peer->role == NODE_PRIMARY);
		for (int k = 0; k < 200 && !peer->protected_; k++)
			pass(50);
		CHECK(peer->protected_ && get(0, 3) == 20 + i && get(1, 3) == 20 + i && get(0, 9) != 99 && get(1, 9) != 99);
	}
	return !wrong;
}

/* discard-local of a backup: not level any more, after a crash neither, until the primary has sent what is its. */
static bool discarded_backup_restarts(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && say(1, "discard-local") == -EBUSY);
	cut();
	CHECK(!say(1, "discard-local") && say(1, "failover") == -ESTALE && get(1, 3) == -EIO);
	host_kill(&side[1].host);
	side[1].link = -1;
	CHECK(boot(&side[1]) && back()->st.rejoin == REJOIN_DISCARD && say(1, "failover") == -ESTALE && get(1, 3) == -EIO);
	heal();
	return protected_now() && !back()->st.rejoin && get(1, 3) == 7 && !wrong;
}

static bool failover_by_force_on_a_live_link(void)
{
	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && say(0, "failover") == -EPERM);
	CHECK(say(1, "failover") == -EBUSY);
	struct command c = { .verb = CMD_FAILOVER, .force = true };

	CHECK(!command(1, c) && get(1, 3) == 7);
	return prim()->role == NODE_BACKUP && prim()->st.rejoin && put(0, 3, 9) == -EIO;
}

static uint64_t looked_at(void)
{
	return back()->counters.sync_hashed_bytes_total + back()->counters.sync_skipped_bytes_total;
}

static bool joined(void)
{
	side[1].host.config.can_accept = true;
	for (int i = 0; i < 400 && !back()->protected_; i++)
		tick();
	return back()->protected_ && !prim()->st.rejoin && !prim()->own;
}

/* What it wrote and the peer never committed, and what the peer wrote since: nothing else is compared. */
static bool old_primary_says_what_it_wrote(void)
{
	struct command force = { .verb = CMD_FAILOVER, .force = true };

	CHECK(paired() && !put(0, 3, 7) && !say(0, "flush") && !put(0, 3, 8));
	CHECK(!command(1, force) && !put(1, 20, 9));
	CHECK(prim()->role == NODE_BACKUP && prim()->own && !looked_at());
	CHECK(joined() && looked_at() == 2 * DIRTY_BLOCK);
	return get(0, 3) == 7 && get(0, 20) == 9 && !wrong;
}

/* More runs than it may say: gaps are taken in, no run is left out. */
static bool old_primary_wrote_everywhere(void)
{
	struct command force = { .verb = CMD_FAILOVER, .force = true };
	uint64_t runs = 5000;

	CHECK(paired() && !guest(0, (struct guest_io){ .op = GUEST_TRUNC, .len = 2 * runs * DIRTY_BLOCK }, "disk"));
	CHECK(!say(0, "flush") && !command(1, force) && prim()->own);
	for (uint64_t i = 0; i < runs; i++)
		dirty_mark(&prim()->images->miss, 2 * i * DIRTY_BLOCK, 1);
	CHECK(joined());
	return looked_at() >= (2 * runs - 1) * DIRTY_BLOCK && !wrong;
}

/* ---- disks ---- */

/* A record that the disk gives back otherwise is an error for who reads it, never data. */
static bool damaged_record_is_not_served(void)
{
	CHECK(paired() && !put(0, 3, 7));
	side[1].host.fail_next = 0;
	CHECK(!say(0, "prepare")); /* it stays in the journal */
	for (int i = 0; i < HOST_FILES; i++) {
		struct host_file *f = &side[1].host.files[i];

		if (f->used && f->kind == FILE_JOURNAL)
			for (size_t k = 2 * BLOCK; k < f->kept; k++)
				if (f->data[k] == 7)
					f->data[k] = 6;
	}
	CHECK(!say_epoch(0, "commit", prim()->com.number));
	int seen = get(1, 3);

	return seen == -EIO || seen == -EBADMSG;
}

static bool full_disk_pauses_destage(void)
{
	CHECK(paired() && !put(0, 3, 7));
	CHECK(!say(0, "prepare"));
	side[1].host.fail_error = -ENOSPC;
	say_epoch(0, "commit", prim()->com.number);
	side[1].host.fail_next = 3;
	pass(50);
	side[1].host.fail_next = 0;
	for (int i = 0; i < 60; i++)
		pass(50);
	return get(1, 3) == 7 && !back()->failed && protected_now();
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(prepare_then_commit);
	RUN(prepare_then_abort);
	RUN(prepared_outlives_the_link);
	RUN(commit_without_a_link);
	RUN(abort_without_a_link);
	RUN(prepared_while_it_is_written);
	RUN(prepared_and_nobody_decides);
	RUN(prepared_backup_restarts);
	RUN(prepared_primary_restarts);
	RUN(failover_keeps_prepared);
	RUN(failover_drops_prepared);
	RUN(nowait);
	RUN(verify_finds_what_differs);
	RUN(verify_goes_on_beside_writes);
	RUN(resync_full);
	RUN(set_options);
	RUN(commit_by_time);
	RUN(commit_by_fsync);
	RUN(suspend_until_continue);
	RUN(suspend_until_connect);
	RUN(names_in_every_order);
	RUN(refuses_itself);
	RUN(refuses_two_primaries);
	RUN(refuses_a_backup_with_images);
	RUN(refuses_another_pair);
	RUN(old_primary_joins);
	RUN(old_primary_with_an_open_image);
	RUN(old_primary_holds_writes);
	RUN(switchover);
	RUN(discarded_backup_restarts);
	RUN(failover_by_force_on_a_live_link);
	RUN(old_primary_says_what_it_wrote);
	RUN(old_primary_wrote_everywhere);
	RUN(damaged_record_is_not_served);
	RUN(full_disk_pauses_destage);
	return check_end();
}
