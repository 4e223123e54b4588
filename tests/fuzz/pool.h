/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The core's large aligned buffers (30 MiB a node) from a pool: a fuzz run makes thousands of nodes, and fresh pages cost
 * it nine tenths of its time. Poisoned when free and between one another, so that AddressSanitizer sees as much as before.
 * The Makefile includes this in front of each source of the core.
 */
#ifndef COLOFS_TESTS_FUZZ_POOL_H
#define COLOFS_TESTS_FUZZ_POOL_H

#include <stddef.h>
#include <stdlib.h>

void *pool_aligned_alloc(size_t align, size_t size);
void pool_free(void *p);

#ifndef POOL_ITSELF
#define aligned_alloc pool_aligned_alloc
#define free pool_free
#endif

#endif
