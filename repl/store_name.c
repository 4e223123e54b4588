/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files made, renamed, removed; directories synced; the state file replaced. What only
 * touches a directory in memory is done at once, what waits for a disk goes through the
 * ring, step by step. Runs from the event loop.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "store_int.h"

/* ---- images ---- */

static int image_where(struct store *s, const char *name, uint64_t id, char hidden[32],
                       const char **out)
{
	if (name && *name) {
		*out = name;
		return s->source_fd;
	}
	store_hidden_name(hidden, id);
	*out = hidden;
	return s->dot_fd;
}

static void image_created(struct store_op *op, int res)
{
	struct store_file *f = op->file;
	char hidden[32];
	const char *name;
	int dir;

	if (res == -EINTR) {
		io_uring_prep_fsync(store_sqe(op, image_created), f->fd, 0);
		return;
	}
	if (res < 0) { /* no file without an id that lasts */
		dir = image_where(op->s, f->name, f->id, hidden, &name);
		(void)unlinkat(dir, name, 0);
		store_image_forget(op->s, f);
		store_file_close(f);
	}
	store_finish(op, res < 0 ? res : 0);
}

static void image_create(struct store_op *op)
{
	struct io *io = op->io;
	struct store *s = op->s;
	struct store_file *f;
	char hidden[32];
	const char *name;
	int dir = image_where(s, io->name, io->file, hidden, &name), err;

	if (op->file || (io->name && strlen(io->name) > 255)) {
		store_finish_later(op, op->file ? -EEXIST : -ENAMETOOLONG);
		return;
	}
	f = store_file_new(io->file);
	if (!f) {
		store_finish_later(op, -ENOMEM);
		return;
	}
	err = store_file_open(s, f, dir, name, O_CREAT | O_EXCL, 0);
	if (!err && io->name)
		memcpy(f->name, io->name, strlen(io->name) + 1);
	if (!err)
		err = store_id_write(s, f->fd, f->id);
	if (err) {
		if (f->fd >= 0) /* ours: O_EXCL made it */
			(void)unlinkat(dir, name, 0);
		store_file_close(f);
		store_finish_later(op, err);
		return;
	}
	op->file = f;
	store_image_add(s, f);
	/* After this the file and its id are durable; its name is at the next IO_DIRSYNC. */
	io_uring_prep_fsync(store_sqe(op, image_created), f->fd, 0);
}

static int image_remove(struct store *s, struct store_file *f)
{
	char hidden[32];
	const char *name;
	int dir = image_where(s, f->name, f->id, hidden, &name);

	if (f->unlinked)
		return -ENOENT;
	if (unlinkat(dir, name, 0))
		return -errno;
	f->unlinked = true;
	return 0;
}

static int image_rename(struct store *s, struct store_file *f, const char *to)
{
	char from_hidden[32], to_hidden[32];
	const char *from_name, *to_name;
	int from = image_where(s, f->name, f->id, from_hidden, &from_name);
	int dir = image_where(s, to, f->id, to_hidden, &to_name);
	struct store_file *victim = to && *to ? store_image_named(s, to) : NULL;
	struct stat st;

	if (f->unlinked)
		return -ENOENT;
	if (victim == f || (from == dir && !strcmp(from_name, to_name)))
		return 0;
	if (strlen(to_name) > 255)
		return -ENAMETOOLONG;
	/* Something there that is not an image of ours (a link, a fifo) is not ours to replace. */
	if (victim && victim->device)
		return -EEXIST;
	if (!victim && !fstatat(dir, to_name, &st, AT_SYMLINK_NOFOLLOW) && !S_ISREG(st.st_mode))
		return -EEXIST;
	if (renameat(from, from_name, dir, to_name))
		return -errno;
	if (victim)
		victim->unlinked = true;
	snprintf(f->name, sizeof(f->name), "%s", to ? to : "");
	return 0;
}

static void close_step(struct store_op *op, int res)
{
	struct store_file *f = op->file;

	(void)res; /* the number is free whatever it said; syncs have their own verdict */
	if (op->stage++ == 0 && f->dfd >= 0) {
		io_uring_prep_close(store_sqe(op, close_step), f->dfd);
		return;
	}
	f->fd = f->dfd = -1;
	store_file_close(f);
	store_finish(op, 0);
}

/* The last close of a removed image frees its blocks, which takes time: by a worker. */
static void image_close_fds(struct store_op *op)
{
	struct io_uring_sqe *sqe;

	store_image_forget(op->s, op->file);
	sqe = store_sqe(op, close_step);
	io_uring_prep_close(sqe, op->file->fd);
	sqe->flags |= IOSQE_ASYNC;
}

