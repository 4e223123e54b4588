/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys and certificates for colofsctl certs, by OpenSSL. Knows no files.
 */
#ifndef COLOFS_CTL_COLOFSCTL_X509_H
#define COLOFS_CTL_COLOFSCTL_X509_H

#include <openssl/evp.h>
#include <openssl/x509.h>

enum cert_use { CERT_CA, CERT_SERVER, CERT_CLIENT };

/* A new ECDSA P-256 key, or NULL. */
EVP_PKEY *x509_key(void);
/*
 * A certificate for key, CN name, signed by ca_key. For CERT_CA ca is NULL and
 * it is signed by its own key. alt: "DNS:a,IP:b", NULL for none. NULL on error.
 */
X509 *x509_make(enum cert_use use, const char *name, const char *alt, EVP_PKEY *key, X509 *ca,
		EVP_PKEY *ca_key);
/* SHA-256 over the key's SubjectPublicKeyInfo: what peer-pin= takes. 0 or -EIO. */
int x509_pin(EVP_PKEY *key, unsigned char pin[32]);
/* Does this certificate belong to this key, and may it sign others? */
int x509_is_ca(X509 *cert, EVP_PKEY *key);
/* The first reason in OpenSSL's queue, for people. Static storage. */
const char *x509_error(void);

#endif
