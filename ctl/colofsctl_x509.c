/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keys and certificates for colofsctl certs. What a peer is checked for by the
 * daemon (TLS 1.3, extended key usage, subjectAltName) is what is made here,
 * and no more.
 */
#include <errno.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "colofsctl_x509.h"

#define VALID_S     (3650l * 86400) /* a mirror must not stop because nobody thought of it */
#define SKEW_S      3600            /* the other node's clock may be behind */
#define SERIAL_BITS 127

EVP_PKEY *x509_key(void)
{
	return EVP_EC_gen("P-256");
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

static int set_serial(X509 *cert)
{
	BIGNUM *n = BN_new();
	int ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		 BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));

	BN_free(n);
	return ok;
}

static int set_extensions(X509 *cert, enum cert_use use, const char *alt, X509 *issuer)
{
	if (use == CERT_CA)
		return add_extension(cert, issuer, NID_basic_constraints,
				     "critical,CA:TRUE,pathlen:0") &&
		       add_extension(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		       add_extension(cert, issuer, NID_subject_key_identifier, "hash");
	return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, issuer, NID_ext_key_usage,
			     use == CERT_SERVER ? "serverAuth" : "clientAuth") &&
	       add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
	       add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always") &&
	       add_extension(cert, issuer, NID_subject_alt_name, alt);
}

X509 *x509_make(enum cert_use use, const char *name, const char *alt, EVP_PKEY *key, X509 *ca,
		EVP_PKEY *ca_key)
{
	X509 *cert = X509_new();
	X509 *issuer = ca ? ca : cert;
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;

	if (cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -(long)SKEW_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), VALID_S) &&
	    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
				       -1, 0) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
	    X509_set_pubkey(cert, key) && set_extensions(cert, use, alt, issuer) &&
	    X509_sign(cert, ca_key, EVP_sha256()))
		return cert;
	X509_free(cert);
	return NULL;
}

int x509_pin(EVP_PKEY *key, unsigned char pin[32])
{
	unsigned char *der = NULL;
	unsigned int size = 0;
	int len = i2d_PUBKEY(key, &der);
	int ok = len > 0 && EVP_Digest(der, (size_t)len, pin, &size, EVP_sha256(), NULL) &&
		 size == 32;

	OPENSSL_free(der);
	return ok ? 0 : -EIO;
}

int x509_is_ca(X509 *cert, EVP_PKEY *key)
{
	return X509_check_ca(cert) == 1 && X509_check_private_key(cert, key) == 1;
}

const char *x509_error(void)
{
	static char text[256];
	unsigned long error = ERR_peek_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;

	snprintf(text, sizeof(text), "OpenSSL: %s", reason ? reason : "no reason given");
	ERR_clear_error();
	return text;
}
