#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# colofsctl certs: a private CA and one directory a node in QEMU's layout; names and addresses in both; keys 0600.
. "$(dirname "$0")/../lib.sh" || exit 1
require openssl

colofsctl certs "$T/pki" alpha,192.0.2.1,alpha.example beta,2001:db8::2 >/dev/null
for node in alpha beta; do
	for f in ca-cert.pem server-cert.pem server-key.pem client-cert.pem client-key.pem; do
		[ -s "$T/pki/$node/$f" ] || fail "no $node/$f"
	done
	for kind in server client; do
		openssl verify -x509_strict -CAfile "$T/pki/$node/ca-cert.pem" "$T/pki/$node/$kind-cert.pem" >/dev/null ||
			fail "$node's $kind certificate does not verify"
		assert_eq "$(stat -c %a "$T/pki/$node/$kind-key.pem")" 600 "mode of a key"
	done
done
openssl x509 -in "$T/pki/alpha/server-cert.pem" -noout -checkhost alpha | grep -q 'does match' || fail "name alpha"
openssl x509 -in "$T/pki/alpha/server-cert.pem" -noout -checkip 192.0.2.1 | grep -q 'does match' || fail "address"
openssl x509 -in "$T/pki/beta/client-cert.pem" -noout -checkip 2001:db8::2 | grep -q 'does match' || fail "v6 address"
[ -z "$(find "$T/pki" -name '*key*' -perm /077)" ] || fail "a key others can read"
must_fail colofsctl certs
