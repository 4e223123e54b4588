/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that are block devices: links to them, in SOURCE or hidden in .colofs like an image's file. Found at
 * start-up; adopted for an image of the peer's while running. Event-loop thread only.
 *
 * Neither a link nor a device takes an xattr, so .colofs/devices says which image a device is: lines of id, size in
 * bytes, ident and the link's text, tabs between, replaced as a whole. The ident is what sysfs knows of the device that
 * outlives a reboot (a volume's uuid, a disk's serial number, a loop device's file): with one, the device is that image
 * under any link and at any size, and another device behind the same link is not. Without, link and size must be the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "store_int.h"

#define DEVICES_MAX (IMAGES_MAX * 8192u) /* bytes of .colofs/devices */
#define TARGET_MAX  4096

struct entry {
	uint64_t id, size;
	const char *ident, *target; /* up to the tab, up to the newline */
	size_t ident_len, target_len;
};

void store_device_free(struct store_device *d)
{
	if (d)
		free(d->target);
	free(d);
}

/* ---- .colofs/devices ---- */

int store_devices_load(struct store *s, char *err, size_t err_size)
{
	void *text;
	size_t len;
	int e = store_slurp(s->dot_fd, "devices", DEVICES_MAX, &text, &len);

	if (e && e != -ENOENT) {
		snprintf(err, err_size, "cannot read .colofs/devices: %s", strerror(-e));
		return e;
	}
	s->devices = e ? NULL : text;
	return 0;
}

/* The line at *p; *p moves on. False: there is none. */
static bool entry_next(const char **p, struct entry *e)
{
	const char *end;

	for (; *p && (end = strchr(*p, '\n')); *p = end + 1) {
		char *at;

		e->id = strtoull(*p, &at, 10);
		if (*at != '\t' || e->id < IMAGE_ID_MIN || e->id > IMAGE_ID_MAX)
			continue;
		e->size = strtoull(at + 1, &at, 10);
		if (*at != '\t')
			continue;
		e->ident = at + 1; /* may be empty: sscanf() would take two tabs for one */
		e->target = memchr(e->ident, '\t', (size_t)(end - e->ident));
		if (!e->target)
			continue;
		e->ident_len = (size_t)(e->target++ - e->ident);
		e->target_len = (size_t)(end - e->target);
		*p = end + 1;
		return true;
	}
	return false;
}

static bool same(const char *text, const char *at, size_t len)
{
	return strlen(text) == len && !memcmp(text, at, len);
}

static bool entry_matches(const struct entry *e, const struct store_device *d, uint64_t size)
{
	if (d->ident[0])
		return same(d->ident, e->ident, e->ident_len);
	return !e->ident_len && e->size == size && same(d->target, e->target, e->target_len);
}

/* Whether this device was an image: under the same link, or else under another. *swapped: behind the link was another. */
static bool entry_find(struct store *s, const struct store_device *d, uint64_t size, struct entry *e, bool *swapped)
{
	const char *p = s->devices;

	*swapped = false;
	while (entry_next(&p, e)) {
		bool link = same(d->target, e->target, e->target_len);

		if (link && entry_matches(e, d, size) && !store_image(s, e->id))
			return true;
		*swapped |= link;
	}
	for (p = s->devices; entry_next(&p, e);)
		if (entry_matches(e, d, size) && !store_image(s, e->id))
			return true;
	return false;
}

static bool entry_known(const struct store *s, const char *target)
{
	const char *p = s->devices;
	struct entry e;

	while (entry_next(&p, &e))
		if (same(target, e.target, e.target_len))
			return true;
	return false;
}

/* Blocks the loop for two fsyncs: at start-up, and once in the life of an image that is adopted. */
int store_devices_save(struct store *s)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int e;

	if (!s->devices_changed)
		return 0;
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	for (size_t i = 0; i < STORE_BUCKETS; i++)
		for (const struct store_file *img = s->images[i]; img; img = img->next)
			if (img->device)
				fprintf(f, "%" PRIu64 "\t%" PRIu64 "\t%s\t%s\n", img->id, img->size, img->device->ident,
				        img->device->target);
	/* After this each device is found as the image that it is now. */
	e = fclose(f) ? -ENOMEM : store_replace(s->dot_fd, "devices", text, len);
	free(text);
	s->devices_changed = e;
	return e;
}

