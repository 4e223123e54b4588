/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bytes waiting for a socket: a queue of chunks for each connection, all from
 * one pool that is reserved at start. Free chunks are taken last in, first
 * out, so that a link that keeps up uses the same few, which stay in the
 * cache; pages never needed are never touched. Event-loop thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "net_int.h"

int pool_init(struct chunk_pool *p, uint64_t bytes)
{
	size_t i;

	memset(p, 0, sizeof(*p));
	p->count = (size_t)((bytes + CHUNK_SIZE - 1) / CHUNK_SIZE);
	p->map_size = p->count * CHUNK_SIZE;
	p->chunks = calloc(p->count, sizeof(*p->chunks));
	if (!p->chunks)
		return -ENOMEM;
	p->data = mmap(NULL, p->map_size, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->data == MAP_FAILED) {
		free(p->chunks);
		memset(p, 0, sizeof(*p));
		return -ENOMEM;
	}
	for (i = p->count; i-- > 0;) {
		p->chunks[i].data = p->data + i * CHUNK_SIZE;
		p->chunks[i].next = p->free;
		p->free = &p->chunks[i];
	}
	p->free_count = p->count;
	return 0;
}

void pool_exit(struct chunk_pool *p)
{
	if (p->data)
		munmap(p->data, p->map_size);
	free(p->chunks);
	memset(p, 0, sizeof(*p));
}

static struct chunk *queue_grow(struct chunk_pool *p, struct chunk_queue *q)
{
	struct chunk *c = p->free;

	if (!c)
		return NULL;
	p->free = c->next;
	p->free_count--;
	c->next = NULL;
	c->start = c->end = 0;
	if (q->tail)
		q->tail->next = c;
	else
		q->head = c;
	q->tail = c;
	return c;
}

/* Bytes behind the tail's end may be written while those before it are being sent. */
int queue_append(struct chunk_pool *p, struct chunk_queue *q, const void *buf, size_t len)
{
	const uint8_t *src = buf;

	while (len) {
		struct chunk *c = q->tail;
		size_t n;

		if (!c || c->end == CHUNK_SIZE)
			c = queue_grow(p, q);
		if (!c)
			return -ENOBUFS;
		n = CHUNK_SIZE - c->end;
		if (n > len)
			n = len;
		memcpy(c->data + c->end, src, n);
		c->end += (uint32_t)n;
		q->bytes += n;
		src += n;
		len -= n;
	}
	return 0;
}

int queue_iov(const struct chunk_queue *q, struct iovec *iov, int max)
{
	const struct chunk *c;
	int n = 0;

	for (c = q->head; c && n < max; c = c->next) {
		if (c->start == c->end)
			continue;
		iov[n].iov_base = c->data + c->start;
		iov[n].iov_len = c->end - c->start;
		n++;
	}
	return n;
}

static void queue_drop_head(struct chunk_pool *p, struct chunk_queue *q)
{
	struct chunk *c = q->head;

	q->head = c->next;
	if (!q->head)
		q->tail = NULL;
	c->next = p->free;
	p->free = c;
	p->free_count++;
}

void queue_consume(struct chunk_pool *p, struct chunk_queue *q, size_t len)
{
	assert(len <= q->bytes);
	q->bytes -= len;
	while (len) {
		struct chunk *c = q->head;
		size_t n = c->end - c->start;

		if (n > len)
			n = len;
		c->start += (uint32_t)n;
		len -= n;
		if (c->start == c->end)
			queue_drop_head(p, q);
	}
}

void queue_clear(struct chunk_pool *p, struct chunk_queue *q)
{
	while (q->head)
		queue_drop_head(p, q);
	q->bytes = 0;
}
