/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One host's disk: carries out struct io after random delays, in random
 * order, against files (file.c) and a directory; and says what a crash leaves.
 * Directory operations on images last once IO_DIRSYNC completed; before, a
 * crash undoes a random suffix of them. Segments last when their creation
 * completed; a removed one may come back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* A request under way; its own copy of the data, since a crash frees the core's. */
struct dio {
	struct dio *next, **prev;
	struct io *io;
	struct host *host;
	struct change change; /* writes and the like */
	uint64_t file, sync_seq;
	uint8_t op, kind;
};

struct file *disk_file(struct disk *d, unsigned kind, uint64_t id)
{
	struct file **recent = &d->recent[(id + kind * 5) % RECENT], *f = *recent;

	if (f && f->id == id && f->kind == kind)
		return f;
	for (f = d->files; f; f = f->next)
		if (f->id == id && f->kind == kind)
			return *recent = f;
	return NULL;
}

static struct file *file_new(struct sim *s, struct disk *d, unsigned kind, uint64_t id)
{
	struct file *f = memset(pool_get(s, sizeof(*f)), 0, sizeof(*f));

	f->kind = (uint8_t)kind;
	f->id = id;
	f->next = d->files;
	d->files = f;
	return f;
}

static void file_destroy(struct sim *s, struct disk *d, struct file *f)
{
	struct file **p = &d->files;

	while (*p != f)
		p = &(*p)->next;
	*p = f->next;
	memset(d->recent, 0, sizeof(d->recent));
	file_drop(s, f);
	pool_put(s, f, sizeof(*f));
}

void disk_format(struct sim *s, struct disk *d)
{
	disk_clear(s, d);
	for (unsigned i = 0; i < sizeof(d->node); i++)
		d->node[i] = (uint8_t)(rnd(s) | 1);
	d->speed_us = 10 + rnd_below(s, 200);
}

void disk_clear(struct sim *s, struct disk *d)
{
	struct dio *q;

	while (d->files)
		file_destroy(s, d, d->files);
	while ((q = d->inflight)) {
		d->inflight = q->next;
		change_drop(s, &q->change);
		pool_put(s, q, sizeof(*q));
	}
	free(d->state);
	memset(d, 0, sizeof(*d));
}

/* ---- carrying out ---- */

static bool is_change(unsigned op)
{
	return op == IO_WRITE || op == IO_ALLOC || op == IO_PUNCH || op == IO_ZERO || op == IO_TRUNC;
}

/* Takes the content. */
static void change_done(struct sim *s, struct disk *d, struct file *f, struct change *from)
{
	struct change *c = pool_get(s, sizeof(*c));

	*c = *from;
	from->data = NULL;
	from->pages = NULL;
	c->next = NULL;
	c->seq = ++d->seq;
	file_apply(s, f, c);
	f->mtime = ++d->clock;
	if (f->tail)
		f->tail->next = c;
	else
		f->head = c;
	f->tail = c;
}

/* Its first len bytes. */
static void change_done_part(struct sim *s, struct disk *d, struct file *f, const struct change *from, uint64_t len)
{
	/* It lies within the file as seen; on the platter, which may lack the growth before it, it must not lie behind the end. */
	struct change c = { .op = from->op, .off = from->off, .len = len, .extends = from->op == IO_WRITE };

	if (c.op == IO_WRITE) {
		uint8_t *buf = pool_get(s, len);

		for (uint64_t at = 0; at < len; at++)
			buf[at] = from->data ? from->data[at] : change_byte(from, at);
		c.data = buf;
	}
	change_done(s, d, f, &c);
}

static int do_extent(const struct file *f, struct io *io)
{
	uint64_t page = io->off / 4096, end = io->off + io->len < f->size ? io->off + io->len : f->size;
	uint64_t at = io->off;

	if (io->off >= f->size)
		return -ENXIO;
	io->hole = page >= f->page_count || !f->pages[page];
	while (at < end && (page >= f->page_count || !f->pages[page]) == io->hole) {
		page++;
		at = page * 4096;
	}
	io->len = (at < end ? at : end) - io->off;
	return 0;
}

static struct file *by_name(struct disk *d, const char *name)
{
	for (struct file *f = d->files; f; f = f->next)
		if (f->kind == FILE_IMAGE && f->now && !strcmp(f->name, name))
			return f;
	return NULL;
}

