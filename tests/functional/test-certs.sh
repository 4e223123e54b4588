#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# colofsctl certs: a private CA and one directory a node in QEMU's layout; names and addresses in both; keys 0600. What is
# meant as an address and is none does not become a name, and nothing is made.
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

refused() { # PATTERN WORD...
	local pattern=$1 rc=0 word
	shift
	for word; do
		rc=0
		colofsctl certs "$T/none" "$word" >"$T/out" 2>&1 || rc=$?
		assert_eq "$rc" 2 "exit code of certs DIR $word ($(cat "$T/out"))"
		# shellcheck disable=SC2059
		assert_match "$(cat "$T/out")" "$(printf "$pattern" "${word#*,}")" "message, $word"
		[ ! -e "$T/none" ] || fail "something was made of $word"
	done
}
refused '*"%s" is no IPv4 address*' a,999.1.1.1 a,10.0.0 a,10.0.0.1.2 a,1.2.3.4. a,01.2.3.4 999.1.1.1 a,1..2
refused '*"%s" is no IPv6 address*' a,2001:db8::12345 a,1:2:3 a,10.0.0.1:7420
refused '*"%s" is neither a name nor an address*' a,b..c a,b. a,-b a,b- a,b.-c.d a,b-.c 'a,*.example' 'a,b c' a,b/c a,.b \
	"a,$(printf 'x%.0s' {1..64}).example"
refused '*"%s" is neither a name nor an address*' a..b .a a. a- '*'
refused '*a node?s name is*' ca "$(printf 'x%.0s' {1..64})"
colofsctl certs "$T/good" 7,7.example,xn--bcher-kva.example,a_b,1.2.3.4,::ffff:1.2.3.4,4.in-addr.arpa \
	"$(printf 'x%.0s' {1..63}),$(printf 'x%.0s' {1..63}).$(printf 'y%.0s' {1..63})" >/dev/null
