/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One TLS session over memory: a BIO that reads from the bytes the socket
 * gave and writes to the link's send queue, and OpenSSL's errors in words.
 * Called by net_conn.c; event-loop thread.
 */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../ctl/log.h"

/* AES-GCM's limit is about 2^24.5 records a key (RFC 8446, 5.5). */
#ifndef TLS_REKEY_RECORDS
#define TLS_REKEY_RECORDS (1u << 22)
#endif

static int bio_read(BIO *bio, char *buf, int size)
{
	struct tls_session *s = BIO_get_data(bio);
	size_t n = s->in_len < (size_t)size ? s->in_len : (size_t)size;

	BIO_clear_retry_flags(bio);
	if (n) {
		memcpy(buf, s->in, n);
		s->in += n;
		s->in_len -= n;
		return (int)n;
	}
	if (s->in_eof)
		return 0;
	BIO_set_retry_read(bio);
	return -1;
}

static int bio_write(BIO *bio, const char *buf, int len)
{
	struct tls_session *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	return s->out(s->ctx, buf, (size_t)len) ? -1 : len;
}

static long bio_ctrl(BIO *bio, int cmd, long n, void *ptr)
{
	struct tls_session *s = BIO_get_data(bio);

	(void)n, (void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH: return 1;
	case BIO_CTRL_EOF: return s && s->in_eof && !s->in_len;
	default: return 0;
	}
}

BIO_METHOD *tls_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "link");

	if (m && (!BIO_meth_set_read(m, bio_read) || !BIO_meth_set_write(m, bio_write) ||
	          !BIO_meth_set_ctrl(m, bio_ctrl))) {
		BIO_meth_free(m);
		m = NULL;
	}
	return m;
}

