/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records what a real daemon does to its disk. Linked into build/crash/colofs,
 * where ld --wrap leads the daemon's system calls through here: what it puts
 * into io_uring (looked at between the daemon's prep and the kernel's enter),
 * the few calls that it makes directly, and each DONE that it hands to the
 * link. Nothing is changed, delayed or reordered. A call of a kind not known
 * here, on a file that is recorded, ends the daemon: no write goes unseen.
 *
 * COLOFS_RECORD: the log. COLOFS_RECORD_SOURCE: SOURCE. COLOFS_MUTANT: a fault
 * of repl/mutant.h to wake. On the event loop's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../../repl/frame.h"
#include "../../repl/net.h"
#include "../../repl/ring.h"
#include "log.h"

#define FDS_MAX 65536
#define FILES_MAX 65536
#define OP_FTRUNCATE 55 /* IORING_OP_FTRUNCATE, younger than our liburing */

const char *mutant; /* repl/mutant.h */

static int log_fd = -1;
static struct stat source;
static uint64_t serial_of[FDS_MAX]; /* open descriptor -> file; 0: not recorded */
static uint64_t inode_of[FILES_MAX]; /* file -> inode number, of the last one that bore it */
static uint64_t files, requests;

ssize_t __real_write(int fd, const void *buf, size_t len);
int __real_close(int fd);
long __real_syscall(long number, ...);
int __real_open64(const char *path, int flags, ...);
int __real_openat64(int dir, const char *name, int flags, ...);
int __real_mkdirat(int dir, const char *name, mode_t mode);
int __real_renameat(int from, const char *name, int to, const char *to_name);
int __real_unlinkat(int dir, const char *name, int flags);
int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_ftruncate64(int fd, off_t len);
int __real_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
int __real_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait,
                                            struct __kernel_timespec *ts, sigset_t *mask);
void __real_net_tx(struct net *net, int link, const struct iovec *iov, int count);

ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __wrap_close(int fd);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *name, int flags, ...);
int __wrap_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_renameat(int from, const char *name, int to, const char *to_name);
int __wrap_unlinkat(int dir, const char *name, int flags);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait,
                                            struct __kernel_timespec *ts, sigset_t *mask);
void __wrap_net_tx(struct net *net, int link, const struct iovec *iov, int count);

static void die(const char *what)
{
	fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
	abort();
}

/* ---- the log ---- */

static void put(struct entry e, const void *payload)
{
	static const char pad[8];
	struct iovec iov[3] = {
		{ &e, sizeof(e) },
		{ (void *)payload, e.payload },
		{ (void *)pad, entry_size(&e) - sizeof(e) - e.payload },
	};
	int saved = errno;

	if (log_fd < 0)
		return;
	e.magic = LOG_MAGIC;
	if (writev(log_fd, iov, 3) != (ssize_t)entry_size(&e))
		die("the log");
	errno = saved;
}

/* An earlier life of the same SOURCE was recorded in the same log: its numbers go on. */
static void resume(const char *path)
{
	int fd = __real_open64(path, O_RDONLY | O_CLOEXEC);
	struct entry e;

	for (off_t at = 0; fd >= 0 && pread(fd, &e, sizeof(e), at) == (ssize_t)sizeof(e); at += (off_t)entry_size(&e)) {
		if (e.id > requests)
			requests = e.id;
		if (e.type != E_ROOT && e.type != E_MKDIR && e.type != E_CREATE)
			continue;
		files = e.file;
		inode_of[files] = e.len;
	}
	if (fd >= 0)
		__real_close(fd);
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("COLOFS_RECORD"), *dir = getenv("COLOFS_RECORD_SOURCE");

	mutant = getenv("COLOFS_MUTANT");
	if (!path)
		return;
	if (!dir || stat(dir, &source))
		die("COLOFS_RECORD_SOURCE");
	resume(path);
	log_fd = __real_open64(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0)
		die(path);
	put((struct entry){ .type = E_LIFE }, NULL);
}

/* ---- files and descriptors ---- */

static uint64_t file_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? serial_of[fd] : 0;
}

static uint64_t file_new(uint64_t inode)
{
	if (++files == FILES_MAX)
		die("too many files");
	inode_of[files] = inode;
	return files;
}

/* The youngest: a number is used again once its file is gone. */
static uint64_t file_by_inode(uint64_t inode)
{
	for (uint64_t i = files; i > 0; i--)
		if (inode_of[i] == inode)
			return i;
	return 0;
}

/* What name in a recorded directory leads to, 0 if nothing. */
static uint64_t file_at(int dir, const char *name)
{
	struct stat st;
	int saved = errno;
	uint64_t file = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) ? 0 : file_by_inode(st.st_ino);

	errno = saved;
	return file;
}

