/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The Nth allocation of the core fails, or the Nth request to a disk, for every N: a scripted pair of nodes (first sync, guests on both, checkpoints, a
 * prepared one, a lost link, names, a failover) is run again and again. Never a crash and never a wrong answer: a guest
 * or a command gets an error at worst, or the link is dropped; afterwards the pair heals and both copies are equal.
 * The linker puts the allocators below between the core and libc (--wrap, see the Makefile).
 *
 * test_alloc [SEED [FIRST [LAST]]]: one N or some of them, to see one again; test_alloc SEED NODE N ERRNO: one request of
 * node 0 or 1. LOUD=1: with what the nodes log.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "../../repl/core.h"
#include "../fuzz/alloc.h"
#include "../fuzz/pair.h"
#include "check.h"

#define BLOCKS 40u
#define UNKNOWN 0xffu

static void died(int sig)
{
	char text[100];
	int len = snprintf(text, sizeof(text), "# signal %d with allocation %llu failing (%u in a row)\n", sig,
	                   (unsigned long long)alloc_fail_at, alloc_fail_count);

	if (write(STDOUT_FILENO, text, (size_t)len) < 0)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* ---- what must be there ---- */

static int io_side = -1, io_error; /* whose disk fails */
static uint64_t io_fail_at;
static bool io_reached; /* there was such a request */

static uint64_t first_n = 1, last_n = UINT64_MAX, total; /* the Ns */

static uint8_t disk_has[BLOCKS], disk_size = BLOCKS;

static void wrote(uint32_t first, uint32_t count, uint8_t value, int error)
{
	for (uint32_t i = first; i < first + count; i++)
		if (!error || disk_has[i] != value)
			disk_has[i] = error ? UNKNOWN : value;
}

static void write_blocks(uint32_t first, uint32_t count, uint8_t value)
{
	static uint8_t buf[BLOCKS * BLOCK];

	memset(buf, value, count * BLOCK);
	wrote(first, count, value, guest(0, (struct guest_io){ .op = GUEST_WRITE, .off = first * BLOCK,
	                                                       .len = count * BLOCK, .buf = buf }, "disk"));
}

/* Every block that is known shows what it must. twin: the block that this node's own guest wrote, or -1. */
static bool check_disk(int at, int twin, uint8_t twin_value)
{
	static uint8_t buf[BLOCKS * BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .len = disk_size * BLOCK, .buf = buf }, "disk");

	if (error)
		return false;
	for (uint32_t i = 0; i < disk_size; i++) {
		uint8_t want = (int)i == twin ? twin_value : disk_has[i];

		if (want == UNKNOWN)
			continue;
		for (uint32_t k = 0; k < BLOCK; k++)
			if (buf[i * BLOCK + k] != want) {
				fault("node %d: block %u shows %02x, not %02x", at, i, buf[i * BLOCK + k], want);
				return false;
			}
	}
	return true;
}

/* An fdatasync of an image failed: until the node is mounted again no flush may say done. */
static void mount_again(void)
{
	for (const struct image *i = side[0].host.node->images; i; i = i->next)
		if (i->sync_failed) {
			reboot(&side[0]);
			return;
		}
}

/* A checkpoint, tried until it is there: in between the pair may have to heal. */
static void flush(void)
{
	for (int i = 0; i < 40 && !wrong; i++) {
		if (!command(0, (struct command){ .verb = CMD_FLUSH }))
			return;
		mount_again();
		heal();
	}
	fault("no flush succeeds any more");
}

/* The committed state over there is, file by file, what the primary has. */
static void compare(void)
{
	static uint8_t one[256u << 10], two[256u << 10];

	pass(50);
	for (struct image *i = node_image_next(side[0].host.node, NULL); i; i = node_image_next(side[0].host.node, i)) {
		const char *name = image_name(i);
		uint64_t size = image_size(i);
		struct image *o = node_image(side[1].host.node, name);

		if (!o || image_size(o) != size) {
			fault("image %s is not the same there", name);
			continue;
		}
		struct guest_io g = { .op = GUEST_READ, .len = size, .buf = one };

		if (!size || guest(0, g, name))
			continue;
		g.buf = two;
		if (!guest(1, g, name) && memcmp(one, two, size))
			fault("image %s has other data there", name);
	}
}

/* ---- the script ---- */