static int do_create(struct sim *s, struct disk *d, struct dio *q)
{
	struct io *io = q->io;
	struct file *f = disk_file(d, q->kind, q->file);

	if ((f && f->now) || (q->kind == FILE_IMAGE && io->name && by_name(d, io->name)))
		return -EEXIST;
	if (f)
		file_destroy(s, d, f);
	f = file_new(s, d, q->kind, q->file);
	f->now = true;
	f->mtime = ++d->clock;
	if (q->kind == FILE_IMAGE) {
		if (io->name && strlen(io->name) >= NAME_LEN)
			return -ENAMETOOLONG;
		strcpy(f->name, io->name ? io->name : "");
		d->dir_dirty = true;
		return 0;
	}
	f->durable = true;
	file_fit(f, io->len);
	f->size = f->durable_size = io->len;
	return 0;
}

static int do_rename(struct disk *d, struct dio *q)
{
	const char *name = q->io->name ? q->io->name : "";
	struct file *f = disk_file(d, q->kind, q->file), *old = *name ? by_name(d, name) : NULL;

	if (!f || !f->now)
		return -ENOENT;
	if (strlen(name) >= NAME_LEN)
		return -ENAMETOOLONG;
	if (old && old != f)
		old->now = false;
	strcpy(f->name, name);
	d->dir_dirty = true;
	return 0;
}

static void do_dirsync(struct sim *s, struct disk *d)
{
	struct file *f, *next;

	for (f = d->files; f; f = next) {
		next = f->next;
		if (f->kind != FILE_IMAGE) {
			if (!f->now) /* its removal has certainly been journalled too */
				file_destroy(s, d, f);
			continue;
		}
		f->durable = f->now;
		memcpy(f->durable_name, f->name, sizeof(f->name));
		if (!f->now && !f->removed) /* descriptors may still be open; contents go at the next start */
			f->removed = true;
	}
	d->dir_dirty = false;
}

static int do_state(struct disk *d, const struct io *io)
{
	uint8_t *copy = malloc(io->len ? io->len : 1);

	if (!copy)
		abort();
	memcpy(copy, io->buf, io->len);
	free(d->state);
	d->state = copy;
	d->state_len = io->len;
	return 0;
}

static int carry_out(struct sim *s, struct disk *d, struct dio *q)
{
	struct file *f = disk_file(d, q->kind, q->file);

	switch (q->op) {
	case IO_CREATE:
		return do_create(s, d, q);
	case IO_RENAME:
		return do_rename(d, q);
	case IO_DIRSYNC:
		do_dirsync(s, d);
		return 0;
	case IO_STATE:
		return do_state(d, q->io);
	case IO_CLOSE:
		return 0;
	}
	if (!f || (q->kind != FILE_IMAGE && !f->now))
		return -ENOENT;
	if (q->kind == FILE_JOURNAL && q->op == IO_WRITE)
		happened(s, H_JOURNALLED);
	if (is_change(q->op)) {
		change_done(s, d, f, &q->change);
		return 0;
	}
	switch (q->op) {
	case IO_READ:
		file_read(f, q->io->off, q->io->buf, q->io->len);
		return 0;
	case IO_SYNC:
		file_sync(s, f, q->sync_seq);
		return 0;
	case IO_EXTENT:
		return do_extent(f, q->io);
	case IO_STAT:
		*(struct io_times *)q->io->buf = (struct io_times){ f->mtime, f->mtime };
		return 0;
	case IO_REMOVE:
		f->now = false;
		d->dir_dirty = true;
		return 0;
	}
	return -EINVAL;
}

/* Some of what failed is done all the same; never a file's growth. */
static void fail(struct sim *s, struct dio *q, unsigned part)
{
	struct disk *d = &q->host->disk;
	struct file *f = disk_file(d, q->kind, q->file);

	if (q->op == IO_STATE && part & 1) {
		(void)do_state(d, q->io);
	} else if (q->op == IO_SYNC && f) {
		file_sync_failed(s, f, q->sync_seq);
		q->host->sick = true;
	} else if (f && f->now && is_change(q->op) && q->op != IO_TRUNC && q->op != IO_ALLOC) {
		struct change *c = &q->change;
		uint64_t end = c->off + c->len * part / 16;

		end = end < f->size ? end - end % SECTOR : f->size;
		if (end > c->off)
			change_done_part(s, d, f, c, end - c->off);
	}
	if (q->kind == FILE_IMAGE && q->host->index == s->primary)
		guest_io_failed(s, q->io);
}

static void dio_free(struct sim *s, struct dio *q)
{
	*q->prev = q->next;
	if (q->next)
		q->next->prev = q->prev;
	change_drop(s, &q->change);
	pool_put(s, q, sizeof(*q));
}

static const char *const op_names[] = {
	[IO_READ] = "read", [IO_WRITE] = "write", [IO_SYNC] = "sync", [IO_ALLOC] = "alloc",
	[IO_PUNCH] = "punch", [IO_ZERO] = "zero", [IO_TRUNC] = "trunc", [IO_EXTENT] = "extent",
	[IO_STAT] = "stat", [IO_CREATE] = "create", [IO_REMOVE] = "remove", [IO_RENAME] = "rename", [IO_CLOSE] = "close",
	[IO_DIRSYNC] = "dirsync", [IO_STATE] = "state",
};

