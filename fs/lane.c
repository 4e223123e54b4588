/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The FUSE channel on the ring. Requests are read at page - 80, so that a WRITE's payload is
 * page-aligned and goes to the image by O_DIRECT as it lies. /dev/fuse is non-blocking: the ring
 * answers a read with EAGAIN when no request waits; then a poll is armed, and when it fires
 * several reads are posted at once. Event-loop thread only.
 *
 * Bounds: 48 receive buffers. A WRITE keeps its own until it is answered, unless fewer than 8
 * are left: then its payload is copied to the heap, at most SLAB_MAX of that. READs get a buffer
 * of one of three pools, or wait for one. Requests: REQS_MAX, then nothing is read.
 */
#define FUSE_USE_VERSION 314
#include "lane.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../ctl/log.h"

#define PAGE           4096u
#define RBUFS          48
#define RBUFS_RESERVED 8 /* never lent to writes that wait */
#define RBUF_STRIDE    (PAGE + IO_MAX_LEN)
#define RBUF_HEAD      (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define RBUF_LEN       (RBUF_HEAD + IO_MAX_LEN) /* what the kernel wants to see offered */
#define READS_MAX      32                       /* requests taken at one go */
#define REQS_MAX       4096
#define SLAB_MAX                                                                \
	(96u << 20) /* bytes of copied payload; with the buffers: more than the \
	             * kernel has in flight in the background */
#define POOLS 3

_Static_assert(RBUF_HEAD == 80, "a WRITE's payload would not be page-aligned");

struct lane_rbuf {
	struct ring_op op;
	struct lane *lane;
	struct lane_rbuf *next;
	char *mem; /* page - 80 */
};

struct pool {
	size_t size, count; /* bytes of a buffer, buffers */
	char *mem;
	void **free;
	size_t free_count;
};

static const struct {
	size_t size, count;
} pool_sizes[POOLS] = { { 16384, 256 }, { 131072, 64 }, { IO_MAX_LEN, 24 } };

struct lane {
	struct ring *ring;
	struct fuse_session *se;
	struct lane_handler handler;
	int fd;
	char *rmem;
	struct lane_rbuf rbufs[RBUFS];
	struct lane_rbuf *rfree;
	unsigned rfree_count;
	bool reading; /* a read is posted: the kernel completes it when it can */
	bool polling, ended;
	struct ring_op poll_op;
	struct pool pools[POOLS];
	struct lane_req *reads, **reads_tail; /* wait for a pool's buffer */
	struct lane_req *free_reqs;
	struct lane_req *made; /* all there are, by their made */
	unsigned reqs;
	size_t slab_bytes;
};

/* ---- buffers ---- */

static void *map_buffers(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* Best effort: a loop device on our own mount writes back through these. */
	(void)mlock2(p, len, MLOCK_ONFAULT);
	(void)madvise(p, len, MADV_DONTDUMP); /* guests' data */
	return p;
}

static int pools_create(struct lane *lane)
{
	for (size_t i = 0; i < POOLS; i++) {
		struct pool *p = &lane->pools[i];

		p->size = pool_sizes[i].size;
		p->count = pool_sizes[i].count;
		p->mem = map_buffers(p->size * p->count);
		p->free = calloc(p->count, sizeof(*p->free));
		if (!p->mem || !p->free)
			return -ENOMEM;
		while (p->free_count < p->count) {
			p->free[p->free_count] = p->mem + p->free_count * p->size;
			p->free_count++;
		}
	}
	return 0;
}

/* The smallest that fits and is free. */
static bool data_get(struct lane_req *r)
{
	for (uint8_t i = 0; i < POOLS; i++) {
		struct pool *p = &r->lane->pools[i];

		if (p->size < r->len || !p->free_count)
			continue;
		r->data = p->free[--p->free_count];
		r->pool = i;
		return true;
	}
	return false;
}

static void rbuf_put(struct lane_rbuf *b)
{
	struct lane *lane = b->lane;

	b->next = lane->rfree;
	lane->rfree = b;
	lane->rfree_count++;
}

