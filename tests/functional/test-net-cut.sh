#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each way to lose a link, under fio --verify: the guest sees no error and no stall beyond link-timeout + 1 s, the backup
# keeps its epoch, and with the link back the pair is protected by itself and equal.
. "$(dirname "$0")/../lib.sh" || exit 1
. "$TESTS/lib-faults.sh"
net_setup

cable_pulled() { in_b ip link set vb down; }
cable_plugged() { in_b ip link set vb up; }
nft_b() { # RULE...
	in_b nft "add table inet cut; add chain inet cut in { type filter hook input priority 0; };
		add chain inet cut out { type filter hook output priority 0; }; $*"
}
to_backup_dropped() { nft_b "add rule inet cut in meta l4proto tcp drop"; }
to_primary_dropped() { nft_b "add rule inet cut out meta l4proto tcp drop"; }
both_ways_dropped() { nft_b "add rule inet cut in meta l4proto tcp drop; add rule inet cut out meta l4proto tcp drop"; }
reset_injected() { nft_b "add rule inet cut in meta l4proto tcp reject with tcp reset"; }
rules_gone() { in_b nft delete table inet cut; }

net_pair
scenario cable_pulled cable_plugged
scenario to_backup_dropped rules_gone
scenario to_primary_dropped rules_gone
scenario both_ways_dropped rules_gone
scenario reset_injected rules_gone
