#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# conf=FILE: the same words, one a line; comments and blank lines; an unknown word is an error that names it.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

mkcerts
free_port
cat >"$T/b.conf" <<-END
	# the backup
	role=backup
	listen=127.0.0.1:$PORT

	tls=$T/certs/b
	peer-name=a
	journal-size=64M
END
colofs_mount "$BS" "$B" "conf=$T/b.conf"
assert_eq "$(status "$B" .role)" backup role
assert_eq "$(status "$B" .journal.limit)" $((64 << 20)) journal-size
echo 'colour=blue' >>"$T/b.conf"
stop "$B"
must_fail colofs "$BS" "$B" -o "conf=$T/b.conf"
assert_match "$OUT" '*colour*' "the message"
