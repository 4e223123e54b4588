# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A CA whose key the test has, and certificates of all kinds; to be sourced after lib.sh. One key serves for all.
# $PKI/NAME/ is a directory for tls= (QEMU's layout); $PKI/NAME.pem and $PKI/key.pem are for other clients.
PKI=$T/pki

pki() { # sets up $PKI, with good certificates a and b
	mkdir "$PKI"
	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$PKI/key.pem" 2>/dev/null
	chmod 600 "$PKI/key.pem"
	pki_ca ca
	issue a DNS:a,IP:127.0.0.1
	issue b DNS:b,IP:127.0.0.1
}
pki_ca() { # NAME
	mkdir "$PKI/$1"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -days 10 \
		-keyout "$PKI/$1/key.pem" -out "$PKI/$1/cert.pem" 2>/dev/null
	: >"$PKI/$1/index"
	echo 1000 >"$PKI/$1/serial"
}
pki_config() { # CA SAN EKU
	cat >"$PKI/conf" <<-END
		[ca]
		default_ca = this
		[this]
		database = $PKI/$1/index
		new_certs_dir = $PKI/$1
		serial = $PKI/$1/serial
		certificate = $PKI/$1/cert.pem
		private_key = $PKI/$1/key.pem
		default_md = sha256
		default_crl_days = 30
		policy = any
		unique_subject = no
		x509_extensions = v3
		[any]
		commonName = supplied
		[v3]
		subjectAltName = $2
		extendedKeyUsage = $3
	END
}
issue() { # NAME SAN [EKU [START END [CA]]]
	pki_config "${6:-ca}" "$2" "${3:-serverAuth,clientAuth}"
	openssl req -new -key "$PKI/key.pem" -subj "/CN=$1" -out "$PKI/req.pem"
	openssl ca -batch -notext -config "$PKI/conf" -startdate "${4:-20200101000000Z}" -enddate "${5:-21200101000000Z}" \
		-in "$PKI/req.pem" -out "$PKI/$1.pem" 2>"$PKI/log" || fail "$(cat "$PKI/log")"
	mkdir -p "$PKI/$1"
	local side
	for side in server client; do
		cp "$PKI/$1.pem" "$PKI/$1/$side-cert.pem"
		cp -p "$PKI/key.pem" "$PKI/$1/$side-key.pem"
	done
	cp "$PKI/${6:-ca}/cert.pem" "$PKI/$1/ca-cert.pem"
}
self_signed() { # NAME SAN
	openssl req -x509 -key "$PKI/key.pem" -subj "/CN=$1" -addext "subjectAltName=$2" -days 10 -out "$PKI/$1.pem"
}
revoke() { # NAME DIR...: the list is in DIR/ca-crl.pem
	local dir
	pki_config ca DNS:none serverAuth
	openssl ca -config "$PKI/conf" -revoke "$PKI/$1.pem" 2>/dev/null
	openssl ca -config "$PKI/conf" -gencrl -out "$PKI/crl.pem" 2>/dev/null
	shift
	for dir; do
		cp "$PKI/crl.pem" "$dir/ca-crl.pem"
	done
}
# All that nobody may be let in with: no name, or the words for tests/peer.
BAD_CERTS=(no-certificate other-ca self-signed wrong-purpose wrong-name expired not-yet-valid revoked)
bad_certs() { # SAN PURPOSE-THAT-IS-NOT-WANTED DIR-FOR-THE-LIST
	pki_ca other
	issue other-ca "$1" "" "" "" other
	self_signed self-signed "$1"
	issue wrong-purpose "$1" "$2"
	issue wrong-name DNS:c,IP:127.0.0.9
	issue expired "$1" "" 20200101000000Z 20210101000000Z
	issue not-yet-valid "$1" "" 21000101000000Z 21200101000000Z
	issue revoked "$1"
	revoke revoked "$3"
}
# What a node that refuses such a certificate has to say.
said_of() { # KIND
	case $1 in
	no-certificate) echo 'no certificate' ;;
	other-ca) echo 'unable to get|issuer|self-signed|self signed|unknown' ;;
	self-signed) echo 'self.signed' ;;
	wrong-purpose) echo 'may not be used' ;;
	wrong-name) echo 'not for peer-name=.*it names: c 127.0.0.9' ;;
	wrong-pin) echo 'another public key than peer-pin' ;;
	expired) echo 'expired' ;;
	not-yet-valid) echo 'not yet valid' ;;
	revoked) echo 'revoked' ;;
	tls-1.2) echo 'TLS 1.3' ;;
	plain) echo 'not TLS' ;;
	esac
}
cert_words() { # KIND: options for tests/peer in WORDS
	WORDS=()
	[ "$1" = no-certificate ] || WORDS=(-c "$PKI/$1.pem" -k "$PKI/key.pem")
}
# Files of a SOURCE, when each was last changed: a write to any of them shows.
files_of() { # SOURCE
	find "$1" -type f -printf '%p %s %C@\n' | sort
}
