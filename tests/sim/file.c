/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One simulated file: its content as readers see it, its content on the
 * platter, and the list of changes between the two. A crash keeps any subset
 * of these changes, each by any subset of its sectors.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define PAGE 4096u

/* Room for size bytes in both page tables. */
bool file_fit(struct file *f, uint64_t size)
{
	uint32_t count = (uint32_t)((size + PAGE - 1) / PAGE);
	uint8_t **now, **durable;

	if (count <= f->page_count)
		return true;
	now = realloc(f->pages, count * sizeof(*now));
	if (now)
		f->pages = now;
	durable = realloc(f->durable_pages, count * sizeof(*durable));
	if (durable)
		f->durable_pages = durable;
	if (!now || !durable)
		abort();
	memset(now + f->page_count, 0, (count - f->page_count) * sizeof(*now));
	memset(durable + f->page_count, 0, (count - f->page_count) * sizeof(*durable));
	f->page_count = count;
	return true;
}

void file_read(const struct file *f, uint64_t off, uint8_t *buf, uint64_t len)
{
	while (len) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		if (off >= f->size || page >= f->page_count || !f->pages[page])
			memset(buf, 0, n);
		else
			memcpy(buf, f->pages[page] + in, n);
		buf += n;
		off += n;
		len -= n;
	}
}

static void put_bytes(struct sim *s, uint8_t **pages, uint64_t off, const uint8_t *data, uint64_t len)
{
	while (len) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		if (!pages[page] && n < PAGE)
			pages[page] = memset(pool_get(s, PAGE), 0, PAGE);
		else if (!pages[page])
			pages[page] = pool_get(s, PAGE);
		memcpy(pages[page] + in, data, n);
		data += n;
		off += n;
		len -= n;
	}
}

static void put_zeroes(struct sim *s, uint8_t **pages, uint32_t count, uint64_t off, uint64_t len)
{
	while (len && off < (uint64_t)count * PAGE) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		if (pages[page] && n == PAGE) {
			pool_put(s, pages[page], PAGE);
			pages[page] = NULL;
		} else if (pages[page]) {
			memset(pages[page] + in, 0, n);
		}
		off += n;
		len -= n;
	}
}

static void change_put(struct sim *s, struct file *f, uint8_t **pages, uint64_t *size,
                       const struct change *c)
{
	if (c->op == IO_TRUNC) {
		if (c->len < *size)
			put_zeroes(s, pages, f->page_count, c->len, *size - c->len);
		*size = c->len;
		return;
	}
	if (c->op == IO_WRITE)
		put_bytes(s, pages, c->off, c->data, c->len);
	else
		put_zeroes(s, pages, f->page_count, c->off, c->len);
	if (c->extends && c->off + c->len > *size)
		*size = c->off + c->len;
}

/* c becomes visible; whether it lasts is another matter. */
void file_apply(struct sim *s, struct file *f, const struct change *c)
{
	file_fit(f, c->op == IO_TRUNC ? c->len : c->op == IO_WRITE || c->extends ? c->off + c->len : 0);
	change_put(s, f, f->pages, &f->size, c);
}

void change_free(struct sim *s, struct change *c)
{
	if (c->data)
		pool_put(s, c->data, c->len);
	pool_put(s, c, sizeof(*c));
}

/* Everything completed up to upto_seq is durable. */
void file_sync(struct sim *s, struct file *f, uint64_t upto_seq)
{
	struct change *c;

	while ((c = f->head) && c->seq <= upto_seq) {
		change_put(s, f, f->durable_pages, &f->durable_size, c);
		f->head = c->next;
		if (!f->head)
			f->tail = NULL;
		change_free(s, c);
	}
}

/* Some sectors of one change reach the platter. */
static void change_tear(struct sim *s, struct file *f, const struct change *c)
{
	uint64_t keep = rnd(s), style = rnd_below(s, 4), n = 0;
	uint64_t cut = c->len > SECTOR ? rnd_below(s, c->len / SECTOR) : 0;

	for (uint64_t at = 0; at < c->len; at += SECTOR, n++) {
		struct change part = *c;
		bool kept = style == 0 ? n < cut : style == 1 ? n >= cut :
		            style == 2 ? n != cut : keep >> n % 64 & 1;

		part.off = c->off + at;
		part.len = c->len - at < SECTOR ? c->len - at : SECTOR;
		if (c->data)
			part.data = c->data + at;
		if (kept)
			change_put(s, f, f->durable_pages, &f->durable_size, &part);
	}
}

/* Power is gone. What is on the platter is what is seen from now on. */
void file_crash(struct sim *s, struct file *f)
{
	uint64_t mood = rnd_below(s, 4); /* 0: nearly all kept, 1: nearly all lost, else mixed */
	struct change *c;

	while ((c = f->head)) {
		uint64_t dice = rnd_below(s, 16);
		bool keep = mood == 0 ? dice != 0 : mood == 1 ? dice == 0 : dice < 6;
		bool tear = mood > 1 ? dice >= 12 : dice == 1;

		if (keep || (tear && c->op == IO_TRUNC && dice & 1))
			change_put(s, f, f->durable_pages, &f->durable_size, c);
		else if (tear && c->op != IO_TRUNC)
			change_tear(s, f, c);
		f->head = c->next;
		change_free(s, c);
	}
	f->tail = NULL;
	for (uint32_t i = 0; i < f->page_count; i++) {
		if (!f->durable_pages[i]) {
			pool_put(s, f->pages[i], PAGE);
			f->pages[i] = NULL;
			continue;
		}
		if (!f->pages[i])
			f->pages[i] = pool_get(s, PAGE);
		memcpy(f->pages[i], f->durable_pages[i], PAGE);
	}
	f->size = f->durable_size;
}

/* Forget its contents. */
void file_drop(struct sim *s, struct file *f)
{
	struct change *c;

	while ((c = f->head)) {
		f->head = c->next;
		change_free(s, c);
	}
	for (uint32_t i = 0; i < f->page_count; i++) {
		pool_put(s, f->pages[i], PAGE);
		pool_put(s, f->durable_pages[i], PAGE);
	}
	free(f->pages);
	free(f->durable_pages);
	f->pages = f->durable_pages = NULL;
	f->page_count = 0;
	f->size = f->durable_size = 0;
	f->tail = NULL;
}
