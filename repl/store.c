/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The store's life cycle and its table of open files; takes the core's struct io and
 * passes each to the file that carries it out. Called by shell.c and fs/, on the event
 * loop's thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "store_int.h"

/* ---- the table ---- */

static struct store_file **image_bucket(struct store *s, uint64_t id)
{
	return &s->images[(id * 0x9e3779b97f4a7c15ull) >> 54];
}

struct store_file *store_image(struct store *s, uint64_t id)
{
	struct store_file *f = *image_bucket(s, id);

	while (f && f->id != id)
		f = f->next;
	return f;
}

/* Names matter only to creates, renames and removes: a walk will do. */
struct store_file *store_image_named(struct store *s, const char *name)
{
	for (size_t i = 0; i < STORE_BUCKETS; i++)
		for (struct store_file *f = s->images[i]; f; f = f->next)
			if (!f->unlinked && !strcmp(f->name, name))
				return f;
	return NULL;
}

void store_image_add(struct store *s, struct store_file *f)
{
	struct store_file **bucket = image_bucket(s, f->id);

	assert(!store_image(s, f->id));
	f->next = *bucket;
	*bucket = f;
}

void store_image_forget(struct store *s, struct store_file *f)
{
	struct store_file **p = image_bucket(s, f->id);

	while (*p != f) {
		assert(*p);
		p = &(*p)->next;
	}
	*p = f->next;
	f->next = NULL;
}

static struct store_file *store_file_of(struct store *s, uint8_t kind, uint64_t file)
{
	struct store_segments *g;

	if (kind == FILE_IMAGE)
		return store_image(s, file);
	assert(kind >= FILE_JOURNAL && kind <= FILE_ACTIVITY);
	g = &s->segments[kind - FILE_JOURNAL];
	return file < g->count ? g->slots[file] : NULL;
}

