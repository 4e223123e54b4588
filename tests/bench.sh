#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# `make bench`: the tables of README.md as Markdown, then the checks in their full sizes. On a real disk ($TMPDIR or
# /var/tmp). ROUNDS and SECONDS_EACH make it longer or shorter; QUICK=1 leaves the full-size checks out.
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=${TMPDIR:-/var/tmp}
printf '%s, %s cores; Linux %s; %s on %s; %s\n\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
	"$(nproc)" "$(uname -r)" "$(findmnt -nT "$dir" -o FSTYPE)" "$(findmnt -nT "$dir" -o SOURCE)" "$(qemu-img --version | head -n 1)"
rc=0
bash "$here/bench-speed.sh" || rc=1
echo
bash "$here/bench-flush.sh" || rc=1
echo
bash "$here/bench-activity.sh" || rc=1
echo
if [ -z "${QUICK:-}" ]; then
	MEGABYTES=2048 "$here/run" memory-bounded || rc=1
	MEGABYTES=1024 "$here/run" fio-verify || rc=1
fi
exit $rc
