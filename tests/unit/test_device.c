/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that are block devices, in a pair in memory: what their guests may do, on both roles; which devices a backup takes
 * for a primary's image and which it refuses, with what words and with nothing written; a crash at each step of an adoption.
 * Real devices are in functional/test-device-*.
 */
#include "paired.h"

#define DEVICE 900u /* the id that a device has before it is an image's */

static struct host_file *device_new(int at, const char *name, uint64_t size)
{
	static uint8_t content[2 * SIZE];
	struct host_file *f = host_file_new(&side[at].host, FILE_IMAGE, DEVICE);

	memset(content, 0xdd, sizeof(content));
	snprintf(f->name, sizeof(f->name), "%s", name);
	host_file_write(f, 0, content, size);
	f->capacity = size;
	return f;
}

/* What a guest's request gives; errors that only devices have are none of the harness's faults. */
static int ask(int at, uint8_t op, uint64_t off, uint64_t len, bool keep)
{
	static uint8_t buf[2 * BLOCK];
	bool before = wrong;

	wrong = true;
	int error = guest(at, (struct guest_io){ .op = op, .off = off, .len = len, .keep_size = keep, .buf = buf,
	                                         .name = "other" }, "disk");

	wrong = before;
	return error;
}

static int get(int at, uint32_t block)
{
	static uint8_t buf[BLOCK];
	int error = guest(at, (struct guest_io){ .op = GUEST_READ, .off = block * BLOCK, .len = BLOCK, .buf = buf }, "disk");

	return error ? error : buf[0];
}

static void device_here(int at)
{
	struct host_file *f = host_file_named(&side[at].host, "disk");

	f->capacity = f->size;
}

static bool guests_of(int at)
{
	CHECK(ask(at, GUEST_UNLINK, 0, 0, false) == -EPERM);
	CHECK(strstr(side[at].host.node->last_error, "image disk is a block device"));
	CHECK(ask(at, GUEST_RENAME, 0, 0, false) == -EPERM);
	CHECK(ask(at, GUEST_TRUNC, 0, SIZE - 1, false) == -EPERM && ask(at, GUEST_TRUNC, 0, SIZE + 1, false) == -EPERM);
	CHECK(!ask(at, GUEST_TRUNC, 0, SIZE, false));
	CHECK(!ask(at, GUEST_ALLOC, 0, SIZE, false) && !ask(at, GUEST_ALLOC, SIZE, 1, true));
	CHECK(ask(at, GUEST_ALLOC, SIZE, 1, false) == -ENOSPC);
	CHECK(ask(at, GUEST_ALLOC, UINT64_MAX, 2, false) == -ENOSPC); /* not past the end of numbers either */
	CHECK(ask(at, GUEST_ZERO, SIZE - BLOCK, 2 * BLOCK, false) == -ENOSPC);
	CHECK(ask(at, GUEST_WRITE, SIZE, BLOCK, false) == -ENOSPC && !ask(at, GUEST_WRITE, SIZE, 0, false));
	CHECK(!put(at, 39, 39) && get(at, 39) == 39);
	CHECK(!ask(at, GUEST_ZERO, SIZE - BLOCK, BLOCK, false) && get(at, 39) == 0);
	CHECK(!put(at, 39, 40) && !ask(at, GUEST_WRITE, SIZE - BLOCK, 2 * BLOCK, false) && get(at, 39) == 0); /* cut at the end */
	CHECK(!put(at, 39, 41) && !ask(at, GUEST_ZERO, SIZE - BLOCK, 2 * BLOCK, true) && get(at, 39) == 0);
	CHECK(!put(at, 39, 42) && !ask(at, GUEST_PUNCH, SIZE - BLOCK, BLOCK, false) && get(at, 39) == 0);
	return image_size(node_image(side[at].host.node, "disk")) == SIZE;
}

static bool guests_of_a_primary(void)
{
	struct guest_io make = { .op = GUEST_CREATE, .name = "file" }, onto = { .op = GUEST_RENAME, .name = "disk" };

	hosts();
	device_here(0);
	CHECK(boot(&side[1]) && boot(&side[0]));
	heal();
	CHECK(protected_now() && guests_of(0));
	CHECK(!guest(0, make, NULL));
	wrong = true; /* EPERM is expected */
	CHECK(guest(0, onto, "file") == -EPERM);
	wrong = false;
	strcpy(make.name, "disk");
	CHECK(guest(0, make, NULL) == -EEXIST);
	CHECK(!put(0, 39, 43) && !say(0, "flush"));
	return get(1, 39) == 43 && node_image(back(), "file") && !wrong;
}