int store_segment_set(struct store *s, uint8_t kind, uint64_t slot, struct store_file *f)
{
	struct store_segments *g = &s->segments[kind - FILE_JOURNAL];

	if (slot >= STORE_SLOTS_MAX)
		return -EINVAL;
	if (slot >= g->count) {
		size_t count = slot + 64;
		struct store_file **slots = realloc(g->slots, count * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		memset(slots + g->count, 0, (count - g->count) * sizeof(*slots));
		g->slots = slots;
		g->count = count;
	}
	g->slots[slot] = f;
	return 0;
}

struct store_file *store_file_new(uint64_t id)
{
	struct store_file *f = calloc(1, sizeof(*f));

	if (f) {
		f->id = id;
		f->fd = f->dfd = -1;
		f->align_mem = f->align_off = BLOCK;
	}
	return f;
}

void store_file_close(struct store_file *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	if (f->dfd >= 0)
		close(f->dfd);
	store_device_free(f->device);
	free(f);
}

/* ---- requests ---- */

static void store_start(struct store *s, struct io *io);

static void op_cqe(struct ring_op *rop, int res, unsigned flags)
{
	struct store_op *op = (struct store_op *)rop;

	(void)flags;
	op->step(op, res);
}

struct io_uring_sqe *store_sqe(struct store_op *op, void (*step)(struct store_op *op, int res))
{
	op->op.fn = op_cqe;
	op->step = step;
	return ring_sqe(op->s->ring, &op->op);
}

static void op_put(struct store_op *op)
{
	struct store *s = op->s;
	struct io *io = s->waiting;

	op->io = NULL;
	op->next = s->free_ops;
	s->free_ops = op;
	if (!io)
		return;
	s->waiting = io->next;
	if (!s->waiting)
		s->waiting_tail = &s->waiting;
	store_start(s, io);
}

void store_finish(struct store_op *op, int result)
{
	struct io *io = op->io;

	assert(result <= 0);
	io->result = result;
	op_put(op);
	io->done(io);
}

static void done_drain(struct ring_op *rop, int res, unsigned flags)
{
	struct store *s = (struct store *)((char *)rop - offsetof(struct store, done_op));
	struct io *io = s->done;

	(void)res, (void)flags;
	s->done_armed = false;
	s->done = NULL;
	s->done_tail = &s->done;
	while (io) {
		struct io *next = io->next;

		io->done(io);
		io = next;
	}
}

void store_finish_later(struct store_op *op, int result)
{
	struct store *s = op->s;
	struct io *io = op->io;

	assert(result <= 0);
	io->result = result;
	io->next = NULL;
	*s->done_tail = io;
	s->done_tail = &io->next;
	if (!s->done_armed) {
		s->done_armed = true;
		s->done_op.fn = done_drain;
		io_uring_prep_nop(ring_sqe(s->ring, &s->done_op));
	}
	op_put(op);
}

static void store_start(struct store *s, struct io *io)
{
	struct store_op *op = s->free_ops;

	assert(op);
	s->free_ops = op->next;
	op->io = io;
	op->retries = 0;
	op->buffered = false;
	op->stage = 0;
	op->pos = op->end = 0;
	op->file = store_file_of(s, io->kind, io->file);
	switch (io->op) {
	case IO_CREATE:
	case IO_REMOVE:
	case IO_RENAME:
	case IO_CLOSE:
	case IO_ADOPT:
	case IO_DIRSYNC: store_name_start(op); return;
	default: break;
	}
	if (!op->file)
		store_finish_later(op, -ENOENT);
	else
		store_io_start(op);
}

void store_submit(struct store *s, struct io *io)
{
	assert(io->done);
	io->next = NULL;
	io->progress = 0;
	io->bounce = NULL;
	io->result = 0;
	if (io->op == IO_STATE) {
		store_state_submit(s, io);
	} else if (s->free_ops) {
		store_start(s, io);
	} else {
		*s->waiting_tail = io;
		s->waiting_tail = &io->next;
	}
}

int store_read_now(struct store *s, enum file_kind kind, uint64_t file, uint64_t off, void *buf,
                   size_t len)
{
	struct store_file *f = store_file_of(s, (uint8_t)kind, file);
	size_t got = 0;

	if (!f)
		return -ENOENT;
	while (got < len) {
		ssize_t n = pread(f->fd, (char *)buf + got, len - got, (off_t)(off + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (size_t)n;
	}
	memset((char *)buf + got, 0, len - got);
	return 0;
}

/* ---- attributes, for fs/ ---- */

int store_statvfs(struct store *s, struct statvfs *st)
{
	return fstatvfs(s->source_fd, st) ? -errno : 0;
}

int store_image_stat(struct store *s, uint64_t id, struct stat *st)
{
	struct store_file *f = store_image(s, id);

	if (!f)
		return -ENOENT;
	if (fstat(f->fd, st))
		return -errno;
	if (f->device) { /* in the mount it is a disk in a file like any other */
		st->st_mode = S_IFREG | (st->st_mode & 07777);
		st->st_rdev = 0;
		st->st_nlink = 1;
		st->st_blocks = (blkcnt_t)(f->size / 512);
	}
	return 0;
}

int store_source_stat(struct store *s, struct stat *st)
{
	return fstat(s->source_fd, st) ? -errno : 0;
}

int store_image_chmod(struct store *s, uint64_t id, unsigned mode)
{
	struct store_file *f = store_image(s, id);

	if (!f)
		return -ENOENT;
	return fchmod(f->fd, mode & 07777) ? -errno : 0;
}

int store_image_utimens(struct store *s, uint64_t id, const struct timespec ts[2])
{
	struct store_file *f = store_image(s, id);

	if (!f)
		return -ENOENT;
	return futimens(f->fd, ts) ? -errno : 0;
}

int store_image_chown(struct store *s, uint64_t id, unsigned uid, unsigned gid)
{
	struct store_file *f = store_image(s, id);

	if (!f)
		return -ENOENT;
	return fchown(f->fd, uid, gid) ? -errno : 0;
}

bool store_all_direct(const struct store *s)
{
	return s->all_direct;
}

/* ---- life cycle ---- */

const struct boot *store_boot(struct store *s)
{
	return &s->boot;
}

void store_boot_done(struct store *s)
{
	free(s->boot_images);
	free(s->boot_segments[0]);
	free(s->boot_segments[1]);
	free(s->boot_state);
	s->boot_images = NULL;
	s->boot_segments[0] = s->boot_segments[1] = NULL;
	s->boot_state = NULL;
	memset(&s->boot, 0, sizeof(s->boot));
}

static int store_alloc(struct store *s)
{
	s->source_fd = s->dot_fd = s->seg_fd = s->lock_fd = s->seg_lock_fd = s->ids_fd = -1;
	s->waiting_tail = &s->waiting;
	s->done_tail = &s->done;
	s->state_tail = &s->state;
	s->all_direct = true;
	s->ops = calloc(STORE_OPS_MAX, sizeof(*s->ops));
	s->zeroes = mmap(NULL, STORE_ZERO_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!s->ops || s->zeroes == MAP_FAILED) {
		s->zeroes = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; i < STORE_OPS_MAX; i++) {
		s->ops[i].s = s;
		s->ops[i].next = s->free_ops;
		s->free_ops = &s->ops[i];
	}
	return 0;
}

struct store *store_open(struct ring *ring, const char *source, const char *journal, int *error,
                         char *err, size_t err_size)
{
	struct store *s = calloc(1, sizeof(*s));

	*error = -ENOMEM;
	snprintf(err, err_size, "out of memory");
	if (!s)
		return NULL;
	s->ring = ring;
	s->source = strdup(source);
	if (store_alloc(s) || !s->source)
		goto fail;
	*error = store_dirs_open(s, journal, err, err_size);
	if (!*error)
		*error = store_scan(s, err, err_size);
	if (!*error)
		return s;
fail:
	store_close(s);
	return NULL;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Nothing may be under way. The locks go last: then the next daemon may come. */
void store_close(struct store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < STORE_BUCKETS; i++) {
		while (s->images[i]) {
			struct store_file *f = s->images[i];

			s->images[i] = f->next;
			store_file_close(f);
		}
	}
	for (size_t i = 0; s->ops && i < STORE_OPS_MAX; i++)
		if (s->ops[i].making) /* the end came first */
			store_file_close(s->ops[i].file);
	for (int k = 0; k < 3; k++) {
		for (size_t i = 0; i < s->segments[k].count; i++)
			store_file_close(s->segments[k].slots[i]);
		free(s->segments[k].slots);
	}
	store_boot_done(s);
	if (s->zeroes)
		munmap(s->zeroes, STORE_ZERO_LEN);
	free(s->ops);
	close_fd(s->ids_fd);
	/* The locks go with the process: who waits for them finds it gone. */
	close_fd(s->seg_fd);
	close_fd(s->dot_fd);
	close_fd(s->source_fd);
	free(s->devices);
	free(s->source);
	free(s->journal);
	free(s);
}
