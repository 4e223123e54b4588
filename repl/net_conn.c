/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One connection's life: connect or accept, TLS handshake, open, linger, gone.
 * Its number of kernel operations under way is kept in pending; a slot is
 * free again when that is zero. The core may drop a link from within any call
 * made to it: after each such call the state is looked at anew. Event-loop thread.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net_int.h"

#define DIRECT_MIN (4 * TLS_RECORD) /* a short record before costs less than copying so much */

static void conn_free(struct conn *c)
{
	struct net *net = c->net;

	assert(c->link < 0 && !c->pending);
	close(c->fd);
	if (c->tls_on)
		tls_session_free(&c->tls);
	free(c->stage);
	free(c->rbuf);
	queue_clear(&net->pool, &c->queue);
	memset(c, 0, sizeof(*c));
	c->net = net;
	c->fd = c->link = -1;
	listen_arm(net);
}

static void conn_put(struct conn *c)
{
	assert(c->pending > 0);
	if (--c->pending == 0 && c->state == CONN_DEAD)
		conn_free(c);
}

static void conn_cancelled(struct ring_op *op, int res, unsigned flags)
{
	(void)res, (void)flags; /* the cancelled operations tell for themselves */
	conn_put(container_of(op, struct conn, cancel_op));
}

void conn_kill(struct conn *c)
{
	struct io_uring_sqe *sqe;

	if (c->state == CONN_DEAD || c->state == CONN_FREE)
		return;
	c->state = CONN_DEAD;
	if (!c->pending) {
		conn_free(c);
		return;
	}
	(void)shutdown(c->fd, SHUT_RDWR); /* fails where there is no connection yet */
	c->pending++;
	sqe = ring_sqe(c->net->ring, &c->cancel_op);
	io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(sqe, &c->cancel_op);
	net_tick_arm(c->net);
}

/* For failures met while the core is calling: recv returns at once, and its handler tells the
 * core. What the peer sent before, its alert perhaps, is still read. */
static void conn_break(struct conn *c, const char *why)
{
	if (c->broken || c->state == CONN_DEAD || c->state == CONN_FREE)
		return;
	c->broken = true;
	snprintf(c->why, sizeof(c->why), "%s", why);
	(void)shutdown(c->fd, SHUT_RDWR);
}

static int tls_out(void *ctx, const void *buf, size_t len)
{
	struct conn *c = ctx;
	int rc = -EPIPE;

	if (c->broken)
		return rc;
	if (c->queue.bytes + len <= c->net->send_buffer + SEND_SLACK)
		rc = queue_append(&c->net->pool, &c->queue, buf, len);
	else
		rc = -ENOBUFS;
	if (rc)
		conn_break(c, "the send buffer overflowed");
	return rc;
}

/* ---- sending ---- */

uint64_t conn_used(const struct conn *c)
{
	return c->queue.bytes + c->staged;
}

static void conn_send(struct conn *c)
{
	struct io_uring_sqe *sqe;

	if (c->send_busy || c->broken || c->fin ||
	    (c->state != CONN_HANDSHAKE && c->state != CONN_OPEN && c->state != CONN_LINGER))
		return;
	if (!c->queue.bytes) {
		if (c->state == CONN_LINGER) {
			/* the peer's own end ends the lingering; unread bytes would
			 * make the kernel reset, and the peer lose our last words */
			c->fin = true;
			(void)shutdown(c->fd, SHUT_WR);
		}
		return;
	}
	c->msg = (struct msghdr){ .msg_iov = c->iov };
	c->msg.msg_iovlen = (size_t)queue_iov(&c->queue, c->iov, SEND_IOVS);
	c->send_busy = true;
	c->pending++;
	sqe = ring_sqe(c->net->ring, &c->send_op);
	io_uring_prep_sendmsg(sqe, c->fd, &c->msg, MSG_NOSIGNAL);
	io_uring_sqe_set_data(sqe, &c->send_op);
}

static void conn_sent(struct ring_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, send_op);
	char why[WHY_MAX];

	(void)flags;
	c->send_busy = false;
	if (res > 0) {
		queue_consume(&c->net->pool, &c->queue, (size_t)res);
		if (!conn_used(c))
			c->drain_ms = ring_now_ms() - c->busy_since_ms;
		if (c->state == CONN_OPEN && c->link >= 0)
			node_link_tx_ready(c->net->node, c->link);
	} else if (res < 0 && res != -EINTR && res != -EAGAIN) {
		snprintf(why, sizeof(why), "the connection broke: %s", strerror(-res));
		conn_break(c, why);
	}
	conn_send(c);
	conn_put(c);
}

static void conn_encrypt(struct conn *c, const void *buf, size_t len)
{
	if (!c->broken && tls_write(&c->tls, buf, len))
		conn_break(c, c->tls.why);
}

