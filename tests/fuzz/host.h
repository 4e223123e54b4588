/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host for one node of the real core, in memory and without any randomness: what the fuzz targets and the
 * allocation test put below it. Requests are queued and carried out in order when the driver says so; links are byte
 * queues that the driver reads and fills; time stands still between host_tick()s. The simulator's hosts (tests/sim) do
 * the opposite: everything there is random and late.
 */
#ifndef COLOFS_TESTS_FUZZ_HOST_H
#define COLOFS_TESTS_FUZZ_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../repl/env.h"
#include "../../repl/node.h"

#define HOST_FILES 96
#define HOST_NAME 256
#define HOST_KEPT (4u << 20)    /* bytes of a file that are kept; what lies behind reads as zeroes */
#define HOST_QUEUE_MAX 3000u    /* requests at once that are still called bounded */
#define HOST_SEND_LIMIT (1u << 20) /* the shell's slack: more than this above the send buffer breaks the link */

struct host_file {
	bool used, hidden_only; /* hidden_only: no name, .colofs/i<id> */
	uint8_t kind;
	uint64_t id, size;
	uint64_t capacity; /* it is a block device of that size */
	char name[HOST_NAME];
	uint8_t *data;
	size_t kept; /* bytes in data */
};

struct host_link {
	bool open, broken;
	uint8_t *tx; /* what the node sent and nobody took */
	size_t len, room;
};

struct host {
	struct env env; /* first */
	struct node *node;
	struct node_config config;
	uint8_t id[16];
	struct host_file files[HOST_FILES];
	uint8_t *state;
	size_t state_len;
	struct io *queue, **queue_tail;
	uint32_t queued, fail_next;  /* fail_next: of the requests that come now, this many */
	int fail_error;
	uint64_t io_failures;
	uint64_t io_count, io_fail_at; /* the request but reads, counted from 1, that fails too; 0 none */
	struct host_link links[LINKS_MAX];
	bool dialling, ready, stopped;
	uint32_t dials;
	int ready_error, stop_error;
	char ready_why[768];
	bool fencing, fence_killed;  /* the fence command runs, until the driver says how it ended; it was told to end */
	int fence_error;             /* it cannot be run */
	char fence_args[256];
	uint64_t now_ms, random;
	bool loud;                   /* log to stderr */
};

/* Where the host's own memory comes from; it never fails. */
extern void *(*host_realloc)(void *p, size_t size);

/* A host with nothing on its disk; id: makes the node id. config: link and journal limits that suit a test. */
void host_init(struct host *h, uint8_t id, int role);
/* Frees the disk too. */
void host_exit(struct host *h);
/* Make the node from what the disk holds. 0, or node_create()'s error with its line in err. */
int host_boot(struct host *h, char *err, size_t err_size);
/* The process dies: what was asked of the disk before is done, the rest of it is gone. */
void host_kill(struct host *h);
/* The disk as it is at this instant, without what is under way; and a disk like that in place of h's. */
struct host_disk {
	struct host_file files[HOST_FILES];
	uint8_t *state;
	size_t state_len;
};
void host_disk_copy(struct host_disk *d, const struct host *h);
void host_disk_use(struct host *h, struct host_disk *d);

void host_begin(struct host *h);
void host_end(struct host *h);
void host_tick(struct host *h, uint64_t ms);
/* Carry out up to n requests, each in a batch of its own. How many there were. */
uint32_t host_io(struct host *h, uint32_t n);
/* Until nothing is left to do at this instant. */
void host_settle(struct host *h);
/* Ask to stop, in order, and wait: true when it stopped. */
bool host_stop(struct host *h);

struct host_file *host_file(struct host *h, unsigned kind, uint64_t id);
struct host_file *host_file_named(struct host *h, const char *name);
struct host_file *host_file_new(struct host *h, unsigned kind, uint64_t id);
void host_file_write(struct host_file *f, uint64_t off, const void *buf, size_t len);
void host_file_read(const struct host_file *f, uint64_t off, void *buf, size_t len);

/* The node's link, opened from outside or as the answer to its dial. Its number, or -1: none is free. */
int host_link_open(struct host *h, bool dialled);
/* Bytes for the node; nothing if the link is closed. */
void host_link_rx(struct host *h, int link, const void *buf, size_t len);
void host_link_cut(struct host *h, int link);
/* Take n bytes from the front of what the node sent. */
void host_link_take(struct host *h, int link, size_t n);

#endif
