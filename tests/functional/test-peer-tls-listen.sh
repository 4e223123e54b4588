#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Without the right certificate nobody who dials gets a byte in or out: each is refused with the reason in status, the
# files of the node stay as they are, and the true pair goes on. Against a listening backup, and a listening primary.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require openssl
. "$TESTS/certs.sh"

pki
bad_certs DNS:a,IP:127.0.0.1 serverAuth "$PKI/b"
cp "$PKI/b/ca-crl.pem" "$PKI/a/"
random_file "$AS/disk.img" 1000000

# One who dials must be turned down with these words in status, having got no frame.
turned_down() { # MNT WORDS WHAT COMMAND...
	local mnt=$1 words=$2 what=$3 before files out
	shift 3
	files=$(files_of "$(source_of "$mnt")")
	before=$(metric "$mnt" link_refusals_total)
	out=$("$@" 2>&1 | tr -d '\0' || :)
	wait_for 10 refused_with "$mnt" "$before" "$words" || fail "$what: $(status "$mnt" .last_error.text) ($out)"
	[[ $out != *LOFS* && $out != *"< "* ]] || fail "$what got an answer: $out"
	assert_eq "$(files_of "$(source_of "$mnt")")" "$files" "files of the node, after: $what"
	say "$what: $(status "$mnt" .last_error.text)"
}
refused_with() {
	[ "$(metric "$1" link_refusals_total)" -gt "$2" ] && [[ $(status "$1" .last_error.text) =~ $3 ]]
}
s_client() { # OPTIONS...
	timeout 20 openssl s_client -connect "127.0.0.1:$PORT" -quiet "$@" <<<HELLO
}
plain() { # TEXT
	peer -t none -s <(printf 'raw %s\nclosed\n' "$T/plain") connect "127.0.0.1:$PORT"
}
everybody() { # MNT
	local kind
	for kind in "${BAD_CERTS[@]}"; do
		cert_words "$kind"
		turned_down "$1" "$(said_of "$kind")" "$kind" peer "${WORDS[@]}" -s <(echo closed) connect "127.0.0.1:$PORT"
	done
	turned_down "$1" "$(said_of tls-1.2)" "TLS 1.2" s_client -tls1_2 -cert "$PKI/a.pem" -key "$PKI/key.pem"
	printf 'GET / HTTP/1.0\r\n\r\n' >"$T/plain"
	turned_down "$1" "$(said_of plain)" "HTTP" plain
	head -c 5000 /dev/urandom >"$T/plain"
	printf '\001' | dd of="$T/plain" conv=notrunc status=none
	turned_down "$1" "$(said_of plain)|TLS handshake" "garbage" plain
	: >"$T/plain"
	turned_down "$1" 'closed|handshake' "nothing, and an end" peer -t none -s <(echo close) connect "127.0.0.1:$PORT"
}

# A whole session is recorded through a relay: what its opener says is of no use to anybody else.
free_port
PEER_PORT=$PORT
TLS=tls=$PKI/b
colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$PEER_PORT,$TLS,peer-name=a,journal-size=16M"
free_port
peer relay "$PORT" "127.0.0.1:$PEER_PORT" "$T/recorded" >"$T/relay.log" 2>&1 {TICK}>&- &
relay=$!
wait_for 10 grep -q listening "$T/relay.log"
colofs_mount "$AS" "$A" "role=primary,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-name=b"
wait_protected
flush "$A"
stop "$A"
wait "$relay"
colofs_mount "$AS" "$A" "role=primary,peer=127.0.0.1:$PEER_PORT,tls=$PKI/a,peer-name=b"
wait_protected
flush "$A"
wait_status "$B" '.journal.sealed == 0'
PORT=$PEER_PORT
[ "$(stat -c %s "$T/recorded")" -gt 1000000 ] || fail "the relay has recorded nothing"
turned_down "$B" 'TLS|handshake|connection' "a recorded session" peer -t none -s <(printf 'raw %s\nclosed\n' "$T/recorded") \
	connect "127.0.0.1:$PORT"
everybody "$B"
assert_eq "$(metric "$A" link_losses_total)" 0 "links lost by the true pair"
dd if=/dev/urandom of="$A/disk.img" bs=64k count=9 conv=notrunc status=none
flush "$A"
assert_same "$A/disk.img" "$B/disk.img"

# A pin alone: the right name and CA, the wrong key.
stop "$B"
stop "$A"
pin=$(openssl pkey -in "$PKI/ca/key.pem" -pubout -outform DER 2>/dev/null | openssl dgst -sha256 -r | cut -c1-64)
colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$PORT,$TLS,peer-pin=sha256:$pin"
cert_words a
turned_down "$B" "$(said_of wrong-pin)" "the wrong key" peer "${WORDS[@]}" -s <(echo closed) connect "127.0.0.1:$PORT"
stop "$B"

# The primary listens, the backup dials.
colofs_mount "$AS" "$A" "role=primary,listen=127.0.0.1:$PORT,$TLS,peer-name=a,start-alone"
everybody "$A"
colofs_mount "$BS" "$B" "role=backup,peer=127.0.0.1:$PORT,tls=$PKI/a,peer-name=b"
wait_protected
flush "$A"