static void dio_done(struct sim *s, struct event *e)
{
	struct dio *q = e->ptr;
	struct io *io = q->io;

	unsigned part = 0;

	io->result = fault_of(s, q->host, io, &part);
	if (io->result)
		fail(s, q, part);
	else
		io->result = carry_out(s, &q->host->disk, q);
	if (s->verbose > 1)
		say(s, "host %d disk: %s %s %llu at %llu+%llu %s: %d", q->host->index, op_names[q->op],
		    q->kind == FILE_IMAGE ? "image" : q->kind == FILE_JOURNAL ? "journal" : q->kind == FILE_OVERLAY ? "overlay" : "activity",
		    (unsigned long long)q->file, (unsigned long long)io->off, (unsigned long long)io->len,
		    (q->op == IO_CREATE || q->op == IO_RENAME) && io->name ? io->name : "", io->result);
	dio_free(s, q);
	io->done(io);
}

/* Two writes to one place under way at once: their order, so the content, is anybody's guess. */
static void check_overlap(struct sim *s, const struct host *h, const struct dio *q)
{
	if (q->op == IO_TRUNC)
		return;
	for (const struct dio *o = h->disk.inflight; o; o = o->next)
		if (o != q && o->kind == q->kind && o->file == q->file && is_change(o->op) &&
		    o->op != IO_TRUNC && o->change.off < q->change.off + q->change.len &&
		    q->change.off < o->change.off + o->change.len)
			violation(s, "host %d: overlapping writes in flight on %s %llu at %llu+%llu",
			          h->index, q->kind == FILE_IMAGE ? "image" : "segment",
			          (unsigned long long)q->file, (unsigned long long)q->change.off,
			          (unsigned long long)q->change.len);
}

static void make_change(struct sim *s, struct host *h, struct dio *q)
{
	const struct io *io = q->io;

	q->change = (struct change){ .op = IO_PUNCH, .off = io->off, .len = io->len };
	switch (io->op) {
	case IO_WRITE:
		q->change.op = IO_WRITE;
		q->change.extends = true;
		change_fill(s, &q->change, io->buf);
		break;
	case IO_TRUNC:
		q->change.op = IO_TRUNC;
		break;
	case IO_ZERO:
		q->change.extends = !io->keep_size;
		break;
	case IO_ALLOC: /* only the size may change */
		q->change.off = io->off + io->len;
		q->change.len = 0;
		q->change.extends = !io->keep_size;
		break;
	}
	if (q->kind != FILE_IMAGE && (io->off % BLOCK || io->len % BLOCK || (uintptr_t)io->buf % BLOCK))
		violation(s, "host %d: unaligned write to a segment", h->index);
	check_overlap(s, h, q);
}

static uint64_t dio_delay(struct sim *s, const struct disk *d, unsigned op)
{
	switch (op) {
	case IO_SYNC: case IO_STATE: case IO_DIRSYNC: case IO_CREATE: case IO_RENAME: case IO_REMOVE:
		return rnd_delay(s, d->speed_us * 5);
	default:
		return rnd_delay(s, d->speed_us);
	}
}

void disk_submit(struct sim *s, struct host *h, struct io *io)
{
	struct disk *d = &h->disk;
	struct dio *q = memset(pool_get(s, sizeof(*q)), 0, sizeof(*q));
	uint64_t delay = dio_delay(s, d, io->op);
	struct event *e;

	q->io = io;
	q->host = h;
	q->op = io->op;
	q->kind = io->kind;
	q->file = io->file;
	q->sync_seq = d->seq;
	q->change.len = io->len;
	if (is_change(io->op))
		make_change(s, h, q);
	q->next = d->inflight;
	q->prev = &d->inflight;
	if (q->next)
		q->next->prev = &q->next;
	d->inflight = q;
	e = event_add(s, delay, h->index, dio_done);
	e->ptr = q;
	switch (io->op) {
	case IO_SYNC:
		world_moment(s, h, delay, io->kind == FILE_IMAGE ? 1 : 4);
		break;
	case IO_STATE: case IO_CREATE: case IO_REMOVE: case IO_RENAME: case IO_DIRSYNC:
		world_moment(s, h, delay, 4);
		break;
	default:
		if (io->kind == FILE_ACTIVITY)
			world_moment(s, h, 3 * delay, 4); /* a mark, and the writes that waited for it */
		else if (io->kind != FILE_IMAGE && io->op == IO_WRITE && !io->off)
			world_moment(s, h, 3 * delay + 500, 60); /* a segment's header, and its first batch */
	}
}

