/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dialling: one attempt at a time, over all addresses of the peer's name in
 * their order. A name is looked up by a helper thread, since getaddrinfo()
 * blocks; it shares nothing with the loop but its struct resolve, and an
 * eventfd tells that it is done. Everything else on the event-loop thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net_int.h"

#define DIAL_TIMEOUTS 3 /* name, addresses and handshakes together: as many link timeouts */

/* How far an attempt came; of several addresses the one that came farthest is told of. */
enum { RANK_NONE, RANK_CONNECT, RANK_TLS };

struct resolve {
	atomic_int refs; /* the loop's and the thread's */
	int efd;
	char host[256];
	char port[8];
	/* the thread's until the eventfd is written, the loop's afterwards: */
	int rc, error;
	struct addrinfo *list;
};

bool addr_is_loopback(const struct sockaddr *sa)
{
	const struct in6_addr *a6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family != AF_INET6)
		return false;
	return IN6_IS_ADDR_LOOPBACK(a6) || (IN6_IS_ADDR_V4MAPPED(a6) && a6->s6_addr[12] == 127);
}

/* "10.0.0.1:7420", "[fe80::1%eth0]:7420" */
void addr_text(const struct sockaddr *sa, char *buf, size_t size)
{
	const struct sockaddr_in6 *s6 = (const struct sockaddr_in6 *)sa;
	socklen_t len = sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
	                                          : sizeof(struct sockaddr_in);
	char host[64], port[8];
	const char *p = host;

	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV)) {
		snprintf(buf, size, "unknown");
		return;
	}
	if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&s6->sin6_addr))
		p += strncmp(p, "::ffff:", 7) == 0 ? 7 : 0;
	if (strchr(p, ':'))
		snprintf(buf, size, "[%s]:%s", p, port);
	else
		snprintf(buf, size, "%s:%s", p, port);
}

/* ---- names ---- */

static void resolve_put(struct resolve *r)
{
	if (atomic_fetch_sub(&r->refs, 1) > 1)
		return;
	if (r->list)
		freeaddrinfo(r->list);
	close(r->efd);
	free(r);
}

static int lookup(const char *host, const char *port, int flags, struct addrinfo **list)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | flags,
	};

	*list = NULL;
	return getaddrinfo(host, port, &hints, list);
}

static void *resolve_thread(void *arg)
{
	struct resolve *r = arg;

	r->rc = lookup(r->host, r->port, AI_ADDRCONFIG, &r->list);
	r->error = errno;
	(void)eventfd_write(r->efd, 1); /* cannot fail: the counter is zero */
	resolve_put(r);
	return NULL;
}

static struct resolve *resolve_start(const char *host, const char *port)
{
	struct resolve *r = calloc(1, sizeof(*r));
	sigset_t all, old;
	pthread_t thread;
	int rc;

	if (!r)
		return NULL;
	r->efd = eventfd(0, EFD_CLOEXEC);
	if (r->efd < 0) {
		free(r);
		return NULL;
	}
	atomic_store(&r->refs, 2);
	snprintf(r->host, sizeof(r->host), "%s", host);
	snprintf(r->port, sizeof(r->port), "%s", port);
	/* signals are the main thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&thread, NULL, resolve_thread, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		close(r->efd);
		free(r);
		return NULL;
	}
	pthread_detach(thread);
	return r;
}

/* ---- an attempt ---- */

static void dial_fail(struct net *net, const char *why)
{
	struct dial *d = &net->dial;
	char text[WHY_MAX + 300];

	if (d->list)
		freeaddrinfo(d->list);
	d->list = d->next = NULL;
	d->active = false;
	snprintf(text, sizeof(text), "%s port %u: %s", net->peer.host, net->peer.port, why);
	if (!net->stopping)
		node_dial_failed(net->node, text);
}

static void dial_note(struct dial *d, int rank, const char *peer, const char *why)
{
	if (rank < d->rank)
		return;
	d->rank = rank;
	if (peer)
		snprintf(d->why, sizeof(d->why), "%s: %.300s", peer, why);
	else
		snprintf(d->why, sizeof(d->why), "%s", why);
}

/* One address. 0: under way; else noted. */
static int dial_try(struct net *net, const struct addrinfo *ai)
{
	struct sockaddr_storage addr = { 0 };
	struct dial *d = &net->dial;
	uint64_t limit;
	int fd;

	memcpy(&addr, ai->ai_addr, ai->ai_addrlen);
	if (!net->tls && !addr_is_loopback(ai->ai_addr)) {
		dial_note(d, RANK_CONNECT, NULL, "insecure=yes goes to loopback addresses only");
		return -EPERM;
	}
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0) {
		dial_note(d, RANK_CONNECT, NULL, strerror(errno));
		return -errno;
	}
	d->conn = conn_new(net, fd, true, &addr);
	if (!d->conn) {
		close(fd);
		dial_note(d, RANK_CONNECT, NULL, "too many connections");
		return -EBUSY;
	}
	limit = ring_now_ms() + net->link_timeout_ms;
	d->conn->deadline_ms = limit < d->deadline_ms ? limit : d->deadline_ms;
	conn_connect(d->conn, ai->ai_addrlen);
	return 0;
}

