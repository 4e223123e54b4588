/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From backup to primary, and from primary to backup. Included by core.h only. */
#ifndef COLOFS_REPL_CORE_ROLE_H
#define COLOFS_REPL_CORE_ROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "node.h"
#include "state.h"

struct plink;

/* failover.c */
void failover_command(struct node *n, struct command_req *r);
void failover_loss(const struct node *n, bool keep_prepared, uint64_t *bytes, uint64_t *ms);
void failover_pump(struct node *n);
void failover_fenced(struct node *n);
int failover_promote(struct node *n, uint64_t epoch);
void failover_drained_pump(struct node *n);

/* fence.c */
void fence_pump(struct node *n);
void fence_heard(struct node *n);   /* a sign of life of the peer */
void fence_session(struct node *n); /* a session begins */
const char *fence_state(const struct node *n, const char **why); /* for status */

/* demote.c */
void demote_park(struct node *n, struct guest_io *g);
void demote_pump(struct node *n);
void demote_stale(struct node *n, bool fenced);
void demote_discard(struct node *n, struct command_req *r);
void switch_command(struct node *n, struct command_req *r);
void switch_pump(struct node *n);
void switch_peer_is(struct node *n, const struct hello *peer);
bool demote_cancel(struct node *n, struct command_req *r);
bool demote_cuts(const struct node *n); /* not while the role changes */
bool node_open_for_writing(const struct node *n);

/* own.c */
bool own_known(const struct node *n, uint64_t *base);
bool own_mapped(const struct node *n);
void own_keep(struct node *n);
void own_forget(struct node *n);
void own_send(struct node *n);
int own_frame(struct node *n, struct plink *l, const uint8_t *payload);

#endif