/* Gives back whatever holds the payload. */
static void payload_put(struct lane_req *r)
{
	if (r->rbuf)
		rbuf_put(r->rbuf);
	if (r->slab) {
		free(r->slab);
		r->lane->slab_bytes -= r->len;
	}
	r->rbuf = NULL;
	r->slab = NULL;
	r->payload = NULL;
}

/* ---- requests ---- */

static struct lane_req *req_get(struct lane *lane)
{
	struct lane_req *r = lane->free_reqs;

	if (r) {
		lane->free_reqs = r->next;
	} else {
		r = malloc(sizeof(*r)); /* only when there were never so many before */
		if (!r)
			return NULL;
		r->made = lane->made;
		lane->made = r;
	}
	lane->reqs++;
	memset(r, 0, offsetof(struct lane_req, iov));
	r->lane = lane;
	return r;
}

static void reads_start(struct lane *lane)
{
	struct lane_req *r;

	while ((r = lane->reads) && data_get(r)) {
		lane->reads = r->next;
		if (!lane->reads)
			lane->reads_tail = &lane->reads;
		lane->handler.request(lane->handler.ctx, r);
	}
}

static void req_put(struct lane_req *r)
{
	struct lane *lane = r->lane;
	bool data = r->data;

	if (data) {
		struct pool *p = &lane->pools[r->pool];

		assert(p->free_count < p->count);
		p->free[p->free_count++] = r->data;
	}
	r->next = lane->free_reqs;
	lane->free_reqs = r;
	lane->reqs--;
	if (data)
		reads_start(lane);
}

static void reply_submit(struct lane_req *r)
{
	struct io_uring_sqe *sqe = ring_sqe(r->lane->ring, &r->op);

	if (r->iov[1].iov_len)
		io_uring_prep_writev(sqe, r->lane->fd, r->iov, 2, 0);
	else
		io_uring_prep_write(sqe, r->lane->fd, &r->out, r->out.header.len, 0);
}

static void reply_done(struct ring_op *op, int res, unsigned flags)
{
	struct lane_req *r = (struct lane_req *)((char *)op - offsetof(struct lane_req, op));

	(void)flags;
	if (res == -EINTR || res == -EAGAIN) {
		reply_submit(r);
		return;
	}
	/* ENOENT: the asker was killed; ENODEV: unmounted. Nobody is left to tell. */
	if (res < 0 && res != -ENOENT && res != -ENODEV)
		log_error("reply to the kernel: %s", strerror(-res));
	req_put(r);
}

void lane_reply(struct lane_req *r, int error, uint32_t bytes)
{
	struct fuse_out_header *h = &r->out.header;

	assert(error <= 0);
	assert(bytes <= r->len);
	payload_put(r);
	h->unique = r->unique;
	h->error = error;
	h->len = sizeof(*h);
	r->iov[1].iov_len = 0;
	if (!error && r->opcode == FUSE_WRITE) {
		r->out.write.size = bytes;
		h->len += (uint32_t)sizeof(r->out.write);
	} else if (!error && r->opcode == FUSE_READ) {
		r->iov[0] = (struct iovec){ .iov_base = h, .iov_len = sizeof(*h) };
		r->iov[1] = (struct iovec){ .iov_base = r->data, .iov_len = bytes };
		h->len += bytes;
	}
	r->op.fn = reply_done;
	reply_submit(r);
}

static void reject(struct lane *lane, uint64_t unique, int error)
{
	struct fuse_out_header h = { .len = sizeof(h), .error = error, .unique = unique };

	/* Nobody is left to tell if this fails too. */
	(void)!write(lane->fd, &h, sizeof(h));
}

/* ---- what comes in ---- */

/* Few buffers are left: the payload moves out, so that the next request finds one. */
static void payload_copy(struct lane_req *r)
{
	struct lane *lane = r->lane;

	if (lane->slab_bytes + r->len > SLAB_MAX ||
	    posix_memalign(&r->slab, PAGE, r->len ? r->len : 1)) {
		r->slab = NULL;
		return;
	}
	memcpy(r->slab, r->payload, r->len);
	r->payload = r->slab;
	lane->slab_bytes += r->len;
	rbuf_put(r->rbuf);
	r->rbuf = NULL;
}

