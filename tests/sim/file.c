/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One simulated file: its content as readers see it, its content on the
 * platter, and the list of changes between the two. A crash keeps any subset
 * of these changes, each by any subset of its sectors.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- pages: shared by what is seen, what is on the platter, and changes under way ---- */

struct page {
	uint32_t refs;
	struct page *free_next;
	uint8_t data[PAGE] __attribute__((aligned(64)));
};

static struct page *page_new(struct sim *s)
{
	struct page *p = s->free_pages;

	if (p)
		s->free_pages = p->free_next;
	else
		p = pool_more(s, sizeof(*p));
	p->refs = 1;
	return p;
}

static void page_put(struct sim *s, struct page *p)
{
	if (!p || --p->refs)
		return;
	p->free_next = s->free_pages;
	s->free_pages = p;
}

static void page_set(struct sim *s, struct page **slot, struct page *p)
{
	if (p)
		p->refs++;
	page_put(s, *slot);
	*slot = p;
}

/* The page, nobody else's; for a part of it to be written, or all. */
static uint8_t *page_own(struct sim *s, struct page **slot, bool whole)
{
	struct page *old = *slot;

	if (old && old->refs == 1)
		return old->data;
	*slot = page_new(s);
	if (old && !whole)
		memcpy((*slot)->data, old->data, PAGE);
	else if (!whole)
		memset((*slot)->data, 0, PAGE);
	page_put(s, old);
	return (*slot)->data;
}

/* Room for size bytes in both page tables. */
bool file_fit(struct file *f, uint64_t size)
{
	uint32_t count = (uint32_t)((size + PAGE - 1) / PAGE);
	struct page **now, **durable;

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
			memcpy(buf, f->pages[page]->data + in, n);
		buf += n;
		off += n;
		len -= n;
	}
}

static void put_bytes(struct sim *s, struct page **pages, uint64_t off, const uint8_t *data, uint64_t len)
{
	while (len) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		memcpy(page_own(s, &pages[page], n == PAGE) + in, data, n);
		data += n;
		off += n;
		len -= n;
	}
}

static void put_zeroes(struct sim *s, struct page **pages, uint32_t count, uint64_t off, uint64_t len)
{
	while (len && off < (uint64_t)count * PAGE) {
		uint64_t page = off / PAGE, in = off % PAGE, n = PAGE - in < len ? PAGE - in : len;

		if (n == PAGE)
			page_set(s, &pages[page], NULL);
		else if (pages[page])
			memset(page_own(s, &pages[page], false) + in, 0, n);
		off += n;
		len -= n;
	}
}

/* ---- changes ---- */

/* A write's content; whole pages are kept as such, and never copied again. */
void change_fill(struct sim *s, struct change *c, const void *buf)
{
	const uint8_t *from = buf;

	if (c->off % PAGE || c->len % PAGE) {
		c->data = pool_get(s, c->len);
		memcpy(c->data, buf, c->len);
		return;
	}
	c->pages = pool_get(s, c->len / PAGE * sizeof(*c->pages));
	for (uint64_t i = 0; i < c->len / PAGE; i++, from += PAGE) {
		c->pages[i] = page_new(s);
		memcpy(c->pages[i]->data, from, PAGE);
	}
}

uint8_t change_byte(const struct change *c, uint64_t at)
{
	return c->pages[at / PAGE]->data[at % PAGE];
}

/* Forget its content. */
void change_drop(struct sim *s, struct change *c)
{
	if (c->data)
		pool_put(s, c->data, c->len);
	for (uint64_t i = 0; c->pages && i < c->len / PAGE; i++)
		page_put(s, c->pages[i]);
	if (c->pages)
		pool_put(s, c->pages, c->len / PAGE * sizeof(*c->pages));
	c->data = NULL;
	c->pages = NULL;
}

