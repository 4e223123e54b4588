/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names that a peer's certificate shows, as they are put into a message: input is the certificate, DER. */
#include "../../repl/tls.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Certificates carry kilobytes of keys and signatures that are OpenSSL's own affair: an input whose first byte is
	 * none of DER's is the subjectAltName alone. */
	const uint8_t *p = data;
	X509 *cert = NULL;
	char names[200];

	if (size && data[0] == 0x30)
		cert = d2i_X509(NULL, &p, (long)size);
	if (!cert && size && (cert = X509_new())) {
		ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();

		ASN1_OCTET_STRING_set(value, data + 1, (int)size - 1);
		X509_EXTENSION *e = X509_EXTENSION_create_by_NID(NULL, NID_subject_alt_name, 0, value);

		X509_add_ext(cert, e, -1);
		X509_EXTENSION_free(e);
		ASN1_OCTET_STRING_free(value);
	}
	if (cert) {
		cert_names(cert, names, sizeof(names));
		if (!memchr(names, 0, sizeof(names)))
			abort();
	}
	X509_free(cert);
	return 0;
}
