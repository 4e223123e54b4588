/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator's malloc() and its kin, and mmap(), in place of libc's: its
 * nodes start and die thousands of times, and take the same buffers each time.
 * A free block goes on the list of its size and is the next one given out,
 * while it is still in the cache; all lie in large pages. A second free() and a
 * write behind one are noticed. One thread only. Absent under sanitizers, which
 * have their own.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#define PAGE 4096u
#define SPAN_SHIFT 18            /* a span is cut into blocks of one size; or a block is several of them */
#define SPAN ((size_t)1 << SPAN_SHIFT)
#define SPANS ((size_t)1 << 16)  /* 16 GiB of addresses; memory is taken when it is touched */
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_BELOW ((size_t)128 << 10) /* longer blocks are seldom touched all over: pages as they come, from the end */
#define STEPS 4u                 /* sizes between a power of two and the next */
#define SIZE_MIN 32u             /* a free block's two words */
#define CLASSES 128u
#define FREE_MARK 0x6f6c6f63f4eeb10cull

struct block {
	struct block *next;
	uint64_t mark; /* FREE_MARK ^ its address: nobody wrote here since */
};

static struct block *lists[CLASSES];
static uint8_t *fresh[CLASSES], *fresh_end[CLASSES]; /* of the span that is being cut up */
static uint8_t span_class[SPANS];                    /* + 1, of a block's first span; 0: none begins here */
static uint8_t *region;
static size_t span_low, span_high = SPANS; /* taken: those below and from there on */

static _Noreturn void complain(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text)); /* nothing here may allocate */

	(void)n; /* abort() says it too */
	abort();
}

/* Four sizes to each power of two; all multiples of 16, from a page on of pages, since blocks are aligned as they are long. */
static unsigned class_of(size_t size)
{
	unsigned shift, step;

	if (size < 64)
		size = size <= SIZE_MIN ? SIZE_MIN : (size + 15) & ~(size_t)15;
	else if (size > PAGE && size < STEPS * PAGE)
		size = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
	shift = 63 - (unsigned)__builtin_clzll(size - 1); /* 2^shift < size <= 2^(shift+1) */
	step = (unsigned)((size - 1) >> (shift - 2)) & 3;
	return (shift - 4) * STEPS + step;
}

static size_t class_size(unsigned class)
{
	unsigned shift = class / STEPS + 4;

	return ((size_t)1 << shift) + ((size_t)(class % STEPS + 1) << (shift - 2));
}

static void region_map(void)
{
	long at = syscall(SYS_mmap, NULL, SPANS * SPAN + HUGE_PAGE, PROT_READ | PROT_WRITE,
	                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == -1)
		complain("sim: no addresses for memory\n");
	region = (uint8_t *)(((uintptr_t)at + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	(void)madvise(region, SPANS / 2 * SPAN, MADV_HUGEPAGE); /* only for speed */
}

static uint8_t *spans_take(size_t size, unsigned class)
{
	size_t count = (size + SPAN - 1) >> SPAN_SHIFT, first;

	if (!region)
		region_map();
	if (count > span_high - span_low) {
		errno = ENOMEM;
		return NULL;
	}
	first = class_size(class) < HUGE_BELOW ? span_low : span_high - count;
	if (first == span_low)
		span_low += count;
	else
		span_high = first;
	span_class[first] = (uint8_t)(class + 1);
	return region + (first << SPAN_SHIFT);
}

static void *cut(unsigned class)
{
	size_t size = class_size(class);
	uint8_t *p;

	if (size >= SPAN)
		return spans_take(size, class);
	if (!fresh[class] || (size_t)(fresh_end[class] - fresh[class]) < size) {
		p = spans_take(SPAN, class);
		if (!p)
			return NULL;
		fresh[class] = p;
		fresh_end[class] = p + SPAN;
	}
	p = fresh[class];
	fresh[class] += size;
	return p;
}

void *malloc(size_t size)
{
	unsigned class;
	struct block *b;

	if (size > SPANS * SPAN) {
		errno = ENOMEM;
		return NULL;
	}
	class = class_of(size);
	b = lists[class];
	if (!b)
		return cut(class);
	if (b->mark != (FREE_MARK ^ (uintptr_t)b))
		complain("sim: memory was written after it was freed\n");
	lists[class] = b->next;
	b->mark = 0;
	return b;
}

static unsigned class_at(const void *p)
{
	size_t span = (size_t)((const uint8_t *)p - region) >> SPAN_SHIFT;

	if (span >= SPANS || !span_class[span] || (uintptr_t)p % 16)
		complain("sim: what was freed is no block of memory\n");
	return span_class[span] - 1u;
}

void free(void *p)
{
	struct block *b = p;
	unsigned class;

	if (!p)
		return;
	class = class_at(p);
	if (b->mark == (FREE_MARK ^ (uintptr_t)b))
		complain("sim: memory was freed twice\n");
	b->mark = FREE_MARK ^ (uintptr_t)b;
	b->next = lists[class];
	lists[class] = b;
}

void *calloc(size_t count, size_t size)
{
	size_t len;
	void *p;

	if (__builtin_mul_overflow(count, size, &len)) {
		errno = ENOMEM;
		return NULL;
	}
	p = malloc(len);
	return p ? memset(p, 0, len) : NULL;
}

void *realloc(void *p, size_t size)
{
	size_t room;
	void *to;

	if (!p)
		return malloc(size);
	room = class_size(class_at(p));
	if (size && size <= room && size >= room / 2)
		return p;
	to = malloc(size);
	if (!to)
		return NULL;
	memcpy(to, p, size < room ? size : room);
	free(p);
	return to;
}

void *aligned_alloc(size_t align, size_t size)
{
	if (align > PAGE)
		complain("sim: no memory is aligned to more than a page\n");
	return malloc(align <= 16 ? size : size < PAGE ? PAGE : size);
}

/* A node's arena, which it does not expect to be zeroes: no pages to be fetched and given back at each start. */
void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (at || fd != -1 || off || prot != (PROT_READ | PROT_WRITE) || !(flags & MAP_PRIVATE))
		complain("sim: not the mmap() of an arena\n");
	p = malloc(len);
	return p ? p : MAP_FAILED;
}

int munmap(void *p, size_t len)
{
	(void)len;
	free(p);
	return 0;
}
#endif
