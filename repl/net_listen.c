/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listening: binds at start, takes one connection at a time, keeps the
 * number of half-open ones small (the oldest goes), and logs those turned
 * down without letting a flood fill the log. Event-loop thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net_int.h"

#define BACKLOG    64
#define REFUSAL_MS 1000 /* the same reason is logged at most once in this time */

/* ---- start ---- */

/* A descriptor, or -errno. */
static int listen_bind(const struct addrinfo *ai)
{
	int fd, one = 1, zero = 0, e;

	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	if (ai->ai_family == AF_INET6) {
		const struct sockaddr_in6 *s6 = (const struct sockaddr_in6 *)ai->ai_addr;
		int *only = IN6_IS_ADDR_UNSPECIFIED(&s6->sin6_addr) ? &zero : &one;

		if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only, sizeof(*only)) < 0)
			goto fail;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
		goto fail;
	return fd;
fail:
	e = errno;
	close(fd);
	return -e;
}

static int bind_error(const struct net *net, int error, char *err, size_t err_size)
{
	const char *todo = "";

	if (error == EADDRINUSE)
		todo = "; another process has it: stop that, or give listen= another port";
	else if (error == EADDRNOTAVAIL)
		todo = "; that is not an address of this host: give one, or *";
	else if (error == EACCES)
		todo = "; give a port above 1023";
	snprintf(err, err_size, "cannot listen on %s port %u: %s%s", net->listen.host,
	         net->listen.port, strerror(error), todo);
	return -error;
}

static int listen_add(struct net *net, const struct addrinfo *ai, char *err, size_t err_size)
{
	struct listener *l;
	int fd;

	if (!net->tls && !addr_is_loopback(ai->ai_addr)) {
		snprintf(err, err_size,
		         "insecure=yes listens on loopback addresses only, not on %s: "
		         "give tls=, or listen=127.0.0.1",
		         net->listen.host);
		return -EPERM;
	}
	if (net->listener_count == LISTENERS_MAX)
		return 0;
	fd = listen_bind(ai);
	if (fd < 0)
		return bind_error(net, -fd, err, err_size);
	l = &net->listeners[net->listener_count++];
	l->net = net;
	l->fd = fd;
	return 0;
}

/* All addresses of the host as given; "*" is everything, by one socket for both families. */
int listen_open(struct net *net, char *err, size_t err_size)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	}, *list = NULL, *ai;
	bool any = !strcmp(net->listen.host, "*");
	char port[8];
	int rc;

	snprintf(port, sizeof(port), "%u", net->listen.port);
	rc = getaddrinfo(any ? "::" : net->listen.host, port, &hints, &list);
	if (rc) {
		snprintf(err, err_size,
		         "cannot listen on %s: %s; give an address of this host, or *",
		         net->listen.host, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
		return -EINVAL;
	}
	rc = 0;
	for (ai = list; ai && (!rc || rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT);
	     ai = ai->ai_next)
		rc = listen_add(net, ai, err, err_size);
	freeaddrinfo(list);
	if (any && (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL) &&
	    !getaddrinfo("0.0.0.0", port, &hints, &list)) {
		rc = listen_add(net, list, err, err_size);
		freeaddrinfo(list);
	}
	if (net->listener_count && (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT))
		rc = 0; /* localhost without IPv6 */
	return rc;
}

/* ---- connections ---- */

static void listen_make_room(struct net *net)
{
	struct conn *oldest = NULL;
	int n = 0;

	for (int i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &net->conns[i];

		if (c->state != CONN_HANDSHAKE || c->dialled)
			continue;
		n++;
		if (!oldest || c->born_ms < oldest->born_ms)
			oldest = c;
	}
	if (n >= HALF_OPEN_MAX)
		conn_lost(oldest, "it had not finished its TLS handshake when too many others came",
		          false);
}

