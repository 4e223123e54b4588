/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two simulated worlds, on two threads at once, under ThreadSanitizer: the core has no state but its nodes', so
 * nothing that one does is seen by the other. A global variable that somebody adds to the core ends this test.
 */
#include <pthread.h>

#define COLOFS_MUTANTS /* as all of the simulator */
int sim_main(int argc, char **argv);
#define main sim_main
#include "../sim/sim.c"
#undef main

#define STEPS 1500
#define SEEDS 3

static void *world(void *arg)
{
	struct sim *s = sim_new(0, false);

	for (uint64_t seed = *(uint64_t *)arg, end = seed + SEEDS; seed < end; seed++)
		run_seed(s, seed, STEPS); /* what is wrong ends the process */
	sim_free(s);
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t seeds[2] = { argc > 1 ? number(argv[1]) : 1 };
	pthread_t thread[2];

	seeds[1] = seeds[0] + 1000;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, world, &seeds[i]))
			return 2;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	printf("two worlds, seeds %llu and %llu, %d each\n", (unsigned long long)seeds[0],
	       (unsigned long long)seeds[1], SEEDS);
	return 0;
}