/* ---- which device it is ---- */

static bool sys_read(dev_t rdev, const char *what, char *buf, size_t size)
{
	char path[128];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(rdev), minor(rdev), what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, size - 1);
		close(fd);
	}
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* Partitions have their number and their disk's name. */
static void ident_read(dev_t rdev, char *ident, size_t size)
{
	static const char *const sources[] = { "dm/uuid", "md/uuid", "loop/backing_file", "wwid", "device/wwid", "serial",
		"device/serial", "../wwid", "../device/wwid", "../serial", "../device/serial", "../loop/backing_file" };
	char text[160], part[24], offset[24];

	ident[0] = '\0';
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources) && !ident[0]; i++)
		if (sys_read(rdev, sources[i], text, sizeof(text))) {
			if (!sys_read(rdev, "partition", part, sizeof(part)))
				part[0] = '\0';
			if (!sys_read(rdev, "loop/offset", offset, sizeof(offset)))
				offset[0] = '\0';
			snprintf(ident, size, "%s=%s/%s/%s", sources[i], text, part, offset);
		}
	for (char *p = ident; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = '?';
}

/* ---- opening ---- */

static int device_open(struct store *s, const char *target, dev_t rdev, int flags)
{
	int fd = openat(s->source_fd, target, O_RDWR | O_NONBLOCK | O_CLOEXEC | flags);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && S_ISBLK(st.st_mode) && st.st_rdev == rdev)
		return fd;
	close(fd);
	return -ENXIO; /* it changed under our hands */
}

/*
 * Both descriptors, nobody else's: O_EXCL keeps out, and is kept out by, mounts, swap, device-mapper, RAID. The writes of
 * a killed daemon hold it as well, until they have landed: its flock tells the two apart, and is waited for.
 */
static int device_claim(struct store *s, struct store_file *f)
{
	struct store_device *d = f->device;
	uint64_t size = 0;
	int block = 0, wait = device_open(s, d->target, d->rdev, 0), err;

	if (wait < 0)
		return wait;
	err = store_lock_data(wait, STORE_LOCK_WAIT_MS);
	if (!err) {
		f->fd = device_open(s, d->target, d->rdev, O_EXCL);
		err = f->fd < 0 ? f->fd : 0;
	}
	if (!err && (ioctl(f->fd, BLKGETSIZE64, &size) || ioctl(f->fd, BLKSSZGET, &block)))
		err = -errno;
	if (!err && (!size || block < 512))
		err = -ENXIO;
	f->size = size;
	d->block = (uint32_t)block;
	if (!err) {
		f->dfd = device_open(s, d->target, d->rdev, O_DIRECT);
		store_probe_direct(s, f);
	}
	/* As with files: from here on all hold it shared. */
	if (!err && (flock(wait, LOCK_SH | LOCK_NB) || flock(f->fd, LOCK_SH | LOCK_NB) ||
	             (f->dfd >= 0 && flock(f->dfd, LOCK_SH | LOCK_NB))))
		err = -errno;
	close(wait);
	return err;
}

static struct store_file *device_of(const struct store *s, dev_t rdev)
{
	for (size_t i = 0; i < STORE_BUCKETS; i++)
		for (struct store_file *f = s->images[i]; f; f = f->next)
			if (f->device && f->device->rdev == rdev)
				return f;
	return NULL;
}

/* ---- start-up ---- */

__attribute__((format(printf, 4, 5)))
static int fail(char *err, size_t err_size, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_size, fmt, ap);
	va_end(ap);
	return code;
}

/* f's device is open: which image is it? 1: none, leave it alone. */
static int identify(struct store *s, struct store_file *f, uint64_t hidden_id)
{
	bool swapped, found;
	struct entry e;

	ident_read(f->device->rdev, f->device->ident, sizeof(f->device->ident));
	found = entry_find(s, f->device, f->size, &e, &swapped);
	if (hidden_id && (!found || e.id != hidden_id)) {
		log_warn(".colofs/i%016" PRIx64 " leads to %s, which is another device now: left alone", hidden_id,
		         f->device->target);
		return 1;
	}
	if (!found && swapped)
		log_warn("image %s: %s is another device than before: a new image", f->name, f->device->target);
	f->id = found ? e.id : store_id_new(s);
	s->devices_changed |= !found || e.size != f->size || !same(f->device->target, e.target, e.target_len);
	return 0;
}

