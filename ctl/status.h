/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One consistent snapshot of a node, and its renderings: status (people),
 * status.json, metrics. Plain data; filled by repl/node.c, read by anyone.
 */
#ifndef COLOFS_CTL_STATUS_H
#define COLOFS_CTL_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status_link { SL_OFF, SL_CONNECTING, SL_HANDSHAKE, SL_SYNCING, SL_UP };

struct status_image {
	char name[256];
	uint64_t size;        /* bytes */
	int state;            /* 0 consistent, 1 syncing, 2 inconsistent */
	uint32_t open;        /* open file handles */
	uint64_t dirty_bytes; /* what the peer lacks */
	bool syncing;         /* the four below count */
	uint64_t sync_done, sync_total, sync_rate; /* bytes, bytes, bytes/s */
	int64_t sync_eta_s;   /* -1: unknown */
};

/* Counters and gauges of the metrics page: counters.def, X(name, type, unit, help). */
struct counters {
#define X(name, type, help) uint64_t name;
#include "counters.def"
#undef X
};

struct status {
	const char *version;
	char source[4096];
	char mode[16];   /* unprotected primary backup failed */
	char role[16];   /* unprotected primary backup */
	bool is_protected;
	uint64_t generation;   /* hex in the JSON, 16 digits */
	char reason[256];      /* why it is in this mode */
	char advice[256];      /* a sentence when ill, else "" */
	char pair[33], node[33]; /* hex; "" if none */
	enum status_link link;
	char peer_addr[300];
	char tls[64];          /* "" = null */
	uint64_t rtt_us, since_ms;
	uint64_t epoch_current, epoch_committed;
	uint64_t epoch_prepared; /* 0 = null */
	char epoch_name[65];
	int64_t committed_age_ms; /* -1 = null */
	bool have_peer;
	uint64_t peer_generation, peer_epoch;
	uint64_t uncommitted_bytes, uncommitted_writes;
	uint64_t pending_bytes, pending_writes;
	uint64_t send_used, send_limit, send_drain_ms;
	uint64_t journal_used, journal_limit, journal_sealed;
	uint64_t overlay_bytes, overlay_limit;
	uint64_t resident;     /* bytes, filled by the caller that knows */
	bool verifying;        /* the three below count */
	uint64_t verify_done, verify_total, verify_differ; /* bytes, bytes, blocks */
	bool start_alone;      /* the mount's option */
	bool buffered;         /* SOURCE or journal= refuses O_DIRECT: through the page cache */
	const char *fence;     /* off, armed, held, running, failed; NULL: none is given */
	const char *fence_why; /* held: why; or NULL */
	uint32_t fence_runs;
	char fence_last[64];   /* how the last run ended; "" = null */
	bool not_level;        /* the backup's copy is no epoch of the primary's: no failover without force */
	uint64_t lost_bytes;   /* what a failover of the backup now would drop; of the time since the last commit */
	size_t image_count;
	struct status_image *images; /* malloc'ed; status_free() */
	char last_error[512];  /* "" = null */
	uint64_t last_error_age_ms;
	struct counters counters;
};

/* Each returns a malloc'ed, NUL-terminated text (length in *len), or NULL
 * when out of memory. */
char *status_text(const struct status *s, size_t *len);
char *status_json(const struct status *s, size_t *len);
char *status_metrics(const struct status *s, size_t *len);
void status_free(struct status *s);

#endif
