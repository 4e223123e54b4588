/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pair of nodes in memory for scripts: a primary that dials, its backup, and the wire between them, all of it in lockstep.
 * A request runs until it is answered; time goes on only where a script says so, or while a request waits.
 */
#ifndef COLOFS_TESTS_FUZZ_PAIR_H
#define COLOFS_TESTS_FUZZ_PAIR_H

#include "host.h"

struct side {
	struct host host;
	int link; /* -1: none */
};

extern struct side side[2];      /* the primary, its backup */
extern bool wrong;               /* something was not as it must be: fault() has said what */
extern const char *pair_context; /* what a fault's line begins with */

extern char pair_reply[8192];    /* of the last command */

/* The first of a script is printed, what follows from it is not. */
void fault(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

bool boot(struct side *s);
/* Killed, and started again. */
void reboot(struct side *s);
bool is_failed(struct side *s);
/* Up to this many requests of each disk, and what lies on the wire; how much there was: 0 at rest. */
uint32_t pair_step(uint32_t ios);
/* Everything that goes on by itself, until nothing does. */
void pump(void);
/* The same, then a tick; a node that failed is started again. */
void pass(uint64_t ms);
bool protected_now(void);
/* Until the pair is protected, or a sync's end waits for a flush: the twin's overlay is not empty. */
void heal(void);
/* 0 or -errno; -ENOENT: no such image here. */
int guest(int at, struct guest_io g, const char *name);
int command(int at, struct command c);
/* As written to ctl. */
int say(int at, const char *text);

#endif
