/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hostile peer, as a program in bytes: each fuzz input is read as a list of operations against a whole node (host.h),
 * sums and sequence numbers put right unless the program says otherwise, so that what it sends gets as deep as a real
 * peer's. fuzz_backup.c and fuzz_primary.c add what only the one or the other role is sent.
 */
#ifndef COLOFS_TESTS_FUZZ_PEER_H
#define COLOFS_TESTS_FUZZ_PEER_H

#include "../../repl/bytes.h"
#include "../../repl/core.h"
#include "../../repl/frame.h"
#include "alloc.h"
#include "host.h"

#define PEER_GUESTS 4
#define PEER_GUEST_BYTES (256u << 10)
#define PEER_OPS_MAX 400u      /* operations of one program */
#define PEER_IMAGES 8

struct conn {
	int link;              /* -1: none */
	uint64_t session, epoch, seq, first_seq, count, chain;
	uint8_t out[256u << 10]; /* bytes held back: see FLAG_HOLD */
	size_t out_len;
};

struct guest_slot {
	struct guest_io io;
	bool busy;
	uint64_t since_ms;
	uint8_t *buf;
};

struct peer {
	struct getter in;
	struct host host;
	struct conn conn[3];
	struct conn *c;        /* the one in use */
	uint64_t session_high, epoch_high;
	bool crash, stop;      /* how it ends: the disk as it is just then; in order */
	bool deaf;             /* what the node sends is not taken */
	bool automatic;        /* COMMIT is answered by DONE, HASHQ by equal */
	uint64_t asked[8], ordered; /* HASHQ seqs seen, the last COMMIT's epoch */
	uint32_t asked_count;
	uint64_t done_epoch;   /* the last DONE that the node sent */
	struct guest_slot guest[PEER_GUESTS];
	struct image *open[PEER_IMAGES];
	uint32_t open_count;
	struct command_req command[3];
	bool command_busy[3];
};

/* Numbers for the program's operands. */
uint64_t peer_image(struct peer *p);
uint64_t peer_number(struct peer *p);
const char *peer_name(struct peer *p, size_t *len);

void peer_begin(struct peer *p, const uint8_t *data, size_t len, int role);
/* Frames: numbered ones take the connection's session, epoch and next number. */
void peer_send(struct peer *p, struct frame *f, const void *payload, size_t len, uint8_t flags);
enum {
	FLAG_HOLD = 1,     /* keep the bytes until the next delivery */
	FLAG_SUM = 2,      /* a wrong payload sum */
	FLAG_SEQ = 4,      /* a number that is not next */
	FLAG_EPOCH = 8,    /* another epoch */
	FLAG_SESSION = 16, /* another session */
	FLAG_PART = 64,    /* a COMMIT: of a part */
};
void peer_hello(struct peer *p, struct hello *h, uint8_t flags);
/* COMMIT or PREPARE of all that was sent in the epoch. */
void peer_commit(struct peer *p, uint8_t type, uint8_t flags);
void peer_data(struct peer *p, uint64_t image, uint64_t off, size_t len, uint8_t flags);
/* Read what the node sent. */
void peer_absorb(struct peer *p);
void peer_open(struct peer *p, bool dialled);
/* The end of the run, unless good. */
void peer_demand(bool good, const char *what);

/* peer_guest.c: a guest's request, an image opened or closed, a command chosen by the program, a command. */
void peer_guest(struct peer *p);
void peer_image_open(struct peer *p);
void peer_image_close(struct peer *p);
void peer_command(struct peer *p);
void peer_give(struct peer *p, int which, const char *text);

/* The program: operations that both roles have, and a role's own. Then everything has to come to rest, and what is on the
 * disk has to start again. */
void peer_run(struct peer *p, void (*own)(struct peer *p, uint8_t op));

#endif