static void begin(void)
{
	static uint8_t content[BLOCKS * BLOCK];

	host_init(&side[0].host, 1, NODE_PRIMARY);
	host_init(&side[1].host, 2, NODE_BACKUP);
	side[0].link = side[1].link = -1;
	memset(content, 1, sizeof(content));
	memset(disk_has, 1, sizeof(disk_has));
	disk_size = BLOCKS;
	struct host_file *f = host_file_new(&side[0].host, FILE_IMAGE, 16);

	strcpy(f->name, "disk");
	side[0].host.loud = side[1].host.loud = getenv("LOUD") != NULL;
	host_file_write(f, 0, content, sizeof(content));
	if (io_side >= 0) {
		side[io_side].host.io_fail_at = io_fail_at;
		side[io_side].host.fail_error = io_error;
	}
	alloc_count = 0;
}

static void names(void)
{
	struct guest_io make = { .op = GUEST_CREATE }, move = { .op = GUEST_RENAME };

	strcpy(make.name, "new");
	strcpy(move.name, "other");
	if (guest(0, make, NULL))
		return;
	static uint8_t buf[2 * BLOCK];

	guest(0, (struct guest_io){ .op = GUEST_WRITE, .len = sizeof(buf), .buf = buf }, "new");
	guest(0, move, "new");
	flush();
	compare();
	guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "other");
	guest(0, (struct guest_io){ .op = GUEST_PUNCH, .off = 4 * BLOCK, .len = BLOCK }, "disk");
	disk_has[4] = UNKNOWN;
}

static void twin(void)
{
	static uint8_t buf[2 * BLOCK];

	memset(buf, 0x77, sizeof(buf));
	int error = guest(1, (struct guest_io){ .op = GUEST_WRITE, .off = 9 * BLOCK, .len = BLOCK, .buf = buf }, "disk");
	uint8_t before = disk_has[9];

	if (error)
		disk_has[9] = UNKNOWN;
	check_disk(1, error ? -1 : 9, 0x77);
	disk_has[9] = before;
}

static void prepared(void)
{
	write_blocks(20, 6, 5);
	if (!command(0, (struct command){ .verb = CMD_PREPARE }))
		command(0, (struct command){ .verb = CMD_COMMIT, .have_epoch = true,
		                             .epoch = side[0].host.node->com.number });
	heal();
	flush();
	check_disk(1, -1, 0);
}

/* The rest of the orders; whatever each says, the pair goes on. */
static void orders(void)
{
	char text[40];

	say(0, "verify");
	say(0, "resync full");
	heal();
	flush();
	snprintf(text, sizeof(text), "wait %llu", (unsigned long long)side[0].host.node->acked_epoch);
	say(0, text);
	say(0, "set commit fsync");
	guest(0, (struct guest_io){ .op = GUEST_SYNC }, "disk");
	say(0, "set commit manual");
	say(1, "set overlay off");
	say(1, "set overlay on");
	say(0, "disconnect");
	pass(50);
	say(0, "connect");
	heal();
	flush();
	check_disk(1, -1, 0);
}

static void link_lost(void)
{
	host_link_cut(&side[0].host, side[0].link);
	host_link_cut(&side[1].host, side[1].link);
	side[0].link = side[1].link = -1;
	write_blocks(2, 5, 7);
	heal();
	flush();
	check_disk(1, -1, 0);
}

