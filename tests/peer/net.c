/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP and TLS of the tests' peer; a relay that records; connections that never come to an end. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

#define TURN_MS 20
#define SLOW_TURNS 25 /* between two bytes of a slow one */

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct addrinfo *look_up(const char *addr)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *list;
	char host[256];
	const char *colon = strrchr(addr, ':');

	snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - addr) : 0, addr);
	if (!colon || getaddrinfo(host, colon + 1, &hints, &list))
		die("no address: %s", addr);
	return list;
}

static int dial(const char *addr)
{
	struct addrinfo *ai = look_up(addr);
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, ai->ai_addr, ai->ai_addrlen))
		die("connect to %s: %s", addr, strerror(errno));
	freeaddrinfo(ai);
	return fd;
}

int net_bind(const char *addr)
{
	struct addrinfo *ai = look_up(addr);
	int one = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	int64_t end = now_ms() + WAIT_MS;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	while (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 8)) {
		if (errno != EADDRINUSE || now_ms() > end) /* one who was killed just now may not be gone yet */
			die("listen on %s: %s", addr, strerror(errno));
		(void)poll(NULL, 0, 20);
	}
	freeaddrinfo(ai);
	say("listening");
	return fd;
}

static int accept_one(const char *addr)
{
	int fd = net_bind(addr), got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	close(fd);
	return got;
}

static int no_check(int ok, X509_STORE_CTX *ctx)
{
	(void)ok, (void)ctx;
	return 1; /* it is the node that is to be careful */
}

static SSL_CTX *tls_ctx(const struct peer *p, bool server)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	int version = strcmp(p->tls, "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, no_check);
	if (p->cert && (SSL_CTX_use_certificate_chain_file(ctx, p->cert) != 1 ||
	                SSL_CTX_use_PrivateKey_file(ctx, p->key, SSL_FILETYPE_PEM) != 1))
		die("cannot load %s", p->cert);
	return ctx;
}

static SSL *tls_new(const struct peer *p, bool server)
{
	SSL_CTX *ctx = tls_ctx(p, server);
	SSL *ssl = SSL_new(ctx);

	SSL_CTX_free(ctx); /* the session has its own hold of it */
	return ssl;
}

static void tls_start(struct peer *p, bool server)
{
	struct timeval limit = { 20, 0 };

	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!strcmp(p->tls, "none")) {
		say("connected");
		return;
	}
	p->ssl = tls_new(p, server);
	SSL_set_fd(p->ssl, p->fd);
	if ((server ? SSL_accept(p->ssl) : SSL_connect(p->ssl)) == 1) {
		say("connected %s", SSL_get_version(p->ssl));
		return;
	}
	unsigned long e = ERR_peek_error();

	say("tls failed: %s", e ? ERR_reason_error_string(e) : "the other side closed");
	SSL_free(p->ssl);
	p->ssl = NULL;
	p->closed = true;
}

void net_connect(struct peer *p, const char *addr)
{
	p->fd = dial(addr);
	tls_start(p, false);
}

void net_accept(struct peer *p, int fd)
{
	p->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	tls_start(p, true);
}

void net_listen(struct peer *p, const char *addr)
{
	int fd = net_bind(addr);

	net_accept(p, fd);
	close(fd);
}

void net_write(struct peer *p, const void *buf, size_t len)
{
	for (size_t done = 0; done < len && !p->closed;) {
		const char *at = (const char *)buf + done;
		int n = p->ssl ? SSL_write(p->ssl, at, (int)(len - done)) : (int)send(p->fd, at, len - done, 0);

		if (n <= 0)
			return; /* what it says before it closes is still to be read */
		done += (size_t)n;
	}
}

bool net_ready(struct peer *p, int ms, bool *input)
{
	struct pollfd fds[2] = { { p->fd, POLLIN, 0 }, { input ? 0 : -1, POLLIN, 0 } };

	if (p->ssl && SSL_pending(p->ssl))
		return true;
	(void)poll(fds, 2, ms);
	if (input)
		*input = fds[1].revents;
	return fds[0].revents;
}

bool net_read(struct peer *p, void *buf, size_t len, int ms)
{
	int64_t end = now_ms() + ms;

	for (size_t done = 0; done < len && !p->closed;) {
		int64_t left = end - now_ms();
		char *at = (char *)buf + done;
		int n;

		if (!net_ready(p, left > 0 ? (int)left : 0, NULL)) {
			if (now_ms() >= end)
				return false;
			continue;
		}
		n = p->ssl ? SSL_read(p->ssl, at, (int)(len - done)) : (int)recv(p->fd, at, len - done, 0);
		if (n <= 0 && p->ssl && SSL_get_error(p->ssl, n) == SSL_ERROR_WANT_READ)
			continue;
		if (n <= 0)
			p->closed = true;
		else
			done += (size_t)n;
	}
	return !p->closed;
}

