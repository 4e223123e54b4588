/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See pool.h. One region, cut up as needed; free blocks of each size are kept in a list of their own. */
#define POOL_ITSELF
#include "pool.h"
#include "alloc.h"

#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define REGION (1ull << 30)
#define PAGE 4096u
#define SMALL (32u << 10) /* below it the allocator itself is fast */
#define SIZES 64u

static struct {
	size_t size;
	void **free;
	size_t count, room;
} sizes[SIZES];
static uint8_t *region;
static size_t used;
static uint32_t *page_class; /* of a block's first page, plus one */

void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);

static size_t class_of(size_t size)
{
	for (size_t i = 0; i < SIZES; i++) {
		if (!sizes[i].size)
			sizes[i].size = size;
		if (sizes[i].size == size)
			return i;
	}
	return SIZES;
}

void *pool_aligned_alloc(size_t align, size_t size)
{
	size_t rounded = (size + PAGE - 1) / PAGE * PAGE, i = size < SMALL ? SIZES : class_of(rounded);
	uint8_t *p;

	if (alloc_fails())
		return NULL;
	if (!region) {
		region = __real_mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		page_class = __real_realloc(NULL, REGION / PAGE * sizeof(*page_class));
		if (region == MAP_FAILED || !page_class)
			abort();
		memset(page_class, 0, REGION / PAGE * sizeof(*page_class));
	}
	if (i == SIZES || align > PAGE || used + rounded + PAGE > REGION)
		return __real_aligned_alloc(align, size);
	if (sizes[i].count) {
		p = sizes[i].free[--sizes[i].count];
	} else {
		p = region + used;
		page_class[used / PAGE] = (uint32_t)i + 1;
		used += rounded + PAGE;
		ASAN_POISON_MEMORY_REGION(p + rounded, PAGE);
	}
	ASAN_UNPOISON_MEMORY_REGION(p, size);
	ASAN_POISON_MEMORY_REGION(p + size, rounded - size);
	return p;
}

void pool_free(void *ptr)
{
	uint8_t *p = ptr;

	if (!p || !region || p < region || p >= region + used) {
		free(p);
		return;
	}
	uint32_t class = page_class[(size_t)(p - region) / PAGE];

	if ((size_t)(p - region) % PAGE || !class || __asan_address_is_poisoned(p))
		abort(); /* not the beginning of a block, or free already */
	class--;
	if (sizes[class].count == sizes[class].room) {
		sizes[class].room = sizes[class].room * 2 + 16;
		sizes[class].free = __real_realloc(sizes[class].free, sizes[class].room * sizeof(void *));
		if (!sizes[class].free)
			abort();
	}
	sizes[class].free[sizes[class].count++] = p;
	ASAN_POISON_MEMORY_REGION(p, sizes[class].size);
}