static void listen_take(struct net *net, int fd)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t len = sizeof(addr);
	char peer[ADDR_TEXT_MAX];
	struct conn *c;

	if (net->stopping || !node_accepts(net->node) ||
	    getpeername(fd, (struct sockaddr *)&addr, &len) < 0) {
		close(fd);
		return;
	}
	listen_make_room(net);
	c = conn_new(net, fd, false, &addr);
	if (!c) {
		addr_text((const struct sockaddr *)&addr, peer, sizeof(peer));
		listen_refused(net, peer, "too many connections");
		close(fd);
		return;
	}
	conn_start(c);
}

static void listen_accepted(struct ring_op *op, int res, unsigned flags)
{
	struct listener *l = container_of(op, struct listener, op);
	struct net *net = l->net;

	(void)flags;
	l->busy = false;
	net->pending--;
	if (res >= 0) {
		listen_take(net, res);
	} else if (!net->stopping && res != -EINTR && res != -EAGAIN && res != -ECONNABORTED) {
		listen_refused(net, "a connection", strerror(-res));
		net->accept_pause = true; /* EMFILE, ENOMEM: not in a tight loop */
		net_tick_arm(net);
	}
	listen_arm(net);
}

void listen_arm(struct net *net)
{
	bool room = false;

	for (int i = 0; i < CONNS_MAX && !room; i++)
		room = net->conns[i].state == CONN_FREE;
	if (!room || net->stopping || net->accept_pause || !net->node)
		return;
	for (int i = 0; i < net->listener_count; i++) {
		struct listener *l = &net->listeners[i];
		struct io_uring_sqe *sqe;

		if (l->busy)
			continue;
		l->busy = true;
		l->op.fn = listen_accepted;
		net->pending++;
		sqe = ring_sqe(net->ring, &l->op);
		io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
		io_uring_sqe_set_data(sqe, &l->op);
	}
}

void listen_stop(struct net *net)
{
	for (int i = 0; i < net->listener_count; i++)
		(void)shutdown(net->listeners[i].fd, SHUT_RDWR); /* ends the accept */
}

void listen_close(struct net *net)
{
	for (int i = 0; i < net->listener_count; i++)
		close(net->listeners[i].fd);
	net->listener_count = 0;
}

/* ---- the log ---- */

void listen_refused(struct net *net, const char *peer, const char *why)
{
	struct refusal *free_slot = NULL;

	if (net->node)
		node_link_refused(net->node, peer, why);
	for (int i = 0; i < REFUSALS_MAX; i++) {
		struct refusal *r = &net->refusals[i];

		if (r->why[0] && !strcmp(r->why, why)) {
			r->more++;
			return;
		}
		if (!r->why[0])
			free_slot = r;
	}
	net_tick_arm(net);
	if (!free_slot) {
		net->refusals_more++;
		return;
	}
	snprintf(free_slot->why, sizeof(free_slot->why), "%s", why);
	free_slot->since_ms = ring_now_ms();
	free_slot->more = 0;
	log_warn("turned down %s: %s", peer, why);
}

void listen_tick(struct net *net, uint64_t now_ms)
{
	if (net->accept_pause) {
		net->accept_pause = false;
		listen_arm(net);
	}
	for (int i = 0; i < REFUSALS_MAX; i++) {
		struct refusal *r = &net->refusals[i];

		if (!r->why[0] || now_ms < r->since_ms + REFUSAL_MS)
			continue;
		if (r->more) {
			log_warn("turned down %u more: %s", r->more, r->why);
			r->more = 0;
			r->since_ms = now_ms;
			continue;
		}
		r->why[0] = 0;
		if (net->refusals_more)
			log_warn("turned down %u more, for other reasons", net->refusals_more);
		net->refusals_more = 0;
	}
}

bool listen_needs_tick(const struct net *net)
{
	if (net->accept_pause || net->refusals_more)
		return true;
	for (int i = 0; i < REFUSALS_MAX; i++)
		if (net->refusals[i].why[0])
			return true;
	return false;
}
