/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS 1.3 for the link: the certificates of one directory (QEMU's layout),
 * and sessions that run over memory: ciphertext in from a buffer, out through
 * a function. No socket here. Event-loop thread only.
 */
#ifndef COLOFS_REPL_TLS_H
#define COLOFS_REPL_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_RECORD  16384u /* plaintext bytes in a full record */
#define TLS_WHY_MAX 320

struct tls_config {
	const char *dir;
	const char
		*peer_name; /* DNS name or address the peer's subjectAltName must hold; or NULL */
	const uint8_t *peer_pin; /* 32 bytes, SHA-256 of the peer's SubjectPublicKeyInfo; or NULL */
	bool dial, listen;       /* which of the two certificates are needed */
};

struct tls;

/* NULL with one line in err that says what to do. */
struct tls *tls_create(const struct tls_config *config, char *err, size_t err_size);
void tls_destroy(struct tls *t);

struct tls_session {
	struct tls *tls;
	SSL *ssl;
	bool dialled;
	/* ciphertext that arrived: set by the owner, eaten by tls_handshake() and tls_read() */
	const uint8_t *in;
	size_t in_len;
	bool in_eof;
	/* takes ciphertext, all of it: 0, or -errno which ends the session */
	int (*out)(void *ctx, const void *buf, size_t len);
	void *ctx;
	uint32_t records;      /* written with the present key */
	char names[160];       /* in the peer's certificate, when peer_name is not among them */
	char why[TLS_WHY_MAX]; /* after -EPROTO: one line for people, printable */
};

/* 0, -ENOMEM. The caller has set out and ctx; the rest is set here. */
int tls_session_init(struct tls_session *s, struct tls *t, bool dialled);
void tls_session_free(struct tls_session *s);
/* 0: done; -EAGAIN: needs more input; -EPROTO: failed, see why. */
int tls_handshake(struct tls_session *s);
/* Encrypt all of buf. 0 or -EPROTO. */
int tls_write(struct tls_session *s, const void *buf, size_t len);
/* Bytes (at most a record's); 0: the peer ended the session; -EAGAIN: needs more input; -EPROTO. */
ssize_t tls_read(struct tls_session *s, void *buf, size_t size);
/* Tell the peer that nothing more comes. */
void tls_end(struct tls_session *s);
/* "TLSv1.3 TLS_AES_128_GCM_SHA256" */
void tls_describe(const struct tls_session *s, char *buf, size_t size);

/* For tls.c and tls_session.c alone. */
SSL_CTX *tls_ctx(struct tls *t, bool dialled);
const char *tls_peer_name(const struct tls *t);
BIO_METHOD *tls_bio_method(void); /* made once by each tls_create() */
BIO_METHOD *tls_method(const struct tls *t);

#endif
