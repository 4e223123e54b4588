/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checksums of frames and records: XXH3, 64 bits. */
#ifndef COLOFS_REPL_SUM_H
#define COLOFS_REPL_SUM_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stddef.h>
#include <stdint.h>

static inline uint64_t sum64(const void *buf, size_t len)
{
	return XXH3_64bits(buf, len);
}

/* One link of a chain: order matters. */
static inline uint64_t sum_chain(uint64_t chain, uint64_t sum)
{
	uint64_t pair[2] = { chain, sum };

	return XXH3_64bits(pair, sizeof(pair));
}

#endif
