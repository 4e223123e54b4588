/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What unit tests share: a seeded generator, one line a test, a sum at the end.
 * A test is a function that returns whether it passed; CHECK says where it did not.
 */
#ifndef COLOFS_TESTS_CHECK_H
#define COLOFS_TESTS_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CHECK(cond)                                                         \
	do {                                                                \
		if (!(cond)) {                                              \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond); \
			return false;                                       \
		}                                                           \
	} while (0)

static uint64_t check_state;
static unsigned check_passed, check_failed;

/* splitmix64 */
static inline uint64_t rnd(void)
{
	uint64_t z = check_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* 0 ... n - 1 */
static inline uint64_t below(uint64_t n)
{
	return rnd() % n;
}

static inline void check_begin(int argc, char **argv)
{
	check_state = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	printf("# seed %llu\n", (unsigned long long)check_state);
}

static inline void check_run(const char *name, bool (*test)(void))
{
	bool good = test();

	printf("%s %s\n", good ? "ok" : "not ok", name);
	fflush(stdout);
	check_passed += good;
	check_failed += !good;
}

static inline int check_end(void)
{
	printf("%u passed, %u failed\n", check_passed, check_failed);
	return check_failed != 0;
}

#define RUN(test) check_run(#test, test)

#endif
