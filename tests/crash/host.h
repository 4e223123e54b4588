/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real core (repl/), started on one crash state in memory: what the shell
 * does at a start (the scan), requests carried out at once and in order, no
 * link. It recovers, is read whole, and may then be drained, failed over or
 * killed again in mid-recovery.
 */
#ifndef COLOFS_TESTS_CRASH_HOST_H
#define COLOFS_TESTS_CRASH_HOST_H

#include "../../repl/node.h"
#include "disk.h"
#include "model.h"

#define HOST_FILES 256

struct vfile {
	uint8_t kind;
	bool present;
	uint64_t id;
	char name[64]; /* image: in SOURCE, "": hidden */
	struct inode *inode;
};

struct host {
	struct env env; /* first */
	struct disk *disk;
	struct node *node;
	struct vfile files[HOST_FILES];
	size_t file_count;
	uint8_t node_id[16];
	bool have_node_id;
	uint8_t *state;      /* malloc'ed */
	size_t state_len;
	struct io *queue, **queue_tail;
	uint64_t ios;        /* carried out */
	uint64_t now_ms, rng;
	bool told, ready, stopped, replied;
	int error;
	char why[512];
	bool verbose;
};

/* Scan the disk's view, as the shell does at a start. */
void host_scan(struct host *h, struct disk *d);
void host_free(struct host *h);
/* Start the node; read all that it shows. NULL, or what went wrong. f's data are valid until the next call. */
const char *host_recover(struct host *h, struct found *f);
/* Start, and after so many requests: gone. What was carried out stays. */
const char *host_recover_cut(struct host *h, uint64_t ios);
/* On a recovered one: `failover`. */
const char *host_failover(struct host *h, struct found *f);
/* On a recovered one: stop in order; f: the image files in SOURCE. The node is gone. */
const char *host_drain(struct host *h, struct found *f);
/* On a recovered one: gone. */
void host_kill(struct host *h);

#endif
