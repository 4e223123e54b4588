/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the link layer share: net.c (the face to the shell),
 * net_conn.c (one connection's life), net_queue.c (bytes waiting to be sent),
 * net_dial.c, net_listen.c. Event-loop thread only.
 */
#ifndef COLOFS_REPL_NET_INT_H
#define COLOFS_REPL_NET_INT_H

#include <netdb.h>
#include <sys/socket.h>

#include "../ctl/log.h"
#include "net.h"
#include "tls.h"

#define CONNS_MAX     64 /* half-open, open, and those whose last operations are under way */
#define HALF_OPEN_MAX 16
#define HALF_OPEN_MS  5000
#define LINGER_MS     1000 /* after the core dropped a link: for what was appended before */
#define TICK_MS       100
#define RECV_SMALL    (16u << 10)
#define RECV_LARGE    (256u << 10) /* a link gets it that has received as much */
#define CHUNK_SIZE    (128u << 10)
#define SEND_SLACK    (1u << 20) /* control frames may exceed the send buffer by this */
#define SEND_IOVS     8
#define NOTSENT_LOWAT (256u << 10)
#define LISTENERS_MAX 4
#define REFUSALS_MAX  8
#define ADDR_TEXT_MAX 80
#define WHY_MAX       400

/* ---- net_queue.c: bytes in order, in chunks from one pool; nothing is allocated after start ----
 */

struct chunk {
	struct chunk *next;
	uint8_t *data;
	uint32_t start, end;
};

struct chunk_pool {
	struct chunk *chunks, *free;
	uint8_t *data;
	size_t count, free_count, map_size;
};

struct chunk_queue {
	struct chunk *head, *tail;
	uint64_t bytes;
};

int pool_init(struct chunk_pool *p, uint64_t bytes);
void pool_exit(struct chunk_pool *p);
/* 0 or -ENOBUFS: the pool has not that much. */
int queue_append(struct chunk_pool *p, struct chunk_queue *q, const void *buf, size_t len);
int queue_iov(const struct chunk_queue *q, struct iovec *iov, int max);
void queue_consume(struct chunk_pool *p, struct chunk_queue *q, size_t len);
void queue_clear(struct chunk_pool *p, struct chunk_queue *q);

/* ---- net_conn.c ---- */

enum conn_state {
	CONN_FREE,
	CONN_CONNECT,   /* we dialled: TCP is not there yet */
	CONN_HANDSHAKE, /* TCP is there, TLS is not: half-open */
	CONN_OPEN,      /* has a link number, or had one until its core was told of the end */
	CONN_LINGER, /* the core knows it no more; its last bytes go out, what comes is dropped */
	CONN_DEAD,   /* nothing is of use any more but the kernel's completions */
};

struct conn {
	struct net *net;
	enum conn_state state;
	int fd;
	int link;    /* the core's number, -1: none */
	int pending; /* kernel operations under way, and handlers running */
	bool dialled, recv_busy, send_busy, tls_on;
	bool broken; /* to be dropped with why as soon as recv returns */
	bool fin;    /* our direction is shut down */
	struct ring_op recv_op, send_op, cancel_op;
	uint64_t born_ms, deadline_ms;
	uint64_t received;
	uint8_t *rbuf;
	size_t rbuf_size;
	struct tls_session tls;
	uint8_t *stage; /* plaintext that does not fill a record yet */
	size_t staged;
	struct chunk_queue queue; /* what the socket shall get */
	uint64_t busy_since_ms, drain_ms;
	struct msghdr msg;
	struct iovec iov[SEND_IOVS];
	struct sockaddr_storage addr;
	char peer[ADDR_TEXT_MAX];
	char why[WHY_MAX];
};

/* A slot for fd, or NULL (fd stays the caller's). Makes room by cutting short the oldest that
 * lingers. */
struct conn *conn_new(struct net *net, int fd, bool dialled, const struct sockaddr_storage *addr);
void conn_connect(struct conn *c, socklen_t addr_len);
/* TCP is there. */
void conn_start(struct conn *c);
/* Encrypts what is staged and gives the socket what it takes. */
void conn_flush(struct conn *c);
void conn_append(struct conn *c, const struct iovec *iov, int count);
uint64_t conn_used(const struct conn *c);
/* The core drops it: last bytes out, then the end. */
void conn_linger(struct conn *c);
/* No more of it; the slot is free once the kernel is done with it. */
void conn_kill(struct conn *c);
/* Ends it and tells whom it concerns: the core, the dialler, or the log. */
void conn_lost(struct conn *c, const char *why, bool linger);

/* ---- net_dial.c ---- */

struct resolve;
struct dial {
	bool active;
	bool kicked;    /* the op that begins an attempt is under way */
	bool resolving; /* a read on the resolver's eventfd is under way */
	int rank;       /* how far the attempt told in why came */
	uint64_t deadline_ms;
	struct ring_op kick_op, resolve_op;
	struct resolve *resolve;
	uint64_t resolve_count;
	struct addrinfo *list, *next;
	struct conn *conn;
	char why[WHY_MAX];
};

void dial_init(struct net *net);
void dial_begin(struct net *net);
/* The dialled connection was lost before it was open. */
void dial_conn_lost(struct net *net, const char *why, bool had_tcp);
void dial_conn_open(struct net *net);
void dial_tick(struct net *net, uint64_t now_ms);
void dial_exit(struct net *net); /* cancels what is under way */
void dial_free(struct net *net); /* after all completions */
bool addr_is_loopback(const struct sockaddr *sa);
void addr_text(const struct sockaddr *sa, char *buf, size_t size);

/* ---- net_listen.c ---- */

struct listener {
	struct net *net;
	struct ring_op op;
	int fd;
	bool busy;
};

struct refusal {
	char why[WHY_MAX];
	uint64_t since_ms;
	unsigned more; /* after the one that was logged */
};

int listen_open(struct net *net, char *err, size_t err_size);
/* Wait for the next connection where that is not under way and there is a slot. */
void listen_arm(struct net *net);
void listen_stop(struct net *net);
void listen_close(struct net *net);
/* A connection that was turned down: logged, but not once for each of a flood. */
void listen_refused(struct net *net, const char *peer, const char *why);
void listen_tick(struct net *net, uint64_t now_ms);
bool listen_needs_tick(const struct net *net);

/* ---- net.c ---- */

struct net {
	struct ring *ring;
	struct node *node;
	struct tls *tls; /* NULL: insecure */
	struct hostport peer;
	struct hostport listen;
	uint64_t send_buffer;
	uint32_t link_timeout_ms;
	bool stopping;
	int pending; /* operations not of a connection: tick, dial, listeners */
	struct chunk_pool pool;
	uint8_t *plain; /* RECV_LARGE: decrypted, on its way to the core */
	struct conn *links[LINKS_MAX];
	struct conn conns[CONNS_MAX];
	struct dial dial;
	struct listener listeners[LISTENERS_MAX];
	int listener_count;
	bool accept_pause; /* out of descriptors or memory: again at the next tick */
	struct refusal refusals[REFUSALS_MAX];
	unsigned refusals_more;
	struct ring_op tick_op;
	struct __kernel_timespec tick_ts;
	bool tick_busy;
};

/* Have the time limits looked after while there is something to look after. */
void net_tick_arm(struct net *net);

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
