/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data: reads, writes, syncs, space. O_DIRECT where offset, length and memory allow it
 * and the end of file is not touched, else the page cache through a second descriptor
 * (the kernel keeps the two coherent for requests that do not overlap in flight, and
 * the core's claims see to that). Runs from the event loop.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_int.h"

#define OP_FTRUNCATE 55 /* IORING_OP_FTRUNCATE, Linux 6.9: younger than our liburing */

/* True: give it to the kernel once more. */
static bool again(struct store_op *op, int res)
{
	return (res == -EINTR || res == -EAGAIN) && ++op->retries < STORE_RETRIES_MAX;
}

static void grown(struct store_file *f, uint64_t end)
{
	if (end > f->size)
		f->size = end;
}

static bool fits_direct(const struct store_op *op, uint64_t off, uint64_t len, const void *buf)
{
	const struct store_file *f = op->file;

	return f->dfd >= 0 && !op->buffered && !((off | len) & (f->align_off - 1)) &&
	       !((uintptr_t)buf & (f->align_mem - 1)) && off + len <= f->size;
}

/* ---- read and write ---- */

static void rw_step(struct store_op *op, int res);

static void rw_submit(struct store_op *op);

/*
 * The gate: direct and buffered writes of one file are never in flight together, even where their ranges do not
 * overlap. The page cache works in folios, which may be large: one that a buffered write dirties while a direct write
 * beside it ends cannot be invalidated, and the kernel then fails the next fdatasync with EIO.
 */
static bool gate_enter(struct store_op *op, bool direct, void (*resume)(struct store_op *op))
{
	struct store_file *f = op->file;

	if (op->through == 1 + direct)
		return true;
	if (f->gate || (direct ? f->buffered_writes : f->direct_writes)) {
		op->next = NULL;
		op->resume = resume;
		if (f->gate)
			f->gate_tail->next = op;
		else
			f->gate = op;
		f->gate_tail = op;
		return false;
	}
	op->through = 1 + direct;
	*(direct ? &f->direct_writes : &f->buffered_writes) += 1;
	return true;
}

/* Those that waited go on in order, as far as they are of one kind. */
static void gate_leave(struct store_op *op)
{
	struct store_file *f = op->file;

	if (!op->through)
		return;
	*(op->through == 2 ? &f->direct_writes : &f->buffered_writes) -= 1;
	op->through = 0;
	struct store_op *list = f->gate;

	f->gate = f->gate_tail = NULL;
	while (list) {
		struct store_op *first = list;

		list = first->next;
		first->next = NULL;
		first->resume(first); /* enters, or waits again behind those before it */
	}
}

static void rw_finish(struct store_op *op, int result)
{
	gate_leave(op);
	store_finish(op, result);
}

static void rw_submit(struct store_op *op)
{
	struct io *io = op->io;
	uint64_t off = io->off + io->progress, len = io->len - io->progress;
	char *buf = (char *)io->buf + io->progress;
	bool direct = fits_direct(op, off, len, buf);
	int fd = direct ? op->file->dfd : op->file->fd;

	if (io->op == IO_WRITE) {
		if (op->through && op->through != 1 + direct)
			gate_leave(op); /* the rest goes the other way */
		if (!gate_enter(op, direct, rw_submit))
			return;
	}
	struct io_uring_sqe *sqe = store_sqe(op, rw_step);

	io->fd = fd;
	if (io->op == IO_READ)
		io_uring_prep_read(sqe, fd, buf, (unsigned)len, off);
	else
		io_uring_prep_write(sqe, fd, buf, (unsigned)len, off);
}

static void rw_failed(struct store_op *op, int res)
{
	struct store_file *f = op->file;
	struct stat st;

	/* The file system refuses this one request by O_DIRECT: the page cache takes it. */
	if (res == -EINVAL && op->io->fd == f->dfd) {
		op->buffered = true;
		rw_submit(op);
		return;
	}
	/* Part of it may have got there, and made the file longer. */
	if (op->io->op == IO_WRITE && !f->device && !fstat(f->fd, &st))
		f->size = (uint64_t)st.st_size;
	rw_finish(op, res);
}

static void rw_step(struct store_op *op, int res)
{
	struct io *io = op->io;

	if (again(op, res)) {
		rw_submit(op);
	} else if (res < 0) {
		rw_failed(op, res);
	} else if (!res && io->op == IO_READ) { /* the end of file */
		memset((char *)io->buf + io->progress, 0, io->len - io->progress);
		rw_finish(op, 0);
	} else if (!res) {
		rw_failed(op, -EIO);
	} else {
		io->progress += (uint64_t)res;
		op->retries = 0;
		if (io->op == IO_WRITE)
			grown(op->file, io->off + io->progress);
		if (io->progress < io->len)
			rw_submit(op);
		else
			rw_finish(op, 0);
	}
}

/* ---- zeroes written by hand, where fallocate() can't ---- */

/* Writes [op->pos, op->end), then finishes op. */
static void store_zero(struct store_op *op, int res)
{
	struct store_file *f = op->file;
	uint64_t len;
	bool direct;

	if (res > 0) {
		op->pos += (uint64_t)res;
		op->retries = 0;
		grown(f, op->pos);
	} else if (res == -EINVAL && !op->buffered) {
		op->buffered = true;
	} else if (res < 0 && !again(op, res)) {
		store_finish(op, res);
		return;
	}
	if (op->pos >= op->end) {
		store_finish(op, 0);
		return;
	}
	len = op->end - op->pos;
	if (len > STORE_ZERO_LEN)
		len = STORE_ZERO_LEN;
	direct = fits_direct(op, op->pos, len, op->s->zeroes);
	io_uring_prep_write(store_sqe(op, store_zero), direct ? f->dfd : f->fd, op->s->zeroes,
	                    (unsigned)len, op->pos);
}

static void zero_instead(struct store_op *op)
{
	struct io *io = op->io;
	struct store_file *f = op->file;
	uint64_t end = io->off + io->len;

	/* Growing needs no zeroes: what lies behind the end reads as such. */
	if (io->op == IO_ZERO && !io->keep_size && end > f->size) {
		uint64_t old = f->size;

		if (ftruncate(f->fd, (off_t)end)) {
			store_finish(op, -errno);
			return;
		}
		f->size = end;
		end = old;
	}
	op->pos = io->off;
	op->end = end < f->size ? end : f->size;
	store_zero(op, 0);
}

/* ---- space ---- */

static void falloc_submit(struct store_op *op);

static void falloc_step(struct store_op *op, int res)
{
	struct io *io = op->io;

	if (again(op, res)) {
		falloc_submit(op);
	} else if (res == -EOPNOTSUPP && io->op != IO_ALLOC) {
		zero_instead(op);
	} else {
		if (res >= 0 && io->op != IO_PUNCH && !io->keep_size)
			grown(op->file, io->off + io->len);
		store_finish(op, res < 0 ? res : 0);
	}
}

static void falloc_submit(struct store_op *op)
{
	struct io *io = op->io;
	int mode = 0;

	if (io->op == IO_PUNCH)
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	else if (io->op == IO_ZERO)
		mode = FALLOC_FL_ZERO_RANGE | (io->keep_size ? FALLOC_FL_KEEP_SIZE : 0);
	else if (io->keep_size)
		mode = FALLOC_FL_KEEP_SIZE;
	io_uring_prep_fallocate(store_sqe(op, falloc_step), op->file->fd, mode, (off_t)io->off,
	                        (off_t)io->len);
}

/* ---- the same on a block device ---- */

#define DEVICE_PIECE (1ull << 30) /* bytes zeroed at a time: where the device has no command for it, they are written */

static void device_zero_step(struct store_op *op, int res);

/* [op->pos, op->end), at least a byte: whole blocks by fallocate(), what is left of blocks at both ends by hand. */
static void device_zero(struct store_op *op)
{
	struct store_file *f = op->file;
	uint64_t mask = f->device->block - 1, last = op->end & ~mask;
	int mode = op->io->op == IO_PUNCH && !op->buffered ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;

	if (op->pos & mask || op->pos >= last) {
		if (!gate_enter(op, false, device_zero))
			return;
		op->stop = op->pos & mask ? (op->pos | mask) + 1 : op->end;
		if (op->stop > op->end)
			op->stop = op->end;
		io_uring_prep_write(store_sqe(op, device_zero_step), f->fd, op->s->zeroes, (unsigned)(op->stop - op->pos),
		                    op->pos);
		return;
	}
	op->stop = last - op->pos > DEVICE_PIECE ? op->pos + DEVICE_PIECE : last;
	io_uring_prep_fallocate(store_sqe(op, device_zero_step), f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)op->pos,
	                        (off_t)(op->stop - op->pos));
}

