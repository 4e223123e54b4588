#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SOURCE's rules: what is shown, and permissions of .colofs.
. "$(dirname "$0")/../lib.sh" || exit 1
require_root

truncate -s 1M "$AS/disk.img" "$AS/.hidden" "$T/elsewhere"
mkdir "$AS/dir"
mkfifo "$AS/fifo"
ln -s "$T/elsewhere" "$AS/link-to-file"
colofs_mount "$AS" "$A"
assert_eq "$(ls "$A" | tr '\n' ' ')" "disk.img " "what is shown"
stop "$A"

chmod 755 "$AS/.colofs"
must_fail colofs "$AS" "$A"
assert_match "$OUT" '*.colofs*' "message about loose permissions"
chmod 700 "$AS/.colofs"
colofs_mount "$AS" "$A"
