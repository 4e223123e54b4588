/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS without a network: what tls_create() refuses at start, and two sessions that are each
 * other's input, with every wrong certificate there is. Keys change every third record.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define TLS_REKEY_RECORDS 3
#include "../../repl/tls_session.c"
#include "../../ctl/colofsctl_x509.c"

#define PIPE_SIZE (4u << 20)

static char dir[64], err[512];
static EVP_PKEY *ca_key, *own_key, *other_key;
static X509 *ca, *other_ca;

/* One direction: what was written and not read yet. */
struct pipe {
	uint8_t buf[PIPE_SIZE];
	size_t len;
};
static struct pipe to_server, to_client;
static struct tls_session client, server;
static struct tls *client_tls, *server_tls;

static void put_file(const char *name, mode_t mode, EVP_PKEY *key, X509 *cert)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
	f = fopen(path, "w");
	if (!f || (key && !PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)) ||
	    (cert && !PEM_write_X509(f, cert)) || fclose(f) || chmod(path, mode))
		abort();
}

/* A leaf by issuer, server's or client's, into the directory. days: of validity, from now. */
static void put_leaf(const char *side, enum cert_use use, X509 *issuer, EVP_PKEY *key, int days)
{
	X509 *cert = x509_make(use, "n", "DNS:node.example,IP:192.0.2.7", key, issuer, ca_key);
	char name[32];

	if (!cert || !X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400L) ||
	    !X509_sign(cert, ca_key, EVP_sha256()))
		abort();
	snprintf(name, sizeof(name), "%s-cert.pem", side);
	put_file(name, 0644, NULL, cert);
	X509_free(cert);
}

/* All as it should be. */
static void put_all(void)
{
	put_file("ca-cert.pem", 0644, NULL, ca);
	put_leaf("server", CERT_SERVER, ca, own_key, 30);
	put_leaf("client", CERT_CLIENT, ca, own_key, 30);
	put_file("server-key.pem", 0600, own_key, NULL);
	put_file("client-key.pem", 0600, own_key, NULL);
}

static bool start(const char *name, const uint8_t *pin, bool listen, struct tls **t)
{
	struct tls_config c = {
		.dir = dir,
		.peer_name = name,
		.peer_pin = pin,
		.dial = !listen,
		.listen = listen,
	};

	err[0] = 0;
	*t = tls_create(&c, err, sizeof(err));
	return *t != NULL;
}

/* tls_create() says no, in words that hold this. */
static bool refused(const char *words)
{
	struct tls *t;

	if (start("node.example", NULL, true, &t)) {
		tls_destroy(t);
		return false;
	}
	if (!strstr(err, words) || strchr(err, '\n')) {
		printf("# not \"%s\": %s\n", words, err);
		return false;
	}
	return true;
}

static int pipe_out(void *ctx, const void *buf, size_t len)
{
	struct pipe *p = ctx;

	if (len > sizeof(p->buf) - p->len)
		return -ENOBUFS;
	memcpy(p->buf + p->len, buf, len);
	p->len += len;
	return 0;
}

static bool sessions_begin(void)
{
	to_server.len = to_client.len = 0;
	client.out = server.out = pipe_out;
	client.ctx = &to_server;
	server.ctx = &to_client;
	return !tls_session_init(&client, client_tls, true) &&
	       !tls_session_init(&server, server_tls, false);
}

/* As far as it goes; the results of the last steps. */
static void shake_hands(int *c, int *s)
{
	*c = *s = -EAGAIN;
	for (int i = 0; i < 8; i++) {
		if (*c == -EAGAIN) {
			client.in = to_client.buf;
			client.in_len = to_client.len;
			*c = tls_handshake(&client);
			to_client.len = client.in_len;
			memmove(to_client.buf, client.in, client.in_len);
		}
		if (*s == -EAGAIN) {
			server.in = to_server.buf;
			server.in_len = to_server.len;
			*s = tls_handshake(&server);
			to_server.len = server.in_len;
			memmove(to_server.buf, server.in, server.in_len);
		}
	}
}

static void sessions_end(void)
{
	tls_session_free(&client);
	tls_session_free(&server);
	tls_destroy(client_tls);
	tls_destroy(server_tls);
	client_tls = server_tls = NULL;
}