static void device_zero_step(struct store_op *op, int res)
{
	/* PUNCH_HOLE frees what is zero afterwards for certain, or is refused: then zeroes are written. */
	bool refused = res == -EOPNOTSUPP && op->io->op == IO_PUNCH && !op->buffered;

	op->buffered |= refused;
	if (res >= 0)
		op->pos = res ? op->pos + (uint64_t)res : op->stop; /* write() says how much, fallocate() 0 */
	if ((res < 0 && !refused && !again(op, res)) || op->pos >= op->end)
		rw_finish(op, res < 0 ? res : 0);
	else
		device_zero(op);
}

/* The size stays, and all of it is there: only what is to read as zeroes has something to do. */
static void device_space(struct store_op *op)
{
	struct io *io = op->io;
	uint64_t end = io->off + io->len, size = op->file->size;

	if (io->op == IO_TRUNC) {
		store_finish_later(op, io->len == size ? 0 : -EFBIG);
		return;
	}
	op->pos = io->off;
	op->end = end < size ? end : size;
	if (io->op == IO_ALLOC || op->pos >= op->end)
		store_finish_later(op, end > size && !io->keep_size ? -ENOSPC : 0);
	else
		device_zero(op);
}

static void trunc_step(struct store_op *op, int res)
{
	struct io *io = op->io;

	if (res == -EINVAL && !op->s->no_ftruncate_op) {
		op->s->no_ftruncate_op = true; /* an older kernel: from now on by hand */
		res = ftruncate(op->file->fd, (off_t)io->len) ? -errno : 0;
	}
	if (!res)
		op->file->size = io->len;
	store_finish(op, res);
}

