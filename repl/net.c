/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The face of the link layer to the shell: start and end, the core's calls by
 * link number, and the tick that looks after time limits. Link numbers are
 * independent of connections: what the core dropped lives on without one, so
 * that no late event of it can meet a newer link. Event-loop thread.
 */
#include "net.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net_int.h"

#define FULL_LINKS 2    /* as many links may fill their send buffers at a time */
#define EXIT_MS    3000 /* the kernel gives back its operations long before */

static void net_tick(struct ring_op *op, int res, unsigned flags)
{
	struct net *net = container_of(op, struct net, tick_op);
	uint64_t now = ring_now_ms();

	(void)res, (void)flags;
	net->tick_busy = false;
	net->pending--;
	for (int i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &net->conns[i];

		if (c->state == CONN_FREE || c->state == CONN_OPEN || now < c->deadline_ms)
			continue;
		if (c->state == CONN_LINGER)
			conn_kill(c);
		else
			conn_lost(c,
			          c->state == CONN_CONNECT ? "no answer"
			                                   : "no TLS handshake in time",
			          false);
	}
	if (!net->stopping) {
		dial_tick(net, now);
		listen_tick(net, now);
	}
	net_tick_arm(net);
}

static bool net_needs_tick(const struct net *net)
{
	if (!net->stopping && (net->dial.active || listen_needs_tick(net)))
		return true;
	for (int i = 0; i < CONNS_MAX; i++) {
		enum conn_state state = net->conns[i].state;

		if (state == CONN_CONNECT || state == CONN_HANDSHAKE || state == CONN_LINGER)
			return true;
	}
	return false;
}

void net_tick_arm(struct net *net)
{
	struct io_uring_sqe *sqe;

	if (net->tick_busy || !net_needs_tick(net))
		return;
	net->tick_busy = true;
	net->pending++;
	net->tick_ts.tv_sec = 0;
	net->tick_ts.tv_nsec = TICK_MS * 1000000;
	sqe = ring_sqe(net->ring, &net->tick_op);
	io_uring_prep_timeout(sqe, &net->tick_ts, 0, 0);
	io_uring_sqe_set_data(sqe, &net->tick_op);
}

/* ---- start and end ---- */

static int net_create_tls(struct net *net, const struct net_config *config, char *err,
                          size_t err_size)
{
	struct tls_config tc = {
		.dir = config->tls,
		.peer_name = config->peer_name,
		.peer_pin = config->peer_pin,
		.dial = config->peer.host[0],
		.listen = config->listen.host[0],
	};

	if (config->insecure)
		return 0;
	if (!config->tls) {
		snprintf(err, err_size,
		         "tls=DIR is missing: the link needs certificates; make them "
		         "with `colofsctl certs`");
		return -EINVAL;
	}
	net->tls = tls_create(&tc, err, err_size);
	return net->tls ? 0 : -EINVAL;
}

static void net_free(struct net *net)
{
	listen_close(net);
	dial_free(net);
	tls_destroy(net->tls);
	pool_exit(&net->pool);
	free(net->plain);
	free(net);
}

struct net *net_create(struct ring *ring, const struct net_config *config, char *err,
                       size_t err_size)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net) {
		snprintf(err, err_size, "out of memory");
		return NULL;
	}
	net->ring = ring;
	net->peer = config->peer;
	net->listen = config->listen;
	net->send_buffer = config->send_buffer;
	net->link_timeout_ms = config->link_timeout_ms;
	net->tick_op.fn = net_tick;
	dial_init(net);
	for (int i = 0; i < CONNS_MAX; i++) {
		net->conns[i].net = net;
		net->conns[i].fd = net->conns[i].link = -1;
	}
	net->plain = malloc(RECV_LARGE);
	if (!net->plain || pool_init(&net->pool, FULL_LINKS * (config->send_buffer + SEND_SLACK) +
	                                                 2ull * CONNS_MAX * CHUNK_SIZE)) {
		snprintf(err, err_size, "out of memory for send-buffer=%llu: give a smaller one",
		         (unsigned long long)config->send_buffer);
		goto fail;
	}
	if (net_create_tls(net, config, err, err_size))
		goto fail;
	if (config->listen.host[0] && listen_open(net, err, err_size))
		goto fail;
	return net;