static bool start_errors(void)
{
	char path[128];

	put_all();
	put_file("server-key.pem", 0640, own_key, NULL);
	CHECK(refused("chmod 600"));
	put_file("server-key.pem", 0600, other_key, NULL);
	CHECK(refused("does not belong to server-cert.pem"));
	put_file("server-key.pem", 0600, NULL, NULL);
	CHECK(refused("no usable private key"));
	put_all();
	put_leaf("server", CERT_SERVER, ca, own_key, -1);
	CHECK(refused("expired on "));
	put_leaf("server", CERT_CLIENT, ca, own_key, 30);
	CHECK(refused("purpose"));
	put_all();
	put_file("ca-cert.pem", 0644, NULL, other_ca);
	CHECK(refused("is not good for ca-cert.pem"));
	put_file("ca-crl.pem", 0644, NULL, NULL);
	CHECK(refused("no usable revocation list"));
	snprintf(path, sizeof(path), "%s/ca-crl.pem", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/ca-cert.pem", dir);
	unlink(path);
	CHECK(refused("colofsctl certs"));
	put_all();
	return true;
}

/* What a pair with these expectations comes to: the texts of both ends' whys, NULL for success. */
static bool pair(const char *client_name, const uint8_t *client_pin, const char *client_why,
                 const char *server_name, const uint8_t *server_pin, const char *server_why)
{
	uint8_t byte;
	int c, s;

	CHECK(start(client_name, client_pin, false, &client_tls));
	CHECK(start(server_name, server_pin, true, &server_tls));
	CHECK(sessions_begin());
	shake_hands(&c, &s);
	if (!c && client_why) { /* TLS 1.3: a refused client learns it afterwards */
		client.in = to_client.buf;
		client.in_len = to_client.len;
		c = (int)tls_read(&client, &byte, 1);
	}
	if (client_why ? c != -EPROTO || !strstr(client.why, client_why) : c != 0)
		printf("# client %d: %s\n", c, client.why);
	else if (server_why ? s != -EPROTO || !strstr(server.why, server_why) : s != 0)
		printf("# server %d: %s\n", s, server.why);
	else
		return sessions_end(), true;
	sessions_end();
	return false;
}

static bool identities(void)
{
	const char *refusal = "the peer refused our certificate";
	uint8_t pin[32], wrong[32];

	put_all();
	CHECK(!x509_pin(own_key, pin) && !x509_pin(other_key, wrong));
	CHECK(pair("node.example", NULL, NULL, "192.0.2.7", NULL, NULL));
	CHECK(pair(NULL, pin, NULL, "node.example", pin, NULL));
	CHECK(pair("192.0.2.8", NULL, "it names: node.example 192.0.2.7", "node.example", NULL,
	           refusal));
	CHECK(pair("node.example", NULL, refusal, "nod.example", NULL, "not for peer-name=nod."));
	CHECK(pair("n", NULL, "not for peer-name=n;", "node.example", NULL, refusal)); /* CN */
	CHECK(pair("node.example", wrong, "another public key", "node.example", NULL, refusal));
	CHECK(pair("node.example", NULL, refusal, NULL, wrong, "another public key"));
	return true;
}

/* Bytes of all sizes both ways come out as they went in, across changes of keys. */
static bool data(void)
{
	static uint8_t sent[100000], got[sizeof(sent)];
	int c, s;

	put_all();
	CHECK(start("node.example", NULL, false, &client_tls));
	CHECK(start("node.example", NULL, true, &server_tls));
	CHECK(sessions_begin());
	shake_hands(&c, &s);
	CHECK(!c && !s && !to_client.len); /* no tickets */
	for (int i = 0; i < 200; i++) {
		struct tls_session *from = i & 1 ? &client : &server,
				   *to = i & 1 ? &server : &client;
		struct pipe *p = from->ctx;
		size_t len = 1 + below(sizeof(sent)), at = 0;
		ssize_t n;

		for (size_t k = 0; k < len; k++)
			sent[k] = (uint8_t)rnd();
		CHECK(!tls_write(from, sent, len));
		to->in = p->buf;
		to->in_len = p->len;
		while ((n = tls_read(to, got + at, sizeof(got) - at)) > 0)
			at += (size_t)n;
		CHECK(n == -EAGAIN && at == len && !memcmp(sent, got, len));
		p->len = 0;
	}
	tls_end(&client);
	server.in = to_server.buf;
	server.in_len = to_server.len;
	CHECK(tls_read(&server, got, 1) == 0);
	sessions_end();
	return true;
}

/* A flipped bit anywhere in a record, or other bytes than TLS, end the session in words. */
static bool damage(void)
{
	static uint8_t buf[TLS_RECORD];
	int c, s;

	put_all();
	for (int i = 0; i < 20; i++) {
		CHECK(start("node.example", NULL, false, &client_tls));
		CHECK(start("node.example", NULL, true, &server_tls));
		CHECK(sessions_begin());
		shake_hands(&c, &s);
		CHECK(!c && !s && !tls_write(&client, buf, 1 + below(sizeof(buf))));
		to_server.buf[5 + below(to_server.len - 5)] ^= (uint8_t)(1u << below(8));
		server.in = to_server.buf;
		server.in_len = to_server.len;
		CHECK(tls_read(&server, buf, sizeof(buf)) == -EPROTO && server.why[0]);
		sessions_end();
	}
	CHECK(start("node.example", NULL, true, &server_tls));
	CHECK(start("node.example", NULL, false, &client_tls));
	CHECK(sessions_begin());
	server.in = (const uint8_t *)"GET / HTTP/1.0\r\n\r\n";
	server.in_len = 18;
	CHECK(tls_handshake(&server) == -EPROTO && strstr(server.why, "is not TLS"));
	sessions_end();
	return true;
}

int main(int argc, char **argv)
{
	static const char *const files[] = {
		"ca-cert.pem",     "server-cert.pem", "server-key.pem",
		"client-cert.pem", "client-key.pem",  "ca-crl.pem",
	};
	const char *tmp = getenv("TMPDIR");
	char path[128];

	check_begin(argc, argv);
	snprintf(dir, sizeof(dir), "%.40s/test_tls.XXXXXX", tmp ? tmp : "/tmp");
	ca_key = x509_key();
	own_key = x509_key();
	other_key = x509_key();
	if (!mkdtemp(dir) || !ca_key || !own_key || !other_key)
		return 1;
	ca = x509_make(CERT_CA, "ca", NULL, ca_key, NULL, ca_key);
	other_ca = x509_make(CERT_CA, "other ca", NULL, other_key, NULL, other_key);
	if (!ca || !other_ca)
		return 1;
	RUN(start_errors);
	RUN(identities);
	RUN(data);
	RUN(damage);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(dir);
	X509_free(ca);
	X509_free(other_ca);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(own_key);
	EVP_PKEY_free(other_key);
	return check_end();
}
