/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames and their checksums, as colofs-protocol(7) lays them out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "peer.h"

static const char *const names[] = {
	"?", "HELLO", "WELCOME", "READY", "REFUSE", "PING", "PONG", "CREDIT", "DATA", "ZERO", "SIZE", "CREATE", "UNLINK",
	"RENAME", "IMAGE", "HASHQ", "HASHR", "COMMIT", "DONE", "REFUSED", "FENCE", "FENCED", "BYE", "PREPARE", "PREPARED", "SETTLE",
	"ABORTED", "PROMOTE", "OWN",
};

static const char *type_name(unsigned type)
{
	return type <= OWN ? names[type] : "?";
}

unsigned type_number(const char *name)
{
	char *end;
	unsigned long v = strtoul(name, &end, 0);

	for (unsigned i = 1; i <= OWN; i++)
		if (!strcmp(names[i], name))
			return i;
	if (*end || v > 255)
		die("no frame type %s", name);
	return (unsigned)v;
}

bool numbered(unsigned type)
{
	return type >= DATA && type <= HASHQ;
}

uint64_t sum64(const void *buf, size_t len)
{
	return XXH3_64bits(buf, len);
}

uint64_t get(const uint8_t **at, int bytes)
{
	uint64_t v = 0;

	for (int i = 0; i < bytes; i++)
		v |= (uint64_t)(*at)[i] << 8 * i;
	*at += bytes;
	return v;
}

void put(uint8_t **at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*(*at)++ = (uint8_t)(v >> 8 * i);
}

uint64_t chain64(uint64_t chain, uint64_t value)
{
	uint8_t pair[16], *at = pair;

	put(&at, chain, 8);
	put(&at, value, 8);
	return sum64(pair, 16);
}

uint64_t cost(uint32_t plen)
{
	uint64_t c = plen + 575 - (plen + 575) % 512;

	return c > 7680 ? c : 7680;
}

const uint8_t *lineage_get(const uint8_t *at, struct lineage *l)
{
	l->generation = get(&at, 8);
	l->count = (uint32_t)get(&at, 4);
	if (l->count > 32)
		die("%u ancestors", l->count);
	for (uint32_t i = 0; i < l->count * 3; i++)
		l->past[i / 3][i % 3] = get(&at, 8);
	return at;
}

uint8_t *lineage_put(uint8_t *at, const struct lineage *l)
{
	put(&at, l->generation, 8);
	put(&at, l->count, 4);
	for (uint32_t i = 0; i < l->count * 3; i++)
		put(&at, l->past[i / 3][i % 3], 8);
	return at;
}

/* plen may say something else than what is in data: a lie is sent as it is told. */
void frame_send(struct peer *p, struct frame *f, bool bad_header)
{
	static uint8_t buf[HEADER + PAYLOAD_MAX];
	uint8_t *at = buf;

	put(&at, f->magic, 4);
	put(&at, f->type, 1);
	put(&at, f->flags, 1);
	put(&at, 0, 2);
	put(&at, f->plen, 4);
	put(&at, 0, 4);
	put(&at, f->session, 8);
	put(&at, f->epoch, 8);
	put(&at, f->seq, 8);
	put(&at, f->image, 8);
	put(&at, f->off, 8);
	put(&at, f->len, 8);
	put(&at, f->sum, 8);
	put(&at, 0, 8);
	put(&at, sum64(buf, 80) ^ bad_header, 8);
	if (f->data)
		memcpy(at, f->data, f->plen);
	net_write(p, buf, HEADER + (f->data ? f->plen : 0));
}

static void hello_read(struct peer *p, const struct frame *f)
{
	const uint8_t *at = f->data, *end = f->data + f->plen;

	p->hello.min = (uint16_t)get(&at, 2);
	p->hello.max = (uint16_t)get(&at, 2);
	memcpy(p->hello.node, at, 16);
	memcpy(p->hello.pair, at + 16, 16);
	at += 32;
	p->hello.bits = (uint8_t)get(&at, 1);
	p->hello.role = (uint8_t)get(&at, 1);
	at = lineage_get(at, &p->hello.lineage);
	p->hello.committed = get(&at, 8);
	at += 8;
	p->hello.epoch_high = get(&at, 8);
	p->hello.session_high = get(&at, 8);
	at += 16;
	p->hello.count = (uint32_t)get(&at, 4);
	for (uint32_t i = 0; i < p->hello.count; i++) {
		uint64_t id = get(&at, 8), size = get(&at, 8), consistent = get(&at, 1), len = get(&at, 2);

		if (consistent && !p->hello.image)
			p->hello.image = id;
		if (i < 4)
			say("  image %llu size %llu consistent %llu %.*s", (unsigned long long)id, (unsigned long long)size,
			    (unsigned long long)consistent, (int)len, (const char *)at);
		at += len;
	}
	if (at != end)
		die("a HELLO of another length than the page says");
}

static void welcome_read(struct peer *p, const struct frame *f)
{
	const uint8_t *at = f->data + 17;

	memcpy(p->hello.pair, f->data, 16);
	p->session = f->session;
	p->epoch = get(&at, 8);
	at = lineage_get(at, &p->hello.lineage);
	p->generation = p->hello.lineage.generation;
	if (at != f->data + f->plen)
		die("a WELCOME of another length than the page says");
}

static void frame_heard(struct peer *p, struct frame *f)
{
	struct frame pong = { .magic = f->magic, .type = PONG, .off = f->off };

	switch (f->type) {
	case PING:
		frame_send(p, &pong, false);
		return;
	case PONG:
		return;
	case HELLO:
		hello_read(p, f);
		break;
	case WELCOME:
		welcome_read(p, f);
		break;
	case CREDIT:
		p->credit = f->off;
		return; /* there are many */
	}
	say("< %s session=%llu epoch=%llu seq=%llu image=%llu off=%llu len=%llu plen=%u", type_name(f->type),
	    (unsigned long long)f->session, (unsigned long long)f->epoch, (unsigned long long)f->seq,
	    (unsigned long long)f->image, (unsigned long long)f->off, (unsigned long long)f->len, f->plen);
}

bool frame_read(struct peer *p, struct frame *f, int ms)
{
	static uint8_t head[HEADER], payload[PAYLOAD_MAX];
	const uint8_t *at = head;

	if (!net_read(p, head, HEADER, ms)) {
		if (p->closed)
			say("closed");
		return false;
	}
	f->magic = (uint32_t)get(&at, 4);
	f->type = (uint8_t)get(&at, 1);
	f->flags = (uint8_t)get(&at, 1);
	at += 2;
	f->plen = (uint32_t)get(&at, 4);
	at += 4;
	f->session = get(&at, 8);
	f->epoch = get(&at, 8);
	f->seq = get(&at, 8);
	f->image = get(&at, 8);
	f->off = get(&at, 8);
	f->len = get(&at, 8);
	f->sum = get(&at, 8);
	at += 8;
	if (f->magic != 0x53464f4c || get(&at, 8) != sum64(head, 80) || f->plen > PAYLOAD_MAX)
		die("the node sent what is not a frame");
	f->data = payload;
	if (f->plen && (!net_read(p, payload, f->plen, WAIT_MS) || sum64(payload, f->plen) != f->sum))
		die("the node sent a %s frame with a wrong payload", type_name(f->type));
	frame_heard(p, f);
	return true;
}