/* ---- segments: made as t<kind><slot>, renamed when they are whole and durable ---- */

enum { SEG_ALLOC, SEG_ZERO, SEG_SYNC, SEG_DIR };

static void segment_names(const struct io *io, char tmp[34], char name[32])
{
	store_segment_name(name, io->kind, io->file);
	tmp[0] = 't';
	memcpy(tmp + 1, name, 32);
}

static void segment_failed(struct store_op *op, int res)
{
	char tmp[34], name[32];

	segment_names(op->io, tmp, name);
	(void)unlinkat(op->s->seg_fd, op->stage == SEG_DIR ? name : tmp, 0);
	op->making = false;
	store_file_close(op->file);
	store_finish(op, res);
}

static void segment_step(struct store_op *op, int res);

static bool on_tmpfs(int fd)
{
	struct statfs st;

	return !fstatfs(fd, &st) && st.f_type == TMPFS_MAGIC;
}

static void segment_zero(struct store_op *op)
{
	struct store_file *f = op->file;
	uint64_t left = op->io->len - op->pos;
	unsigned len = left > STORE_ZERO_LEN ? STORE_ZERO_LEN : (unsigned)left;

	io_uring_prep_write(store_sqe(op, segment_step), f->dfd >= 0 ? f->dfd : f->fd,
	                    op->s->zeroes, len, op->pos);
}

static int segment_named(struct store_op *op)
{
	char tmp[34], name[32];

	segment_names(op->io, tmp, name);
	return renameat(op->s->seg_fd, tmp, op->s->seg_fd, name) ? -errno : 0;
}

static void segment_made(struct store_op *op)
{
	int err = store_segment_set(op->s, op->io->kind, op->io->file, op->file);

	op->making = err;
	if (err)
		segment_failed(op, err);
	else
		store_finish(op, 0);
}

/* res: of the step that op->stage names. */
static void segment_step(struct store_op *op, int res)
{
	if ((res == -EINTR || res == -EAGAIN) && ++op->retries < STORE_RETRIES_MAX)
		res = op->stage == SEG_ALLOC ? -EOPNOTSUPP : 0; /* zeroes allocate too; once more */
	else if (res >= 0 && op->stage == SEG_ZERO)
		op->pos += (uint64_t)res;
	else if (res >= 0 || (res == -EOPNOTSUPP && op->stage == SEG_ALLOC))
		op->stage++;
	else {
		segment_failed(op, res);
		return;
	}
	/* In memory there is no unwritten extent to convert: allocated is enough. */
	if (op->stage == SEG_ZERO && (op->pos >= op->io->len || (res >= 0 && !op->pos && on_tmpfs(op->s->seg_fd))))
		op->stage++;
	switch (op->stage) {
	case SEG_ZERO: segment_zero(op); return;
	case SEG_SYNC:
		/* After this a commit's fdatasync has no blocks or sizes left to write. */
		io_uring_prep_fsync(store_sqe(op, segment_step), op->file->fd, 0);
		return;
	case SEG_DIR:
		op->file->size = op->io->len;
		res = segment_named(op);
		if (res)
			segment_failed(op, res);
		else /* After this the segment is found by the next start. */
			io_uring_prep_fsync(store_sqe(op, segment_step), op->s->seg_fd, 0);
		return;
	default: segment_made(op);
	}
}

static void segment_create(struct store_op *op)
{
	struct io *io = op->io;
	char tmp[34], name[32];
	int err;

	if (op->file || io->file >= STORE_SLOTS_MAX || (io->len & (BLOCK - 1))) {
		store_finish_later(op, op->file ? -EEXIST : -EINVAL);
		return;
	}
	op->file = store_file_new(io->file);
	segment_names(io, tmp, name);
	(void)unlinkat(op->s->seg_fd, tmp, 0); /* of an attempt that failed */
	err = op->file ? store_file_open(op->s, op->file, op->s->seg_fd, tmp, O_CREAT | O_EXCL, 0)
	               : -ENOMEM;
	if (err) {
		store_file_close(op->file);
		store_finish_later(op, err);
		return;
	}
	op->making = true;
	op->stage = SEG_ALLOC;
	io_uring_prep_fallocate(store_sqe(op, segment_step), op->file->fd, 0, 0, (off_t)io->len);
}

static int segment_remove(struct store_op *op)
{
	struct store_file *f = op->file;
	char name[32];

	store_segment_name(name, op->io->kind, op->io->file);
	if (unlinkat(op->s->seg_fd, name, 0))
		return -errno;
	(void)store_segment_set(op->s, op->io->kind, op->io->file, NULL); /* the slot exists */
	op->file = NULL;
	store_file_close(f);
	return 0;
}