static void trunc_start(struct store_op *op)
{
	struct io *io = op->io;
	int err;

	if (!op->s->no_ftruncate_op) {
		io_uring_prep_rw(OP_FTRUNCATE, store_sqe(op, trunc_step), op->file->fd, NULL, 0,
		                 io->len);
		return;
	}
	err = ftruncate(op->file->fd, (off_t)io->len) ? -errno : 0;
	if (!err)
		op->file->size = io->len;
	store_finish_later(op, err);
}

static int extent_find(const struct store_file *f, struct io *io)
{
	off_t off = (off_t)io->off, next;
	uint64_t run;

	io->hole = false;
	next = lseek(f->fd, off, SEEK_DATA);
	if (next < 0 && errno == ENXIO) { /* nothing but hole up to the end */
		io->hole = true;
		return 0;
	}
	if (next < 0 && errno == EINVAL) /* the file system can't say */
		return 0;
	if (next < 0)
		return -errno;
	io->hole = next > off;
	if (!io->hole) {
		next = lseek(f->fd, off, SEEK_HOLE);
		if (next <= off)
			return next < 0 ? -errno : 0;
	}
	run = (uint64_t)(next - off);
	if (run < io->len)
		io->len = run;
	return 0;
}

static int times_read(const struct store_file *f, struct io_times *t)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return -errno;
	t->mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
	t->ctime_ns = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec;
	return 0;
}

static void sync_step(struct store_op *op, int res)
{
	if (res == -EINTR && ++op->retries < STORE_RETRIES_MAX)
		io_uring_prep_fsync(store_sqe(op, sync_step), op->file->fd, IORING_FSYNC_DATASYNC);
	else
		store_finish(op, res < 0 ? res : 0);
}

void store_io_start(struct store_op *op)
{
	struct io *io = op->io;

	switch (io->op) {
	case IO_READ:
	case IO_WRITE:
		assert(io->kind == FILE_IMAGE || !((io->off | io->len) & (BLOCK - 1)) ||
		       io->op == IO_READ);
		assert(io->len <= UINT32_MAX / 2);
		if (!io->len)
			store_finish_later(op, 0);
		else
			rw_submit(op);
		return;
	case IO_SYNC:
		/* By the buffered descriptor: it hears of failed write-back too. */
		io_uring_prep_fsync(store_sqe(op, sync_step), op->file->fd, IORING_FSYNC_DATASYNC);
		return;
	case IO_ALLOC:
	case IO_PUNCH:
	case IO_ZERO:
		if (!io->len)
			store_finish_later(op, 0);
		else if (op->file->device)
			device_space(op);
		else
			falloc_submit(op);
		return;
	case IO_TRUNC: op->file->device ? device_space(op) : trunc_start(op); return;
	case IO_STAT: store_finish_later(op, times_read(op->file, io->buf)); return;
	case IO_EXTENT: store_finish_later(op, extent_find(op->file, io)); return;
	default: assert(0);
	}
}