static void opened(int dir, const char *name, int fd, bool existed, int flags)
{
	uint64_t parent = file_of(dir);
	struct stat st;

	if (fd < 0 || !parent || fstat(fd, &st))
		return;
	if (fd >= FDS_MAX)
		die("too many descriptors");
	if (!existed) {
		serial_of[fd] = file_new(st.st_ino);
		put((struct entry){ .type = E_CREATE, .file = files, .off = parent, .len = st.st_ino,
		                    .payload = strlen(name) + 1 }, name);
		return;
	}
	serial_of[fd] = file_by_inode(st.st_ino);
	if (!serial_of[fd])
		die("a file that was there before the recording began");
	if (flags & O_TRUNC) {
		put((struct entry){ .type = E_SUBMIT, .op = OP_TRUNC, .id = ++requests, .file = serial_of[fd] }, NULL);
		put((struct entry){ .type = E_DONE, .id = requests }, NULL);
	}
}

int __wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	struct stat st;
	int mode, fd;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	fd = __real_open64(path, flags, mode);
	if (fd < 0 || log_fd < 0 || !(flags & O_DIRECTORY) || fstat(fd, &st) || st.st_ino != source.st_ino ||
	    st.st_dev != source.st_dev)
		return fd;
	serial_of[fd] = file_by_inode(st.st_ino);
	if (!serial_of[fd]) {
		serial_of[fd] = file_new(st.st_ino);
		put((struct entry){ .type = E_ROOT, .file = files, .len = st.st_ino }, NULL);
	}
	return fd;
}

int __wrap_openat64(int dir, const char *name, int flags, ...)
{
	va_list ap;
	int mode, fd;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	fd = __real_openat64(dir, name, flags, mode);
	if (strcmp(name, ".")) /* that one is closedir()'s to close, and only read */
		opened(dir, name, fd, true, flags);
	return fd;
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const char *name = (const char *)b;
	struct stat st;
	bool existed;
	long res;

	if (number != SYS_openat2)
		return __real_syscall(number, a, b, c, d, e, f);
	existed = !fstatat((int)a, name, &st, AT_SYMLINK_NOFOLLOW);
	res = __real_syscall(number, a, b, c, d);
	opened((int)a, name, (int)res, existed, (int)((const struct open_how *)c)->flags);
	return res;
}

int __wrap_close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX)
		serial_of[fd] = 0;
	return __real_close(fd);
}

/* ---- names ---- */

int __wrap_mkdirat(int dir, const char *name, mode_t mode)
{
	int res = __real_mkdirat(dir, name, mode);
	struct stat st;

	if (!res && file_of(dir) && !fstatat(dir, name, &st, 0)) {
		file_new(st.st_ino);
		put((struct entry){ .type = E_MKDIR, .file = files, .off = file_of(dir), .len = st.st_ino,
		                    .payload = strlen(name) + 1 }, name);
	}
	return res;
}

int __wrap_renameat(int from, const char *name, int to, const char *to_name)
{
	uint64_t file = file_of(from) ? file_at(from, name) : 0;
	char both[600];
	int res = __real_renameat(from, name, to, to_name), len;

	if (res || !file)
		return res;
	len = snprintf(both, sizeof(both), "%s%c%s", name, 0, to_name);
	put((struct entry){ .type = E_RENAME, .file = file, .off = file_of(from), .len = file_of(to),
	                    .payload = (uint64_t)len + 1 }, both);
	return res;
}

int __wrap_unlinkat(int dir, const char *name, int flags)
{
	uint64_t file = file_of(dir) ? file_at(dir, name) : 0;
	int res = __real_unlinkat(dir, name, flags);

	if (!res && file)
		put((struct entry){ .type = E_UNLINK, .file = file, .off = file_of(dir), .payload = strlen(name) + 1 },
		    name);
	return res;
}

/* ---- data, by direct calls ---- */

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	uint64_t file = file_of(fd);
	ssize_t n = __real_write(fd, buf, len);

	if (file && n > 0) {
		uint64_t end = (uint64_t)lseek(fd, 0, SEEK_CUR);

		put((struct entry){ .type = E_SUBMIT, .op = OP_WRITE, .flags = EF_EXTENDS, .id = ++requests, .file = file,
		                    .off = end - (uint64_t)n, .len = (uint64_t)n, .payload = (uint64_t)n }, buf);
		put((struct entry){ .type = E_DONE, .id = requests, .len = (uint64_t)n }, NULL);
	}
	return n;
}

static int synced(int fd, int (*sync)(int fd), uint8_t flags)
{
	uint64_t file = file_of(fd), id = ++requests;
	int res;

	if (file)
		put((struct entry){ .type = E_SUBMIT, .op = OP_SYNC, .flags = flags, .id = id, .file = file }, NULL);
	res = sync(fd);
	if (file)
		put((struct entry){ .type = E_DONE, .id = id, .len = (uint64_t)(int64_t)res }, NULL);
	return res;
}

int __wrap_fsync(int fd)
{
	return synced(fd, __real_fsync, 0);
}