static int take_write(struct lane_req *r, struct lane_rbuf *b, size_t len)
{
	const struct fuse_write_in *in = (const void *)(b->mem + sizeof(struct fuse_in_header));

	if (len < RBUF_HEAD || in->size > len - RBUF_HEAD)
		return -EIO;
	r->fh = in->fh;
	r->off = in->offset;
	r->len = in->size;
	r->payload = b->mem + RBUF_HEAD;
	r->rbuf = b;
	if (r->lane->rfree_count < RBUFS_RESERVED)
		payload_copy(r);
	return 0;
}

static int take_read(struct lane_req *r, const char *mem, size_t len)
{
	const struct fuse_read_in *in = (const void *)(mem + sizeof(struct fuse_in_header));

	if (len < sizeof(struct fuse_in_header) + sizeof(*in) || in->size > IO_MAX_LEN)
		return -EIO;
	r->fh = in->fh;
	r->off = in->offset;
	r->len = in->size;
	return 0;
}

static int take_fsync(struct lane_req *r, const char *mem, size_t len)
{
	const struct fuse_fsync_in *in = (const void *)(mem + sizeof(struct fuse_in_header));

	if (len < sizeof(struct fuse_in_header) + sizeof(*in))
		return -EIO;
	r->fh = in->fh;
	r->datasync = in->fsync_flags & FUSE_FSYNC_FDATASYNC;
	return 0;
}

static void hot(struct lane *lane, struct lane_rbuf *b, size_t len)
{
	const struct fuse_in_header *h = (const void *)b->mem;
	struct lane_req *r = req_get(lane);
	int err;

	if (!r) {
		reject(lane, h->unique, -ENOMEM);
		rbuf_put(b);
		return;
	}
	r->opcode = h->opcode;
	r->unique = h->unique;
	r->node_id = h->nodeid;
	if (h->opcode == FUSE_WRITE)
		err = take_write(r, b, len);
	else if (h->opcode == FUSE_READ)
		err = take_read(r, b->mem, len);
	else
		err = take_fsync(r, b->mem, len);
	if (!r->payload)
		rbuf_put(b);
	if (err) {
		lane_reply(r, err, 0);
	} else if (r->opcode == FUSE_READ) {
		/* Behind those that wait already. */
		*lane->reads_tail = r;
		lane->reads_tail = &r->next;
		reads_start(lane);
	} else {
		lane->handler.request(lane->handler.ctx, r);
	}
}

static void request(struct lane *lane, struct lane_rbuf *b, size_t len)
{
	const struct fuse_in_header *h = (const void *)b->mem;

	if (len < sizeof(*h)) {
		log_error("a request of %zu bytes from the kernel", len);
		rbuf_put(b);
		return;
	}
	switch (h->opcode) {
	case FUSE_WRITE:
	case FUSE_READ:
	case FUSE_FSYNC: hot(lane, b, len); return;
	case FUSE_INTERRUPT: /* libfuse does not know the hot ones, and would ask for it again */
		if (len >= sizeof(*h) + sizeof(struct fuse_interrupt_in)) {
			const struct fuse_interrupt_in *in = (const void *)(b->mem + sizeof(*h));

			lane->handler.interrupt(lane->handler.ctx, in->unique);
		}
		break;
	default: {
		struct fuse_buf buf = { .size = len, .mem = b->mem };

		fuse_session_process_buf(lane->se, &buf);
	}
	}
	rbuf_put(b);
}

static void ended(struct lane *lane)
{
	if (lane->ended)
		return;
	lane->ended = true;
	lane->handler.ended(lane->handler.ended_ctx);
}

static struct lane_rbuf *rbuf_get(struct lane *lane)
{
	struct lane_rbuf *b = lane->reqs < REQS_MAX ? lane->rfree : NULL;

	if (b) {
		lane->rfree = b->next;
		lane->rfree_count--;
	}
	return b;
}

