#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A node that dials shows nothing to a listener without the right certificate: it says what is wrong, serves its guest,
# and finds the true peer again. A dialling primary, and a dialling backup; a node's own certificates, too.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require openssl
. "$TESTS/certs.sh"

pki
bad_certs DNS:b,IP:127.0.0.1 clientAuth "$PKI/a"
cp "$PKI/a/ca-crl.pem" "$PKI/b/"
random_file "$AS/disk.img" 1000000
free_port

# Whoever listens where the peer should be gets nothing, and the node says these words.
no_peer() { # MNT WORDS WHAT COMMAND...
	local mnt=$1 words=$2 what=$3 files
	shift 3
	files=$(files_of "$(source_of "$mnt")")
	"$@" >"$T/listener.log" 2>&1 <&"$TICK" {TICK}>&- &
	LISTENER=$!
	wait_for 10 listening || fail "$what: nobody listens: $(cat "$T/listener.log")"
	ctl "$mnt" connect
	wait_for 15 says "$mnt" "$words" || fail "$what: $(status "$mnt" .last_error.text)"
	[ "$(status "$mnt" .link.state)" != up ] || fail "$what: the link is up"
	! tr -d '\0' <"$T/listener.log" | grep -q 'LOFS\|^<' || fail "$what got something: $(cat "$T/listener.log")"
	assert_eq "$(files_of "$(source_of "$mnt")")" "$files" "files of the node, after: $what"
	say "$what: $(status "$mnt" .last_error.text)"
	kill "$LISTENER"
	wait "$LISTENER" 2>/dev/null || :
}
says() {
	[[ $(status "$1" .last_error.text) =~ $2 ]]
}
listening() {
	[ -n "$(ss -Hltn "sport = :$PORT")" ]
}
s_server() { # OPTIONS...
	exec openssl s_server -accept "127.0.0.1:$PORT" -quiet "$@"
}
holds() { # COMMANDS OPTIONS...: tests/peer, for whoever comes
	printf '%b' "$1" >"$T/commands"
	shift
	exec peer "$@" -s "$T/commands" hold "127.0.0.1:$PORT"
}
everybody() { # MNT
	local kind
	for kind in "${BAD_CERTS[@]}"; do
		[ "$kind" != no-certificate ] || continue # a TLS 1.3 server has one
		cert_words "$kind"
		no_peer "$1" "$(said_of "$kind")" "$kind" holds 'closed\n' "${WORDS[@]}"
	done
	no_peer "$1" 'TLS 1.3|version' "TLS 1.2" s_server -tls1_2 -cert "$PKI/b.pem" -key "$PKI/key.pem"
	printf 'HTTP/1.0 400 Bad Request\r\n\r\n' >"$T/plain"
	no_peer "$1" "$(said_of plain)" "HTTP" holds "raw $T/plain\nclosed\n" -t none
	no_peer "$1" "$(said_of plain)|TLS" "garbage" holds 'noise 3000\nclosed\n' -t none
	no_peer "$1" 'closed|broke|reset' "nothing, and an end" holds 'close\n' -t none
}

# A recorded session first: what the true listener said in it helps nobody.
REAL=$PORT
colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$REAL,tls=$PKI/b,peer-name=a,journal-size=16M"
free_port
peer relay "$PORT" "127.0.0.1:$REAL" "$T/recorded" >"$T/relay.log" 2>&1 {TICK}>&- &
relay=$!
wait_for 10 grep -q listening "$T/relay.log"
colofs_mount "$AS" "$A" "role=primary,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-name=b"
wait_protected
flush "$A"
stop "$B"
wait "$relay"
no_peer "$A" 'TLS|handshake' "a recorded session" holds "raw $T/recorded.answers\nclosed\n" -t none
everybody "$A"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=9 conv=notrunc,fsync status=none
colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$PORT,tls=$PKI/b,peer-name=a,journal-size=16M"
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"

# The backup dials. With a pin alone the name is no question, the key is.
stop "$A"
stop "$B"
pin=$(openssl pkey -in "$PKI/ca/key.pem" -pubout -outform DER 2>/dev/null | openssl dgst -sha256 -r | cut -c1-64)
colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-pin=sha256:$pin"
cert_words b
no_peer "$B" "$(said_of wrong-pin)" "the wrong key" holds 'closed\n' "${WORDS[@]}"
stop "$B"
colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-name=b"
everybody "$B"
stop "$B"
pin=$(openssl pkey -in "$PKI/key.pem" -pubout -outform DER 2>/dev/null | openssl dgst -sha256 -r | cut -c1-64)
colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-pin=sha256:$pin"
colofs_mount "$AS" "$A" "role=primary,listen=127.0.0.1:$PORT,tls=$PKI/b,peer-name=a"
wait_protected
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"

# A node's own certificate is looked at when it starts: it would be refused by its peer.
stop "$A"
stop "$B"
for kind in expired not-yet-valid; do
	must_fail colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PORT,tls=$PKI/$kind,peer-name=b"
	assert_match "$OUT" "*$([ $kind = expired ] && echo expired || echo 'not valid before')*" "mount with one $kind of its own"
done