/* ---- directories ---- */

static void dirsync_step(struct store_op *op, int res)
{
	if (res < 0 && res != -EINTR) {
		store_finish(op, res);
	} else if (res == -EINTR || op->stage++ == 0) {
		io_uring_prep_fsync(store_sqe(op, dirsync_step),
		                    op->stage ? op->s->dot_fd : op->s->source_fd, 0);
	} else {
		store_finish(op, 0);
	}
}

void store_name_start(struct store_op *op)
{
	struct io *io = op->io;
	bool image = io->kind == FILE_IMAGE;

	if (io->op == IO_DIRSYNC) {
		io_uring_prep_fsync(store_sqe(op, dirsync_step), op->s->source_fd, 0);
	} else if (io->op == IO_CREATE && image) {
		image_create(op);
	} else if (io->op == IO_CREATE) {
		segment_create(op);
	} else if (io->op == IO_ADOPT) {
		store_finish_later(op, store_device_adopt(op->s, io));
	} else if (!op->file) {
		store_finish_later(op, -ENOENT);
	} else if (io->op == IO_REMOVE) {
		store_finish_later(op, image ? image_remove(op->s, op->file) : segment_remove(op));
	} else if (io->op == IO_RENAME) {
		assert(image);
		store_finish_later(op, image_rename(op->s, op->file, io->name));
	} else {
		assert(io->op == IO_CLOSE && image);
		image_close_fds(op);
	}
}

/* ---- the state file: one replacement after the other ---- */

enum { STATE_WRITE, STATE_FSYNC, STATE_DIR, STATE_DONE };

static void state_next(struct store *s);

static void state_done(struct store *s, int result)
{
	struct io *io = s->state;

	s->state = io->next;
	if (!s->state)
		s->state_tail = &s->state;
	else
		state_next(s);
	io->result = result;
	io->done(io);
}

static void state_submit(struct store *s)
{
	struct io *io = s->state;
	struct io_uring_sqe *sqe = ring_sqe(s->ring, &s->state_op);

	if (io->res)
		io_uring_prep_nop(sqe); /* the error comes home by the loop */
	else if (s->state_stage == STATE_WRITE)
		io_uring_prep_write(sqe, io->fd, (char *)io->buf + io->progress,
		                    (unsigned)(io->len - io->progress), io->progress);
	else if (s->state_stage == STATE_FSYNC)
		io_uring_prep_fsync(sqe, io->fd, 0);
	else /* After this the new state outlives a crash; before, the old one does. */
		io_uring_prep_fsync(sqe, s->dot_fd, 0);
}

static int state_renamed(struct store *s, struct io *io)
{
	int err = close(io->fd) ? -errno : 0;

	io->fd = -1;
	if (!err && renameat(s->dot_fd, "state.tmp", s->dot_fd, "state"))
		err = -errno;
	return err;
}

static void state_step(struct ring_op *rop, int res, unsigned flags)
{
	struct store *s = (struct store *)((char *)rop - offsetof(struct store, state_op));
	struct io *io = s->state;

	(void)flags;
	if (io->res)
		res = io->res;
	if ((res == -EINTR || res == -EAGAIN) && ++s->state_retries < STORE_RETRIES_MAX) {
		state_submit(s);
		return;
	}
	if (!res && s->state_stage == STATE_WRITE && io->len)
		res = -EIO;
	if (res >= 0 && s->state_stage == STATE_WRITE)
		io->progress += (uint64_t)res;
	if (res >= 0 && (s->state_stage != STATE_WRITE || io->progress >= io->len))
		s->state_stage++;
	if (res >= 0 && s->state_stage == STATE_DIR)
		res = state_renamed(s, io);
	if (res >= 0 && s->state_stage != STATE_DONE) {
		state_submit(s);
		return;
	}
	if (io->fd >= 0)
		close(io->fd);
	state_done(s, res < 0 ? res : 0);
}

/* Start on the first of the queue; called from the loop or from submit. */
static void state_next(struct store *s)
{
	struct io *io = s->state;

	s->state_op.fn = state_step;
	s->state_stage = STATE_WRITE;
	s->state_retries = 0;
	io->fd = store_openat(s->dot_fd, "state.tmp", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	io->res = io->fd < 0 ? io->fd : 0;
	state_submit(s);
}

void store_state_submit(struct store *s, struct io *io)
{
	bool idle = !s->state;

	*s->state_tail = io;
	s->state_tail = &io->next;
	if (idle)
		state_next(s);
}