/* The device with that content is the image's file on the backup. */
static bool adopted(void)
{
	static uint8_t here[SIZE], there[SIZE];
	struct host_file *f = NULL;

	for (int i = 0; i < HOST_FILES; i++)
		if (side[1].host.files[i].used && side[1].host.files[i].capacity)
			f = &side[1].host.files[i];
	pass(50);
	host_file_read(host_file_named(&side[0].host, "disk"), 0, here, SIZE);
	if (!f || f->id != 16)
		return false;
	host_file_read(f, 0, there, SIZE);
	return !memcmp(here, there, SIZE);
}

/* A pair whose backup took the device. Block 7 is zeroes: on the device that has to be written. */
static bool pair_with_a_device(void)
{
	static const uint8_t zero[BLOCK];

	hosts();
	host_file_write(host_file_named(&side[0].host, "disk"), 7 * BLOCK, zero, BLOCK);
	device_new(1, "disk", SIZE);
	side[1].host.config.overwrite = true;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	return protected_now() && get(1, 7) == 0 && adopted() && !wrong;
}

static bool guests_of_a_backup(void)
{
	CHECK(pair_with_a_device() && guests_of(1));
	CHECK(!say(0, "flush")); /* the twin's writes were its own */
	return get(1, 39) == 1 && adopted();
}

static bool adopted_for_good(void)
{
	CHECK(pair_with_a_device());
	side[1].host.config.overwrite = false;
	reboot(&side[1]);
	CHECK(!put(0, 3, 5));
	heal();
	CHECK(!say(0, "flush") && get(1, 3) == 5 && adopted());
	reboot(&side[0]);
	heal();
	return protected_now() && adopted() && !wrong;
}

/* The backup dies behind the Nth step of the first contact, for every N. */
static bool adoption_is_cut(void)
{
	uint32_t cuts = 0;

	for (uint32_t i = 0;; i++) {
		hosts();
		device_new(1, "disk", SIZE);
		side[1].host.config.overwrite = true;
		CHECK(boot(&side[1]) && boot(&side[0]));
		for (uint32_t k = 0; k < i; k++) {
			pair_step(1);
			host_tick(&side[0].host, 1);
			host_tick(&side[1].host, 1);
		}
		if (prim()->protected_)
			break;
		host_kill(&side[1].host);
		host_link_cut(&side[0].host, side[0].link);
		side[0].link = side[1].link = -1;
		CHECK(boot(&side[1]));
		heal();
		CHECK(protected_now() && adopted());
		cuts++;
	}
	printf("# %u cuts\n", cuts);
	return cuts > 10 && !wrong;
}

/* ---- what is refused ---- */

static bool said_by_backup(const char *text)
{
	for (int i = 0; i < 40 && !strstr(back()->reason, text) && !strstr(back()->last_error, text); i++)
		pass(50);
	if (strstr(back()->reason, text) || strstr(back()->last_error, text))
		return !prim()->protected_;
	printf("# %s / %s\n", back()->reason, back()->last_error);
	return false;
}

static bool untouched(uint64_t id)
{
	struct host_file *f = host_file(&side[1].host, FILE_IMAGE, id);

	if (!f)
		return false;
	for (uint64_t i = 0; i < f->size; i++)
		if (f->data[i] != 0xdd)
			return false;
	return true;
}

static bool wrong_size(uint64_t size)
{
	hosts();
	device_new(1, "disk", size);
	side[1].host.config.overwrite = true;
	CHECK(boot(&side[1]) && boot(&side[0]));
	CHECK(said_by_backup("they must be equal") && strstr(back()->reason, "image disk"));
	host_kill(&side[0].host); /* who was refused has no pair, and no peer to ask at its next start */
	side[0].link = -1;
	CHECK(!host_boot(&side[0].host, pair_reply, sizeof(pair_reply)));
	host_settle(&side[0].host);
	CHECK(side[0].host.ready && !prim()->start_wait);
	return untouched(DEVICE) && !wrong;
}

static bool refuses_a_smaller_one(void)
{
	return wrong_size(SIZE - 512);
}

static bool refuses_a_larger_one(void)
{
	return wrong_size(SIZE + BLOCK);
}

static bool refuses_without_overwrite(void)
{
	hosts();
	device_new(1, "disk", SIZE);
	CHECK(boot(&side[1]) && boot(&side[0]));
	return said_by_backup("did not come from this pair") && untouched(DEVICE);
}