static void dial_next(struct net *net)
{
	struct dial *d = &net->dial;

	while (d->next && ring_now_ms() < d->deadline_ms) {
		const struct addrinfo *ai = d->next;

		d->next = ai->ai_next;
		if (!dial_try(net, ai))
			return;
	}
	dial_fail(net, d->why[0] ? d->why : "timed out");
}

void dial_conn_lost(struct net *net, const char *why, bool had_tcp)
{
	struct dial *d = &net->dial;
	char peer[ADDR_TEXT_MAX];
	bool one = d->list && !d->list->ai_next; /* then which of them is no question */

	addr_text((const struct sockaddr *)&d->conn->addr, peer, sizeof(peer));
	dial_note(d, had_tcp ? RANK_TLS : RANK_CONNECT, one ? NULL : peer, why);
	d->conn = NULL;
	dial_next(net);
}

void dial_conn_open(struct net *net)
{
	struct dial *d = &net->dial;

	freeaddrinfo(d->list);
	d->list = d->next = NULL;
	d->conn = NULL;
	d->active = false;
}

static void dial_resolved(struct ring_op *op, int res, unsigned flags)
{
	struct net *net = container_of(op, struct net, dial.resolve_op);
	struct dial *d = &net->dial;
	struct resolve *r = d->resolve;
	char why[WHY_MAX];

	(void)flags;
	net->pending--;
	d->resolving = false;
	d->resolve = NULL;
	if (res != sizeof(d->resolve_count) || net->stopping || !d->active || d->kicked) {
		resolve_put(r); /* its attempt timed out before; a new one asks anew */
		return;
	}
	if (r->rc) {
		snprintf(why, sizeof(why), "the name cannot be looked up: %s",
		         r->rc == EAI_SYSTEM ? strerror(r->error) : gai_strerror(r->rc));
		resolve_put(r);
		dial_fail(net, why);
		return;
	}
	d->list = d->next = r->list;
	r->list = NULL;
	resolve_put(r);
	dial_next(net);
}

static void dial_kicked(struct ring_op *op, int res, unsigned flags)
{
	struct net *net = container_of(op, struct net, dial.kick_op);
	struct dial *d = &net->dial;
	struct io_uring_sqe *sqe;
	char port[8];

	(void)res, (void)flags;
	net->pending--;
	d->kicked = false;
	if (net->stopping)
		return;
	snprintf(port, sizeof(port), "%u", net->peer.port);
	if (!lookup(net->peer.host, port, AI_NUMERICHOST, &d->list)) {
		d->next = d->list;
		dial_next(net);
		return;
	}
	if (d->resolving)
		return; /* the last attempt's, which timed out: its answer does */
	d->resolve = resolve_start(net->peer.host, port);
	if (!d->resolve) {
		dial_fail(net, "the name cannot be looked up: out of memory or threads");
		return;
	}
	d->resolving = true;
	net->pending++;
	sqe = ring_sqe(net->ring, &d->resolve_op);
	io_uring_prep_read(sqe, d->resolve->efd, &d->resolve_count, sizeof(d->resolve_count), 0);
	io_uring_sqe_set_data(sqe, &d->resolve_op);
}

/* The attempt begins from the loop, so that its failure is never told from inside the call. */
void dial_begin(struct net *net)
{
	struct dial *d = &net->dial;
	struct io_uring_sqe *sqe;

	if (d->active || d->kicked || net->stopping)
		return;
	d->active = d->kicked = true;
	d->rank = RANK_NONE;
	d->why[0] = 0;
	d->deadline_ms = ring_now_ms() + (uint64_t)net->link_timeout_ms * DIAL_TIMEOUTS;
	net->pending++;
	sqe = ring_sqe(net->ring, &d->kick_op);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, &d->kick_op);
	net_tick_arm(net);
}

void dial_init(struct net *net)
{
	net->dial.kick_op.fn = dial_kicked;
	net->dial.resolve_op.fn = dial_resolved;
}

void dial_tick(struct net *net, uint64_t now_ms)
{
	struct dial *d = &net->dial;

	if (d->active && d->resolving && now_ms >= d->deadline_ms)
		dial_fail(net, "looking up the name timed out");
}

void dial_exit(struct net *net)
{
	if (net->dial.resolving)
		(void)eventfd_write(net->dial.resolve->efd,
		                    1); /* ends our read; the thread ends alone */
}

void dial_free(struct net *net)
{
	if (net->dial.list)
		freeaddrinfo(net->dial.list);
	net->dial.list = net->dial.next = NULL;
}
