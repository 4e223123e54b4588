/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The few things the simulator looks at behind the node's public face: which
 * epoch is current and which is committed, after every event, so that the
 * model knows the instant of each cut. What it checks are bytes, not these.
 */
#ifndef COLOFS_TESTS_PEEK_H
#define COLOFS_TESTS_PEEK_H

#include "../../repl/node.h"

bool peek_failed(const struct node *n);
/* As a primary it had a session: it has to ask when it starts. */
bool peek_had_peer(const struct node *n);
/* Promoted, and not drained yet: its images are behind what its guest sees. */
bool peek_local(const struct node *n);
/* Its peer is a whole copy of this lineage: on-link-loss=suspend counts. */
bool peek_established(const struct node *n);
bool peek_primary(const struct node *n);
bool peek_fencing(const struct node *n); /* ... or failing over by itself */
bool peek_part(const struct node *n);    /* ... in the middle of a resync in-place */
bool peek_parting(const struct node *n); /* ... or about to be */
bool peek_rejoin(const struct node *n);  /* a backup that says it is not level */
bool peek_live(const struct node *n);    /* it counts the other as its peer */
bool peek_split(const struct node *n);   /* its last error says split brain */
const char *peek_error(const struct node *n); /* the last one it said */
bool peek_protected(const struct node *n);
/* The peer lacks nothing; the image's file alone holds the byte, on a backup. */
bool peek_level(const struct node *n);
bool peek_plain(const struct node *n, uint64_t image, uint64_t off);
/* All that the primary has sent has come to the backup. */
bool peek_arrived(const struct node *primary, const struct node *backup);
bool peek_writers(const struct node *n); /* an image is open for writing */
void peek_epochs(const struct node *n, uint64_t *current, uint64_t *committed);

#endif