/* The primary is gone for good; its last checkpoint and the twin's writes are what the other goes on with. */
static void failover(void)
{
	static uint8_t buf[2 * BLOCK];

	memset(buf, 8, sizeof(buf));
	int error = guest(1, (struct guest_io){ .op = GUEST_WRITE, .off = 31 * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	host_link_cut(&side[1].host, side[1].link);
	side[1].link = -1;
	wrote(31, 1, is_failed(&side[1]) ? UNKNOWN : 8, error);
	host_kill(&side[0].host);
	io_reached |= side[0].host.io_count >= io_fail_at && !io_side;
	host_exit(&side[0].host);
	side[1].host.config.role = -1; /* what a failed save left on the disk is one role or the other */
	host_init(&side[0].host, 9, NODE_UNPROTECTED);
	if (!boot(&side[0]))
		exit(1);
	pass(50);
	for (int i = 0; i < 40 && side[1].host.node->role == NODE_BACKUP; i++) {
		command(1, (struct command){ .verb = CMD_FAILOVER, .force = true });
		if (is_failed(&side[1])) /* started again: an overlay that was not taken yet is gone with the last life */
			disk_has[31] = UNKNOWN;
		pass(50);
	}
	if (side[1].host.node->role == NODE_BACKUP)
		fault("no failover: %s", side[1].host.node->reason);
	check_disk(1, -1, 0);
	memset(buf, 9, sizeof(buf));
	error = guest(1, (struct guest_io){ .op = GUEST_WRITE, .off = 30 * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	wrote(30, 1, 9, error);
	error = guest(1, (struct guest_io){ .op = GUEST_SYNC }, "disk");
	pass(50);
	check_disk(1, -1, 0);
	if (!error || disk_has[30] == UNKNOWN) { /* a crash now loses nothing that was synced */
		host_kill(&side[1].host);
		side[1].host.config.role = -1;
		if (!boot(&side[1]))
			exit(1);
		pass(50);
		check_disk(1, -1, 0);
	}
	if (!host_stop(&side[1].host))
		fault("the promoted node does not stop");
}

/* false: a wrong answer. */
static bool script(void)
{
	static char context[60];

	if (io_side < 0)
		snprintf(context, sizeof(context), "allocation %llu failing: ", (unsigned long long)alloc_fail_at);
	else
		snprintf(context, sizeof(context), "node %d's request %llu failing (%s): ", io_side,
		         (unsigned long long)io_fail_at, strerror(-io_error));
	pair_context = context;
	wrong = false;
	begin();
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	write_blocks(0, 3, 2);
	write_blocks(10, 9, 3);
	check_disk(0, -1, 0);
	flush();
	check_disk(1, -1, 0);
	twin();
	write_blocks(9, 1, 4);
	flush();
	compare();
	names();
	link_lost();
	prepared();
	compare();
	orders();
	compare();
	reboot(&side[1]);
	heal();
	compare();
	failover();
	if (io_side > 0)
		io_reached = side[io_side].host.io_count >= io_fail_at;
	host_exit(&side[0].host);
	host_exit(&side[1].host);
	return !wrong;
}

/* ---- all N ---- */

static bool no_failure(void)
{
	alloc_fail_at = 0;
	bool good = script();

	total = alloc_count;
	printf("# %llu allocations\n", (unsigned long long)total);
	return good;
}

static bool one_fails(void)
{
	bool good = true;

	alloc_fail_count = 1;
	for (alloc_fail_at = first_n; alloc_fail_at <= total && alloc_fail_at <= last_n; alloc_fail_at++)
		good &= script();
	return good;
}

/* Memory is short for a while. */
static bool thirty_fail(void)
{
	bool good = true;

	alloc_fail_count = 30;
	for (alloc_fail_at = 1 + below(30); alloc_fail_at <= total; alloc_fail_at += 30)
		good &= script();
	return good;
}

/* How many requests there are is known only by running out of them. */
static bool disk_fails(int at, int error)
{
	bool good = true;

	alloc_fail_at = 0;
	io_side = at;
	io_error = error;
	io_reached = true;
	for (io_fail_at = 1; io_reached; io_fail_at++) {
		io_reached = false;
		good &= script();
	}
	printf("# %llu requests\n", (unsigned long long)io_fail_at);
	io_side = -1;
	return good;
}

static bool backups_disk_fails(void)
{
	return disk_fails(1, -EIO);
}

static bool backups_disk_is_full(void)
{
	return disk_fails(1, -ENOSPC);
}

static bool primarys_disk_fails(void)
{
	return disk_fails(0, -EIO);
}

int main(int argc, char **argv)
{
	host_realloc = __real_realloc;
	signal(SIGSEGV, died);
	signal(SIGABRT, died);
	signal(SIGFPE, died);
	check_begin(argc, argv);
	if (argc > 4) { /* SEED SIDE N ERRNO */
		io_side = atoi(argv[2]);
		io_fail_at = strtoull(argv[3], NULL, 0);
		io_error = -atoi(argv[4]);
		return !script();
	}
	if (argc > 2)
		first_n = last_n = strtoull(argv[2], NULL, 0);
	if (argc > 3)
		last_n = strtoull(argv[3], NULL, 0);
	RUN(no_failure);
	RUN(one_fails);
	if (argc < 3) {
		RUN(thirty_fail);
		RUN(backups_disk_fails);
		RUN(backups_disk_is_full);
		RUN(primarys_disk_fails);
	}
	alloc_fail_at = 0; /* what runs at exit is not ours */
	return check_end();
}
