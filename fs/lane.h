/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lane: the FUSE channel. Reads requests from the kernel by the ring, hands the hot ones
 * (READ, WRITE, FSYNC) to fs/ as a struct lane_req and the others to libfuse, and sends the hot
 * ones' replies by the ring. Event-loop thread only.
 */
#ifndef COLOFS_FS_LANE_H
#define COLOFS_FS_LANE_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../repl/node.h"
#include "../repl/ring.h"

struct lane;
struct fuse_session;
struct lane_rbuf;

/* A READ, WRITE or FSYNC that has not been answered. */
struct lane_req {
	struct guest_io g; /* first; free for the handler's use */
	struct ring_op op;
	struct lane *lane;
	struct lane_req *next; /* on the lane's lists */
	uint32_t opcode;       /* FUSE_READ, FUSE_WRITE, FUSE_FSYNC */
	uint64_t unique, node_id, fh;
	uint64_t off;  /* bytes; READ, WRITE */
	uint32_t len;  /* bytes; READ, WRITE */
	bool datasync; /* FSYNC */
	void *payload; /* WRITE: len bytes, page-aligned, until lane_reply() */
	void *data;    /* READ: room for len bytes, page-aligned, until the reply is gone */
	void *owner;   /* the handler's */
	/* the lane's own: */
	struct lane_rbuf *rbuf;
	void *slab;
	uint8_t pool;
	uint64_t pos;
	struct {
		struct fuse_out_header header;
		struct fuse_write_out write;
	} out;
	struct iovec iov[2];
	struct lane_req *made; /* the one made before it: never changes */
};

struct lane_handler {
	void (*request)(void *ctx, struct lane_req *r);
	void (*interrupt)(void *ctx, uint64_t unique); /* of a hot request; may be unknown */
	void *ctx;                                     /* of these two */
	void (*ended)(void *ctx);                      /* the kernel closed the session */
	void *ended_ctx;
};

/* NULL when out of memory. */
struct lane *lane_create(struct ring *ring, struct fuse_session *se, const struct lane_handler *h);
/* The session is mounted: start to read. 0, -errno. */
int lane_start(struct lane *lane);
/* Behind each batch: post the reads there is room for. */
void lane_batch_end(struct lane *lane);
/* Answer r with an error (-errno), or 0 and `bytes` of data (READ) or taken (WRITE). r and
 * its payload are the lane's again. */
void lane_reply(struct lane_req *r, int error, uint32_t bytes);
/* After the ring is gone. */
void lane_destroy(struct lane *lane);

#endif
