/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by compare.c (verify, resync, set: orders at random times) and flip.c (bytes that change behind the core's back). */
#ifndef COLOFS_TESTS_COMPARE_H
#define COLOFS_TESTS_COMPARE_H

#include "world.h"

/* A command that was given and has to be answered. */
struct order {
	struct command_req req; /* first */
	struct host *host;
	uint32_t life;
	bool busy, cancelled;
	int error;
};

/* A byte of an image's file that flipped, and what became of it. */
struct flip {
	unsigned step;
	struct host *host;      /* whose file */
	uint64_t image, off, since; /* since: us */
	uint32_t unit;
	bool flipped;
	bool sent;              /* something went over it since then, or a session began: it may be mended */
	bool full;              /* mended by `resync full` behind a plain one, without a verify before */
	char name[NAME_LEN];    /* of the image, when it flipped */
	bool named;             /* a verify said where it is */
};

struct compare {
	struct order verify, resync, again, set; /* again: flip.c's second resync */
	uint32_t orders;        /* given: an old one's cancelling is void */
	struct flip flip;
};

/* Given to a life that still lasts, and not answered. */
bool compare_waits(const struct order *o);
/* Now and then, from compare.c's tick: a byte flips. */
void flip_begin(struct sim *s);
bool flip_running(const struct sim *s);
/* The primary sends a frame; a session begins. */
void flip_frame(struct sim *s, unsigned type, uint64_t image, uint64_t off, uint64_t len);
/* A verify found a difference: true if a flip explains it. */
bool flip_named(struct sim *s, const char *image, uint64_t off, uint64_t len);

#endif