/* [at, at+len) of the change, which does not cross a page if it has pages. */
static void put_part(struct sim *s, struct file *f, struct page **pages, uint64_t *size, const struct change *c,
                     uint64_t at, uint64_t len)
{
	if (c->op != IO_WRITE)
		put_zeroes(s, pages, f->page_count, c->off + at, len);
	else if (c->data)
		put_bytes(s, pages, c->off + at, c->data + at, len);
	else
		put_bytes(s, pages, c->off + at, c->pages[at / PAGE]->data + at % PAGE, len);
	if (c->extends && c->off + at + len > *size)
		*size = c->off + at + len;
}

static void change_put(struct sim *s, struct file *f, struct page **pages, uint64_t *size,
                       const struct change *c)
{
	if (c->op == IO_TRUNC) {
		if (c->len < *size)
			put_zeroes(s, pages, f->page_count, c->len, *size - c->len);
		*size = c->len;
	} else if (c->pages) {
		for (uint64_t i = 0; i < c->len / PAGE; i++)
			page_set(s, &pages[c->off / PAGE + i], c->pages[i]);
		if (c->extends && c->off + c->len > *size)
			*size = c->off + c->len;
	} else {
		put_part(s, f, pages, size, c, 0, c->len);
	}
}

/* c becomes visible; whether it lasts is another matter. */
void file_apply(struct sim *s, struct file *f, const struct change *c)
{
	file_fit(f, c->op == IO_TRUNC ? c->len : c->op == IO_WRITE || c->extends ? c->off + c->len : 0);
	change_put(s, f, f->pages, &f->size, c);
}

static void change_free(struct sim *s, struct change *c)
{
	change_drop(s, c);
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

/* The kernel says it once, and takes the pages for clean from then on. */
void file_sync_failed(struct sim *s, struct file *f, uint64_t upto_seq)
{
	struct change *c;

	while ((c = f->head) && c->seq <= upto_seq) {
		if (one_in(s, 2)) {
			change_put(s, f, f->durable_pages, &f->durable_size, c);
		} else {
			f->sick = true;
			happened(s, H_LOST_BY_SYNC);
		}
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

	for (uint64_t at = 0, end; at < c->len; at = end, n++) {
		bool kept = style == 0 ? n < cut : style == 1 ? n >= cut :
		            style == 2 ? n != cut : keep >> n % 64 & 1;

		end = at + SECTOR - (c->off + at) % SECTOR; /* the disk's sectors, not the request's */
		end = end < c->len ? end : c->len;
		if (kept)
			put_part(s, f, f->durable_pages, &f->durable_size, c, at, end - at);
	}
}

/* Power is gone. What is on the platter is what is seen from now on. */
void file_crash(struct sim *s, struct file *f)
{
	uint64_t mood = rnd_below(s, 4); /* 0: nearly all kept, 1: nearly all lost, else mixed */
	bool lost = false;
	struct change *c;

	if (f->head)
		happened(s, H_STATES);

	while ((c = f->head)) {
		uint64_t dice = rnd_below(s, 16);
		bool keep = mood == 0 ? dice != 0 : mood == 1 ? dice == 0 : dice < 6;
		bool tear = mood > 1 ? dice >= 12 : dice == 1;

		if (tear && c->op != IO_TRUNC)
			happened(s, H_TORN);
		if (keep && lost)
			happened(s, H_REORDERED);
		lost |= !keep && !tear;
		if (keep || (tear && c->op == IO_TRUNC && dice & 1))
			change_put(s, f, f->durable_pages, &f->durable_size, c);
		else if (tear && c->op != IO_TRUNC)
			change_tear(s, f, c);
		f->head = c->next;
		change_free(s, c);
	}
	f->tail = NULL;
	f->sick = false;
	for (uint32_t i = 0; i < f->page_count; i++)
		if (f->pages[i] != f->durable_pages[i])
			page_set(s, &f->pages[i], f->durable_pages[i]);
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
		page_put(s, f->pages[i]);
		page_put(s, f->durable_pages[i]);
	}
	free(f->pages);
	free(f->durable_pages);
	f->pages = f->durable_pages = NULL;
	f->page_count = 0;
	f->size = f->durable_size = 0;
	f->tail = NULL;
}