/* In a pair whose backup has another device, "spare", that is no image's. */
static bool with_a_spare(void)
{
	hosts();
	device_new(1, "spare", SIZE);
	side[1].host.config.overwrite = true;
	if (!boot(&side[1]) || !boot(&side[0]))
		return false;
	heal();
	return protected_now() && !node_image(back(), "spare") && untouched(DEVICE);
}

static bool a_spare_is_left_alone(void)
{
	CHECK(with_a_spare() && !put(0, 3, 4) && !say(0, "flush"));
	return get(1, 3) == 4 && untouched(DEVICE) && !wrong;
}

static bool a_new_image_of_its_name(void)
{
	struct guest_io make = { .op = GUEST_CREATE, .name = "spare" }, size = { .op = GUEST_TRUNC, .len = SIZE };

	CHECK(with_a_spare());
	side[1].host.config.overwrite = false;
	reboot(&side[1]);
	heal();
	uint64_t losses = prim()->counters.link_losses_total;

	CHECK(protected_now() && !guest(0, make, NULL));
	CHECK(said_by_backup("they must be equal") && prim()->counters.link_losses_total > losses);
	CHECK(!guest(0, size, "spare"));
	CHECK(said_by_backup("overwrite=yes lets the primary take it"));
	CHECK(untouched(DEVICE));
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "spare"));
	heal();
	return protected_now() && untouched(DEVICE) && !wrong;
}

static bool a_rename_to_its_name(void)
{
	struct guest_io move = { .op = GUEST_RENAME, .name = "spare" }, again = { .op = GUEST_RENAME, .name = "disk" };

	CHECK(with_a_spare() && !guest(0, move, "disk"));
	CHECK(said_by_backup("remove its link") && untouched(DEVICE));
	CHECK(!guest(0, again, "spare"));
	heal();
	return protected_now() && untouched(DEVICE) && !wrong;
}

/* With overwrite=yes, and of that size, it is what a new image may have. */
static bool a_spare_is_taken(void)
{
	struct guest_io move = { .op = GUEST_RENAME, .name = "spare" };
	struct guest_io make = { .op = GUEST_CREATE, .name = "new" }, size = { .op = GUEST_TRUNC, .len = SIZE };

	CHECK(with_a_spare() && !say(0, "disconnect"));
	CHECK(!guest(0, make, NULL) && !guest(0, size, "new") && !guest(0, move, "new") && !say(0, "connect"));
	heal();
	CHECK(protected_now() && node_image(back(), "spare"));
	struct host_file *f = host_file(&side[1].host, FILE_IMAGE, node_image(back(), "spare")->id);

	CHECK(f && f->capacity == SIZE);
	return !host_file(&side[1].host, FILE_IMAGE, DEVICE) && f->data[0] == 0 && f->data[SIZE - 1] == 0 && !wrong;
}

static bool the_image_is_resized(void)
{
	struct guest_io grow = { .op = GUEST_TRUNC, .len = SIZE + BLOCK }, back_again = { .op = GUEST_TRUNC, .len = SIZE };

	CHECK(pair_with_a_device() && !guest(0, grow, "disk"));
	CHECK(said_by_backup("its block device here holds 163840 bytes") && said_by_backup("they must be equal"));
	CHECK(get(1, 3) == 1); /* the copy is as it was committed */
	CHECK(!guest(0, back_again, "disk"));
	heal();
	return protected_now() && adopted() && !wrong;
}

/* Another image of that name: the device holds the only copy of the old one until a commit. */
static bool the_image_is_another(void)
{
	struct guest_io make = { .op = GUEST_CREATE, .name = "disk" }, size = { .op = GUEST_TRUNC, .len = SIZE };

	CHECK(pair_with_a_device() && !say(0, "disconnect"));
	CHECK(!guest(0, (struct guest_io){ .op = GUEST_UNLINK }, "disk") && !guest(0, make, NULL) && !guest(0, size, "disk"));
	CHECK(!say(0, "connect"));
	CHECK(said_by_backup("begin this backup anew"));
	return get(1, 3) == 1 && !wrong;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	RUN(guests_of_a_primary);
	RUN(guests_of_a_backup);
	RUN(adopted_for_good);
	RUN(adoption_is_cut);
	RUN(refuses_a_smaller_one);
	RUN(refuses_a_larger_one);
	RUN(refuses_without_overwrite);
	RUN(a_spare_is_left_alone);
	RUN(a_new_image_of_its_name);
	RUN(a_rename_to_its_name);
	RUN(a_spare_is_taken);
	RUN(the_image_is_resized);
	RUN(the_image_is_another);
	return check_end();
}
