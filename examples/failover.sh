#!/bin/sh
# On the backup, when the primary is gone. FENCE has to make sure of that: power it off, cut its storage.
# Two writable copies are worse than none.
set -e
mnt=${1:-/srv/vm1}
fence=${2:?usage: failover.sh MNT FENCE-COMMAND}
"$fence"
colofsctl failover -y "$mnt"
colofsctl status "$mnt"
