/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Range claims on one image: overlapping writes, syncs and discards pass one
 * after the other, in the order they were claimed; so both copies apply them
 * in one order. Claims are rounded out to BLOCK. FIFO: a claim waits for every
 * earlier overlapping claim, held or waiting.
 */
#ifndef COLOFS_REPL_RANGE_H
#define COLOFS_REPL_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#define RANGE_END UINT64_MAX

struct range {
	uint64_t start, end;       /* bytes, [start, end), rounded */
	struct range *prev, *next; /* all claims of the set, oldest first */
	uint32_t waits;            /* earlier overlapping claims still there */
	bool linked;
	bool held;
	void (*granted)(struct range *r); /* called by range_release() of another; may claim and release */
	void *owner;
};

struct range_set {
	struct range *head, *tail;
	uint32_t count;
	uint32_t grantable; /* wait for nothing any more, not told yet */
	bool granting;      /* a release is telling them */
};

/* Claim [off, off+len) (len RANGE_END: to infinity; 0: the block off is in). True: held now;
 * false: granted() will be called. A set is empty when it is all zero. */
bool range_claim(struct range_set *s, struct range *r, uint64_t off, uint64_t len,
                 void (*granted)(struct range *r), void *owner);
/* Release a held claim (or withdraw a waiting one). Grants what waited for it, oldest first, before
 * it returns; called from a granted(), the release further out grants. The set must outlive it. */
void range_release(struct range_set *s, struct range *r);

#endif