int __wrap_fdatasync(int fd)
{
	return synced(fd, __real_fdatasync, EF_DATA);
}

int __wrap_ftruncate64(int fd, off_t len)
{
	uint64_t file = file_of(fd);
	int res = __real_ftruncate64(fd, len);
	struct stat st;

	/* A file without a name is gone with the crash; the daemon tries with one how long files can be. */
	if (file && !res && !fstat(fd, &st) && st.st_nlink) {
		put((struct entry){ .type = E_SUBMIT, .op = OP_TRUNC, .id = ++requests, .file = file, .len = (uint64_t)len },
		    NULL);
		put((struct entry){ .type = E_DONE, .id = requests }, NULL);
	}
	return res;
}

int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
	uint64_t file = file_of(fd);
	int res = __real_fsetxattr(fd, name, value, size, flags);

	if (file && !res)
		put((struct entry){ .type = E_XATTR, .file = file, .payload = size }, value);
	return res;
}

/* ---- data, by io_uring ---- */

/* Stands in for the daemon's ring_op until its completion has been logged. */
struct request {
	struct ring_op op;
	struct ring_op *theirs;
	uint64_t id;
};

static void request_done(struct ring_op *op, int res, unsigned flags)
{
	struct request *r = (struct request *)op;
	struct ring_op *theirs = r->theirs;

	put((struct entry){ .type = E_DONE, .id = r->id, .len = (uint64_t)(int64_t)res }, NULL);
	free(r);
	theirs->fn(theirs, res, flags);
}

static void request_put(struct io_uring_sqe *sqe, struct entry e, const void *payload)
{
	struct request *r = malloc(sizeof(*r));

	if (!r)
		die("memory");
	e.type = E_SUBMIT;
	e.id = ++requests;
	e.file = file_of(sqe->fd);
	put(e, payload);
	*r = (struct request){ .op.fn = request_done, .theirs = (struct ring_op *)(uintptr_t)sqe->user_data, .id = e.id };
	sqe->user_data = (uintptr_t)r;
}

static bool all_zero(const char *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static void write_put(struct io_uring_sqe *sqe)
{
	const void *buf = (const void *)(uintptr_t)sqe->addr;
	struct entry e = { .op = OP_WRITE, .flags = EF_EXTENDS, .off = sqe->off, .len = sqe->len, .payload = sqe->len };

	if (all_zero(buf, sqe->len)) {
		e.flags |= EF_ZEROES;
		e.payload = 0;
	}
	request_put(sqe, e, buf);
}

static void fallocate_put(struct io_uring_sqe *sqe)
{
	bool zero = sqe->len & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);

	request_put(sqe, (struct entry){ .op = zero ? OP_ZERO : OP_SIZE, .off = sqe->off, .len = sqe->addr,
	                                 .flags = sqe->len & FALLOC_FL_KEEP_SIZE ? 0 : EF_EXTENDS }, NULL);
}

static void look_at(struct io_uring_sqe *sqe)
{
	if (!file_of(sqe->fd) || sqe->opcode == IORING_OP_NOP)
		return;
	switch (sqe->opcode) {
	case IORING_OP_READ:
		return;
	case IORING_OP_WRITE:
		write_put(sqe);
		return;
	case IORING_OP_FSYNC:
		request_put(sqe, (struct entry){ .op = OP_SYNC,
		                                 .flags = sqe->fsync_flags & IORING_FSYNC_DATASYNC ? EF_DATA : 0 }, NULL);
		return;
	case IORING_OP_FALLOCATE:
		fallocate_put(sqe);
		return;
	case OP_FTRUNCATE:
		request_put(sqe, (struct entry){ .op = OP_TRUNC, .len = sqe->off }, NULL);
		return;
	case IORING_OP_CLOSE:
		serial_of[sqe->fd] = 0;
		return;
	default:
		fprintf(stderr, "recorder: io_uring operation %u on file %llu is not known\n", sqe->opcode,
		        (unsigned long long)file_of(sqe->fd));
		abort();
	}
}

/* What was prepared since the last time. */
static void look_at_ring(struct io_uring *ring)
{
	for (unsigned i = ring->sq.sqe_head; log_fd >= 0 && i != ring->sq.sqe_tail; i++)
		look_at(&ring->sq.sqes[i & ring->sq.ring_mask]);
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	look_at_ring(ring);
	return __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait,
                                            struct __kernel_timespec *ts, sigset_t *mask)
{
	look_at_ring(ring);
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, wait, ts, mask);
}

/* ---- the link ---- */

void __wrap_net_tx(struct net *net, int link, const struct iovec *iov, int count)
{
	struct frame f;
	const char *why;

	if (count && iov[0].iov_len >= FRAME_HEADER && !frame_decode(&f, iov[0].iov_base, &why) && f.type == FRAME_DONE)
		put((struct entry){ .type = E_ACK, .off = f.epoch }, NULL);
	__real_net_tx(net, link, iov, count);
}
