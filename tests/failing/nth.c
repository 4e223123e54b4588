/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linked into build/failing/colofs, with tests/fuzz/alloc.c, between the daemon's own code and libc (--wrap): with
 * COLOFS_FAIL_ALLOC=N the Nth allocation fails, as if memory had run out for a moment. At exit the count goes to the file
 * COLOFS_COUNT_ALLOC. libfuse, OpenSSL and libc itself are left alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../fuzz/alloc.h"

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);

static void tell(void)
{
	const char *path = getenv("COLOFS_COUNT_ALLOC");
	FILE *f = path ? fopen(path, "w") : NULL;

	if (!f)
		return;
	fprintf(f, "%llu\n", (unsigned long long)alloc_count);
	fclose(f);
}

__attribute__((constructor)) static void begin(void)
{
	const char *n = getenv("COLOFS_FAIL_ALLOC");

	alloc_fail_at = n ? strtoull(n, NULL, 10) : 0;
	alloc_fail_count = 1;
	atexit(tell);
}

char *__wrap_strdup(const char *s)
{
	return alloc_fails() ? NULL : __real_strdup(s);
}
