/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Certificates: loads a directory in QEMU's layout into one OpenSSL context
 * for connections we open and one for those we accept, and refuses at start
 * what would only fail later. Called by net.c; event-loop thread.
 */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAKE_NEW "make certificates with `colofsctl certs`"

struct tls {
	SSL_CTX *client, *server;
	BIO_METHOD *method;
	char *peer_name;
	bool have_pin;
	uint8_t pin[32];
};

SSL_CTX *tls_ctx(struct tls *t, bool dialled)
{
	return dialled ? t->client : t->server;
}

const char *tls_peer_name(const struct tls *t)
{
	return t->peer_name ? t->peer_name : "";
}

BIO_METHOD *tls_method(const struct tls *t)
{
	return t->method;
}

static int __attribute__((format(printf, 3, 4)))
fail(char *err, size_t err_size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_size, fmt, ap);
	va_end(ap);
	ERR_clear_error();
	return -EINVAL;
}

static const char *reason(void)
{
	const char *s = ERR_reason_error_string(ERR_peek_last_error());

	return s ? s : "unknown error";
}

static void ip_text(const ASN1_OCTET_STRING *ip, char *buf, size_t size)
{
	int af = ASN1_STRING_length(ip) == 4 ? AF_INET : AF_INET6;

	if ((af == AF_INET6 && ASN1_STRING_length(ip) != 16) ||
	    !inet_ntop(af, ASN1_STRING_get0_data(ip), buf, (socklen_t)size))
		snprintf(buf, size, "?");
}

/* The names in a certificate, " host.example 10.0.0.1", for whoever mistyped peer-name=. */
static void cert_names(const X509 *cert, char *buf, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t at = 0;
	int i;

	buf[0] = 0;
	for (i = 0; i < sk_GENERAL_NAME_num(names) && at + 1 < size; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		char ip[INET6_ADDRSTRLEN];

		if (g->type == GEN_DNS) {
			at += (size_t)snprintf(buf + at, size - at, " %.*s",
			                       ASN1_STRING_length(g->d.dNSName),
			                       (const char *)ASN1_STRING_get0_data(g->d.dNSName));
		} else if (g->type == GEN_IPADD) {
			ip_text(g->d.iPAddress, ip, sizeof(ip));
			at += (size_t)snprintf(buf + at, size - at, " %s", ip);
		}
	}
	GENERAL_NAMES_free(names);
}

/* Called by OpenSSL for each certificate of a chain once its signature, dates and purpose are
 * good, the peer's own (depth 0) last; the name was checked before that. */
static int verify_cb(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_session *s = ssl ? SSL_get_app_data(ssl) : NULL;
	int error = X509_STORE_CTX_get_error(store);
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned char *der = NULL;
	bool same = false;
	int len;

	if (!s)
		return 0;
	if (!ok &&
	    (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH))
		cert_names(X509_STORE_CTX_get0_cert(store), s->names, sizeof(s->names));
	if (!ok || X509_STORE_CTX_get_error_depth(store) != 0 || !s->tls->have_pin)
		return ok;
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(X509_STORE_CTX_get_current_cert(store)), &der);
	if (len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL))
		same = CRYPTO_memcmp(hash, s->tls->pin, sizeof(s->tls->pin)) == 0;
	OPENSSL_free(der);
	if (!same)
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return same;
}

/* Opens a file that has to be there; a key (secret) must be its owner's alone. */
static FILE *open_pem(const char *path, bool secret, char *err, size_t err_size)
{
	struct stat st;
	FILE *f;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		int e = errno;

		(void)fail(err, err_size, "cannot open %s: %s; %s", path, strerror(e),
		           e == ENOENT ? MAKE_NEW : "check its owner and mode");
		return NULL;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		(void)fail(err, err_size, "%s is not a regular file; " MAKE_NEW, path);
	} else if (secret && (st.st_mode & 077)) {
		(void)fail(err, err_size,
		           "%s is a private key that others can use (mode %04o); "
		           "chmod 600 it, or " MAKE_NEW,
		           path, (unsigned)st.st_mode & 07777);
	} else if (secret && st.st_uid != geteuid()) {
		(void)fail(err, err_size,
		           "%s is a private key that belongs to uid %u; chown it to uid %u, who runs "
		           "this, or " MAKE_NEW,
		           path, (unsigned)st.st_uid, (unsigned)geteuid());
	} else {
		f = fdopen(fd, "r");
		if (f)
			return f;
		(void)fail(err, err_size, "cannot read %s: %s", path, strerror(errno));
	}
	close(fd);
	return NULL;
}

static int load_ca(SSL_CTX *ctx, const char *dir, char *err, size_t err_size)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	char path[4400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/ca-cert.pem", dir);
	f = open_pem(path, false, err, err_size);
	if (!f)
		return -EINVAL;
	fclose(f);
	if (!X509_STORE_load_file(store, path))
		return fail(err, err_size, "%s holds no usable certificate (%s); " MAKE_NEW, path,
		            reason());
	snprintf(path, sizeof(path), "%s/ca-crl.pem", dir);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	/* from now on a revoked certificate, or an outdated list, is an error */
	f = open_pem(path, false, err, err_size);
	if (!f)
		return -EINVAL;
	fclose(f);
	if (!X509_STORE_load_file(store, path))
		return fail(err, err_size,
		            "%s holds no usable revocation list (%s); renew or remove it", path,
		            reason());
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return 0;
}

/* An encrypted key: nobody is there to type a password. */
static int no_password(char *buf, int size, int writing, void *ctx)
{
	(void)buf, (void)size, (void)writing, (void)ctx;
	return -1;
}

