#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The primary refuses a peer of the wrong name, pin or certificate date, says so, and serves its guest; with the
# right pin alone it is let in.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root
require openssl

random_file "$AS/disk.img" 1000000
start_backup
pin() { # CERTIFICATE
	openssl x509 -in "$1" -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r | cut -c1-64
}
right=$(pin "$T/certs/b/server-cert.pem")
wrong=$(pin "$T/certs/a/server-cert.pem")

refused() { # WHAT OPTIONS [TLS-DIRECTORY]
	TLS_A=${3:-} start_primary "$2"
	wait_status "$A" '(.last_error.text // "") | test("certificate|name|pin|key|TLS|expired"; "i")' 20
	assert_eq "$(status "$A" .protected)" false "protected, $1"
	assert_eq "$(status "$A" .link.state | grep -c up || :)" 0 "link up, $1"
	dd if=/dev/urandom of="$A/disk.img" bs=64k count=2 conv=notrunc,fsync status=none
	stop "$A"
}
refused "wrong name" peer-name=somebody-else
refused "wrong pin" "peer-pin=sha256:$wrong"
colofsctl certs "$T/other" a,127.0.0.1 b,127.0.0.1 >/dev/null
refused "another CA here" "" "$T/other/a"

# an expired certificate: the same key, signed by the same CA when there is its key, else by a new CA
mkdir "$T/old"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ca -days 10 \
	-keyout "$T/old/ca-key.pem" -out "$T/old/ca-cert.pem" 2>/dev/null
cat >"$T/old/ca.conf" <<-END
	[ca]
	default_ca = this
	[this]
	database = $T/old/index
	new_certs_dir = $T/old
	serial = $T/old/serial
	default_md = sha256
	policy = any
	x509_extensions = v3
	[any]
	commonName = supplied
	[v3]
	subjectAltName = DNS:b,IP:127.0.0.1
	extendedKeyUsage = serverAuth,clientAuth
END
: >"$T/old/index"
echo 01 >"$T/old/serial"
issue() { # DIR START END
	mkdir -p "$1"
	cp "$T/old/ca-cert.pem" "$1/"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$(basename "$1")" \
		-keyout "$1/server-key.pem" -out "$1/req.pem" 2>/dev/null
	openssl ca -batch -notext -config "$T/old/ca.conf" -cert "$T/old/ca-cert.pem" -keyfile "$T/old/ca-key.pem" \
		-startdate "$2" -enddate "$3" -in "$1/req.pem" -out "$1/server-cert.pem" 2>"$T/ca.log" || fail "$(cat "$T/ca.log")"
	chmod 600 "$1/server-key.pem"
	cp -p "$1/server-key.pem" "$1/client-key.pem"
	cp "$1/server-cert.pem" "$1/client-cert.pem"
}
issue "$T/old/good" 20200101000000Z 21200101000000Z
issue "$T/old/expired" 20200101000000Z 20210101000000Z
stop "$B"
must_fail colofs_mount "$BS" "$B" "role=backup,listen=127.0.0.1:$PEER_PORT,tls=$T/old/expired,peer-name=b"
assert_match "$OUT" '*expired*' "mount with an expired certificate of its own"
openssl s_server -accept "127.0.0.1:$PEER_PORT" -tls1_3 -quiet -Verify 1 -CAfile "$T/old/ca-cert.pem" \
	-cert "$T/old/expired/server-cert.pem" -key "$T/old/expired/server-key.pem" >"$T/server.log" 2>&1 <&"$TICK" &
server=$!
refused "expired" "" "$T/old/good"
kill "$server"
wait "$server" 2>/dev/null || :
start_backup
start_primary "peer-pin=sha256:$right"
wait_protected
flush "$A"