void conn_append(struct conn *c, const struct iovec *iov, int count)
{
	if (!conn_used(c))
		c->busy_since_ms = ring_now_ms();
	for (int i = 0; i < count; i++) {
		const uint8_t *p = iov[i].iov_base;
		size_t len = iov[i].iov_len, n;

		if (!c->tls_on) {
			if (len)
				(void)tls_out(c, p, len); /* failures: conn_break() */
			continue;
		}
		while (len) {
			if (c->staged && len >= DIRECT_MIN) {
				conn_encrypt(c, c->stage, c->staged);
				c->staged = 0;
			}
			if (!c->staged && len >= TLS_RECORD) {
				n = len - len % TLS_RECORD;
				conn_encrypt(c, p, n);
			} else {
				n = TLS_RECORD - c->staged < len ? TLS_RECORD - c->staged : len;
				memcpy(c->stage + c->staged, p, n);
				c->staged += n;
				if (c->staged == TLS_RECORD) {
					conn_encrypt(c, c->stage, c->staged);
					c->staged = 0;
				}
			}
			p += n;
			len -= n;
		}
	}
}

void conn_flush(struct conn *c)
{
	if (c->staged) {
		conn_encrypt(c, c->stage, c->staged);
		c->staged = 0;
	}
	conn_send(c);
}

/* ---- the end ---- */

void conn_linger(struct conn *c)
{
	if (c->state == CONN_DEAD || c->state == CONN_FREE || c->state == CONN_LINGER)
		return;
	conn_flush(c);
	if (c->tls_on && !c->broken)
		tls_end(&c->tls);
	if (c->broken) {
		conn_kill(c);
		return;
	}
	c->state = CONN_LINGER;
	c->deadline_ms = ring_now_ms() + LINGER_MS;
	net_tick_arm(c->net);
	conn_send(c);
}

void conn_lost(struct conn *c, const char *why, bool linger)
{
	enum conn_state state = c->state;
	struct net *net = c->net;
	bool dialled = c->dialled;
	int link = c->link;
	char text[WHY_MAX], peer[ADDR_TEXT_MAX];

	if (state == CONN_DEAD || state == CONN_FREE || state == CONN_LINGER)
		return;
	snprintf(text, sizeof(text), "%s", why);
	snprintf(peer, sizeof(peer), "%s", c->peer);
	c->link = -1;
	c->staged = 0;
	if (link >= 0)
		net->links[link] = NULL;
	if (linger)
		conn_linger(c);
	else
		conn_kill(c);
	if (net->stopping)
		return;
	if (state == CONN_OPEN)
		node_link_closed(net->node, link, text);
	else if (dialled)
		dial_conn_lost(net, text, state == CONN_HANDSHAKE);
	else
		listen_refused(net, peer, text);
}

/* ---- receiving ---- */

static void conn_recv(struct conn *c)
{
	struct io_uring_sqe *sqe;
	uint8_t *large;

	if (c->recv_busy || c->state == CONN_DEAD)
		return;
	if (c->rbuf_size < RECV_LARGE && c->received >= RECV_LARGE && c->state == CONN_OPEN &&
	    (large = malloc(RECV_LARGE))) {
		free(c->rbuf);
		c->rbuf = large;
		c->rbuf_size = RECV_LARGE;
	}
	c->recv_busy = true;
	c->pending++;
	sqe = ring_sqe(c->net->ring, &c->recv_op);
	io_uring_prep_recv(sqe, c->fd, c->rbuf, c->rbuf_size, 0);
	io_uring_sqe_set_data(sqe, &c->recv_op);
}

/* The transport is up: a number for it, and the core's turn. */
static void conn_open(struct conn *c)
{
	struct net *net = c->net;
	char tls[64] = "";
	int link;

	for (link = 0; link < LINKS_MAX && net->links[link]; link++)
		;
	if (c->tls_on)
		c->stage = malloc(TLS_RECORD);
	if (link == LINKS_MAX || (c->tls_on && !c->stage)) {
		conn_lost(c, link == LINKS_MAX ? "too many links" : "out of memory", true);
		return;
	}
	if (!c->dialled && !node_accepts(net->node)) {
		conn_linger(c);
		return;
	}
	c->state = CONN_OPEN;
	c->link = link;
	c->deadline_ms = UINT64_MAX;
	net->links[link] = c;
	if (c->tls_on)
		tls_describe(&c->tls, tls, sizeof(tls));
	if (c->dialled)
		dial_conn_open(net);
	node_link_opened(net->node, link, c->dialled, c->peer, tls);
}

/* Decrypts what tls.in holds, RECV_LARGE at most, and gives it to the core. */
static void conn_deliver_tls(struct conn *c)
{
	struct net *net = c->net;
	size_t got = 0;
	ssize_t n = 0;

	do {
		n = tls_read(&c->tls, net->plain + got, RECV_LARGE - got);
		if (n > 0)
			got += (size_t)n;
		if (got && (n <= 0 || got == RECV_LARGE)) {
			node_link_rx(net->node, c->link, net->plain, got);
			got = 0;
		}
	} while (n > 0 && c->state == CONN_OPEN);
	if (c->state != CONN_OPEN || n == -EAGAIN)
		return;
	if (n < 0 && c->broken && c->tls.in_eof)
		conn_lost(c, c->why, false);
	else
		conn_lost(c, n ? c->tls.why : "the peer closed the connection", n < 0);
}

