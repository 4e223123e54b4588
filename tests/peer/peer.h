/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A small peer of its own, for tests: it speaks what colofs-protocol(7) says, written from that page and without
 * any of colofs' own sources, so that the page is proved to be enough, and so that it can lie.
 *
 *   ../peer.c   modes and options      net.c    TCP, TLS, relay, flood
 *   wire.c      frames, HELLO          script.c the commands on stdin
 *   serve.c     an honest backup       disk.c   reading a node's state and journal
 */
#ifndef COLOFS_TESTS_PEER_H
#define COLOFS_TESTS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum {
	HELLO = 1, WELCOME, READY, REFUSE, PING, PONG, CREDIT, DATA, ZERO, SIZE, CREATE, UNLINK, RENAME, IMAGE, HASHQ,
	HASHR, COMMIT, DONE, REFUSED, FENCE, FENCED, BYE, PREPARE, PREPARED,
	SETTLE, ABORTED, PROMOTE, OWN,
};

#define HEADER 88
#define PAYLOAD_MAX (1u << 20)
#define CLOSE_MS 12000 /* a node closes at once, or after 5 s of silence */
#define WAIT_MS 30000 /* nothing that is waited for takes longer */

struct frame {
	uint32_t magic, plen;
	uint8_t type, flags;
	uint64_t session, epoch, seq, image, off, len, sum;
	uint8_t *data; /* plen bytes; of a received frame: valid until the next */
};

struct lineage {
	uint64_t generation;
	uint32_t count;
	uint64_t past[64][3]; /* generation, epoch, doubt */
};

struct peer {
	/* options */
	const char *tls, *cert, *key; /* tls: "1.3", "1.2", "none" */
	int fd;
	void *ssl;
	bool closed;
	/* what the other side said */
	struct {
		uint16_t min, max;
		uint8_t node[16], pair[16], bits, role;
		struct lineage lineage;
		uint64_t committed, epoch_high, session_high;
		uint32_t count;
		uint64_t image; /* the first that is whole */
	} hello;
	/* the session */
	uint64_t session, epoch, seq, credit, spent;
	uint64_t first, count, chain, generation;
};

noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a line to stdout, at once */

/* net.c */
int64_t now_ms(void);
void net_connect(struct peer *p, const char *addr);
int net_bind(const char *addr);
void net_accept(struct peer *p, int fd);
void net_listen(struct peer *p, const char *addr);
void net_write(struct peer *p, const void *buf, size_t len); /* an end of the connection only sets closed */
bool net_read(struct peer *p, void *buf, size_t len, int ms);  /* all of it; false: closed, or timed out (closed stays false) */
bool net_ready(struct peer *p, int ms, bool *input);           /* bytes are here; *input: stdin is readable */
int relay(const char *port, const char *to, const char *file);
int flood(const char *to, int count, const char *kind, int rate, struct peer *p);

/* wire.c */
uint64_t sum64(const void *buf, size_t len);
uint64_t chain64(uint64_t chain, uint64_t value);
uint64_t cost(uint32_t plen);
bool numbered(unsigned type);
unsigned type_number(const char *name);
void frame_send(struct peer *p, struct frame *f, bool bad_header);
bool frame_read(struct peer *p, struct frame *f, int ms); /* answers PINGs itself; prints */
uint64_t get(const uint8_t **at, int bytes);
void put(uint8_t **at, uint64_t v, int bytes);
const uint8_t *lineage_get(const uint8_t *at, struct lineage *l);
uint8_t *lineage_put(uint8_t *at, const struct lineage *l);

/* script.c */
int script(struct peer *p);

/* serve.c */
void serve(struct peer *p, char *words);
void mirror(struct peer *p, const char *file, const char *name, uint64_t id);

/* disk.c */
int disk(const char *state, const char *dir, const char *out);

#endif
