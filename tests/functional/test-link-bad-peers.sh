#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Without the right certificate nobody gets in, whatever is wrong with his: refused, logged with the reason,
# and the guest and the true pair go on.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require openssl

random_file "$AS/disk.img" 1000000
start_backup_fg
start_primary
wait_protected
C=$T/certs
colofsctl certs "$T/other" a,127.0.0.1 b,127.0.0.1 >/dev/null
colofsctl certs "$T/stranger" c,127.0.0.1 >/dev/null

refusals() {
	grep -c 'turned down\|refused' "$T/b.log" || :
}
said=HELLO
# A client with so many of openssl's options must never be let in.
client() { # WHAT OPTIONS...
	local what=$1 before out
	shift
	before=$(refusals)
	out=$(timeout 15 openssl s_client -connect "127.0.0.1:$PEER_PORT" -quiet "$@" 2>&1 <<<"$said" || :)
	wait_for 10 more_refusals "$before" || fail "not refused and logged: $what ($out)"
	assert_eq "$(status "$A" .protected)" true "protected, after: $what"
}
more_refusals() {
	[ "$(refusals)" -gt "$1" ]
}
good=(-cert "$C/a/client-cert.pem" -key "$C/a/client-key.pem" -CAfile "$C/a/ca-cert.pem")
client "no certificate" -CAfile "$C/a/ca-cert.pem"
client "a certificate of another CA" -cert "$T/other/a/client-cert.pem" -key "$T/other/a/client-key.pem"
client "TLS 1.2" "${good[@]}" -tls1_2
client "a good certificate, six bytes and silence" "${good[@]}"
said=$(head -c 3000 /dev/urandom | base64)
client "a good certificate, garbage inside" "${good[@]}"
# plain text and garbage
for what in 'GET / HTTP/1.0\r\n\r\n' '\000\001\002\003' ''; do
	before=$(refusals)
	# shellcheck disable=SC2059
	(exec 3<>"/dev/tcp/127.0.0.1/$PEER_PORT" && { printf "$what" >&3; [ -z "$what" ] || head -c 5000 /dev/urandom >&3
		timeout 10 cat <&3 >/dev/null; }) 2>/dev/null || :
	wait_for 10 more_refusals "$before" || fail "not refused and logged: plain '$what'"
done
# many that say nothing
for i in {1..40}; do
	exec {fd}<>"/dev/tcp/127.0.0.1/$PEER_PORT" || break
	idle+=("$fd")
done
flush "$A"
for fd in "${idle[@]}"; do
	exec {fd}>&-
done
dd if=/dev/urandom of="$A/disk.img" bs=64k count=9 conv=notrunc status=none
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost by the true pair"
[ "$(grep -ciE 'refus|certificate|handshake|tls' "$T/b.log")" -ge 4 ] || fail "the log does not say why: $(cat "$T/b.log")"