/* What a read of /dev/fuse said. True: there may be another request. */
static bool taken(struct lane *lane, struct lane_rbuf *b, ssize_t res)
{
	if (res > 0) {
		request(lane, b, (size_t)res);
		return true;
	}
	rbuf_put(b);
	if (res == -EINTR || res == -ENOENT) /* ENOENT: the asker was killed meanwhile */
		return true;
	if (res == -EAGAIN)
		return false;
	if (res && res != -ENODEV)
		log_error("read of /dev/fuse: %s", strerror((int)-res));
	ended(lane);
	return false;
}

/* One request woke us; what has gathered behind it comes with it. */
static void drain(struct lane *lane)
{
	struct lane_rbuf *b;
	ssize_t n;

	for (unsigned i = 0; i < READS_MAX && !lane->ended && (b = rbuf_get(lane)); i++) {
		n = read(lane->fd, b->mem, RBUF_LEN);
		if (!taken(lane, b, n < 0 ? -errno : n))
			break;
	}
}

static void poll_arm(struct lane *lane);

static void read_done(struct ring_op *op, int res, unsigned flags)
{
	struct lane_rbuf *b = (struct lane_rbuf *)op;
	struct lane *lane = b->lane;

	(void)flags;
	lane->reading = false;
	if (res == -EAGAIN)
		poll_arm(lane);
	if (taken(lane, b, res))
		drain(lane);
}

static void poll_done(struct ring_op *op, int res, unsigned flags)
{
	struct lane *lane = (struct lane *)((char *)op - offsetof(struct lane, poll_op));

	(void)res, (void)flags; /* whatever it says, a read tells */
	lane->polling = false;
	drain(lane);
}

/* For a kernel that answers the read of a non-blocking file with EAGAIN. */
static void poll_arm(struct lane *lane)
{
	lane->polling = true;
	lane->poll_op.fn = poll_done;
	io_uring_prep_poll_add(ring_sqe(lane->ring, &lane->poll_op), lane->fd, POLLIN);
}

void lane_batch_end(struct lane *lane)
{
	struct lane_rbuf *b;

	if (lane->ended || lane->fd < 0 || lane->reading || lane->polling)
		return;
	b = rbuf_get(lane);
	if (!b)
		return; /* a reply will bring one */
	lane->reading = true;
	io_uring_prep_read(ring_sqe(lane->ring, &b->op), lane->fd, b->mem, RBUF_LEN, 0);
}

/* ---- life cycle ---- */

struct lane *lane_create(struct ring *ring, struct fuse_session *se, const struct lane_handler *h)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->ring = ring;
	lane->se = se;
	lane->handler = *h;
	lane->fd = -1;
	lane->reads_tail = &lane->reads;
	lane->rmem = map_buffers((size_t)RBUFS * RBUF_STRIDE);
	if (!lane->rmem || pools_create(lane)) {
		lane_destroy(lane);
		return NULL;
	}
	for (size_t i = RBUFS; i-- > 0;) {
		struct lane_rbuf *b = &lane->rbufs[i];

		b->op.fn = read_done;
		b->lane = lane;
		b->mem = lane->rmem + i * RBUF_STRIDE + PAGE - RBUF_HEAD;
		rbuf_put(b);
	}
	return lane;
}

int lane_start(struct lane *lane)
{
	int fd = fuse_session_fd(lane->se), flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	lane->fd = fd;
	lane_batch_end(lane);
	return 0;
}

void lane_destroy(struct lane *lane)
{
	if (!lane)
		return;
	for (size_t i = 0; i < POOLS; i++) {
		if (lane->pools[i].mem)
			munmap(lane->pools[i].mem, lane->pools[i].size * lane->pools[i].count);
		free(lane->pools[i].free);
	}
	if (lane->rmem)
		munmap(lane->rmem, (size_t)RBUFS * RBUF_STRIDE);
	while (lane->made) { /* unanswered ones too: what came when the drain was over */
		struct lane_req *r = lane->made;

		lane->made = r->made;
		free(r->slab);
		free(r);
	}
	free(lane);
}
