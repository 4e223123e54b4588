/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bounded little-endian access to wire and disk bytes. A getter that meets its
 * end returns 0 and sets bad, a putter writes nothing and sets bad; both stay
 * so, so that a caller checks once, after the last field. Used by every codec.
 */
#ifndef COLOFS_REPL_BYTES_H
#define COLOFS_REPL_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct getter {
	const uint8_t *p, *end;
	bool bad;
};

struct putter {
	uint8_t *p, *end;
	bool bad;
};

static inline struct getter getter_init(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	return (struct getter){.p = p, .end = len ? p + len : p};
}

static inline struct putter putter_init(void *buf, size_t len)
{
	uint8_t *p = buf;

	return (struct putter){.p = p, .end = len ? p + len : p};
}

/* Bytes not yet taken; 0 once bad. */
static inline size_t get_left(const struct getter *g)
{
	return g->bad ? 0 : (size_t)(g->end - g->p);
}

/* Room not yet filled; 0 once bad. */
static inline size_t put_left(const struct putter *p)
{
	return p->bad ? 0 : (size_t)(p->end - p->p);
}

/* The next n bytes in place, or NULL and bad. n = 0 of a good getter: its position. */
static inline const uint8_t *get_skip(struct getter *g, size_t n)
{
	const uint8_t *at = g->p;

	if (g->bad || n > (size_t)(g->end - g->p)) {
		g->bad = true;
		return NULL;
	}
	if (n)
		g->p += n;
	return at;
}

/* n bytes to dst; zeroes if they are not there. */
static inline void get_bytes(struct getter *g, void *dst, size_t n)
{
	const uint8_t *at = get_skip(g, n);

	if (!n)
		return;
	if (at)
		memcpy(dst, at, n);
	else
		memset(dst, 0, n);
}

static inline uint64_t get_le(struct getter *g, size_t n)
{
	const uint8_t *at = get_skip(g, n);
	uint64_t v = 0;

	if (!at)
		return 0;
	for (size_t i = n; i-- > 0;)
		v = v << 8 | at[i];
	return v;
}

static inline uint8_t get_u8(struct getter *g)
{
	return (uint8_t)get_le(g, 1);
}

static inline uint16_t get_u16(struct getter *g)
{
	return (uint16_t)get_le(g, 2);
}

static inline uint32_t get_u32(struct getter *g)
{
	return (uint32_t)get_le(g, 4);
}

static inline uint64_t get_u64(struct getter *g)
{
	return get_le(g, 8);
}

/* Room for n bytes, to be filled by the caller, or NULL and bad. */
static inline uint8_t *put_skip(struct putter *p, size_t n)
{
	uint8_t *at = p->p;

	if (p->bad || n > (size_t)(p->end - p->p)) {
		p->bad = true;
		return NULL;
	}
	if (n)
		p->p += n;
	return at;
}

static inline void put_bytes(struct putter *p, const void *src, size_t n)
{
	uint8_t *at = put_skip(p, n);

	if (at && n)
		memcpy(at, src, n);
}

static inline void put_zero(struct putter *p, size_t n)
{
	uint8_t *at = put_skip(p, n);

	if (at && n)
		memset(at, 0, n);
}

static inline void put_le(struct putter *p, uint64_t v, size_t n)
{
	uint8_t *at = put_skip(p, n);

	/* p->bad, not !at: gcc 12 under -fno-delete-null-pointer-checks warns of a write to NULL.
	 */
	if (p->bad)
		return;
	for (size_t i = 0; i < n; i++, v >>= 8)
		at[i] = (uint8_t)v;
}

static inline void put_u8(struct putter *p, uint8_t v)
{
	put_le(p, v, 1);
}

static inline void put_u16(struct putter *p, uint16_t v)
{
	put_le(p, v, 2);
}

static inline void put_u32(struct putter *p, uint32_t v)
{
	put_le(p, v, 4);
}

static inline void put_u64(struct putter *p, uint64_t v)
{
	put_le(p, v, 8);
}

#endif