fail:
	net_free(net);
	return NULL;
}

void net_start(struct net *net, struct node *node)
{
	assert(node && !net->node);
	net->node = node;
	listen_arm(net);
}

static bool net_idle(const struct net *net)
{
	int n = net->pending;

	for (int i = 0; i < CONNS_MAX; i++)
		n += net->conns[i].pending;
	return n == 0;
}

struct exit_wait {
	struct net *net;
	uint64_t deadline_ms;
};

static uint64_t exit_deadline(void *ctx)
{
	return ((struct exit_wait *)ctx)->deadline_ms;
}

static void exit_before(void *ctx)
{
	(void)ctx;
}

static void exit_after(void *ctx)
{
	struct exit_wait *w = ctx;

	if (net_idle(w->net) || ring_now_ms() >= w->deadline_ms)
		w->net->ring->stop = true;
}

/* Runs the loop until last words are out (LINGER_MS at most) and the kernel has nothing of ours
 * any more. The node may be gone: none of our handlers calls it while stopping is set. */
void net_destroy(struct net *net)
{
	struct exit_wait w = { .net = net, .deadline_ms = ring_now_ms() + EXIT_MS };
	struct ring_hooks hooks = { exit_deadline, exit_before, exit_after, &w };

	if (!net)
		return;
	net->stopping = true;
	listen_stop(net);
	dial_exit(net);
	for (int i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &net->conns[i];

		if (c->link >= 0)
			net->links[c->link] = NULL;
		c->link = -1;
		if (c->state == CONN_OPEN)
			conn_linger(c);
		else if (c->state != CONN_LINGER)
			conn_kill(c);
	}
	if (!net_idle(net)) {
		bool stop = net->ring->stop;

		net->ring->stop = false;
		(void)ring_run(net->ring, &hooks); /* logs its own failure */
		net->ring->stop = stop;
	}
	if (!net_idle(net)) {
		log_error("the kernel still holds connections at the end; their memory is left "
		          "alone");
		return;
	}
	net_free(net);
}

/* ---- the core's calls ---- */

static struct conn *net_link(const struct net *net, int link)
{
	assert(link >= 0 && link < LINKS_MAX);
	return net->links[link];
}

void net_tx(struct net *net, int link, const struct iovec *iov, int count)
{
	struct conn *c = net_link(net, link);

	if (c && !c->broken)
		conn_append(c, iov, count);
}

size_t net_tx_room(struct net *net, int link)
{
	const struct conn *c = net_link(net, link);
	uint64_t room, pool;

	if (!c || c->broken || conn_used(c) >= net->send_buffer)
		return 0;
	room = net->send_buffer - conn_used(c);
	/* with several links full at a time the pool is the limit; the slack stays for control */
	pool = (uint64_t)net->pool.free_count * CHUNK_SIZE;
	pool = pool > SEND_SLACK ? pool - SEND_SLACK : 0;
	return (size_t)(room < pool ? room : pool);
}

void net_link_close(struct net *net, int link)
{
	struct conn *c = net_link(net, link);

	if (!c)
		return;
	net->links[link] = NULL;
	c->link = -1;
	conn_linger(c);
}

void net_dial(struct net *net)
{
	assert(net->peer.host[0] && net->node);
	dial_begin(net);
}

void net_flush(struct net *net)
{
	for (int link = 0; link < LINKS_MAX; link++)
		if (net->links[link])
			conn_flush(net->links[link]);
}

void net_send_state(const struct net *net, int link, uint64_t *used, uint64_t *drain_ms)
{
	const struct conn *c = net_link(net, link);

	*used = c ? conn_used(c) : 0;
	*drain_ms = c ? c->drain_ms : 0;
}