int tls_session_init(struct tls_session *s, struct tls *t, bool dialled)
{
	BIO *bio;

	s->tls = t;
	s->dialled = dialled;
	s->in = NULL;
	s->in_len = 0;
	s->in_eof = false;
	s->records = 0;
	s->names[0] = s->why[0] = 0;
	s->ssl = SSL_new(tls_ctx(t, dialled));
	bio = BIO_new(tls_method(t));
	if (!s->ssl || !bio) {
		BIO_free(bio);
		SSL_free(s->ssl);
		s->ssl = NULL;
		ERR_clear_error();
		return -ENOMEM;
	}
	BIO_set_data(bio, s);
	SSL_set_app_data(s->ssl, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(s->ssl, bio, bio);
	if (dialled)
		SSL_set_connect_state(s->ssl);
	else
		SSL_set_accept_state(s->ssl);
	return 0;
}

void tls_session_free(struct tls_session *s)
{
	SSL_free(s->ssl);
	s->ssl = NULL;
}

static void __attribute__((format(printf, 2, 3))) say(struct tls_session *s, const char *fmt, ...)
{
	char text[sizeof(s->why)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_clean(s->why, sizeof(s->why), text);
}

static void say_verify(struct tls_session *s, long result)
{
	switch (result) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		say(s, "the peer's certificate is not for peer-name=%s; it names:%s",
		    tls_peer_name(s->tls), s->names[0] ? s->names : " nobody");
		break;
	case X509_V_ERR_APPLICATION_VERIFICATION:
		say(s, "the peer's certificate has another public key than peer-pin= says");
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		say(s, "the peer's certificate may not be used by a TLS %s",
		    s->dialled ? "server" : "client");
		break;
	default:
		say(s, "the peer's certificate was refused: %s",
		    X509_verify_cert_error_string(result));
	}
}

static void say_alert(struct tls_session *s, int alert)
{
	const char *text = SSL_alert_desc_string_long(alert);

	switch (alert) {
	case SSL_AD_BAD_CERTIFICATE:
	case SSL_AD_UNSUPPORTED_CERTIFICATE:
	case SSL_AD_CERTIFICATE_REVOKED:
	case SSL_AD_CERTIFICATE_EXPIRED:
	case SSL_AD_CERTIFICATE_UNKNOWN:
	case SSL_AD_UNKNOWN_CA:
	case SSL_AD_ACCESS_DENIED:
	case SSL_AD_CERTIFICATE_REQUIRED:
	case SSL_AD_HANDSHAKE_FAILURE:
		say(s, "the peer refused our certificate: %s (its log says more)", text);
		break;
	case SSL_AD_PROTOCOL_VERSION: say(s, "the peer does not take TLS 1.3"); break;
	default: say(s, "the peer sent the TLS alert \"%s\"", text);
	}
}

/* Why OpenSSL gave up, into s->why. -EPROTO. */
static int explain(struct tls_session *s, const char *doing)
{
	unsigned long e = ERR_peek_error();
	long verify = SSL_get_verify_result(s->ssl);
	int r = ERR_GET_REASON(e);
	const char *text;

	if (!e || r == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		say(s,
		    s->in_eof ? "the peer closed the connection%s%s" : "the connection broke%s%s",
		    doing[0] ? " during the " : "", doing);
	} else if (ERR_GET_LIB(e) == ERR_LIB_SSL && r == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		say_verify(s, verify);
	} else if (ERR_GET_LIB(e) == ERR_LIB_SSL && r > SSL_AD_REASON_OFFSET) {
		say_alert(s, r - SSL_AD_REASON_OFFSET);
	} else if (r == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		say(s, "the peer showed no certificate");
	} else if (r == SSL_R_WRONG_VERSION_NUMBER || r == SSL_R_HTTP_REQUEST ||
	           r == SSL_R_HTTPS_PROXY_REQUEST || r == SSL_R_UNKNOWN_PROTOCOL ||
	           r == SSL_R_PACKET_LENGTH_TOO_LONG || r == SSL_R_RECORD_LENGTH_MISMATCH ||
	           (r == SSL_R_UNEXPECTED_MESSAGE && SSL_in_before(s->ssl))) {
		say(s,
		    "what the other side speaks is not TLS (insecure=yes there? another service?)");
	} else if (r == SSL_R_UNSUPPORTED_PROTOCOL) {
		say(s, "the other side does not offer TLS 1.3");
	} else {
		text = ERR_reason_error_string(e);
		say(s, "TLS failed%s%s: %s", doing[0] ? " in the " : "", doing,
		    text ? text : "unknown error");
	}
	ERR_clear_error();
	return -EPROTO;
}

int tls_handshake(struct tls_session *s)
{
	int rc, e;

	ERR_clear_error();
	rc = SSL_do_handshake(s->ssl);
	if (rc == 1)
		return 0;
	e = SSL_get_error(s->ssl, rc);
	if (e == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	return explain(s, "TLS handshake");
}

int tls_write(struct tls_session *s, const void *buf, size_t len)
{
	size_t done;

	ERR_clear_error();
	if (s->records >= TLS_REKEY_RECORDS) {
		/* our direction only: the peer counts its own records */
		if (!SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
			return explain(s, "change of keys");
		s->records = 0;
	}
	s->records += (uint32_t)((len + TLS_RECORD - 1) / TLS_RECORD);
	if (SSL_write_ex(s->ssl, buf, len, &done) && done == len)
		return 0;
	return explain(s, "");
}

ssize_t tls_read(struct tls_session *s, void *buf, size_t size)
{
	size_t got;

	ERR_clear_error();
	if (SSL_read_ex(s->ssl, buf, size, &got))
		return (ssize_t)got;
	switch (SSL_get_error(s->ssl, 0)) {
	case SSL_ERROR_WANT_READ: return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN: return 0;
	default: return explain(s, "");
	}
}

void tls_end(struct tls_session *s)
{
	ERR_clear_error();
	if (SSL_is_init_finished(s->ssl))
		(void)SSL_shutdown(s->ssl); /* the socket's end says the same if this fails */
	ERR_clear_error();
}

void tls_describe(const struct tls_session *s, char *buf, size_t size)
{
	snprintf(buf, size, "%s %s", SSL_get_version(s->ssl), SSL_get_cipher_name(s->ssl));
}
