#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A private key that others can read, or that belongs to somebody else, is refused with a message; nothing is mounted.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

mkcerts
free_port
listen="role=backup,listen=127.0.0.1:$PORT,tls=$T/certs/b,peer-name=a"
dial="role=backup,peer=127.0.0.1:$PORT,tls=$T/certs/b"

refused() { # OPTIONS FILE WORDS WHAT
	must_fail colofs_mount "$BS" "$B" "$1"
	assert_match "$OUT" "*$2*" "$4: the file is named"
	assert_match "$OUT" "*$3*" "$4"
	! findmnt "$B" >/dev/null || fail "$4: mounted all the same"
	[ -z "$(own_daemons)" ] || fail "$4: a daemon stays"
	say "$4: $OUT"
}
for side in server client; do
	key=$T/certs/b/$side-key.pem
	options=$listen
	[ $side = server ] || options=$dial
	for mode in 0640 0604 0620 0660 0777; do
		chmod "$mode" "$key"
		refused "$options" "$key" "others can use*chmod 600" "$side key, mode $mode"
	done
	chmod 600 "$key"
	chown 65534 "$key"
	refused "$options" "$key" "belongs to uid 65534*chown" "$side key of another user"
	chown 0 "$key"
	chmod 400 "$key"
	mv "$key" "$key.real"
	mkfifo -m 600 "$key"
	refused "$options" "$key" "not a regular file" "$side key is a fifo"
	rm "$key"
	mv "$key.real" "$key"
	colofs_mount "$BS" "$B" "$options"
	stop "$B"
done