static int load_key(SSL_CTX *ctx, const char *dir, const char *side, char *err, size_t err_size)
{
	EVP_PKEY *key;
	char path[4400];
	int rc;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-key.pem", dir, side);
	f = open_pem(path, true, err, err_size);
	if (!f)
		return -EINVAL;
	key = PEM_read_PrivateKey(f, NULL, no_password, NULL);
	fclose(f);
	if (!key)
		return fail(err, err_size,
		            "%s holds no usable private key (%s; it must be PEM without "
		            "a password); " MAKE_NEW,
		            path, reason());
	rc = SSL_CTX_use_PrivateKey(ctx, key) && SSL_CTX_check_private_key(ctx);
	EVP_PKEY_free(key);
	if (!rc)
		return fail(err, err_size, "%s does not belong to %s-cert.pem (%s); " MAKE_NEW,
		            path, side, reason());
	return 0;
}

static void date_text(const ASN1_TIME *t, char *buf, size_t size)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(buf, size, "an unreadable date");
}

/* Would the peer, with the same authority, accept what we are going to show? */
static int check_own(SSL_CTX *ctx, const char *path, bool server, char *err, size_t err_size)
{
	X509 *cert = SSL_CTX_get0_certificate(ctx);
	STACK_OF(X509) *chain = NULL;
	X509_STORE_CTX *sc;
	char date[64];
	int rc = 0, e;

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0) {
		date_text(X509_get0_notAfter(cert), date, sizeof(date));
		return fail(err, err_size, "%s expired on %s; " MAKE_NEW, path, date);
	}
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		date_text(X509_get0_notBefore(cert), date, sizeof(date));
		return fail(err, err_size, "%s is not valid before %s; is this host's clock right?",
		            path, date);
	}
	SSL_CTX_get0_chain_certs(ctx, &chain);
	sc = X509_STORE_CTX_new();
	if (!sc || !X509_STORE_CTX_init(sc, SSL_CTX_get_cert_store(ctx), cert, chain) ||
	    !X509_STORE_CTX_set_default(sc, server ? "ssl_server" : "ssl_client")) {
		rc = fail(err, err_size, "cannot check %s: %s", path, reason());
	} else if (X509_verify_cert(sc) != 1) {
		e = X509_STORE_CTX_get_error(sc);
		rc = fail(err, err_size, "%s is not good for ca-cert.pem beside it: %s; " MAKE_NEW,
		          path, X509_verify_cert_error_string(e));
	}
	X509_STORE_CTX_free(sc);
	return rc;
}

static int load_own(SSL_CTX *ctx, const char *dir, bool server, char *err, size_t err_size)
{
	const char *side = server ? "server" : "client";
	char path[4400];
	int rc;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-cert.pem", dir, side);
	f = open_pem(path, false, err, err_size);
	if (!f)
		return -EINVAL;
	fclose(f);
	if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
		return fail(err, err_size, "%s holds no usable certificate (%s); " MAKE_NEW, path,
		            reason());
	rc = load_key(ctx, dir, side, err, err_size);
	return rc ? rc : check_own(ctx, path, server, err, err_size);
}

/* The name is checked on accepted connections as well: both ends know whom they talk to. */
static int set_peer_name(SSL_CTX *ctx, const char *name, char *err, size_t err_size)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
	struct in6_addr addr;
	int ok;

	if (!name)
		return 0;
	if (inet_pton(AF_INET, name, &addr) == 1 || inet_pton(AF_INET6, name, &addr) == 1) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(param, name);
	} else {
		/* a wildcard would be a name for several hosts; the common name is no name */
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_WILDCARDS |
		                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
		ok = X509_VERIFY_PARAM_set1_host(param, name, 0);
	}
	return ok ? 0
	          : fail(err, err_size, "peer-name=%s is neither a DNS name nor an address", name);
}

static int set_options(SSL_CTX *ctx)
{
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_cb);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) &&
	       SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
	       SSL_CTX_set_num_tickets(ctx, 0) && SSL_CTX_set_max_early_data(ctx, 0) &&
	       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
	                                     "TLS_CHACHA20_POLY1305_SHA256");
}

static SSL_CTX *make_ctx(const struct tls_config *c, bool server, char *err, size_t err_size)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	if (!ctx || !set_options(ctx)) {
		(void)fail(err, err_size, "cannot set up TLS: %s", reason());
	} else if (!load_ca(ctx, c->dir, err, err_size) &&
	           !load_own(ctx, c->dir, server, err, err_size) &&
	           !set_peer_name(ctx, c->peer_name, err, err_size)) {
		return ctx;
	}
	SSL_CTX_free(ctx);
	return NULL;
}

struct tls *tls_create(const struct tls_config *config, char *err, size_t err_size)
{
	struct tls *t;

	if (!config->peer_name && !config->peer_pin) {
		(void)fail(err, err_size,
		           "give peer-name= or peer-pin=: whose certificate is the peer's?");
		return NULL;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		goto nomem;
	if (config->peer_pin) {
		t->have_pin = true;
		memcpy(t->pin, config->peer_pin, sizeof(t->pin));
	}
	t->method = tls_bio_method();
	if (config->peer_name)
		t->peer_name = strdup(config->peer_name);
	if (!t->method || (config->peer_name && !t->peer_name))
		goto nomem;
	if (config->dial && !(t->client = make_ctx(config, false, err, err_size)))
		goto fail;
	if (config->listen && !(t->server = make_ctx(config, true, err, err_size)))
		goto fail;
	return t;
nomem:
	(void)fail(err, err_size, "out of memory");
fail:
	tls_destroy(t);
	return NULL;
}

void tls_destroy(struct tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->client);
	SSL_CTX_free(t->server);
	BIO_meth_free(t->method);
	free(t->peer_name);
	free(t);
}
