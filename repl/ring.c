/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The event loop: owns the daemon's only io_uring. One system call a batch: it submits
 * what the last batch queued and waits for the next. Everything here runs on the thread
 * that called ring_init() (the ring is single-issuer).
 */
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "../ctl/log.h"

#define CQ_FACTOR        4   /* completions may outnumber the queue: reads wait in the kernel */
#define IOWQ_BOUNDED_MAX 32  /* workers for what cannot be done without blocking: fsync, holes */
#define BATCH_MAX        512 /* completions between before() and after() */

int ring_init(struct ring *r, unsigned entries)
{
	static const unsigned tries[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN,
		0,
	};
	unsigned workers[2] = { IOWQ_BOUNDED_MAX, 0 };
	int err = -EINVAL;

	memset(r, 0, sizeof(*r));
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]) && err < 0; i++) {
		struct io_uring_params p = {
			.flags = tries[i] | IORING_SETUP_CQSIZE,
			.cq_entries = entries * CQ_FACTOR,
		};

		err = io_uring_queue_init_params(entries, &r->uring, &p);
		if (!err &&
		    (!(p.features & IORING_FEAT_EXT_ARG) || !(p.features & IORING_FEAT_NODROP))) {
			io_uring_queue_exit(&r->uring);
			return -ENOSYS;
		}
	}
	if (err)
		return err;
	/* Best effort: the default bound is enough to be correct. */
	(void)io_uring_register_iowq_max_workers(&r->uring, workers);
	return 0;
}

void ring_exit(struct ring *r)
{
	io_uring_queue_exit(&r->uring);
}

static void ring_submit(struct ring *r)
{
	int n = io_uring_submit(&r->uring);

	r->enters++;
	/* EAGAIN, EBUSY: the kernel wants completions reaped first; the queue is kept. */
	if (n < 0 && n != -EAGAIN && n != -EBUSY && n != -EINTR)
		log_error("io_uring_enter: %s", strerror(-n));
}

struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	for (unsigned i = 0; !sqe; i++) {
		ring_submit(r);
		sqe = io_uring_get_sqe(&r->uring);
		assert(sqe || i < 1000000); /* the kernel takes nothing any more: no way on */
	}
	io_uring_sqe_set_data(sqe, op); /* the io_uring_prep_*() that follow leave it alone */
	return sqe;
}

uint64_t ring_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int ring_wait(struct ring *r, const struct ring_hooks *h)
{
	uint64_t deadline = h->deadline_ms(h->ctx), now = ring_now_ms();
	uint64_t wait_ms = deadline > now ? deadline - now : 0;
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int err;

	if (wait_ms > 3600000)
		wait_ms = 3600000;
	ts.tv_sec = (int64_t)(wait_ms / 1000);
	ts.tv_nsec = (long long)(wait_ms % 1000) * 1000000;
	err = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &ts, NULL);
	r->enters++;
	if (err < 0 && err != -ETIME && err != -EINTR && err != -EAGAIN && err != -EBUSY)
		return err;
	return 0;
}

int ring_run(struct ring *r, const struct ring_hooks *h)
{
	int err = 0;

	while (!r->stop) {
		struct io_uring_cqe *cqe;
		unsigned n = 0;

		err = ring_wait(r, h);
		if (err) {
			log_error("io_uring_enter: %s", strerror(-err));
			break;
		}
		h->before(h->ctx);
		while (n++ < BATCH_MAX && !io_uring_peek_cqe(&r->uring, &cqe) && cqe) {
			struct ring_op *op = io_uring_cqe_get_data(cqe);
			unsigned flags = cqe->flags;
			int res = cqe->res;

			/* Given back first: fn() may submit, and so may make room for more. */
			io_uring_cqe_seen(&r->uring, cqe);
			if (op)
				op->fn(op, res, flags);
		}
		h->after(h->ctx);
	}
	/* Replies queued by the last batch still go out. */
	ring_submit(r);
	return err;
}