/* res bytes arrived (0: no more will). */
static void conn_input(struct conn *c, size_t res)
{
	int rc;

	c->received += res;
	if (!c->tls_on) {
		if (res)
			node_link_rx(c->net->node, c->link, c->rbuf, res);
		else
			conn_lost(c, c->broken ? c->why : "the peer closed the connection", false);
		return;
	}
	c->tls.in = c->rbuf;
	c->tls.in_len = res;
	c->tls.in_eof = !res;
	if (c->state == CONN_HANDSHAKE) {
		rc = tls_handshake(&c->tls);
		if (rc == -EAGAIN) {
			conn_send(c);
			return;
		}
		if (rc)
			conn_lost(c, c->tls.why, true); /* lingers: our alert says why */
		else
			conn_open(c);
	}
	if (c->state == CONN_OPEN)
		conn_deliver_tls(c);
	conn_send(c);
}

static void conn_received(struct ring_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, recv_op);
	char why[WHY_MAX];

	(void)flags;
	c->recv_busy = false;
	if (res == -EINTR || res == -EAGAIN) {
		/* again */
	} else if (c->state == CONN_LINGER) {
		if (res <= 0)
			conn_kill(c);
	} else if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN) {
		if (res < 0) {
			snprintf(why, sizeof(why), "the connection broke: %s", strerror(-res));
			conn_lost(c, c->broken ? c->why : why, false);
		} else {
			conn_input(c, (size_t)res);
		}
	}
	conn_recv(c);
	conn_put(c);
}

/* ---- the beginning ---- */

struct conn *conn_new(struct net *net, int fd, bool dialled, const struct sockaddr_storage *addr)
{
	struct conn *c = NULL, *oldest = NULL;

	for (int i = 0; i < CONNS_MAX; i++) {
		struct conn *o = &net->conns[i];

		if (o->state == CONN_FREE)
			c = o;
		else if (o->state == CONN_LINGER &&
		         (!oldest || o->deadline_ms < oldest->deadline_ms))
			oldest = o;
	}
	if (!c) {
		if (oldest)
			conn_kill(oldest);
		return NULL;
	}
	c->rbuf = malloc(RECV_SMALL);
	if (!c->rbuf)
		return NULL;
	c->rbuf_size = RECV_SMALL;
	c->fd = fd;
	c->dialled = dialled;
	c->addr = *addr;
	c->born_ms = ring_now_ms();
	c->busy_since_ms = c->born_ms;
	c->deadline_ms = c->born_ms + HALF_OPEN_MS;
	c->recv_op.fn = conn_received;
	c->send_op.fn = conn_sent;
	c->cancel_op.fn = conn_cancelled;
	c->state = CONN_CONNECT;
	addr_text((const struct sockaddr *)addr, c->peer, sizeof(c->peer));
	net_tick_arm(net);
	return c;
}

static void conn_connected(struct ring_op *op, int res, unsigned flags)
{
	struct conn *c = container_of(op, struct conn, send_op);
	char why[WHY_MAX];

	(void)flags;
	if (c->state == CONN_CONNECT) {
		if (res) {
			snprintf(why, sizeof(why), "%s%s", strerror(-res),
			         res == -ECONNREFUSED ? " (nobody listens there)" : "");
			conn_lost(c, why, false);
		} else {
			conn_start(c);
		}
	}
	conn_put(c);
}

void conn_connect(struct conn *c, socklen_t addr_len)
{
	struct io_uring_sqe *sqe = ring_sqe(c->net->ring, &c->send_op);

	c->send_op.fn = conn_connected;
	c->pending++;
	io_uring_prep_connect(sqe, c->fd, (struct sockaddr *)&c->addr, addr_len);
	io_uring_sqe_set_data(sqe, &c->send_op);
}

/*
 * SO_SNDBUF is left to the kernel, which knows the path's bandwidth and delay; what has not been
 * sent, and so would delay a commit, is what TCP_NOTSENT_LOWAT bounds. None of these is vital.
 */
static void conn_set_options(int fd)
{
	int one = 1, lowat = NOTSENT_LOWAT;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

void conn_start(struct conn *c)
{
	struct net *net = c->net;

	c->pending++; /* what follows may end it */
	c->state = CONN_HANDSHAKE;
	c->send_op.fn = conn_sent;
	c->deadline_ms = ring_now_ms() + HALF_OPEN_MS;
	conn_set_options(c->fd);
	if (!net->tls) {
		conn_open(c);
	} else {
		c->tls.out = tls_out;
		c->tls.ctx = c;
		c->tls_on = !tls_session_init(&c->tls, net->tls, c->dialled);
		if (!c->tls_on)
			conn_lost(c, "out of memory", false);
		else if (c->dialled && tls_handshake(&c->tls) != -EAGAIN)
			conn_lost(c, c->tls.why, false);
	}
	conn_send(c);
	conn_recv(c);
	conn_put(c);
}
