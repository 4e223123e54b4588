/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Allocators that fail when told to: alloc.c. Everything in the program is counted, and fails, but host.c's own memory. */
#ifndef COLOFS_TESTS_FUZZ_ALLOC_H
#define COLOFS_TESTS_FUZZ_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern uint64_t alloc_count;      /* allocations so far */
extern uint64_t alloc_fail_at;    /* the one that fails, from 1 on; 0 none */
extern uint32_t alloc_fail_count; /* so many in a row do */

/* Counts one; whether it fails. */
bool alloc_fails(void);
/* libc's own, for host_realloc. */
void *__real_realloc(void *p, size_t size);

#endif
