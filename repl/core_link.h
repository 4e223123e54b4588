/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Links to whoever may be the peer, and who may pair with whom. Included by core.h only. */
#ifndef COLOFS_REPL_CORE_LINK_H
#define COLOFS_REPL_CORE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "core_save.h"
#include "frame.h"
#include "node.h"

#define LINK_SMALL 4096u /* bytes of a payload for which a link has room of its own */
#define HANDSHAKE_MS 5000u
#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 5000u
#define BACKOFF_BUSY_MS 1000u        /* the longest where the peer is only not ready yet; the shortest where it refused */
#define TURNS_MIN 3u                 /* links that were replaced while alive, each within ... */
#define TURNS_MS 60000u              /* ... this of the one before: two nodes with one id */
#define ALIVE_MS 1500u               /* a sound peer is heard each second */
#define NUMBER_JUMP (1ull << 40)     /* a peer's numbers so far ahead of ours are lies: they would use them up */

/* PARKED: refused for a reason that does not pass by itself; kept, so that its end tells of a change over there. */
enum plink_state { PL_FREE, PL_HELLO, PL_WELCOME, PL_LIVE, PL_PARKED };

/* One transport to somebody who may be the peer. */
struct plink {
	uint8_t state;
	bool dialled;
	char peer[300], tls[64];
	uint64_t opened_ms, live_ms, heard_ms;
	uint8_t header[FRAME_HEADER];
	uint32_t have;          /* bytes of the header, then of the payload */
	bool in_payload;
	bool journaled;         /* the payload goes to the journal, at pos */
	uint64_t pos;
	struct frame frame;
	uint8_t *payload;       /* where this frame's payload goes; NULL: discard */
	uint8_t *owned;         /* malloc'ed, when it is */
	uint32_t owned_size;
	struct hello hello;
	uint64_t alone_bytes, alone_ms; /* said with it: pair_alone(), pair_age() */
	struct save save;
	struct welcome welcome;
	uint64_t session, save_session; /* the save under way is for this one */
	bool have_hello, full;
	bool made_pair;         /* for this link's peer, which may refuse it yet */
	int parked_role;        /* this node's, when it was refused ... */
	uint64_t parked_generation; /* ... likewise */
	unsigned parked_for;    /* REFUSE_*: why */
	uint64_t told_committed, told_prepared; /* epochs in the HELLO that was sent */
	int index;              /* in node's links */
};

/* link.c */
void link_send(struct node *n, int link, struct frame *f, const void *payload, size_t len);
void link_pump(struct node *n);
void link_drop(struct node *n, int link, const char *why);
uint32_t link_ping_ms(const struct node *n);
void links_close(struct node *n, unsigned refusal);
void link_connect(struct node *n, struct command_req *r);
void link_disconnect(struct node *n, struct command_req *r);

/* refuse.c */
void link_refuse(struct node *n, int link, unsigned refusal);
bool link_parked(const struct node *n);
void link_changed(struct node *n); /* something changed here: the peer that was refused for good is tried anew */
int refuse_got(struct node *n, struct plink *l);
void link_replaced(struct node *n, int link); /* a newer one of the same node id is there */
bool link_turns(const struct node *n); /* again and again: two nodes bear one id */
void refuse_pump(struct node *n);

/* handshake.c: each takes one frame; <0: drop the link */
int handshake_hello(struct node *n, struct plink *l, const uint8_t *payload);
int handshake_welcome(struct node *n, struct plink *l, const uint8_t *payload);
int handshake_ready(struct node *n, struct plink *l);
void handshake_settled(struct node *n); /* primary: what the peer held prepared is taken or dropped: on to the sync */

/* pair.c */
enum verdict { PAIR_REFUSE, PAIR_DELTA, PAIR_FULL, PAIR_FIRST };
enum verdict pair_judge(const struct node *n, const struct hello *peer, unsigned *refusal, bool *stale);
void pair_hello(struct node *n, struct hello *h);
uint64_t pair_alone(const struct node *n); /* bytes that the last common epoch lacks; at most 2^47 */
uint64_t pair_age(const struct node *n);   /* ms since this node's last commit; 0: not known */
void pair_split(struct node *n, const struct plink *l);

/* ask.c */
void ask_begin(struct node *n);    /* the start's last step */
void ask_answered(struct node *n); /* a session is up, or the peer's copy is known to be the older one */
void ask_judged(struct node *n, unsigned refusal); /* the two do not go together */
void ask_pump(struct node *n);

#endif