/* ---- a relay that records ---- */

int relay(const char *port, const char *to, const char *file)
{
	FILE *out[2] = { fopen(file, "w"), NULL };
	char name[4096], addr[64], buf[65536];
	int fd[2];

	snprintf(name, sizeof(name), "%s.answers", file);
	out[1] = fopen(name, "w");
	snprintf(addr, sizeof(addr), "127.0.0.1:%s", port);
	fd[0] = accept_one(addr);
	fd[1] = dial(to);
	if (!out[0] || !out[1])
		die("cannot write %s", file);
	for (;;) {
		struct pollfd fds[2] = { { fd[0], POLLIN, 0 }, { fd[1], POLLIN, 0 } };

		(void)poll(fds, 2, -1);
		for (int i = 0; i < 2; i++) {
			if (!fds[i].revents)
				continue;
			ssize_t n = recv(fd[i], buf, sizeof(buf), 0);

			if (n <= 0 || send(fd[!i], buf, (size_t)n, 0) != n) {
				fclose(out[0]);
				fclose(out[1]);
				return 0;
			}
			fwrite(buf, 1, (size_t)n, out[i]);
		}
	}
}

/* ---- connections that never come to an end ---- */

/* The bytes of a ClientHello. */
static size_t client_hello(const struct peer *p, uint8_t *buf, size_t size)
{
	SSL *ssl = tls_new(p, false);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	SSL_set_bio(ssl, in, out);
	(void)SSL_connect(ssl);
	int n = BIO_read(out, buf, (int)size);

	SSL_free(ssl);
	return n > 0 ? (size_t)n : 0;
}

/* kind: tcp: nothing is said; hello: a ClientHello and no more; slow: its bytes one by one; all: some of each. Says
 * "open" when all have been opened; then each that the node closes is opened anew, at most rate in a second. Ends with
 * stdin. */
int flood(const char *to, int count, const char *kind, int rate, struct peer *p)
{
	static const char *const kinds[] = { "tcp", "hello", "slow" };
	struct rlimit limit = { (rlim_t)count + 64, (rlim_t)count + 64 };
	struct pollfd *fds = calloc((size_t)count + 1, sizeof(*fds));
	size_t *said = calloc((size_t)count, sizeof(*said));
	uint8_t hello[4096];
	size_t len = client_hello(p, hello, sizeof(hello));
	struct addrinfo *ai = look_up(to);
	unsigned long opened = 0, turns = 0;
	int64_t told = 0, next_ms = 0;

	(void)setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 0; i < count; i++)
		fds[i].fd = -1;
	fds[count] = (struct pollfd){ 0, POLLIN, 0 };
	while (!fds[count].revents) {
		bool turn = now_ms() >= next_ms;
		int budget = told ? rate * TURN_MS / 1000 : 100; /* connections a turn */

		turns += turn;
		if (turn)
			next_ms = now_ms() + TURN_MS;
		for (int i = 0; i < count; i++) {
			const char *k = strcmp(kind, "all") ? kind : kinds[i % 3];

			if (fds[i].fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) && recv(fds[i].fd, &(char){ 0 }, 1, MSG_DONTWAIT) <= 0) {
				close(fds[i].fd);
				fds[i].fd = -1;
			}
			if (fds[i].fd < 0 && turn && budget-- > 0) {
				fds[i].fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
				fds[i].events = POLLIN;
				fds[i].revents = 0;
				said[i] = 0;
				(void)connect(fds[i].fd, ai->ai_addr, ai->ai_addrlen);
				opened++;
				continue;
			}
			if (!turn || fds[i].fd < 0 || !strcmp(k, "tcp") || said[i] >= len)
				continue;
			if (!strcmp(k, "slow") && said[i] && turns % SLOW_TURNS)
				continue;
			ssize_t n = send(fds[i].fd, hello + said[i], strcmp(k, "slow") ? len : 1, MSG_DONTWAIT | MSG_NOSIGNAL);

			said[i] += n > 0 ? (size_t)n : 0;
		}
		if (opened >= (unsigned long)count && !told++)
			say("open");
		(void)poll(fds, (nfds_t)count + 1, TURN_MS);
	}
	say("opened %lu", opened);
	freeaddrinfo(ai);
	free(fds);
	free(said);
	return 0;
}