static int link_open(struct store *s, struct store_file *f, const char *target, dev_t rdev, uint64_t hidden_id, char *err,
                     size_t err_size)
{
	int e;

	f->device = calloc(1, sizeof(*f->device));
	if (f->device)
		f->device->target = strdup(target);
	if (!f->device || !f->device->target)
		return fail(err, err_size, -ENOMEM, "out of memory");
	f->device->rdev = rdev;
	e = device_claim(s, f);
	if (e == -EBUSY)
		return fail(err, err_size, e, "image %s: the block device %s is in use elsewhere (mounted, swap, a volume?): "
		            "end that first", f->name, target);
	if (e)
		return fail(err, err_size, e, "image %s: cannot open the block device %s: %s", f->name, target, strerror(-e));
	return identify(s, f, hidden_id);
}

/* Not a block device: no image, unless it was one. An absent device must not pass for an image that was removed. */
static int not_shown(struct store *s, const char *name, const char *target, char *err, size_t err_size)
{
	if (!entry_known(s, target))
		return 0;
	return fail(err, err_size, -ENODEV, "image %s: its block device %s is not there: activate it, or remove the link",
	            name, target);
}

int store_link_found(struct store *s, const char *name, uint64_t hidden_id, char *err, size_t err_size)
{
	char target[TARGET_MAX];
	ssize_t len = readlinkat(hidden_id ? s->dot_fd : s->source_fd, name, target, sizeof(target) - 1);
	struct store_file *f, *other;
	struct stat st;
	int e;

	if (len <= 0)
		return 0;
	target[len] = '\0';
	/* From SOURCE, also where the link is hidden: it was made there. */
	if (strpbrk(target, "\t\n") || fstatat(s->source_fd, target, &st, 0) || !S_ISBLK(st.st_mode))
		return not_shown(s, name, target, err, err_size);
	other = device_of(s, st.st_rdev);
	if (other && hidden_id) { /* of a first sync that was cut; made anew in SOURCE since */
		(void)unlinkat(s->dot_fd, name, 0);
		return 0;
	}
	if (other)
		return fail(err, err_size, -EBUSY, "images %s and %s are one block device: remove one of the links", other->name,
		            name);
	f = store_file_new(0);
	if (!f)
		return fail(err, err_size, -ENOMEM, "out of memory");
	if (!hidden_id)
		snprintf(f->name, sizeof(f->name), "%s", name);
	e = link_open(s, f, target, st.st_rdev, hidden_id, err, err_size);
	if (e) {
		store_file_close(f);
		return e < 0 ? e : 0;
	}
	store_image_add(s, f);
	s->boot.image_count++;
	return 0;
}

/* ---- adoption ---- */

/*
 * io->off's device becomes image io->file, which has no other file then. First .colofs/devices, then the link: after a
 * crash in between the device bears its new id at its old name, and is adopted again.
 */
int store_device_adopt(struct store *s, struct io *io)
{
	struct store_file *f = store_image(s, io->off), *old = store_image(s, io->file);
	char hidden[32], was[32];
	bool named = f && f->name[0];
	uint64_t id;
	int e;

	if (!f || !f->device || f->unlinked)
		return -ENODEV;
	if (old && old != f) { /* what a first sync that was cut has left */
		store_hidden_name(was, old->id);
		if (!old->unlinked && unlinkat(old->name[0] ? s->source_fd : s->dot_fd, old->name[0] ? old->name : was, 0))
			return -errno;
		store_image_forget(s, old);
		store_file_close(old);
	}
	id = f->id;
	store_hidden_name(was, id);
	store_hidden_name(hidden, io->file);
	store_image_forget(s, f);
	f->id = io->file;
	store_image_add(s, f);
	s->devices_changed = true;
	e = store_devices_save(s);
	if (!e && renameat(named ? s->source_fd : s->dot_fd, named ? f->name : was, s->dot_fd, hidden))
		e = -errno;
	if (e)
		return e;
	f->name[0] = '\0';
	/* After these the device is the image's, incomplete, whatever crashes. */
	return fsync(s->dot_fd) || fsync(s->source_fd) ? -errno : 0;
}
