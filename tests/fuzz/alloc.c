/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Allocators that fail when told to, between our code and libc: linked with --wrap, see the Makefile. */
#include "alloc.h"

#include <errno.h>
#include <sys/mman.h>

uint64_t alloc_count, alloc_fail_at;
uint32_t alloc_fail_count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);

bool alloc_fails(void)
{
	alloc_count++;
	if (!alloc_fail_at || alloc_count < alloc_fail_at || alloc_count >= alloc_fail_at + alloc_fail_count)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return alloc_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return alloc_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return alloc_fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return alloc_fails() ? NULL : __real_realloc(p, n * size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return alloc_fails() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return alloc_fails() ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, off);
}