int disk_read_now(struct sim *s, struct disk *d, enum file_kind kind, uint64_t file, uint64_t off,
                  void *buf, size_t len)
{
	struct file *f = disk_file(d, kind, file);

	(void)s;
	if (!f || !f->now)
		return -ENOENT;
	file_read(f, off, buf, len);
	return 0;
}

void disk_flip(struct sim *s, struct disk *d, uint64_t image, uint64_t off)
{
	struct file *f = disk_file(d, FILE_IMAGE, image);
	struct change c = { .op = IO_WRITE, .off = off, .len = 1, .data = pool_get(s, 1) };
	uint64_t mtime = f->mtime;

	file_read(f, off, c.data, 1);
	*c.data ^= (uint8_t)(1 << rnd_below(s, 8));
	change_done(s, d, f, &c);
	f->mtime = mtime;
}

bool disk_idle(const struct disk *d, unsigned kind, uint64_t id)
{
	for (const struct dio *q = d->inflight; q; q = q->next)
		if (q->kind == kind && q->file == id)
			return false;
	return true;
}

/* The activity map's file, when nobody looks: a byte, a sector, one slot for both, all of it. */
void disk_damage(struct sim *s, struct disk *d)
{
	struct file *f = disk_file(d, FILE_ACTIVITY, 0);
	uint64_t half = f ? f->size / 2 : 0;
	uint8_t buf[PAGE];
	struct change c = { .op = IO_WRITE, .off = one_in(s, 2) ? half : 0, .len = PAGE, .data = buf };

	if (!half)
		return;
	happened(s, H_ACTIVITY_DAMAGE);
	file_read(f, c.off, buf, PAGE);
	switch (rnd_below(s, 4)) {
	case 0:
		buf[rnd_below(s, PAGE)] ^= (uint8_t)(1u << rnd_below(s, 8));
		break;
	case 1:
		memset(buf + rnd_below(s, PAGE / SECTOR) * SECTOR, 0, SECTOR);
		break;
	case 2:
		c.off = half - c.off;
		break;
	case 3:
		file_destroy(s, d, f);
		return;
	}
	file_apply(s, f, &c);
}

/* ---- what a crash leaves ---- */

/* Requests in flight: writes and the like may have happened; a segment may exist. */
static void crash_inflight(struct sim *s, struct disk *d, bool power)
{
	struct dio *q;

	while ((q = d->inflight)) {
		struct file *f = disk_file(d, q->kind, q->file);

		if (is_change(q->op) && f && (power || one_in(s, 2))) {
			change_done(s, d, f, &q->change); /* a power failure then tears it */
		} else if (q->op == IO_SYNC && f && one_in(s, 2)) {
			file_sync(s, f, q->sync_seq);
		} else if (q->op == IO_CREATE && q->kind != FILE_IMAGE && (!f || !f->now) && one_in(s, 2)) {
			f = f ? f : file_new(s, d, q->kind, q->file);
			f->now = f->durable = true; /* whole or not at all: the shell renames it into place */
			file_fit(f, q->change.len);
			f->size = f->durable_size = q->change.len;
		} else if (q->op == IO_REMOVE && f && one_in(s, 2)) {
			f->now = false;
		}
		dio_free(s, q);
	}
}

static void crash_directory(struct sim *s, struct disk *d)
{
	bool keep = one_in(s, 2); /* all directory changes since the last sync, or none */
	struct file *f, *next;

	for (f = d->files; f; f = next) {
		next = f->next;
		if (f->kind == FILE_IMAGE && !keep) {
			if (f->now != f->durable || strcmp(f->name, f->durable_name))
				happened(s, H_NAMES_LOST);
			f->now = f->durable;
			memcpy(f->name, f->durable_name, sizeof(f->name));
		} else if (f->kind != FILE_IMAGE && !f->now && f->durable && one_in(s, 4)) {
			f->now = true;
		}
		if (!f->now) {
			file_destroy(s, d, f);
			continue;
		}
		f->durable = true;
		memcpy(f->durable_name, f->name, sizeof(f->name));
	}
	d->dir_dirty = false;
}

void disk_crash(struct sim *s, struct disk *d)
{
	crash_inflight(s, d, true);
	for (struct file *f = d->files; f; f = f->next)
		file_crash(s, f);
	crash_directory(s, d);
}

void disk_kill(struct sim *s, struct disk *d)
{
	struct file *f, *next;

	crash_inflight(s, d, false);
	for (f = d->files; f; f = next) {
		next = f->next;
		if (f->sick) /* what was lost is read from the disk again */
			file_crash(s, f);
		if (!f->now && (f->kind != FILE_IMAGE || f->removed || !f->durable))
			file_destroy(s, d, f);
	}
}
