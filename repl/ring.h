/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop: one io_uring on one thread. Everyone who waits for the
 * kernel embeds a struct ring_op and gets its fn() called with the result.
 */
#ifndef COLOFS_REPL_RING_H
#define COLOFS_REPL_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct ring_op {
	void (*fn)(struct ring_op *op, int res, unsigned cqe_flags);
};

struct ring {
	struct io_uring uring;
	bool stop;
	uint64_t enters; /* io_uring_enter calls, for metrics and tests */
};

int ring_init(struct ring *r, unsigned entries); /* 0, -errno */
void ring_exit(struct ring *r);
/* An SQE with op as its user data; submits what is queued when the queue is full. Never NULL. */
struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op);
/*
 * Run until r->stop: wait at most until deadline_ms() (CLOCK_MONOTONIC), reap all
 * completions there are in one batch with before() in front and after() behind, submit all
 * that they queued with one io_uring_enter.
 */
struct ring_hooks {
	uint64_t (*deadline_ms)(void *ctx);
	void (*before)(void *ctx);
	void (*after)(void *ctx);
	void *ctx;
};
int ring_run(struct ring *r, const struct ring_hooks *h);
uint64_t ring_now_ms(void);

#endif
