/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one thread of the daemon beside its loop: who looks up the peer's name. Built with ThreadSanitizer, without a
 * ring: this test is the kernel, reads the eventfd and calls the completion. The lookup's answer, its failure, an
 * attempt that gave up before, one that takes the late answer of the last, and the daemon's end in the midst of a
 * lookup, each in every order of the two that there is; nothing is left behind.
 */
#include <dirent.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../unit/check.h"

/* In the lookup's place; the thread waits in it until the test lets it go. */
struct addrinfo;
static int answer(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list);
static void take_back(struct addrinfo *list);
#define getaddrinfo answer
#define freeaddrinfo take_back
#include "../../repl/net_dial.c"

#define ROUNDS 300
#define YIELDS 10000000 /* a wait that takes longer is a hang */

/* Relaxed, all of them: the test must not order what the product forgot to. */
static atomic_int made, freed, asked, open_gate, fail_with;

static struct net net;
static struct conn conn;
static struct io_uring_sqe kick_sqe, read_sqe;
static struct ring_op *queued;
static unsigned connects, failures;
static char failure[1000];
static uint64_t now_ms;
static int at_start; /* descriptors */

static int answer(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
	struct sockaddr_in *sin;
	struct addrinfo *ai;
	int error;

	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	if (strcmp(host, "peer.example") || strcmp(port, "7420"))
		return EAI_FAIL;
	atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
	while (!atomic_load_explicit(&open_gate, memory_order_relaxed))
		sched_yield();
	error = atomic_load_explicit(&fail_with, memory_order_relaxed);
	if (error)
		return error;
	ai = calloc(1, sizeof(*ai) + sizeof(*sin));
	if (!ai)
		abort();
	sin = (struct sockaddr_in *)(ai + 1);
	sin->sin_family = AF_INET;
	sin->sin_port = htons(7420);
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ai->ai_family = AF_INET;
	ai->ai_addr = (struct sockaddr *)sin;
	ai->ai_addrlen = sizeof(*sin);
	*list = ai;
	atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
	return 0;
}

static void take_back(struct addrinfo *list)
{
	memset(list, 0x55, sizeof(*list)); /* its other user would be seen */
	free(list);
	atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

/* ---- what net_dial.c calls ---- */

struct io_uring_sqe *ring_sqe(struct ring *r, struct ring_op *op)
{
	(void)r;
	if (op == &net.dial.resolve_op)
		return &read_sqe;
	queued = op;
	return &kick_sqe;
}

uint64_t ring_now_ms(void)
{
	return now_ms;
}

void net_tick_arm(struct net *n)
{
	(void)n;
}

struct conn *conn_new(struct net *n, int fd, bool dialled, const struct sockaddr_storage *addr)
{
	conn.net = n;
	conn.fd = fd;
	conn.dialled = dialled;
	conn.addr = *addr;
	return &conn;
}

void conn_connect(struct conn *c, socklen_t addr_len)
{
	connects += ((struct sockaddr_in *)&c->addr)->sin_port == htons(7420) && addr_len == sizeof(struct sockaddr_in);
	close(c->fd);
}

void node_dial_failed(struct node *n, const char *why)
{
	(void)n;
	failures++;
	snprintf(failure, sizeof(failure), "%s", why);
}

/* ---- the kernel ---- */

/* An attempt begins; its first completion is here. */
static void begin(void)
{
	dial_begin(&net);
	queued->fn(queued, 0, 0);
}

/* The read of the eventfd completes. */
static void complete_read(void)
{
	ssize_t n = read(read_sqe.fd, (void *)(uintptr_t)read_sqe.addr, read_sqe.len);

	net.dial.resolve_op.fn(&net.dial.resolve_op, (int)n, 0);
}

static void setup(bool open, int error)
{
	memset(&net, 0, sizeof(net));
	memset(&net.dial, 0, sizeof(net.dial));
	strcpy(net.peer.host, "peer.example");
	net.peer.port = 7420;
	net.link_timeout_ms = 1000;
	dial_init(&net);
	connects = failures = 0;
	atomic_store_explicit(&fail_with, error, memory_order_relaxed);
	atomic_store_explicit(&open_gate, open, memory_order_relaxed);
}

static void let_go(void)
{
	atomic_store_explicit(&open_gate, 1, memory_order_relaxed);
}

static bool reached(atomic_int *count, int want)
{
	for (int i = 0; i < YIELDS; i++) {
		if (atomic_load_explicit(count, memory_order_relaxed) == want)
			return true;
		sched_yield();
	}
	return false;
}

static int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- tests ---- */

static bool found(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		setup(i & 1, 0);
		begin();
		CHECK(net.dial.resolving && net.pending == 1);
		let_go();
		complete_read();
		CHECK(connects == 1 && !failures && net.pending == 0 && !net.dial.resolving);
		dial_conn_open(&net);
		CHECK(!net.dial.active && !net.dial.list);
	}
	return true;
}

static bool not_found(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		setup(i & 1, EAI_NONAME);
		begin();
		let_go();
		complete_read();
		CHECK(failures == 1 && !connects && !net.dial.active);
		CHECK(strstr(failure, "peer.example port 7420: the name cannot be looked up: "));
	}
	return true;
}

/* The attempt gives up; the answer that comes then is nobody's. */
static bool too_late(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		setup(false, 0);
		begin();
		now_ms += 2 * 1000;
		dial_tick(&net, now_ms);
		CHECK(!failures);
		now_ms += 2 * 1000;
		dial_tick(&net, now_ms);
		CHECK(failures == 1 && strstr(failure, "timed out"));
		let_go();
		complete_read();
		CHECK(failures == 1 && !connects && net.pending == 0 && !net.dial.resolve);
	}
	return true;
}

/* The next attempt finds the last one's lookup under way, and takes its answer. No second thread. */
static bool answer_for_the_next(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		int before = atomic_load(&asked);

		setup(false, 0);
		begin();
		now_ms += 4 * 1000;
		dial_tick(&net, now_ms);
		begin();
		CHECK(net.dial.active && net.pending == 1);
		let_go();
		complete_read();
		CHECK(connects == 1 && failures == 1);
		CHECK(atomic_load(&asked) == before + 1);
		dial_conn_open(&net);
	}
	return true;
}

/* The daemon ends: the loop leaves at once, the thread when its lookup returns, before or after. */
static bool the_end(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		setup(i % 3 == 1, i % 5 == 4 ? EAI_AGAIN : 0);
		begin();
		if (i % 3 == 2)
			let_go(); /* at the same time */
		net.stopping = true;
		dial_exit(&net);
		complete_read();
		CHECK(net.pending == 0 && !connects && !failures);
		dial_free(&net);
		let_go();
	}
	return true;
}

/* A thread at its end still holds its descriptor. */
static bool nothing_is_left(void)
{
	int left = descriptors();

	CHECK(reached(&freed, atomic_load(&made)));
	for (int i = 0; i < YIELDS / 100 && left != at_start; i++) {
		sched_yield();
		left = descriptors();
	}
	CHECK(left == at_start);
	return true;
}

int main(int argc, char **argv)
{
	check_begin(argc, argv);
	at_start = descriptors();
	RUN(found);
	RUN(not_found);
	RUN(too_late);
	RUN(answer_for_the_next);
	RUN(the_end);
	RUN(nothing_is_left);
	return check_end();
}
